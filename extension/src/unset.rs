//! Whether tables say what a firing would have to look up, for rows that no trigger has told of: a restore of data may disable triggers.

use pgrx::pg_sys;

use crate::error::Error;
use crate::index::{IndexOn, Indexed};
use crate::recipients::text;

const BY_NAME: IndexOn = IndexOn::ordered(&[c"name"]);

/// There is no policy, and no time zone is set; false where that cannot be found out.
pub fn is_all(policies: pg_sys::Oid, settings: pg_sys::Oid) -> bool {
    // SAFETY: in a transaction. Its own snapshot may be old, and what is found out outlasts it.
    unsafe {
        pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
        let has_none = has_none(policies, |_| true)
            .and_then(|none| Ok(none && has_none(settings, |name| name == b"time_zone")?));
        pg_sys::PopActiveSnapshot();
        has_none.unwrap_or(false)
    }
}

/// SAFETY: in a query; the table has texts as names.
unsafe fn has_none(table: pg_sys::Oid, is_meant: fn(&[u8]) -> bool) -> Result<bool, Error> {
    unsafe {
        let mut rows = Indexed::open(table, &BY_NAME)?;
        let mut has_none = true;
        if !rows.is_empty() {
            let name = rows.column(c"name")?;
            rows.seek(&mut [], [None, None]); // there are few
            while let Some(row) = rows.next() {
                has_none &= !row.get(name).is_some_and(|name| is_meant(text(name)));
            }
        }
        rows.close();
        Ok(has_none)
    }
}
