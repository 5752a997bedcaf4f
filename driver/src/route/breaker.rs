//! A breaker: after some failures in a row nothing more is sent to a host for a while; then one message tries it.
//!
//! ```text
//!            failures in a row                pause is over
//!   closed ───────────────────▶ open ──────────────────────▶ half-open (one message tries)
//!     ▲                          ▲    it failed: a longer pause   │
//!     │                          └────────────────────────────────┤
//!     └────────────────────────────── it was answered ────────────┘
//! ```

use std::time::Instant;

use crate::config;

/// What a send says of its host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Health {
    Alive,
    Dead,
    /// Nothing: the message was at fault, or it was given up.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    Closed,
    Open,
    HalfOpen,
}

/// Leave to send, to be answered by `record`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leave {
    tries_the_host: bool,
}

#[derive(Debug)]
pub struct Breaker {
    state: State,
    failures_in_a_row: u32,
    openings_in_a_row: u32,
    /// While open: when one may try.
    until: Instant,
}

impl Breaker {
    pub fn new(now: Instant) -> Self {
        Self { state: State::Closed, failures_in_a_row: 0, openings_in_a_row: 0, until: now }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// Where it is not closed: when one may try, or might have tried.
    pub fn open_until(&self) -> Option<Instant> {
        (self.state != State::Closed).then_some(self.until)
    }

    pub fn has_failures(&self) -> bool {
        self.failures_in_a_row > 0
    }

    /// An error is the time of the next try.
    pub fn admit(&mut self, now: Instant, settings: &config::Breaker) -> Result<Leave, Instant> {
        match self.state {
            State::Closed => Ok(Leave { tries_the_host: false }),
            State::Open if now >= self.until => {
                self.state = State::HalfOpen;
                Ok(Leave { tries_the_host: true })
            }
            State::Open => Err(self.until),
            State::HalfOpen => Err(now + settings.pause),
        }
    }

    /// The same without taking the leave.
    pub fn refuses(&self, now: Instant, settings: &config::Breaker) -> Option<Instant> {
        match self.state {
            State::Open if now < self.until => Some(self.until),
            State::HalfOpen => Some(now + settings.pause),
            _ => None,
        }
    }

    /// True when the state has changed to open or to closed.
    pub fn record(
        &mut self,
        leave: Leave,
        health: Health,
        now: Instant,
        settings: &config::Breaker,
    ) -> bool {
        match health {
            Health::Alive => {
                let opened = self.state != State::Closed;
                *self = Self::new(now);
                opened
            }
            Health::Dead => {
                self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
                let opens = match self.state {
                    State::Closed => self.failures_in_a_row >= settings.failures,
                    State::HalfOpen => leave.tries_the_host,
                    State::Open => false,
                };
                if opens && settings.failures > 0 {
                    self.open(now, settings);
                    return true;
                }
                false
            }
            Health::Unknown => {
                // The next message tries.
                if leave.tries_the_host && self.state == State::HalfOpen {
                    (self.state, self.until) = (State::Open, now);
                }
                false
            }
        }
    }

    fn open(&mut self, now: Instant, settings: &config::Breaker) {
        let factor = 2u32.saturating_pow(self.openings_in_a_row);
        self.openings_in_a_row += 1;
        self.state = State::Open;
        self.until = now + settings.pause.saturating_mul(factor).min(settings.max_pause);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn settings() -> config::Breaker {
        config::Breaker { failures: 3, pause: 10 * SECOND, max_pause: 30 * SECOND }
    }

    /// Sends once; what the host said, and whether it was asked.
    fn send(breaker: &mut Breaker, health: Health, now: Instant) -> Result<bool, Instant> {
        let leave = breaker.admit(now, &settings())?;
        Ok(breaker.record(leave, health, now, &settings()))
    }

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(now);
        for last in [false, false, true] {
            assert_eq!(send(&mut breaker, Health::Dead, now), Ok(last));
        }
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_an_answer_begins_anew() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        for health in
            [Health::Dead, Health::Dead, Health::Alive, Health::Dead, Health::Unknown, Health::Dead]
        {
            assert_eq!(send(&mut breaker, health, now), Ok(false), "{health:?}");
        }
        assert_eq!(send(&mut breaker, Health::Dead, now), Ok(true));
        assert_eq!(breaker.state(), State::Open);
        assert_eq!(breaker.admit(now + 9 * SECOND, &settings()), Err(now + 10 * SECOND));
        assert_eq!(breaker.refuses(now + 9 * SECOND, &settings()), Some(now + 10 * SECOND));
    }

    #[test]
    fn one_message_tries_and_an_answer_closes_it() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + 10 * SECOND;
        let leave = breaker.admit(later, &settings()).unwrap();
        assert_eq!(breaker.state(), State::HalfOpen);
        assert!(breaker.admit(later, &settings()).is_err(), "only one");
        assert!(breaker.record(leave, Health::Alive, later, &settings()));
        assert_eq!((breaker.state(), breaker.has_failures()), (State::Closed, false));
    }

    #[test]
    fn each_failed_try_doubles_the_pause_up_to_the_longest() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        for pause in [10, 20, 30, 30] {
            assert_eq!(breaker.refuses(now, &settings()), Some(now + pause * SECOND));
            now += pause * SECOND;
            assert_eq!(send(&mut breaker, Health::Dead, now), Ok(true));
        }
    }

    #[test]
    fn a_try_that_says_nothing_leaves_it_to_the_next() {
        let now = Instant::now();
        let mut breaker = opened(now);
        let later = now + 10 * SECOND;
        assert_eq!(send(&mut breaker, Health::Unknown, later), Ok(false));
        assert_eq!(breaker.state(), State::Open);
        assert_eq!(send(&mut breaker, Health::Alive, later), Ok(true));
    }

    #[test]
    fn a_late_failure_of_before_neither_prolongs_the_pause_nor_ends_the_try() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        let early = breaker.admit(now, &settings()).unwrap();
        let mut breaker = opened(now);
        assert!(!breaker.record(early, Health::Dead, now + 5 * SECOND, &settings()));
        assert_eq!(breaker.refuses(now, &settings()), Some(now + 10 * SECOND));
        let leave = breaker.admit(now + 10 * SECOND, &settings()).unwrap();
        assert!(!breaker.record(early, Health::Dead, now + 10 * SECOND, &settings()));
        assert!(!breaker.record(early, Health::Unknown, now + 10 * SECOND, &settings()));
        assert_eq!(breaker.state(), State::HalfOpen);
        assert!(breaker.record(leave, Health::Alive, now + 10 * SECOND, &settings()));
    }

    #[test]
    fn none_at_all_for_zero_failures() {
        let settings = config::Breaker { failures: 0, ..settings() };
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        for _ in 0..100 {
            let leave = breaker.admit(now, &settings).unwrap();
            assert!(!breaker.record(leave, Health::Dead, now, &settings));
        }
    }
}
