//! The rows of a function that returns a set, made one after the other in its one call. pgrx makes them in a call each, of values
//! that it allocates one by one: both cost more than what the rows tell.

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
    store: *mut pg_sys::Tuplestorestate,
    descriptor: pg_sys::TupleDesc,
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
            let context = (*(*info).econtext).ecxt_per_query_memory;
            let (store, descriptor) = PgMemoryContexts::For(context).switch_to(|_| {
                let store = pg_sys::tuplestore_begin_heap(false, false, pg_sys::work_mem);
                (store, pg_sys::CreateTupleDescCopy((*info).expectedDesc))
            });
            (*info).returnMode = materialize;
            (*info).setResult = store;
            (*info).setDesc = descriptor;
            Self { store, descriptor, columns: Columns::new() }
        }
    }

    /// Those of another function, called with the same arguments.
    ///
    /// SAFETY: both functions are declared alike.
    pub unsafe fn of(function: pg_sys::Oid, fcinfo: pg_sys::FunctionCallInfo) -> Self {
        unsafe {
            let mut function_info = pg_sys::FmgrInfo::default();
            pg_sys::fmgr_info(function, &raw mut function_info);
            let arguments = (*fcinfo).nargs as usize * size_of::<pg_sys::NullableDatum>();
            let size = size_of::<pg_sys::FunctionCallInfoBaseData>() + arguments;
            let call = pg_sys::palloc(size).cast::<u8>();
            call.copy_from_nonoverlapping(fcinfo.cast(), size);
            let call: pg_sys::FunctionCallInfo = call.cast();
            (*call).flinfo = &raw mut function_info;
            if let Some(address) = function_info.fn_addr {
                pg_guard_ffi_boundary(|| address(call));
            }
            let info = (*fcinfo).resultinfo.cast::<pg_sys::ReturnSetInfo>();
            let (store, descriptor) = ((*info).setResult, (*info).setDesc);
            Self { store, descriptor, columns: Columns::new() }
        }
    }

    pub fn push(&mut self, columns: [Column; N]) {
        pgrx::check_for_interrupts!(); // a call may have rows for seconds
        self.columns.set(columns);
        // SAFETY: the arrays are as long as the descriptor; what is in them is copied.
        unsafe {
            pg_sys::tuplestore_putvalues(
                self.store,
                self.descriptor,
                self.columns.datums.as_mut_ptr(),
                self.columns.nulls.as_mut_ptr(),
            );
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
