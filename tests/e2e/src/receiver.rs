//! A receiver in Python: prints the port that it listens at, then all that it gets, as JSON lines.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use serde_json::Value;

use crate::tools::{python, repository};

/// Ended when dropped.
pub struct Receiver {
    pub port: u16,
    process: Child,
    received: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    /// Starts a script of this crate's source folder.
    pub fn start(script: &str, arguments: &[&str]) -> Receiver {
        let python = python();
        let mut process = Command::new(&python)
            .arg("-u")
            .arg(repository().join("tests/e2e/src").join(script))
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
            _ => panic!("{script} did not come up"),
        };
        let received = Arc::<Mutex<Vec<Value>>>::default();
        let all = received.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                all.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Receiver { port, process, received }
    }

    /// What was printed before the receiver answered may still be on its way.
    pub fn received(&self) -> Vec<Value> {
        self.received.lock().unwrap().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
