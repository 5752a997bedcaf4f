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
    /// Of the other columns; looked up with the first row.
    places: Option<Places>,
    next: Option<((u64, i64), Found)>,
}

/// Where the columns of a message are, which may differ between the slots.
pub struct Places {
    pub delivery_key: i32,
    pub alert_id: i32,
    pub user_id: i32,
    pub priority: i32,
    pub channels: i32,
    pub delivered_channels: i32,
    pub owed_recipients: i32,
    pub content_hash: i32,
    pub alert_data: i32,
    pub attempt: i32,
    pub dlq_id: i32,
    pub bytes: i32,
    pub accepted_at: i32,
    pub enqueued_at: i32,
    pub expires_at: i32,
    pub traceparent: i32,
}

impl Places {
    fn of(rows: &Indexed) -> Result<Self, Error> {
        Ok(Self {
            delivery_key: rows.column(c"delivery_key")?,
            alert_id: rows.column(c"alert_id")?,
            user_id: rows.column(c"user_id")?,
            priority: rows.column(c"priority")?,
            channels: rows.column(c"channels")?,
            delivered_channels: rows.column(c"delivered_channels")?,
            owed_recipients: rows.column(c"owed_recipients")?,
            content_hash: rows.column(c"content_hash")?,
            alert_data: rows.column(c"alert_data")?,
            attempt: rows.column(c"attempt")?,
            dlq_id: rows.column(c"dlq_id")?,
            bytes: rows.column(c"bytes")?,
            accepted_at: rows.column(c"accepted_at")?,
            enqueued_at: rows.column(c"enqueued_at")?,
            expires_at: rows.column(c"expires_at")?,
            traceparent: rows.column(c"traceparent")?,
        })
    }
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

    /// Tells of each row of the window, with the places of its columns, its slot and its position; false ends it.
    pub fn walk(
        &mut self,
        window: &Window,
        mut tell: impl FnMut(Found, &Places, i16, (u64, i64)) -> Result<bool, Error>,
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
                    if !tell(row, slot.places()?, *number, position)? {
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

impl Slot {
    fn open(partition: pg_sys::Oid) -> Result<Self, Error> {
        // SAFETY: the functions that walk are called by queries.
        let rows = unsafe { Indexed::open(partition, &QUEUE) }?;
        let (xid, message_id) = (rows.column(c"xid")?, rows.column(c"message_id")?);
        Ok(Self { rows, xid, message_id, places: None, next: None })
    }

    fn places(&mut self) -> Result<&Places, Error> {
        match &mut self.places {
            Some(places) => Ok(places),
            none => Ok(none.insert(Places::of(&self.rows)?)),
        }
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
