//! Statistics of deliveries: how many are of one minute, the same channels and a like time from accepted to delivered.

use std::collections::btree_map::{BTreeMap, Entry};

use crate::error::Error;

const MINUTE: i64 = 60_000_000;

/// What is counted together. Times are in microseconds since 2000.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// When the minute begins.
    pub at: i64,
    /// Class of the time from accepted to delivered.
    pub seconds: i16,
    /// The channels, as they are stored.
    methods: Vec<u8>,
}

#[derive(Debug, Default, PartialEq)]
pub struct Counts {
    pub channels: Vec<String>,
    pub deliveries: i64,
    pub by_retry: i64,
    pub retries: i64,
}

#[derive(Debug, Default)]
pub struct DeliveryCounts(pub BTreeMap<Kind, Counts>);

impl DeliveryCounts {
    /// `read_channels` is called for channels that are met for the first time.
    pub fn add(
        &mut self,
        accepted_at: i64,
        delivered_at: i64,
        methods: &[u8],
        read_channels: impl FnOnce() -> Result<Vec<String>, Error>,
        attempt: i32,
    ) -> Result<(), Error> {
        let kind = Kind {
            at: delivered_at.saturating_sub(delivered_at.rem_euclid(MINUTE)),
            seconds: seconds_class(delivered_at.saturating_sub(accepted_at)),
            methods: methods.to_vec(),
        };
        let counts = match self.0.entry(kind) {
            Entry::Occupied(met) => met.into_mut(),
            Entry::Vacant(new) => {
                new.insert(Counts { channels: read_channels()?, ..Counts::default() })
            }
        };
        counts.deliveries += 1;
        counts.by_retry += i64::from(attempt > 1);
        counts.retries += i64::from(attempt) - 1;
        Ok(())
    }
}

/// Class of a duration in microseconds: 8 classes to a power of ten of milliseconds, 0 is up to one, 80 is the last.
fn seconds_class(duration: i64) -> i16 {
    if duration <= 1000 {
        return 0;
    }
    let milliseconds = duration as f64 / 1000.0;
    (8.0 * milliseconds.log10()).ceil().min(80.0) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn alike_deliveries_are_counted_together() {
        let mut counts = DeliveryCounts::default();
        let mut add = |delivered_at, attempt, channel: &str| {
            let channels = || Ok(vec![channel.to_owned()]);
            counts.add(0, delivered_at, channel.as_bytes(), channels, attempt).unwrap();
        };
        add(70 * SECOND, 1, "email");
        add(71 * SECOND, 3, "email");
        add(71 * SECOND, 1, "sms");
        add(-SECOND, 1, "email");
        let found: Vec<_> = counts
            .0
            .iter()
            .map(|(k, c)| {
                (k.at / SECOND, k.seconds, &*c.channels[0], c.deliveries, c.by_retry, c.retries)
            })
            .collect();
        assert_eq!(
            found,
            [(-60, 0, "email", 1, 0, 0), (60, 39, "email", 2, 1, 2), (60, 39, "sms", 1, 0, 0),]
        );
    }

    #[test]
    fn a_class_is_an_eighth_of_a_power_of_ten() {
        let classes = [-SECOND, 0, 1000, 1001, 2000, SECOND, 3600 * SECOND, i64::MAX];
        assert_eq!(classes.map(seconds_class), [0, 0, 0, 1, 3, 24, 53, 80]);
        // As pgalert._class_seconds() has it.
        let near = |class: i16| 10f64.powf((f64::from(class) - 0.5) / 8.0) / 1000.0;
        for hundredths in 1..10_000 {
            let seconds = f64::from(hundredths) / 100.0;
            let share = near(seconds_class(i64::from(hundredths) * SECOND / 100)) / seconds;
            assert!((1.0 / 1.16..1.16).contains(&share), "{seconds}");
        }
    }
}
