//! What firings, claims and reports read and write of this installation, by its OIDs. They are looked up at first use in a session, and again when a table has changed.

use std::cell::Cell;
use std::ffi::CStr;
use std::ptr;

use pgrx::datum::{FromDatum, Uuid};
use pgrx::{pg_extern, pg_sys, PgList};

use crate::owner;
use crate::sequence;
use crate::unset;

#[derive(Clone, Copy)]
pub struct Installed {
    /// Of the tables.
    pub owner: pg_sys::Oid,
    pub install_id: Uuid,
    /// No policy or time zone is set. Where another session sets one, it is looked up again: that counts as a change of a table.
    nothing_set: bool,
    pub first_use_seen: pg_sys::Oid,
    pub count_queued: pg_sys::Oid,
    pub count_queued_tens: pg_sys::Oid,
    pub count_queued_hundreds: pg_sys::Oid,
    pub count_delivered: pg_sys::Oid,
    pub count_duplicate: pg_sys::Oid,
    pub count_capped: pg_sys::Oid,
    pub drivers_asleep_until: pg_sys::Oid,
    pub inboxes_listening_until: pg_sys::Oid,
    pub dedup_keys: pg_sys::Oid,
    pub notifications: pg_sys::Oid,
    pub notification_id: pg_sys::Oid,
    /// Partitions, by slot.
    pub outbox: [pg_sys::Oid; 3],
    /// That inserts go to. Where it has been rotated, a table was truncated, and it is looked up again.
    pub slot_in_use: i64,
    /// The sequence that says so.
    pub outbox_slot: pg_sys::Oid,
    /// Partitions, by slot.
    pub claims: [pg_sys::Oid; 3],
    pub claim_log: [pg_sys::Oid; 3],
    pub all_of_claim_log: pg_sys::Oid,
    pub alert_deliveries: pg_sys::Oid,
    /// The function of the trigger that counts them.
    pub count_deliveries: pg_sys::Oid,
    pub delivery_segment: pg_sys::Oid,
    pub delivery_stats_new: pg_sys::Oid,
    pub count_sent: pg_sys::Oid,
    pub count_sent_tens: pg_sys::Oid,
    pub count_sent_hundreds: pg_sys::Oid,
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
        self.nothing_set && sequence::was_called(self.first_use_seen)
    }
}

const SCHEMA: &CStr = c"pgalert";

thread_local! {
    static CHANGES: Cell<Option<u64>> = const { Cell::new(None) };
    /// As it was after so many changes.
    static KNOWN: Cell<Option<(u64, Installed)>> = const { Cell::new(None) };
}

/// How often tables may have changed in this session: what was found out about one that is locked holds until there is a change.
pub fn changes() -> u64 {
    CHANGES.get().unwrap_or_else(watch)
}

pub fn here() -> Installed {
    // SAFETY: in a transaction, as all functions are. What others have committed counts at once, as it would for a query.
    unsafe { pg_sys::AcceptInvalidationMessages() };
    let changes = changes();
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
        let outbox_slot = relation(c"outbox_slot");
        let (install_id, nothing_set, slot_in_use) = owner::acting(owner, || {
            let install_id =
                pg_sys::OidFunctionCall0Coll(function(c"_install_id"), pg_sys::InvalidOid);
            (
                Uuid::from_datum(install_id, false),
                sequence::last_value(relation(c"settings_written")).is_none()
                    && unset::is_all(relation(c"policies"), relation(c"settings")),
                sequence::last_value(outbox_slot).unwrap_or(0),
            )
        });
        Installed {
            owner,
            install_id: install_id.unwrap_or(Uuid::from_bytes([0; 16])),
            nothing_set,
            first_use_seen: relation(c"first_use_seen"),
            count_queued: relation(c"count_queued"),
            count_queued_tens: relation(c"count_queued_tens"),
            count_queued_hundreds: relation(c"count_queued_hundreds"),
            count_delivered: relation(c"count_delivered"),
            count_duplicate: relation(c"count_duplicate"),
            count_capped: relation(c"count_capped"),
            drivers_asleep_until: relation(c"drivers_asleep_until"),
            inboxes_listening_until: relation(c"inboxes_listening_until"),
            dedup_keys,
            notifications: relation(c"notifications"),
            notification_id: relation(c"notifications_notification_id_seq"),
            outbox: [c"outbox_0", c"outbox_1", c"outbox_2"].map(relation),
            slot_in_use,
            outbox_slot,
            claims: [c"claims_0", c"claims_1", c"claims_2"].map(relation),
            claim_log: [c"claim_log_0", c"claim_log_1", c"claim_log_2"].map(relation),
            all_of_claim_log: relation(c"claim_log"),
            alert_deliveries: relation(c"alert_deliveries"),
            count_deliveries: function(c"_count_deliveries"),
            delivery_segment: relation(c"delivery_segment"),
            delivery_stats_new: relation(c"delivery_stats_new"),
            count_sent: relation(c"count_sent"),
            count_sent_tens: relation(c"count_sent_tens"),
            count_sent_hundreds: relation(c"count_sent_hundreds"),
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

/// Declared in `sql/10_tables.sql`.
#[pg_extern(sql = false)]
fn _call_for_all(sequence: pg_sys::Oid) {
    sequence::next_value(sequence);
    // SAFETY: takes any OID of a relation.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(sequence) };
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
