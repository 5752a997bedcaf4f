//! Webhooks: a JSON POST for each recipient, with a key that is stable over retries, signed as Standard Webhooks asks where
//! the recipient has a secret.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use chrono::SecondsFormat;
use http::header::{HeaderMap, HeaderName, HeaderValue, CONTENT_TYPE};
use serde::Serialize;
use serde_json::value::RawValue;
use standardwebhooks::{
    Webhook as Signer, HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP,
};
use uuid::Uuid;

use super::Channel;
use crate::config::{Secret, Webhook};
use crate::http::{destination, Call, Http};
use crate::message::{Message, Receipt, Recipient, SendError};
use crate::templates::{context, Renderer, Templates};
use crate::traces;

const TEMPLATE: &str = "webhook.json";
/// Of a body beside the alert and its message: what it takes with names of the usual length.
const ENVELOPE_BYTES: usize = 512;

struct WebhookChannel {
    http: Arc<Http>,
    templates: Arc<Templates>,
    allow_http: bool,
}

/// None when the channel is off.
pub fn configured(
    config: &Webhook,
    allow_http: bool,
    http: Arc<Http>,
    templates: Arc<Templates>,
) -> Option<Arc<dyn Channel>> {
    config.enabled.then(|| Arc::new(WebhookChannel { http, templates, allow_http }) as _)
}

/// What the receiver gets, unless the user has a template. Serialised, not rendered: numbers keep all of their digits.
#[derive(Serialize)]
struct Body<'a> {
    delivery_key: Uuid,
    alert_id: &'a str,
    alert_name: Option<&'a str>,
    user_id: Option<&'a str>,
    message: &'a str,
    priority: &'a str,
    attempt: i32,
    enqueued_at: String,
    alert: &'a RawValue,
}

/// The body as it is sent.
pub fn body(renderer: Renderer<'_>, message: &Message, address: &str) -> Result<String, SendError> {
    let builtin = || {
        let body = Body {
            delivery_key: message.delivery_key,
            alert_id: &message.alert_id,
            alert_name: message.alert_name.as_deref(),
            user_id: message.user_id.as_deref(),
            message: &message.text,
            priority: &message.priority,
            attempt: message.attempt,
            // As chrono serialises it, but in one piece.
            enqueued_at: message.enqueued_at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            alert: &message.alert_data,
        };
        let bad = |error: String| SendError::permanent("bad_message", error);
        let size = message.alert_data.get().len() + message.text.len() + ENVELOPE_BYTES;
        let mut text = Vec::with_capacity(size);
        serde_json::to_writer(&mut text, &body).map_err(|error| bad(error.to_string()))?;
        String::from_utf8(text).map_err(|error| bad(error.to_string()))
    };
    renderer.render_or(TEMPLATE, || context::of(message, address, ""), Some(builtin))
}

#[async_trait]
impl Channel for WebhookChannel {
    async fn send(&self, message: &Message, recipient: &Recipient) -> Result<Receipt, SendError> {
        self.http.post(self.call(message, recipient)?).await?.accepted()
    }

    fn destination(&self, recipient: &Recipient) -> Option<String> {
        destination(self.http.target(recipient).ok()?)
    }

    async fn check(&self) -> Result<String, String> {
        Ok(format!(
            "webhooks go to https{} addresses",
            if self.allow_http { " and http" } else { "" }
        ))
    }
}

impl WebhookChannel {
    fn call(&self, message: &Message, recipient: &Recipient) -> Result<Call, SendError> {
        let url = self.http.target(recipient)?.clone();
        let body = body(self.templates.forgiving(), message, &recipient.address)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut headers = headers(message.delivery_key, now, &recipient.secrets, &body)?;
        if let Some(value) = traces::outgoing() {
            headers.insert(HeaderName::from_static(traces::TRACEPARENT), value);
        }
        Ok(Call { url, headers, body: body.into_bytes(), trusted: false, repeatable: true })
    }
}

/// One signature for each secret, made anew for each attempt: receivers refuse what was signed long ago.
fn headers(key: Uuid, now: u64, secrets: &[Secret], body: &str) -> Result<HeaderMap, SendError> {
    let bad = |reason: String| SendError::permanent("bad_secret", reason);
    let id = key.to_string();
    let value = |text: &str| HeaderValue::from_str(text).map_err(|error| bad(error.to_string()));
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(HeaderName::from_static(HEADER_WEBHOOK_ID), value(&id)?);
    headers.insert(HeaderName::from_static(HEADER_WEBHOOK_TIMESTAMP), now.into());
    let mut signatures = Vec::with_capacity(secrets.len());
    for secret in secrets {
        let signer = Signer::new(secret.expose())
            .map_err(|_| bad("the recipient's secret is no base64".into()))?;
        let signature = signer.sign(&id, now.try_into().unwrap_or(i64::MAX), body.as_bytes());
        signatures.push(signature.map_err(|error| bad(error.to_string()))?);
    }
    if !signatures.is_empty() {
        let signatures = value(&signatures.join(" "))?;
        headers.insert(HeaderName::from_static(HEADER_WEBHOOK_SIGNATURE), signatures);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(secrets: &[&str], now: u64) -> HeaderMap {
        let secrets: Vec<Secret> = secrets
            .iter()
            .map(|secret| serde_json::from_value((*secret).into()).unwrap())
            .collect();
        headers(Uuid::from_u128(7), now, &secrets, r#"{"a": "ü"}"#).unwrap()
    }

    #[test]
    fn each_valid_secret_verifies_and_no_other() {
        let [first, second, third] =
            ["AAAA", "BBBB", "CCCC"].map(|part| format!("whsec_{}", part.repeat(8)));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let headers = signed(&[&first, &second], now);
        let verify = |secret: &str| {
            Signer::new(secret).unwrap().verify(r#"{"a": "ü"}"#.as_bytes(), &headers)
        };
        assert!(verify(&first).is_ok() && verify(&second).is_ok() && verify(&third).is_err());
        let later = signed(&[&first, &second], now + 1);
        assert_eq!(headers[HEADER_WEBHOOK_ID], later[HEADER_WEBHOOK_ID]);
        assert_ne!(headers[HEADER_WEBHOOK_SIGNATURE], later[HEADER_WEBHOOK_SIGNATURE]);
    }

    #[test]
    fn without_a_secret_there_is_no_signature() {
        let headers = signed(&[], 1);
        assert!(headers.get(HEADER_WEBHOOK_SIGNATURE).is_none());
        assert_eq!(headers[HEADER_WEBHOOK_ID], "00000000-0000-0000-0000-000000000007");
    }
}
