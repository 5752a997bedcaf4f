//! What a template knows.

use chrono::SecondsFormat;
use minijinja::context;
use minijinja::value::Value;
use tracing::warn;

use crate::message::Message;
use crate::numbers;

/// Every name that a template may use, as docs/channels.md explains them.
pub const NAMES: &[&str] = &[
    "address",
    "alert",
    "alert_id",
    "alert_name",
    "attempt",
    "delivery_key",
    "enqueued_at",
    "message",
    "priority",
    "secret",
    "title",
    "user_id",
];

/// `secret` is "" but for a channel of `[channels.<name>]` that has one.
pub fn of(message: &Message, address: &str, secret: &str) -> Value {
    let alert: Value = numbers::parse(message.alert_data.get()).unwrap_or_else(|error| {
        // What templates need most is told apart from it.
        warn!(delivery_key = %message.delivery_key, %error, "the alert's fields cannot be given to templates");
        Value::UNDEFINED
    });
    context! {
        address,
        alert,
        alert_id => message.alert_id,
        alert_name => message.alert_name,
        attempt => message.attempt,
        delivery_key => message.delivery_key.to_string(),
        enqueued_at => message.enqueued_at.to_rfc3339_opts(SecondsFormat::Millis, true),
        message => message.text,
        priority => message.priority,
        secret,
        title => message.title(),
        user_id => message.user_id,
    }
}
