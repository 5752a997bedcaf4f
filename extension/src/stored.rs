//! An argument as it is stored: equal bytes are equal values, so that what was made of one need not be made again.

use std::slice;

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::datum::FromDatum;
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};

/// Of a type whose values have their length before them.
#[derive(Clone, Copy)]
pub struct Stored<'fcx> {
    pub bytes: &'fcx [u8],
    datum: pg_sys::Datum,
}

impl Stored<'_> {
    /// SAFETY: the argument is of the type that `T` reads.
    pub unsafe fn read<T: FromDatum>(&self) -> Option<T> {
        unsafe { T::from_datum(self.datum, false) }
    }
}

impl FromDatum for Stored<'_> {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _type_oid: pg_sys::Oid,
    ) -> Option<Self> {
        if is_null {
            return None;
        }
        // SAFETY: the caller says that the datum has its length before it.
        let bytes = unsafe {
            let start = datum.cast_mut_ptr::<pg_sys::varlena>();
            slice::from_raw_parts(start.cast(), pgrx::varsize_any(start))
        };
        Some(Stored { bytes, datum })
    }
}

// SAFETY: the functions of this argument are declared in `sql/`, with types that have their length before them.
unsafe impl<'fcx> ArgAbi<'fcx> for Stored<'fcx> {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: callers of this method check for NULL first.
        let stored = unsafe { arg.unbox_arg_using_from_datum() };
        stored.unwrap_or(Stored { bytes: &[], datum: pg_sys::Datum::null() })
    }
}

// SAFETY: what the type is, the declaration says.
unsafe impl SqlTranslatable for Stored<'_> {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Stored);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("any"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("any")));
}
