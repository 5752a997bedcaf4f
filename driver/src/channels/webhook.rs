//! Webhooks: a JSON POST for each recipient, with a key that is stable over retries.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::Channel;
use crate::config::{ConfigError, Webhook};
use crate::message::{ErrorKind, Message, Receipt, Recipient, SendError};

/// Bytes of an answer that are read; its beginning is quoted in errors.
const MAX_ANSWER_BYTES: usize = 65_536;
/// For the answer's body after a success.
const MAX_TIME_FOR_IDLE_TALK: Duration = Duration::from_millis(500);
/// A receiver cannot ask for a longer pause.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(86_400);

struct WebhookChannel {
    client: Client,
    allow_http: bool,
}

/// None when the channel is off.
pub fn configured(config: &Webhook) -> Result<Option<Arc<dyn Channel>>, ConfigError> {
    if !config.enabled {
        return Ok(None);
    }
    let client = Client::builder()
        .connect_timeout(config.connect_timeout)
        .timeout(config.timeout)
        .redirect(Policy::none())
        .pool_max_idle_per_host(config.concurrency as usize)
        .user_agent(concat!("pgalert/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| ConfigError::Invalid(format!("webhook: {e}")))?;
    Ok(Some(Arc::new(WebhookChannel { client, allow_http: config.allow_http })))
}

/// What the receiver gets.
#[derive(Serialize)]
struct Body<'a> {
    delivery_key: Uuid,
    alert_id: &'a str,
    alert_name: Option<&'a str>,
    user_id: Option<&'a str>,
    message: &'a str,
    priority: &'a str,
    attempt: i32,
    enqueued_at: DateTime<Utc>,
    alert: &'a RawValue,
}

#[async_trait]
impl Channel for WebhookChannel {
    async fn send(&self, message: &Message, recipient: &Recipient) -> Result<Receipt, SendError> {
        let url = self.target(&recipient.address)?;
        let host = url.host_str().map(str::to_owned);
        let body = Body {
            delivery_key: message.delivery_key,
            alert_id: &message.alert_id,
            alert_name: message.alert_name.as_deref(),
            user_id: message.user_id.as_deref(),
            message: &message.text,
            priority: &message.priority,
            attempt: message.attempt,
            enqueued_at: message.enqueued_at,
            alert: &message.alert_data,
        };
        let request = self
            .client
            .post(url)
            .header("webhook-id", message.delivery_key.to_string())
            .json(&body);
        match request.send().await {
            Ok(mut response) if response.status().is_success() => {
                // What it says is of no interest; unread, it would cost the connection.
                let _ = tokio::time::timeout(MAX_TIME_FOR_IDLE_TALK, answer(&mut response)).await;
                Ok(Receipt { host })
            }
            Ok(response) => Err(refused(response).await.at(host)),
            Err(error) => Err(unreached(&error).at(host)),
        }
    }

    async fn check(&self) -> Result<String, String> {
        Ok(format!(
            "webhooks go to https{} addresses",
            if self.allow_http { " and http" } else { "" }
        ))
    }
}

impl WebhookChannel {
    fn target(&self, address: &str) -> Result<Url, SendError> {
        let url = Url::parse(address).map_err(|e| {
            SendError::permanent("bad_address", format!("the recipient is no URL: {e}"))
        })?;
        match url.scheme() {
            "https" => Ok(url),
            "http" if self.allow_http => Ok(url),
            "http" => Err(SendError::permanent(
                "bad_address",
                "the recipient's URL is http, and webhook.allow_http is false",
            )),
            scheme => Err(SendError::permanent(
                "bad_address",
                format!("the recipient's URL is {scheme}, not https"),
            )),
        }
    }
}

/// The text of a reqwest error names the URL, which may hold a token: it is left out.
fn unreached(error: &reqwest::Error) -> SendError {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    let mut tls = is_tls(cause);
    while let Some(deeper) = cause.source() {
        cause = deeper;
        tls |= is_tls(cause);
    }
    let text = cause.to_string();
    if error.is_timeout() {
        SendError::transient("timeout", "no answer in time")
    } else if text.contains("dns error") || text.contains("failed to lookup") {
        SendError::transient("dns", text)
    } else if tls {
        SendError::transient("tls", text)
    } else {
        SendError::transient("connect", text)
    }
}

/// An io::Error gives the source of what it wraps, and not the thing itself.
fn is_tls(cause: &(dyn std::error::Error + 'static)) -> bool {
    let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    cause.is::<rustls::Error>() || wrapped.is_some_and(|inner| inner.is::<rustls::Error>())
}

async fn refused(mut response: Response) -> SendError {
    let status = response.status();
    let pause = retry_after(response.headers(), SystemTime::now());
    let answer = answer(&mut response).await;
    let text = format!("{status}: {}", String::from_utf8_lossy(&answer));
    SendError::new(kind_of(status, pause), class_of(status), text)
}

/// The beginning of the body; as much as came where it breaks off.
async fn answer(response: &mut Response) -> Vec<u8> {
    let mut answer = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        answer.extend_from_slice(&chunk[..chunk.len().min(MAX_ANSWER_BYTES - answer.len())]);
        if answer.len() >= MAX_ANSWER_BYTES {
            break;
        }
    }
    answer
}

fn kind_of(status: StatusCode, pause: Option<Duration>) -> ErrorKind {
    match (status, pause) {
        (StatusCode::TOO_MANY_REQUESTS, pause) => {
            ErrorKind::Throttled { retry_after: pause.unwrap_or(Duration::from_secs(60)) }
        }
        (StatusCode::SERVICE_UNAVAILABLE, Some(retry_after)) => {
            ErrorKind::Throttled { retry_after }
        }
        (StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY, _) => ErrorKind::Transient,
        _ if status.is_client_error() || status.is_redirection() => ErrorKind::Permanent,
        _ => ErrorKind::Transient,
    }
}

fn class_of(status: StatusCode) -> String {
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::GONE => format!("http.{}", status.as_u16()),
        _ => format!("http.{}xx", status.as_u16() / 100),
    }
}

/// Seconds or a date, as HTTP has it; what is unreadable is no pause.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(pause.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, value.parse().unwrap());
        retry_after(&headers, httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap())
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        assert_eq!(pause("120"), Some(Duration::from_secs(120)));
        assert_eq!(pause("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(pause("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(pause("99999999999"), Some(MAX_RETRY_AFTER));
        assert_eq!(pause("-5"), None);
        assert_eq!(pause("soon"), None);
    }

    #[test]
    fn statuses_are_transient_permanent_or_throttled() {
        let minute = Duration::from_secs(60);
        for (status, pause, kind, class) in [
            (500, None, ErrorKind::Transient, "http.5xx"),
            (503, None, ErrorKind::Transient, "http.5xx"),
            (503, Some(minute), ErrorKind::Throttled { retry_after: minute }, "http.5xx"),
            (429, None, ErrorKind::Throttled { retry_after: minute }, "http.429"),
            (408, None, ErrorKind::Transient, "http.4xx"),
            (404, None, ErrorKind::Permanent, "http.4xx"),
            (410, None, ErrorKind::Permanent, "http.410"),
            (302, None, ErrorKind::Permanent, "http.3xx"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(
                (kind_of(status, pause), class_of(status).as_str()),
                (kind, class),
                "{status}"
            );
        }
    }

    #[test]
    fn only_http_addresses_are_called() {
        let channel = WebhookChannel { client: Client::new(), allow_http: false };
        assert!(channel.target("https://example.com/hook").is_ok());
        for bad in
            ["http://example.com/", "file:///etc/passwd", "ftp://example.com", "not a url", ""]
        {
            assert_eq!(channel.target(bad).unwrap_err().class, "bad_address", "{bad}");
        }
    }
}
