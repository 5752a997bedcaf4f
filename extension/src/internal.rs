//! SQL functions that only `sql/` calls, but for those of reports and the aggregates. Like `api`, thin wrappers.

use pgrx::datum::{Array, Interval, IntoDatum, Uuid};
use pgrx::iter::TableIterator;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{name, pg_extern, pg_sys, VariadicArray};

use crate::accept::{self, Outbox, FIRED};
use crate::admission::{self, Applicant, Verdict};
use crate::alert;
use crate::api::POSTGRES_EPOCH_MICROS;
use crate::channels;
use crate::columns::{Column, Columns};
use crate::day;
use crate::error::Error;
use crate::jsonb::Jsonb;
use crate::keys;
use crate::members;
use crate::policy;
use crate::row::{Row, RowType};
use crate::rows::Rows;
use crate::sequence;
use crate::snapshot::{self, Range, Snapshot};
use crate::trace;

#[pg_extern(immutable, strict, parallel_safe)]
fn _dedup_key(parts: VariadicArray<&str>) -> Uuid {
    Uuid::from_bytes(keys::dedup_key(parts.iter()))
}

#[pg_extern(volatile, parallel_safe)]
fn _message_key() -> Uuid {
    Uuid::from_bytes(keys::message_key())
}

#[pg_extern(immutable, parallel_safe)]
fn _builtin_channels() -> Vec<&'static str> {
    channels::BUILTIN.to_vec()
}

#[pg_extern(immutable, strict, parallel_safe)]
fn _enabled_channels(alert: Jsonb) -> Result<Vec<String>, ErrorReport> {
    Ok(alert::enabled(alert.value()?)?)
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
        if directly && accept::accept(&row.fields(&columns), dedup_keys, &outbox)? {
            sequence::next_value(count_queued);
            let asleep =
                sequence::last_value(drivers_asleep_until).is_none_or(|until| until > at / 1000);
            return Ok(row
                .only([(c"accepted", Column::Boolean(true)), (c"wake", Column::Boolean(asleep))]));
        }
        Ok(row.form(&mut columns))
    })
}

/// The elements of a bulk call, in their order. builtin: its channels are known without a table.
#[pg_extern(sql = r#"
CREATE FUNCTION _read_firings(alerts jsonb[])
RETURNS TABLE (alert_id text, alert_name text, user_id text, message text, priority text, channels text[], builtin boolean,
               content_hash text, content_key uuid, message_key uuid, dedup_window text, expires_at text, traceparent text,
               alert_data jsonb)
LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"#)]
fn _read_firings(
    alerts: Array<Jsonb>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Result<Rows<14>, ErrorReport> {
    // SAFETY: the function is declared above.
    let mut rows = unsafe { Rows::new(fcinfo) };
    for json in alerts.iter() {
        let element = alert::read_element(json.map(Jsonb::value).transpose()?)?;
        let alert::Element { firing, user_id, message, dedup_window, parent } = element;
        let texts = [("message", message), ("user_id", &*user_id)];
        let alert_data = members::with_texts(firing.alert, &texts)?;
        let content_key =
            keys::content_key(Some(&firing.content_hash), Some(&user_id), firing.dedup_key);
        rows.push([
            Column::Text(&firing.alert_id),
            Column::text(firing.alert_name),
            Column::Text(&user_id),
            Column::Text(message),
            Column::Text(firing.priority),
            Column::Texts(&firing.channels),
            Column::Boolean(channels::all_builtin(&firing.channels)),
            Column::Text(&firing.content_hash),
            Column::Uuid(content_key),
            Column::Uuid(keys::message_key()),
            Column::text(dedup_window),
            Column::text(firing.expires_at),
            Column::text(parent),
            Column::Jsonb(&alert_data),
        ]);
    }
    Ok(rows)
}

/// Declared in `sql/11_counters.sql`.
#[pg_extern(sql = false)]
fn _count_by(hundreds: pg_sys::Oid, tens: pg_sys::Oid, ones: pg_sys::Oid, deliveries: i64) -> i64 {
    for (counter, times) in
        [(hundreds, deliveries / 100), (tens, deliveries % 100 / 10), (ones, deliveries % 10)]
    {
        for _ in 0..times {
            sequence::next_value(counter);
        }
    }
    deliveries
}

/// Rows for the view `all_policies`, which has those of table `policies` before them.
#[pg_extern(immutable, parallel_safe)]
#[allow(clippy::type_complexity)]
fn _builtin_policies() -> TableIterator<
    'static,
    (
        name!(name, &'static str),
        name!(lane, &'static str),
        name!(retry_schedule, Vec<Interval>),
        name!(jitter, f64),
        name!(dedup_window, Interval),
        name!(daily_limit, i32),
    ),
> {
    let row = |policy: &policy::Policy| {
        let schedule = policy.retry_minutes.map(Interval::from_minutes).to_vec();
        let window = Interval::from_hours(policy::DEDUP_HOURS);
        (policy.name, policy.name, schedule, 0.0, window, policy::DAILY_LIMIT)
    };
    TableIterator::new(policy::BUILTIN.iter().map(row))
}

#[pg_extern(volatile, parallel_safe)]
fn _now_ms() -> i64 {
    now_micros() / 1000
}

/// Microseconds since 1970.
fn now_micros() -> i64 {
    // SAFETY: reads a clock.
    let micros = unsafe { pg_sys::GetCurrentTimestamp() };
    micros + POSTGRES_EPOCH_MICROS
}

#[pg_extern(immutable, parallel_safe)]
fn _content_key(
    content_hash: Option<&str>,
    user_id: Option<&str>,
    dedup_key: Option<&str>,
) -> Uuid {
    Uuid::from_bytes(keys::content_key(content_hash, user_id, dedup_key))
}

/// Keys of a user's day for one alert, one for each of the messages that the daily limit allows; NULL without a limit.
#[pg_extern(immutable, strict, parallel_safe)]
fn _day_keys(user_id: &str, alert_id: &str, day: &str, daily_limit: i32) -> Vec<Uuid> {
    (1..=daily_limit)
        .map(|place| Uuid::from_bytes(keys::day_key(user_id, alert_id, day, place)))
        .collect()
}

/// The same for many firings, one after the other. The arrays are of equal length.
#[pg_extern(name = "_day_keys", immutable, strict, parallel_safe)]
fn _day_keys_of_many(
    user_ids: Array<&str>,
    alert_ids: Array<&str>,
    day: &str,
    daily_limits: Array<i32>,
) -> Vec<Uuid> {
    let firings = user_ids.iter().flatten().zip(alert_ids.iter().flatten());
    firings
        .zip(daily_limits.iter())
        .flat_map(|((user_id, alert_id), limit)| {
            _day_keys(user_id, alert_id, day, limit.unwrap_or(0))
        })
        .collect()
}

thread_local! {
    static ADMISSION: RowType<3> = const {
        RowType::new([
            (c"verdicts", pg_sys::INT4ARRAYOID),
            (c"reserved_contents", pg_sys::UUIDARRAYOID),
            (c"reserved_days", pg_sys::UUIDARRAYOID),
        ])
    };
}

/// Declared in `sql/32_deliver_bulk.sql`.
#[pg_extern(sql = false)]
fn _admit(
    asked: Array<bool>,
    content_keys: Array<Uuid>,
    day_keys: Array<Uuid>,
    daily_limits: Array<i32>,
    held: Option<Array<Uuid>>,
) -> Row {
    let bytes = |uuid: Uuid| *uuid.as_bytes();
    let held = held.iter().flat_map(|keys| keys.iter().flatten().map(bytes)).collect();
    let day_keys: Vec<[u8; 16]> = day_keys.iter().flatten().map(bytes).collect();
    let mut rest = day_keys.as_slice();
    let mut places = |limit: Option<i32>| {
        let (places, others) = rest.split_at(rest.len().min(limit.unwrap_or(0) as usize));
        rest = others;
        places
    };
    let applicants: Vec<Applicant> = asked
        .iter()
        .zip(content_keys.iter())
        .zip(daily_limits.iter())
        .filter_map(|((asked, content), limit)| {
            let applicant = Applicant { content: content.map(bytes), places: places(limit) };
            (asked == Some(true)).then_some(applicant)
        })
        .collect();
    let mut decided = admission::admit(&applicants, &held).into_iter();
    let (mut verdicts, mut contents, mut days) = (vec![], vec![], vec![]);
    for asked in asked.iter() {
        let verdict = if asked == Some(true) { decided.next() } else { None };
        let (number, content, place) = match verdict {
            Some(Verdict::Admitted { content, place }) => (0, content, place),
            Some(Verdict::Duplicate) => (1, None, None),
            Some(Verdict::Capped) => (2, None, None),
            None => (-1, None, None), // a NULL would make the array slow to look into
        };
        verdicts.push(number);
        contents.push(content.map(Uuid::from_bytes));
        days.push(place.map(Uuid::from_bytes));
    }
    ADMISSION.with(|admission| {
        admission.row([verdicts.into_datum(), contents.into_datum(), days.into_datum()])
    })
}

#[pg_extern(immutable, strict, parallel_safe)]
fn _snapshot_with(snapshot: &str, xid: &str) -> Result<String, ErrorReport> {
    Ok(Snapshot::parse(snapshot)?.with_in_progress(read_xid(xid)?).to_text())
}

#[pg_extern(immutable, strict, parallel_safe)]
fn _window_ranges(
    lo: &str,
    hi: &str,
    after_xid: &str,
    after_id: i64,
) -> Result<
    TableIterator<
        'static,
        (name!(from_xid, String), name!(from_id, i64), name!(below_xid, String)),
    >,
    ErrorReport,
> {
    let after = (read_xid(after_xid)?, after_id);
    let ranges = snapshot::window_ranges(&Snapshot::parse(lo)?, &Snapshot::parse(hi)?, after);
    let row = |range: Range| (range.after.0.to_string(), range.after.1, range.below.to_string());
    Ok(TableIterator::new(ranges.into_iter().map(row)))
}

fn read_xid(text: &str) -> Result<u64, Error> {
    text.parse().map_err(|_| Error::Snapshot { found: text.to_owned() })
}
