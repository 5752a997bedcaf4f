//! What is looked up at each scrape, beside what was counted since the start.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{text, DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::database;
use super::meters::Meters;
use crate::database::Series;
use crate::route::Breakers;

#[derive(Debug)]
pub struct Scrape {
    /// None where the database does not answer.
    pub database: Option<Vec<Series>>,
    pub breakers: Vec<(String, Breakers)>,
}

impl Scrape {
    /// The whole answer, as OpenMetrics.
    pub fn text(self, meters: &Meters) -> Result<String, std::fmt::Error> {
        let mut answer = String::new();
        text::encode_registry(&mut answer, &meters.registry)?;
        let mut looked_up = Registry::default();
        looked_up.register_collector(Box::new(self));
        text::encode_registry(&mut answer, &looked_up)?;
        text::encode_eof(&mut answer)?;
        Ok(answer)
    }
}

fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (L, u64)>,
) -> Result<(), std::fmt::Error> {
    let mut encoder = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(encoder.encode_family(&labels)?)?;
    }
    Ok(())
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let help = "Whether the database has answered this scrape: without it what it counts is missing here.";
        let up = encoder.encode_descriptor("pgalert_database_up", help, None, MetricType::Gauge)?;
        ConstGauge::new(u64::from(self.database.is_some())).encode(up)?;

        let by_state = self.breakers.iter().flat_map(|(channel, breakers)| {
            let Breakers { closed, open, half_open } = breakers;
            [("closed", closed), ("open", open), ("half_open", half_open)].map(|(state, hosts)| {
                ([("channel", channel.as_str()), ("state", state)], *hosts as u64)
            })
        });
        let help = "Hosts by the state of their breaker.";
        gauges(&mut encoder, "pgalert_breakers", help, by_state)?;

        let any = |count: fn(&Breakers) -> usize| self.breakers.iter().any(|(_, b)| count(b) > 0);
        let now = match (any(|breakers| breakers.open), any(|breakers| breakers.half_open)) {
            (true, _) => "OPEN",
            (false, true) => "HALF_OPEN",
            (false, false) => "CLOSED",
        };
        let states = ["CLOSED", "OPEN", "HALF_OPEN"]
            .map(|state| ([("agent_name", "alerts"), ("state", state)], u64::from(state == now)));
        let help = "The worst breaker of all: 1 for its state.";
        gauges(&mut encoder, "circuit_breaker_state", help, states)?;

        match &self.database {
            Some(series) => database::encode(series, &mut encoder),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_breaker_of_all_channels_is_the_state() {
        let state = |email: [usize; 3], webhook: [usize; 3]| {
            let breakers = [("email", email), ("webhook", webhook)];
            let breakers = breakers.map(|(name, [closed, open, half_open])| {
                (name.to_owned(), Breakers { closed, open, half_open })
            });
            let text = Scrape { database: None, breakers: breakers.into() };
            let text = text.text(&Meters::new(&[])).unwrap();
            let states: Vec<_> = text
                .lines()
                .filter_map(|line| {
                    let start = "circuit_breaker_state{agent_name=\"alerts\",state=\"";
                    line.strip_prefix(start)?.strip_suffix("\"} 1")
                })
                .collect();
            states.join(" ")
        };
        assert_eq!(state([0, 0, 0], [0, 0, 0]), "CLOSED");
        assert_eq!(state([2, 0, 0], [1, 0, 0]), "CLOSED");
        assert_eq!(state([2, 0, 0], [1, 0, 1]), "HALF_OPEN");
        assert_eq!(state([0, 1, 0], [1, 0, 1]), "OPEN");
    }
}
