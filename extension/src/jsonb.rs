//! A jsonb argument, as it is stored and as its text. `pgrx::JsonB` builds a tree in which numbers are rounded, and panics on
//! deep nesting.

use std::ffi::CStr;
use std::sync::OnceLock;
use std::{ptr, slice};

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::datum::{Datum, FromDatum, UnboxDatum};
use pgrx::pg_sys;
use pgrx::pg_sys::elog::PgLogLevel;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};

use crate::error::Error;
use crate::json::FlatObject;
use crate::value::Value;

/// Allocated in the memory context of the call, which ends with it.
#[derive(Clone, Copy)]
pub struct Jsonb<'fcx> {
    /// Without the length that Postgres puts before it.
    stored: &'fcx [u8],
}

impl<'fcx> Jsonb<'fcx> {
    pub fn value(self) -> Result<Value<'fcx>, Error> {
        Value::of(self.stored)
    }

    pub fn text(self) -> &'fcx str {
        // SAFETY: what is stored begins with the container. The text is UTF-8: where the database is not, from_datum has looked.
        unsafe { std::str::from_utf8_unchecked(self.bytes_of_text()) }
    }

    fn bytes_of_text(self) -> &'fcx [u8] {
        if self.stored.is_empty() {
            return b"null";
        }
        // SAFETY: what is stored begins with the container. Its text ends with a zero byte.
        unsafe {
            let root = self.stored.as_ptr().cast_mut().cast();
            let text = pg_sys::JsonbToCString(ptr::null_mut(), root, self.stored.len() as i32);
            CStr::from_ptr(text).to_bytes()
        }
    }
}

/// Not met: who asks for a value looks for NULL before.
const NULL: Jsonb = Jsonb { stored: &[] };

impl FromDatum for Jsonb<'_> {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _type_oid: pg_sys::Oid,
    ) -> Option<Self> {
        if is_null {
            return None;
        }
        // SAFETY: the caller says that the datum is a jsonb.
        let jsonb = Jsonb { stored: unsafe { stored(datum) } };
        if !is_utf8_database() && std::str::from_utf8(jsonb.bytes_of_text()).is_err() {
            ErrorReport::from(Error::NotUtf8).report(PgLogLevel::ERROR); // which does not return
        }
        Some(jsonb)
    }
}

/// What is behind the length.
///
/// SAFETY: the datum is a jsonb, and outlives what is returned.
unsafe fn stored<'a>(datum: pg_sys::Datum) -> &'a [u8] {
    unsafe {
        let mut jsonb = datum.cast_mut_ptr();
        if !pgrx::varatt_is_4b_u(jsonb) {
            jsonb = pg_sys::pg_detoast_datum(jsonb);
        }
        let size = pgrx::varsize_4b(jsonb) - pg_sys::VARHDRSZ;
        slice::from_raw_parts(pgrx::vardata_4b(jsonb).cast(), size)
    }
}

/// Or of SQL_ASCII, which lets everything through.
pub fn is_utf8_database() -> bool {
    static IS_UTF8: OnceLock<bool> = OnceLock::new();
    // SAFETY: looks it up; a session stays in its database.
    *IS_UTF8
        .get_or_init(|| unsafe { pg_sys::GetDatabaseEncoding() as u32 == pg_sys::pg_enc::PG_UTF8 })
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

/// An array of objects that have nothing but texts and integers; None is any other jsonb. To read it as it is stored takes a tenth
/// of what its text takes.
pub struct FlatObjects<'a>(pub Option<Vec<FlatObject<'a>>>);

impl FromDatum for FlatObjects<'_> {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _type_oid: pg_sys::Oid,
    ) -> Option<Self> {
        // SAFETY: the caller says that the datum is a jsonb.
        let stored = (!is_null).then(|| unsafe { stored(datum) })?;
        Some(Self(Value::of(stored).ok().and_then(Value::flat_objects)))
    }
}
