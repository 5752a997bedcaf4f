//! How busy a host is: how long a message that comes now would wait for its turn.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A host that has work and ends none of it for so long hangs, as far as its queue is concerned.
const STALLED: Duration = Duration::from_secs(1);
/// The weight of the newest in the mean of how long sends take.
const WEIGHT: u32 = 8;

#[derive(Debug, Default)]
pub struct Load {
    waiting: u32,
    /// When a send ended last.
    ended: Option<Instant>,
    /// Mean of what has ended.
    service: Duration,
    /// By a number of its own, so that the first is the oldest.
    running: BTreeMap<u64, Instant>,
    started: u64,
}

impl Load {
    pub fn wait(&mut self) {
        self.waiting += 1;
    }

    pub fn end_waiting(&mut self) {
        self.waiting -= 1;
    }

    pub fn start(&mut self, now: Instant) -> u64 {
        self.started += 1;
        self.running.insert(self.started, now);
        self.started
    }

    pub fn end(&mut self, number: u64, now: Instant) {
        let Some(began) = self.running.remove(&number) else { return };
        self.ended = Some(now);
        let took = now.saturating_duration_since(began);
        self.service = match self.service.is_zero() {
            true => took,
            false => (self.service * (WEIGHT - 1) + took) / WEIGHT,
        };
    }

    /// It has work and ends none of it. How long one would wait for it is not known then: only that it takes room from
    /// messages for others.
    pub fn is_stalled(&self, now: Instant) -> bool {
        let Some(oldest) = self.running.values().next().copied() else { return false };
        let since = self.ended.map_or(oldest, |ended| ended.max(oldest));
        now.saturating_duration_since(since) >= STALLED
    }

    /// Those ahead, each for as long as the mean, or as the oldest has taken already: a host that hangs ends nothing.
    pub fn expected_wait(&self, places: u32, now: Instant) -> Duration {
        let oldest = self.running.values().next().copied().unwrap_or(now);
        let each = self.service.max(now.saturating_duration_since(oldest));
        each.saturating_mul(self.waiting) / places.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_fast_host_may_have_many_waiting_and_one_that_hangs_few() {
        let now = Instant::now();
        let mut load = Load::default();
        let number = load.start(now);
        load.end(number, now + SECOND / 100);
        (0..1000).for_each(|_| load.wait());
        assert_eq!(load.expected_wait(10, now), SECOND);

        load.start(now);
        load.start(now + SECOND);
        assert_eq!(load.expected_wait(10, now + 2 * SECOND), 200 * SECOND);
        (0..1000).for_each(|_| load.end_waiting());
        assert_eq!(load.expected_wait(10, now + 2 * SECOND), Duration::ZERO);
    }

    #[test]
    fn a_host_is_stalled_when_it_has_work_and_ends_none() {
        let now = Instant::now();
        let mut load = Load::default();
        assert!(!load.is_stalled(now + 60 * SECOND), "nothing is under way");
        let first = load.start(now);
        load.start(now);
        assert!(!load.is_stalled(now + SECOND / 2), "it has had no time to answer");
        assert!(load.is_stalled(now + SECOND));
        load.end(first, now + SECOND);
        assert!(!load.is_stalled(now + 3 * SECOND / 2), "it answers");
        assert!(load.is_stalled(now + 2 * SECOND));
    }
}
