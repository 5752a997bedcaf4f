//! The trigger of `alert_deliveries`, declared in `sql/72_stats.sql`: counts what a statement has inserted. Without a plan, which would
//! be made ready anew for each report.

use std::ffi::CStr;

use pgrx::datum::{FromDatum, Interval, IntoDatum, TimestampWithTimeZone};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{ereport, is_a, pg_extern, pg_sys, PgSqlErrorCode};

use crate::delivery_counts::DeliveryCounts;
use crate::error::Error;
use crate::insert;
use crate::internal::_restoring;
use crate::jsonb::Jsonb;
use crate::stored::Stored;

#[pg_extern(sql = false)]
fn _count_deliveries(fcinfo: pg_sys::FunctionCallInfo) -> Result<(), ErrorReport> {
    // SAFETY: this is a call by SQL; a trigger's has the trigger with it.
    let (counts, stats) = unsafe {
        let context = (*fcinfo).context;
        let trigger = context.cast::<pg_sys::TriggerData>();
        let is_trigger = !context.is_null() && is_a(context, pg_sys::NodeTag::T_TriggerData);
        if !is_trigger || (*trigger).tg_newtable.is_null() {
            let protocol = PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED;
            ereport!(
                ERROR,
                protocol,
                "_count_deliveries() is the function of a trigger of alert_deliveries"
            );
        }
        if _restoring() {
            return Ok(());
        }
        let schema = (*(*(*trigger).tg_relation).rd_rel).relnamespace;
        (count(trigger)?, pg_sys::get_relname_relid(c"delivery_stats_new".as_ptr(), schema))
    };
    if !counts.0.is_empty() {
        write(&counts, stats)?;
    }
    Ok(())
}

/// Puts counts into `delivery_stats_new`.
pub fn write(counts: &DeliveryCounts, stats: pg_sys::Oid) -> Result<(), Error> {
    let width = Interval::from_minutes(1);
    let rows = counts.0.iter().flat_map(|(kind, counts)| {
        counts.channels.iter().map(move |channel| {
            // SAFETY: rows were inserted, by a transaction that has its id.
            let xid = unsafe { pg_sys::GetTopFullTransactionId() };
            Ok([
                (c"at", TimestampWithTimeZone::try_from(kind.at).ok().into_datum()),
                (c"width", width.into_datum()),
                (c"channel", channel.as_str().into_datum()),
                (c"seconds", kind.seconds.into_datum()),
                (c"deliveries", counts.deliveries.into_datum()),
                (c"by_retry", counts.by_retry.into_datum()),
                (c"retries", counts.retries.into_datum()),
                (c"xid", Some(xid.value.into())),
            ])
        })
    });
    insert::into(stats, |table| table.put_all(rows))?;
    Ok(())
}

/// SAFETY: the trigger is called after an INSERT, and asks for its rows.
unsafe fn count(trigger: *mut pg_sys::TriggerData) -> Result<DeliveryCounts, Error> {
    let mut counts = DeliveryCounts::default();
    unsafe {
        let (rows, descriptor) = ((*trigger).tg_newtable, (*(*trigger).tg_relation).rd_att);
        let accepted_at = column(descriptor, c"accepted_at")?;
        let delivered_at = column(descriptor, c"delivered_at")?;
        let methods = column(descriptor, c"delivery_methods")?;
        let attempt = column(descriptor, c"attempt")?;
        let row =
            pg_sys::MakeSingleTupleTableSlot(descriptor, &raw const pg_sys::TTSOpsMinimalTuple);
        pg_sys::tuplestore_select_read_pointer(rows, 0);
        pg_sys::tuplestore_rescan(rows);
        while pg_sys::tuplestore_gettupleslot(rows, true, false, row) {
            pg_sys::slot_getallattrs(row);
            let methods: Stored = value(row, methods)?;
            counts.add(
                value(row, accepted_at)?,
                value(row, delivered_at)?,
                methods.bytes,
                || channels(&methods),
                value(row, attempt)?,
            )?;
        }
        pg_sys::ExecDropSingleTupleTableSlot(row);
    }
    Ok(counts)
}

/// Its place in a row.
unsafe fn column(descriptor: pg_sys::TupleDesc, name: &CStr) -> Result<usize, Error> {
    let number = unsafe { pg_sys::SPI_fnumber(descriptor, name.as_ptr()) };
    let missing = || Error::NotColumn { column: name.to_string_lossy().into() };
    usize::try_from(number - 1).map_err(|_| missing())
}

/// SAFETY: the row was read, and the column is of the type that `T` reads.
unsafe fn value<T: FromDatum>(row: *mut pg_sys::TupleTableSlot, column: usize) -> Result<T, Error> {
    unsafe {
        let (values, nulls) = ((*row).tts_values, (*row).tts_isnull);
        T::from_datum(*values.add(column), *nulls.add(column)).ok_or(Error::RowType)
    }
}

/// SAFETY: these are of type jsonb.
unsafe fn channels(methods: &Stored) -> Result<Vec<String>, Error> {
    let methods = unsafe { methods.read::<Jsonb>() }.ok_or(Error::RowType)?.value()?;
    methods.texts().ok_or_else(|| Error::MethodsShape { found: methods.describe() })
}
