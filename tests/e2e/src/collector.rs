//! A collector of traces in another language, whose exports come as JSON lines.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;

use crate::tools::{python, repository, until};

pub struct Collector {
    pub port: u16,
    process: Child,
    exports: Arc<Mutex<Vec<Value>>>,
}

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
        let python = python();
        let mut process = Command::new(&python)
            .arg("-u")
            .arg(repository().join("tests/e2e/src/trace_server.py"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{} could not be started (run `make setup`): {error}", python.display())
            });
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = match lines.next() {
            Some(Ok(line)) => line.parse().unwrap(),
            _ => panic!("the collector did not come up"),
        };
        let exports = Arc::<Mutex<Vec<Value>>>::default();
        let received = exports.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                received.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Collector { port, process, exports }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Each with its resource and its spans; what was printed before the collector answered may still be on its way.
    pub fn exports(&self) -> Vec<Value> {
        self.exports.lock().unwrap().clone()
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

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
