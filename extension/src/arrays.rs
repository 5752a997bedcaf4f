//! Arrays to return, of elements that are there already. pgrx puts one element after the other into an array that grows.

use std::slice;

use pgrx::datum::{Array, Uuid};
use pgrx::pg_sys;

use crate::columns::{Column, ELEMENTS};

/// The type of an array's elements.
#[derive(Clone, Copy)]
pub struct Element {
    oid: pg_sys::Oid,
    length: i32,
    by_value: bool,
    align: u8,
}

impl Element {
    pub const INTEGER: Self = Self::value(pg_sys::INT4OID, 4, b'i');
    pub const TEXT: Self = Self { oid: pg_sys::TEXTOID, length: -1, by_value: false, align: b'i' };
    pub const BIGINT: Self = Self::value(pg_sys::INT8OID, 8, b'd');
    pub const UUID: Self = Self { oid: pg_sys::UUIDOID, length: 16, by_value: false, align: b'c' };

    const fn value(oid: pg_sys::Oid, length: i32, align: u8) -> Self {
        Self { oid, length, by_value: true, align }
    }

    /// An array of these; None is NULL. SAFETY: they are of this type.
    pub unsafe fn array(
        self,
        elements: impl Iterator<Item = Option<pg_sys::Datum>>,
    ) -> Column<'static> {
        Column::Datum(unsafe { self.array_datum(elements) })
    }

    /// The same as it is. SAFETY: as above.
    pub unsafe fn array_datum(
        self,
        elements: impl Iterator<Item = Option<pg_sys::Datum>>,
    ) -> pg_sys::Datum {
        let none = pg_sys::Datum::null();
        let (mut values, mut nulls): (Vec<_>, Vec<_>) =
            elements.map(|element| (element.unwrap_or(none), element.is_none())).unzip();
        let (mut length, mut first) = (values.len() as i32, 1);
        // SAFETY: the arrays are as long as it says; what is in them is copied.
        let array = unsafe {
            pg_sys::construct_md_array(
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
                1,
                &raw mut length,
                &raw mut first,
                self.oid,
                self.length,
                self.by_value,
                self.align as _,
            )
        };
        array.into()
    }
}

/// A `uuid[]`.
pub fn uuids<'a>(keys: impl Iterator<Item = Option<&'a [u8; 16]>>) -> pg_sys::Datum {
    let datum = |key: &[u8; 16]| (key.as_ptr() as usize).into();
    // SAFETY: sixteen bytes are a uuid.
    unsafe { Element::UUID.array_datum(keys.map(|key| key.map(datum))) }
}

/// The elements of a `bigint[]`, where it has one dimension and no NULL.
///
/// SAFETY: the datum is one, and outlives what is returned.
pub unsafe fn bigints<'a>(array: pg_sys::Datum) -> Option<&'a [i64]> {
    unsafe {
        let array: *mut pg_sys::ArrayType = pg_sys::pg_detoast_datum(array.cast_mut_ptr()).cast();
        match ((*array).ndim, (*array).dataoffset) {
            (0, _) => Some(&[]),
            (1, 0) => {
                let length = *array.add(1).cast::<i32>(); // a lower bound is behind it
                let elements = array.cast::<u8>().add(ELEMENTS).cast();
                Some(slice::from_raw_parts(elements, usize::try_from(length).ok()?))
            }
            _ => None,
        }
    }
}

/// The keys of a `uuid[]` that are not NULL.
pub fn keys(array: &Array<Uuid>) -> Vec<[u8; 16]> {
    array.iter().flatten().map(|key| *key.as_bytes()).collect()
}
