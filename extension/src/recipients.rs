//! The addresses of a user, looked up by the index that is there for it.

use pgrx::pg_sys;

use crate::error::Error;
use crate::index::{key, Found, Indexed};

pub struct Recipients {
    rows: Indexed,
    user_id: i32,
    channel: i32,
    address: i32,
}

/// A row of table `recipients`.
pub struct Recipient<'a> {
    row: Found,
    pub address: &'a [u8],
}

impl Recipients {
    pub fn open(table: pg_sys::Oid) -> Result<Self, Error> {
        // SAFETY: the functions that look for addresses are called by queries.
        let rows = unsafe { Indexed::open(table, &[c"user_id"]) }?;
        let (user_id, channel) = (rows.column(c"user_id")?, rows.column(c"channel")?);
        let address = rows.column(c"address")?;
        Ok(Self { rows, user_id, channel, address })
    }

    /// Tells of each address that the user has for one of the channels.
    pub fn each(
        &mut self,
        user: pg_sys::Datum,
        channels: &[&[u8]],
        mut tell: impl FnMut(Recipient, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let equal = pg_sys::HTEqualStrategyNumber;
        let collation = pg_sys::Oid::from(pg_sys::C_COLLATION_OID);
        let mut keys = [key(1, equal, pg_sys::F_TEXTEQ, collation, user)];
        // SAFETY: the user is a text, as are these columns.
        unsafe {
            let wanted = text(user);
            self.rows.seek(&mut keys, vec![]);
            while let Some(row) = self.rows.next() {
                let (found, channel) = (row.get(self.user_id), row.get(self.channel));
                let (Some(found), Some(channel)) = (found, channel) else { continue };
                let channel = text(channel);
                // Another user may have the same hash.
                if text(found) == wanted && channels.contains(&channel) {
                    let address = row.get(self.address).map_or(&[][..], |datum| text(datum));
                    tell(Recipient { row, address }, channel)?;
                }
            }
        }
        Ok(())
    }

    pub fn close(self) {
        self.rows.close();
    }
}

/// The bytes of a text.
///
/// SAFETY: the datum is a text, and outlives what is returned.
pub unsafe fn text<'a>(datum: pg_sys::Datum) -> &'a [u8] {
    unsafe { pgrx::varlena_to_byte_slice(pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr())) }
}

/// The texts of an array without NULLs.
///
/// SAFETY: the datum is a text[], and outlives what is returned.
pub unsafe fn texts<'a>(datum: pg_sys::Datum) -> Vec<&'a [u8]> {
    use std::ptr;
    unsafe {
        let array = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast();
        let (mut elements, mut count) = (ptr::null_mut(), 0);
        let align = pg_sys::TYPALIGN_INT as std::ffi::c_char;
        let null = ptr::null_mut();
        pg_sys::deconstruct_array(
            array,
            pg_sys::TEXTOID,
            -1,
            false,
            align,
            &raw mut elements,
            null,
            &raw mut count,
        );
        (0..count as usize).map(|place| text(*elements.add(place))).collect()
    }
}
