//! A text as an argument. A database in SQL_ASCII lets through what is no UTF-8, which is then an error of whoever calls.

use std::ops::Deref;
use std::str;

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::datum::FromDatum;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::{pg_sys, PgLogLevel};

use crate::error::Error;

#[derive(Clone, Copy)]
pub struct Text<'fcx>(pub &'fcx str);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        self.0
    }
}

impl FromDatum for Text<'_> {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        type_oid: pg_sys::Oid,
    ) -> Option<Self> {
        // SAFETY: the caller says that the datum is a text.
        let bytes = unsafe { <&[u8]>::from_polymorphic_datum(datum, is_null, type_oid) }?;
        let text = str::from_utf8(bytes);
        if text.is_err() {
            ErrorReport::from(Error::NotUtf8).report(PgLogLevel::ERROR);
        }
        text.ok().map(Text)
    }
}

// SAFETY: the SQL type below is text, which from_datum reads.
unsafe impl<'fcx> ArgAbi<'fcx> for Text<'fcx> {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: callers of this method check for NULL first.
        unsafe { arg.unbox_arg_using_from_datum().unwrap_or(Text("")) }
    }
}

// SAFETY: this is the type that from_datum expects.
unsafe impl SqlTranslatable for Text<'_> {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Text);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("text"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("text")));
}
