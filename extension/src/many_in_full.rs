//! SQL functions of `sql/32_deliver_bulk.sql`, for calls whose elements are not all plain.

use pgrx::datum::{Array, FromDatum, IntoDatum, TimestampWithTimeZone, Uuid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{pg_extern, pg_sys};

use crate::admission::{self, Applicant, Verdict};
use crate::alert;
use crate::arrays::{self, Element};
use crate::channels;
use crate::columns::Column;
use crate::dedup::{self, Reservation};
use crate::error::Error;
use crate::installed;
use crate::internal::_day_keys;
use crate::jsonb::Jsonb;
use crate::keys::{self, Key};
use crate::members;
use crate::outbox::{self, Message};
use crate::row::{Row, RowArgument, RowReader, RowType};
use crate::rows::Rows;

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

/// The columns of type `firing`.
const FIRING: usize = 15;

/// In their order, without NULL: what Postgres looks for by an index it sorts, and that is quick where it is sorted.
#[pg_extern(immutable, strict, parallel_safe)]
fn _sorted(keys: Array<Uuid>) -> Vec<Uuid> {
    let mut keys = arrays::keys(&keys);
    keys.sort_unstable();
    keys.into_iter().map(Uuid::from_bytes).collect()
}

/// `_day_keys` of many firings, one after the other. The arrays are of equal length.
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
    let held = held.map(|held| arrays::keys(&held).into_iter().collect()).unwrap_or_default();
    let day_keys = arrays::keys(&day_keys);
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
            let applicant =
                Applicant { content: content.map(|key| *key.as_bytes()), places: places(limit) };
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
        contents.push(content);
        days.push(place);
    }
    // SAFETY: the numbers are integers.
    let verdicts = unsafe { Element::INTEGER.array(verdicts.into_iter().map(i32::into_datum)) };
    let keys =
        |keys: Vec<Option<Key>>| Column::Datum(arrays::uuids(keys.iter().map(Option::as_ref)));
    ADMISSION.with(|admission| admission.row([verdicts, keys(contents), keys(days)]))
}

/// Declared in `sql/32_deliver_bulk.sql`.
#[pg_extern(sql = false)]
fn _reserve_all(
    day_keys: Array<Uuid>,
    day_until: TimestampWithTimeZone,
    content_keys: Array<Uuid>,
    content_until: Array<TimestampWithTimeZone>,
    owners: Array<Uuid>,
) -> Result<(), ErrorReport> {
    let key = |uuid: Option<Uuid>| uuid.map(|uuid| *uuid.as_bytes());
    let contents = content_keys.iter().map(key).zip(content_until.iter());
    let reservations: Vec<_> = contents
        .zip(day_keys.iter().map(key))
        .zip(owners.iter().filter_map(key))
        .map(|(((content, content_until), day), owner)| Reservation {
            content,
            content_until,
            day,
            owner,
        })
        .filter(|reservation| reservation.content.or(reservation.day).is_some())
        .collect();
    Ok(dedup::reserve_all(&installed::here(), &reservations, day_until)?)
}

/// Declared in `sql/32_deliver_bulk.sql`.
#[pg_extern(sql = false)]
fn _enqueue_all(
    firings: Array<RowArgument>,
    verdicts: Array<i32>,
    day_keys: Array<Uuid>,
    at: TimestampWithTimeZone,
) -> Result<i64, ErrorReport> {
    let delivered = vec!["inapp"].into_datum();
    let nothing = Vec::<&str>::new().into_datum();
    let mut rows = RowReader::<FIRING>::new();
    let mut message = |firing: Option<RowArgument>, day_key: Option<Uuid>| {
        let firing = rows.read(firing.ok_or(Error::RowType)?)?;
        let [_, _, delivery_key, alert_id, _, user_id, _, priority, lane, ..] = firing;
        let [.., channels, content_hash, content_key, expires_at, traceparent, alert_data] = firing;
        // SAFETY: the columns are a text[] and a jsonb, which has its length before it.
        let (names, bytes) = unsafe {
            let names = channels.and_then(|names| Array::<&str>::from_datum(names, false));
            (names, alert_data.map(|data| pgrx::varsize_any(data.cast_mut_ptr()) as i32))
        };
        let names = names.ok_or(Error::RowType)?;
        let owed: Vec<&str> = names.iter().flatten().filter(|name| *name != "inapp").collect();
        let all_owed = owed.len() == names.len();
        Ok((!owed.is_empty()).then(|| Message {
            lane,
            delivery_key,
            alert_id,
            user_id,
            priority,
            channels: if all_owed { channels } else { owed.into_datum() },
            delivered_channels: if all_owed { nothing } else { delivered },
            content_hash,
            content_key,
            day_key: day_key.into_datum(),
            bytes: bytes.into_datum(),
            at: at.into_datum(),
            expires_at,
            traceparent,
            alert_data,
        }))
    };
    let admitted = firings.iter().zip(verdicts.iter()).zip(day_keys.iter());
    let messages = admitted
        .filter(|((_, verdict), _)| *verdict == Some(0))
        .filter_map(|((firing, _), day_key)| message(firing, day_key).transpose());
    Ok(outbox::enqueue(&installed::here(), messages)?)
}
