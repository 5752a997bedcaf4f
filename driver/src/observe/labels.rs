//! Label sets. Each is bounded: channels are those known at the start, classes those of `message::classes`.

use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct Send {
    pub channel: Arc<str>,
    pub outcome: &'static str,
    pub error_class: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct Took {
    pub channel: Arc<str>,
    pub outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct Channel {
    pub channel: Arc<str>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct Connection {
    pub connection: &'static str,
}

/// A retry, under the names that dashboards of the system before this one know.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct Retry {
    pub agent_name: &'static str,
    pub capability: &'static str,
    pub status: &'static str,
}

/// Labels that are known only at a scrape.
#[derive(Debug)]
pub struct Pairs(pub Vec<(String, String)>);

impl EncodeLabelSet for Pairs {
    fn encode(&self, encoder: &mut LabelSetEncoder) -> Result<(), std::fmt::Error> {
        self.0.encode(encoder)
    }
}
