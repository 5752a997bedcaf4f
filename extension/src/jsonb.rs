//! A jsonb argument, as its text and as it is stored. `pgrx::JsonB` builds a tree in which numbers are rounded, and panics on
//! deep nesting.

use std::ffi::CStr;
use std::{ptr, slice};

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::datum::{Datum, FromDatum, UnboxDatum};
use pgrx::direct_function_call;
use pgrx::pg_sys;
use pgrx::pg_sys::elog::PgLogLevel;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};

use crate::error::Error;
use crate::json::{Flat, FlatObject};

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

/// An array of objects that have nothing but texts and integers; None is any other jsonb. To read it as it is stored takes a
/// third of what its text takes.
pub struct FlatObjects<'a>(pub Option<Vec<FlatObject<'a>>>);

impl FromDatum for FlatObjects<'_> {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _type_oid: pg_sys::Oid,
    ) -> Option<Self> {
        // SAFETY: the caller says that the datum is a jsonb.
        (!is_null).then(|| unsafe {
            let jsonb: *mut pg_sys::Jsonb = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast();
            Self(flat_objects(&raw mut (*jsonb).root))
        })
    }
}

/// SAFETY: the container is one of a jsonb, and outlives what is returned.
unsafe fn flat_objects<'a>(container: *mut pg_sys::JsonbContainer) -> Option<Vec<FlatObject<'a>>> {
    use pg_sys::JsonbIteratorToken as Token;
    let mut objects: Vec<FlatObject> = Vec::new();
    let mut value = pg_sys::JsonbValue::default();
    // SAFETY: the iterator begins at the container, and is asked no more once it is done.
    unsafe {
        let mut place = pg_sys::JsonbIteratorInit(container);
        let mut next = |value: &mut _| pg_sys::JsonbIteratorNext(&raw mut place, value, false);
        if next(&mut value) != Token::WJB_BEGIN_ARRAY || value.val.array.rawScalar {
            return None;
        }
        loop {
            match next(&mut value) {
                Token::WJB_BEGIN_OBJECT => objects.push(Vec::with_capacity(4)),
                Token::WJB_KEY => {
                    let key = text_of(&value)?;
                    if next(&mut value) != Token::WJB_VALUE {
                        return None;
                    }
                    let flat = match value.type_ {
                        pg_sys::jbvType::jbvString => Flat::Text(text_of(&value)?),
                        pg_sys::jbvType::jbvNumeric => Flat::Integer(integer_of(&value)?),
                        _ => return None,
                    };
                    objects.last_mut()?.push((key, flat));
                }
                Token::WJB_END_OBJECT => {}
                Token::WJB_END_ARRAY => return Some(objects),
                _ => return None,
            }
        }
    }
}

/// SAFETY: the value is a text.
unsafe fn text_of<'a>(value: &pg_sys::JsonbValue) -> Option<&'a str> {
    // SAFETY: as for this function.
    let bytes = unsafe {
        let text = value.val.string;
        slice::from_raw_parts(text.val.cast_const().cast(), text.len as usize)
    };
    std::str::from_utf8(bytes).ok()
}

/// SAFETY: the value is a number.
unsafe fn integer_of(value: &pg_sys::JsonbValue) -> Option<i64> {
    // SAFETY: as for this function.
    let text: Option<&CStr> =
        unsafe { direct_function_call(pg_sys::numeric_out, &[Some(value.val.numeric.into())]) };
    text?.to_str().ok()?.parse().ok()
}
