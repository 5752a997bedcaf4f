//! Rows of the in-app inbox.

use pgrx::datum::IntoDatum;
use pgrx::pg_sys;

use crate::error::Error;
use crate::insert;
use crate::installed::Installed;
use crate::sequence;

/// Values of a row, by the names of `notifications`.
pub struct Notification {
    pub user_id: Option<pg_sys::Datum>,
    pub alert_id: Option<pg_sys::Datum>,
    pub alert_name: Option<pg_sys::Datum>,
    pub message: Option<pg_sys::Datum>,
    pub priority: Option<pg_sys::Datum>,
    pub delivery_key: Option<pg_sys::Datum>,
    pub created_at: Option<pg_sys::Datum>,
}

/// Whether put() may: an application shows notifications as it likes, so it may have added columns, triggers or policies.
pub fn is_as_made(here: &Installed) -> bool {
    let types = [
        pg_sys::INT8OID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::TEXTOID,
        pg_sys::UUIDOID,
        pg_sys::TIMESTAMPTZOID,
        pg_sys::TIMESTAMPTZOID,
    ];
    insert::is_all_of_insert(here.notifications, &types)
}

pub fn put(
    here: &Installed,
    notifications: impl Iterator<Item = Notification>,
) -> Result<(), Error> {
    let row = |notification: Notification| {
        Ok([
            (c"notification_id", sequence::next_value(here.notification_id).into_datum()),
            (c"user_id", notification.user_id),
            (c"alert_id", notification.alert_id),
            (c"alert_name", notification.alert_name),
            (c"message", notification.message),
            (c"priority", notification.priority),
            (c"delivery_key", notification.delivery_key),
            (c"created_at", notification.created_at),
        ])
    };
    insert::into(here.notifications, |table| table.put_all(notifications.map(row)))?;
    Ok(())
}
