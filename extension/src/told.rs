//! SQL functions of `sql/42_report.sql`: what outcomes tell, and of which messages they are.

use pgrx::datum::{Array, IntoDatum, Uuid};
use pgrx::iter::TableIterator;
use pgrx::memcxt::PgMemoryContexts;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{name, pg_extern, pg_sys};

use crate::jsonb::{FlatObjects, Jsonb};
use crate::new_jsonb::NewJsonb;
use crate::outcomes::{self, ChannelsTold};
use crate::row::{Row, RowType};
use crate::stored::Stored;
use crate::value::{write_array, Slot};

/// A row for each message that outcomes tell of.
#[pg_extern(immutable, parallel_safe)]
#[allow(clippy::type_complexity)]
fn _told(
    outcomes: Option<Jsonb>,
    earlier: Jsonb,
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
    let told = outcomes::told(outcomes.map(Jsonb::text), earlier.text())?;
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
            let text = outcomes.and_then(|stored| unsafe { stored.read::<Jsonb>() });
            outcomes::told(text.map(Jsonb::text), "[]")?
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
    told: Option<ChannelsTold<'static>>,
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
    jsonb: Option<NewJsonb>,
}

/// Declared in `sql/42_report.sql`.
#[pg_extern(sql = false)]
fn _methods(
    before: Stored,
    now: Stored,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Result<Option<NewJsonb>, ErrorReport> {
    // SAFETY: these are calls by SQL, and the arguments are declared as text[].
    unsafe {
        let kept: &mut Methods = kept(fcinfo);
        if kept.jsonb.is_none() || kept.before != before.bytes || kept.now != now.bytes {
            let lists = [before.read::<Array<&str>>(), now.read::<Array<&str>>()];
            let names = lists.iter().flatten().flat_map(|names| names.iter().flatten());
            let array = write_array(&names.map(Slot::text).collect::<Vec<_>>());
            kept.jsonb = PgMemoryContexts::For((*(*fcinfo).flinfo).fn_mcxt)
                .switch_to(|_| NewJsonb::of(&array))?;
            (kept.before, kept.now) = (before.bytes.to_vec(), now.bytes.to_vec());
        }
        Ok(kept.jsonb)
    }
}
