//! The rows of a function that returns a set, made one after the other in its one call. pgrx makes them in a call each, of values
//! that it allocates one by one: both cost more than what the rows tell.

use std::ptr;

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::memcxt::PgMemoryContexts;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::{ereport, pg_sys, PgSqlErrorCode};

/// A value of a row.
#[derive(Clone, Copy)]
pub enum Column<'a> {
    Null,
    Boolean(bool),
    Text(&'a str),
    Uuid([u8; 16]),
    /// What lies behind the length of a jsonb.
    Jsonb(&'a [u8]),
    /// Made already.
    Made(pg_sys::Datum),
}

impl<'a> Column<'a> {
    pub fn text(text: Option<&'a str>) -> Self {
        text.map_or(Column::Null, Column::Text)
    }

    /// Its bytes, where it is not the datum itself, and those that are its length.
    fn bytes(&self) -> (&[u8], usize) {
        match self {
            Column::Null | Column::Boolean(_) | Column::Made(_) => (&[], 0),
            Column::Uuid(uuid) => (uuid, 0),
            Column::Text(text) => (text.as_bytes(), pg_sys::VARHDRSZ),
            Column::Jsonb(stored) => (stored, pg_sys::VARHDRSZ),
        }
    }
}

/// In words, which align each value.
const WORD: usize = size_of::<u64>();

/// Rows of N columns.
pub struct Rows<const N: usize> {
    store: *mut pg_sys::Tuplestorestate,
    descriptor: pg_sys::TupleDesc,
    /// The values of the row that is made.
    values: Vec<u64>,
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
            Self { store, descriptor, values: Vec::new() }
        }
    }

    pub fn push(&mut self, columns: [Column; N]) {
        let words = |column: &Column| {
            let (bytes, length) = column.bytes();
            (length + bytes.len()).div_ceil(WORD)
        };
        self.values.clear();
        self.values.resize(columns.iter().map(words).sum(), 0);
        let mut place = self.values.as_mut_ptr();
        let mut nulls = [false; N];
        let mut datums = [pg_sys::Datum::null(); N];
        for ((column, datum), is_null) in columns.iter().zip(&mut datums).zip(&mut nulls) {
            match column {
                Column::Null => *is_null = true,
                Column::Boolean(boolean) => *datum = (*boolean).into(),
                Column::Made(made) => *datum = *made,
                Column::Text(_) | Column::Uuid(_) | Column::Jsonb(_) => {
                    let (bytes, length) = column.bytes();
                    *datum = place.into();
                    // SAFETY: there is room for the words of all columns.
                    unsafe {
                        if length > 0 {
                            pgrx::set_varsize_4b(place.cast(), (length + bytes.len()) as i32);
                        }
                        let begin = place.cast::<u8>().add(length);
                        ptr::copy_nonoverlapping(bytes.as_ptr(), begin, bytes.len());
                        place = place.add(words(column));
                    }
                }
            }
        }
        // SAFETY: the arrays are as long as the descriptor; what is in them is copied.
        unsafe {
            pg_sys::tuplestore_putvalues(
                self.store,
                self.descriptor,
                datums.as_mut_ptr(),
                nulls.as_mut_ptr(),
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
