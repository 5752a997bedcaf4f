//! What can go wrong with a request, and what the person is told. The page around it is `guard`'s.

use std::error::Error as _;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use deadpool::managed::PoolError;
use thiserror::Error;
use tracing::{debug, warn};

use crate::connect::ConnectError;

#[derive(Debug, Error)]
pub enum Fault {
    /// A SQL function said no.
    #[error("{message} (SQLSTATE {code})")]
    Refused { code: String, message: String, detail: Option<String>, hint: Option<String> },
    /// It may be back in a moment.
    #[error("the database does not answer")]
    Unavailable,
    #[error("{0}")]
    Input(&'static str),
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("there is no such page")]
    NoPage,
    #[error("too many attempts to sign in: wait a minute")]
    TooManyAttempts,
    #[error("the page could not be made")]
    Template(#[from] minijinja::Error),
}

impl Fault {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Refused { code, .. } => match code.as_str() {
                "P0002" => StatusCode::NOT_FOUND,
                "55000" => StatusCode::CONFLICT,
                "57014" => StatusCode::SERVICE_UNAVAILABLE,
                "42501" => StatusCode::INTERNAL_SERVER_ERROR,
                code if code.starts_with("22") => StatusCode::BAD_REQUEST,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            },
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Input(_) => StatusCode::BAD_REQUEST,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NoPage => StatusCode::NOT_FOUND,
            Self::TooManyAttempts => StatusCode::TOO_MANY_REQUESTS,
            Self::Template(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The heading of its page.
    pub fn title(&self) -> &'static str {
        match self.status() {
            StatusCode::NOT_FOUND => "Not found",
            StatusCode::CONFLICT => "Not now",
            StatusCode::SERVICE_UNAVAILABLE => "The database does not answer",
            StatusCode::BAD_REQUEST => "That cannot be done",
            StatusCode::FORBIDDEN => "Not allowed",
            StatusCode::TOO_MANY_REQUESTS => "Slowly",
            _ => "Something is wrong",
        }
    }

    pub fn message(&self) -> String {
        match self {
            Self::Refused { code, .. } if code == "57014" => "The query took too long.".into(),
            Self::Refused { message, .. } => sentence(message),
            other => sentence(&other.to_string()),
        }
    }

    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Refused { detail, .. } => detail.as_deref().map(sentence),
            _ => None,
        }
    }

    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { code, hint: None, .. } => match code.as_str() {
                "42501" | "42883" => Some(
                    "The desk's role must be a member of pgalert_operator, and the extension as new as the desk.".into(),
                ),
                "57014" => Some("Ask for less: a filter, or a shorter time.".into()),
                _ => None,
            },
            Self::Refused { hint, .. } => hint.as_deref().map(sentence),
            Self::Unavailable => Some("Nothing is lost: this page works again when the database does.".into()),
            _ => None,
        }
    }
}

/// As people write one.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let Some(first) = letters.next() else { return String::new() };
    let end = if text.ends_with(['.', '?', '!']) { "" } else { "." };
    format!("{}{}{end}", first.to_uppercase(), letters.as_str())
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            warn!(reason = ?error.source().map(ToString::to_string), "desk: the connection to the database was lost");
            return Self::Unavailable;
        };
        let code = db.code().code();
        // The server ends the session, starts, or is a standby now.
        if code.starts_with("57P") || code.starts_with("08") || code == "25006" {
            return Self::Unavailable;
        }
        debug!(code, "desk: refused");
        Self::Refused {
            code: code.into(),
            message: db.message().into(),
            detail: db.detail().map(Into::into),
            hint: db.hint().map(Into::into),
        }
    }
}

impl From<PoolError<ConnectError>> for Fault {
    fn from(error: PoolError<ConnectError>) -> Self {
        warn!(%error, "desk: no connection to the database");
        Self::Unavailable
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_a_sentence() {
        assert_eq!(sentence("no such letter"), "No such letter.");
        assert_eq!(sentence("Is it?"), "Is it?");
        assert_eq!(sentence(""), "");
    }
}
