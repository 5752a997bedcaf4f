//! SQL functions that only `sql/` calls. Like `api`, thin wrappers.

use std::ptr;

use pgrx::datum::{Array, Internal, Interval, IntoDatum, TimestampWithTimeZone, Uuid};
use pgrx::iter::TableIterator;
use pgrx::memcxt::PgMemoryContexts;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{name, pg_extern, pg_sys, VariadicArray};

use crate::admission::{self, Applicant};
use crate::alert;
use crate::api::POSTGRES_EPOCH_MICROS;
use crate::channels;
use crate::claim_end::{ClaimEnd, Waiting};
use crate::day;
use crate::delivery_counts::{Counts, DeliveryCounts};
use crate::error::Error;
use crate::jsonb::{FlatObjects, Jsonb, JsonbText, Maker};
use crate::keys;
use crate::outcomes::{self, ChannelsTold};
use crate::policy;
use crate::reached::{Address, Addresses};
use crate::row::{Row, RowType};
use crate::snapshot::{self, Range, Snapshot};
use crate::stored::Stored;
use crate::xid8::Xid8;

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
fn _enabled_channels(alert: JsonbText) -> Result<Vec<String>, ErrorReport> {
    Ok(alert::enabled(alert.0)?)
}

thread_local! {
    static READING: RowType<17> = const {
        RowType::new([
            (c"at", pg_sys::TIMESTAMPTZOID),
            (c"at_ms", pg_sys::INT8OID),
            (c"alert_id", pg_sys::TEXTOID),
            (c"alert_name", pg_sys::TEXTOID),
            (c"priority", pg_sys::TEXTOID),
            (c"channels", pg_sys::TEXTARRAYOID),
            (c"owed", pg_sys::TEXTARRAYOID),
            (c"content_hash", pg_sys::TEXTOID),
            (c"expires_at", pg_sys::TEXTOID),
            (c"message_key", pg_sys::UUIDOID),
            (c"content_key", pg_sys::UUIDOID),
            (c"day_key", pg_sys::UUIDOID),
            (c"content_until", pg_sys::TIMESTAMPTZOID),
            (c"day_until", pg_sys::TIMESTAMPTZOID),
            (c"lane", pg_sys::INT2OID),
            (c"in_app", pg_sys::BOOLOID),
            (c"plain", pg_sys::BOOLOID),
        ])
    };
}

/// Declared in `sql/31_deliver.sql`.
#[pg_extern(sql = false)]
fn _read_alert(
    alert: Option<JsonbText>,
    user_id: Option<&str>,
    message: Option<&str>,
    traceparent: Option<&str>,
    with_day: bool,
) -> Result<Row, ErrorReport> {
    let firing = alert::read_firing(alert.map(|json| json.0), user_id, message, traceparent)?;
    let policy = policy::builtin(&firing.priority);
    let owed: Vec<&str> =
        firing.channels.iter().map(String::as_str).filter(|name| *name != "inapp").collect();
    let in_app = owed.len() < firing.channels.len();
    let plain = policy.is_some()
        && firing.expires_at.is_none()
        && !firing.channels.is_empty()
        && firing.channels.iter().all(|name| channels::BUILTIN.contains(&name.as_str()));
    let content_key =
        keys::content_key(Some(&firing.content_hash), user_id, firing.dedup_key.as_deref());
    let at = now_micros();
    let day = with_day.then(|| day::utc_day(at)).flatten();
    let day_key = user_id
        .zip(day.as_ref())
        .map(|(user, day)| keys::day_key(user, &firing.alert_id, &day.name, 1));
    let uuid = |bytes| Uuid::from_bytes(bytes).into_datum();
    let time = |micros: i64| (micros - POSTGRES_EPOCH_MICROS).into_datum();
    Ok(READING.with(|reading| {
        reading.row([
            time(at),
            (at / 1000).into_datum(),
            firing.alert_id.into_datum(),
            firing.alert_name.into_datum(),
            firing.priority.into_datum(),
            firing.channels.clone().into_datum(),
            owed.into_datum(),
            firing.content_hash.into_datum(),
            firing.expires_at.into_datum(),
            uuid(keys::message_key()),
            uuid(content_key),
            day_key.and_then(uuid),
            time(at + policy::DEDUP_MICROS),
            day.and_then(|day| time(day.end)),
            policy.map(|policy| policy.lane).into_datum(),
            in_app.into_datum(),
            plain.into_datum(),
        ])
    }))
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

/// Decides what is undecided. The arrays are of equal length, one element for a firing.
#[pg_extern(immutable, strict, parallel_safe)]
fn _admit(
    verdicts: Array<i32>,
    undecided: i32,
    contents: Array<Uuid>,
    contents_taken: Array<bool>,
    days: Array<Uuid>,
    daily_limits: Array<i32>,
    places_taken: Array<i64>,
) -> Vec<i32> {
    let bytes = |uuid: Option<Uuid>| uuid.map(|uuid| *uuid.as_bytes());
    let applicants: Vec<Applicant> = verdicts
        .iter()
        .zip(contents.iter())
        .zip(contents_taken.iter())
        .zip(days.iter())
        .zip(daily_limits.iter())
        .zip(places_taken.iter())
        .map(|(((((verdict, content), taken), day), limit), places)| Applicant {
            decided: verdict.filter(|verdict| *verdict != undecided),
            content: bytes(content),
            content_taken: taken.unwrap_or(false),
            day: bytes(day),
            daily_limit: limit.unwrap_or(0).unsigned_abs(),
            places_taken: places.unwrap_or(0) as u64,
        })
        .collect();
    admission::admit(&applicants)
}

/// A row for each message that outcomes tell of.
#[pg_extern(immutable, parallel_safe)]
#[allow(clippy::type_complexity)]
fn _told(
    outcomes: Option<JsonbText>,
    earlier: JsonbText,
) -> Result<
    TableIterator<
        'static,
        (
            name!(delivery_key, Uuid),
            name!(message_id, Option<i64>),
            name!(delivered, Vec<String>),
            name!(missed, Option<Vec<String>>),
        ),
    >,
    ErrorReport,
> {
    let told = outcomes::told(outcomes.map(|json| json.0), earlier.0)?;
    Ok(TableIterator::new(told.into_iter().map(|message| {
        let missed = Some(message.missed).filter(|channels| !channels.is_empty());
        (
            Uuid::from_bytes(message.delivery_key.into_bytes()),
            message.message_id,
            message.delivered,
            missed,
        )
    })))
}

thread_local! {
    static WHOLE: RowType<6> = const {
        RowType::new([
            (c"told", pg_sys::BYTEAOID),
            (c"messages", pg_sys::INT4OID),
            (c"message_ids", pg_sys::INT8ARRAYOID),
            (c"first_id", pg_sys::INT8OID),
            (c"last_id", pg_sys::INT8OID),
            (c"every", pg_sys::BOOLOID),
        ])
    };
}

/// Declared in `sql/42_report.sql`.
#[pg_extern(sql = false)]
fn _delivered_whole(
    outcomes: Option<Stored>,
    finished: Option<Array<i64>>,
) -> Result<Row, ErrorReport> {
    let finished: Vec<i64> = finished.iter().flat_map(|ids| ids.iter().flatten()).collect();
    // SAFETY: the argument is declared as jsonb.
    let flat = outcomes.and_then(|stored| unsafe { stored.read::<FlatObjects>() }?.0);
    let told = match flat.and_then(|objects| outcomes::told_delivered(&objects)) {
        Some(told) => told,
        None => {
            // SAFETY: as above.
            let text = outcomes.and_then(|stored| unsafe { stored.read::<JsonbText>() });
            outcomes::told(text.map(|json| json.0), "[]")?
        }
    };
    let whole = outcomes::whole(told, &finished);
    let ids = whole.messages.iter().filter_map(|message| message.message_id);
    Ok(WHOLE.with(|row| {
        row.row([
            whole.to_bytes().into_datum(),
            (whole.messages.len() as i32).into_datum(),
            ids.collect::<Vec<_>>().into_datum(),
            whole.first_id.into_datum(),
            whole.last_id.into_datum(),
            whole.all.into_datum(),
        ])
    }))
}

/// What a function keeps from one call to the next of a query, made at the first.
///
/// SAFETY: the call is one by SQL, and all calls of the function keep the same type.
unsafe fn kept<'a, T: Default>(fcinfo: pg_sys::FunctionCallInfo) -> &'a mut T {
    unsafe {
        let flinfo = (*fcinfo).flinfo;
        if (*flinfo).fn_extra.is_null() {
            let made =
                PgMemoryContexts::For((*flinfo).fn_mcxt).leak_and_drop_on_delete(T::default());
            (*flinfo).fn_extra = made.cast();
        }
        &mut *(*flinfo).fn_extra.cast()
    }
}

#[derive(Default)]
struct OwedAndTold {
    told: Option<ChannelsTold>,
    /// The channels of the last call, and the one that they are.
    channels: Vec<u8>,
    channel: Option<String>,
}

/// Declared in `sql/42_report.sql`. `told` is read at the first call of a query.
#[pg_extern(sql = false)]
fn _owed_is_told(
    told: Stored,
    delivery_key: Uuid,
    message_id: i64,
    channels: Stored,
    fcinfo: pg_sys::FunctionCallInfo,
) -> bool {
    // SAFETY: these are calls by SQL, and the arguments are declared as bytea and text[].
    unsafe {
        let kept: &mut OwedAndTold = kept(fcinfo);
        let told = kept
            .told
            .get_or_insert_with(|| ChannelsTold::read(told.read::<&[u8]>().unwrap_or_default()));
        if kept.channels != channels.bytes {
            let channels_read = channels.read::<Array<&str>>();
            let mut names = channels_read.iter().flat_map(|names| names.iter().flatten());
            kept.channel = names.next().filter(|_| names.next().is_none()).map(str::to_owned);
            kept.channels = channels.bytes.to_vec();
        }
        let key = uuid::Uuid::from_bytes(*delivery_key.as_bytes());
        kept.channel.is_some() && told.of(key, message_id) == kept.channel.as_deref()
    }
}

#[derive(Default)]
struct Methods {
    before: Vec<u8>,
    now: Vec<u8>,
    jsonb: Option<Jsonb>,
}

/// Declared in `sql/42_report.sql`.
#[pg_extern(sql = false)]
fn _methods(before: Stored, now: Stored, fcinfo: pg_sys::FunctionCallInfo) -> Jsonb {
    // SAFETY: these are calls by SQL, and the arguments are declared as text[].
    unsafe {
        let kept: &mut Methods = kept(fcinfo);
        match kept.jsonb {
            Some(jsonb) if kept.before == before.bytes && kept.now == now.bytes => jsonb,
            _ => {
                let lists = [before.read::<Array<&str>>(), now.read::<Array<&str>>()];
                let names = lists.iter().flatten().flat_map(|names| names.iter().flatten());
                let mut maker = Maker::default();
                let names = names.map(|name| maker.text(name)).collect();
                let array = maker.array(names);
                let jsonb = PgMemoryContexts::For((*(*fcinfo).flinfo).fn_mcxt)
                    .switch_to(|_| maker.jsonb(array));
                (kept.before, kept.now) = (before.bytes.to_vec(), now.bytes.to_vec());
                *kept.jsonb.insert(jsonb)
            }
        }
    }
}

thread_local! {
    static DELIVERY_COUNTS: RowType<6> = const {
        RowType::new([
            (c"at", pg_sys::TIMESTAMPTZARRAYOID),
            (c"seconds", pg_sys::INT2ARRAYOID),
            (c"methods", pg_sys::TEXTARRAYOID),
            (c"deliveries", pg_sys::INT8ARRAYOID),
            (c"by_retry", pg_sys::INT8ARRAYOID),
            (c"retries", pg_sys::INT8ARRAYOID),
        ])
    };
}

/// Step of the aggregate `_delivery_counts`, declared in `sql/72_stats.sql`.
#[pg_extern(sql = false)]
fn _delivery_counts_add(
    mut counts: Internal,
    accepted_at: TimestampWithTimeZone,
    delivered_at: TimestampWithTimeZone,
    methods: Stored,
    attempt: i32,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Internal {
    state::<DeliveryCounts>(&mut counts, fcinfo).add(
        accepted_at.into_inner(),
        delivered_at.into_inner(),
        methods.bytes,
        // SAFETY: the argument is declared as jsonb.
        || {
            unsafe { methods.read::<JsonbText>() }
                .map_or_else(String::new, |json| json.0.to_owned())
        },
        attempt,
    );
    counts
}

#[pg_extern(sql = false)]
fn _delivery_counts_row(mut counts: Internal, fcinfo: pg_sys::FunctionCallInfo) -> Row {
    let counts = &state::<DeliveryCounts>(&mut counts, fcinfo).0;
    let numbers = |of: fn(&Counts) -> i64| counts.values().map(of).collect::<Vec<_>>();
    let times = counts.keys().map(|kind| TimestampWithTimeZone::try_from(kind.at).ok());
    DELIVERY_COUNTS.with(|row| {
        row.row([
            times.collect::<Vec<_>>().into_datum(),
            counts.keys().map(|kind| kind.seconds).collect::<Vec<_>>().into_datum(),
            counts.values().map(|counts| counts.methods.as_str()).collect::<Vec<_>>().into_datum(),
            numbers(|counts| counts.deliveries).into_datum(),
            numbers(|counts| counts.by_retry).into_datum(),
            numbers(|counts| counts.retries).into_datum(),
        ])
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

/// `{channel: [{"recipient_id", "address", "secrets"?}, …]}`
#[pg_extern(sql = false)]
fn _by_channel_jsonb(mut addresses: Internal, fcinfo: pg_sys::FunctionCallInfo) -> Jsonb {
    let mut maker = Maker::default();
    let addresses = state::<Addresses>(&mut addresses, fcinfo).in_order();
    let mut channels = Vec::with_capacity(addresses.len());
    for (channel, addresses) in addresses {
        let mut array = Vec::with_capacity(addresses.len());
        for address in addresses {
            let mut entries = Vec::with_capacity(3);
            entries.push(("address", maker.text(&address.address)));
            if let Some(secrets) = &address.secrets {
                let secrets = secrets.iter().map(|secret| maker.text(secret)).collect();
                entries.push(("secrets", maker.array(secrets)));
            }
            entries.push(("recipient_id", maker.integer(address.recipient_id)));
            array.push(maker.object(entries));
        }
        channels.push((channel.as_str(), maker.array(array)));
    }
    let channels = maker.object(channels);
    maker.jsonb(channels)
}

fn read_xid(text: &str) -> Result<u64, Error> {
    text.parse().map_err(|_| Error::Snapshot { found: text.to_owned() })
}
