//! What Slack's Web API says with `"ok": false`, and an incoming webhook in plain text.

use std::time::Duration;

use crate::message::{ErrorKind, SendError};

/// Known words, so that there is a bounded number of classes.
///
/// Of the token, which is the operator's: the messages wait for a right one.
const OF_THE_TOKEN: &[&str] = &[
    "account_inactive",
    "invalid_auth",
    "missing_scope",
    "not_allowed_token_type",
    "not_authed",
    "org_login_required",
    "token_expired",
    "token_revoked",
];
const PERMANENT: &[&str] = &[
    "action_prohibited",
    "as_user_not_supported",
    "channel_is_archived",
    "channel_not_found",
    "ekm_access_denied",
    "invalid_arguments",
    "invalid_blocks",
    "invalid_payload",
    "is_archived",
    "messages_tab_disabled",
    "msg_too_long",
    "no_active_hooks",
    "no_permission",
    "no_service",
    "no_service_id",
    "no_text",
    "not_in_channel",
    "posting_to_general_channel_denied",
    "restricted_action",
    "team_disabled",
    "user_not_found",
];
const THROTTLED: &[&str] = &["message_limit_exceeded", "rate_limited", "ratelimited"];
/// Slack asks for a second at least, mostly for a minute's part.
const PAUSE: Duration = Duration::from_secs(30);

/// `asked` is the pause of Retry-After. None for a word that is not Slack's.
pub fn of(word: &str, asked: Option<Duration>) -> Option<SendError> {
    if THROTTLED.contains(&word) {
        let kind = ErrorKind::Throttled { retry_after: asked.unwrap_or(PAUSE) };
        return Some(SendError::new(kind, "slack.ratelimited", word));
    }
    let kind = if OF_THE_TOKEN.contains(&word) {
        ErrorKind::Transient
    } else if PERMANENT.contains(&word) {
        ErrorKind::Permanent
    } else {
        return None;
    };
    Some(SendError::new(kind, format!("slack.{word}"), format!("Slack says {word}")))
}
