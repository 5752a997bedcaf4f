//! E-mail over SMTP: text and HTML, one mail for each recipient.

mod compose;
mod dkim;
mod server;
mod stream;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::prelude::{Engine, BASE64_STANDARD};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, TlsParameters};
use lettre::transport::smtp::Error as SmtpError;
use tokio::time::timeout;

use super::Channel;
use crate::config::{ConfigError, Email, Security};
use crate::http::{of_connection, tls_config};
use crate::message::{Message, Receipt, Recipient, SendError};
use crate::templates::Templates;
pub use compose::render;
use compose::{check_unsubscribe_url, compose, mailbox, Stationery};
use server::{Encryption, Fault, Server};

/// The server closes the connection, whatever was asked. Nothing was accepted.
const SHUTTING_DOWN: u16 = 421;
/// What a server says to a login that is wrong, missing or too weak (RFC 4954). That is this side's fault, not the mail's:
/// all mails wait until the operator has corrected it.
const LOGIN_REFUSED: &[u16] = &[530, 534, 535, 538];

struct EmailChannel {
    server: Arc<Server>,
    stationery: Stationery,
    templates: Arc<Templates>,
    /// For a whole mail.
    timeout: Duration,
    /// The password, and as AUTH LOGIN and AUTH PLAIN write it.
    secrets: Vec<String>,
}

/// None when no server is configured.
pub fn configured(
    config: &Email,
    templates: Arc<Templates>,
) -> Result<Option<Arc<dyn Channel>>, ConfigError> {
    if config.host.is_empty() {
        return Ok(None);
    }
    let from = mailbox(&config.from).map_err(|e| ConfigError::BadValue {
        name: "email.from".into(),
        value: config.from.clone(),
        reason: format!("it is no mail address: {e}"),
    })?;
    check_unsubscribe_url(&config.unsubscribe_url)?;
    let dkim = dkim::configured(config, from.email.domain())?;
    let (encryption, default_port) = match config.security {
        Security::Starttls => (Encryption::Starttls(tls_parameters(config)?), 587),
        Security::Tls => (Encryption::Tls, 465),
        Security::None => (Encryption::None, 25),
    };
    // lettre has its own for STARTTLS.
    let ca_file = if matches!(encryption, Encryption::Tls) { config.ca_file.as_str() } else { "" };
    let tls = tls_config("email.ca_file", ca_file)?;
    let port = if config.port == 0 { default_port } else { config.port };
    let (user, password) = (&config.username, config.password.expose());
    let secrets = match password {
        "" => Vec::new(),
        _ => vec![
            password.to_owned(),
            BASE64_STANDARD.encode(password),
            BASE64_STANDARD.encode(format!("\0{user}\0{password}")),
        ],
    };
    let credentials =
        (!user.is_empty()).then(|| Credentials::new(user.clone(), password.to_owned()));
    Ok(Some(Arc::new(EmailChannel {
        server: Server::new(
            config.host.clone(),
            port,
            encryption,
            credentials,
            tls,
            config.timeout,
        ),
        stationery: Stationery { from, unsubscribe_url: config.unsubscribe_url.clone(), dkim },
        templates,
        timeout: config.timeout,
        secrets,
    })))
}

fn tls_parameters(config: &Email) -> Result<TlsParameters, ConfigError> {
    let bad = |reason: String| ConfigError::BadValue {
        name: "email.ca_file".into(),
        value: config.ca_file.clone(),
        reason,
    };
    let mut builder = TlsParameters::builder(config.host.clone());
    if !config.ca_file.is_empty() {
        let pem = fs::read(&config.ca_file).map_err(|e| bad(e.to_string()))?;
        builder = builder
            .add_root_certificate(Certificate::from_pem(&pem).map_err(|e| bad(e.to_string()))?);
    }
    builder.build().map_err(|e| bad(e.to_string()))
}

#[async_trait]
impl Channel for EmailChannel {
    async fn send(&self, message: &Message, recipient: &Recipient) -> Result<Receipt, SendError> {
        let mail = compose(&self.stationery, &self.templates, message, &recipient.address)?;
        let host = Some(self.server.host.clone());
        // A server that stops answering would hold the message for ever.
        match timeout(self.timeout, self.server.send(&mail)).await {
            Ok(Ok(response)) => {
                let lines: Vec<_> = response.message().collect();
                Ok(Receipt { host, answer: format!("{} {}", response.code(), lines.join(" ")) })
            }
            Ok(Err(fault)) => {
                // Without the name that may stand before it.
                let to = mail.envelope().to().first().map(ToString::to_string).unwrap_or_default();
                Err(classify(&fault).hiding(&to).at(host))
            }
            Err(_) => Err(SendError::transient("timeout", "no answer in time").at(host)),
        }
    }

    /// All mail goes through one server.
    fn destination(&self, _: &Recipient) -> Option<String> {
        Some(self.server.host.clone())
    }

    fn secrets(&self) -> Vec<String> {
        self.secrets.clone()
    }

    async fn check(&self) -> Result<String, String> {
        let host = &self.server.host;
        let Ok(answer) = timeout(self.timeout, self.server.answers()).await else {
            return Err(format!("SMTP server {host} does not answer in time"));
        };
        match answer {
            Ok(true) => Ok(format!("SMTP server {host} answers")),
            Ok(false) => Err(format!("SMTP server {host} refuses NOOP; is it a mail server?")),
            Err(error) => Err(format!(
                "SMTP server {host}: {}; check email.host, email.port, email.security and the password",
                self.hidden_in(classify(&error)).text()
            )),
        }
    }
}

/// The text keeps what the server said, with its enhanced status code: "permanent error (550): 5.1.1 no such user".
fn classify(fault: &Fault) -> SendError {
    let text = fault.to_string();
    match fault {
        Fault::NoConnection(fault) => of_connection(fault),
        // The mail is not to blame.
        Fault::NoSession(error) if error.is_permanent() => {
            SendError::transient("smtp.session", text)
        }
        Fault::NoSession(error) | Fault::Smtp(error) => classify_smtp(error, text),
        Fault::Unfit(_) => SendError::transient("smtp.client", text),
        Fault::AddressBeyondAscii => SendError::permanent("bad_address", text),
    }
}

fn classify_smtp(error: &SmtpError, text: String) -> SendError {
    let status = error.status().map(u16::from);
    if status == Some(SHUTTING_DOWN) {
        SendError::transient("smtp.421", text).again_soon(true)
    } else if status.is_some_and(|code| LOGIN_REFUSED.contains(&code)) {
        SendError::transient("smtp.auth", text)
    } else if error.is_permanent() {
        SendError::permanent("smtp.5xx", text)
    } else if error.is_transient() {
        SendError::transient("smtp.4xx", text)
    } else if error.is_timeout() {
        SendError::transient("timeout", text)
    } else if error.is_tls() || text.contains("certificate") {
        SendError::transient("tls", text)
    } else if error.is_client() {
        // What this side can do does not fit what the server offers: STARTTLS is missing.
        SendError::transient("smtp.client", text)
    } else {
        // What breaks off later may have been a mail already.
        SendError::transient("connect", text)
    }
}
