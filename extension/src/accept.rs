//! What a firing is accepted by: its keys, and its row of the outbox. SQL functions of `sql/31_deliver.sql` and `sql/32_deliver_bulk.sql`.

use std::ffi::CStr;
use std::iter;

use pgrx::datum::{Array, FromDatum, IntoDatum, TimestampWithTimeZone, Uuid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{pg_extern, pg_sys};

use crate::error::Error;
use crate::insert::{self, Values};
use crate::row::{Fields, RowArgument, RowType};
use crate::sequence;

pub const FIELDS: usize = 24;

thread_local! {
    /// A firing, as `_fire` has read it and `deliver_alert` has completed it.
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

/// The outbox, and what its rows have of it.
pub struct Outbox<'a> {
    /// By slot.
    pub partitions: Array<'a, pg_sys::Oid>,
    pub slot: pg_sys::Oid,
    pub message_ids: pg_sys::Oid,
    pub install_id: Uuid,
}

impl Outbox<'_> {
    /// Puts messages into the slot in use; returns how many.
    pub fn enqueue(
        &self,
        messages: impl Iterator<Item = Result<Message, Error>>,
    ) -> Result<i64, Error> {
        let mut messages = messages.peekable();
        if messages.peek().is_none() {
            return Ok(0); // without a transaction id
        }
        let slot = sequence::last_value(self.slot).unwrap_or(0);
        let partition = self.partitions.get(slot as usize).flatten().unwrap_or(pg_sys::InvalidOid);
        insert::into(partition, |table| {
            // SAFETY: that the transaction may write was checked when the table was opened.
            let xid = unsafe { pg_sys::GetTopFullTransactionId() };
            table.put_all(messages.map(|message| {
                let message = message?;
                Ok([
                    (c"slot", (slot as i16).into_datum()),
                    (c"lane", message.lane),
                    (c"xid", Some(xid.value.into())),
                    (c"message_id", sequence::next_value(self.message_ids).into_datum()),
                    (c"install_id", self.install_id.into_datum()),
                    (c"delivery_key", message.delivery_key),
                    (c"alert_id", message.alert_id),
                    (c"user_id", message.user_id),
                    (c"priority", message.priority),
                    (c"channels", message.channels),
                    (c"delivered_channels", message.delivered_channels),
                    (c"content_hash", message.content_hash),
                    (c"content_key", message.content_key),
                    (c"day_key", message.day_key),
                    (c"attempt", 1.into_datum()),
                    (c"bytes", message.bytes),
                    (c"accepted_at", message.at),
                    (c"enqueued_at", message.at),
                    (c"expires_at", message.expires_at),
                    (c"traceparent", message.traceparent),
                    (c"alert_data", message.alert_data),
                ])
            }))
        })
    }
}

/// Values of a message's row, by the names of the outbox; accepted and enqueued `at` the same time.
pub struct Message {
    lane: Option<pg_sys::Datum>,
    delivery_key: Option<pg_sys::Datum>,
    alert_id: Option<pg_sys::Datum>,
    user_id: Option<pg_sys::Datum>,
    priority: Option<pg_sys::Datum>,
    channels: Option<pg_sys::Datum>,
    delivered_channels: Option<pg_sys::Datum>,
    content_hash: Option<pg_sys::Datum>,
    content_key: Option<pg_sys::Datum>,
    day_key: Option<pg_sys::Datum>,
    bytes: Option<pg_sys::Datum>,
    at: Option<pg_sys::Datum>,
    expires_at: Option<pg_sys::Datum>,
    traceparent: Option<pg_sys::Datum>,
    alert_data: Option<pg_sys::Datum>,
}

impl Message {
    fn of(fired: &Fields<FIELDS>) -> Self {
        Self {
            lane: fired.get(c"lane"),
            delivery_key: fired.get(c"message_key"),
            alert_id: fired.get(c"alert_id"),
            user_id: fired.get(c"user_id"),
            priority: fired.get(c"priority"),
            channels: fired.get(c"owed"),
            delivered_channels: fired.get(c"delivered"),
            content_hash: fired.get(c"content_hash"),
            content_key: fired.get(c"content_key"),
            day_key: fired.get(c"day_key"),
            bytes: fired.get(c"bytes"),
            at: fired.get(c"at"),
            expires_at: fired.get(c"expires_at"),
            traceparent: fired.get(c"parent"),
            alert_data: fired.get(c"alert_data"),
        }
    }
}

/// Reserves a firing's keys and puts its message into the outbox; false where one of them is held.
pub fn accept(fired: &Fields<FIELDS>, keys: pg_sys::Oid, outbox: &Outbox) -> Result<bool, Error> {
    let free = reserve(fired, keys)?;
    if free {
        outbox.enqueue(iter::once(Ok(Message::of(fired))))?;
    }
    Ok(free)
}

/// Declared in `sql/31_deliver.sql`.
#[pg_extern(sql = false)]
fn _reserve_keys(fired: RowArgument, dedup_keys: pg_sys::Oid) -> Result<bool, ErrorReport> {
    let fired = FIRED.with(|row| row.read(fired))?;
    Ok(reserve(&fired, dedup_keys)?)
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

/// Declared in `sql/31_deliver.sql`.
#[pg_extern(sql = false)]
fn _enqueue(
    fired: RowArgument,
    partitions: Array<pg_sys::Oid>,
    outbox_slot: pg_sys::Oid,
    message_ids: pg_sys::Oid,
    install_id: Uuid,
) -> Result<bool, ErrorReport> {
    let fired = FIRED.with(|row| row.read(fired))?;
    let outbox = Outbox { partitions, slot: outbox_slot, message_ids, install_id };
    outbox.enqueue(iter::once(Ok(Message::of(&fired))))?;
    Ok(true)
}

/// The columns of type `firing`.
const FIRING: [&CStr; 15] = [
    c"ordinal",
    c"ended",
    c"message_key",
    c"alert_id",
    c"alert_name",
    c"user_id",
    c"message",
    c"priority",
    c"lane",
    c"channels",
    c"content_hash",
    c"content_key",
    c"expires_at",
    c"traceparent",
    c"alert_data",
];

/// A key, with its row of `dedup_keys`.
type Reservation<'a> = ([u8; 16], Values<'a, 3>);

/// Declared in `sql/32_deliver_bulk.sql`.
#[pg_extern(sql = false)]
fn _reserve_all(
    day_keys: Array<Uuid>,
    day_until: TimestampWithTimeZone,
    content_keys: Array<Uuid>,
    content_until: Array<TimestampWithTimeZone>,
    owners: Array<Uuid>,
    dedup_keys: pg_sys::Oid,
) -> Result<(), ErrorReport> {
    let mut days: Vec<Reservation> = day_keys
        .iter()
        .zip(owners.iter())
        .filter_map(|(key, owner)| {
            let columns = [
                (c"day_key", key.into_datum()),
                (c"day_until", day_until.into_datum()),
                (c"owner", owner.into_datum()),
            ];
            Some((*key?.as_bytes(), columns))
        })
        .collect();
    let mut contents: Vec<Reservation> = content_keys
        .iter()
        .zip(content_until.iter())
        .zip(owners.iter())
        .filter_map(|((key, until), owner)| {
            let columns = [
                (c"content_key", key.into_datum()),
                (c"content_until", until.into_datum()),
                (c"owner", owner.into_datum()),
            ];
            Some((*key?.as_bytes(), columns))
        })
        .collect();
    days.sort_unstable_by_key(|(key, _)| *key);
    contents.sort_unstable_by_key(|(key, _)| *key);
    let rows = days.into_iter().chain(contents).map(|(_, row)| Ok(row));
    insert::into(dedup_keys, |table| table.put_all(rows))?;
    Ok(())
}

/// Declared in `sql/32_deliver_bulk.sql`.
#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments)]
fn _enqueue_all(
    firings: Array<RowArgument>,
    verdicts: Array<i32>,
    day_keys: Array<Uuid>,
    at: TimestampWithTimeZone,
    partitions: Array<pg_sys::Oid>,
    outbox_slot: pg_sys::Oid,
    message_ids: pg_sys::Oid,
    install_id: Uuid,
) -> Result<i64, ErrorReport> {
    let outbox = Outbox { partitions, slot: outbox_slot, message_ids, install_id };
    let delivered = vec!["inapp"].into_datum();
    let nothing = Vec::<&str>::new().into_datum();
    let message = |firing: Option<RowArgument>, day_key: Option<Uuid>| {
        let firing = firing.ok_or(Error::RowType)?.named(FIRING)?;
        let channels = firing.get(c"channels");
        // SAFETY: the columns are a text[] and a jsonb, which has its length before it.
        let (names, bytes) = unsafe {
            let names = channels.and_then(|names| Array::<&str>::from_datum(names, false));
            let data = firing.get(c"alert_data");
            (names, data.map(|data| pgrx::varsize_any(data.cast_mut_ptr()) as i32))
        };
        let names = names.ok_or(Error::RowType)?;
        let owed: Vec<&str> = names.iter().flatten().filter(|name| *name != "inapp").collect();
        let all_owed = owed.len() == names.len();
        Ok((!owed.is_empty()).then(|| Message {
            lane: firing.get(c"lane"),
            delivery_key: firing.get(c"message_key"),
            alert_id: firing.get(c"alert_id"),
            user_id: firing.get(c"user_id"),
            priority: firing.get(c"priority"),
            channels: if all_owed { channels } else { owed.into_datum() },
            delivered_channels: if all_owed { nothing } else { delivered },
            content_hash: firing.get(c"content_hash"),
            content_key: firing.get(c"content_key"),
            day_key: day_key.into_datum(),
            bytes: bytes.into_datum(),
            at: at.into_datum(),
            expires_at: firing.get(c"expires_at"),
            traceparent: firing.get(c"traceparent"),
            alert_data: firing.get(c"alert_data"),
        }))
    };
    let admitted = firings.iter().zip(verdicts.iter()).zip(day_keys.iter());
    let messages = admitted
        .filter(|((_, verdict), _)| *verdict == Some(0))
        .filter_map(|((firing, _), day_key)| message(firing, day_key).transpose());
    Ok(outbox.enqueue(messages)?)
}
