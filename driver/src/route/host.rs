//! What the sends of one channel to one host share: places, a breaker, and how busy it is.

use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::breaker::{Breaker, Health, Leave, State};
use super::gate::{Gate, Place, Share};
use super::load::Load;
use super::{deferred, upward};
use crate::config;
use crate::message::SendError;

/// For `host_busy`.
const SHORTEST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What an open breaker puts back comes again at this rate, so that a host's return is no flood, and what is put back once
/// more while it stays away is no flood of writes.
const PUT_BACK_PER_SECOND: u32 = 100;

/// How often a message that waits looks whether it should go on waiting.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Messages that wait for a place at some host, over all channels.
pub struct Crowd {
    waiting: AtomicU32,
    /// So many may be there. Then those go that wait for a host that ends nothing.
    bound: u32,
}

impl Crowd {
    pub fn new(bound: u32) -> Arc<Self> {
        Arc::new(Self { waiting: AtomicU32::new(0), bound })
    }

    fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > self.bound
    }
}

pub struct Host {
    gate: Gate,
    /// Messages that may wait for a second try: they hold no place meanwhile.
    second_tries: Semaphore,
    breaker: Mutex<Breaker>,
    /// Messages put back since the breaker has opened.
    put_back: AtomicU32,
    load: Mutex<Load>,
    crowd: Arc<Crowd>,
}

/// Leave of the breaker. Dropped without a word it says nothing of the host.
pub struct Pass<'a> {
    host: &'a Host,
    leave: Option<Leave>,
    settings: &'a config::Breaker,
}

impl Pass<'_> {
    /// True when the breaker has opened or closed by it.
    pub fn record(mut self, health: Health) -> bool {
        self.give_back(health)
    }

    fn give_back(&mut self, health: Health) -> bool {
        let Some(leave) = self.leave.take() else { return false };
        let changed = self.host.breaker.lock().record(leave, health, Instant::now(), self.settings);
        if changed {
            self.host.put_back.store(0, Ordering::Relaxed);
        }
        changed
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.give_back(Health::Unknown);
    }
}

/// A send under way.
pub struct Running<'a> {
    host: &'a Host,
    number: u64,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.host.load.lock().end(self.number, Instant::now());
    }
}

struct Waiting<'a>(&'a Host);

impl<'a> Waiting<'a> {
    fn at(host: &'a Host) -> Self {
        host.load.lock().wait();
        host.crowd.waiting.fetch_add(1, Ordering::Relaxed);
        Self(host)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.load.lock().end_waiting();
        self.0.crowd.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Host {
    pub fn new(share: Arc<Share>, second_tries: u32, crowd: Arc<Crowd>) -> Self {
        Self {
            gate: Gate::new(share),
            second_tries: Semaphore::new(second_tries as usize),
            breaker: Mutex::new(Breaker::new(Instant::now())),
            put_back: AtomicU32::new(0),
            load: Mutex::default(),
            crowd,
        }
    }

    pub fn state(&self) -> State {
        self.breaker.lock().state()
    }

    pub fn open_until(&self) -> Option<Instant> {
        self.breaker.lock().open_until()
    }

    /// Nothing would be forgotten with it.
    pub fn is_unremarkable(&self) -> bool {
        let breaker = self.breaker.lock();
        breaker.state() == State::Closed && !breaker.has_failures()
    }

    /// An early look, before anything is waited for.
    pub fn refusal(&self, settings: &config::Breaker) -> Option<SendError> {
        let now = Instant::now();
        let next = self.breaker.lock().refuses(now, settings)?;
        Some(self.breaker_open(next, now, settings))
    }

    pub fn admit<'a>(&'a self, settings: &'a config::Breaker) -> Result<Pass<'a>, SendError> {
        let now = Instant::now();
        match self.breaker.lock().admit(now, settings) {
            Ok(leave) => Ok(Pass { host: self, leave: Some(leave), settings }),
            Err(next) => Err(self.breaker_open(next, now, settings)),
        }
    }

    fn breaker_open(&self, next: Instant, now: Instant, settings: &config::Breaker) -> SendError {
        let number = self.put_back.fetch_add(1, Ordering::Relaxed);
        let pause = next.saturating_duration_since(now) + upward(settings.pause / 4);
        let text = "the host has failed several times in a row: a pause before it is tried again";
        deferred("breaker_open", text, pause + turn(number, settings.max_pause))
    }

    /// A place among those that may send to this host at once. Where that would take too long the message gives way, so
    /// that a host that hangs does not fill the driver with messages of its own.
    pub async fn place(&self, limits: &config::Limits) -> Result<Place<'_>, SendError> {
        let visit = match self.gate.visit().try_place() {
            Ok(place) => return Ok(place),
            Err(visit) => visit,
        };
        self.give_way(limits)?;
        let _waiting = Waiting::at(self);
        let permit = {
            let mut turn = pin!(visit.turn());
            let end = Instant::now() + limits.max_wait;
            loop {
                let left = end.saturating_duration_since(Instant::now());
                if let Ok(permit) = timeout(LOOK_EVERY.min(left), turn.as_mut()).await {
                    break permit;
                }
                if left.is_zero() {
                    return Err(busy(limits.max_wait));
                }
                // The host may hang by now. Each that gives way shortens the queue for the rest.
                self.give_way(limits)?;
                self.gate.adjust();
            }
        };
        Ok(visit.with(permit))
    }

    fn give_way(&self, limits: &config::Limits) -> Result<(), SendError> {
        let (now, load) = (Instant::now(), self.load.lock());
        let expected = load.expected_wait(self.gate.places(), now);
        if expected > limits.max_wait || load.is_stalled(now) && self.crowd.is_full() {
            return Err(busy(expected));
        }
        Ok(())
    }

    /// Leave to wait for a second try. What finds too many waiting is deferred.
    pub fn second_try(&self) -> Result<SemaphorePermit<'_>, SendError> {
        self.second_tries.try_acquire().map_err(|_| busy(SHORTEST_PAUSE))
    }

    pub fn start(&self) -> Running<'_> {
        Running { host: self, number: self.load.lock().start(Instant::now()) }
    }
}

fn busy(expected: Duration) -> SendError {
    let pause = upward(expected.clamp(SHORTEST_PAUSE, LONGEST_PAUSE));
    deferred("host_busy", "too many messages wait for this host already", pause)
}

/// How long after the first of those put back it is the turn of one of them: within `longest`, however many there are.
fn turn(number: u32, longest: Duration) -> Duration {
    let turns = (longest.as_secs_f64() * f64::from(PUT_BACK_PER_SECOND)).max(1.0) as u32;
    Duration::from_secs(1) * (number % turns) / PUT_BACK_PER_SECOND
}

#[cfg(test)]
mod tests {
    use super::super::gate::Share;
    use super::*;
    use crate::message::ErrorKind;

    const SETTINGS: config::Breaker = config::Breaker {
        failures: 1,
        pause: Duration::from_secs(40),
        max_pause: Duration::from_secs(300),
    };

    /// Seconds until it may be tried.
    fn put_back(host: &Host) -> u64 {
        let error = host.refusal(&SETTINGS).unwrap();
        let ErrorKind::Throttled { retry_after } = error.kind else { panic!("{error:?}") };
        retry_after.as_secs()
    }

    #[test]
    fn what_an_open_breaker_puts_back_comes_again_one_after_another() {
        let host = Host::new(Share::new(1, 1), 1, Crowd::new(1));
        let fail = |host: &Host| assert!(host.admit(&SETTINGS).unwrap().record(Health::Dead));
        fail(&host);
        let seconds: Vec<u64> = (0..50_000).map(|_| put_back(&host)).collect();
        assert!((45..=53).contains(&seconds[0]), "{}", seconds[0]);
        let within =
            |range: std::ops::Range<u64>| seconds.iter().filter(|s| range.contains(s)).count();
        assert_eq!(within(40..360), 50_000, "within the longest pause");
        assert!(
            (60..340).all(|second| within(second..second + 10) < 2500),
            "two rounds of 100 a second"
        );
    }

    #[test]
    fn a_turn_is_within_the_longest_pause() {
        let second = Duration::from_secs(1);
        assert_eq!(turn(0, 300 * second), Duration::ZERO);
        assert_eq!(turn(250, 300 * second), second * 5 / 2);
        assert_eq!(turn(30_000, 300 * second), Duration::ZERO);
        assert_eq!(turn(7, Duration::ZERO), Duration::ZERO);
    }
}
