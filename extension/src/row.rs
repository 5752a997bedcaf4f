//! The row of a function with OUT parameters. pgrx makes rows of sets, and rows whose type is looked up by name in each call:
//! both cost more than what most of these functions do, as do its arrays, which grow.

use std::cell::Cell;
use std::ffi::CStr;
use std::ptr;

use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::{Datum, FromDatum, UnboxDatum};
use pgrx::memcxt::PgMemoryContexts;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::{pg_sys, PgTupleDesc};

use crate::columns::{Column, Columns};
use crate::error::Error;

/// Columns of a row, of types that are Postgres's own: those stay what they are for as long as the server runs.
pub struct RowType<const N: usize> {
    columns: [(&'static CStr, pg_sys::Oid); N],
    /// Made at the first row of a session, null before.
    descriptor: Cell<pg_sys::TupleDesc>,
}

impl<const N: usize> RowType<N> {
    pub const fn new(columns: [(&'static CStr, pg_sys::Oid); N]) -> Self {
        Self { columns, descriptor: Cell::new(ptr::null_mut()) }
    }

    /// A row of these values, in the order of the columns; None is NULL.
    pub fn row<'a>(&self, values: [impl Into<Column<'a>>; N]) -> Row {
        let mut columns = Columns::new();
        columns.set(values.map(Into::into));
        self.form(&mut columns)
    }

    /// A row of these values alone, the others being NULL.
    pub fn only<const M: usize>(&self, values: [(&CStr, Column); M]) -> Row {
        let mut row = [Column::Null; N];
        for (name, value) in values {
            if let Some(place) = self.columns.iter().position(|(column, _)| *column == name) {
                row[place] = value;
            }
        }
        self.row(row)
    }

    pub fn form(&self, columns: &mut Columns<N>) -> Row {
        // SAFETY: the arrays are as long as the descriptor, and each datum is of the type of its column, as the caller says.
        unsafe {
            let tuple = pg_sys::heap_form_tuple(
                self.descriptor(),
                columns.datums.as_mut_ptr(),
                columns.nulls.as_mut_ptr(),
            );
            Row(pg_sys::HeapTupleHeaderGetDatum((*tuple).t_data))
        }
    }

    /// What a row of these would hold.
    pub fn fields(&self, columns: &Columns<N>) -> Fields<N> {
        let names = self.columns.map(|(name, _)| name);
        Fields { columns: names, values: columns.datums, nulls: columns.nulls }
    }

    /// A row that was made here, with values that PL/pgSQL may have set since.
    pub fn read(&self, row: RowArgument) -> Result<Fields<N>, Error> {
        let descriptor = self.descriptor();
        // SAFETY: the row has its type with it; where that is this one, it has its columns.
        unsafe {
            let row = row.header();
            let made = (*row).t_choice.t_datum;
            if (made.datum_typeid, made.datum_typmod)
                != ((*descriptor).tdtypeid, (*descriptor).tdtypmod)
            {
                return Err(Error::RowType);
            }
            Ok(Fields::deform(row, descriptor, self.columns.map(|(name, _)| name)))
        }
    }

    fn descriptor(&self) -> pg_sys::TupleDesc {
        if self.descriptor.get().is_null() {
            // SAFETY: the descriptor has N columns, numbered from 1, and is allocated where it is never freed.
            let descriptor = unsafe {
                PgMemoryContexts::TopMemoryContext.switch_to(|_| {
                    let descriptor = pg_sys::CreateTemplateTupleDesc(N as i32);
                    for (number, (name, oid)) in (1..).zip(self.columns) {
                        pg_sys::TupleDescInitEntry(descriptor, number, name.as_ptr(), oid, -1, 0);
                    }
                    pg_sys::BlessTupleDesc(descriptor)
                })
            };
            self.descriptor.set(descriptor);
        }
        self.descriptor.get()
    }
}

/// The values of a row.
pub struct Fields<const N: usize> {
    columns: [&'static CStr; N],
    values: [pg_sys::Datum; N],
    nulls: [bool; N],
}

impl<const N: usize> Fields<N> {
    /// SAFETY: the row is of the descriptor, which has these columns.
    unsafe fn deform(
        row: pg_sys::HeapTupleHeader,
        descriptor: pg_sys::TupleDesc,
        columns: [&'static CStr; N],
    ) -> Self {
        let (mut values, mut nulls) = ([pg_sys::Datum::null(); N], [true; N]);
        unsafe {
            let length = pgrx::varsize_any(row.cast()) as u32;
            let mut tuple =
                pg_sys::HeapTupleData { t_len: length, t_data: row, ..Default::default() };
            pg_sys::heap_deform_tuple(
                &raw mut tuple,
                descriptor,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
        }
        Self { columns, values, nulls }
    }

    /// None is NULL.
    pub fn get(&self, column: &CStr) -> Option<pg_sys::Datum> {
        let place = self.columns.iter().position(|name| *name == column)?;
        (!self.nulls[place]).then_some(self.values[place])
    }
}

/// Declared in `sql/`, with its OUT parameters.
pub struct Row(pub pg_sys::Datum);

// SAFETY: the datum is a row, which is what the function is declared to return.
unsafe impl BoxRet for Row {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        // SAFETY: the row was made in the memory context of this call.
        unsafe { fcinfo.return_raw_datum(self.0) }
    }
}

// SAFETY: a datum of this type is a row.
unsafe impl SqlTranslatable for Row {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Row);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("record"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("record")));
}

/// A row that is an argument.
#[derive(Clone, Copy)]
pub struct RowArgument(pg_sys::Datum);

impl FromDatum for RowArgument {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _type_oid: pg_sys::Oid,
    ) -> Option<Self> {
        (!is_null).then_some(RowArgument(datum))
    }
}

impl RowArgument {
    /// Of a type that `sql/` declares with these columns.
    pub fn named<const N: usize>(self, columns: [&'static CStr; N]) -> Result<Fields<N>, Error> {
        // SAFETY: the row has its type with it.
        unsafe {
            let row = self.header();
            let made = (*row).t_choice.t_datum;
            let descriptor = pg_sys::lookup_rowtype_tupdesc(made.datum_typeid, made.datum_typmod);
            let descriptor = PgTupleDesc::from_pg(descriptor);
            if descriptor.len() != N {
                return Err(Error::RowType);
            }
            Ok(Fields::deform(row, descriptor.as_ptr(), columns))
        }
    }

    unsafe fn header(self) -> pg_sys::HeapTupleHeader {
        unsafe { pg_sys::pg_detoast_datum(self.0.cast_mut_ptr()).cast() }
    }
}

// SAFETY: a row is passed as it is.
unsafe impl UnboxDatum for RowArgument {
    type As<'src> = RowArgument;

    unsafe fn unbox<'src>(datum: Datum<'src>) -> Self::As<'src>
    where
        Self: 'src,
    {
        RowArgument(datum.sans_lifetime())
    }
}

// SAFETY: the functions of this argument are declared in `sql/`, STRICT and with type record.
unsafe impl<'fcx> ArgAbi<'fcx> for RowArgument {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: of a STRICT function no argument is NULL.
        let row = unsafe { arg.unbox_arg_using_from_datum() };
        row.unwrap_or(RowArgument(pg_sys::Datum::null()))
    }
}

// SAFETY: a datum of this type is a row.
unsafe impl SqlTranslatable for RowArgument {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(RowArgument);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("record"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("record")));
}
