//! A jsonb to return. `pgrx::JsonB` is returned by way of its text.

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::{Datum, IntoDatum};
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};

use crate::error::Error;
use crate::value::MAX_LENGTH;

/// A jsonb that is returned.
#[derive(Clone, Copy)]
pub struct NewJsonb(pg_sys::Datum);

impl NewJsonb {
    /// Of what lies behind the length of one that is stored.
    pub fn of(stored: &[u8]) -> Result<Option<Self>, Error> {
        jsonb_can_be(stored)?;
        Ok(stored.into_datum().map(Self)) // a bytea has its length before it, too
    }
}

/// So large, at most.
pub fn jsonb_can_be(stored: &[u8]) -> Result<(), Error> {
    if stored.len() > MAX_LENGTH {
        let (bytes, limit) = (stored.len(), MAX_LENGTH);
        return Err(Error::TooLarge { what: "a jsonb", bytes, limit });
    }
    Ok(())
}

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
