//! What an answer's status means for a message.

use std::time::{Duration, SystemTime};

use http::header::{HeaderMap, HeaderName, DATE, RETRY_AFTER};
use http::StatusCode;

use crate::message::{ErrorKind, Receipt, SendError};

/// A receiver cannot ask for a longer pause.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(86_400);
/// Where it does not say how long.
const PAUSE: Duration = Duration::from_secs(60);

/// An answer of any status.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// At most the first 64 KiB.
    pub body: Vec<u8>,
    /// The body came to its end in time.
    pub whole: bool,
    pub host: Option<String>,
    pub(super) repeatable: bool,
}

impl Answer {
    /// 2xx is a receipt. Errors quote the body's beginning.
    pub fn accepted(self) -> Result<Receipt, SendError> {
        let text = self.text();
        if self.status.is_success() {
            return Ok(Receipt { host: self.host, answer: text });
        }
        let again = match self.status {
            StatusCode::TOO_MANY_REQUESTS => true,
            // A gateway may have lost the answer to a request that was acted on.
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => self.repeatable,
            _ => false,
        };
        Err(SendError::new(kind_of(self.status, self.pause()), class_of(self.status), text)
            .again_soon(again)
            .at(self.host))
    }

    /// As its header asks.
    pub fn pause(&self) -> Option<Duration> {
        retry_after(&self.headers, SystemTime::now())
    }

    /// Put together without formatting: there is one for each message.
    fn text(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        let reason = self.status.canonical_reason().unwrap_or_default();
        [self.status.as_str(), " ", reason, ": ", &body].concat()
    }
}

fn kind_of(status: StatusCode, pause: Option<Duration>) -> ErrorKind {
    match (status, pause) {
        (StatusCode::TOO_MANY_REQUESTS, pause) => {
            ErrorKind::Throttled { retry_after: pause.unwrap_or(PAUSE) }
        }
        (StatusCode::SERVICE_UNAVAILABLE, Some(retry_after)) => {
            ErrorKind::Throttled { retry_after }
        }
        (
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::MISDIRECTED_REQUEST,
            _,
        ) => ErrorKind::Transient,
        _ if status.is_client_error() || status.is_redirection() => ErrorKind::Permanent,
        _ => ErrorKind::Transient,
    }
}

/// A bounded number of classes, whatever a receiver answers.
fn class_of(status: StatusCode) -> &'static str {
    match status {
        StatusCode::TOO_MANY_REQUESTS => "http.429",
        StatusCode::GONE => "http.410",
        _ if status.is_redirection() => "http.3xx",
        _ if status.is_client_error() => "http.4xx",
        _ if status.is_server_error() => "http.5xx",
        _ => "bad_answer",
    }
}

/// Seconds or a date, as HTTP has it; what is unreadable is no pause. A date is by the receiver's clock, which may be wrong:
/// its `Date` says what that shows.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: HeaderName| Some(headers.get(name)?.to_str().ok()?.trim());
    let date = |text: &str| httpdate::parse_http_date(text).ok();
    let asked = text(RETRY_AFTER)?;
    let pause = match asked.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let now = text(DATE).and_then(date).unwrap_or(now);
            date(asked)?.duration_since(now).unwrap_or_default()
        }
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
        for unreadable in ["-5", "soon", "1e400", "18446744073709551616", "NaN", "inf", ""] {
            assert_eq!(pause(unreadable), None, "{unreadable}");
        }
    }

    #[test]
    fn a_date_is_by_the_receivers_clock() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "Sun, 06 Nov 1994 08:50:37 GMT".parse().unwrap());
        let now = SystemTime::now();
        assert_eq!(retry_after(&headers, now), Some(Duration::ZERO));
        headers.insert(DATE, "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
        assert_eq!(retry_after(&headers, now), Some(Duration::from_secs(60)));
        headers.insert(DATE, "now".parse().unwrap());
        assert_eq!(retry_after(&headers, now), Some(Duration::ZERO));
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
            (421, None, ErrorKind::Transient, "http.4xx"),
            (404, None, ErrorKind::Permanent, "http.4xx"),
            (410, None, ErrorKind::Permanent, "http.410"),
            (302, None, ErrorKind::Permanent, "http.3xx"),
            (999, None, ErrorKind::Transient, "bad_answer"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!((kind_of(status, pause), class_of(status)), (kind, class), "{status}");
        }
    }

    #[test]
    fn what_may_have_been_acted_on_is_repeated_only_with_a_key() {
        let again = |status: u16, repeatable| {
            let status = StatusCode::from_u16(status).unwrap();
            let pause = (status != 502).then_some((RETRY_AFTER, 2.into()));
            let headers = HeaderMap::from_iter(pause);
            let answer =
                Answer { status, headers, body: vec![], whole: true, host: None, repeatable };
            answer.accepted().unwrap_err().quick_pause().is_some()
        };
        assert!(again(502, true) && again(503, true));
        assert!(!again(502, false) && !again(503, false));
        assert!(again(429, true) && again(429, false), "it was refused");
        assert!(!again(500, true) && !again(504, true) && !again(404, true));
    }
}
