//! Whether a claim may go on without asking `hold_reason()` of `sql/70_cluster.sql`.

use std::ffi::CStr;

use pgrx::datum::{FromDatum, Uuid};
use pgrx::pg_sys;

use crate::error::Error;
use crate::index::{IndexOn, Indexed};
use crate::installed::Installed;
use crate::recipients::text;

const CONFIRMED: IndexOn = IndexOn::ordered(&[c"only_row"]);
const SETTINGS: IndexOn = IndexOn::ordered(&[c"name"]);
const DEFAULT: &[u8] = b"default";

/// Whether it would say nothing: this is no copy, and of the session's environment.
pub fn is_free(here: &Installed) -> Result<bool, Error> {
    Ok(is_no_copy(here)? && environment(here)? == session_environment())
}

fn is_no_copy(here: &Installed) -> Result<bool, Error> {
    // SAFETY: claims are made by queries; the columns are a uuid and an oid.
    unsafe {
        let mut confirmed = Indexed::open(here.confirmed_cluster, &CONFIRMED)?;
        confirmed.seek(&mut [], [None, None]);
        let is_no_copy = match confirmed.next() {
            None => true, // nothing was fired here
            Some(row) => {
                let install_id = row.get(confirmed.column(c"install_id")?);
                let database = row.get(confirmed.column(c"database_oid")?);
                install_id.and_then(|id| Uuid::from_datum(id, false)) == Some(here.install_id)
                    && database.and_then(|oid| pg_sys::Oid::from_datum(oid, false))
                        == Some(pg_sys::MyDatabaseId)
            }
        };
        confirmed.close();
        Ok(is_no_copy)
    }
}

fn environment(here: &Installed) -> Result<Vec<u8>, Error> {
    // SAFETY: as above; these columns are texts.
    unsafe {
        let mut environment = DEFAULT.to_vec();
        let mut settings = Indexed::open(here.settings, &SETTINGS)?;
        if !settings.is_empty() {
            let (name, value) = (settings.column(c"name")?, settings.column(c"value")?);
            settings.seek(&mut [], [None, None]); // there are few
            while let Some(row) = settings.next() {
                if row.get(name).is_some_and(|name| text(name) == b"environment") {
                    environment = row.get(value).map_or(&[][..], |value| text(value)).to_vec();
                }
            }
        }
        settings.close();
        Ok(environment)
    }
}

fn session_environment() -> Vec<u8> {
    // SAFETY: a setting's value stays until it is set again.
    let set = unsafe {
        let value = pg_sys::GetConfigOption(c"pgalert.environment".as_ptr(), true, false);
        (!value.is_null()).then(|| CStr::from_ptr(value).to_bytes())
    };
    set.filter(|value| !value.is_empty()).unwrap_or(DEFAULT).to_vec()
}
