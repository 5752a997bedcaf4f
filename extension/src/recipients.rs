//! The addresses of a user, looked up by the index that is there for it.

use pgrx::pg_sys;

use crate::error::Error;
use crate::index::{key, IndexOn, Indexed};

const USER: IndexOn = IndexOn { method: pg_sys::HASH_AM_OID, ..IndexOn::ordered(&[c"user_id"]) };
const RECIPIENT: IndexOn = IndexOn::ordered(&[c"recipient_id"]);

pub struct Recipients {
    rows: Indexed,
    recipient_id: i32,
    user_id: i32,
    channel: i32,
    address: i32,
    disabled_at: i32,
}

/// A row of table `recipients`.
pub struct Recipient<'a> {
    pub recipient_id: i64,
    pub channel: &'a [u8],
    pub address: &'a [u8],
    pub is_disabled: bool,
}

impl Recipients {
    pub fn open(table: pg_sys::Oid) -> Result<Self, Error> {
        // SAFETY: the functions that look for addresses are called by queries.
        let rows = unsafe { Indexed::open(table, &USER) }?;
        let (user_id, channel) = (rows.column(c"user_id")?, rows.column(c"channel")?);
        let (recipient_id, address) = (rows.column(c"recipient_id")?, rows.column(c"address")?);
        let disabled_at = rows.column(c"disabled_at")?;
        Ok(Self { rows, recipient_id, user_id, channel, address, disabled_at })
    }

    /// Tells of each address that the user has for one of the channels.
    pub fn each(
        &mut self,
        user: pg_sys::Datum,
        channels: &[&[u8]],
        mut tell: impl FnMut(Recipient) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let equal = pg_sys::HTEqualStrategyNumber;
        let collation = pg_sys::C_COLLATION_OID;
        let mut keys = [key(1, equal, pg_sys::F_TEXTEQ, collation, user)];
        // SAFETY: the user is a text, as are these columns.
        unsafe {
            let wanted = text(user);
            self.rows.seek(&mut keys, [None, None]);
            while let Some(row) = self.rows.next() {
                let (found, channel) = (row.get(self.user_id), row.get(self.channel));
                let (Some(found), Some(channel)) = (found, channel) else { continue };
                let channel = text(channel);
                // Another user may have the same hash.
                if text(found) == wanted && channels.contains(&channel) {
                    tell(Recipient {
                        recipient_id: row.get(self.recipient_id).map_or(0, |id| id.value() as i64),
                        channel,
                        address: row.get(self.address).map_or(&[][..], |datum| text(datum)),
                        is_disabled: row.get(self.disabled_at).is_some(),
                    })?;
                }
            }
        }
        Ok(())
    }

    /// The next look is with the snapshot of its time.
    pub fn stop(&mut self) {
        self.rows.stop();
    }

    pub fn close(self) {
        self.rows.close();
    }
}

/// What messages to addresses are signed with, which few have.
pub struct Secrets {
    rows: Indexed,
    secrets: i32,
}

impl Secrets {
    pub fn open(table: pg_sys::Oid) -> Result<Self, Error> {
        // SAFETY: as above.
        let rows = unsafe { Indexed::open(table, &RECIPIENT) }?;
        let secrets = rows.column(c"secrets")?;
        Ok(Self { rows, secrets })
    }

    pub fn of(&mut self, recipient_id: i64) -> Result<Option<Vec<String>>, Error> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        let equal = pg_sys::BTEqualStrategyNumber;
        let none = pg_sys::InvalidOid;
        let mut keys = [key(1, equal, pg_sys::F_INT8EQ, none, recipient_id.into())];
        // SAFETY: the first column is a bigint, the other a text[].
        unsafe {
            self.rows.seek(&mut keys, [None, None]);
            let secrets = self.rows.next().and_then(|row| row.get(self.secrets));
            let secrets = secrets.map(|list| texts(list).into_iter().map(string).collect());
            secrets.transpose()
        }
    }

    pub fn close(self) {
        self.rows.close();
    }
}

/// What goes into a jsonb.
pub fn string(bytes: &[u8]) -> Result<String, Error> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Error::NotUtf8)
}

/// The bytes of a text.
///
/// SAFETY: the datum is a text, and outlives what is returned.
pub unsafe fn text<'a>(datum: pg_sys::Datum) -> &'a [u8] {
    unsafe {
        let mut text = datum.cast_mut_ptr();
        if pgrx::varatt_is_1b_e(text) || pgrx::varatt_is_4b_c(text) {
            text = pg_sys::pg_detoast_datum_packed(text);
        }
        pgrx::varlena_to_byte_slice(text)
    }
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
