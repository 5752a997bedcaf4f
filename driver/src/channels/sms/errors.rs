//! What Twilio's error codes mean for a message: https://www.twilio.com/docs/api/errors.

use std::time::Duration;

use serde::Deserialize;

use crate::message::{ErrorKind, SendError};

/// Of the account, its credentials or its sender, which are the operator's: the messages wait until they are right.
const OF_THE_ACCOUNT: &[u32] = &[20003, 20404, 21212, 21603, 21659, 21660, 21701, 21703, 21705];
/// Of the number, the text, or what the account may send there: as they are, it will never go.
const PERMANENT: &[u32] = &[
    21211, 21214, 21217, 21219, 21265, 21266, 21401, 21407, 21408, 21421, 21601, 21602, 21604,
    21606, 21608, 21610, 21612, 21614, 21617, 21654, 21655, 21712,
];
/// Too many requests, or the sender's queue is full.
const THROTTLED: &[u32] = &[14107, 20429, 21611, 63018];
const PAUSE: Duration = Duration::from_secs(60);

/// A body of Twilio's API that is no success.
#[derive(Deserialize)]
pub struct Refusal {
    pub code: Option<u32>,
    message: Option<String>,
}

impl Refusal {
    pub fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// None for a code that says no more than the status. `asked` is the pause that the receiver asks for.
    pub fn error(&self, asked: Option<Duration>) -> Option<SendError> {
        let code = self.code?;
        let kind = if OF_THE_ACCOUNT.contains(&code) {
            ErrorKind::Transient
        } else if PERMANENT.contains(&code) {
            ErrorKind::Permanent
        } else if THROTTLED.contains(&code) {
            ErrorKind::Throttled { retry_after: asked.unwrap_or(PAUSE) }
        } else {
            return None;
        };
        let text = format!("{code}: {}", self.message.as_deref().unwrap_or_default());
        Some(SendError::new(kind, format!("twilio.{code}"), text))
    }
}
