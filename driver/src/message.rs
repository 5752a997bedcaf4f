//! A claimed message, its recipients, and the outcome of sending it: what goes from the database to the channels and back.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::config::Secret;

/// One row of `claim_batch()`.
#[derive(Debug)]
pub struct Message {
    pub delivery_key: Uuid,
    pub alert_id: String,
    pub user_id: Option<String>,
    pub alert_name: Option<String>,
    pub text: String,
    pub priority: String,
    /// Channels owed.
    pub channels: Vec<String>,
    pub recipients: HashMap<String, Vec<Recipient>>,
    pub alert_data: Box<RawValue>,
    pub attempt: i32,
    pub enqueued_at: DateTime<Utc>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Recipient {
    pub recipient_id: i64,
    pub address: String,
    /// What is sent there is signed with each of them, the newest first.
    #[serde(default)]
    pub secrets: Vec<Secret>,
}

impl Message {
    /// The alert's name, else its id: one line.
    pub fn title(&self) -> String {
        let name = self.alert_name.as_deref().filter(|name| !name.trim().is_empty());
        let title = name.unwrap_or(&self.alert_id);
        title.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

/// All messages of one claim.
#[derive(Debug)]
pub struct Claim {
    pub claim_id: i64,
    pub messages: Vec<Message>,
}

/// What a channel says of a message that its receiver accepted.
#[derive(Debug, Default)]
pub struct Receipt {
    /// Who accepted it: a host name.
    pub host: Option<String>,
    /// What it said.
    pub answer: String,
}

/// Why a message was not accepted.
#[derive(Debug)]
pub struct SendError {
    pub kind: ErrorKind,
    /// Stable, for analysis: `smtp.4xx`, `http.429`, `timeout` …
    pub class: String,
    pub message: String,
    pub host: Option<String>,
    /// A second try is safe and may help soon: see `quick_pause`.
    again: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ErrorKind {
    /// May succeed later.
    Transient,
    /// Will not succeed unless somebody changes something.
    Permanent,
    /// The receiver asks for a pause; costs no retry.
    Throttled { retry_after: Duration },
}

/// Characters of a foreign answer that an error quotes.
const MAX_QUOTE_CHARS: usize = 500;

/// A receiver that asks for no longer pause is tried again within the attempt.
const SHORT_PAUSE: Duration = Duration::from_secs(5);

/// A shorter text, such as a chat's number, would be found where it is not meant.
const MIN_HIDDEN_BYTES: usize = 5;

impl SendError {
    pub fn new(kind: ErrorKind, class: impl Into<String>, message: impl AsRef<str>) -> Self {
        let message = message
            .as_ref()
            .chars()
            .filter(|c| !c.is_control() || *c == ' ')
            .take(MAX_QUOTE_CHARS)
            .collect();
        Self { kind, class: class.into(), message, host: None, again: false }
    }

    pub fn transient(class: impl Into<String>, message: impl AsRef<str>) -> Self {
        Self::new(ErrorKind::Transient, class, message)
    }

    pub fn permanent(class: impl Into<String>, message: impl AsRef<str>) -> Self {
        Self::new(ErrorKind::Permanent, class, message)
    }

    /// Takes out what nobody is to read who may read errors, where the receiver has quoted it.
    pub fn hiding(mut self, text: &str) -> Self {
        if text.len() >= MIN_HIDDEN_BYTES {
            self.message = self.message.replace(text, "********");
        }
        self
    }

    /// The same for a recipient's address; of a URL also its path, which may be a secret.
    pub fn hiding_address(self, address: &str) -> Self {
        let rest = address.split_once("://").map_or("", |(_, rest)| rest);
        let path = rest.find('/').map_or("", |at| &rest[at..]);
        self.hiding(address).hiding(path)
    }

    pub fn at(mut self, host: Option<String>) -> Self {
        self.host = host;
        self
    }

    /// For a passing fault that cannot have been acted on, or whose repetition the receiver can tell.
    pub fn again_soon(mut self, safe: bool) -> Self {
        self.again = safe;
        self
    }

    /// How long to wait at least before a second try within the same attempt; None where that is unsafe or of no use.
    pub fn quick_pause(&self) -> Option<Duration> {
        match self.kind {
            ErrorKind::Throttled { retry_after } => {
                (retry_after <= SHORT_PAUSE).then_some(retry_after)
            }
            ErrorKind::Transient => self.again.then_some(Duration::ZERO),
            ErrorKind::Permanent => None,
        }
    }
}

/// One element of what `report()` takes.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub delivery_key: Uuid,
    pub channel: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient_id: Option<i64>,
    pub outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub permanent: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    pub duration_ms: f64,
}

pub const DELIVERED: &str = "delivered";
pub const FAILED: &str = "failed";
pub const DEFERRED: &str = "deferred";

impl Outcome {
    pub fn of(
        message: &Message,
        channel: &str,
        recipient_id: Option<i64>,
        result: Result<Receipt, SendError>,
        took: Duration,
    ) -> Self {
        let mut outcome = Self {
            delivery_key: message.delivery_key,
            channel: channel.to_owned(),
            recipient_id,
            outcome: DELIVERED,
            error_class: None,
            error: None,
            permanent: false,
            retry_after_s: None,
            host: None,
            duration_ms: (took.as_secs_f64() * 1e6).round() / 1e3,
        };
        match result {
            Ok(receipt) => outcome.host = receipt.host,
            Err(error) => {
                outcome.outcome = FAILED;
                outcome.permanent = error.kind == ErrorKind::Permanent;
                if let ErrorKind::Throttled { retry_after } = error.kind {
                    outcome.outcome = DEFERRED;
                    outcome.retry_after_s = Some(retry_after.as_secs_f64());
                }
                outcome.error_class = Some(error.class);
                outcome.error = Some(error.message);
                outcome.host = error.host;
            }
        }
        outcome
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn message() -> Message {
        Message {
            delivery_key: Uuid::from_u128(7),
            alert_id: "a1".into(),
            user_id: Some("u1".into()),
            alert_name: Some("VIX above 30".into()),
            text: "VIX is 32.5".into(),
            priority: "normal".into(),
            channels: vec!["email".into()],
            recipients: HashMap::new(),
            alert_data: RawValue::from_string("{}".into()).unwrap(),
            attempt: 1,
            enqueued_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_pause_is_deferred_and_a_fault_failed() {
        let took = Duration::from_micros(1500);
        let throttled = SendError::new(
            ErrorKind::Throttled { retry_after: Duration::from_secs(9) },
            "http.429",
            "slow\ndown",
        );
        let json = |result| {
            serde_json::to_value(Outcome::of(&message(), "webhook", Some(3), result, took)).unwrap()
        };
        let outcome = json(Err(throttled));
        assert_eq!(outcome["outcome"], "deferred");
        assert_eq!(outcome["retry_after_s"], 9.0);
        assert_eq!(outcome["error"], "slowdown");
        assert_eq!(outcome["duration_ms"], 1.5);
        let outcome = json(Err(SendError::permanent("smtp.5xx", "x".repeat(900))));
        assert_eq!((&outcome["outcome"], &outcome["permanent"]), (&"failed".into(), &true.into()));
        assert_eq!(outcome["error"].as_str().unwrap().len(), 500);
        let outcome = json(Ok(Receipt::default()));
        assert_eq!(outcome["outcome"], "delivered");
        assert!(outcome.get("error").is_none());
    }
}
