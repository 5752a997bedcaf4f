//! E-mail over SMTP: text and HTML, one mail for each recipient.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::{Error as SmtpError, PoolConfig};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message as Mail, Tokio1Executor};
use tokio::time::timeout;

use super::Channel;
use crate::config::{ConfigError, Email, Security};
use crate::message::{Message, Receipt, Recipient, SendError};

/// A subject is cut to this many characters: some servers refuse long header lines.
const MAX_SUBJECT_CHARS: usize = 200;

struct EmailChannel {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    host: String,
    /// For a whole mail.
    timeout: Duration,
}

/// None when no server is configured.
pub fn configured(config: &Email) -> Result<Option<Arc<dyn Channel>>, ConfigError> {
    if config.host.is_empty() {
        return Ok(None);
    }
    let from = config.from.parse().map_err(|e| ConfigError::BadValue {
        name: "email.from".into(),
        value: config.from.clone(),
        reason: format!("it is no mail address: {e}"),
    })?;
    let (tls, default_port) = match config.security {
        Security::Starttls => (Tls::Required(tls_parameters(config)?), 587),
        Security::Tls => (Tls::Wrapper(tls_parameters(config)?), 465),
        Security::None => (Tls::None, 25),
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.host)
        .port(if config.port == 0 { default_port } else { config.port })
        .tls(tls)
        .timeout(Some(config.timeout))
        .pool_config(PoolConfig::new().max_size(config.concurrency));
    if !config.username.is_empty() {
        let password = config.password.expose().to_owned();
        builder = builder.credentials(Credentials::new(config.username.clone(), password));
    }
    let (host, timeout) = (config.host.clone(), config.timeout);
    Ok(Some(Arc::new(EmailChannel { transport: builder.build(), from, host, timeout })))
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
        let mail = compose(&self.from, message, &recipient.address)?;
        let host = Some(self.host.clone());
        // lettre's own timeout covers connecting alone: a server that stops answering would hold the message for ever.
        match timeout(self.timeout, self.transport.send(mail)).await {
            Ok(Ok(_)) => Ok(Receipt { host }),
            Ok(Err(error)) => Err(classify(&error).at(host)),
            Err(_) => Err(SendError::transient("timeout", "no answer in time").at(host)),
        }
    }

    async fn check(&self) -> Result<String, String> {
        let Ok(answer) = timeout(self.timeout, self.transport.test_connection()).await else {
            return Err(format!("SMTP server {} does not answer in time", self.host));
        };
        match answer {
            Ok(true) => Ok(format!("SMTP server {} answers", self.host)),
            Ok(false) => {
                Err(format!("SMTP server {} refuses NOOP; is it a mail server?", self.host))
            }
            Err(error) => Err(format!(
                "SMTP server {}: {}; check email.host, email.port, email.security and the password",
                self.host,
                classify(&error).message
            )),
        }
    }
}

/// lettre encodes what is not ASCII and breaks long lines; control characters never reach it.
fn compose(from: &Mailbox, message: &Message, address: &str) -> Result<Mail, SendError> {
    let to: Mailbox = address.parse().map_err(|e| {
        SendError::permanent("bad_address", format!("the recipient is no mail address: {e}"))
    })?;
    let title = message
        .alert_name
        .as_deref()
        .filter(|name| !name.trim().is_empty())
        .unwrap_or(&message.alert_id);
    let subject: String = title
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_SUBJECT_CHARS)
        .collect();
    let html = format!(
        "<!DOCTYPE html>\n<html><body><h1 style=\"font-size:1.2em\">{}</h1><p style=\"white-space:pre-wrap\">{}</p></body></html>\n",
        html_escape::encode_text(&subject),
        html_escape::encode_text(&message.text)
    );
    Mail::builder()
        .from(from.clone())
        .to(to)
        .subject(subject)
        .message_id(Some(format!("<{}@{}>", message.delivery_key, from.email.domain())))
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".into(),
        ))
        .multipart(MultiPart::alternative_plain_html(message.text.clone(), html))
        .map_err(|e| {
            SendError::permanent("bad_message", format!("the mail could not be composed: {e}"))
        })
}

fn classify(error: &SmtpError) -> SendError {
    let cause =
        std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    let text = format!("{error}{cause}");
    if error.is_permanent() {
        SendError::permanent("smtp.5xx", text)
    } else if error.is_transient() {
        SendError::transient("smtp.4xx", text)
    } else if error.is_timeout() {
        SendError::transient("timeout", text)
    } else if error.is_tls() || text.contains("certificate") {
        SendError::transient("tls", text)
    } else if error.is_client() {
        // What this side can do does not fit what the server offers: STARTTLS or AUTH is missing.
        SendError::transient("smtp.client", text)
    } else {
        SendError::transient("connect", text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::message;

    fn mail(change: impl FnOnce(&mut Message)) -> String {
        let mut message = message();
        change(&mut message);
        let from = "Alerts <alerts@example.com>".parse().unwrap();
        String::from_utf8(compose(&from, &message, "u1@example.org").unwrap().formatted()).unwrap()
    }

    #[test]
    fn the_message_id_is_the_delivery_key() {
        let text = mail(|_| ());
        assert!(
            text.contains("Message-ID: <00000000-0000-0000-0000-000000000007@example.com>\r\n"),
            "{text}"
        );
        assert!(text.contains("multipart/alternative") && text.contains("text/html"), "{text}");
    }

    #[test]
    fn html_is_escaped() {
        let text = mail(|message| message.text = "<script>alert(1)</script>".into());
        assert!(text.contains("&lt;script&gt;"), "{text}");
    }

    #[test]
    fn a_name_cannot_add_a_header() {
        let text = mail(|message| message.alert_name = Some("VIX\r\nBcc: evil@example.net".into()));
        let headers = text.split("\r\n\r\n").next().unwrap();
        assert!(!headers.lines().any(|line| line.starts_with("Bcc")), "{headers}");
    }

    #[test]
    fn a_bad_address_is_permanent() {
        let from = "alerts@example.com".parse().unwrap();
        let error = compose(&from, &message(), "nobody\r\nRCPT TO:<x@y>").unwrap_err();
        assert_eq!(
            (error.kind, error.class.as_str()),
            (crate::message::ErrorKind::Permanent, "bad_address")
        );
    }
}
