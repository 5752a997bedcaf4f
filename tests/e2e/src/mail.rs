//! A real SMTP server (aiosmtpd), whose messages come as JSON lines.

use serde_json::Value;

use crate::receiver::Receiver;
use crate::tools::Authority;

pub struct MailServer(Receiver);

impl MailServer {
    /// Accepts mail without ceremony. An address whose local part is `bounce` is refused for good (550), `later` for
    /// now (451).
    pub fn start() -> MailServer {
        Self::start_with(&[])
    }

    /// Demands STARTTLS with a certificate of the authority, then AUTH with this user and password.
    pub fn start_guarded(authority: &Authority, user: &str, password: &str) -> MailServer {
        Self::start_with_tls(authority, user, password, &[])
    }

    /// The same with TLS from the first byte.
    pub fn start_with_implicit_tls(
        authority: &Authority,
        user: &str,
        password: &str,
    ) -> MailServer {
        Self::start_with_tls(authority, user, password, &["--implicit"])
    }

    fn start_with_tls(
        authority: &Authority,
        user: &str,
        password: &str,
        more: &[&str],
    ) -> MailServer {
        let files = [authority.file("server.pem"), authority.file("server.key")];
        let arguments =
            ["--cert", &files[0], "--key", &files[1], "--user", user, "--password", password];
        Self::start_with(&[&arguments, more].concat())
    }

    fn start_with(arguments: &[&str]) -> MailServer {
        MailServer(Receiver::start("mail_server.py", arguments))
    }

    pub fn port(&self) -> u16 {
        self.0.port
    }

    pub fn messages(&self) -> Vec<Value> {
        self.0.received()
    }
}
