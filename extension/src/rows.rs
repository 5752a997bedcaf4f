//! The rows of a function that returns a set, made one after the other in its one call. pgrx makes them in a call each, of values
//! that it allocates one by one: both cost more than what the rows tell.

use std::{mem, ptr};

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::memcxt::PgMemoryContexts;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::{ereport, pg_sys, PgSqlErrorCode};

use crate::columns::{Column, Columns};

/// Rows of N columns.
pub struct Rows<const N: usize> {
    info: *mut pg_sys::ReturnSetInfo,
    columns: Columns<N>,
}

impl<const N: usize> Rows<N> {
    /// SAFETY: the function is declared to return a set of N columns.
    pub unsafe fn new(fcinfo: pg_sys::FunctionCallInfo) -> Self {
        unsafe {
            let info = (*fcinfo).resultinfo.cast::<pg_sys::ReturnSetInfo>();
            let materialize = pg_sys::SetFunctionReturnMode::SFRM_Materialize;
            let takes_rows = !info.is_null() && (*info).allowedModes as u32 & materialize != 0;
            if !takes_rows || (*info).expectedDesc.is_null() {
                ereport!(
                    ERROR,
                    PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                    "the rows of this function are asked for in a way that cannot take them",
                    "Name it in the FROM of a query."
                );
            }
            (*info).returnMode = materialize;
            Self { info, columns: Columns::new() }
        }
    }

    /// Those of another function, called with the arguments of this one and more behind them.
    ///
    /// SAFETY: the other takes these arguments, and returns the same rows.
    pub unsafe fn of(
        function: pg_sys::Oid,
        fcinfo: pg_sys::FunctionCallInfo,
        more: &[pg_sys::NullableDatum],
    ) -> Self {
        unsafe {
            let arguments = (*fcinfo).nargs as usize;
            let own = mem::offset_of!(pg_sys::FunctionCallInfoBaseData, args)
                + arguments * size_of::<pg_sys::NullableDatum>();
            let call: pg_sys::FunctionCallInfo = pg_sys::palloc(own + size_of_val(more)).cast();
            ptr::copy_nonoverlapping(fcinfo.cast::<u8>(), call.cast::<u8>(), own);
            let behind = (*call).args.as_mut_ptr().add(arguments);
            ptr::copy_nonoverlapping(more.as_ptr(), behind, more.len());
            (*call).nargs += more.len() as i16;
            let mut called = pg_sys::FmgrInfo::default();
            pg_sys::fmgr_info(function, &raw mut called);
            (*call).flinfo = &raw mut called;
            if let Some(address) = called.fn_addr {
                pg_guard_ffi_boundary(|| address(call));
            }
            Self { info: (*fcinfo).resultinfo.cast(), columns: Columns::new() }
        }
    }

    pub fn push(&mut self, columns: [Column; N]) {
        pgrx::check_for_interrupts!(); // a call may have rows for seconds
        self.columns.set(columns);
        // SAFETY: the arrays are as long as the descriptor; what is in them is copied.
        unsafe {
            if (*self.info).setResult.is_null() {
                self.begin();
            }
            pg_sys::tuplestore_putvalues(
                (*self.info).setResult,
                (*self.info).setDesc,
                self.columns.datums.as_mut_ptr(),
                self.columns.nulls.as_mut_ptr(),
            );
        }
    }

    unsafe fn begin(&mut self) {
        unsafe {
            let info = self.info;
            let backwards = pg_sys::SetFunctionReturnMode::SFRM_Materialize_Random;
            let backwards = (*info).allowedModes as u32 & backwards != 0;
            let context = (*(*info).econtext).ecxt_per_query_memory;
            PgMemoryContexts::For(context).switch_to(|_| {
                (*info).setDesc = pg_sys::CreateTupleDescCopy((*info).expectedDesc);
                (*info).setResult =
                    pg_sys::tuplestore_begin_heap(backwards, false, pg_sys::work_mem);
            });
        }
    }

    /// There are none after all.
    pub fn discard(&mut self) {
        // SAFETY: it is of this call.
        unsafe {
            if !(*self.info).setResult.is_null() {
                pg_sys::tuplestore_end((*self.info).setResult);
                (*self.info).setResult = ptr::null_mut();
                (*self.info).setDesc = ptr::null_mut();
            }
        }
    }
}

// SAFETY: the rows are where the caller looks for them.
unsafe impl<const N: usize> BoxRet for Rows<N> {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        fcinfo.return_null()
    }
}

// SAFETY: the function is declared by hand.
unsafe impl<const N: usize> SqlTranslatable for Rows<N> {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Rows);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("record"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("record")));
}
