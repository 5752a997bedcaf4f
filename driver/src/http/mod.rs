//! Stand-in.
use std::io;
use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};

use crate::config::{ConfigError, Webhook};
use crate::message::{ErrorKind, Receipt, SendError};

const MAX_ANSWER_BYTES: usize = 65_536;
const MAX_RETRY_AFTER: Duration = Duration::from_secs(86_400);

pub struct Http {
    client: Client,
    allow_http: bool,
}
pub struct Call {
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    #[allow(dead_code)]
    pub trusted: bool,
    #[allow(dead_code)]
    pub repeatable: bool,
}
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub host: Option<String>,
}
impl Http {
    pub fn new(config: &Webhook) -> Result<Self, ConfigError> {
        let client = Client::builder()
            .connect_timeout(config.connect_timeout)
            .timeout(config.timeout)
            .redirect(Policy::none())
            .pool_max_idle_per_host(config.concurrency as usize)
            .user_agent(concat!("pgalert/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| ConfigError::Invalid(format!("webhook: {e}")))?;
        Ok(Self { client, allow_http: config.allow_http })
    }
    pub async fn post(&self, call: Call) -> Result<Answer, SendError> {
        let host = call.url.host_str().map(str::to_owned);
        match self.client.post(call.url).headers(call.headers).body(call.body).send().await {
            Ok(mut response) => {
                let (status, headers) = (response.status(), response.headers().clone());
                Ok(Answer { status, headers, body: answer(&mut response).await, host })
            }
            Err(error) => Err(unreached(&error).at(host)),
        }
    }
    pub fn target(&self, address: &str) -> Result<Url, SendError> {
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
impl Answer {
    pub fn accepted(self) -> Result<Receipt, SendError> {
        let text = format!("{}: {}", self.status, String::from_utf8_lossy(&self.body));
        if self.status.is_success() {
            return Ok(Receipt { host: self.host, answer: text });
        }
        let pause = retry_after(&self.headers, SystemTime::now());
        Err(SendError::new(kind_of(self.status, pause), class_of(self.status), text).at(self.host))
    }
}
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
fn is_tls(cause: &(dyn std::error::Error + 'static)) -> bool {
    let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    cause.is::<rustls::Error>() || wrapped.is_some_and(|inner| inner.is::<rustls::Error>())
}
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
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(pause.min(MAX_RETRY_AFTER))
}
