//! A collector of traces in another language, whose exports come as JSON lines.

use std::time::Duration;

use serde_json::Value;

use crate::receiver::Receiver;
use crate::tools::until;

pub struct Collector(Receiver);

impl Collector {
    pub fn start() -> Collector {
        Self::start_with(&["0"])
    }

    pub fn start_at(port: u16) -> Collector {
        Self::start_with(&[&port.to_string()])
    }

    /// Takes only what comes with this header.
    pub fn start_guarded(header: &str, value: &str) -> Collector {
        Self::start_with(&["0", header, value])
    }

    fn start_with(arguments: &[&str]) -> Collector {
        Collector(Receiver::start("trace_server.py", arguments))
    }

    pub fn port(&self) -> u16 {
        self.0.port
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.0.port)
    }

    /// Each with its resource and its spans.
    pub fn exports(&self) -> Vec<Value> {
        self.0.received()
    }

    /// Waits for so many spans, and gives all that have come.
    pub async fn spans(&self, count: usize) -> Vec<Value> {
        until(&format!("{count} spans have come"), Duration::from_secs(30), async || {
            let exports = self.exports();
            let spans = exports.iter().flat_map(|export| export["spans"].as_array().unwrap());
            let spans: Vec<Value> = spans.cloned().collect();
            if spans.len() >= count {
                Ok(spans)
            } else {
                Err(spans.len())
            }
        })
        .await
    }
}
