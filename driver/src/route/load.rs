//! How busy a host is: how long a message that comes now would wait for its turn.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The weight of the newest in the mean of how long sends take.
const WEIGHT: u32 = 8;

#[derive(Debug, Default)]
pub struct Load {
    waiting: u32,
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
        let took = now.saturating_duration_since(began);
        self.service = match self.service.is_zero() {
            true => took,
            false => (self.service * (WEIGHT - 1) + took) / WEIGHT,
        };
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
}
