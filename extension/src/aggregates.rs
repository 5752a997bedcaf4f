//! The aggregates that only `sql/` calls: a step for each row, and a row or a jsonb at the end.

use std::ptr;

use pgrx::datum::{Internal, IntoDatum, TimestampWithTimeZone};
use pgrx::memcxt::PgMemoryContexts;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{pg_extern, pg_sys};

use crate::claim_end::{ClaimEnd, Waiting};
use crate::new_jsonb::NewJsonb;
use crate::reached::{Address, Addresses};
use crate::row::{Row, RowType};
use crate::xid8::Xid8;

/// The state of an aggregate, made at its first row. It lives as long as the group.
fn state<T: Default>(state: &mut Internal, fcinfo: pg_sys::FunctionCallInfo) -> &mut T {
    if !state.initialized() {
        let mut context = ptr::null_mut();
        // SAFETY: asks of which aggregate this call is a part.
        let group = match unsafe { pg_sys::AggCheckCallContext(fcinfo, &raw mut context) } {
            0 => &mut PgMemoryContexts::CurrentMemoryContext, // of none
            _ => &mut PgMemoryContexts::For(context),
        };
        let made = group.leak_and_drop_on_delete(T::default());
        *state = Internal::from(Some(pg_sys::Datum::from(made)));
    }
    // SAFETY: the state of an aggregate is what its own function has returned before.
    unsafe { state.get_mut() }.unwrap_or_else(|| unreachable!())
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

/// Step of the aggregate `_claim_end`, declared in `sql/41_claim.sql`.
#[pg_extern(sql = false)]
fn _claim_end_take(
    mut end: Internal,
    slot: i16,
    xid: Xid8,
    message_id: i64,
    bytes: i32,
    expires_at: Option<TimestampWithTimeZone>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Internal {
    state::<ClaimEnd>(&mut end, fcinfo).take(&Waiting {
        slot,
        position: (xid.0, message_id),
        bytes,
        expires_at: expires_at.map(TimestampWithTimeZone::into_inner),
    });
    end
}

#[pg_extern(sql = false)]
fn _claim_end_row(mut end: Internal, fcinfo: pg_sys::FunctionCallInfo) -> Row {
    let end = state::<ClaimEnd>(&mut end, fcinfo);
    CLAIM_END.with(|row| {
        row.row([
            end.messages.into_datum(),
            end.slots.map(|(first, _)| first).into_datum(),
            end.slots.map(|(_, last)| last).into_datum(),
            end.expires_at.into_datum(),
            Xid8(end.upto.0).into_datum(),
            end.upto.1.into_datum(),
        ])
    })
}

/// Step of the aggregate `_by_channel`, declared in `sql/41_claim.sql`.
#[pg_extern(sql = false)]
fn _by_channel_add(
    mut addresses: Internal,
    channel: &str,
    recipient_id: i64,
    address: &str,
    secrets: Option<Vec<String>>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Internal {
    let address = Address { recipient_id, address: address.to_owned(), secrets };
    state::<Addresses>(&mut addresses, fcinfo).add(channel, address);
    addresses
}

#[pg_extern(sql = false)]
fn _by_channel_jsonb(
    mut addresses: Internal,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Result<Option<NewJsonb>, ErrorReport> {
    Ok(NewJsonb::of(&state::<Addresses>(&mut addresses, fcinfo).stored())?)
}
