//! Rows of `alert_deliveries`, put into the partition of their time without a plan.

use std::cell::Cell;
use std::ffi::{c_char, CStr};
use std::slice;

use pgrx::datum::IntoDatum;
use pgrx::{direct_function_call, is_a, pg_sys};

use crate::error::Error;
use crate::insert::{self, attribute};
use crate::installed::{self, Installed};
use crate::owner;

/// The table's columns, with whether each may be NULL.
const COLUMNS: [(&CStr, pg_sys::Oid, bool); 11] = [
    (c"id", pg_sys::UUIDOID, false),
    (c"alert_id", pg_sys::TEXTOID, false),
    (c"user_id", pg_sys::TEXTOID, true),
    (c"content_hash", pg_sys::TEXTOID, false),
    (c"delivery_methods", pg_sys::JSONBOID, false),
    (c"delivered_at", pg_sys::TIMESTAMPTZOID, false),
    (c"delivery_key", pg_sys::UUIDOID, false),
    (c"attempt", pg_sys::INT4OID, false),
    (c"segment", pg_sys::INT4OID, false),
    (c"priority", pg_sys::TEXTOID, false),
    (c"accepted_at", pg_sys::TIMESTAMPTZOID, false),
];
/// Columns that INSERT leaves to their defaults.
const ID: i16 = 1;
const DELIVERED_AT: i16 = 6;

thread_local! {
    /// The partition that was seen to be as it was made, as its table, after so many changes.
    static AS_MADE: Cell<Option<(u64, pg_sys::Oid)>> = const { Cell::new(None) };
}

/// The partition for deliveries of a time, in microseconds since 2000; locked, as its table, as INSERT does. None where INSERT into the
/// table does more than to put rows there and to count them: an application may have added columns, defaults, constraints, triggers,
/// rules or policies, or divided it otherwise.
pub fn partition(here: &Installed, at: i64) -> Option<pg_sys::Oid> {
    let lock = pg_sys::RowExclusiveLock as i32;
    // SAFETY: what is locked stays as it is to the end of the transaction.
    unsafe {
        let table = pg_sys::table_open(here.alert_deliveries, lock);
        owner::check_privilege(table, pg_sys::ACL_INSERT);
        // While that waited, another table may have been given its name.
        let is_named = installed::here().alert_deliveries == here.alert_deliveries;
        let found = partition_of(table, at).filter(|found| {
            let partition = pg_sys::table_open(*found, lock);
            // While that waited, another partition may have been attached.
            let is_its = partition_of(table, at) == Some(*found);
            // INSERT asks for a right to the table alone.
            let may_insert = owner::has_privilege(partition, pg_sys::ACL_INSERT);
            let known = Some((installed::changes(), *found));
            let is_as_made = AS_MADE.get() == known || are_as_made(table, partition);
            if is_as_made {
                AS_MADE.set(known);
            }
            pg_sys::table_close(partition, pg_sys::NoLock as i32);
            is_its && may_insert && is_as_made
        });
        let is_counted = is_counted(table, here);
        pg_sys::table_close(table, pg_sys::NoLock as i32);
        found.filter(|_| is_named && is_counted)
    }
}

/// As ExecFindPartition finds it, which is not there for extensions in Rust.
unsafe fn partition_of(table: pg_sys::Relation, at: i64) -> Option<pg_sys::Oid> {
    unsafe {
        if (*(*table).rd_rel).relkind != pg_sys::RELKIND_PARTITIONED_TABLE as c_char {
            return None;
        }
        let partitions = pg_sys::RelationGetPartitionDesc(table, true); // without those that are being detached
        if (*partitions).nparts == 0 {
            return None;
        }
        let bounds = (*partitions).boundinfo;
        if (*bounds).strategy as u8 != b'r' {
            return None; // only ranges have the kinds of bounds that are looked at here
        }
        let behind = (0..(*bounds).ndatums as usize).take_while(|place| {
            use pg_sys::PartitionRangeDatumKind;
            match **(*bounds).kind.add(*place) {
                PartitionRangeDatumKind::PARTITION_RANGE_DATUM_MINVALUE => true,
                PartitionRangeDatumKind::PARTITION_RANGE_DATUM_VALUE => {
                    (**(*bounds).datums.add(*place)).value() as i64 <= at
                }
                _ => false,
            }
        });
        let index = match *(*bounds).indexes.add(behind.count()) {
            -1 => (*bounds).default_index,
            index => index,
        };
        let place = usize::try_from(index).ok()?;
        Some(*(*partitions).oids.add(place))
    }
}

unsafe fn are_as_made(table: pg_sys::Relation, partition: pg_sys::Relation) -> bool {
    unsafe {
        has_columns(table)
            && has_columns(partition)
            && has_defaults(table)
            && is_divided_by_time(table)
            && (*table).rd_rules.is_null()
            && !(*(*table).rd_rel).relrowsecurity
            && (*(*partition).rd_rel).relkind == pg_sys::RELKIND_RELATION as c_char
            && (*partition).trigdesc.is_null()
            && no_checks(partition)
    }
}

unsafe fn has_columns(table: pg_sys::Relation) -> bool {
    unsafe {
        let descriptor = (*table).rd_att;
        (*descriptor).natts as usize == COLUMNS.len()
            && (0..).zip(COLUMNS).all(|(place, (name, kind, nullable))| {
                let column = attribute(descriptor, place);
                (*column).atttypid == kind
                    && CStr::from_ptr((*column).attname.data.as_ptr()) == name
                    && (*column).atttypmod == -1
                    && (*column).attnotnull != nullable
                    && (*column).attidentity == 0
                    && (*column).attgenerated == 0
            })
    }
}

/// Whether it is divided into ranges of the time of delivery.
unsafe fn is_divided_by_time(table: pg_sys::Relation) -> bool {
    unsafe {
        let table = [(*table).rd_id.into_datum()];
        direct_function_call(pg_sys::pg_get_partkeydef, &table) == Some("RANGE (delivered_at)")
    }
}

unsafe fn no_checks(table: pg_sys::Relation) -> bool {
    unsafe {
        let constraints = (*(*table).rd_att).constr;
        constraints.is_null() || (*constraints).num_check == 0
    }
}

/// Whether the defaults are what is written here in their place.
unsafe fn has_defaults(table: pg_sys::Relation) -> bool {
    let message_key = installed::function(c"_message_key");
    unsafe {
        let constraints = (*(*table).rd_att).constr;
        if constraints.is_null() || (*constraints).num_defval == 0 {
            return false;
        }
        let (first, count) = ((*constraints).defval, (*constraints).num_defval);
        let defaults = slice::from_raw_parts(first, count.into());
        let is = |column, function: pg_sys::Oid| {
            defaults.iter().any(|of| of.adnum == column && calls(of.adbin, function))
        };
        is(ID, message_key) && is(DELIVERED_AT, pg_sys::F_CLOCK_TIMESTAMP.into())
    }
}

/// SAFETY: the text is that of an expression.
unsafe fn calls(expression: *const c_char, function: pg_sys::Oid) -> bool {
    unsafe {
        let node: *mut pg_sys::Node = pg_sys::stringToNode(expression).cast();
        is_a(node, pg_sys::NodeTag::T_FuncExpr)
            && (*node.cast::<pg_sys::FuncExpr>()).funcid == function
    }
}

/// Whether the table has no trigger but the one that counts, and this session fires it.
unsafe fn is_counted(table: pg_sys::Relation, here: &Installed) -> bool {
    unsafe {
        let triggers = (*table).trigdesc;
        if triggers.is_null() || (*triggers).numtriggers != 1 {
            return false;
        }
        let trigger = &*(*triggers).triggers;
        let is_replica =
            pg_sys::SessionReplicationRole == pg_sys::SESSION_REPLICATION_ROLE_REPLICA as i32;
        let other_role = if is_replica {
            pg_sys::TRIGGER_FIRES_ON_ORIGIN
        } else {
            pg_sys::TRIGGER_FIRES_ON_REPLICA
        };
        trigger.tgfoid == here.count_deliveries
            && trigger.tgtype == pg_sys::TRIGGER_TYPE_INSERT as i16 // after it, once for the statement
            && trigger.tgqual.is_null()
            && ![other_role as c_char, pg_sys::TRIGGER_DISABLED as c_char].contains(&trigger.tgenabled)
    }
}

/// Puts rows, of values in the order of the columns, into a partition that was found here.
pub fn put(
    partition: pg_sys::Oid,
    rows: impl Iterator<Item = [Option<pg_sys::Datum>; COLUMNS.len()]>,
) -> Result<i64, Error> {
    insert::into(partition, |table| {
        table.put_all(rows.map(|values| {
            let mut values = values.into_iter();
            Ok(COLUMNS.map(|(name, ..)| (name, values.next().flatten())))
        }))
    })
}
