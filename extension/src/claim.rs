//! SQL functions of `sql/41_claim.sql`: a claim is made in one call, without a plan; what is out of the ordinary goes on in PL/pgSQL.

use std::{iter, ptr, str};

use pgrx::datum::IntoDatum;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{direct_function_call_as_datum, pg_extern, pg_sys};

use crate::claimed::{Claimed, Told, COLUMNS};
use crate::columns::{Column, Columns};
use crate::error::Error;
use crate::hold;
use crate::index::{Found, Indexed};
use crate::insert;
use crate::installed::{self, Installed};
use crate::leases;
use crate::owner;
use crate::queue::{timestamp, Cursors, Part, Queue};
use crate::recipients::text;
use crate::row::Row;
use crate::rows::Rows;
use crate::sequence;
use crate::statement::as_of_now;

/// Characters of a worker's name.
const MAX_WORKER: i32 = 255;
const MAX_MESSAGES: i32 = 10_000;
const DAY_MICROS: i128 = 86_400_000_000;

/// Declared in `sql/41_claim.sql`.
#[pg_extern(sql = false)]
fn claim_batch(fcinfo: pg_sys::FunctionCallInfo) -> Result<Rows<COLUMNS>, ErrorReport> {
    // SAFETY: so the function is declared.
    let (mut rows, request) = unsafe { (Rows::new(fcinfo), Request::of(fcinfo)) };
    let here = installed::here();
    let made = match request.filter(|request| may_claim() && request.is_in_range()) {
        Some(request) => owner::acting(here.owner, || request.claim(&here, &mut rows))?,
        None => Made::Nothing,
    };
    let claimed = match made {
        Made::Whole => return Ok(rows),
        Made::WithExpired(claim_id) => Some(claim_id),
        Made::Nothing => None,
    };
    rows.discard();
    let value = claimed.into_datum();
    let isnull = value.is_none();
    let claimed = pg_sys::NullableDatum { value: value.unwrap_or(pg_sys::Datum::null()), isnull };
    // SAFETY: the function is declared with these arguments, a claim that is there already, and the same rows.
    Ok(unsafe { Rows::of(installed::function(c"_claim_in_full"), fcinfo, &[claimed]) })
}

/// What was made of a request.
enum Made {
    /// All of it, also where nothing is waiting.
    Whole,
    /// A claim that is written, but of which messages have expired.
    WithExpired(i64),
    /// There is more to it.
    Nothing,
}

/// What is not so is refused, by who has the words for it.
fn may_claim() -> bool {
    // SAFETY: reads the transaction's state.
    unsafe {
        pg_sys::XactIsoLevel < pg_sys::XACT_REPEATABLE_READ as i32
            && !pg_sys::XactReadOnly
            && !pg_sys::IsInParallelMode()
    }
}

/// Arguments of a claim.
struct Request {
    worker: pg_sys::Datum,
    max_messages: i32,
    lease: pg_sys::Datum,
}

impl Request {
    /// None where one of them is NULL.
    ///
    /// SAFETY: the first arguments are a text, an integer and an interval.
    unsafe fn of(fcinfo: pg_sys::FunctionCallInfo) -> Option<Self> {
        let argument = |place| {
            // SAFETY: there are as many.
            let argument = unsafe { *(*fcinfo).args.as_ptr().add(place) };
            (!argument.isnull).then_some(argument.value)
        };
        let (worker, max_messages, lease) = (argument(0)?, argument(1)?, argument(2)?);
        Some(Self { worker, max_messages: max_messages.value() as i32, lease })
    }

    fn is_in_range(&self) -> bool {
        // SAFETY: the arguments are of these types.
        unsafe {
            let worker = text(self.worker);
            let length = pg_sys::pg_mbstrlen_with_len(worker.as_ptr().cast(), worker.len() as i32);
            (1..=MAX_WORKER).contains(&length)
                && !worker.iter().any(u8::is_ascii_control)
                && str::from_utf8(worker).is_ok()
                && (1..=MAX_MESSAGES).contains(&self.max_messages)
                && is_a_lease(&*self.lease.cast_mut_ptr())
        }
    }

    fn claim(&self, here: &Installed, rows: &mut Rows<COLUMNS>) -> Result<Made, Error> {
        if !as_of_now(|| hold::is_free(here))? {
            return Ok(Made::Nothing);
        }
        if ran_out(here)? {
            leases::search_again(here);
            return Ok(Made::Nothing);
        }
        let mut lanes = [0, 1, 2];
        if sequence::last_value(here.claim_id).is_some_and(|last| last % 8 == 7) {
            lanes.reverse(); // every eighth claim, so that a busy high lane does not starve the others
            lock_lanes(here);
        }
        let mut queue = None;
        let mut made = None;
        for lane in lanes {
            lock_lane(here, lane);
            let queue = match &mut queue {
                Some(queue) => queue,
                none => none.insert(Queue::open(here)?),
            };
            made = as_of_now(|| self.claim_of(lane, queue, here, rows))?;
            if made.is_some() {
                break;
            }
        }
        if let Some(queue) = queue {
            queue.close();
        }
        Ok(made.unwrap_or(Made::Whole))
    }

    /// None where the lane has no message.
    fn claim_of(
        &self,
        lane: i16,
        queue: &mut Queue,
        here: &Installed,
        rows: &mut Rows<COLUMNS>,
    ) -> Result<Option<Made>, Error> {
        let mut rows = Some(rows);
        let mut begun: Option<(i64, Claimed)> = None;
        let part = queue.next_part(lane, self.max_messages, |message_id, row, place| {
            if let Some(rows) = rows.take() {
                begun = Some((next_claim_id(here), Claimed::open(here, Told::default(), rows)?));
            }
            match &mut begun {
                Some((claim_id, claimed)) => claimed.push(*claim_id, message_id, row, place),
                None => Ok(()),
            }
        })?;
        queue.stop();
        let claim_id = begun.map(|(claim_id, claimed)| {
            claimed.close();
            claim_id
        });
        let Some(part) = part else { return Ok(None) };
        let claim_id = self.write(claim_id, &part, here)?;
        let has_expired = part.end.expires_at.is_some_and(|at| at <= timestamp());
        let made = if has_expired { Made::WithExpired(claim_id) } else { Made::Whole };
        Ok((part.end.messages > 0).then_some(made))
    }

    /// Into the slot in use, which is not rotated while a lane is locked. Returns the id, which may have been drawn before.
    fn write(&self, claim_id: Option<i64>, part: &Part, here: &Installed) -> Result<i64, Error> {
        let slot = sequence::last_value(here.outbox_slot).unwrap_or(0);
        let partition = here.claims.get(slot as usize).copied().unwrap_or(pg_sys::InvalidOid);
        let Part { lane, lo, hi, after, end } = part;
        let claimed_at = timestamp();
        let lease_until = match end.messages {
            0 => i64::MAX.into_datum(), // infinity: there is nothing to take over
            // SAFETY: the function takes a timestamptz and an interval.
            _ => unsafe {
                let arguments = [claimed_at.into_datum(), Some(self.lease)];
                direct_function_call_as_datum(pg_sys::timestamptz_pl_interval, &arguments)
            },
        };
        let mut snapshots = Columns::<2>::new();
        let (lo, hi) = (lo.stored(), hi.stored());
        snapshots.set([Column::Bytes(&lo), Column::Bytes(&hi)]); // these have their length before them, as a text has
        let [lo, hi] = snapshots.values();
        let (first_slot, last_slot) = end.slots.unzip();
        let row = |claim_id: i64| {
            [
                (c"slot", (slot as i16).into_datum()),
                (c"lane", lane.into_datum()),
                (c"first_slot", first_slot.into_datum()),
                (c"last_slot", last_slot.into_datum()),
                (c"claim_id", claim_id.into_datum()),
                (c"lo", lo),
                (c"hi", hi),
                (c"after_xid", Some(after.0.into())),
                (c"after_id", after.1.into_datum()),
                (c"upto_xid", Some(end.upto.0.into())),
                (c"upto_id", end.upto.1.into_datum()),
                (c"messages", end.messages.into_datum()),
                (c"expires_at", end.expires_at.into_datum()),
                (c"takeovers", 0i16.into_datum()),
                (c"worker", Some(self.worker)),
                (c"claimed_at", claimed_at.into_datum()),
                (c"lease_until", lease_until),
            ]
        };
        insert::into(partition, |claims| {
            let claim_id = claim_id.unwrap_or_else(|| next_claim_id(here));
            claims.put_all(iter::once(Ok(row(claim_id))))?;
            Ok(claim_id)
        })
    }
}

/// From a millisecond to a day, as Postgres compares intervals.
fn is_a_lease(lease: &pg_sys::Interval) -> bool {
    let days = i128::from(lease.month) * 30 + i128::from(lease.day);
    (1000..=DAY_MICROS).contains(&(days * DAY_MICROS + i128::from(lease.time)))
}

fn next_claim_id(here: &Installed) -> i64 {
    sequence::next_value(here.claim_id).unwrap_or(0)
}

/// Until the end of the transaction, against others that do the same. A stronger lock would have to look into each session's own list of
/// locks, which takes longer than all else that a claim of nothing does.
fn lock_lane(here: &Installed, lane: i16) {
    let mode = pg_sys::ShareUpdateExclusiveLock as i32;
    // SAFETY: the table was there when its OID was looked up.
    unsafe { pg_sys::LockRelationOid(here.lanes[lane as usize], mode) };
}

/// Always in this order.
fn lock_lanes(here: &Installed) {
    (0..3).for_each(|lane| lock_lane(here, lane));
}

/// Declared in `sql/41_claim.sql`.
#[pg_extern(sql = false)]
fn _claim_lane(fcinfo: pg_sys::FunctionCallInfo) -> Result<Option<i64>, ErrorReport> {
    // SAFETY: the function is declared STRICT, with the lane as its last argument.
    let (request, lane) =
        unsafe { (Request::of(fcinfo), (*(*fcinfo).args.as_ptr().add(3)).value.value() as i16) };
    let Some(request) = request else { return Ok(None) };
    let here = installed::here();
    lock_lane(&here, lane);
    let mut queue = Queue::open(&here)?;
    let claimed = as_of_now(|| {
        let part = queue.next_part(lane, request.max_messages, |_, _, _| Ok(()))?;
        queue.stop();
        let Some(part) = part else { return Ok(None) };
        let claim_id = request.write(None, &part, &here)?;
        Ok((part.end.messages > 0).then_some(claim_id))
    })?;
    queue.close();
    Ok(claimed)
}

/// Declared in `sql/41_claim.sql`.
#[pg_extern(sql = false)]
fn _leases_ran_out() -> Result<bool, ErrorReport> {
    Ok(ran_out(&installed::here())?)
}

/// Whether it is time to look for leases, and one is to be taken over.
fn ran_out(here: &Installed) -> Result<bool, Error> {
    if !leases::search_is_due(here) {
        return Ok(false);
    }
    lock_lanes(here);
    as_of_now(|| leases::any_ran_out(here))
}

/// Declared in `sql/41_claim.sql`.
#[pg_extern(sql = false)]
fn _lock_lanes() {
    lock_lanes(&installed::here());
}

/// Declared in `sql/41_claim.sql`.
#[pg_extern(sql = false)]
fn _newest_claim(lane: i16, fcinfo: pg_sys::FunctionCallInfo) -> Result<Option<Row>, ErrorReport> {
    let mut cursors = Cursors::open(installed::here().claims)?;
    // SAFETY: the function is declared to return a row of the table of these partitions.
    let row =
        cursors.newest_row(lane)?.map(|(claims, row)| unsafe { row_of_table(claims, row, fcinfo) });
    cursors.close();
    Ok(row)
}

/// The row of a partition as one of its table, which may have its columns in other places.
unsafe fn row_of_table(from: &Indexed, row: Found, fcinfo: pg_sys::FunctionCallInfo) -> Row {
    unsafe {
        let mut descriptor = ptr::null_mut();
        pg_sys::get_call_result_type(fcinfo, ptr::null_mut(), &raw mut descriptor);
        let mut tuple = pg_sys::ExecFetchSlotHeapTuple(row.0, false, ptr::null_mut());
        let map = pg_sys::convert_tuples_by_name(from.descriptor(), descriptor);
        if !map.is_null() {
            tuple = pg_sys::execute_attr_map_tuple(tuple, map);
        }
        Row(pg_sys::heap_copy_tuple_as_datum(tuple, descriptor))
    }
}
