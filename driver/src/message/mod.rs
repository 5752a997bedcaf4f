//! A claimed message, its recipients, and the outcome of sending it: what goes from the database to the channels and back.

pub mod classes;
mod error;
mod hiding;
mod outcome;

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;
use url::{ParseError, Url};
use uuid::Uuid;

use crate::config::Secret;
pub use error::{ErrorKind, SendError};
pub use outcome::{Outcome, DEFERRED, DELIVERED, FAILED, OUTCOMES};

/// One row of `claim_batch()`.
#[derive(Debug)]
pub struct Message {
    /// Of this attempt.
    pub message_id: i64,
    /// Of all attempts.
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
    /// The caller's span, as W3C Trace Context has it.
    pub traceparent: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Recipient {
    pub recipient_id: i64,
    pub address: String,
    /// What is sent there is signed with each of them, the newest first.
    #[serde(default)]
    pub secrets: Vec<Secret>,
    #[serde(skip)]
    url: OnceLock<Result<Url, ParseError>>,
}

impl Recipient {
    pub fn new(recipient_id: i64, address: String, secrets: Vec<Secret>) -> Self {
        Self { recipient_id, address, secrets, url: OnceLock::new() }
    }

    /// The address as a URL, for channels at which it is one. It is parsed once, however many ask.
    pub fn url(&self) -> Result<&Url, ParseError> {
        self.url.get_or_init(|| Url::parse(&self.address)).as_ref().map_err(|error| *error)
    }

    /// An error without the address and the secrets, which the receiver may have quoted.
    pub fn hidden_in(&self, error: SendError) -> SendError {
        let mut error = error.hiding_address(&self.address);
        for secret in self.secrets.iter().map(Secret::expose) {
            error = error.hiding(secret.strip_prefix("whsec_").unwrap_or(secret));
        }
        error
    }
}

impl Message {
    /// Since it was accepted: the key, a UUID of version 7, begins with that time and stays the same over all retries.
    pub fn age(&self) -> Option<Duration> {
        let (seconds, nanos) = self.delivery_key.get_timestamp()?.to_unix();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        Some(now.saturating_sub(Duration::new(seconds, nanos)))
    }

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

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn message() -> Message {
        Message {
            message_id: 1,
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
            traceparent: None,
        }
    }
}
