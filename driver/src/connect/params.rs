//! Connection parameters: the connection string over the environment over libpq's defaults.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_postgres::config::{ChannelBinding, SslNegotiation};

use super::passfile::{self, Login};
use super::target::{Address, Target};
use super::tls::{SslMode, TlsOptions};
use super::values::{bad, ParamError, Values};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What the session must be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionAttrs {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

const SESSION_ATTRS: &[(&str, SessionAttrs)] = &[
    ("any", SessionAttrs::Any),
    ("read-write", SessionAttrs::ReadWrite),
    ("read-only", SessionAttrs::ReadOnly),
    ("primary", SessionAttrs::Primary),
    ("standby", SessionAttrs::Standby),
    ("prefer-standby", SessionAttrs::PreferStandby),
];

impl fmt::Display for SessionAttrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = SESSION_ATTRS.iter().find(|(_, attrs)| attrs == self);
        f.write_str(found.map_or("", |(word, _)| word))
    }
}

/// TCP keepalives: on, so that a peer that is gone is noticed within about a minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keepalive {
    pub(super) on: bool,
    pub(super) idle: Duration,
    pub(super) interval: Duration,
    pub(super) count: u32,
    /// The same for data that was sent and not acknowledged, where keepalives do not apply.
    pub(super) user_timeout: Option<Duration>,
}

impl Keepalive {
    fn read(values: &Values) -> Result<Keepalive, ParamError> {
        // libpq: zero means the system's own value, which here is the default of this program.
        let number = |keyword, default: u64| {
            values.number::<u64>(keyword).map(|n| n.filter(|n| *n > 0).unwrap_or(default))
        };
        let user_timeout = values.number::<u64>("tcp_user_timeout")?.unwrap_or(60_000);
        Ok(Keepalive {
            on: values.number::<i64>("keepalives")?.is_none_or(|n| n != 0),
            idle: Duration::from_secs(number("keepalives_idle", 30)?),
            interval: Duration::from_secs(number("keepalives_interval", 10)?),
            count: u32::try_from(number("keepalives_count", 3)?).unwrap_or(3),
            user_timeout: (user_timeout > 0).then(|| Duration::from_millis(user_timeout)),
        })
    }
}

/// A connection string, read and completed. `Debug` and [`Params::redacted`] hold no secret.
#[derive(Clone)]
pub struct Params {
    pub(super) targets: Vec<Target>,
    pub(super) user: String,
    password: Option<String>,
    passfile: Option<PathBuf>,
    pub(super) dbname: String,
    pub(super) application_name: String,
    pub(super) options: Option<String>,
    /// For each address; `None` waits for ever, which libpq writes as 0.
    pub(super) connect_timeout: Option<Duration>,
    pub(super) session_attrs: SessionAttrs,
    pub(super) channel_binding: ChannelBinding,
    pub(super) ssl_negotiation: SslNegotiation,
    pub(super) keepalive: Keepalive,
    pub(super) tls: TlsOptions,
}

/// A password and the file it came from, if it did.
pub(super) struct Password<'a> {
    pub(super) text: String,
    pub(super) file: Option<&'a Path>,
}

impl Params {
    /// `url`: the text of `DATABASE_URL`, or empty. `env`: looks up environment variables.
    pub fn parse(url: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Params, ParamError> {
        let values = Values::read(url, env)?;
        let text = |keyword: &str| values.get(keyword).map(str::to_owned);
        let home = env("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);

        let user = match text("user") {
            Some(user) => user,
            None => whoami::username().map_err(|e| {
                ParamError::Conflict(format!("no user is given and the system names none: {e}"))
            })?,
        };
        if let Some(encoding) = values.get("client_encoding") {
            let plain = encoding.to_ascii_lowercase().replace(['-', '_'], "");
            if !["auto", "utf8", "unicode"].contains(&plain.as_str()) {
                return Err(bad("client_encoding", encoding, "UTF8"));
            }
        }
        let params = Params {
            targets: Target::list(&values)?,
            password: text("password"),
            passfile: text("passfile")
                .map(PathBuf::from)
                .or_else(|| home.as_ref().map(|home| home.join(".pgpass"))),
            dbname: text("dbname").unwrap_or_else(|| user.clone()),
            user,
            application_name: text("application_name")
                .or_else(|| text("fallback_application_name"))
                .unwrap_or_else(|| "pgalert".to_owned()),
            options: text("options"),
            connect_timeout: match values.number::<i64>("connect_timeout")? {
                None => Some(CONNECT_TIMEOUT),
                Some(seconds) => u64::try_from(seconds)
                    .ok()
                    .filter(|seconds| *seconds > 0)
                    .map(Duration::from_secs),
            },
            session_attrs: values
                .choice(
                    "target_session_attrs",
                    SESSION_ATTRS,
                    "any, read-write, read-only, primary, standby or prefer-standby",
                )?
                .unwrap_or(SessionAttrs::Any),
            channel_binding: values
                .choice(
                    "channel_binding",
                    &[
                        ("disable", ChannelBinding::Disable),
                        ("prefer", ChannelBinding::Prefer),
                        ("require", ChannelBinding::Require),
                    ],
                    "disable, prefer or require",
                )?
                .unwrap_or(ChannelBinding::Prefer),
            ssl_negotiation: values
                .choice(
                    "sslnegotiation",
                    &[("postgres", SslNegotiation::Postgres), ("direct", SslNegotiation::Direct)],
                    "postgres or direct",
                )?
                .unwrap_or(SslNegotiation::Postgres),
            keepalive: Keepalive::read(&values)?,
            tls: TlsOptions::read(&values, home.as_deref())?,
        };
        if params.ssl_negotiation == SslNegotiation::Direct && params.tls.mode < SslMode::Require {
            return Err(ParamError::Conflict(format!(
                "sslnegotiation=direct needs sslmode=require or stronger, not {}",
                params.tls.mode
            )));
        }
        Ok(params)
    }

    /// One line for people and logs, never with a password.
    pub fn redacted(&self) -> String {
        let targets: Vec<String> = self.targets.iter().map(Target::to_string).collect();
        let mut line = format!("{} as {} on {}", self.dbname, self.user, targets.join(", "));
        if self.targets.iter().any(|t| !matches!(t.address, Address::Socket(_))) {
            line.push_str(&format!(", sslmode={}", self.tls.mode));
        }
        if self.session_attrs != SessionAttrs::Any {
            line.push_str(&format!(", target_session_attrs={}", self.session_attrs));
        }
        line
    }

    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// Replaces the password, as from a file that the configuration names.
    pub fn set_password(&mut self, password: String) {
        self.password = Some(password);
    }

    /// Read anew at each attempt, so that a changed password file needs no restart.
    pub(super) fn password_for(&self, target: &Target) -> Option<Password<'_>> {
        if let Some(text) = &self.password {
            return Some(Password { text: text.clone(), file: None });
        }
        let path = self.passfile.as_deref()?;
        let host = target.passfile_host();
        let login =
            Login { host: &host, port: target.port, dbname: &self.dbname, user: &self.user };
        passfile::lookup(path, login).map(|text| Password { text, file: Some(path) })
    }
}

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Params({})", self.redacted())
    }
}
