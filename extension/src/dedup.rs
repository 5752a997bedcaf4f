//! Rows of `dedup_keys`, for many alerts at once.

use pgrx::datum::{IntoDatum, TimestampWithTimeZone};
use pgrx::pg_sys;

use crate::admission::Keys;
use crate::error::Error;
use crate::index::{key, IndexOn, Indexed};
use crate::insert;
use crate::installed::Installed;
use crate::keys::Key;

const CONTENT: IndexOn = IndexOn::ordered(&[c"content_key"]);
const DAY: IndexOn = IndexOn::ordered(&[c"day_key"]);

/// What is known of keys that are wanted.
#[derive(Default)]
pub struct Look {
    pub held: Keys,
    /// Keys that are not held any more, and not purged yet.
    pub some_expired: bool,
}

/// Looks for keys, in their order: neighbours lie on the same page.
pub fn look(
    here: &Installed,
    mut contents: Vec<Key>,
    mut days: Vec<Key>,
    at: i64,
) -> Result<Look, Error> {
    let mut look = Look::default();
    for (index, until, wanted) in
        [(&CONTENT, c"content_until", &mut contents), (&DAY, c"day_until", &mut days)]
    {
        wanted.sort_unstable_by_key(|key| u128::from_be_bytes(*key));
        // SAFETY: in a query; the index is one of uuids, each of which outlives its walk.
        unsafe {
            let mut rows = Indexed::open(here.dedup_keys, index)?;
            let until = rows.column(until)?;
            for wanted in wanted.iter() {
                let datum = pg_sys::Datum::from(wanted.as_ptr());
                let equal = pg_sys::BTEqualStrategyNumber;
                let mut keys = [key(1, equal, pg_sys::F_UUID_EQ, pg_sys::InvalidOid, datum)];
                rows.seek(&mut keys, [None, None]);
                while let Some(row) = rows.next() {
                    if row.get(until).is_some_and(|until| until.value() as i64 > at) {
                        look.held.insert(*wanted);
                    } else {
                        look.some_expired = true;
                    }
                }
            }
            rows.close();
        }
    }
    Ok(look)
}

/// Keys that a message is to hold.
pub struct Reservation {
    pub content: Option<Key>,
    pub content_until: Option<TimestampWithTimeZone>,
    pub day: Option<Key>,
    pub owner: Key,
}

/// Reserves keys: those of days before those of contents, each in their order, so that two calls cannot wait for each other. A key that
/// another has is an error.
pub fn reserve_all(
    here: &Installed,
    reservations: &[Reservation],
    day_until: TimestampWithTimeZone,
) -> Result<(), Error> {
    let datum = |key: &Key| pg_sys::Datum::from(key.as_ptr());
    let sorted_by = |key: fn(&Reservation) -> Option<Key>| {
        let keys = reservations.iter().map(|reservation| key(reservation).map(u128::from_be_bytes));
        let mut places: Vec<_> = keys.zip(0..).collect();
        places.sort_unstable();
        places.into_iter().map(|(_, place)| place).collect::<Vec<usize>>()
    };
    let row = |place: usize| {
        let Reservation { content, content_until, day, owner } = &reservations[place];
        [
            (c"content_key", content.as_ref().map(datum)),
            (c"day_key", day.as_ref().map(datum)),
            (c"content_until", content.and(content_until.into_datum())),
            (c"day_until", day.and(day_until.into_datum())),
            (c"owner", Some(datum(owner))),
        ]
    };
    let orders = [
        (c"day_key", sorted_by(|reservation| reservation.day)),
        (c"content_key", sorted_by(|reservation| reservation.content)),
    ];
    insert::into(here.dedup_keys, |table| table.put_all_by_index(reservations.len(), row, &orders))
}
