//! What Slack's Web API says with `"ok": false`, and an incoming webhook in plain text.

use std::time::Duration;

use crate::message::{ErrorKind, SendError};

/// Known words, so that there is a bounded number of classes.
const PERMANENT: &[&str] = &[
    "account_inactive",
    "action_prohibited",
    "as_user_not_supported",
    "channel_is_archived",
    "channel_not_found",
    "ekm_access_denied",
    "invalid_arguments",
    "invalid_auth",
    "invalid_blocks",
    "invalid_payload",
    "is_archived",
    "messages_tab_disabled",
    "missing_scope",
    "msg_too_long",
    "no_active_hooks",
    "no_permission",
    "no_service",
    "no_service_id",
    "no_text",
    "not_allowed_token_type",
    "not_authed",
    "not_in_channel",
    "org_login_required",
    "posting_to_general_channel_denied",
    "restricted_action",
    "team_disabled",
    "token_expired",
    "token_revoked",
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
    PERMANENT
        .contains(&word)
        .then(|| SendError::permanent(format!("slack.{word}"), format!("Slack says {word}")))
}
