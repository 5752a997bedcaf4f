//! SQL functions of `sql/31_deliver.sql`: an alert is read, its keys are reserved, its message is put into the outbox.

use std::iter;

use pgrx::datum::{Array, IntoDatum, Uuid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{pg_extern, pg_sys};

use crate::alert;
use crate::api::POSTGRES_EPOCH_MICROS;
use crate::channels;
use crate::columns::{Column, Columns};
use crate::day;
use crate::error::Error;
use crate::insert;
use crate::internal::now_micros;
use crate::jsonb::Jsonb;
use crate::keys;
use crate::members;
use crate::outbox::{Message, Outbox};
use crate::policy;
use crate::row::{Fields, Row, RowArgument, RowType};
use crate::sequence;
use crate::trace;

const FIELDS: usize = 24;

thread_local! {
    /// A firing, as `_fire` has read it and `deliver_alert` has completed it.
    static FIRED: RowType<FIELDS> = const {
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

/// Declared in `sql/31_deliver.sql`.
#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments)]
fn _fire(
    alert: Option<Jsonb>,
    user_id: Option<&str>,
    message: Option<&str>,
    traceparent: Option<&str>,
    directly: bool,
    settings_written: pg_sys::Oid,
    first_use_seen: pg_sys::Oid,
    count_queued: pg_sys::Oid,
    drivers_asleep_until: pg_sys::Oid,
    dedup_keys: pg_sys::Oid,
    partitions: Array<pg_sys::Oid>,
    outbox_slot: pg_sys::Oid,
    message_ids: pg_sys::Oid,
    install_id: Uuid,
) -> Result<Row, ErrorReport> {
    let firing = alert::read_firing(alert.map(Jsonb::value).transpose()?, user_id, message)?;
    let policy = policy::builtin(firing.priority);
    let owed: Vec<&str> = firing.channels.iter().copied().filter(|name| *name != "inapp").collect();
    let in_app = owed.len() < firing.channels.len();
    let plain = sequence::last_value(settings_written).is_none()
        && sequence::was_called(first_use_seen)
        && policy.is_some()
        && firing.expires_at.is_none()
        && !firing.channels.is_empty()
        && channels::all_builtin(&firing.channels);
    let directly = directly && plain && !in_app;
    let content_key = keys::content_key(Some(&firing.content_hash), user_id, firing.dedup_key);
    let texts =
        [("message", message.unwrap_or_default()), ("user_id", user_id.unwrap_or_default())];
    let alert_data = members::with_texts(firing.alert, &texts)?;
    let at = now_micros();
    let day = day::utc_day(at);
    let day_key = user_id
        .zip(day.as_ref())
        .map(|(user, day)| keys::day_key(user, &firing.alert_id, &day.name, 1));
    let time = |micros: i64| Column::from((micros - POSTGRES_EPOCH_MICROS).into_datum());
    let mut columns = Columns::new();
    columns.set([
        time(at),
        Column::Text(&firing.alert_id),
        Column::text(user_id),
        Column::text(firing.alert_name),
        Column::Text(firing.priority),
        Column::Texts(&firing.channels),
        Column::Texts(&owed),
        Column::Text(&firing.content_hash),
        Column::text(firing.expires_at),
        Column::Null,
        Column::text(traceparent.and_then(trace::parent)),
        Column::Uuid(keys::message_key()),
        Column::Uuid(content_key),
        Column::uuid(day_key),
        time(at + policy::DEDUP_MICROS),
        day.map_or(Column::Null, |day| time(day.end)),
        policy.map(|policy| policy.lane).into_datum().into(),
        Column::Boolean(in_app),
        Column::Boolean(plain),
        Column::Texts(if in_app { &["inapp"] } else { &[] }),
        Column::Jsonb(&alert_data),
        ((alert_data.len() + pg_sys::VARHDRSZ) as i32).into_datum().into(),
        if directly { Column::Boolean(false) } else { Column::Null },
        Column::Null,
    ]);
    FIRED.with(|row| {
        let outbox = Outbox { partitions, slot: outbox_slot, message_ids, install_id };
        if directly && accept(&row.fields(&columns), dedup_keys, &outbox)? {
            sequence::next_value(count_queued);
            let asleep =
                sequence::last_value(drivers_asleep_until).is_none_or(|until| until > at / 1000);
            return Ok(row
                .only([(c"accepted", Column::Boolean(true)), (c"wake", Column::Boolean(asleep))]));
        }
        Ok(row.form(&mut columns))
    })
}

/// Reserves a firing's keys and puts its message into the outbox; false where one of them is held.
fn accept(fired: &Fields<FIELDS>, keys: pg_sys::Oid, outbox: &Outbox) -> Result<bool, Error> {
    let free = reserve(fired, keys)?;
    if free {
        outbox.enqueue(iter::once(Ok(message(fired))))?;
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
    outbox.enqueue(iter::once(Ok(message(&fired))))?;
    Ok(true)
}

fn message(fired: &Fields<FIELDS>) -> Message {
    Message {
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
