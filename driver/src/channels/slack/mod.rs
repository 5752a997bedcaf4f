//! Slack: an incoming webhook (the address is its URL), or a channel by name or id through the Web API with a bot's token.

mod errors;
mod limits;

use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;
use governor::Quota;
use http::header::{HeaderMap, HeaderValue, AUTHORIZATION, CONTENT_TYPE};
use serde_json::Value;
use url::Url;

use super::{bearer, Channel};
use crate::config::{ConfigError, Secret, Slack};
use crate::http::{destination, Answer, Call, Http};
use crate::message::{ErrorKind, Message, Receipt, Recipient, SendError};
use crate::templates::{context, Renderer, Templates};

/// Longer than any name or id.
const MAX_CHANNEL_CHARS: usize = 100;

struct SlackChannel {
    http: Arc<Http>,
    templates: Arc<Templates>,
    api: Url,
    /// With the bot's token.
    authorization: Option<HeaderValue>,
    token: Secret,
}

/// None when the channel is off.
pub fn configured(
    config: &Slack,
    http: Arc<Http>,
    templates: Arc<Templates>,
) -> Result<Option<Arc<dyn Channel>>, ConfigError> {
    if !config.enabled {
        return Ok(None);
    }
    let api = super::base_url("slack.api_url", &config.api_url)?;
    let authorization = match config.token.expose() {
        "" => None,
        token => Some(bearer("slack.token", token)?),
    };
    Ok(Some(Arc::new(SlackChannel {
        http,
        templates,
        api,
        authorization,
        token: config.token.clone(),
    })))
}

/// The body as it is sent, but for the channel that the Web API wants in it.
pub fn body(renderer: Renderer<'_>, message: &Message, address: &str) -> Result<Value, SendError> {
    let text = renderer.render("slack.json", &context::of(message, address, ""))?;
    let mut body: Value = serde_json::from_str(&text)
        .map_err(|error| SendError::permanent("template", format!("slack.json: {error}")))?;
    limits::apply(&mut body);
    Ok(body)
}

fn is_url(address: &str) -> bool {
    address.contains("://")
}

#[async_trait]
impl Channel for SlackChannel {
    async fn send(&self, message: &Message, recipient: &Recipient) -> Result<Receipt, SendError> {
        let address = &recipient.address;
        let mut body = body(self.templates.forgiving(), message, address)?;
        let (url, trusted) = if is_url(address) {
            (self.http.target(recipient)?.clone(), false)
        } else {
            body["channel"] = channel(address)?.into();
            (self.api_method("chat.postMessage")?, true)
        };
        let answer = self.post(url, body.to_string().into_bytes(), trusted).await?;
        verdict(answer, trusted)
    }

    fn destination(&self, recipient: &Recipient) -> Option<String> {
        match is_url(&recipient.address) {
            true => destination(self.http.target(recipient).ok()?),
            false => destination(&self.api),
        }
    }

    /// https://docs.slack.dev/apis/web-api/rate-limits: one message a second for each webhook or channel.
    fn pace(&self) -> Option<Quota> {
        Some(Quota::per_second(NonZeroU32::MIN))
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.token.expose().to_owned()]
    }

    async fn check(&self) -> Result<String, String> {
        if self.authorization.is_none() {
            return Ok("incoming webhooks alone; channels by name need slack.token".into());
        }
        let answer = async {
            verdict(self.post(self.api_method("auth.test")?, b"{}".to_vec(), true).await?, true)
        };
        match answer.await {
            Ok(_) => Ok("Slack knows the token".into()),
            Err(error) => Err(format!("{}; check slack.token", self.hidden_in(error).text())),
        }
    }
}

impl SlackChannel {
    fn api_method(&self, name: &str) -> Result<Url, SendError> {
        self.api.join(name).map_err(|e| SendError::permanent("internal", e.to_string()))
    }

    async fn post(&self, url: Url, body: Vec<u8>, api: bool) -> Result<Answer, SendError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        if api {
            let Some(authorization) = &self.authorization else {
                return Err(SendError::transient(
                    "slack.not_authed",
                    "a channel by name needs slack.token; without it the address is an incoming webhook's URL",
                ));
            };
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        // Slack has no key by which it would drop a repetition.
        self.http.post(Call { url, headers, body, trusted: api, repeatable: false }).await
    }
}

/// `#name`, `@name` or an id, as the Web API takes them.
fn channel(address: &str) -> Result<&str, SendError> {
    let good = !address.is_empty()
        && address.chars().count() <= MAX_CHANNEL_CHARS
        && !address.contains(|c: char| c.is_control() || c.is_whitespace());
    good.then_some(address).ok_or_else(|| {
        SendError::permanent(
            "bad_address",
            "the recipient is neither a URL nor a channel such as #ops or C0123456789",
        )
    })
}

/// The Web API answers 200 also when it refuses: only its "ok" is a receipt. An incoming webhook says a word of plain text.
fn verdict(answer: Answer, api: bool) -> Result<Receipt, SendError> {
    let (host, pause) = (answer.host.clone(), answer.pause());
    let (ok, word) = said(&answer);
    match answer.accepted() {
        Ok(receipt) if ok || !api => Ok(receipt),
        // A word that is not known may pass: Slack's own faults are such.
        Ok(_) => Err(errors::of(&word, pause)
            .unwrap_or_else(|| SendError::transient("slack.other", format!("Slack says {word}")))
            .at(host)),
        // 410 is told as such, so that the address is not tried again.
        Err(error) if error.class == "http.410" => Err(error),
        Err(error) => {
            let asked = match error.kind {
                ErrorKind::Throttled { retry_after } => Some(retry_after),
                _ => None,
            };
            Err(errors::of(&word, asked).map_or(error, |known| known.at(host)))
        }
    }
}

/// Whether it is the Web API's "ok", and the word for what is wrong, else all that was said.
fn said(answer: &Answer) -> (bool, String) {
    let body = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
    // Slack repeats a message in its answer, which is then too long to be read whole.
    let ok = body["ok"] == true || !answer.whole && answer.body.starts_with(br#"{"ok":true,"#);
    let word = body["error"].as_str().map(str::to_owned);
    (ok, word.unwrap_or_else(|| String::from_utf8_lossy(&answer.body).trim().to_owned()))
}
