//! SMS through Twilio's Messages API.

mod errors;
mod segments;

use std::sync::Arc;

use async_trait::async_trait;
use base64::prelude::{Engine, BASE64_STANDARD};
use http::header::{HeaderMap, HeaderValue, AUTHORIZATION, CONTENT_TYPE};
use url::form_urlencoded::Serializer;
use url::Url;

use super::Channel;
use crate::config::{ConfigError, Sms};
use crate::http::{destination, Answer, Call, Http};
use crate::message::{ErrorKind, Message, Receipt, Recipient, SendError};
use crate::templates::{context, Renderer, Templates};
use errors::Refusal;
pub use segments::segments;

/// "A 'To' phone number is required": what Twilio says to credentials that are right and a message that is none.
const TO_IS_MISSING: u32 = 21604;

struct SmsChannel {
    http: Arc<Http>,
    templates: Arc<Templates>,
    url: Url,
    authorization: HeaderValue,
    /// The secret, and as it stands in the header.
    secrets: [String; 2],
    /// `MessagingServiceSid` or `From`, and its value.
    sender: (&'static str, String),
    max_segments: usize,
}

/// None when no account is configured.
pub fn configured(
    config: &Sms,
    http: Arc<Http>,
    templates: Arc<Templates>,
) -> Result<Option<Arc<dyn Channel>>, ConfigError> {
    if config.account_sid.is_empty() {
        return Ok(None);
    }
    let invalid = |rule: &str| ConfigError::Invalid(rule.into());
    let sid = |sid: &str, prefix| {
        sid.starts_with(prefix) && sid.chars().all(|c| c.is_ascii_alphanumeric())
    };
    if !sid(&config.account_sid, "AC") {
        return Err(invalid("sms.account_sid begins with AC and has letters and digits alone"));
    }
    if !config.key_sid.is_empty() && !sid(&config.key_sid, "SK") {
        return Err(invalid("sms.key_sid begins with SK and has letters and digits alone"));
    }
    if config.secret.expose().is_empty() {
        return Err(invalid("sms.secret is needed where sms.account_sid is set: the account's auth token, or the secret of sms.key_sid"));
    }
    let sender = match (config.messaging_service_sid.as_str(), config.from.as_str()) {
        ("", "") => {
            return Err(invalid(
                "sms.from or sms.messaging_service_sid is needed where sms.account_sid is set",
            ))
        }
        ("", from) => ("From", from.to_owned()),
        (service, "") => ("MessagingServiceSid", service.to_owned()),
        _ => return Err(invalid("of sms.from and sms.messaging_service_sid only one can be set")),
    };
    let user = if config.key_sid.is_empty() { &config.account_sid } else { &config.key_sid };
    let credentials = BASE64_STANDARD.encode(format!("{user}:{}", config.secret.expose()));
    let mut authorization = HeaderValue::try_from(format!("Basic {credentials}"))
        .map_err(|_| invalid("sms.secret cannot be sent"))?;
    authorization.set_sensitive(true);
    let url = super::base_url("sms.base_url", &config.base_url)?
        .join(&format!("2010-04-01/Accounts/{}/Messages.json", config.account_sid))
        .map_err(|e| ConfigError::Invalid(format!("sms.base_url: {e}")))?;
    let max_segments = usize::from(config.max_segments);
    let secrets = [config.secret.expose().to_owned(), credentials];
    Ok(Some(Arc::new(SmsChannel {
        http,
        templates,
        url,
        authorization,
        secrets,
        sender,
        max_segments,
    })))
}

/// The text as it is sent.
pub fn text(
    renderer: Renderer<'_>,
    message: &Message,
    address: &str,
    max_segments: usize,
) -> Result<String, SendError> {
    let text = renderer.render("sms.txt", &context::of(message, address, ""))?;
    Ok(segments::fit(text.trim(), max_segments))
}

#[async_trait]
impl Channel for SmsChannel {
    async fn send(&self, message: &Message, recipient: &Recipient) -> Result<Receipt, SendError> {
        if !is_e164(&recipient.address) {
            return Err(SendError::permanent(
                "bad_address",
                "the recipient is no phone number such as +4915112345678",
            ));
        }
        let text =
            text(self.templates.forgiving(), message, &recipient.address, self.max_segments)?;
        verdict(
            self.post(&[
                ("To", &recipient.address),
                (self.sender.0, &self.sender.1),
                ("Body", &text),
            ])
            .await?,
        )
    }

    fn destination(&self, _: &Recipient) -> Option<String> {
        destination(&self.url)
    }

    fn secrets(&self) -> Vec<String> {
        self.secrets.to_vec()
    }

    async fn check(&self) -> Result<String, String> {
        let answer = self.post(&[]).await.map_err(|error| self.hidden_in(error).text())?;
        match Refusal::parse(&answer.body).and_then(|refusal| refusal.code) {
            Some(TO_IS_MISSING) => Ok("Twilio knows the account".into()),
            _ => match verdict(answer) {
                Ok(_) => {
                    Err("Twilio accepted a message without a number; is sms.base_url right?".into())
                }
                Err(error) => Err(format!(
                    "{}; check sms.account_sid and its secret",
                    self.hidden_in(error).text()
                )),
            },
        }
    }
}

impl SmsChannel {
    async fn post(&self, fields: &[(&str, &str)]) -> Result<Answer, SendError> {
        let body = Serializer::new(String::new()).extend_pairs(fields).finish().into_bytes();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(AUTHORIZATION, self.authorization.clone());
        // Twilio has no key by which it would drop a repetition.
        self.http
            .post(Call { url: self.url.clone(), headers, body, trusted: true, repeatable: false })
            .await
    }
}

fn is_e164(address: &str) -> bool {
    address.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len())
            && digits.bytes().all(|c| c.is_ascii_digit())
            && !digits.starts_with('0')
    })
}

fn verdict(answer: Answer) -> Result<Receipt, SendError> {
    let host = answer.host.clone();
    let refusal = Refusal::parse(&answer.body);
    answer.accepted().map_err(|error| {
        let asked = match error.kind {
            ErrorKind::Throttled { retry_after } => Some(retry_after),
            _ => None,
        };
        refusal.and_then(|refusal| refusal.error(asked)).map_or(error, |known| known.at(host))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_as_e164() {
        for good in ["+4915112345678", "+12025550123"] {
            assert!(is_e164(good), "{good}");
        }
        for bad in [
            "015112345678",
            "+0123456789",
            "+49 151 1234",
            "+1234567890123456",
            "+123",
            "",
            "+",
            "+49٣٤٥٦٧٨٩",
            "whatsapp:+4915112345678",
        ] {
            assert!(!is_e164(bad), "{bad}");
        }
    }
}
