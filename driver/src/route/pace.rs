//! Rate limits: what a receiver takes, and what a recipient is to be spared.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::sync::Semaphore;
use tokio::time::{sleep, Instant};

use super::{deferred, upward};
use crate::message::SendError;

/// Looks between two clearings of addresses that are not limited any more.
const CLEAR_EVERY: u32 = 1024;

/// The limits of one channel. Addresses are kept as hashes: few bytes, and nothing to leak.
pub struct Pace {
    limiters: Vec<DefaultKeyedRateLimiter<u64>>,
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
            clock: DefaultClock::default(),
            hasher: RandomState::new(),
            looks: AtomicU32::new(0),
            waiting,
            max_wait,
        }
    }

    /// Waits for its turn where that is soon; else the message is deferred.
    pub async fn turn(&self, address: &str) -> Result<(), SendError> {
        if self.limiters.is_empty() {
            return Ok(());
        }
        self.clear();
        let key = self.hasher.hash_one(address);
        let end = Instant::now() + self.max_wait;
        let mut waiting = None;
        for limiter in &self.limiters {
            while let Err(not_yet) = limiter.check_key(&key) {
                let pause = not_yet.wait_time_from(self.clock.now());
                if waiting.is_none() {
                    waiting = self.waiting.clone().try_acquire_owned().ok();
                }
                if waiting.is_none() || Instant::now() + pause > end {
                    return Err(too_fast(pause));
                }
                sleep(pause).await;
            }
        }
        Ok(())
    }

    fn clear(&self) {
        if self.looks.fetch_add(1, Ordering::Relaxed) % CLEAR_EVERY == CLEAR_EVERY - 1 {
            for limiter in &self.limiters {
                limiter.retain_recent();
                limiter.shrink_to_fit();
            }
        }
    }
}

fn too_fast(pause: Duration) -> SendError {
    let text = "more messages for this recipient than its rate limit allows";
    deferred("rate_limited", text, pause + upward(pause.max(Duration::from_secs(1))))
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
