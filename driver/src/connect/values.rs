//! The keywords that libpq knows, what is done with each, and their values.

use std::collections::HashMap;
use std::str::FromStr;

use super::conninfo;

/// Keywords that have a meaning here, with the environment variable that is their default.
const USED: &[(&str, &str)] = &[
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("passfile", "PGPASSFILE"),
    ("dbname", "PGDATABASE"),
    ("application_name", "PGAPPNAME"),
    ("fallback_application_name", ""),
    ("options", "PGOPTIONS"),
    ("client_encoding", ""),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("keepalives", ""),
    ("keepalives_idle", ""),
    ("keepalives_interval", ""),
    ("keepalives_count", ""),
    ("tcp_user_timeout", ""),
    ("sslmode", "PGSSLMODE"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("sslcertmode", "PGSSLCERTMODE"),
    ("sslsni", "PGSSLSNI"),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    ("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
];

/// Taken and without effect: each only tunes what is not there (GSSAPI, compression) or a choice
/// that is made otherwise (hosts are tried in the order given).
const IGNORED: &[&str] = &[
    "gssdelegation",
    "gsslib",
    "krbsrvname",
    "load_balance_hosts",
    "requiressl",
    "sslcompression",
];

/// Refused: to go on without these would be less safe, or another thing, than was asked for.
const UNSUPPORTED: &[&str] = &[
    "authtype",
    "replication",
    "require_auth",
    "requirepeer",
    "scram_client_key",
    "scram_server_key",
    "service",
    "servicefile",
    "sslcrl",
    "sslcrldir",
    "sslkeylogfile",
    "sslpassword",
];

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParamError {
    #[error("the connection string cannot be read: {0}")]
    Syntax(String),
    #[error("the connection string has an unknown keyword \"{0}\"")]
    UnknownKeyword(String),
    #[error("the connection keyword \"{0}\" is not supported")]
    Unsupported(String),
    #[error("{keyword} is \"{value}\"; it must be {expected}")]
    BadValue { keyword: &'static str, value: String, expected: &'static str },
    #[error("{0}")]
    Conflict(String),
}

impl ParamError {
    pub(super) fn syntax(text: impl Into<String>) -> Self {
        ParamError::Syntax(text.into())
    }
}

/// Values by keyword, as written or from the environment; an empty one counts as not given.
pub(super) struct Values(HashMap<&'static str, String>);

impl Values {
    pub(super) fn read(
        url: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Values, ParamError> {
        let mut values = HashMap::new();
        for (keyword, variable) in USED {
            if let Some(value) = (!variable.is_empty()).then(|| env(variable)).flatten() {
                values.insert(*keyword, value);
            }
        }
        for (keyword, value) in conninfo::split(url)? {
            if let Some((known, _)) = USED.iter().find(|(known, _)| *known == keyword) {
                values.insert(known, value);
            } else if keyword == "gssencmode" && value == "require" {
                return Err(ParamError::Unsupported("gssencmode=require".to_owned()));
            } else if UNSUPPORTED.contains(&keyword.as_str()) {
                return Err(ParamError::Unsupported(keyword));
            } else if keyword != "gssencmode" && !IGNORED.contains(&keyword.as_str()) {
                return Err(ParamError::UnknownKeyword(keyword));
            }
        }
        Ok(Values(values))
    }

    pub(super) fn get(&self, keyword: &str) -> Option<&str> {
        self.0.get(keyword).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// One of a list of words.
    pub(super) fn choice<T: Copy>(
        &self,
        keyword: &'static str,
        choices: &[(&str, T)],
        expected: &'static str,
    ) -> Result<Option<T>, ParamError> {
        let Some(value) = self.get(keyword) else { return Ok(None) };
        let found = choices.iter().find(|(word, _)| *word == value);
        found.map(|(_, choice)| Some(*choice)).ok_or_else(|| bad(keyword, value, expected))
    }

    pub(super) fn number<T: FromStr>(
        &self,
        keyword: &'static str,
    ) -> Result<Option<T>, ParamError> {
        let Some(value) = self.get(keyword) else { return Ok(None) };
        value.trim().parse().map(Some).map_err(|_| bad(keyword, value, "a whole number"))
    }
}

pub(super) fn bad(keyword: &'static str, value: &str, expected: &'static str) -> ParamError {
    ParamError::BadValue { keyword, value: value.to_owned(), expected }
}
