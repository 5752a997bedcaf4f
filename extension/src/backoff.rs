//! When an alert is tried again. A schedule has one delay for each retry.

use chrono::{DateTime, Days, Months, TimeDelta, Utc};

use crate::error::Error;

/// A delay as Postgres keeps it. Months and days are added by the calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delay {
    pub months: i32,
    pub days: i32,
    pub micros: i64,
}

/// The delay before the next retry of what has been retried `retry_count` times; none when the schedule is used up.
pub fn retry_delay(retry_count: i32, schedule: &[Option<Delay>]) -> Result<Option<Delay>, Error> {
    let index =
        usize::try_from(retry_count).map_err(|_| Error::NegativeRetryCount { retry_count })?;
    for (index, delay) in schedule.iter().enumerate() {
        let position = index + 1;
        let delay = delay.as_ref().ok_or(Error::NullDelay { position })?;
        if delay.months < 0 || delay.days < 0 || delay.micros < 0 {
            return Err(Error::NegativeDelay { position });
        }
    }
    Ok(schedule.get(index).copied().flatten())
}

/// The time of the next retry; none when the schedule is used up.
pub fn next_retry_at(
    retry_count: i32,
    last_attempt: DateTime<Utc>,
    schedule: &[Option<Delay>],
) -> Result<Option<DateTime<Utc>>, Error> {
    retry_delay(retry_count, schedule)?
        .map(|delay| add(last_attempt, delay).ok_or(Error::RetryOutOfRange))
        .transpose()
}

fn add(time: DateTime<Utc>, delay: Delay) -> Option<DateTime<Utc>> {
    time.checked_add_months(Months::new(u32::try_from(delay.months).ok()?))?
        .checked_add_days(Days::new(u64::try_from(delay.days).ok()?))?
        .checked_add_signed(TimeDelta::microseconds(delay.micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;

    fn minutes(minutes: i64) -> Option<Delay> {
        Some(Delay { months: 0, days: 0, micros: minutes * MINUTE })
    }

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn each_retry_has_its_delay() {
        let schedule = [5, 30, 120, 720, 1440].map(minutes);
        for (count, delay) in (0..).zip(schedule) {
            assert_eq!(retry_delay(count, &schedule), Ok(delay));
        }
        assert_eq!(retry_delay(5, &schedule), Ok(None));
        assert_eq!(retry_delay(i32::MAX, &schedule), Ok(None));
        assert_eq!(retry_delay(0, &[]), Ok(None));
    }

    #[test]
    fn a_bad_schedule_is_refused_whole() {
        let negative = Some(Delay { months: 1, days: -1, micros: 0 });
        assert_eq!(
            retry_delay(-1, &[minutes(5)]),
            Err(Error::NegativeRetryCount { retry_count: -1 })
        );
        assert_eq!(retry_delay(0, &[minutes(5), None]), Err(Error::NullDelay { position: 2 }));
        assert_eq!(
            retry_delay(0, &[minutes(5), negative]),
            Err(Error::NegativeDelay { position: 2 })
        );
    }

    #[test]
    fn months_and_days_go_by_the_calendar() {
        let next = |delay| next_retry_at(0, time("2024-01-31T10:00:00Z"), &[delay]).unwrap();
        assert_eq!(next(minutes(5)), Some(time("2024-01-31T10:05:00Z")));
        assert_eq!(
            next(Some(Delay { months: 1, days: 1, micros: MINUTE })),
            Some(time("2024-03-01T10:01:00Z"))
        );
    }

    #[test]
    fn overflow_is_an_error() {
        let last = time("2024-01-31T10:00:00Z");
        for delay in [
            Delay { months: i32::MAX, days: 0, micros: 0 },
            Delay { months: 0, days: i32::MAX, micros: 0 },
            Delay { months: 0, days: 0, micros: i64::MAX },
        ] {
            assert_eq!(next_retry_at(0, last, &[Some(delay)]), Err(Error::RetryOutOfRange));
        }
    }
}
