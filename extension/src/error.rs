//! Every error that the Rust functions raise, with its SQLSTATE, DETAIL and HINT.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::PgSqlErrorCode;
use thiserror::Error;

/// Keys and values of the caller are cut to this many characters in a message.
const EXCERPT_CHARS: usize = 64;

#[derive(Debug, Error, PartialEq)]
pub enum Error {
    #[error("alert must be a JSON object")]
    AlertNotObject { found: String },
    #[error("an element of alerts must be a JSON object")]
    ElementNotObject { found: String },
    #[error("{what} must not be empty")]
    Empty { what: &'static str },
    #[error("{what} must be text")]
    NotText { what: &'static str, found: String },
    #[error("{what} is too long")]
    TooLong { what: &'static str, chars: usize, limit: usize },
    #[error("{what} is too large")]
    TooLarge { what: &'static str, bytes: usize, limit: usize },
    #[error("{what} has a control character")]
    ControlCharacter { what: &'static str },
    #[error("{what} must be a time")]
    NotTime { what: &'static str, found: String },
    #[error("the cursor of lane {lane} lies in the future")]
    FutureCursor { lane: &'static str, seen: u64, come: u64 },
    #[error("a snapshot could not be read")]
    Snapshot { found: String },
    #[error("channels must be an object of booleans or an array of names")]
    ChannelsShape { found: String },
    #[error("\"{key}\" is not a valid channel name")]
    ChannelName { key: String },
    #[error("channels[{position}] must be the name of a channel")]
    ChannelNotText { position: usize, found: String },
    #[error("channel \"{key}\" must be true or false")]
    ChannelNotBoolean { key: String, found: String },
    #[error("\"{key}\" must be true, false or null")]
    LegacyNotBoolean { key: &'static str, found: String },
    #[error("delivery_methods must be an array of channels")]
    MethodsShape { found: String },
    #[error("JSON is nested too deeply")]
    TooDeep { limit: usize },
    #[error("JSON is not in UTF-8")]
    NotUtf8,
    #[error("JSON could not be read")]
    UnreadableJson { reason: String },
    #[error("outcomes must be a JSON array")]
    OutcomesNotArray { found: String },
    #[error("an outcome must be a JSON object")]
    OutcomeNotObject { found: String },
    #[error("an outcome could not be read")]
    OutcomeUnreadable { reason: String },
    #[error("an outcome's {key} is not of its type")]
    OutcomeValue { key: &'static str, found: String },
    #[error("an outcome is not complete")]
    OutcomeIncomplete { delivery_key: String, channel: String },
    #[error("retry_count must not be negative")]
    NegativeRetryCount { retry_count: i32 },
    #[error("the retry schedule must not contain NULL")]
    NullDelay { position: usize },
    #[error("the retry schedule must not contain a negative delay")]
    NegativeDelay { position: usize },
    #[error("the time of the last attempt must be finite")]
    InfiniteAttempt,
    #[error("the time of the next retry is out of range")]
    RetryOutOfRange,
    #[error("could not serialize access due to concurrent update")]
    ConcurrentInsert,
    #[error("there is no column \"{column}\" where pgalert has put one")]
    NotColumn { column: String },
    #[error("an index of pgalert is missing")]
    NoIndex { columns: String },
    #[error("the row is not one that pgalert has made")]
    RowType,
}

impl Error {
    fn sqlstate(&self) -> PgSqlErrorCode {
        match self {
            Error::AlertNotObject { .. }
            | Error::ElementNotObject { .. }
            | Error::Empty { .. }
            | Error::NotText { .. }
            | Error::ControlCharacter { .. }
            | Error::ChannelsShape { .. }
            | Error::ChannelName { .. }
            | Error::ChannelNotText { .. }
            | Error::ChannelNotBoolean { .. }
            | Error::LegacyNotBoolean { .. }
            | Error::MethodsShape { .. }
            | Error::OutcomesNotArray { .. }
            | Error::OutcomeNotObject { .. }
            | Error::OutcomeUnreadable { .. }
            | Error::OutcomeValue { .. }
            | Error::OutcomeIncomplete { .. }
            | Error::NegativeRetryCount { .. }
            | Error::NegativeDelay { .. } => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Error::TooLong { .. } => PgSqlErrorCode::ERRCODE_STRING_DATA_RIGHT_TRUNCATION,
            Error::TooLarge { .. } => PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            Error::NotTime { .. } => PgSqlErrorCode::ERRCODE_INVALID_DATETIME_FORMAT,
            Error::FutureCursor { .. } | Error::Snapshot { .. } => {
                PgSqlErrorCode::ERRCODE_DATA_CORRUPTED
            }
            Error::NullDelay { .. } => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Error::TooDeep { .. } => PgSqlErrorCode::ERRCODE_STATEMENT_TOO_COMPLEX,
            Error::NotUtf8 => PgSqlErrorCode::ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
            Error::UnreadableJson { .. } => PgSqlErrorCode::ERRCODE_INVALID_TEXT_REPRESENTATION,
            Error::InfiniteAttempt | Error::RetryOutOfRange => {
                PgSqlErrorCode::ERRCODE_DATETIME_FIELD_OVERFLOW
            }
            Error::ConcurrentInsert => PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
            Error::NotColumn { .. } => PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
            Error::NoIndex { .. } => PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            Error::RowType => PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
        }
    }

    fn detail(&self) -> String {
        match self {
            Error::AlertNotObject { found }
            | Error::ElementNotObject { found }
            | Error::NotText { found, .. }
            | Error::NotTime { found, .. }
            | Error::Snapshot { found }
            | Error::MethodsShape { found }
            | Error::ChannelsShape { found }
            | Error::ChannelNotText { found, .. }
            | Error::ChannelNotBoolean { found, .. }
            | Error::LegacyNotBoolean { found, .. }
            | Error::OutcomesNotArray { found }
            | Error::OutcomeValue { found, .. } => format!("It is {found}."),
            Error::FutureCursor { seen, come, .. } => format!(
                "It has seen transactions up to {seen}, this server has only come to {come}."
            ),
            Error::OutcomeNotObject { found } => format!("One is {found}."),
            Error::OutcomeIncomplete { delivery_key, channel } => {
                format!("One has delivery_key {delivery_key} and channel {channel}.")
            }
            Error::Empty { .. } => "It is missing, NULL or an empty string.".into(),
            Error::TooLong { chars, .. } => format!("It has {chars} characters."),
            Error::TooLarge { bytes, .. } => format!("It has {bytes} bytes."),
            Error::ControlCharacter { .. } => {
                "Line breaks and other control characters could forge a header of what is sent."
                    .into()
            }
            Error::ChannelName { .. } => {
                "A name is a lower-case letter, then lower-case letters, digits and underscores."
                    .into()
            }
            Error::NotUtf8 => {
                "The encoding of this database is SQL_ASCII, which lets everything through.".into()
            }
            Error::TooDeep { limit } => format!("At most {limit} levels are read."),
            Error::UnreadableJson { reason } | Error::OutcomeUnreadable { reason } => {
                reason.clone()
            }
            Error::NegativeRetryCount { retry_count } => format!("It is {retry_count}."),
            Error::NullDelay { position } => format!("Element {position} is NULL."),
            Error::NegativeDelay { position } => format!("Element {position} has a negative part."),
            Error::InfiniteAttempt => "It is infinity or -infinity.".into(),
            Error::RetryOutOfRange => {
                "The last attempt and the delay lie beyond what a timestamp can hold.".into()
            }
            Error::ConcurrentInsert => {
                "Another transaction has fired the same since this one began.".into()
            }
            Error::NotColumn { .. } => "It is not there, or not in its place.".into(),
            Error::NoIndex { columns } => format!("It is the one of {columns}."),
            Error::RowType => "It is of another type.".into(),
        }
    }

    fn hint(&self) -> String {
        match self {
            Error::Empty { what } => return format!("Give {what} a text of at least one character."),
            Error::NotText { what, .. } => return format!("Give {what} as a JSON string."),
            Error::TooLong { limit, .. } => return format!("At most {limit} characters are allowed."),
            Error::TooLarge { limit, .. } => return format!("At most {limit} bytes are allowed."),
            Error::ControlCharacter { .. } => "Remove it.",
            Error::NotTime { .. } => "Give a time such as \"2026-12-31T23:59:59Z\".",
            Error::FutureCursor { .. } => {
                "The files of this database were restored without their transaction log. After you are sure of its state: SELECT pgalert.confirm_cluster()."
            }
            Error::Snapshot { .. } => "A row of pgalert.claims was damaged or changed by hand.",
            Error::AlertNotObject { .. } => {
                "Give an object such as {\"id\": \"a1\", \"channels\": {\"email\": true}}, or to_jsonb(row)."
            }
            Error::ElementNotObject { .. } => {
                "Each element is {\"alert\": {...}, \"user_id\": \"...\", \"message\": \"...\"}."
            }
            Error::ChannelsShape { .. } => {
                "Give {\"email\": true, \"slack\": false}, or [\"email\"], or leave it out."
            }
            Error::ChannelName { .. } | Error::ChannelNotText { .. } => {
                "Names are those of table pgalert.channels, for example inapp, email and webhook."
            }
            Error::ChannelNotBoolean { .. } | Error::LegacyNotBoolean { .. } => {
                "Use JSON true and false, without quotes."
            }
            Error::MethodsShape { .. } => "Give an array of names such as [\"email\", \"sms\"].",
            Error::NotUtf8 => "Give text in UTF-8; a database of encoding UTF8 refuses anything else.",
            Error::TooDeep { .. } => "Move deeply nested data out of the alert.",
            Error::UnreadableJson { .. } => "Please report this: text of a jsonb value is always readable.",
            Error::OutcomesNotArray { .. } | Error::OutcomeNotObject { .. } => {
                "Each element is {\"delivery_key\": \"...\", \"channel\": \"...\", \"outcome\": \"delivered\", ...}."
            }
            Error::OutcomeUnreadable { .. } => "delivery_key, channel and outcome are text.",
            Error::OutcomeValue { .. } => {
                "delivery_key is a UUID, message_id and recipient_id are whole numbers, retry_after_s and duration_ms numbers, permanent is true or false."
            }
            Error::OutcomeIncomplete { .. } => {
                "delivery_key and channel are required, outcome is \"delivered\", \"failed\" or \"deferred\", retry_after_s is not negative."
            }
            Error::NegativeRetryCount { .. } => "The count is 0 after the first failure.",
            Error::NullDelay { .. } | Error::NegativeDelay { .. } => {
                "Give each retry its delay, for example '{5 minutes,30 minutes,2 hours}'."
            }
            Error::InfiniteAttempt => "Give the time at which the alert was last tried.",
            Error::RetryOutOfRange => "Shorten the delay in the retry schedule.",
            Error::ConcurrentInsert => "The transaction might succeed if retried.",
            Error::NotColumn { .. } | Error::NoIndex { .. } => {
                "A table of schema pgalert was changed by hand."
            }
            Error::RowType => "This function is for pgalert's own functions.",
        }
        .into()
    }
}

impl From<Error> for ErrorReport {
    fn from(error: Error) -> Self {
        ErrorReport::new(error.sqlstate(), error.to_string(), "pgalert")
            .set_detail(error.detail())
            .set_hint(error.hint())
    }
}

/// The first characters of what a caller gave, for a message.
pub fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
