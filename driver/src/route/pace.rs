//! Rate limits: what a receiver takes, what a recipient is to be spared, and the pauses that receivers ask for.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, Instant};

use super::{deferred, upward};
use crate::message::SendError;

const PAUSED: &str = "the receiver has asked for a pause";
/// Looks between two clearings of addresses that are not limited any more.
const CLEAR_EVERY: u32 = 1024;

/// The limits of one channel. Addresses are kept as hashes: few bytes, and nothing to leak.
pub struct Pace {
    limiters: Vec<DefaultKeyedRateLimiter<u64>>,
    /// Until when a receiver wants nothing for an address.
    pauses: Mutex<HashMap<u64, Instant>>,
    clock: DefaultClock,
    hasher: RandomState,
    looks: AtomicU32,
    /// Messages that may wait for their turn, so that they leave room for others.
    waiting: Arc<Semaphore>,
    max_wait: Duration,
}

impl Pace {
    pub fn new(
        quotas: impl IntoIterator<Item = Quota>,
        waiting: Arc<Semaphore>,
        max_wait: Duration,
    ) -> Self {
        Self {
            limiters: quotas.into_iter().map(RateLimiter::keyed).collect(),
            pauses: Mutex::default(),
            clock: DefaultClock::default(),
            hasher: RandomState::new(),
            looks: AtomicU32::new(0),
            waiting,
            max_wait,
        }
    }

    /// The receiver asks for a pause: what else is for this address waits too, and does not ask it again.
    pub fn pause(&self, address: &str, pause: Duration) {
        let until = Instant::now() + pause;
        self.pauses().insert(self.hasher.hash_one(address), until);
    }

    /// Waits for its turn where that is soon; else the message is deferred.
    pub async fn turn(&self, address: &str) -> Result<(), SendError> {
        self.clear();
        let key = self.hasher.hash_one(address);
        let mut wait = Wait { pace: self, end: Instant::now() + self.max_wait, waiting: None };
        while let Some(pause) = self.pause_of(key) {
            wait.or_put_off(pause, PAUSED).await?;
        }
        for limiter in &self.limiters {
            while let Err(not_yet) = limiter.check_key(&key) {
                let pause = not_yet.wait_time_from(self.clock.now());
                let why = "more messages for this recipient than its rate limit allows";
                wait.or_put_off(pause, why).await?;
            }
        }
        Ok(())
    }

    /// The receiver may have asked for a pause while a message waited for its place.
    pub fn still(&self, address: &str) -> Result<(), SendError> {
        match self.pause_of(self.hasher.hash_one(address)) {
            Some(pause) => Err(put_off(pause, PAUSED)),
            None => Ok(()),
        }
    }

    fn pause_of(&self, key: u64) -> Option<Duration> {
        let until = *self.pauses().get(&key)?;
        Some(until.duration_since(Instant::now())).filter(|pause| !pause.is_zero())
    }

    fn pauses(&self) -> MutexGuard<'_, HashMap<u64, Instant>> {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clear(&self) {
        if self.looks.fetch_add(1, Ordering::Relaxed) % CLEAR_EVERY == CLEAR_EVERY - 1 {
            let now = Instant::now();
            self.pauses().retain(|_, until| *until > now);
            for limiter in &self.limiters {
                limiter.retain_recent();
                limiter.shrink_to_fit();
            }
        }
    }
}

/// One message's waiting for its turn.
struct Wait<'a> {
    pace: &'a Pace,
    end: Instant,
    waiting: Option<OwnedSemaphorePermit>,
}

impl Wait<'_> {
    async fn or_put_off(&mut self, pause: Duration, why: &str) -> Result<(), SendError> {
        if self.waiting.is_none() {
            self.waiting = self.pace.waiting.clone().try_acquire_owned().ok();
        }
        if self.waiting.is_none() || Instant::now() + pause > self.end {
            return Err(put_off(pause, why));
        }
        sleep(pause).await;
        Ok(())
    }
}

fn put_off(pause: Duration, why: &str) -> SendError {
    deferred("rate_limited", why, pause + upward(pause.max(Duration::from_secs(1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(period: Duration, waiting: usize, max_wait: Duration) -> Pace {
        let quota = Quota::with_period(period).unwrap();
        Pace::new([quota], Arc::new(Semaphore::new(waiting)), max_wait)
    }

    #[tokio::test]
    async fn each_address_has_its_own_limit_and_what_must_wait_long_is_deferred() {
        let pace = pace(Duration::from_secs(3600), 10, Duration::from_secs(5));
        pace.turn("a").await.unwrap();
        pace.turn("b").await.unwrap();
        let error = pace.turn("a").await.unwrap_err();
        assert_eq!(error.class, "rate_limited");
        let crate::message::ErrorKind::Throttled { retry_after } = error.kind else {
            panic!("{error:?}")
        };
        assert!(retry_after > Duration::from_secs(3500), "{retry_after:?}");
        Pace::new([], Arc::new(Semaphore::new(0)), Duration::ZERO).turn("a").await.unwrap();
    }

    #[tokio::test]
    async fn a_pause_that_a_receiver_asks_for_is_of_one_address() {
        let pace = Pace::new([], Arc::new(Semaphore::new(10)), Duration::from_secs(5));
        pace.pause("a", Duration::from_secs(60));
        pace.turn("b").await.unwrap();
        let error = pace.turn("a").await.unwrap_err();
        assert_eq!(error.text(), "the receiver has asked for a pause");
        pace.pause("a", Duration::from_millis(20));
        let began = Instant::now();
        pace.turn("a").await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(15));
        for _ in 0..CLEAR_EVERY {
            pace.turn("b").await.unwrap();
        }
        assert!(pace.pauses().is_empty());
    }

    #[tokio::test]
    async fn a_short_wait_is_waited_for_by_as_many_as_may() {
        let pace = pace(Duration::from_millis(20), 1, Duration::from_secs(60));
        let began = Instant::now();
        let (first, second, third) = tokio::join!(pace.turn("a"), pace.turn("a"), pace.turn("a"));
        assert!(first.is_ok() && second.is_ok() && third.is_err());
        assert!(began.elapsed() >= Duration::from_millis(15));
    }

    #[tokio::test]
    async fn addresses_that_are_not_limited_any_more_are_forgotten() {
        let pace = pace(Duration::from_millis(1), 0, Duration::ZERO);
        for number in 0..50_000 {
            pace.turn(&number.to_string()).await.unwrap();
        }
        sleep(Duration::from_millis(5)).await;
        for number in 0..2 * CLEAR_EVERY {
            let _ = pace.turn(&format!("again {number}")).await;
        }
        assert!(pace.limiters[0].len() < 5000, "{}", pace.limiters[0].len());
    }
}
