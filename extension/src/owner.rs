//! With the rights of another role, as a SECURITY DEFINER function has those of its owner.

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
