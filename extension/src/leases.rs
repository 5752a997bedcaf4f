//! Leases that ran out: whether one is to be taken over.

use pgrx::{pg_sys, FromDatum};

use crate::error::Error;
use crate::index::{key, IndexOn, Indexed};
use crate::installed::Installed;
use crate::internal::now_micros;
use crate::queue::timestamp;
use crate::sequence;

const CLAIMS: IndexOn = IndexOn::ordered(&[c"claim_id", c"slot"]);
const LOG: IndexOn = IndexOn::ordered(&[c"claim_id"]);

/// At most once a second; a mark in the future is of a clock that was set back.
const SEARCH_EVERY_MS: i64 = 1000;

/// Whether they are to be searched. Then others need not, for a second.
pub fn search_is_due(here: &Installed) -> bool {
    let now = now_micros() / 1000;
    let searched = sequence::last_value(here.leases_searched_at);
    let is_due = searched.is_none_or(|at| !(now - SEARCH_EVERY_MS..=now).contains(&at));
    if is_due {
        sequence::set(here.leases_searched_at, now);
    }
    is_due
}

/// As if none had searched: the next claim does.
pub fn search_again(here: &Installed) {
    sequence::set(here.leases_searched_at, 1);
}

/// Whether a claim that has not ended has no lease any more. Notes below which claims all have ended. The caller has locked all lanes, so
/// that no claim is being written, and its snapshot is newer than the locks.
pub fn any_ran_out(here: &Installed) -> Result<bool, Error> {
    let (mut first_open, mut ran_out) = (None, false);
    let low_water = sequence::last_value(here.lease_low_water).unwrap_or(1);
    let mut log = Vec::with_capacity(here.claim_log.len());
    for partition in here.claim_log {
        // SAFETY: claims are made by queries.
        let part = unsafe { Indexed::open(partition, &LOG) }?;
        if part.is_empty() {
            part.close();
        } else {
            log.push(part);
        }
    }
    for partition in here.claims {
        // SAFETY: as above.
        let mut claims = unsafe { Indexed::open(partition, &CLAIMS) }?;
        if !claims.is_empty() {
            let (claim_id, messages) = (claims.column(c"claim_id")?, claims.column(c"messages")?);
            let lease_until = claims.column(c"lease_until")?;
            let at_least = pg_sys::BTGreaterEqualStrategyNumber;
            let none = pg_sys::InvalidOid;
            let mut keys = [key(1, at_least, pg_sys::F_INT8GE, none, low_water.into())];
            // SAFETY: these are the types of the columns.
            unsafe {
                claims.seek(&mut keys, [None, None]);
                while let Some(row) = claims.next() {
                    let has_messages =
                        row.get(messages).is_some_and(|many| many.value() as i32 > 0);
                    let id = row.get(claim_id).map_or(0, |id| id.value() as i64);
                    if !has_messages || has_ended(&mut log, id)? {
                        continue;
                    }
                    first_open = first_open.into_iter().chain([id]).min();
                    let until = row.get(lease_until).and_then(|at| i64::from_datum(at, false));
                    ran_out |= until.is_some_and(|until| until < timestamp());
                }
            }
        }
        claims.close();
    }
    log.into_iter().for_each(Indexed::close);
    // SAFETY: reads the transaction's state.
    if unsafe { pg_sys::GetTopFullTransactionIdIfAny() }.value == 0 {
        // Only what is committed may raise the mark: an end that is rolled back would leave its claim below it for ever.
        let last = || sequence::last_value(here.claim_id).unwrap_or(1);
        sequence::set(here.lease_low_water, first_open.unwrap_or_else(last));
    }
    Ok(ran_out)
}

fn has_ended(log: &mut [Indexed], claim_id: i64) -> Result<bool, Error> {
    for log in log {
        let ended = log.column(c"ended")?;
        let equal = pg_sys::BTEqualStrategyNumber;
        let mut keys = [key(1, equal, pg_sys::F_INT8EQ, pg_sys::InvalidOid, claim_id.into())];
        // SAFETY: the column is a bigint.
        unsafe { log.seek(&mut keys, [None, None]) };
        while let Some(row) = log.next() {
            if row.get(ended).is_some() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
