//! What the sends of one channel to one host share: places, a breaker, and how busy it is.

use std::pin::pin;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::breaker::{Breaker, Health, Leave, State};
use super::load::Load;
use super::{deferred, upward};
use crate::config;
use crate::message::SendError;

/// For `host_busy`.
const SHORTEST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often a message that waits looks whether it should go on waiting.
const LOOK_EVERY: Duration = Duration::from_millis(250);

pub struct Host {
    places: Semaphore,
    /// Messages that may wait for a second try: they hold no place meanwhile.
    second_tries: Semaphore,
    breaker: Mutex<Breaker>,
    load: Mutex<Load>,
    /// Messages that may wait for it while it ends nothing.
    waiting_bound: u32,
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
        self.host.breaker.lock().record(leave, health, Instant::now(), self.settings)
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

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.load.lock().end_waiting();
    }
}

impl Host {
    pub fn new(places: u32, waiting_bound: u32) -> Self {
        Self {
            waiting_bound,
            places: Semaphore::new(places as usize),
            second_tries: Semaphore::new(places as usize),
            breaker: Mutex::new(Breaker::new(Instant::now())),
            load: Mutex::default(),
        }
    }

    pub fn state(&self) -> State {
        self.breaker.lock().state()
    }

    /// Nothing would be forgotten with it.
    pub fn is_unremarkable(&self) -> bool {
        let breaker = self.breaker.lock();
        breaker.state() == State::Closed && !breaker.has_failures()
    }

    /// An early look, before anything is waited for.
    pub fn refusal(&self, settings: &config::Breaker) -> Option<SendError> {
        let now = Instant::now();
        self.breaker.lock().refuses(now, settings).map(|next| breaker_open(next, now, settings))
    }

    pub fn admit<'a>(&'a self, settings: &'a config::Breaker) -> Result<Pass<'a>, SendError> {
        let now = Instant::now();
        match self.breaker.lock().admit(now, settings) {
            Ok(leave) => Ok(Pass { host: self, leave: Some(leave), settings }),
            Err(next) => Err(breaker_open(next, now, settings)),
        }
    }

    /// A place among those that may send to this host at once. Where that would take too long the message gives way, so
    /// that a host that hangs does not fill the driver with messages of its own.
    pub async fn place(&self, limits: &config::Limits) -> Result<SemaphorePermit<'_>, SendError> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        self.give_way(limits)?;
        self.load.lock().wait();
        let _waiting = Waiting(self);
        let mut turn = pin!(self.places.acquire());
        let end = Instant::now() + limits.max_wait;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if let Ok(Ok(place)) = timeout(LOOK_EVERY.min(left), turn.as_mut()).await {
                return Ok(place);
            }
            if left.is_zero() {
                return Err(busy(limits.max_wait));
            }
            // The host may hang by now. Each that gives way shortens the queue for the rest.
            self.give_way(limits)?;
        }
    }

    fn give_way(&self, limits: &config::Limits) -> Result<(), SendError> {
        let (now, load) = (Instant::now(), self.load.lock());
        let expected = load.expected_wait(limits.host_concurrency, now);
        if expected > limits.max_wait || load.is_crowded(self.waiting_bound, now) {
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

fn breaker_open(next: Instant, now: Instant, settings: &config::Breaker) -> SendError {
    let pause = next.saturating_duration_since(now) + upward(settings.pause / 4);
    let text = "the host has failed several times in a row: a pause before it is tried again";
    deferred("breaker_open", text, pause)
}
