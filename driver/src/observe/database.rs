//! What the database counts, as `metrics()` gives it: the same from each driver.

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::MetricType::{self, Counter, Gauge};

use super::labels::Pairs;
use crate::database::Series;

/// By name, as `metrics()` has it. What a newer extension counts beside is not shown.
const FAMILIES: &[(&str, MetricType, &str)] = &[
    ("pgalert_alerts_total", Counter, "Alerts fired, by what was answered"),
    ("pgalert_deliveries_total", Counter, "Rows of alert_deliveries"),
    ("pgalert_failures_total", Counter, "Outcomes that were no delivery"),
    ("pgalert_retries_total", Counter, "Retries of dead letters, by how they ended"),
    ("pgalert_exhausted_total", Counter, "Dead letters whose schedule was used up"),
    ("pgalert_queue_messages", Gauge, "Messages that are not claimed, by lane"),
    ("pgalert_queue_oldest_seconds", Gauge, "Age of the oldest message that is not claimed"),
    ("pgalert_dead_letters", Gauge, "Dead letters, by state"),
    ("pgalert_dead_letter_channels", Gauge, "Channels owed by dead letters, by state and class"),
    ("pgalert_open_claims", Gauge, "Claims in work"),
    ("pgalert_held", Gauge, "Whether nothing is claimed here: see hold_reason()"),
    ("deliver_alert_calls_total", Counter, "Calls of deliver_alert() that were answered"),
    ("alert_deliveries_total", Counter, "Rows of alert_deliveries"),
];

/// A family without a member is told of all the same: without a dead letter there is none that owes a channel.
pub fn encode(series: &[Series], encoder: &mut DescriptorEncoder) -> Result<(), std::fmt::Error> {
    for (name, kind, help) in FAMILIES {
        let members = series.iter().filter(|series| series.name == *name);
        let family = name.trim_end_matches("_total");
        let help = format!("{help}.");
        let mut encoder = encoder.encode_descriptor(family, &help, None, *kind)?;
        for Series { labels, value, .. } in members {
            let labels = Pairs(labels.clone().into_iter().collect());
            let one = encoder.encode_family(&labels)?;
            match kind {
                Counter => ConstCounter::new(*value).encode(one)?,
                _ => ConstGauge::new(*value).encode(one)?,
            }
        }
    }
    Ok(())
}
