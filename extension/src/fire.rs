//! SQL functions of `sql/31_deliver.sql`: an alert is read, its keys are reserved, its message is put into the outbox.

use std::iter;

use pgrx::datum::{FromDatum, Interval, IntoDatum};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{pg_extern, pg_sys};

use crate::alert::{self, Firing};
use crate::api::POSTGRES_EPOCH_MICROS;
use crate::columns::{Column, Columns};
use crate::day::{self, Day};
use crate::error::Error;
use crate::inbox::{self, Notification};
use crate::insert;
use crate::installed::{self, Installed};
use crate::internal::now_micros;
use crate::jsonb::Jsonb;
use crate::keys::{self, Key};
use crate::members;
use crate::outbox::{self, Message};
use crate::owner;
use crate::policy;
use crate::row::{self, RowArgument};
use crate::sequence;
use crate::text::Text;
use crate::trace;
use crate::wake;

/// Declared in `sql/31_deliver.sql`.
#[pg_extern(sql = false)]
fn deliver_alert(
    alert: Option<Jsonb>,
    user_id: Option<Text>,
    message: Option<Text>,
    dedup_window: Option<Interval>,
    traceparent: Option<Text>,
) -> Result<String, ErrorReport> {
    let here = installed::here();
    let [user_id, message, traceparent] =
        [user_id, message, traceparent].map(|text| text.map(|text| text.0));
    let deliver = || deliver(alert, user_id, message, dedup_window, traceparent, &here);
    Ok(owner::acting(here.owner, deliver)?)
}

fn deliver(
    alert: Option<Jsonb>,
    user_id: Option<&str>,
    message: Option<&str>,
    dedup_window: Option<Interval>,
    traceparent: Option<&str>,
    here: &Installed,
) -> Result<String, Error> {
    let firing = alert::read_firing(alert.map(Jsonb::value).transpose()?, user_id, message)?;
    let at = now_micros();
    let alert = Asked {
        firing,
        user_id,
        message,
        dedup_window,
        parent: traceparent.and_then(trace::parent),
    };
    let mut alert = alert.prepare(at, day::utc_day(at).as_ref(), here.is_as_built())?;
    let directly = alert.plain && alert.is_sent && (!alert.in_app || inbox::is_as_made(here));
    if directly && accept(&alert.fired(), alert.in_app, here)? {
        sequence::next_value(here.count_queued);
        if alert.in_app {
            wake::inboxes(here.inboxes_listening_until, user_id.into_iter(), at);
        }
        wake::drivers(here.drivers_asleep_until, at);
        return Ok("queued".into());
    }
    let fired = row::of_type(here.fired_alert, &mut alert.columns)?;
    let in_full = installed::function(c"_deliver_in_full");
    // SAFETY: the function takes a row of the type and a boolean, and returns a text.
    unsafe {
        let status =
            pg_sys::OidFunctionCall2Coll(in_full, pg_sys::InvalidOid, fired, directly.into());
        Ok(String::from_datum(status, false).unwrap_or_default())
    }
}

/// An alert, and what it is fired with.
pub struct Asked<'a> {
    pub firing: Firing<'a>,
    pub user_id: Option<&'a str>,
    pub message: Option<&'a str>,
    pub dedup_window: Option<Interval>,
    /// What can be followed of its traceparent.
    pub parent: Option<&'a str>,
}

/// The same with its keys.
pub struct Prepared {
    /// Those of type `fired_alert`.
    columns: Columns<24>,
    pub message_key: Key,
    pub content_key: Key,
    pub day_key: Option<Key>,
    /// It is for the inbox.
    pub in_app: bool,
    /// It is for other channels.
    pub is_sent: bool,
    /// No table knows more of it.
    pub plain: bool,
}

impl Asked<'_> {
    pub fn prepare(
        &self,
        at: i64,
        day: Option<&Day>,
        is_as_built: bool,
    ) -> Result<Prepared, Error> {
        let Self { firing, user_id, message, dedup_window, parent } = self;
        let policy = policy::builtin(firing.priority);
        let owed: Vec<&str> =
            firing.channels.iter().copied().filter(|name| *name != "inapp").collect();
        let in_app = owed.len() < firing.channels.len();
        let plain = is_as_built && policy.is_some() && dedup_window.is_none() && firing.is_plain();
        let message_key = keys::message_key();
        let content_key = keys::content_key(Some(&firing.content_hash), *user_id, firing.dedup_key);
        let texts =
            [("message", message.unwrap_or_default()), ("user_id", user_id.unwrap_or_default())];
        let alert_data = members::with_texts(firing.alert, &texts)?;
        let day_key =
            user_id.zip(day).map(|(user, day)| keys::day_key(user, &firing.alert_id, &day.name, 1));
        let time = |micros: i64| Column::from((micros - POSTGRES_EPOCH_MICROS).into_datum());
        let mut columns = Columns::new();
        columns.set([
            time(at),
            Column::Text(&firing.alert_id),
            Column::text(*user_id),
            Column::text(firing.alert_name),
            Column::text(*message),
            Column::Text(firing.priority),
            Column::Texts(&firing.channels),
            Column::Texts(&owed),
            Column::Texts(if in_app { &["inapp"] } else { &[] }),
            Column::Text(&firing.content_hash),
            Column::text(firing.expires_at),
            Column::Null,
            Column::text(*parent),
            Column::Uuid(message_key),
            Column::Uuid(content_key),
            Column::uuid(day_key),
            time(at + policy::DEDUP_MICROS),
            day.map_or(Column::Null, |day| time(day.end)),
            policy.map(|policy| policy.lane).into_datum().into(),
            dedup_window.into_datum().into(),
            Column::Boolean(in_app),
            Column::Boolean(plain),
            Column::Jsonb(&alert_data),
            ((alert_data.len() + pg_sys::VARHDRSZ) as i32).into_datum().into(),
        ]);
        let is_sent = !owed.is_empty();
        Ok(Prepared { columns, message_key, content_key, day_key, in_app, is_sent, plain })
    }
}

impl Prepared {
    pub fn fired(&self) -> Fired {
        Fired::of(self.columns.values())
    }
}

/// Reserves an alert's keys, puts it into the inbox if it is to be there, and its message into the outbox; false where one of the keys
/// is held.
fn accept(fired: &Fired, in_app: bool, here: &Installed) -> Result<bool, Error> {
    let free = reserve(fired, here)?;
    if free {
        if in_app {
            inbox::put(here, iter::once(fired.notification()))?;
        }
        enqueue(fired, here)?;
    }
    Ok(free)
}

/// Declared in `sql/31_deliver.sql`.
#[pg_extern(sql = false)]
fn _reserve_keys(fired: RowArgument) -> Result<bool, ErrorReport> {
    let here = installed::here();
    Ok(reserve(&Fired::of(fired.values(here.fired_alert)?), &here)?)
}

fn reserve(fired: &Fired, here: &Installed) -> Result<bool, Error> {
    let row = [
        (c"content_key", fired.content_key),
        (c"day_key", fired.day_key),
        (c"content_until", fired.content_until),
        (c"day_until", fired.day_until),
        (c"owner", fired.message_key),
    ];
    insert::into(here.dedup_keys, |table| table.put_unless_held(&row))
}

/// Declared in `sql/31_deliver.sql`.
#[pg_extern(sql = false)]
fn _put_into_inbox(fired: RowArgument) -> Result<bool, ErrorReport> {
    let here = installed::here();
    let fired = Fired::of(fired.values(here.fired_alert)?);
    let is_as_made = inbox::is_as_made(&here);
    if is_as_made {
        inbox::put(&here, iter::once(fired.notification()))?;
    }
    Ok(is_as_made)
}

/// Declared in `sql/31_deliver.sql`.
#[pg_extern(sql = false)]
fn _enqueue(fired: RowArgument) -> Result<(), ErrorReport> {
    let here = installed::here();
    Ok(enqueue(&Fired::of(fired.values(here.fired_alert)?), &here)?)
}

fn enqueue(fired: &Fired, here: &Installed) -> Result<(), Error> {
    outbox::enqueue(here, iter::once(Ok(fired.message())))?;
    Ok(())
}

type Value = Option<pg_sys::Datum>;

/// Of a row of type `fired_alert`, what is written.
pub struct Fired {
    pub at: Value,
    pub alert_id: Value,
    pub user_id: Value,
    alert_name: Value,
    message: Value,
    pub priority: Value,
    owed: Value,
    delivered: Value,
    pub content_hash: Value,
    expires_at: Value,
    traceparent: Value,
    pub message_key: Value,
    content_key: Value,
    day_key: Value,
    content_until: Value,
    day_until: Value,
    lane: Value,
    alert_data: Value,
    bytes: Value,
}

impl Fired {
    /// The values in the order of the type's columns.
    #[rustfmt::skip]
    fn of(values: [Value; 24]) -> Self {
        let [
            at, alert_id, user_id, alert_name, message, priority, _channels, owed, delivered,
            content_hash, _expires, expires_at, traceparent, message_key, content_key, day_key,
            content_until, day_until, lane, _dedup_window, _in_app, _plain,
            alert_data, bytes,
        ] = values;
        Self {
            at, alert_id, user_id, alert_name, message, priority, owed, delivered,
            content_hash, expires_at, traceparent, message_key, content_key, day_key,
            content_until, day_until, lane,
            alert_data, bytes,
        }
    }

    pub fn user(&self) -> Option<String> {
        // SAFETY: it is a text.
        self.user_id.and_then(|user| unsafe { String::from_datum(user, false) })
    }

    pub fn notification(&self) -> Notification {
        Notification {
            user_id: self.user_id,
            alert_id: self.alert_id,
            alert_name: self.alert_name,
            message: self.message,
            priority: self.priority,
            delivery_key: self.message_key,
            created_at: self.at,
        }
    }

    pub fn message(&self) -> Message {
        Message {
            lane: self.lane,
            delivery_key: self.message_key,
            alert_id: self.alert_id,
            user_id: self.user_id,
            priority: self.priority,
            channels: self.owed,
            delivered_channels: self.delivered,
            content_hash: self.content_hash,
            content_key: self.content_key,
            day_key: self.day_key,
            bytes: self.bytes,
            at: self.at,
            expires_at: self.expires_at,
            traceparent: self.traceparent,
            alert_data: self.alert_data,
        }
    }
}
