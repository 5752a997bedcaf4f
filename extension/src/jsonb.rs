//! A jsonb argument as its text, and a jsonb to return. `pgrx::JsonB` builds a tree in which numbers are rounded, panics on deep
//! nesting, and is returned by way of its text.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr;
use std::slice;

use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::{Datum, FromDatum};
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
pub struct JsonbText<'fcx>(pub &'fcx str);

impl FromDatum for JsonbText<'_> {
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
            let text = pg_sys::JsonbToCString(ptr::null_mut(), &raw mut (*jsonb).root, size as i32);
            let bytes = CStr::from_ptr(text).to_bytes();
            if pg_sys::GetDatabaseEncoding() as u32 == pg_sys::pg_enc::PG_UTF8 {
                return Some(JsonbText(std::str::from_utf8_unchecked(bytes)));
            }
            match std::str::from_utf8(bytes) {
                Ok(text) => Some(JsonbText(text)),
                Err(_) => {
                    ErrorReport::from(Error::NotUtf8).report(PgLogLevel::ERROR); // which does not return
                    None
                }
            }
        }
    }
}

// SAFETY: the SQL type below is jsonb, which from_datum reads.
unsafe impl<'fcx> ArgAbi<'fcx> for JsonbText<'fcx> {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: callers of this method check for NULL first.
        unsafe { arg.unbox_arg_using_from_datum().unwrap_or(JsonbText("null")) }
    }
}

// SAFETY: this is the type that from_datum expects.
unsafe impl SqlTranslatable for JsonbText<'_> {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(JsonbText);
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

/// Makes a jsonb of values that it has made, and of texts that outlive it.
#[derive(Default)]
pub struct Maker<'a> {
    arrays: Vec<Vec<pg_sys::JsonbValue>>,
    objects: Vec<Vec<pg_sys::JsonbPair>>,
    texts: PhantomData<&'a str>,
}

impl<'a> Maker<'a> {
    pub fn text(&self, text: &'a str) -> pg_sys::JsonbValue {
        let mut value =
            pg_sys::JsonbValue { type_: pg_sys::jbvType::jbvString, ..Default::default() };
        value.val.string.len = text.len() as i32;
        value.val.string.val = text.as_ptr().cast_mut().cast();
        value
    }

    pub fn integer(&self, number: i64) -> pg_sys::JsonbValue {
        let mut value =
            pg_sys::JsonbValue { type_: pg_sys::jbvType::jbvNumeric, ..Default::default() };
        // SAFETY: makes a number in the memory context of this call.
        value.val.numeric = unsafe { pg_sys::int64_to_numeric(number) };
        value
    }

    pub fn array(&mut self, mut elements: Vec<pg_sys::JsonbValue>) -> pg_sys::JsonbValue {
        let mut value =
            pg_sys::JsonbValue { type_: pg_sys::jbvType::jbvArray, ..Default::default() };
        value.val.array.nElems = elements.len() as i32;
        value.val.array.elems = elements.as_mut_ptr();
        value.val.array.rawScalar = false;
        self.arrays.push(elements);
        value
    }

    /// Of entries that each have a key of their own.
    pub fn object(
        &mut self,
        mut entries: Vec<(&'a str, pg_sys::JsonbValue)>,
    ) -> pg_sys::JsonbValue {
        entries.sort_unstable_by_key(|(key, _)| (key.len(), *key)); // as a jsonb is searched
        let pair = |(key, value)| pg_sys::JsonbPair { key: self.text(key), value, order: 0 };
        let mut pairs: Vec<_> = entries.into_iter().map(pair).collect();
        let mut value =
            pg_sys::JsonbValue { type_: pg_sys::jbvType::jbvObject, ..Default::default() };
        value.val.object.nPairs = pairs.len() as i32;
        value.val.object.pairs = pairs.as_mut_ptr();
        self.objects.push(pairs);
        value
    }

    pub fn jsonb(self, mut value: pg_sys::JsonbValue) -> Jsonb {
        // SAFETY: what the value points to is held by self, or outlives it.
        Jsonb(unsafe { pg_sys::JsonbValueToJsonb(&raw mut value) }.into())
    }
}

/// A jsonb that is returned.
#[derive(Clone, Copy)]
pub struct Jsonb(pg_sys::Datum);

// SAFETY: the datum is a jsonb, which is what the function is declared to return.
unsafe impl BoxRet for Jsonb {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        // SAFETY: the jsonb was made in the memory context of this call, or in one that outlives it.
        unsafe { fcinfo.return_raw_datum(self.0) }
    }
}

// SAFETY: a datum of this type is a jsonb.
unsafe impl SqlTranslatable for Jsonb {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Jsonb);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("jsonb"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("jsonb")));
}
