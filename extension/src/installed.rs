//! What firings and claims read and write of this installation, by its OIDs. They are looked up at first use in a session, and again when a table has changed.

use std::cell::Cell;
use std::ffi::CStr;
use std::ptr;

use pgrx::datum::{FromDatum, Uuid};
use pgrx::{pg_sys, PgList};

use crate::owner;
use crate::sequence;

#[derive(Clone, Copy)]
pub struct Installed {
    /// Of the tables.
    pub owner: pg_sys::Oid,
    pub install_id: Uuid,
    pub settings_written: pg_sys::Oid,
    pub first_use_seen: pg_sys::Oid,
    pub count_queued: pg_sys::Oid,
    pub drivers_asleep_until: pg_sys::Oid,
    pub inboxes_listening_until: pg_sys::Oid,
    pub dedup_keys: pg_sys::Oid,
    pub notifications: pg_sys::Oid,
    pub notification_id: pg_sys::Oid,
    /// Partitions, by slot.
    pub outbox: [pg_sys::Oid; 3],
    pub outbox_slot: pg_sys::Oid,
    /// Partitions, by slot.
    pub claims: [pg_sys::Oid; 3],
    pub claim_log: [pg_sys::Oid; 3],
    pub claim_id: pg_sys::Oid,
    pub leases_searched_at: pg_sys::Oid,
    pub lease_low_water: pg_sys::Oid,
    /// What is locked for each lane.
    pub lanes: [pg_sys::Oid; 3],
    pub confirmed_cluster: pg_sys::Oid,
    pub settings: pg_sys::Oid,
    pub many_addresses: pg_sys::Oid,
    pub recipients: pg_sys::Oid,
    pub recipient_secrets: pg_sys::Oid,
    pub message_id: pg_sys::Oid,
    /// The row type.
    pub fired_alert: pg_sys::Oid,
}

impl Installed {
    /// Whether nothing was set that a firing depends on, and the first use is over.
    pub fn is_as_built(&self) -> bool {
        sequence::last_value(self.settings_written).is_none()
            && sequence::was_called(self.first_use_seen)
    }
}

const SCHEMA: &CStr = c"pgalert";

thread_local! {
    /// How often tables may have changed.
    static CHANGES: Cell<Option<u64>> = const { Cell::new(None) };
    /// As it was after so many changes.
    static KNOWN: Cell<Option<(u64, Installed)>> = const { Cell::new(None) };
}

pub fn here() -> Installed {
    let changes = CHANGES.get().unwrap_or_else(watch);
    match KNOWN.get() {
        Some((seen, installed)) if seen == changes => installed,
        _ => {
            // SAFETY: catalogs are read in a transaction, where all functions are called.
            let installed = unsafe { look_up() };
            KNOWN.set(Some((changes, installed)));
            installed
        }
    }
}

fn watch() -> u64 {
    CHANGES.set(Some(0));
    // SAFETY: once in a session; the function stays where it is.
    unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(note_change), pg_sys::Datum::null()) };
    0
}

/// Of other tables too: they change rarely.
unsafe extern "C-unwind" fn note_change(_: pg_sys::Datum, _: pg_sys::Oid) {
    CHANGES.set(CHANGES.get().map(|changes| changes + 1));
}

unsafe fn look_up() -> Installed {
    unsafe {
        let schema = pg_sys::get_namespace_oid(SCHEMA.as_ptr(), false);
        let relation = |name: &CStr| pg_sys::get_relname_relid(name.as_ptr(), schema);
        let dedup_keys = relation(c"dedup_keys");
        let owner = owner_of(dedup_keys);
        let install_id = owner::acting(owner, || {
            Uuid::from_datum(
                pg_sys::OidFunctionCall0Coll(function(c"_install_id"), pg_sys::InvalidOid),
                false,
            )
        });
        Installed {
            owner,
            install_id: install_id.unwrap_or(Uuid::from_bytes([0; 16])),
            settings_written: relation(c"settings_written"),
            first_use_seen: relation(c"first_use_seen"),
            count_queued: relation(c"count_queued"),
            drivers_asleep_until: relation(c"drivers_asleep_until"),
            inboxes_listening_until: relation(c"inboxes_listening_until"),
            dedup_keys,
            notifications: relation(c"notifications"),
            notification_id: relation(c"notifications_notification_id_seq"),
            outbox: [c"outbox_0", c"outbox_1", c"outbox_2"].map(relation),
            outbox_slot: relation(c"outbox_slot"),
            claims: [c"claims_0", c"claims_1", c"claims_2"].map(relation),
            claim_log: [c"claim_log_0", c"claim_log_1", c"claim_log_2"].map(relation),
            claim_id: relation(c"claim_id"),
            leases_searched_at: relation(c"leases_searched_at"),
            lease_low_water: relation(c"lease_low_water"),
            lanes: [c"lane_high", c"lane_normal", c"lane_low"].map(relation),
            confirmed_cluster: relation(c"confirmed_cluster"),
            settings: relation(c"settings"),
            many_addresses: relation(c"many_addresses"),
            recipients: relation(c"recipients"),
            recipient_secrets: relation(c"recipient_secrets"),
            message_id: relation(c"message_id"),
            fired_alert: pg_sys::get_rel_type_id(relation(c"fired_alert")),
        }
    }
}

unsafe fn owner_of(table: pg_sys::Oid) -> pg_sys::Oid {
    unsafe {
        let table = pg_sys::relation_open(table, pg_sys::AccessShareLock as i32);
        let owner = (*(*table).rd_rel).relowner;
        pg_sys::relation_close(table, pg_sys::AccessShareLock as i32);
        owner
    }
}

/// A function of the schema that has its name alone. It is called with the rights of who calls, unless it says otherwise.
pub fn function(name: &CStr) -> pg_sys::Oid {
    // SAFETY: names are copied; a function that there is not is an error.
    unsafe {
        let mut names = PgList::<pg_sys::String>::new();
        names.push(pg_sys::makeString(pg_sys::pstrdup(SCHEMA.as_ptr())).cast());
        names.push(pg_sys::makeString(pg_sys::pstrdup(name.as_ptr())).cast());
        pg_sys::LookupFuncName(names.as_ptr(), -1, ptr::null(), false)
    }
}
