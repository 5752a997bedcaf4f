//! What this driver counts of its own work. Handles of what each message touches are made at the start, so that counting is an
//! addition.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

use super::health::Vitals;
use super::labels::{Channel, Connection, Retry, Send, Took};
use crate::message::{classes, Message, Outcome, DELIVERED, FAILED, OUTCOMES};

/// Of a send: from a receiver beside us to one that runs into its timeout.
const SEND_SECONDS: [f64; 12] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0];
/// From accepted to delivered: at once, or by the last retry, a day and a half later.
const DELIVERY_SECONDS: [f64; 14] =
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 60.0, 600.0, 3600.0, 21_600.0, 172_800.0];
const CLAIM_MESSAGES: [f64; 9] = [1.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0, 5000.0, 10_000.0];

/// A channel that was not known when the driver started.
const OTHER: &str = "other";

/// A value that was exposed without a type, and keeps that form: it grows, and its name does not end in `_total`.
#[derive(Clone, Debug, Default)]
struct Untyped(Arc<AtomicU64>);

impl Untyped {
    fn inc(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl TypedMetric for Untyped {
    const TYPE: MetricType = MetricType::Unknown;
}

impl EncodeMetric for Untyped {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), std::fmt::Error> {
        encoder.encode_gauge(&self.0.load(Ordering::Relaxed))
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

struct OfChannel {
    name: Arc<str>,
    delivered: Counter,
    /// In the order of `OUTCOMES`.
    send_seconds: [Histogram; 3],
    delivery_seconds: Histogram,
}

/// A message in flight is counted for as long as this lives.
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

pub struct Meters {
    pub(super) registry: Registry,
    channels: HashMap<Arc<str>, OfChannel>,
    other: OfChannel,
    sends: Family<Send, Counter>,
    retried_sends: Family<Send, Counter>,
    claims: Counter,
    claim_messages: Histogram,
    claimed_at: Gauge<f64, AtomicU64>,
    in_flight: Gauge,
    reconnects: Family<Connection, Counter>,
    retries_delivered: Untyped,
    retries_failed: Untyped,
    pub vitals: Vitals,
}

impl Meters {
    /// With the names of the channels that messages may go through; what goes through another is counted as `other`.
    pub fn new(channels: &[&str]) -> Self {
        let mut registry = Registry::default();
        let sends: Family<Send, Counter> = Family::default();
        registry.register(
            "pgalert_sends",
            "Sends to a recipient, by what became of each",
            sends.clone(),
        );
        let retried_sends: Family<Send, Counter> = Family::default();
        let help = "Those of pgalert_sends that were retries of a message";
        registry.register("pgalert_retried_sends", help, retried_sends.clone());
        let send_seconds: Family<Took, Histogram> =
            Family::new_with_constructor(|| Histogram::new(SEND_SECONDS));
        let help = "How long the last try of a send took";
        registry.register("pgalert_send_seconds", help, send_seconds.clone());
        let delivery_seconds: Family<Channel, Histogram> =
            Family::new_with_constructor(|| Histogram::new(DELIVERY_SECONDS));
        let help = "From the time when an alert was accepted until it was delivered";
        registry.register("pgalert_delivery_seconds", help, delivery_seconds.clone());
        let of_channel = |name: &str| {
            let channel: Arc<str> = name.into();
            let delivered = Send { channel: channel.clone(), outcome: DELIVERED, error_class: "" };
            let _ = retried_sends.get_or_create(&delivered);
            OfChannel {
                delivered: sends.get_or_create_owned(&delivered),
                send_seconds: OUTCOMES.map(|outcome| {
                    send_seconds.get_or_create_owned(&Took { channel: channel.clone(), outcome })
                }),
                delivery_seconds: delivery_seconds
                    .get_or_create_owned(&Channel { channel: channel.clone() }),
                name: channel,
            }
        };
        let channels = channels.iter().map(|name| of_channel(name));
        let channels = channels.map(|channel| (channel.name.clone(), channel)).collect();
        let other = of_channel(OTHER);

        let claims = Counter::default();
        registry.register("pgalert_claims", "Claims that gave messages", claims.clone());
        let claim_messages = Histogram::new(CLAIM_MESSAGES);
        registry.register("pgalert_claim_messages", "Messages of a claim", claim_messages.clone());
        let claimed_at = Gauge::default();
        let help =
            "Unix time of the last claim that the database answered, with messages or without";
        registry.register("pgalert_claimed_at_seconds", help, claimed_at.clone());
        let in_flight = Gauge::default();
        let help = "Messages claimed and not yet reported";
        registry.register("pgalert_in_flight", help, in_flight.clone());
        let reconnects: Family<Connection, Counter> = Family::default();
        for connection in ["claims", "reports", "upkeep"] {
            let _ = reconnects.get_or_create(&Connection { connection });
        }
        let help = "Connections to the database made again after one was lost";
        registry.register("pgalert_database_reconnects", help, reconnects.clone());
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("pgalert_build", "This driver", build);
        let agents: Family<Retry, Untyped> = Family::default();
        let help = "Retries of a message's channel, by whether it was reached";
        registry.register("agent_invocations", help, agents.clone());
        let retries = |status| {
            let (agent_name, capability) = ("alert_retry_worker", "retry_delivery");
            agents.get_or_create_owned(&Retry { agent_name, capability, status })
        };
        Self {
            channels,
            other,
            sends,
            retried_sends,
            claims,
            claim_messages,
            claimed_at,
            in_flight,
            reconnects,
            retries_delivered: retries("success"),
            retries_failed: retries("error"),
            vitals: Vitals::default(),
            registry,
        }
    }

    /// The database has answered a claim.
    pub fn claimed(&self, messages: Option<usize>) {
        self.vitals.claimed();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.claimed_at.set(now.as_secs_f64());
        if let Some(messages) = messages {
            self.claims.inc();
            self.claim_messages.observe(messages as f64);
        }
    }

    pub fn in_flight(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    pub fn reconnects(&self, connection: &'static str) -> Counter {
        self.reconnects.get_or_create_owned(&Connection { connection })
    }

    /// All outcomes of one channel of a message.
    pub fn sent(&self, message: &Message, channel: &str, outcomes: &[Outcome]) {
        let meters = self.channels.get(channel).unwrap_or(&self.other);
        for outcome in outcomes {
            self.count(meters, message, outcome);
        }
        if message.attempt > 1 {
            if outcomes.iter().any(|outcome| outcome.outcome == FAILED) {
                self.retries_failed.inc();
            } else if outcomes.iter().all(|outcome| outcome.outcome == DELIVERED) {
                self.retries_delivered.inc();
            }
        }
    }

    fn count(&self, meters: &OfChannel, message: &Message, outcome: &Outcome) {
        let took = outcome.duration_ms / 1e3;
        let labels = || Send {
            channel: meters.name.clone(),
            outcome: outcome.outcome,
            error_class: outcome.error_class.as_deref().map_or("", classes::label),
        };
        for (kind, seconds) in OUTCOMES.iter().zip(&meters.send_seconds) {
            if *kind == outcome.outcome {
                seconds.observe(took);
            }
        }
        match outcome.error_class {
            None => {
                meters.delivered.inc();
                if let Some(age) = message.age() {
                    meters.delivery_seconds.observe(age.as_secs_f64());
                }
            }
            Some(_) => {
                self.sends.get_or_create(&labels()).inc();
            }
        }
        if message.attempt > 1 {
            self.retried_sends.get_or_create(&labels()).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::encoding::text::encode;

    use super::*;
    use crate::message::tests::message;
    use crate::message::{Receipt, SendError};

    fn text(meters: &Meters) -> String {
        let mut text = String::new();
        encode(&mut text, &meters.registry).unwrap();
        text
    }

    fn outcome(channel: &str, result: Result<Receipt, SendError>) -> [Outcome; 1] {
        [Outcome::of(&message(), channel, Some(1), result, Duration::from_millis(20))]
    }

    #[test]
    fn what_a_receiver_or_an_alert_names_makes_no_series() {
        let meters = Meters::new(&["email"]);
        let before = text(&meters).lines().count();
        for number in 0..100 {
            let class = format!("slack.error_{number}");
            let channel = format!("channel_{number}");
            let failed = outcome(&channel, Err(SendError::permanent(class, "no")));
            meters.sent(&message(), &channel, &failed);
        }
        let text = text(&meters);
        let series =
            "pgalert_sends_total{channel=\"other\",outcome=\"failed\",error_class=\"slack\"} 100";
        assert!(text.contains(series), "{text}");
        assert_eq!(text.lines().count(), before + 1);
    }

    #[test]
    fn a_retry_counts_by_its_channel_and_a_first_attempt_does_not() {
        let meters = Meters::new(&["email"]);
        let retry = Message { attempt: 2, ..message() };
        let failed = || outcome("email", Err(SendError::transient("timeout", "late")));
        meters.sent(&message(), "email", &failed());
        meters.sent(&retry, "email", &failed());
        meters.sent(&retry, "email", &outcome("email", Ok(Receipt::default())));
        meters.sent(&retry, "email", &outcome("email", Ok(Receipt::default())));
        let text = text(&meters);
        let retries = "agent_invocations{agent_name=\"alert_retry_worker\",capability=\"retry_delivery\",status=";
        assert!(text.contains("# TYPE agent_invocations unknown\n"), "{text}");
        assert!(text.contains(&format!("{retries}\"success\"}} 2\n")), "{text}");
        assert!(text.contains(&format!("{retries}\"error\"}} 1\n")), "{text}");
        let series = "pgalert_retried_sends_total{channel=\"email\",outcome=";
        assert!(text.contains(&format!("{series}\"delivered\",error_class=\"\"}} 2\n")), "{text}");
        assert!(
            text.contains(&format!("{series}\"failed\",error_class=\"timeout\"}} 1\n")),
            "{text}"
        );
        assert!(text
            .contains("pgalert_send_seconds_count{channel=\"email\",outcome=\"delivered\"} 2\n"));
    }
}
