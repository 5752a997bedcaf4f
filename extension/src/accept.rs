//! SQL functions of `sql/31_deliver.sql` that write what a firing is accepted by: its keys, and its row of the outbox.

use pgrx::datum::{Array, IntoDatum, Uuid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{pg_extern, pg_sys};

use crate::error::Error;
use crate::insert;
use crate::row::{Fields, RowArgument, RowType};
use crate::sequence;

pub const FIELDS: usize = 24;

thread_local! {
    /// A firing, as `_read_alert` has read it and `deliver_alert` has completed it.
    pub static FIRED: RowType<FIELDS> = const {
        RowType::new([
            (c"at", pg_sys::TIMESTAMPTZOID),
            (c"alert_id", pg_sys::TEXTOID),
            (c"user_id", pg_sys::TEXTOID),
            (c"alert_name", pg_sys::TEXTOID),
            (c"priority", pg_sys::TEXTOID),
            (c"channels", pg_sys::TEXTARRAYOID),
            (c"owed", pg_sys::TEXTARRAYOID),
            (c"content_hash", pg_sys::TEXTOID),
            (c"expires", pg_sys::TEXTOID),
            (c"expires_at", pg_sys::TIMESTAMPTZOID),
            (c"parent", pg_sys::TEXTOID),
            (c"message_key", pg_sys::UUIDOID),
            (c"content_key", pg_sys::UUIDOID),
            (c"day_key", pg_sys::UUIDOID),
            (c"content_until", pg_sys::TIMESTAMPTZOID),
            (c"day_until", pg_sys::TIMESTAMPTZOID),
            (c"lane", pg_sys::INT2OID),
            (c"in_app", pg_sys::BOOLOID),
            (c"plain", pg_sys::BOOLOID),
            (c"delivered", pg_sys::TEXTARRAYOID),
            (c"alert_data", pg_sys::JSONBOID),
            (c"bytes", pg_sys::INT4OID),
            (c"accepted", pg_sys::BOOLOID),
            (c"wake", pg_sys::BOOLOID),
        ])
    };
}

/// What a firing is accepted with.
pub struct Queue<'a> {
    pub dedup_keys: pg_sys::Oid,
    /// Of the outbox, by slot.
    pub partitions: Array<'a, pg_sys::Oid>,
    pub outbox_slot: pg_sys::Oid,
    pub message_id: pg_sys::Oid,
    pub install_id: Uuid,
}

/// Reserves a firing's keys and puts it into the outbox; false where one of them is held.
pub fn accept(fired: &Fields<FIELDS>, queue: &Queue) -> Result<bool, Error> {
    if !reserve(fired, queue.dedup_keys)? {
        return Ok(false);
    }
    let slot = sequence::last_value(queue.outbox_slot).unwrap_or(0) as usize;
    let partition = queue.partitions.get(slot).flatten().unwrap_or(pg_sys::InvalidOid);
    enqueue(
        fired,
        partition,
        slot as i16,
        sequence::next_value(queue.message_id),
        queue.install_id,
    )?;
    Ok(true)
}

/// Declared in `sql/31_deliver.sql`.
#[pg_extern(sql = false)]
fn _reserve(fired: RowArgument, dedup_keys: pg_sys::Oid) -> Result<bool, ErrorReport> {
    let fired = FIRED.with(|row| row.read(fired))?;
    Ok(reserve(&fired, dedup_keys)?)
}

/// Declared in `sql/31_deliver.sql`.
#[pg_extern(sql = false)]
fn _enqueue(
    fired: RowArgument,
    partitions: Array<pg_sys::Oid>,
    slot: i16,
    message_id: i64,
    install_id: Uuid,
) -> Result<bool, ErrorReport> {
    let fired = FIRED.with(|row| row.read(fired))?;
    let partition = partitions.get(slot as usize).flatten().unwrap_or(pg_sys::InvalidOid);
    enqueue(&fired, partition, slot, Some(message_id), install_id)?;
    Ok(true)
}

fn reserve(fired: &Fields<FIELDS>, dedup_keys: pg_sys::Oid) -> Result<bool, Error> {
    let row = [
        (c"content_key", fired.get(c"content_key")),
        (c"day_key", fired.get(c"day_key")),
        (c"content_until", fired.get(c"content_until")),
        (c"day_until", fired.get(c"day_until")),
        (c"owner", fired.get(c"message_key")),
    ];
    insert::into(dedup_keys, |table| table.put_unless_held(&row))
}

fn enqueue(
    fired: &Fields<FIELDS>,
    partition: pg_sys::Oid,
    slot: i16,
    message_id: Option<i64>,
    install_id: Uuid,
) -> Result<(), Error> {
    // SAFETY: the transaction is one that may write: a row is inserted next.
    let xid = unsafe { pg_sys::GetCurrentFullTransactionId() };
    let row = [
        (c"slot", slot.into_datum()),
        (c"lane", fired.get(c"lane")),
        (c"xid", Some(xid.value.into())),
        (c"message_id", message_id.into_datum()),
        (c"install_id", install_id.into_datum()),
        (c"delivery_key", fired.get(c"message_key")),
        (c"alert_id", fired.get(c"alert_id")),
        (c"user_id", fired.get(c"user_id")),
        (c"priority", fired.get(c"priority")),
        (c"channels", fired.get(c"owed")),
        (c"delivered_channels", fired.get(c"delivered")),
        (c"content_hash", fired.get(c"content_hash")),
        (c"content_key", fired.get(c"content_key")),
        (c"day_key", fired.get(c"day_key")),
        (c"attempt", 1.into_datum()),
        (c"bytes", fired.get(c"bytes")),
        (c"accepted_at", fired.get(c"at")),
        (c"enqueued_at", fired.get(c"at")),
        (c"expires_at", fired.get(c"expires_at")),
        (c"traceparent", fired.get(c"parent")),
        (c"alert_data", fired.get(c"alert_data")),
    ];
    insert::into(partition, |table| table.put(&row))
}
