//! A jsonb argument, as its text and as it is stored. `pgrx::JsonB` builds a tree in which numbers are rounded, and panics on
//! deep nesting.

use std::ffi::CStr;
use std::{ptr, slice};

use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::{Datum, FromDatum, IntoDatum, UnboxDatum};
use pgrx::pg_sys;
use pgrx::pg_sys::elog::PgLogLevel;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};

use crate::error::Error;

/// Allocated in the memory context of the call, which ends with it.
#[derive(Clone, Copy)]
pub struct Jsonb<'fcx> {
    pub text: &'fcx str,
    /// Without the length that Postgres puts before it.
    pub stored: &'fcx [u8],
}

const NULL: Jsonb = Jsonb { text: "null", stored: &[] };

impl FromDatum for Jsonb<'_> {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _type_oid: pg_sys::Oid,
    ) -> Option<Self> {
        if is_null {
            return None;
        }
        // SAFETY: the caller says that the datum is a jsonb. Its text is UTF-8 where the database is; where it is SQL_ASCII, it is
        // looked at.
        unsafe {
            let jsonb: *mut pg_sys::Jsonb = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast();
            let size = pgrx::varsize_any(jsonb.cast());
            let stored = slice::from_raw_parts(
                pgrx::vardata_any(jsonb.cast()).cast(),
                size - pg_sys::VARHDRSZ,
            );
            let text = pg_sys::JsonbToCString(ptr::null_mut(), &raw mut (*jsonb).root, size as i32);
            let bytes = CStr::from_ptr(text).to_bytes();
            if pg_sys::GetDatabaseEncoding() as u32 == pg_sys::pg_enc::PG_UTF8 {
                return Some(Jsonb { text: std::str::from_utf8_unchecked(bytes), stored });
            }
            match std::str::from_utf8(bytes) {
                Ok(text) => Some(Jsonb { text, stored }),
                Err(_) => {
                    ErrorReport::from(Error::NotUtf8).report(PgLogLevel::ERROR); // which does not return
                    None
                }
            }
        }
    }
}

// SAFETY: an element of a jsonb array is a jsonb, which from_datum reads.
unsafe impl UnboxDatum for Jsonb<'_> {
    type As<'src>
        = Jsonb<'src>
    where
        Self: 'src;

    unsafe fn unbox<'src>(datum: Datum<'src>) -> Jsonb<'src>
    where
        Self: 'src,
    {
        // SAFETY: as above; an array asks for no element that is NULL.
        unsafe { Jsonb::from_datum(datum.sans_lifetime(), false).unwrap_or(NULL) }
    }
}

// SAFETY: the SQL type below is jsonb, which from_datum reads.
unsafe impl<'fcx> ArgAbi<'fcx> for Jsonb<'fcx> {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: callers of this method check for NULL first.
        unsafe { arg.unbox_arg_using_from_datum().unwrap_or(NULL) }
    }
}

// SAFETY: this is the type that from_datum expects.
unsafe impl SqlTranslatable for Jsonb<'_> {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Jsonb);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("jsonb"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("jsonb")));
}

/// A jsonb to return, as it is stored.
pub struct StoredJsonb(pub Vec<u8>);

impl IntoDatum for StoredJsonb {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        self.0.as_slice().into_datum() // a bytea is put behind its length in the same way
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::JSONBOID
    }
}

// SAFETY: what was stored as a jsonb is one, and is put into the memory context of this call.
unsafe impl BoxRet for StoredJsonb {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        match self.into_datum() {
            // SAFETY: as above.
            Some(datum) => unsafe { fcinfo.return_raw_datum(datum) },
            None => fcinfo.return_null(),
        }
    }
}

// SAFETY: as above.
unsafe impl SqlTranslatable for StoredJsonb {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(StoredJsonb);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("jsonb"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("jsonb")));
}
