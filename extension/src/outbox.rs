//! Rows of the outbox, for messages that firings have made.

use pgrx::datum::IntoDatum;
use pgrx::pg_sys;

use crate::error::Error;
use crate::insert;
use crate::installed::Installed;
use crate::sequence;

/// Puts messages into the slot in use; returns how many.
pub fn enqueue(
    here: &Installed,
    messages: impl Iterator<Item = Result<Message, Error>>,
) -> Result<i64, Error> {
    let mut messages = messages.peekable();
    if messages.peek().is_none() {
        return Ok(0); // without a transaction id
    }
    let slot = here.slot_in_use;
    let partition = here.outbox.get(slot as usize).copied().unwrap_or(pg_sys::InvalidOid);
    insert::into(partition, |table| {
        // SAFETY: that the transaction may write was checked when the table was opened.
        let xid = unsafe { pg_sys::GetTopFullTransactionId() };
        table.put_all(messages.map(|message| {
            let message = message?;
            Ok([
                (c"xid", Some(xid.value.into())),
                (c"message_id", sequence::next_value(here.message_id).into_datum()),
                (c"accepted_at", message.at),
                (c"enqueued_at", message.at),
                (c"attempt", 1.into_datum()),
                (c"bytes", message.bytes),
                (c"slot", (slot as i16).into_datum()),
                (c"lane", message.lane),
                (c"install_id", here.install_id.into_datum()),
                (c"delivery_key", message.delivery_key),
                (c"content_key", message.content_key),
                (c"day_key", message.day_key),
                (c"expires_at", message.expires_at),
                (c"alert_data", message.alert_data),
                (c"alert_id", message.alert_id),
                (c"user_id", message.user_id),
                (c"priority", message.priority),
                (c"channels", message.channels),
                (c"delivered_channels", message.delivered_channels),
                (c"content_hash", message.content_hash),
                (c"traceparent", message.traceparent),
            ])
        }))
    })
}

/// Values of a message's row, by the names of the outbox; accepted and enqueued `at` the same time.
pub struct Message {
    pub lane: Option<pg_sys::Datum>,
    pub delivery_key: Option<pg_sys::Datum>,
    pub alert_id: Option<pg_sys::Datum>,
    pub user_id: Option<pg_sys::Datum>,
    pub priority: Option<pg_sys::Datum>,
    pub channels: Option<pg_sys::Datum>,
    pub delivered_channels: Option<pg_sys::Datum>,
    pub content_hash: Option<pg_sys::Datum>,
    pub content_key: Option<pg_sys::Datum>,
    pub day_key: Option<pg_sys::Datum>,
    pub bytes: Option<pg_sys::Datum>,
    pub at: Option<pg_sys::Datum>,
    pub expires_at: Option<pg_sys::Datum>,
    pub traceparent: Option<pg_sys::Datum>,
    pub alert_data: Option<pg_sys::Datum>,
}
