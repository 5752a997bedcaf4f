//! SQL function `_cursor_snapshot` of `sql/40_window.sql`: the snapshot that is written in a cursor.

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::{Datum, IntoDatum};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::{direct_function_call_as_datum, pg_extern, pg_sys};

use crate::error::Error;
use crate::recipients::text;
use crate::snapshot::Snapshot;

/// Declared in `sql/40_window.sql`.
#[pg_extern(sql = false)]
fn _cursor_snapshot() -> Result<NewSnapshot, ErrorReport> {
    Ok(NewSnapshot(now()?))
}

/// That of the statement. pg_current_snapshot() counts the own transaction as seen; a transaction that has enqueued (a report, a retry
/// selection) and then claims would declare its own later rows as claimed.
pub fn now() -> Result<Snapshot, Error> {
    // SAFETY: the function takes nothing, and its snapshot has a length before it as a text has.
    unsafe {
        let current = direct_function_call_as_datum(pg_sys::pg_current_snapshot, &[]);
        let snapshot = Snapshot::of(current.map_or(&[][..], |snapshot| text(snapshot)))?;
        Ok(match pg_sys::GetTopFullTransactionIdIfAny().value {
            0 => snapshot,
            own => snapshot.with_in_progress(own),
        })
    }
}

struct NewSnapshot(Snapshot);

// SAFETY: the datum is a pg_snapshot, which is what the function is declared to return.
unsafe impl BoxRet for NewSnapshot {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        let stored = self.0.stored().into_datum(); // a bytea has its length before it, too
                                                   // SAFETY: it was made in the memory context of this call.
        unsafe { fcinfo.return_raw_datum(stored.unwrap_or(pg_sys::Datum::null())) }
    }
}

// SAFETY: a datum of this type is a pg_snapshot.
unsafe impl SqlTranslatable for NewSnapshot {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(NewSnapshot);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> =
        Ok(SqlMappingRef::literal("pg_snapshot"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("pg_snapshot")));
}
