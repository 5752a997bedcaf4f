//! SQL functions of `sql/41_claim.sql`: where a lane's claims have come to, and how far the next one reaches.

use std::ptr;

use pgrx::datum::IntoDatum;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{pg_extern, FromDatum};

use crate::claim_end::{ClaimEnd, Waiting};
use crate::error::Error;
use crate::index::{key, Found, IndexOn, Indexed};
use crate::installed;
use crate::recipients::{self, Recipients};
use crate::row::{Row, RowType};
use crate::sequence;
use crate::snapshot::{self, Snapshot};
use crate::window::{BySlot, Window};
use crate::xid8::Xid8;

/// Of claims that are no take-overs.
const CURSOR: IndexOn =
    IndexOn { where_null: Some(c"takeover_of"), ..IndexOn::ordered(&[c"lane", c"claim_id"]) };

/// Declared in `sql/41_claim.sql`.
#[pg_extern(sql = false)]
fn _newest_claim(lane: i16, fcinfo: pg_sys::FunctionCallInfo) -> Result<Option<Row>, ErrorReport> {
    Ok(newest_claim(lane, fcinfo)?)
}

fn newest_claim(lane: i16, fcinfo: pg_sys::FunctionCallInfo) -> Result<Option<Row>, Error> {
    let mut newest: Option<(i64, Indexed, Found)> = None;
    for partition in installed::here().claims {
        // SAFETY: this function is called by queries.
        let mut claims = unsafe { Indexed::open(partition, &CURSOR) }?.backwards();
        let claim_id = claims.column(c"claim_id")?;
        let equal = pg_sys::BTEqualStrategyNumber;
        let mut keys = [key(1, equal, pg_sys::F_INT2EQ, pg_sys::InvalidOid, lane.into())];
        // SAFETY: the lane is a smallint.
        unsafe { claims.seek(&mut keys, [None, None]) };
        match claims.next().map(|row| (row.get(claim_id).map_or(0, |id| id.value() as i64), row)) {
            Some((id, row)) if newest.as_ref().is_none_or(|(newest, ..)| id > *newest) => {
                if let Some((_, before, _)) = newest.replace((id, claims, row)) {
                    before.close();
                }
            }
            _ => claims.close(),
        }
    }
    Ok(newest.map(|(_, claims, row)| {
        // SAFETY: the function is declared to return a row of the table of these partitions.
        let row = unsafe { row_of_table(&claims, row, fcinfo) };
        claims.close();
        row
    }))
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

thread_local! {
    static CLAIM_END: RowType<6> = const {
        RowType::new([
            (c"messages", pg_sys::INT4OID),
            (c"first_slot", pg_sys::INT2OID),
            (c"last_slot", pg_sys::INT2OID),
            (c"expires_at", pg_sys::TIMESTAMPTZOID),
            (c"upto_xid", pg_sys::XID8OID),
            (c"upto_id", pg_sys::INT8OID),
        ])
    };
}

/// Where the columns of a slot of the outbox are.
struct Places {
    bytes: i32,
    expires_at: i32,
    user_id: i32,
    channels: i32,
}

impl Places {
    fn of(rows: &Indexed) -> Result<Self, Error> {
        Ok(Self {
            bytes: rows.column(c"bytes")?,
            expires_at: rows.column(c"expires_at")?,
            user_id: rows.column(c"user_id")?,
            channels: rows.column(c"channels")?,
        })
    }
}

/// Declared in `sql/41_claim.sql`.
#[pg_extern(sql = false)]
fn _claim_end(
    lane: i16,
    lo: &str,
    hi: &str,
    after_xid: Xid8,
    after_id: i64,
    max_messages: i32,
) -> Result<Row, ErrorReport> {
    let here = installed::here();
    let after = (after_xid.0, after_id);
    let ranges = snapshot::window_ranges(&Snapshot::parse(lo)?, &Snapshot::parse(hi)?, after);
    let window = Window { lane, ranges, upto: (u64::MAX, i64::MAX) };
    let mut end = ClaimEnd::default();
    let mut addresses = match sequence::last_value(here.many_addresses) {
        Some(_) => Some(Recipients::open(here.recipients)?),
        None => None,
    };
    let mut places = BySlot::new(Places::of);
    window.walk(here.outbox, (0, 2), |rows, row, slot, position| {
        let place = places.of(rows, slot)?;
        let bytes = row.get(place.bytes).map_or(0, |bytes| bytes.value() as i32);
        let more = match &mut addresses {
            Some(addresses) => bytes_of_addresses(addresses, row, place)?,
            None => 0,
        };
        let bytes = i64::from(bytes).saturating_add(more).min(i32::MAX.into()) as i32;
        let expires_at = row.get(place.expires_at);
        // SAFETY: an i64 is what a timestamptz is.
        let expires_at = expires_at.and_then(|at| unsafe { i64::from_datum(at, false) });
        let has_room = end.take(&Waiting { slot, position, bytes, expires_at });
        Ok(has_room && end.messages < max_messages)
    })?;
    if let Some(addresses) = addresses {
        addresses.close();
    }
    Ok(CLAIM_END.with(|row| {
        row.row([
            end.messages.into_datum(),
            end.slots.map(|(first, _)| first).into_datum(),
            end.slots.map(|(_, last)| last).into_datum(),
            end.expires_at.into_datum(),
            Xid8(end.upto.0).into_datum(),
            end.upto.1.into_datum(),
        ])
    }))
}

/// What the addresses of a message take in a claim: each with some 100 around it.
fn bytes_of_addresses(
    addresses: &mut Recipients,
    row: Found,
    place: &Places,
) -> Result<i64, Error> {
    let mut bytes = 0i64;
    if let Some(user) = row.get(place.user_id) {
        let channels = row.get(place.channels);
        // SAFETY: they are of type text[].
        let channels = channels.map_or_else(Vec::new, |list| unsafe { recipients::texts(list) });
        addresses.each(user, &channels, |recipient| {
            bytes += recipient.address.len() as i64 + 100;
            Ok(())
        })?;
    }
    Ok(bytes)
}
