//! A real SMTP server (aiosmtpd), whose messages come as JSON lines.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use serde_json::Value;

use crate::tools::{python, repository, Authority};

pub struct MailServer {
    pub port: u16,
    process: Child,
    messages: Arc<Mutex<Vec<Value>>>,
}

impl MailServer {
    /// Accepts mail without ceremony. An address whose local part is `bounce` is refused for good (550), `later` for
    /// now (451).
    pub fn start() -> MailServer {
        Self::start_with(&[])
    }

    /// Demands STARTTLS with a certificate of the authority, then AUTH with this user and password.
    pub fn start_guarded(authority: &Authority, user: &str, password: &str) -> MailServer {
        Self::start_with(&[
            "--cert",
            &authority.file("server.pem"),
            "--key",
            &authority.file("server.key"),
            "--user",
            user,
            "--password",
            password,
        ])
    }

    fn start_with(arguments: &[&str]) -> MailServer {
        let python = python();
        let mut process = Command::new(&python)
            .arg("-u")
            .arg(repository().join("tests/e2e/src/mail_server.py"))
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
            _ => panic!("the mail server did not come up"),
        };
        let messages = Arc::<Mutex<Vec<Value>>>::default();
        let received = messages.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                received.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        MailServer { port, process, messages }
    }

    pub fn messages(&self) -> Vec<Value> {
        self.messages.lock().unwrap().clone()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
