//! The way to the database: a connection string as libpq reads it, TLS, several servers.
//!
//! - `conninfo`: text to keywords and values, in both forms
//! - `values`: the known keywords, their environment variables, reading a value
//! - `target`: the list of servers
//! - `params`: all of it together, with libpq's defaults
//! - `passfile`: `~/.pgpass`
//! - `tls`, `verify`: `sslmode`, certificates, and how far they are checked
//! - `attempt`: one server, tried as `sslmode` says
//! - `error`: why there is no connection

mod attempt;
mod conninfo;
mod error;
mod params;
mod passfile;
mod target;
#[cfg(test)]
mod tests;
mod tls;
mod values;
mod verify;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio_postgres::{Client, Notification};
use tracing::debug;

pub use error::{ConnectError, ReadOnly};
pub use params::Params;
pub use values::ParamError;

use attempt::Failure;
use error::HostFailure;
use params::SessionAttrs;
use target::{Address, Target};
use tls::{Connector, SslMode};

/// An open session.
pub struct Connected {
    pub client: Client,
    /// What `LISTEN` brings; closes when the connection ends.
    pub notifications: UnboundedReceiver<Notification>,
    pub tls: bool,
    /// The server, as people name it: `db1:5432`, or the path of a socket.
    pub host: String,
    pub read_only: Option<ReadOnly>,
}

impl Connected {
    /// For who has nothing to do where nothing can be written.
    pub fn writable(self) -> Result<Connected, ConnectError> {
        match self.read_only {
            None => Ok(self),
            Some(why) => Err(ConnectError::ReadOnly { host: self.host, why }),
        }
    }
}

/// Tries the servers in their order, each of their addresses for at most `connect_timeout`.
///
/// A server that cannot be reached, or whose TLS fails, leaves the next to be tried; one that
/// refuses the login ends the search, as with libpq.
pub async fn connect(params: &Params) -> Result<Connected, ConnectError> {
    let over_tcp = params.targets.iter().any(|t| !matches!(t.address, Address::Socket(_)));
    let tls = match params.tls.mode {
        SslMode::Disable => None,
        _ if over_tcp => Some(Connector::new(&params.tls)?),
        _ => None,
    };
    if params.session_attrs == SessionAttrs::PreferStandby {
        // No standby, for whatever reason: any server will do then.
        match search(params, tls.as_ref(), SessionAttrs::Standby).await {
            Err(ConnectError::SessionAttrs { .. }) => {}
            outcome => return outcome,
        }
    }
    search(params, tls.as_ref(), params.session_attrs).await
}

async fn search(
    params: &Params,
    tls: Option<&Connector>,
    wanted: SessionAttrs,
) -> Result<Connected, ConnectError> {
    let mut failures: Vec<(&Target, Failure)> = Vec::new();
    for target in &params.targets {
        match attempt::open(params, target, tls, wanted).await {
            Ok(connected) => return Ok(connected),
            Err(Failure::Final(error)) => return Err(error),
            Err(failure) => {
                debug!(host = %target, ?failure, "no session here");
                failures.push((target, failure));
            }
        }
    }
    Err(summary(failures, wanted))
}

fn summary(mut failures: Vec<(&Target, Failure)>, wanted: SessionAttrs) -> ConnectError {
    if failures.iter().all(|(_, failure)| matches!(failure, Failure::Tls { .. })) {
        if let Some((target, Failure::Tls { reason, hint, lasting })) = failures.pop() {
            let (host, hint) = (target.to_string(), hint.to_owned());
            return ConnectError::Tls { host, reason, hint, lasting };
        }
    }
    let unmet = failures.iter().any(|(_, failure)| matches!(failure, Failure::SessionAttrs(_)));
    let hosts = failures
        .into_iter()
        .map(|(target, failure)| {
            let reason = match failure {
                Failure::Tls { reason, hint, .. } => format!("{reason} ({hint})"),
                Failure::Unreachable(reason) | Failure::SessionAttrs(reason) => reason,
                Failure::Final(error) => error.to_string(),
            };
            HostFailure { host: target.to_string(), reason }
        })
        .collect();
    match unmet {
        true => ConnectError::SessionAttrs { wanted: wanted.to_string(), hosts },
        false => ConnectError::Unreachable(hosts),
    }
}
