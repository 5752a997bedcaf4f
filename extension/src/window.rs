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
    /// Of rows whose ids are not among these only the index is read.
    pub ids: Option<RangeInclusive<i64>>,
}

/// A slot of the outbox.
struct Slot {
    rows: Indexed,
    xid: i32,
    message_id: i32,
    next: Option<((u64, i64), Found)>,
}

/// Slots of the outbox, by their numbers.
pub struct Outbox(Vec<(i16, Slot)>);

impl Outbox {
    /// Those from the first to the last.
    pub fn open(partitions: [pg_sys::Oid; 3], (first, last): (i16, i16)) -> Result<Self, Error> {
        let mut slots = Vec::with_capacity(partitions.len());
        for (number, partition) in (0..).zip(partitions) {
            if (first..=last).contains(&number) {
                slots.push((number, Slot::open(partition)?));
            }
        }
        Ok(Self(slots))
    }

    /// Tells of each row of the window, with the slot and the position that it has; false ends it.
    pub fn walk(
        &mut self,
        window: &Window,
        mut tell: impl FnMut(&Indexed, Found, i16, (u64, i64)) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let slots = self.0.iter_mut().filter(|(_, slot)| !slot.rows.is_empty());
        let mut slots: Vec<_> = slots.collect();
        for range in &window.ranges {
            for (_, slot) in &mut slots {
                slot.seek(window, range);
            }
            while let Some((number, slot)) = slots
                .iter_mut()
                .filter(|(_, slot)| slot.next.is_some())
                .min_by_key(|(_, slot)| slot.next.map(|(position, _)| position))
            {
                if let Some((position, row)) = slot.next {
                    if !tell(&slot.rows, row, *number, position)? {
                        return Ok(());
                    }
                }
                slot.advance();
            }
        }
        Ok(())
    }

    /// The next walk is with the snapshot of its time.
    pub fn stop(&mut self) {
        self.0.iter_mut().for_each(|(_, slot)| slot.rows.stop());
    }

    pub fn close(self) {
        self.0.into_iter().for_each(|(_, slot)| slot.rows.close());
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

    fn seek(&mut self, window: &Window, range: &Range) {
        let mut after = Bound::new(pg_sys::BTGreaterStrategyNumber, range.after);
        let last = (range.below - 1, i64::MAX).min(window.upto);
        let mut upto = Bound::new(pg_sys::BTLessEqualStrategyNumber, last);
        let equal = pg_sys::BTEqualStrategyNumber;
        let none = pg_sys::InvalidOid;
        let lane = key(1, equal, pg_sys::F_INT2EQ, none, window.lane.into());
        let mut keys = vec![lane, after.key(), upto.key()];
        if let Some(ids) = &window.ids {
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
