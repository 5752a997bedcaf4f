//! Rights where no plan asks for them: those of a table's owner, as a SECURITY DEFINER function has them, and those of who calls.

use pgrx::pg_sys;

/// Whom to go back to.
struct Caller {
    role: pg_sys::Oid,
    context: i32,
}

impl Drop for Caller {
    fn drop(&mut self) {
        // SAFETY: it was so before. Where an error came between, the end of the transaction does the same.
        unsafe { pg_sys::SetUserIdAndSecContext(self.role, self.context) };
    }
}

pub fn acting<T>(owner: pg_sys::Oid, act: impl FnOnce() -> T) -> T {
    let mut caller = Caller { role: pg_sys::InvalidOid, context: 0 };
    // SAFETY: reads and writes the session's state.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&raw mut caller.role, &raw mut caller.context);
        let context = caller.context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32;
        pg_sys::SetUserIdAndSecContext(owner, context);
    }
    act()
}

/// Functions that read or write tables without a plan are their owner's alone; this is the second lock.
///
/// SAFETY: the table is open.
pub unsafe fn check_privilege(table: pg_sys::Relation, right: u32) {
    unsafe {
        let may = privilege(table, right);
        if may != pg_sys::AclResult::ACLCHECK_OK {
            let name = (*(*table).rd_rel).relname.data.as_ptr();
            pg_sys::aclcheck_error(may, pg_sys::ObjectType::OBJECT_TABLE, name);
        }
    }
}

/// Whether check_privilege() lets through.
///
/// SAFETY: as above.
pub unsafe fn has_privilege(table: pg_sys::Relation, right: u32) -> bool {
    unsafe { privilege(table, right) == pg_sys::AclResult::ACLCHECK_OK }
}

unsafe fn privilege(table: pg_sys::Relation, right: u32) -> pg_sys::AclResult::Type {
    let right = right as pg_sys::AclMode;
    unsafe {
        let user = pg_sys::GetUserId();
        if (*(*table).rd_rel).relowner == user {
            return pg_sys::AclResult::ACLCHECK_OK; // without a search
        }
        pg_sys::pg_class_aclcheck((*table).rd_id, user, right)
    }
}
