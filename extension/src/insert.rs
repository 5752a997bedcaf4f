//! INSERT without a plan, for rows that every firing writes: to make an INSERT ready takes Postgres longer than to run it, and is
//! done anew in each transaction. This goes the executor's own ways.

use std::ffi::CStr;
use std::ptr;

use pgrx::pg_sys;

use crate::error::Error;

/// A table that rows are inserted into. An error leaves what is open here to the end of the transaction.
pub struct Target {
    table: pg_sys::Relation,
    result: *mut pg_sys::ResultRelInfo,
    state: *mut pg_sys::EState,
    row: *mut pg_sys::TupleTableSlot,
}

/// Opens a table, locks it as INSERT does, and closes it when `insert` has put its rows.
pub fn into<T>(
    table: pg_sys::Oid,
    insert: impl FnOnce(&mut Target) -> Result<T, Error>,
) -> Result<T, Error> {
    // SAFETY: each function is called as the executor calls it; what is made here lives until close().
    unsafe {
        let mut target = Target::open(table);
        let inserted = insert(&mut target)?;
        target.close();
        Ok(inserted)
    }
}

impl Target {
    unsafe fn open(oid: pg_sys::Oid) -> Self {
        unsafe {
            pg_sys::PreventCommandIfReadOnly(c"INSERT".as_ptr());
            pg_sys::PreventCommandIfParallelMode(c"INSERT".as_ptr());
            let table = pg_sys::table_open(oid, pg_sys::RowExclusiveLock as i32);
            check_privilege(table);
            let result = pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast();
            pg_sys::InitResultRelInfo(result, table, 0, ptr::null_mut(), 0);
            pg_sys::ExecOpenIndices(result, true);
            let state = pg_sys::CreateExecutorState();
            (*state).es_output_cid = pg_sys::GetCurrentCommandId(true);
            (*state).es_snapshot = pg_sys::GetActiveSnapshot();
            let kind = &raw const pg_sys::TTSOpsVirtual;
            let row = pg_sys::MakeSingleTupleTableSlot((*table).rd_att, kind);
            Self { table, result, state, row }
        }
    }

    unsafe fn close(self) {
        unsafe {
            pg_sys::ExecDropSingleTupleTableSlot(self.row);
            pg_sys::ExecCloseIndices(self.result);
            pg_sys::FreeExecutorState(self.state);
            pg_sys::table_close(self.table, pg_sys::NoLock as i32); // locked until the transaction ends
        }
    }

    /// Inserts a row of these values, given in the order of the table's columns, of which the others are NULL. The table is no
    /// partitioned one; of partitions the caller has found the right one. Triggers for each row are fired.
    pub fn put(&mut self, values: &[(&CStr, Option<pg_sys::Datum>)]) -> Result<(), Error> {
        // SAFETY: open() has made what is needed.
        unsafe {
            self.fill(values)?;
            if (*self.result).ri_TrigDesc.is_null() {
                self.check_constraints();
                pg_sys::simple_table_tuple_insert(self.table, self.row);
                self.put_index_entries(false);
            } else {
                pg_sys::AfterTriggerBeginQuery();
                pg_sys::ExecSimpleRelationInsert(self.result, self.state, self.row);
                pg_sys::AfterTriggerEndQuery(self.state);
            }
        }
        Ok(())
    }

    /// As ON CONFLICT DO NOTHING: false where another row has one of its unique keys. Waits for a transaction that inserts one.
    /// Fires no triggers.
    pub fn put_unless_held(
        &mut self,
        values: &[(&CStr, Option<pg_sys::Datum>)],
    ) -> Result<bool, Error> {
        // SAFETY: as above. A token is released, or the transaction ends.
        unsafe {
            self.fill(values)?;
            self.check_constraints();
            loop {
                if let Some(holder) = self.holder() {
                    return if self.sees(holder) {
                        Ok(false)
                    } else {
                        Err(Error::ConcurrentInsert)
                    };
                }
                let xid = pg_sys::GetCurrentTransactionId();
                let token = pg_sys::SpeculativeInsertionLockAcquire(xid);
                let command = (*self.state).es_output_cid;
                let (table, row) = (self.table, self.row);
                let null = ptr::null_mut();
                pg_sys::table_tuple_insert_speculative(table, row, command, 0, null, token);
                let taken = self.put_index_entries(true);
                pg_sys::table_tuple_complete_speculative(table, row, token, !taken);
                pg_sys::SpeculativeInsertionLockRelease(xid);
                if !taken {
                    return Ok(true);
                }
            }
        }
    }

    unsafe fn fill(&mut self, values: &[(&CStr, Option<pg_sys::Datum>)]) -> Result<(), Error> {
        unsafe {
            pg_sys::ExecClearTuple(self.row);
            let mut values = values.iter().peekable();
            for place in 0..(*(*self.table).rd_att).natts as usize {
                let name = (*attribute((*self.table).rd_att, place)).attname.data.as_ptr();
                let given = values.next_if(|(column, _)| *column == CStr::from_ptr(name));
                let value = given.and_then(|(_, value)| *value);
                *(*self.row).tts_values.add(place) = value.unwrap_or(pg_sys::Datum::null());
                *(*self.row).tts_isnull.add(place) = value.is_none();
            }
            if let Some((column, _)) = values.next() {
                return Err(Error::NotColumn { column: column.to_string_lossy().into() });
            }
            pg_sys::ExecStoreVirtualTuple(self.row);
            Ok(())
        }
    }

    unsafe fn check_constraints(&mut self) {
        unsafe {
            if !(*(*self.table).rd_att).constr.is_null() {
                pg_sys::ExecConstraints(self.result, self.row, self.state);
            }
        }
    }

    /// True where another has taken one of the keys since the look; otherwise a key that is taken is an error.
    unsafe fn put_index_entries(&mut self, speculative: bool) -> bool {
        let mut taken = false;
        unsafe {
            pg_sys::ExecInsertIndexTuples(
                self.result,
                self.row,
                self.state,
                false,
                speculative,
                &raw mut taken,
                ptr::null_mut(),
                #[cfg(not(feature = "pg15"))]
                false,
            );
        }
        taken
    }

    /// The row that holds one of the keys.
    unsafe fn holder(&mut self) -> Option<pg_sys::ItemPointerData> {
        let mut holder = pg_sys::ItemPointerData::default();
        let free = unsafe {
            pg_sys::ExecCheckIndexConstraints(
                self.result,
                self.row,
                self.state,
                &raw mut holder,
                #[cfg(feature = "pg18")]
                &raw mut (*self.row).tts_tid, // invalid: it lies nowhere yet
                ptr::null_mut(),
            )
        };
        (!free).then_some(holder)
    }

    /// Where the transaction's snapshot does not see the holder, what the caller looks for then would not be found.
    unsafe fn sees(&self, mut holder: pg_sys::ItemPointerData) -> bool {
        unsafe {
            if pg_sys::XactIsoLevel < pg_sys::XACT_REPEATABLE_READ as i32 {
                return true;
            }
            let (table, snapshot) = (self.table, (*self.state).es_snapshot);
            let any = &raw mut pg_sys::SnapshotAnyData;
            let found = pg_sys::table_slot_create(table, ptr::null_mut());
            let seen = pg_sys::table_tuple_fetch_row_version(table, &raw mut holder, any, found)
                && pg_sys::table_tuple_satisfies_snapshot(table, found, snapshot);
            pg_sys::ExecDropSingleTupleTableSlot(found);
            seen
        }
    }
}

unsafe fn attribute(descriptor: pg_sys::TupleDesc, place: usize) -> pg_sys::Form_pg_attribute {
    unsafe {
        #[cfg(feature = "pg18")]
        let attribute = pg_sys::TupleDescAttr(descriptor, place as i32);
        #[cfg(not(feature = "pg18"))]
        let attribute = (*descriptor).attrs.as_mut_ptr().add(place);
        attribute
    }
}

unsafe fn name_of<'a>(table: pg_sys::Relation) -> &'a CStr {
    unsafe { CStr::from_ptr((*(*table).rd_rel).relname.data.as_ptr()) }
}

/// Its functions are their owner's alone; this is the second lock.
unsafe fn check_privilege(table: pg_sys::Relation) {
    unsafe {
        let insert = pg_sys::ACL_INSERT.into();
        let may = pg_sys::pg_class_aclcheck((*table).rd_id, pg_sys::GetUserId(), insert);
        if may != pg_sys::AclResult::ACLCHECK_OK {
            let kind = pg_sys::ObjectType::OBJECT_TABLE;
            pg_sys::aclcheck_error(may, kind, name_of(table).as_ptr());
        }
    }
}
