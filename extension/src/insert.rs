//! INSERT without a plan, for rows that every firing writes: to make an INSERT ready takes Postgres longer than to run it, and is
//! done anew in each transaction. This goes the executor's own ways. Triggers for each row are fired; there is no statement for others.

use std::ffi::{c_char, CStr};
use std::{ptr, slice};

use pgrx::memcxt::PgMemoryContexts;
use pgrx::pg_sys;

use crate::error::Error;
use crate::owner;

/// A table that rows are inserted into. An error leaves what is open here to the end of the transaction.
pub struct Target {
    table: pg_sys::Relation,
    result: *mut pg_sys::ResultRelInfo,
    state: *mut pg_sys::EState,
    /// Made as they are needed.
    rows: Vec<*mut pg_sys::TupleTableSlot>,
    /// Columns of the last row's values, and where they are in the table: most often those of the next one.
    places: Vec<(*const c_char, usize)>,
    /// The level of settings to go back from.
    settings: Option<i32>,
}

/// A row's values, in the order of the table's columns, of which the others are NULL.
pub type Values<'a, const N: usize> = [(&'a CStr, Option<pg_sys::Datum>); N];

/// Rows that go into the table at once: fewer than what Postgres keeps account of one by one, which it does faster than of many.
const BATCH: usize = 50;

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

/// Whether INSERT into a table does no more than is done here, as long as the transaction lasts: it is no partitioned one, has columns of
/// these types and no others, which could have defaults, and neither triggers nor rules nor policies.
pub fn is_all_of_insert(table: pg_sys::Oid, types: &[pg_sys::Oid]) -> bool {
    // SAFETY: the lock is that of INSERT; each place is one of the table's columns.
    unsafe {
        let table = pg_sys::table_open(table, pg_sys::RowExclusiveLock as i32);
        let descriptor = (*table).rd_att;
        let is_all = (*(*table).rd_rel).relkind == pg_sys::RELKIND_RELATION as c_char
            && !changes_inserts(table)
            && (*descriptor).natts as usize == types.len()
            && (0..)
                .zip(types)
                .all(|(place, kind)| (*attribute(descriptor, place)).atttypid == *kind);
        pg_sys::table_close(table, pg_sys::NoLock as i32);
        is_all
    }
}

/// Whether a partitioned table adds nothing to an INSERT that goes through it to a partition, as long as the transaction lasts.
pub fn only_passes_on(table: pg_sys::Oid) -> bool {
    // SAFETY: the lock is that of INSERT.
    unsafe {
        let table = pg_sys::table_open(table, pg_sys::RowExclusiveLock as i32);
        let only_passes_on = !changes_inserts(table);
        pg_sys::table_close(table, pg_sys::NoLock as i32);
        only_passes_on
    }
}

/// Whether it has triggers, those for each statement too, or rules or policies.
unsafe fn changes_inserts(table: pg_sys::Relation) -> bool {
    unsafe {
        !(*table).trigdesc.is_null()
            || !(*table).rd_rules.is_null()
            || (*(*table).rd_rel).relrowsecurity
    }
}

impl Target {
    unsafe fn open(oid: pg_sys::Oid) -> Self {
        unsafe {
            pg_sys::PreventCommandIfReadOnly(c"INSERT".as_ptr());
            pg_sys::PreventCommandIfParallelMode(c"INSERT".as_ptr());
            let table = pg_sys::table_open(oid, pg_sys::RowExclusiveLock as i32);
            owner::check_privilege(table, pg_sys::ACL_INSERT);
            let result: *mut pg_sys::ResultRelInfo =
                pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast();
            pg_sys::InitResultRelInfo(result, table, 0, ptr::null_mut(), 0);
            pg_sys::ExecOpenIndices(result, true);
            let state = pg_sys::CreateExecutorState();
            (*state).es_output_cid = pg_sys::GetCurrentCommandId(true);
            (*state).es_snapshot = pg_sys::GetActiveSnapshot();
            let mut target =
                Self { table, result, state, rows: vec![], places: vec![], settings: None };
            if target.calls_functions() {
                target.settings = Some(set_search_path());
            }
            if target.has_triggers() {
                // Where triggers look for it.
                (*state).es_opened_result_relations =
                    pg_sys::lappend(ptr::null_mut(), result.cast());
                pg_sys::AfterTriggerBeginQuery();
            }
            target
        }
    }

    unsafe fn close(self) {
        unsafe {
            if self.has_triggers() {
                pg_sys::AfterTriggerEndQuery(self.state);
            }
            for row in self.rows.into_iter().rev() {
                pg_sys::ExecDropSingleTupleTableSlot(row); // what was made last is found at once
            }
            if !(*self.state).es_tupleTable.is_null() {
                pg_sys::ExecResetTupleTable((*self.state).es_tupleTable, false);
                // triggers' rows
            }
            pg_sys::ExecCloseIndices(self.result);
            pg_sys::FreeExecutorState(self.state);
            if let Some(level) = self.settings {
                pg_sys::AtEOXact_GUC(true, level);
            }
            pg_sys::table_close(self.table, pg_sys::NoLock as i32); // locked until the transaction ends
        }
    }

    /// Whether functions that somebody has added to the table may be called with its rows: they look for names where pgalert's own do,
    /// not where the caller wants them to.
    unsafe fn calls_functions(&self) -> bool {
        unsafe {
            let constraints = (*(*self.table).rd_att).constr;
            self.has_triggers()
                || !constraints.is_null() && (*constraints).num_check > 0
                || (0..(*self.result).ri_NumIndices as usize).any(|place| {
                    let index = *(*self.result).ri_IndexRelationInfo.add(place);
                    !(*index).ii_Expressions.is_null() || !(*index).ii_Predicate.is_null()
                })
        }
    }

    fn has_triggers(&self) -> bool {
        // SAFETY: open() has made it.
        unsafe { !(*self.result).ri_TrigDesc.is_null() }
    }

    /// Inserts rows, many at once. The table is no partitioned one; of partitions the caller has found the right one. Returns how
    /// many rows there were.
    pub fn put_all<'a, const N: usize>(
        &mut self,
        rows: impl Iterator<Item = Result<Values<'a, N>, Error>>,
    ) -> Result<i64, Error> {
        let (mut waiting, mut inserted) = (0, 0);
        // SAFETY: open() has made what is needed.
        unsafe {
            for row in rows {
                let row = self.fill(waiting, &row?)?;
                if self.has_triggers() {
                    pg_sys::ExecSimpleRelationInsert(self.result, self.state, row);
                } else {
                    self.check_constraints(row);
                    waiting += 1;
                }
                inserted += 1;
                if waiting == BATCH {
                    self.write(waiting);
                    waiting = 0;
                }
            }
            self.write(waiting);
        }
        Ok(inserted)
    }

    /// Inserts rows, and then the entries of one index after the other: of those that begin with one of the columns of `orders`, in that
    /// order of rows, then of all others. A key that another row has is an error.
    pub fn put_all_by_index<'a, const N: usize>(
        &mut self,
        count: usize,
        row: impl Fn(usize) -> Values<'a, N>,
        orders: &[(&CStr, Vec<usize>)],
    ) -> Result<(), Error> {
        let keeps_rows = self.has_triggers(); // which may have changed them; others are made anew for each index
        let mut tids = vec![None; count];
        // SAFETY: open() has made what is needed.
        unsafe {
            for first in (0..count).step_by(BATCH) {
                let (mut numbers, mut slots) = (vec![], vec![]);
                for number in first..count.min(first + BATCH) {
                    let place = if keeps_rows { number } else { number - first };
                    let slot = self.fill(place, &row(number))?;
                    if !keeps_rows || self.fire_before(slot) {
                        self.check_constraints(slot);
                        numbers.push(number);
                        slots.push(slot);
                    }
                }
                self.write_rows(&mut slots);
                for (number, slot) in numbers.into_iter().zip(slots) {
                    tids[number] = Some((*slot).tts_tid);
                }
            }
            let indexes = Indexes::of(self.result);
            for (index, order) in indexes.sorted_by(self.table, orders) {
                indexes.leave_one(self.result, index);
                for place in 0..count {
                    let number = order.map_or(place, |order| order[place]);
                    let Some(tid) = tids[number] else { continue };
                    let slot = match keeps_rows {
                        true => self.rows[number],
                        false => self.fill(0, &row(number))?,
                    };
                    (*slot).tts_tid = tid;
                    self.put_index_entries(slot, false);
                    if place % BATCH == 0 {
                        pgrx::check_for_interrupts!(); // a call may have rows for seconds
                        if !keeps_rows {
                            pg_sys::MemoryContextReset(self.row_memory());
                        }
                    }
                }
            }
            indexes.put_back(self.result);
            if keeps_rows {
                for number in (0..count).filter(|number| tids[*number].is_some()) {
                    self.fire_after(self.rows[number]);
                }
            }
        }
        Ok(())
    }

    /// SAFETY: as many rows were filled, and checked.
    unsafe fn write(&mut self, rows: usize) {
        unsafe {
            let mut slots = self.rows[..rows].to_vec();
            self.write_rows(&mut slots);
            for slot in slots {
                self.put_index_entries(slot, false);
            }
            pg_sys::MemoryContextReset(self.row_memory());
        }
    }

    /// SAFETY: the rows were filled, and checked.
    unsafe fn write_rows(&mut self, rows: &mut [*mut pg_sys::TupleTableSlot]) {
        unsafe {
            let command = (*self.state).es_output_cid;
            let table = self.table;
            match rows {
                [] => {}
                [row] => pg_sys::simple_table_tuple_insert(table, *row),
                _ => PgMemoryContexts::For(self.row_memory()).switch_to(|_| {
                    let (slots, count) = (rows.as_mut_ptr(), rows.len() as i32);
                    pg_sys::table_multi_insert(table, slots, count, command, 0, ptr::null_mut())
                }),
            }
        }
    }

    unsafe fn row_memory(&mut self) -> pg_sys::MemoryContext {
        unsafe {
            let mut context = (*self.state).es_per_tuple_exprcontext;
            if context.is_null() {
                context = pg_sys::MakePerTupleExprContext(self.state);
            }
            (*context).ecxt_per_tuple_memory
        }
    }

    /// As ON CONFLICT DO NOTHING: false where another row has one of its unique keys. Waits for a transaction that inserts one. All keys
    /// are looked for before: what is inserted in vain is a dead row.
    pub fn put_unless_held<const N: usize>(&mut self, values: &Values<N>) -> Result<bool, Error> {
        // SAFETY: as above. A token is released, or the transaction ends.
        unsafe {
            let row = self.fill(0, values)?;
            if self.has_triggers() && !self.fire_before(row) {
                return Ok(true); // there is no row that another could have the keys of
            }
            self.check_constraints(row);
            loop {
                if let Some(holder) = self.holder(row) {
                    return if self.sees(holder) {
                        Ok(false)
                    } else {
                        Err(Error::ConcurrentInsert)
                    };
                }
                let xid = pg_sys::GetCurrentTransactionId();
                let token = pg_sys::SpeculativeInsertionLockAcquire(xid);
                let (table, command) = (self.table, (*self.state).es_output_cid);
                let null = ptr::null_mut();
                pg_sys::table_tuple_insert_speculative(table, row, command, 0, null, token);
                let taken = self.put_index_entries(row, true);
                pg_sys::table_tuple_complete_speculative(table, row, token, !taken);
                pg_sys::SpeculativeInsertionLockRelease(xid);
                if !taken {
                    if self.has_triggers() {
                        self.fire_after(row);
                    }
                    return Ok(true);
                }
            }
        }
    }

    /// False where a trigger has taken the row away.
    unsafe fn fire_before(&mut self, row: *mut pg_sys::TupleTableSlot) -> bool {
        unsafe {
            !(*(*self.result).ri_TrigDesc).trig_insert_before_row
                || pg_sys::ExecBRInsertTriggers(self.state, self.result, row)
        }
    }

    unsafe fn fire_after(&mut self, row: *mut pg_sys::TupleTableSlot) {
        let (none, null) = (ptr::null_mut(), ptr::null_mut());
        unsafe { pg_sys::ExecARInsertTriggers(self.state, self.result, row, none, null) }
    }

    /// The row of that place, with these values.
    unsafe fn fill(
        &mut self,
        place: usize,
        values: &[(&CStr, Option<pg_sys::Datum>)],
    ) -> Result<*mut pg_sys::TupleTableSlot, Error> {
        unsafe {
            let descriptor = (*self.table).rd_att;
            if place == self.rows.len() {
                let kind = &raw const pg_sys::TTSOpsHeapTuple; // which a table makes a tuple of without a copy
                self.rows.push(pg_sys::MakeSingleTupleTableSlot(descriptor, kind));
            }
            let row = self.rows[place];
            if u32::from((*row).tts_flags) & pg_sys::TTS_FLAG_SHOULDFREE != 0 {
                pg_sys::ExecClearTuple(row); // the tuple of its last values
            }
            let names = values.iter().map(|(name, _)| name.as_ptr());
            if !names.eq(self.places.iter().map(|(name, _)| *name)) {
                self.find(values)?;
            }
            let columns = (*descriptor).natts as usize;
            slice::from_raw_parts_mut((*row).tts_isnull, columns).fill(true);
            for ((_, place), (_, value)) in self.places.iter().zip(values) {
                if let Some(value) = *value {
                    *(*row).tts_values.add(*place) = value;
                    *(*row).tts_isnull.add(*place) = false;
                }
            }
            (*row).tts_flags &= !(pg_sys::TTS_FLAG_EMPTY as u16); // as ExecStoreVirtualTuple does
            (*row).tts_nvalid = columns as i16;
            Ok(row)
        }
    }

    /// Finds the columns of values.
    unsafe fn find(&mut self, values: &[(&CStr, Option<pg_sys::Datum>)]) -> Result<(), Error> {
        let mut values = values.iter().map(|(name, _)| *name).peekable();
        self.places.clear();
        self.places.reserve_exact(values.len());
        unsafe {
            let descriptor = (*self.table).rd_att;
            for column in 0..(*descriptor).natts as usize {
                let name = CStr::from_ptr((*attribute(descriptor, column)).attname.data.as_ptr());
                let given = values.next_if(|given| *given == name);
                self.places.extend(given.map(|given| (given.as_ptr(), column)));
            }
        }
        match values.next() {
            None => Ok(()),
            Some(column) => Err(Error::NotColumn { column: column.to_string_lossy().into() }),
        }
    }

    unsafe fn check_constraints(&mut self, row: *mut pg_sys::TupleTableSlot) {
        unsafe {
            let descriptor = (*self.table).rd_att;
            let constraints = (*descriptor).constr;
            let lacks_value =
                |place| *(*row).tts_isnull.add(place) && (*attribute(descriptor, place)).attnotnull;
            if !constraints.is_null()
                && ((*constraints).num_check > 0
                    || (0..(*descriptor).natts as usize).any(lacks_value))
            {
                pg_sys::ExecConstraints(self.result, row, self.state);
            }
        }
    }

    /// True where another has taken one of the keys since the look; otherwise a key that is taken is an error.
    unsafe fn put_index_entries(
        &mut self,
        row: *mut pg_sys::TupleTableSlot,
        speculative: bool,
    ) -> bool {
        let mut taken = false;
        unsafe {
            pg_sys::ExecInsertIndexTuples(
                self.result,
                row,
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
    unsafe fn holder(
        &mut self,
        row: *mut pg_sys::TupleTableSlot,
    ) -> Option<pg_sys::ItemPointerData> {
        let mut holder = pg_sys::ItemPointerData::default();
        #[cfg(feature = "pg18")]
        let mut own = holder; // invalid: a row that another has kept from its place lies nowhere
        let free = unsafe {
            pg_sys::ExecCheckIndexConstraints(
                self.result,
                row,
                self.state,
                &raw mut holder,
                #[cfg(feature = "pg18")]
                &raw mut own,
                ptr::null_mut(),
            )
        };
        (!free).then_some(holder)
    }

    /// Where the transaction's snapshot does not see the holder, what the caller looks for then would not be found; its own rows, of
    /// this statement too, are found by the next.
    unsafe fn sees(&self, mut holder: pg_sys::ItemPointerData) -> bool {
        unsafe {
            if pg_sys::XactIsoLevel < pg_sys::XACT_REPEATABLE_READ as i32 {
                return true;
            }
            let (table, snapshot) = (self.table, (*self.state).es_snapshot);
            let any = &raw mut pg_sys::SnapshotAnyData;
            let found = pg_sys::table_slot_create(table, ptr::null_mut());
            let seen = pg_sys::table_tuple_fetch_row_version(table, &raw mut holder, any, found)
                && (pg_sys::table_tuple_satisfies_snapshot(table, found, snapshot)
                    || is_own(found));
            pg_sys::ExecDropSingleTupleTableSlot(found);
            seen
        }
    }
}

/// The open indexes of a table.
struct Indexes {
    count: i32,
    relations: pg_sys::RelationPtr,
    infos: *mut *mut pg_sys::IndexInfo,
}

impl Indexes {
    unsafe fn of(table: *mut pg_sys::ResultRelInfo) -> Self {
        unsafe {
            Self {
                count: (*table).ri_NumIndices,
                relations: (*table).ri_IndexRelationDescs,
                infos: (*table).ri_IndexRelationInfo,
            }
        }
    }

    /// Their places, those that begin with one of the columns first, each with the order of that column.
    unsafe fn sorted_by<'a>(
        &self,
        table: pg_sys::Relation,
        orders: &'a [(&CStr, Vec<usize>)],
    ) -> Vec<(usize, Option<&'a Vec<usize>>)> {
        let first_column = |index: usize| unsafe {
            let number = (**self.infos.add(index)).ii_IndexAttrNumbers[0];
            let column = (number > 0).then(|| attribute((*table).rd_att, number as usize - 1));
            column.map(|column| CStr::from_ptr((*column).attname.data.as_ptr()))
        };
        let rank = |index| {
            let column = first_column(index);
            orders.iter().position(|(name, _)| Some(*name) == column).unwrap_or(orders.len())
        };
        let mut indexes: Vec<_> =
            (0..self.count as usize).map(|index| (rank(index), index)).collect();
        indexes.sort_unstable();
        let order = |rank| orders.get(rank).map(|(_, order)| order);
        indexes.into_iter().map(|(rank, index)| (index, order(rank))).collect()
    }

    /// The executor makes entries of that one alone.
    unsafe fn leave_one(&self, table: *mut pg_sys::ResultRelInfo, index: usize) {
        unsafe {
            (*table).ri_NumIndices = 1;
            (*table).ri_IndexRelationDescs = self.relations.add(index);
            (*table).ri_IndexRelationInfo = self.infos.add(index);
        }
    }

    unsafe fn put_back(self, table: *mut pg_sys::ResultRelInfo) {
        unsafe {
            (*table).ri_NumIndices = self.count;
            (*table).ri_IndexRelationDescs = self.relations;
            (*table).ri_IndexRelationInfo = self.infos;
        }
    }
}

/// Whether this transaction has inserted the row.
unsafe fn is_own(row: *mut pg_sys::TupleTableSlot) -> bool {
    let mut is_null = false;
    unsafe {
        let attribute = pg_sys::MinTransactionIdAttributeNumber;
        let xid = pg_sys::slot_getsysattr(row, attribute, &raw mut is_null);
        pg_sys::TransactionIdIsCurrentTransactionId((xid.value() as u32).into())
    }
}

/// As SET search_path of a function does; until the level that is returned is left.
unsafe fn set_search_path() -> i32 {
    unsafe {
        let level = pg_sys::NewGUCNestLevel();
        pg_sys::set_config_option(
            c"search_path".as_ptr(),
            c"pgalert, pg_temp".as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            0,
            false,
        );
        level
    }
}

pub unsafe fn attribute(descriptor: pg_sys::TupleDesc, place: usize) -> pg_sys::Form_pg_attribute {
    unsafe {
        #[cfg(feature = "pg18")]
        let attribute = pg_sys::TupleDescAttr(descriptor, place as i32);
        #[cfg(not(feature = "pg18"))]
        let attribute = (*descriptor).attrs.as_mut_ptr().add(place);
        attribute
    }
}
