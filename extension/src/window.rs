//! Messages of a lane that lie in a window of snapshots, in order: the slots of the outbox are walked side by side.

use std::ops::RangeInclusive;

use pgrx::pg_sys;

use crate::error::Error;
use crate::index::{key, Bound, Found, IndexOn, Indexed};
use crate::snapshot::Range;

const QUEUE: IndexOn = IndexOn::ordered(&[c"lane", c"xid", c"message_id"]);

/// Rows of a lane whose positions lie in one of these ranges, which come in ascending order, and are not behind `upto`.
pub struct Window {
    pub lane: i16,
    pub ranges: Vec<Range>,
    pub upto: (u64, i64),
}

/// A slot of the outbox.
struct Slot {
    rows: Indexed,
    xid: i32,
    message_id: i32,
    next: Option<((u64, i64), Found)>,
}

impl Window {
    /// Tells of each row, with the slot and the position that it has; false ends it. `slots`: by their numbers, where each row lies in
    /// one from the first to the last.
    pub fn walk(
        &self,
        partitions: [pg_sys::Oid; 3],
        slots: (i16, i16),
        tell: impl FnMut(&Indexed, Found, i16, (u64, i64)) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        self.walk_ids(partitions, slots, None, tell)
    }

    /// The same of rows whose ids are among these: of others only the index is read.
    pub fn walk_ids(
        &self,
        partitions: [pg_sys::Oid; 3],
        (first, last): (i16, i16),
        ids: Option<RangeInclusive<i64>>,
        mut tell: impl FnMut(&Indexed, Found, i16, (u64, i64)) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let mut slots = Vec::with_capacity(3);
        for (number, partition) in (0..).zip(partitions) {
            if (first..=last).contains(&number) {
                slots.push((number, Slot::open(partition)?));
            }
        }
        'ranges: for range in &self.ranges {
            for (_, slot) in &mut slots {
                slot.seek(self, range, ids.as_ref());
            }
            while let Some((number, slot)) = slots
                .iter_mut()
                .filter(|(_, slot)| slot.next.is_some())
                .min_by_key(|(_, slot)| slot.next.map(|(position, _)| position))
            {
                if let Some((position, row)) = slot.next {
                    if !tell(&slot.rows, row, *number, position)? {
                        break 'ranges;
                    }
                }
                slot.advance();
            }
        }
        slots.into_iter().for_each(|(_, slot)| slot.rows.close());
        Ok(())
    }
}

/// What is looked up once for each slot of a walk: its columns may be in other places.
pub struct BySlot<T> {
    make: fn(&Indexed) -> Result<T, Error>,
    made: Vec<(i16, T)>,
}

impl<T> BySlot<T> {
    pub fn new(make: fn(&Indexed) -> Result<T, Error>) -> Self {
        Self { make, made: Vec::with_capacity(3) }
    }

    pub fn of(&mut self, rows: &Indexed, slot: i16) -> Result<&T, Error> {
        let place = match self.made.iter().position(|(of, _)| *of == slot) {
            Some(place) => place,
            None => {
                self.made.push((slot, (self.make)(rows)?));
                self.made.len() - 1
            }
        };
        Ok(&self.made[place].1)
    }
}

impl Slot {
    fn open(partition: pg_sys::Oid) -> Result<Self, Error> {
        // SAFETY: the functions that walk are called by queries.
        let rows = unsafe { Indexed::open(partition, &QUEUE) }?;
        let (xid, message_id) = (rows.column(c"xid")?, rows.column(c"message_id")?);
        Ok(Self { rows, xid, message_id, next: None })
    }

    fn seek(&mut self, window: &Window, range: &Range, ids: Option<&RangeInclusive<i64>>) {
        let mut after = Bound::new(pg_sys::BTGreaterStrategyNumber, range.after);
        let last = (range.below - 1, i64::MAX).min(window.upto);
        let mut upto = Bound::new(pg_sys::BTLessEqualStrategyNumber, last);
        let equal = pg_sys::BTEqualStrategyNumber;
        let none = pg_sys::InvalidOid;
        let lane = key(1, equal, pg_sys::F_INT2EQ, none, window.lane.into());
        let mut keys = vec![lane, after.key(), upto.key()];
        if let Some(ids) = ids {
            let (from, to) =
                (pg_sys::BTGreaterEqualStrategyNumber, pg_sys::BTLessEqualStrategyNumber);
            keys.push(key(3, from, pg_sys::F_INT8GE, none, (*ids.start()).into()));
            keys.push(key(3, to, pg_sys::F_INT8LE, none, (*ids.end()).into()));
        }
        // SAFETY: these are the types of the index's columns.
        unsafe { self.rows.seek(&mut keys, [Some(after), Some(upto)]) };
        self.advance();
    }

    fn advance(&mut self) {
        self.next = self.rows.next().map(|row| {
            let number = |column| row.get(column).map_or(0, |datum| datum.value() as u64);
            ((number(self.xid), number(self.message_id) as i64), row)
        });
    }
}
