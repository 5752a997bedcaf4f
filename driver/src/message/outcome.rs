//! What the database is told of a send.

use std::time::Duration;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::{ErrorKind, Message, Receipt, SendError};

/// One element of what `report()` takes. As JSON a delivery is only what the database needs of it.
#[derive(Debug, Serialize)]
#[serde(remote = "Self")]
pub struct Outcome {
    pub delivery_key: Uuid,
    pub message_id: i64,
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
pub const OUTCOMES: [&str; 3] = [DELIVERED, FAILED, DEFERRED];
pub const DEFERRED: &str = "deferred";

#[derive(Serialize)]
struct Delivery<'a> {
    delivery_key: &'a Uuid,
    message_id: i64,
    channel: &'a str,
    outcome: &'a str,
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { delivery_key, message_id, channel, outcome, .. } = self;
        match *outcome {
            DELIVERED => Delivery { delivery_key, message_id: *message_id, channel, outcome }
                .serialize(serializer),
            _ => Self::serialize(self, serializer),
        }
    }
}

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
            message_id: message.message_id,
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
                    outcome.retry_after_s = Some(retry_after.as_millis() as f64 / 1e3);
                }
                outcome.error = Some(error.text());
                outcome.error_class = Some(error.class);
                outcome.host = error.host;
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::message;
    use super::*;

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
        let outcome = json(Ok(Receipt { host: Some("example.com".into()), ..Default::default() }));
        let told: Vec<&String> = outcome.as_object().unwrap().keys().collect();
        assert_eq!(told, ["channel", "delivery_key", "message_id", "outcome"]);
        assert_eq!(outcome["outcome"], "delivered");
    }
}
