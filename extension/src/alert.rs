//! What deduplication and addressing need of an alert that is fired, checked.

use std::borrow::Cow;

use chrono::NaiveDate;

use crate::channels::{self, Channels};
use crate::error::Error;
use crate::hash;
use crate::trace;
use crate::value::{escaped, escaped_at_most, Container, Value};

/// Characters of an id, a user or a dedup key: they go into headers and indexes.
const MAX_ID_CHARS: usize = 255;
/// Bytes of a message.
const MAX_MESSAGE_BYTES: usize = 262_144;
/// Bytes of the alert as JSON text.
const MAX_ALERT_BYTES: usize = 1_048_576;
/// Levels of the alert. Readers behind us cannot be trusted to read more: most stop at 128, and may wrap it.
const MAX_LEVELS: usize = 100;

const FIELDS: [&str; 10] = [
    "id",
    "name",
    "condition_json",
    "condition",
    "priority",
    "dedup_key",
    "expires_at",
    "channels",
    "notify_inapp",
    "notify_email",
];

/// An alert with its user and message, ready to be decided.
#[derive(Debug, PartialEq)]
pub struct Firing<'a> {
    pub alert: Container<'a>,
    pub alert_id: Cow<'a, str>,
    pub alert_name: Option<&'a str>,
    pub priority: &'a str,
    /// Channels asked for, sorted by name.
    pub channels: Vec<&'a str>,
    pub content_hash: String,
    pub dedup_key: Option<&'a str>,
    /// Shaped like a date; whether it is one, Postgres decides.
    pub expires_at: Option<&'a str>,
}

impl Firing<'_> {
    /// Whether no table knows more of it, where its policy is built in and nothing was set.
    pub fn is_plain(&self) -> bool {
        self.expires_at.is_none()
            && !self.channels.is_empty()
            && channels::all_builtin(&self.channels)
    }
}

/// Reads an alert, and checks all that can be checked without a table.
pub fn read_firing<'a>(
    alert: Option<Value<'a>>,
    user_id: Option<&str>,
    message: Option<&str>,
) -> Result<Firing<'a>, Error> {
    let alert = object(alert.unwrap_or(Value::Null))?;
    let levels = check_alert_size(alert)?;
    let user_id = check_id("user_id", user_id)?;
    let message =
        message.filter(|text| !text.is_empty()).ok_or(Error::Empty { what: "message" })?;
    check_size("message", message.len(), MAX_MESSAGE_BYTES)?;
    let fields = alert.fields(FIELDS)?;
    let [id, name, condition_json, condition, priority, dedup_key, expires_at, ..] = fields;
    let [.., channels, notify_inapp, notify_email] = fields;
    let alert_id = text_or_number("id", id)?;
    check_id("id", alert_id.as_deref())?;
    let priority = text("priority", priority)?.unwrap_or("normal");
    check_id("priority", Some(priority))?;
    let dedup_key = text("dedup_key", dedup_key)?;
    if dedup_key.is_some() {
        check_id("dedup_key", dedup_key)?;
    }
    let expires_at = text("expires_at", expires_at)?;
    if let Some(time) = expires_at.filter(|time| !looks_like_time(time)) {
        return Err(Error::NotTime { what: "expires_at", found: time.chars().take(64).collect() });
    }
    let channels = channels::of_fields(channels, notify_inapp, notify_email)?;
    check_levels(levels)?;
    Ok(Firing {
        alert,
        alert_id: alert_id.unwrap_or_default(),
        alert_name: text("name", name)?,
        priority,
        channels: wanted(channels).collect(),
        content_hash: hash::alert_hash(condition_json.or(condition), Some(message), Some(user_id))?,
        dedup_key,
        expires_at,
    })
}

/// An element of a bulk call, read like the arguments of a single one.
pub struct Element<'a> {
    pub firing: Firing<'a>,
    pub user_id: Cow<'a, str>,
    pub message: &'a str,
    /// Whether it is an interval, Postgres decides.
    pub dedup_window: Option<&'a str>,
    /// What is known of its traceparent.
    pub parent: Option<&'a str>,
}

/// Reads an element. A user may be a number.
pub fn read_element(element: Option<Value>) -> Result<Element, Error> {
    let element = element.unwrap_or(Value::Null);
    let Value::Object(fields) = element else {
        return Err(Error::ElementNotObject { found: element.describe() });
    };
    let [alert, user_id, message, dedup_window, traceparent] =
        fields.fields(["alert", "user_id", "message", "dedup_window", "traceparent"])?;
    let user_id = text_or_number("user_id", user_id)?;
    let message = text("message", message)?;
    let firing = read_firing(alert, user_id.as_deref(), message)?;
    Ok(Element {
        firing,
        user_id: user_id.unwrap_or_default(),
        message: message.unwrap_or_default(),
        dedup_window: text("dedup_window", dedup_window)?,
        parent: text("traceparent", traceparent).ok().flatten().and_then(trace::parent),
    })
}

/// The channels that an alert asks for, sorted by name.
pub fn enabled(alert: Value) -> Result<Vec<String>, Error> {
    let alert = object(alert)?;
    let channels = channels::of_alert(alert)?;
    check_levels(alert.extent(escaped_at_most)?.1)?;
    Ok(wanted(channels).map(str::to_owned).collect())
}

pub fn object(alert: Value) -> Result<Container, Error> {
    match alert {
        Value::Object(alert) => Ok(alert),
        other => Err(Error::AlertNotObject { found: other.describe() }),
    }
}

fn wanted(channels: Channels<'_>) -> impl Iterator<Item = &str> {
    channels.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| name)
}

fn text<'a>(what: &'static str, value: Option<Value<'a>>) -> Result<Option<&'a str>, Error> {
    match value {
        None => Ok(None),
        Some(Value::Text(text)) => Ok(Some(text)),
        Some(other) => Err(Error::NotText { what, found: other.describe() }),
    }
}

fn text_or_number<'a>(
    what: &'static str,
    value: Option<Value<'a>>,
) -> Result<Option<Cow<'a, str>>, Error> {
    match value {
        Some(Value::Number(number)) => Ok(Some(number.to_string().into())),
        _ => Ok(text(what, value)?.map(Cow::Borrowed)),
    }
}

fn check_id<'a>(what: &'static str, value: Option<&'a str>) -> Result<&'a str, Error> {
    let value = value.filter(|text| !text.is_empty()).ok_or(Error::Empty { what })?;
    if value.len() > MAX_ID_CHARS {
        let chars = value.chars().count();
        if chars > MAX_ID_CHARS {
            return Err(Error::TooLong { what, chars, limit: MAX_ID_CHARS });
        }
    }
    if !hash::is_plain(value) && value.chars().any(char::is_control) {
        return Err(Error::ControlCharacter { what });
    }
    Ok(value)
}

fn check_size(what: &'static str, bytes: usize, limit: usize) -> Result<(), Error> {
    if bytes > limit {
        return Err(Error::TooLarge { what, bytes, limit });
    }
    Ok(())
}

/// How many levels it has. Strings are measured only where it could be too large.
fn check_alert_size(alert: Container) -> Result<usize, Error> {
    let (at_most, levels) = alert.extent(escaped_at_most)?;
    if at_most > MAX_ALERT_BYTES {
        check_size("alert", alert.extent(escaped)?.0, MAX_ALERT_BYTES)?;
    }
    Ok(levels)
}

fn check_levels(levels: usize) -> Result<(), Error> {
    if levels > MAX_LEVELS {
        return Err(Error::TooDeep { limit: MAX_LEVELS });
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
    use crate::encoded::value;

    fn fire(alert: &str) -> Result<Firing<'static>, Error> {
        read_firing(Some(value(alert)), Some("u1"), Some("m"))
    }

    #[test]
    fn an_alert_has_defaults() {
        let firing = fire(r#"{"id": 7, "name": "VIX", "condition": {"a": 1}}"#).unwrap();
        assert_eq!(firing.alert_id, "7");
        assert_eq!(firing.alert_name, Some("VIX"));
        assert_eq!(firing.priority, "normal");
        assert_eq!(firing.channels, ["inapp"]);
        assert_eq!(
            firing.content_hash,
            hash::alert_hash(Some(value(r#"{"a": 1}"#)), Some("m"), Some("u1")).unwrap()
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
            ("[]", "alert must be a JSON object"),
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
        let alert = Some(value(r#"{"id": 1}"#));
        assert!(read_firing(alert, Some("u"), Some("")).is_err());
        assert!(read_firing(alert, None, Some("m")).is_err());
        assert!(read_firing(alert, Some("u"), Some(&"x".repeat(262_145))).is_err());
    }

    #[test]
    fn an_element_is_read_like_a_single_call() {
        let read = |element| read_element(Some(value(element)));
        let element =
            read(r#"{"alert": {"id": 7}, "user_id": 5, "message": "m", "dedup_window": "1 day"}"#);
        let element = element.unwrap();
        assert_eq!(
            element.firing,
            read_firing(Some(value(r#"{"id": 7}"#)), Some("5"), Some("m")).unwrap()
        );
        assert_eq!((&*element.user_id, element.message), ("5", "m"));
        assert_eq!(element.dedup_window, Some("1 day"));
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
