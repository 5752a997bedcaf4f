//! Rows of a table in the order of one of its indexes, without a plan: to make one ready takes Postgres longer than to find the few
//! rows of a call, and is done anew in each transaction. This goes the executor's own ways.

use std::ffi::CStr;
use std::ptr;

use pgrx::{is_a, pg_sys, PgList};

use crate::error::Error;
use crate::owner;

/// Which of a table's indexes is meant: others may be of the same columns, but not hold all rows, or not in this order.
pub struct IndexOn {
    pub method: pg_sys::Oid,
    pub columns: &'static [&'static CStr],
    /// It holds only rows in which this column is NULL.
    pub where_null: Option<&'static CStr>,
}

impl IndexOn {
    pub const fn ordered(columns: &'static [&'static CStr]) -> Self {
        Self { method: pg_sys::BTREE_AM_OID, columns, where_null: None }
    }
}

/// A table and one of its indexes. An error leaves what is open here to the end of the transaction.
pub struct Indexed {
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    /// Made at the first seek, for as many keys.
    scan: pg_sys::IndexScanDesc,
    /// Where its keys point to.
    bounds: [Option<Box<Bound>>; 2],
    direction: pg_sys::ScanDirection::Type,
    /// Of all that a scan keeps from one row to the next.
    memory: pg_sys::MemoryContext,
    row: *mut pg_sys::TupleTableSlot,
}

/// A bound of the second and third column of an index, an xid8 and a bigint.
pub struct Bound([pg_sys::ScanKeyData; 2]);

impl Indexed {
    /// Locks both as SELECT does.
    ///
    /// SAFETY: in a query, whose snapshot decides what is seen.
    pub unsafe fn open(oid: pg_sys::Oid, wanted: &IndexOn) -> Result<Self, Error> {
        unsafe { Self::open_locked(oid, wanted, pg_sys::AccessShareLock) }
    }

    /// Locks the table as SELECT FOR UPDATE does.
    ///
    /// SAFETY: as above.
    pub unsafe fn open_for_update(oid: pg_sys::Oid, wanted: &IndexOn) -> Result<Self, Error> {
        unsafe {
            let rows = Self::open_locked(oid, wanted, pg_sys::RowShareLock)?;
            owner::check_privilege(rows.table, pg_sys::ACL_UPDATE);
            Ok(rows)
        }
    }

    unsafe fn open_locked(oid: pg_sys::Oid, wanted: &IndexOn, lock: u32) -> Result<Self, Error> {
        unsafe {
            let table = pg_sys::table_open(oid, lock as i32);
            owner::check_privilege(table, pg_sys::ACL_SELECT);
            let index = open_index(table, wanted)?;
            let row = pg_sys::table_slot_create(table, ptr::null_mut());
            let direction = pg_sys::ScanDirection::ForwardScanDirection;
            let memory = pg_sys::CurrentMemoryContext;
            Ok(Self {
                table,
                index,
                scan: ptr::null_mut(),
                bounds: [None, None],
                direction,
                memory,
                row,
            })
        }
    }

    /// From the end of the index to its beginning.
    pub fn backwards(mut self) -> Self {
        self.direction = pg_sys::ScanDirection::BackwardScanDirection;
        self
    }

    /// The number of a column in the rows.
    pub fn column(&self, name: &CStr) -> Result<i32, Error> {
        unsafe { column(self.table, name) }
    }

    pub fn descriptor(&self) -> pg_sys::TupleDesc {
        unsafe { (*self.table).rd_att }
    }

    /// Without a look at a row: the table has none, nor had one since it was made or truncated.
    pub fn is_empty(&self) -> bool {
        unsafe {
            let main = pg_sys::ForkNumber::MAIN_FORKNUM;
            pg_sys::RelationGetNumberOfBlocksInFork(self.table, main) == 0
        }
    }

    /// Begins with the first of the rows that the keys leave. There are as many keys each time.
    ///
    /// SAFETY: the keys are of the index's types, and point to these bounds or to what outlives the walk.
    pub unsafe fn seek(
        &mut self,
        keys: &mut [pg_sys::ScanKeyData],
        bounds: [Option<Box<Bound>>; 2],
    ) {
        self.bounds = bounds;
        let count = keys.len() as i32;
        unsafe {
            let memory = switch_to(self.memory);
            if self.scan.is_null() {
                self.scan = pg_sys::index_beginscan(
                    self.table,
                    self.index,
                    pg_sys::GetActiveSnapshot(),
                    #[cfg(feature = "pg18")]
                    ptr::null_mut(),
                    count,
                    0,
                );
            }
            pg_sys::index_rescan(self.scan, keys.as_mut_ptr(), count, ptr::null_mut(), 0);
            switch_to(memory);
        }
    }

    /// The next row that is seen. An index that is of hashes may give others, too.
    pub fn next(&mut self) -> Option<Found> {
        pgrx::check_for_interrupts!(); // behind rows that are not seen there may be seconds
        let found = unsafe {
            let memory = switch_to(self.memory);
            let found = pg_sys::index_getnext_slot(self.scan, self.direction, self.row);
            switch_to(memory);
            found
        };
        found.then_some(Found(self.row))
    }

    /// Locks the row that was found last as SELECT FOR UPDATE does, and reads the version that it has then. None where it is gone by then.
    pub fn lock(&mut self) -> Option<Found> {
        use pg_sys::{LockTupleMode, LockWaitPolicy, TM_Result};
        let flags = pg_sys::TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS
            | pg_sys::TUPLE_LOCK_FLAG_FIND_LAST_VERSION;
        let mut failure = pg_sys::TM_FailureData::default();
        unsafe {
            let newest = pg_sys::table_slot_create(self.table, ptr::null_mut());
            let mut place = (*self.row).tts_tid;
            let result = pg_sys::table_tuple_lock(
                self.table,
                &raw mut place,
                pg_sys::GetActiveSnapshot(),
                newest,
                pg_sys::GetCurrentCommandId(true),
                LockTupleMode::LockTupleExclusive,
                LockWaitPolicy::LockWaitBlock,
                flags as u8,
                &raw mut failure,
            );
            pg_sys::ExecDropSingleTupleTableSlot(self.row);
            self.row = newest;
            (result == TM_Result::TM_Ok).then_some(Found(newest))
        }
    }

    /// The next seek is with the snapshot of its time; the last row is gone.
    pub fn stop(&mut self) {
        if !self.scan.is_null() {
            unsafe {
                pg_sys::ExecClearTuple(self.row);
                pg_sys::index_endscan(self.scan);
            }
            self.scan = ptr::null_mut();
        }
    }

    pub fn close(mut self) {
        self.stop();
        unsafe {
            pg_sys::ExecDropSingleTupleTableSlot(self.row);
            pg_sys::index_close(self.index, pg_sys::NoLock as i32); // locked until the transaction ends
            pg_sys::table_close(self.table, pg_sys::NoLock as i32);
        }
    }
}

/// Returns the one before.
unsafe fn switch_to(memory: pg_sys::MemoryContext) -> pg_sys::MemoryContext {
    unsafe { (&raw mut pg_sys::CurrentMemoryContext).replace(memory) }
}

/// A row, until the next is asked for.
#[derive(Clone, Copy)]
pub struct Found(pub *mut pg_sys::TupleTableSlot);

impl Found {
    /// None is NULL.
    pub fn get(self, column: i32) -> Option<pg_sys::Datum> {
        // SAFETY: the row has the columns of its table, all of which are read at once.
        unsafe {
            let row = self.0;
            if i32::from((*row).tts_nvalid) < column {
                pg_sys::slot_getsomeattrs_int(row, (*(*row).tts_tupleDescriptor).natts);
            }
            let place = column as usize - 1;
            (!*(*row).tts_isnull.add(place)).then(|| *(*row).tts_values.add(place))
        }
    }
}

unsafe fn column(table: pg_sys::Relation, name: &CStr) -> Result<i32, Error> {
    match unsafe { pg_sys::SPI_fnumber((*table).rd_att, name.as_ptr()) } {
        number if number > 0 => Ok(number),
        _ => Err(Error::NotColumn { column: name.to_string_lossy().into() }),
    }
}

unsafe fn open_index(table: pg_sys::Relation, wanted: &IndexOn) -> Result<pg_sys::Relation, Error> {
    unsafe {
        let numbers: Result<Vec<i32>, Error> =
            wanted.columns.iter().map(|name| column(table, name)).collect();
        let numbers = numbers?;
        let where_null = wanted.where_null.map(|name| column(table, name)).transpose()?;
        let indexes = PgList::<pg_sys::Oid>::from_pg(pg_sys::RelationGetIndexList(table));
        for oid in indexes.iter_oid().filter(|oid| is_on(*oid, &numbers)) {
            let index = pg_sys::index_open(oid, pg_sys::AccessShareLock as i32);
            let ascending = (0..numbers.len()).all(|place| *(*index).rd_indoption.add(place) == 0);
            let is_method = (*(*index).rd_rel).relam == wanted.method;
            if is_method && ascending && holds_rows(index, where_null) {
                return Ok(index);
            }
            pg_sys::index_close(index, pg_sys::AccessShareLock as i32);
        }
        let names: Vec<_> = wanted.columns.iter().map(|name| name.to_string_lossy()).collect();
        Err(Error::NoIndex { columns: names.join(", ") })
    }
}

/// Whether an index can be read, and is one of just these columns.
unsafe fn is_on(index: pg_sys::Oid, columns: &[i32]) -> bool {
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::INDEXRELID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, index.into());
        if tuple.is_null() {
            return false;
        }
        let index: pg_sys::Form_pg_index = pg_sys::GETSTRUCT(tuple).cast();
        let keys = (*index).indkey.values.as_ptr();
        let is_on = (*index).indisvalid
            && (*index).indnkeyatts as usize == columns.len()
            && (0..columns.len()).all(|place| i32::from(*keys.add(place)) == columns[place]);
        pg_sys::ReleaseSysCache(tuple);
        is_on
    }
}

/// Whether an index holds all rows, or just those in which the column is NULL.
unsafe fn holds_rows(index: pg_sys::Relation, where_null: Option<i32>) -> bool {
    unsafe {
        let conditions = PgList::<pg_sys::Node>::from_pg(pg_sys::RelationGetIndexPredicate(index));
        let Some(column) = where_null else { return conditions.is_empty() };
        let condition = conditions.get_ptr(0).filter(|_| conditions.len() == 1);
        condition.is_some_and(|node| {
            let test: *mut pg_sys::NullTest = node.cast();
            is_a(node, pg_sys::NodeTag::T_NullTest)
                && (*test).nulltesttype == pg_sys::NullTestType::IS_NULL
                && is_a((*test).arg.cast(), pg_sys::NodeTag::T_Var)
                && i32::from((*(*test).arg.cast::<pg_sys::Var>()).varattno) == column
        })
    }
}

/// The column of an index at that place has this value; `procedure` is the one of its operator.
pub fn key(
    place: i16,
    strategy: u32,
    procedure: u32,
    collation: pg_sys::Oid,
    value: pg_sys::Datum,
) -> pg_sys::ScanKeyData {
    entry(0, place, strategy, pg_sys::InvalidOid, collation, procedure, value)
}

impl Bound {
    pub fn new(strategy: u32, (xid, id): (u64, i64)) -> Box<Self> {
        let member = |flags, place, oid, compare, value| {
            let flags = pg_sys::SK_ROW_MEMBER | flags;
            entry(flags, place, strategy, oid, pg_sys::InvalidOid, compare, value)
        };
        Box::new(Self([
            member(0, 2, pg_sys::XID8OID, pg_sys::F_XID8CMP, xid.into()),
            member(pg_sys::SK_ROW_END, 3, pg_sys::INT8OID, pg_sys::F_BTINT8CMP, id.into()),
        ]))
    }

    /// A key that points to the bound.
    pub fn key(&mut self) -> pg_sys::ScanKeyData {
        pg_sys::ScanKeyData {
            sk_flags: pg_sys::SK_ROW_HEADER as i32,
            sk_attno: self.0[0].sk_attno,
            sk_strategy: self.0[0].sk_strategy,
            sk_argument: self.0.as_mut_ptr().into(),
            ..Default::default()
        }
    }
}

fn entry(
    flags: u32,
    place: i16,
    strategy: u32,
    subtype: pg_sys::Oid,
    collation: pg_sys::Oid,
    procedure: u32,
    value: pg_sys::Datum,
) -> pg_sys::ScanKeyData {
    let mut key = pg_sys::ScanKeyData::default();
    // SAFETY: the procedure is one of Postgres's own.
    unsafe {
        pg_sys::ScanKeyEntryInitialize(
            &raw mut key,
            flags as i32,
            place,
            strategy as u16,
            subtype,
            collation,
            procedure.into(),
            value,
        );
    }
    key
}
