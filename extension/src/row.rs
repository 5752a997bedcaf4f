//! The row of a function with OUT parameters. pgrx makes rows of sets, and rows whose type is looked up by name in each call:
//! both cost more than what most of these functions do, as do its arrays, which grow.

use std::cell::Cell;
use std::ffi::CStr;
use std::ptr;

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::memcxt::PgMemoryContexts;
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};

use crate::columns::{Column, Columns};

/// Columns of a row, of types that are Postgres's own: those stay what they are for as long as the server runs.
pub struct RowType<const N: usize> {
    columns: [(&'static CStr, pg_sys::Oid); N],
    /// Made at the first row of a session, null before.
    descriptor: Cell<pg_sys::TupleDesc>,
}

impl<const N: usize> RowType<N> {
    pub const fn new(columns: [(&'static CStr, pg_sys::Oid); N]) -> Self {
        Self { columns, descriptor: Cell::new(ptr::null_mut()) }
    }

    /// A row of these values, in the order of the columns; None is NULL.
    pub fn row<'a>(&self, values: [impl Into<Column<'a>>; N]) -> Row {
        let mut columns = Columns::new();
        columns.set(values.map(Into::into));
        // SAFETY: the arrays are as long as the descriptor, and each datum is of the type of its column, as the caller says.
        unsafe {
            let tuple = pg_sys::heap_form_tuple(
                self.descriptor(),
                columns.datums.as_mut_ptr(),
                columns.nulls.as_mut_ptr(),
            );
            Row(pg_sys::HeapTupleHeaderGetDatum((*tuple).t_data))
        }
    }

    fn descriptor(&self) -> pg_sys::TupleDesc {
        if self.descriptor.get().is_null() {
            // SAFETY: the descriptor has N columns, numbered from 1, and is allocated where it is never freed.
            let descriptor = unsafe {
                PgMemoryContexts::TopMemoryContext.switch_to(|_| {
                    let descriptor = pg_sys::CreateTemplateTupleDesc(N as i32);
                    for (number, (name, oid)) in (1..).zip(self.columns) {
                        pg_sys::TupleDescInitEntry(descriptor, number, name.as_ptr(), oid, -1, 0);
                    }
                    pg_sys::BlessTupleDesc(descriptor)
                })
            };
            self.descriptor.set(descriptor);
        }
        self.descriptor.get()
    }
}

/// Declared in `sql/`, with its OUT parameters.
pub struct Row(pg_sys::Datum);

// SAFETY: the datum is a row, which is what the function is declared to return.
unsafe impl BoxRet for Row {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        // SAFETY: the row was made in the memory context of this call.
        unsafe { fcinfo.return_raw_datum(self.0) }
    }
}

// SAFETY: a datum of this type is a row.
unsafe impl SqlTranslatable for Row {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Row);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("record"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("record")));
}
