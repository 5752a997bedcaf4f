//! Receivers that are only another JSON body: `[channels.<name>]` of the configuration says where it goes, a template what
//! it is. PagerDuty, Microsoft Teams, Discord, Telegram and ntfy are such, and so is what a user adds.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::header::{HeaderMap, HeaderName, HeaderValue, CONTENT_TYPE};
use serde_json::Value;
use url::Url;

use super::Channel;
use crate::config::{ConfigError, JsonChannel as Settings};
use crate::http::{destination, Answer, Call, Http};
use crate::message::{ErrorKind, Message, Receipt, Recipient, SendError};
use crate::placeholders::{fill, url_encoded};
use crate::templates::{context, Templates};

/// A receiver cannot ask for a longer pause.
const MAX_PAUSE_S: f64 = 86_400.0;

pub struct JsonChannel {
    http: Arc<Http>,
    templates: Arc<Templates>,
    template: String,
    settings: Settings,
}

/// None when the channel is off.
pub fn configured(
    name: &str,
    settings: &Settings,
    http: Arc<Http>,
    templates: Arc<Templates>,
) -> Result<Option<Arc<dyn Channel>>, ConfigError> {
    if !settings.enabled {
        return Ok(None);
    }
    let template = format!("{name}.json");
    let invalid = |reason: String| ConfigError::Invalid(format!("channels.{name}: {reason}"));
    if !templates.has(&template) {
        return Err(invalid(format!("it needs a body, or {template} in the folder of templates")));
    }
    let secret = settings.secret.expose();
    let texts = settings.headers.values().chain([&settings.url]);
    if secret.is_empty() && texts.into_iter().any(|text| text.contains("{secret}")) {
        let variable = format!("PGALERT_CHANNELS_{}_SECRET", name.to_uppercase());
        return Err(invalid(format!(
            "it needs a secret; set {variable} or channels.{name}.secret_file"
        )));
    }
    let channel = JsonChannel { http, templates, template, settings: settings.clone() };
    // What is wrong whatever the address is shows at the start.
    if !settings.url.is_empty() {
        channel.configured_url("x").map_err(|error| invalid(error.text()))?;
    }
    channel.headers("x").map_err(|error| invalid(error.text()))?;
    Ok(Some(Arc::new(channel)))
}

#[async_trait]
impl Channel for JsonChannel {
    async fn send(&self, message: &Message, recipient: &Recipient) -> Result<Receipt, SendError> {
        self.post(message, recipient).await
    }

    fn destination(&self, recipient: &Recipient) -> Option<String> {
        destination(&self.url(recipient).ok()?)
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.settings.secret.expose().to_owned()]
    }

    async fn check(&self) -> Result<String, String> {
        // The host alone: the rest of a URL may hold the secret.
        let host = self.configured_url("x").ok().and_then(|url| url.host_str().map(str::to_owned));
        Ok(match host.filter(|_| !self.settings.url.is_empty()) {
            Some(host) => format!("messages go to {host}; `pgalert test` sends one"),
            None => "messages go to the recipients' URLs; `pgalert test` sends one".into(),
        })
    }
}

impl JsonChannel {
    async fn post(&self, message: &Message, recipient: &Recipient) -> Result<Receipt, SendError> {
        let (address, secret) = (&recipient.address, self.settings.secret.expose());
        let url = self.url(recipient)?;
        let headers = self.headers(address)?;
        let context = context::of(message, address, secret);
        let body = self.templates.forgiving().render(&self.template, &context)?.into_bytes();
        let (trusted, repeatable) = (host_is_fixed(&self.settings.url), self.settings.repeatable);
        self.verdict(self.http.post(Call { url, headers, body, trusted, repeatable }).await?)
    }

    /// Where the configuration has none, the address is the URL.
    fn url(&self, recipient: &Recipient) -> Result<Url, SendError> {
        match self.settings.url.is_empty() {
            true => self.http.target(recipient).cloned(),
            false => self.configured_url(&recipient.address),
        }
    }

    /// Each value stays one part of the URL.
    fn configured_url(&self, address: &str) -> Result<Url, SendError> {
        let bad = |reason: String| {
            SendError::permanent("bad_address", format!("the channel's url: {reason}"))
        };
        let (address, secret) = (url_encoded(address), url_encoded(self.settings.secret.expose()));
        let values = [("address", address.as_str()), ("secret", secret.as_str())];
        let text = fill(&self.settings.url, &values).map_err(bad)?;
        // No encoding keeps these from leading to another path.
        let path = text.split(['?', '#']).next().unwrap_or_default();
        if path.split('/').any(|part| matches!(part, "." | "..")) {
            return Err(bad("a part of its path is \".\" or \"..\"".into()));
        }
        let url = Url::parse(&text).map_err(|error| bad(error.to_string()))?;
        match url.scheme() {
            "http" | "https" => Ok(url),
            scheme => Err(bad(format!("it is {scheme}, not https"))),
        }
    }

    /// A value that would break out of its header is refused.
    fn headers(&self, address: &str) -> Result<HeaderMap, SendError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let values = [("address", address), ("secret", self.settings.secret.expose())];
        for (name, text) in &self.settings.headers {
            let bad = |reason: &str| {
                SendError::permanent(
                    "bad_address",
                    format!("the channel's header {name}: {reason}"),
                )
            };
            let text = fill(text, &values).map_err(|reason| bad(&reason))?;
            let header =
                HeaderName::try_from(name.as_str()).map_err(|_| bad("no such header can be"))?;
            let mut value = HeaderValue::from_str(&text)
                .map_err(|_| bad("its value has characters that a header cannot have"))?;
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        Ok(headers)
    }

    fn verdict(&self, answer: Answer) -> Result<Receipt, SendError> {
        let body = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
        let at = |pointer: &str| body.pointer(pointer).filter(|_| !pointer.is_empty());
        let (host, whole, asked) = (answer.host.clone(), answer.whole, answer.pause());
        let wrong_secret = host_is_fixed(&self.settings.url)
            && self.settings.wrong_secret.contains(&answer.status.as_u16());
        let receipt = answer.accepted().map_err(|mut error| {
            let pause =
                at(&self.settings.retry_after).and_then(Value::as_f64).filter(|_| asked.is_none());
            if let (ErrorKind::Throttled { retry_after }, Some(pause)) = (&mut error.kind, pause) {
                if pause.is_finite() && pause >= 0.0 {
                    *retry_after = Duration::from_secs_f64(pause.min(MAX_PAUSE_S));
                }
            }
            if error.kind == ErrorKind::Permanent && wrong_secret {
                (error.kind, error.class) = (ErrorKind::Transient, "secret_refused".into());
                return error.hinting("is the secret of this channel right?");
            }
            if error.kind == ErrorKind::Permanent && !self.settings.hint.is_empty() {
                return error.hinting(&self.settings.hint);
            }
            error
        })?;
        if !self.settings.answer_ok.is_empty()
            && at(&self.settings.answer_ok) != Some(&Value::Bool(true))
        {
            if !whole {
                return Err(SendError::transient("bad_answer", "the answer broke off").at(host));
            }
            let text = format!("the answer does not say that it was accepted: {body}");
            return Err(SendError::permanent("refused", text).at(host));
        }
        Ok(receipt)
    }
}

/// Whether the operator has chosen the host: then it may be one of this network.
fn host_is_fixed(url: &str) -> bool {
    let fixed = url.split('{').next().unwrap_or_default();
    fixed.split_once("://").is_some_and(|(_, rest)| rest.contains('/') || fixed.len() == url.len())
        && !url.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_with_an_address_in_it_is_the_users() {
        for (url, fixed) in [
            ("https://ntfy.sh/", true),
            ("https://ntfy.sh", true),
            ("http://10.0.0.1/{address}", true),
            ("https://{address}/hook", false),
            ("https://{address}.example.com/", false),
            ("https://example.com:{address}/", false),
            ("", false),
        ] {
            assert_eq!(host_is_fixed(url), fixed, "{url}");
        }
    }
}
