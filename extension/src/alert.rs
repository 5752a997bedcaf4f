//! What deduplication and addressing need of an alert that is fired, checked.

use chrono::NaiveDate;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::channels::{self, Addressing, Channels};
use crate::error::Error;
use crate::hash;
use crate::json::{check_depth, describe, read};
use crate::trace;

/// Characters of an id, a user or a dedup key: they go into headers and indexes.
const MAX_ID_CHARS: usize = 255;
/// Bytes of a message.
const MAX_MESSAGE_BYTES: usize = 262_144;
/// Bytes of the alert as JSON text.
const MAX_ALERT_BYTES: usize = 1_048_576;

/// An alert with its user and message, ready to be decided.
#[derive(Debug, PartialEq)]
pub struct Firing {
    pub alert_id: String,
    pub alert_name: Option<String>,
    pub priority: String,
    /// Channels asked for, sorted by name.
    pub channels: Vec<String>,
    pub content_hash: String,
    pub dedup_key: Option<String>,
    /// Shaped like a date; whether it is one, Postgres decides.
    pub expires_at: Option<String>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    condition_json: Option<&'a RawValue>,
    #[serde(borrow)]
    condition: Option<&'a RawValue>,
    #[serde(borrow)]
    priority: Option<&'a RawValue>,
    #[serde(borrow)]
    dedup_key: Option<&'a RawValue>,
    #[serde(borrow)]
    expires_at: Option<&'a RawValue>,
    #[serde(borrow)]
    channels: Option<&'a RawValue>,
    #[serde(borrow)]
    notify_inapp: Option<&'a RawValue>,
    #[serde(borrow)]
    notify_email: Option<&'a RawValue>,
}

/// Reads an alert, given as text of a jsonb, and checks all that can be checked without a table.
pub fn read_firing(
    alert: Option<&str>,
    user_id: Option<&str>,
    message: Option<&str>,
) -> Result<Firing, Error> {
    let alert = alert.unwrap_or("null");
    if !alert.starts_with('{') {
        return Err(Error::AlertNotObject { found: describe(alert) });
    }
    check_size("alert", alert, MAX_ALERT_BYTES)?;
    let user_id = check_id("user_id", user_id)?;
    let message =
        message.filter(|text| !text.is_empty()).ok_or(Error::Empty { what: "message" })?;
    check_size("message", message, MAX_MESSAGE_BYTES)?;
    let fields: Fields = read(alert)?;
    let id = text_or_number("id", fields.id)?;
    let alert_id = check_id("id", id.as_deref())?.to_owned();
    let priority = text("priority", fields.priority)?.unwrap_or_else(|| "normal".into());
    check_id("priority", Some(&priority))?;
    let dedup_key = text("dedup_key", fields.dedup_key)?;
    if dedup_key.is_some() {
        check_id("dedup_key", dedup_key.as_deref())?;
    }
    let expires_at = text("expires_at", fields.expires_at)?;
    if let Some(time) = expires_at.as_deref().filter(|time| !looks_like_time(time)) {
        return Err(Error::NotTime { what: "expires_at", found: time.chars().take(64).collect() });
    }
    let Fields { channels, notify_inapp, notify_email, .. } = fields;
    let channels = Addressing { channels, notify_inapp, notify_email }.channels()?;
    check_depth(alert)?;
    let condition = fields.condition_json.or(fields.condition).map(RawValue::get);
    Ok(Firing {
        alert_id,
        alert_name: text("name", fields.name)?,
        priority,
        channels: wanted(channels),
        content_hash: hash::alert_hash(condition, Some(message), Some(user_id))?,
        dedup_key,
        expires_at,
    })
}

/// An element of a bulk call, read like the arguments of a single one.
pub struct Element {
    pub firing: Firing,
    pub user_id: String,
    pub message: String,
    /// Whether it is an interval, Postgres decides.
    pub dedup_window: Option<String>,
    /// What is known of its traceparent.
    pub parent: Option<String>,
}

#[derive(Deserialize)]
struct ElementFields<'a> {
    #[serde(borrow)]
    alert: Option<&'a RawValue>,
    #[serde(borrow)]
    user_id: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    dedup_window: Option<&'a RawValue>,
    #[serde(borrow)]
    traceparent: Option<&'a RawValue>,
}

/// Reads an element, given as text of a jsonb. A user may be a number.
pub fn read_element(element: Option<&str>) -> Result<Element, Error> {
    let element = element.unwrap_or("null");
    if !element.starts_with('{') {
        return Err(Error::ElementNotObject { found: describe(element) });
    }
    let fields: ElementFields = read(element)?;
    let user_id = text_or_number("user_id", fields.user_id)?;
    let message = text("message", fields.message)?;
    let firing =
        read_firing(fields.alert.map(RawValue::get), user_id.as_deref(), message.as_deref())?;
    let traceparent = text("traceparent", fields.traceparent).ok().flatten();
    Ok(Element {
        firing,
        user_id: user_id.unwrap_or_default(),
        message: message.unwrap_or_default(),
        dedup_window: text("dedup_window", fields.dedup_window)?,
        parent: traceparent.as_deref().and_then(trace::parent).map(str::to_owned),
    })
}

/// The channels that an alert asks for, sorted by name.
pub fn enabled(alert: &str) -> Result<Vec<String>, Error> {
    let channels = channels::of_alert(alert)?;
    check_depth(alert)?;
    Ok(wanted(channels))
}

fn wanted(channels: Channels) -> Vec<String> {
    channels.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| name.into_owned()).collect()
}

fn text(what: &'static str, value: Option<&RawValue>) -> Result<Option<String>, Error> {
    match value.map(RawValue::get) {
        None => Ok(None),
        Some(json) if json.starts_with('"') => read(json).map(Some),
        Some(json) => Err(Error::NotText { what, found: describe(json) }),
    }
}

fn text_or_number(what: &'static str, value: Option<&RawValue>) -> Result<Option<String>, Error> {
    match value.map(RawValue::get) {
        Some(number) if number.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
            Ok(Some(number.to_owned()))
        }
        _ => text(what, value),
    }
}

fn check_id<'a>(what: &'static str, value: Option<&'a str>) -> Result<&'a str, Error> {
    let value = value.filter(|text| !text.is_empty()).ok_or(Error::Empty { what })?;
    let chars = value.chars().count();
    if chars > MAX_ID_CHARS {
        return Err(Error::TooLong { what, chars, limit: MAX_ID_CHARS });
    }
    if value.chars().any(char::is_control) {
        return Err(Error::ControlCharacter { what });
    }
    Ok(value)
}

fn check_size(what: &'static str, text: &str, limit: usize) -> Result<(), Error> {
    if text.len() > limit {
        return Err(Error::TooLarge { what, bytes: text.len(), limit });
    }
    Ok(())
}

/// Begins with a date of the calendar; what follows it, Postgres reads. Or is what to_jsonb makes of a time without end.
fn looks_like_time(text: &str) -> bool {
    if matches!(text, "infinity" | "-infinity") {
        return true;
    }
    let date = text.get(..10).unwrap_or_default();
    // chrono skips spaces before a number.
    !date.starts_with(' ') && NaiveDate::parse_from_str(date, "%Y-%m-%d").is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fire(alert: &str) -> Result<Firing, Error> {
        read_firing(Some(alert), Some("u1"), Some("m"))
    }

    #[test]
    fn an_alert_has_defaults() {
        let firing = fire(r#"{"id": 7, "name": "VIX", "condition": {"a": 1}}"#).unwrap();
        assert_eq!(firing.alert_id, "7");
        assert_eq!(firing.alert_name.as_deref(), Some("VIX"));
        assert_eq!(firing.priority, "normal");
        assert_eq!(firing.channels, ["inapp"]);
        assert_eq!(
            firing.content_hash,
            hash::alert_hash(Some(r#"{"a": 1}"#), Some("m"), Some("u1")).unwrap()
        );
    }

    #[test]
    fn condition_json_comes_before_condition() {
        let hash = |alert| fire(alert).unwrap().content_hash;
        assert_eq!(
            hash(r#"{"id": "a", "condition_json": 1, "condition": 2}"#),
            hash(r#"{"id": "b", "condition": 1}"#)
        );
        assert_eq!(
            hash(r#"{"id": "a", "condition_json": null, "condition": 2}"#),
            hash(r#"{"id": "b", "condition": 2}"#)
        );
    }

    #[test]
    fn bad_fields_are_named() {
        for (alert, expected) in [
            ("null", "alert must be a JSON object"),
            ("{}", "id must not be empty"),
            (r#"{"id": ""}"#, "id must not be empty"),
            (r#"{"id": null}"#, "id must not be empty"),
            (r#"{"id": {}}"#, "id must be text"),
            (r#"{"id": "a\nb"}"#, "id has a control character"),
            (r#"{"id": "a", "priority": 1}"#, "priority must be text"),
            (r#"{"id": "a", "dedup_key": ""}"#, "dedup_key must not be empty"),
            (r#"{"id": "a", "expires_at": "soon"}"#, "expires_at must be a time"),
            (r#"{"id": "a", "expires_at": "2026-02-30T00:00:00Z"}"#, "expires_at must be a time"),
            (r#"{"id": "a", "name": 5}"#, "name must be text"),
        ] {
            assert_eq!(fire(alert).unwrap_err().to_string(), expected, "{alert}");
        }
        let deep = |levels| {
            format!(r#"{{"id": "[\"[", "x": {}{}}}"#, "[".repeat(levels), "]".repeat(levels))
        };
        assert!(fire(&deep(99)).is_ok());
        assert_eq!(fire(&deep(100)).unwrap_err(), Error::TooDeep { limit: 100 });
        let long = format!(r#"{{"id": "{}"}}"#, "é".repeat(256));
        assert_eq!(fire(&long).unwrap_err(), Error::TooLong { what: "id", chars: 256, limit: 255 });
        assert!(read_firing(Some(r#"{"id": 1}"#), Some("u"), Some("")).is_err());
        assert!(read_firing(Some(r#"{"id": 1}"#), None, Some("m")).is_err());
        assert!(read_firing(Some(r#"{"id": 1}"#), Some("u"), Some(&"x".repeat(262_145))).is_err());
    }

    #[test]
    fn an_element_is_read_like_a_single_call() {
        let read = |element| read_element(Some(element));
        let element =
            read(r#"{"alert": {"id": 7}, "user_id": 5, "message": "m", "dedup_window": "1 day"}"#);
        let element = element.unwrap();
        assert_eq!(
            element.firing,
            read_firing(Some(r#"{"id": 7}"#), Some("5"), Some("m")).unwrap()
        );
        assert_eq!((element.user_id.as_str(), element.message.as_str()), ("5", "m"));
        assert_eq!(element.dedup_window.as_deref(), Some("1 day"));
        for (element, expected) in [
            ("[]", "an element of alerts must be a JSON object"),
            ("{}", "alert must be a JSON object"),
            (r#"{"alert": {"id": 7}}"#, "user_id must not be empty"),
            (r#"{"alert": {"id": 7}, "user_id": "u"}"#, "message must not be empty"),
            (r#"{"user_id": ["u"]}"#, "user_id must be text"),
            (r#"{"user_id": "u", "message": 5}"#, "message must be text"),
            (
                r#"{"alert": {"id": 7}, "user_id": "u", "message": "m", "dedup_window": 5}"#,
                "dedup_window must be text",
            ),
        ] {
            assert_eq!(
                read(element).err().map(|e| e.to_string()).as_deref(),
                Some(expected),
                "{element}"
            );
        }
        assert!(read_element(None).is_err());
    }

    #[test]
    fn a_time_is_one_of_the_calendar_or_without_end() {
        for time in ["2026-02-28", "2026-02-28T24:00:00Z", "infinity", "-infinity"] {
            assert!(looks_like_time(time), "{time}");
        }
        for none in ["", "Infinity", "now", "2026-02-29", "20260228", " 2026-02-28"] {
            assert!(!looks_like_time(none), "{none}");
        }
    }
}
