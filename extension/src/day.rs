//! Days of UTC, which is the time zone of days unless the settings name another.

use std::cell::RefCell;

use chrono::{DateTime, Days, NaiveTime};

/// Microseconds since 1970.
type Micros = i64;

#[derive(Clone, Debug, PartialEq)]
pub struct Day {
    /// As in `2026-01-02`.
    pub name: String,
    /// When the next day begins.
    pub end: Micros,
}

const DAY: Micros = 86_400_000_000;

thread_local! {
    static LAST: RefCell<Option<Day>> = const { RefCell::new(None) };
}

/// The day of a time; None where the calendar does not reach. It is most often the day that was last asked for.
pub fn utc_day(at: Micros) -> Option<Day> {
    LAST.with_borrow_mut(|last| {
        if !last.as_ref().is_some_and(|day| (day.end - DAY..day.end).contains(&at)) {
            *last = day_of_calendar(at);
        }
        last.clone()
    })
}

fn day_of_calendar(at: Micros) -> Option<Day> {
    let date = DateTime::from_timestamp_micros(at)?.date_naive();
    let next = date.checked_add_days(Days::new(1))?.and_time(NaiveTime::MIN);
    Some(Day { name: date.to_string(), end: next.and_utc().timestamp_micros() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_where_the_next_begins() {
        let day = |name: &str, end| Some(Day { name: name.into(), end });
        assert_eq!(utc_day(0), day("1970-01-01", DAY));
        assert_eq!(utc_day(DAY - 1), day("1970-01-01", DAY));
        assert_eq!(utc_day(DAY), day("1970-01-02", 2 * DAY));
        assert_eq!(utc_day(20_454 * DAY), day("2026-01-01", 20_455 * DAY));
        assert_eq!(utc_day(Micros::MAX), None);
    }
}
