//! Why there is no connection, in words that say what to do.

use super::tls::TlsConfigError;

/// One server and why it was not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFailure {
    pub host: String,
    pub reason: String,
}

fn list(failures: &[HostFailure]) -> String {
    let lines: Vec<String> = failures.iter().map(|f| format!("{}: {}", f.host, f.reason)).collect();
    lines.join("; ")
}

/// Why a session cannot write, and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadOnly {
    #[error("it is a standby; name the primary too, and set target_session_attrs=read-write")]
    Standby,
    #[error(
        "default_transaction_read_only is on; turn it off for the role, the database or the server"
    )]
    Setting,
}

/// No text of these holds a password.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("no server can be reached: {}", list(.0))]
    Unreachable(Vec<HostFailure>),
    #[error(transparent)]
    TlsConfig(#[from] TlsConfigError),
    /// No server was left after TLS failed on all that answered so.
    #[error("no TLS connection to {host}: {reason}; hint: {hint}")]
    Tls { host: String, reason: String, hint: String, lasting: bool },
    /// SQLSTATE class 28, or a login method that failed on this side (no code).
    #[error("{host} refused the login of user \"{user}\": {message}")]
    Authentication { host: String, user: String, code: Option<String>, message: String },
    #[error("{host} has no database \"{dbname}\"")]
    DatabaseMissing { host: String, dbname: String },
    #[error("no server gives a session with target_session_attrs={wanted}: {}", list(.hosts))]
    SessionAttrs { wanted: String, hosts: Vec<HostFailure> },
    /// Any other error of the server while the session starts.
    #[error("{host} refused the connection: {message} (SQLSTATE {code})")]
    Rejected { host: String, code: String, message: String },
    #[error("{host} gives a session that cannot write: {why}")]
    ReadOnly { host: String, why: ReadOnly },
    /// For callers: the session was opened and could not be made ready.
    #[error("{reason}")]
    Refused { reason: String, lasting: bool },
}

impl ConnectError {
    /// Whether trying again gives the same until somebody changes something.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::TlsConfig(_) | Self::Authentication { .. } | Self::DatabaseMissing { .. } => true,
            Self::Tls { lasting, .. } | Self::Refused { lasting, .. } => *lasting,
            // Objects, rights and settings of the connection string: 22, 42.
            Self::Rejected { code, .. } => code.starts_with("42") || code.starts_with("22"),
            Self::ReadOnly { why, .. } => *why == ReadOnly::Setting,
            Self::Unreachable(_) | Self::SessionAttrs { .. } => false,
        }
    }
}
