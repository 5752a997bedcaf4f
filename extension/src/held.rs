//! A claim that a worker reports on: locked, and what was reported of it before.

use std::ffi::CStr;
use std::ops::RangeInclusive;

use pgrx::pg_sys;

use crate::arrays::bigints;
use crate::error::Error;
use crate::index::{key, Found, IndexOn, Indexed};
use crate::installed::Installed;
use crate::recipients::text;
use crate::snapshot::{self, Snapshot};
use crate::window::Window;

const CLAIM: IndexOn = IndexOn::ordered(&[c"claim_id", c"slot"]);
const LOG: IndexOn = IndexOn::ordered(&[c"claim_id"]);

/// A row of table `claims`.
pub struct Held {
    pub claim_id: i64,
    pub slot: i16,
    lane: i16,
    lo: Snapshot,
    hi: Snapshot,
    after: (u64, i64),
    upto: (u64, i64),
    /// Its messages lie in slots from the first of these to the second.
    pub slots: (i16, i16),
    pub messages: usize,
}

/// The claim, locked until the end of the transaction. None where it is not the worker's, or not found.
pub fn lock(here: &Installed, claim_id: i64, worker: &[u8]) -> Result<Option<Held>, Error> {
    for partition in here.claims {
        // SAFETY: reports are called by queries, and see all when they come here; the column is a bigint.
        let mut claims = unsafe { Indexed::open_for_update(partition, &CLAIM) }?;
        unsafe { claims.seek(&mut [equals(claim_id)], [None, None]) };
        let is_here = claims.next().is_some();
        let held = match is_here.then(|| claims.lock()).flatten() {
            Some(row) => read(&claims, row, claim_id, worker)?,
            None => None,
        };
        claims.close();
        if is_here {
            return Ok(held);
        }
    }
    Ok(None)
}

fn equals(claim_id: i64) -> pg_sys::ScanKeyData {
    let equal = pg_sys::BTEqualStrategyNumber;
    key(1, equal, pg_sys::F_INT8EQ, pg_sys::InvalidOid, claim_id.into())
}

fn read(claims: &Indexed, row: Found, claim_id: i64, worker: &[u8]) -> Result<Option<Held>, Error> {
    let get = |name: &CStr| Ok::<_, Error>(row.get(claims.column(name)?));
    let number = |name: &CStr| Ok::<_, Error>(get(name)?.map_or(0, |datum| datum.value() as i64));
    let position = |xid, id| Ok::<_, Error>((number(xid)? as u64, number(id)?));
    // SAFETY: the columns are a text and two pg_snapshots.
    let is_its = get(c"worker")?.is_some_and(|name| unsafe { text(name) } == worker);
    let slots = (get(c"first_slot")?, get(c"last_slot")?);
    let messages = number(c"messages")? as i32;
    let (Some(first), Some(last), true) = (slots.0, slots.1, is_its && messages > 0) else {
        return Ok(None);
    };
    let snapshot = |name| match get(name)? {
        Some(stored) => Snapshot::of(unsafe { text(stored) }),
        None => Err(Error::RowType),
    };
    Ok(Some(Held {
        claim_id,
        slot: number(c"slot")? as i16,
        lane: number(c"lane")? as i16,
        lo: snapshot(c"lo")?,
        hi: snapshot(c"hi")?,
        after: position(c"after_xid", c"after_id")?,
        upto: position(c"upto_xid", c"upto_id")?,
        slots: (first.value() as i16, last.value() as i16),
        messages: messages as usize,
    }))
}

impl Held {
    /// Those of its messages behind a position, with these ids.
    pub fn window(&self, behind: (u64, i64), ids: RangeInclusive<i64>) -> Window {
        let ranges = snapshot::window_ranges(&self.lo, &self.hi, self.after.max(behind));
        Window { lane: self.lane, ranges, upto: self.upto, ids: Some(ids) }
    }
}

/// The messages that were reported before; None where the claim has ended.
pub fn finished(here: &Installed, held: &Held) -> Result<Option<Vec<i64>>, Error> {
    let Some(partition) = here.claim_log.get(held.slot as usize) else { return Ok(None) };
    let (mut finished, mut is_open) = (vec![], true);
    // SAFETY: as above; the columns are a bigint and a bigint[].
    unsafe {
        let mut log = Indexed::open(*partition, &LOG)?;
        let (ids, ended) = (log.column(c"finished")?, log.column(c"ended")?);
        log.seek(&mut [equals(held.claim_id)], [None, None]);
        while let Some(row) = log.next() {
            match row.get(ids).and_then(|ids| bigints(ids)) {
                Some(ids) if row.get(ended).is_none() => finished.extend_from_slice(ids),
                _ => is_open = false,
            }
        }
        log.close();
    }
    Ok(is_open.then_some(finished))
}
