//! A jsonb to return. `pgrx::JsonB` is returned by way of its text.

use std::marker::PhantomData;

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::{Datum, IntoDatum};
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};

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

    pub fn jsonb(self, mut value: pg_sys::JsonbValue) -> NewJsonb {
        // SAFETY: what the value points to is held by self, or outlives it.
        NewJsonb(unsafe { pg_sys::JsonbValueToJsonb(&raw mut value) }.into())
    }
}

/// A jsonb that is returned.
#[derive(Clone, Copy)]
pub struct NewJsonb(pg_sys::Datum);

impl IntoDatum for NewJsonb {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        Some(self.0)
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::JSONBOID
    }
}

// SAFETY: the datum is a jsonb, which is what the function is declared to return.
unsafe impl BoxRet for NewJsonb {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        // SAFETY: the jsonb was made in the memory context of this call, or in one that outlives it.
        unsafe { fcinfo.return_raw_datum(self.0) }
    }
}

// SAFETY: a datum of this type is a jsonb.
unsafe impl SqlTranslatable for NewJsonb {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(NewJsonb);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("jsonb"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("jsonb")));
}
