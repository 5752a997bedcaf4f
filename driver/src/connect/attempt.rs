//! One server: its addresses, with and without TLS as `sslmode` says, and what a failure means.

use std::error::Error as _;
use std::future::poll_fn;
use std::io;
use std::path::Path;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::lookup_host;
use tokio::sync::mpsc::{unbounded_channel, UnboundedSender};
use tokio::time::timeout;
use tokio_postgres::config::SslMode as Wire;
use tokio_postgres::{
    AsyncMessage, Client, Config, Connection, NoTls, Notification, SimpleQueryMessage, Socket,
};
use tracing::debug;

use super::params::{Params, SessionAttrs};
use super::target::{Address, Target};
use super::tls::{Connector, SslMode};
use super::verify::advice;
use super::{ConnectError, Connected, ReadOnly};

/// Why one server gave no session.
#[derive(Debug)]
pub(super) enum Failure {
    /// The next server may do better.
    Unreachable(String),
    Tls {
        reason: String,
        hint: &'static str,
        lasting: bool,
    },
    SessionAttrs(String),
    /// The cluster has answered; libpq asks no other server then.
    Final(ConnectError),
}

/// Tries each address of a server until one gives a session that is as wanted.
pub(super) async fn open(
    params: &Params,
    target: &Target,
    tls: Option<&Connector>,
    wanted: SessionAttrs,
) -> Result<Connected, Failure> {
    let mut last = Failure::Unreachable("its name has no address".to_owned());
    for address in resolve(params, target).await? {
        let attempt = negotiate(params, target, &address, tls, wanted);
        let outcome = match params.connect_timeout {
            Some(limit) => timeout(limit, attempt).await.unwrap_or_else(|_| {
                Err(Failure::Unreachable(format!("no answer within {} s", limit.as_secs())))
            }),
            None => attempt.await,
        };
        match outcome {
            Ok(connected) => return Ok(connected),
            Err(failure @ Failure::Final(_)) => return Err(failure),
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

async fn resolve(params: &Params, target: &Target) -> Result<Vec<Address>, Failure> {
    let Address::Name(name) = &target.address else { return Ok(vec![target.address.clone()]) };
    let lookup = lookup_host((name.as_str(), target.port));
    let found = match params.connect_timeout {
        Some(limit) => timeout(limit, lookup).await.unwrap_or_else(|e| Err(e.into())),
        None => lookup.await,
    };
    let found =
        found.map_err(|e| Failure::Unreachable(format!("the name cannot be resolved: {e}")))?;
    Ok(found.map(|addr| Address::Ip { name: name.clone(), ip: addr.ip() }).collect())
}

/// One address, with the second try that `allow` and `prefer` make.
async fn negotiate(
    params: &Params,
    target: &Target,
    address: &Address,
    tls: Option<&Connector>,
    wanted: SessionAttrs,
) -> Result<Connected, Failure> {
    let attempt = |tls| start(params, target, address, tls, wanted);
    // No TLS over a Unix socket: libpq ignores sslmode there.
    let tls = tls.filter(|_| !matches!(address, Address::Socket(_)));
    match params.tls.mode {
        SslMode::Allow => match attempt(None).await {
            Err(first) if refused_login(&first).is_some() => {
                attempt(tls).await.map_err(|second| telling(first, second))
            }
            outcome => outcome,
        },
        SslMode::Prefer if tls.is_some() => match attempt(tls).await {
            Err(first)
                if refused_login(&first).is_some() || matches!(first, Failure::Tls { .. }) =>
            {
                debug!(host = %target, "TLS is not to be had, which sslmode=prefer allows");
                attempt(None).await.map_err(|second| telling(first, second))
            }
            outcome => outcome,
        },
        _ => attempt(tls).await,
    }
}

/// Of the two failures the one that says more: a wrong password before a refusing pg_hba.conf.
fn telling(first: Failure, second: Failure) -> Failure {
    match (refused_login(&first), refused_login(&second)) {
        (Some("28000"), Some(_)) | (None, _) => second,
        _ => first,
    }
}

/// The SQLSTATE with which a login was refused.
fn refused_login(failure: &Failure) -> Option<&str> {
    match failure {
        Failure::Final(ConnectError::Authentication { code, .. }) => code.as_deref(),
        _ => None,
    }
}

async fn start(
    params: &Params,
    target: &Target,
    address: &Address,
    tls: Option<&Connector>,
    wanted: SessionAttrs,
) -> Result<Connected, Failure> {
    let password = params.password_for(target);
    let mut config = Config::new();
    config
        .user(&params.user)
        .dbname(&params.dbname)
        .application_name(&params.application_name)
        .port(target.port)
        .channel_binding(params.channel_binding)
        .ssl_negotiation(params.ssl_negotiation)
        .ssl_mode(if tls.is_some() { Wire::Require } else { Wire::Disable })
        .keepalives(params.keepalive.on)
        .keepalives_idle(params.keepalive.idle)
        .keepalives_interval(params.keepalive.interval)
        .keepalives_retries(params.keepalive.count);
    if let Some(limit) = params.keepalive.user_timeout {
        config.tcp_user_timeout(limit);
    }
    if let Some(options) = &params.options {
        config.options(options);
    }
    if let Some(password) = &password {
        config.password(&password.text);
    }
    match address {
        Address::Socket(dir) => config.host_path(dir),
        Address::Name(name) => config.host(name),
        Address::Ip { name, ip } => config.host(name).hostaddr(*ip),
    };

    let (sender, notifications) = unbounded_channel();
    let opened = match tls {
        Some(tls) => config.connect(tls.start()).await.map(|(client, connection)| {
            spawn(connection, sender);
            client
        }),
        None => config.connect(NoTls).await.map(|(client, connection)| {
            spawn(connection, sender);
            client
        }),
    };
    let client = opened.map_err(|error| {
        let spoke = tls.is_none_or(Connector::reached);
        classify(params, target, password.as_ref().map(|p| p.file), spoke, &error)
    })?;
    let read_only = make_ready(&client, wanted).await?;
    Ok(Connected { client, notifications, tls: tls.is_some(), host: target.to_string(), read_only })
}

fn spawn<T>(mut connection: Connection<Socket, T>, sender: UnboundedSender<Notification>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        loop {
            match poll_fn(|cx| connection.poll_message(cx)).await {
                // Nobody may listen any more; the connection goes on for the client.
                Some(Ok(AsyncMessage::Notification(n))) => drop(sender.send(n)),
                Some(Ok(AsyncMessage::Notice(n))) => {
                    debug!(severity = n.severity(), code = n.code().code(), "{}", n.message());
                }
                Some(Ok(_)) => {}
                // The call under way learns of it too.
                Some(Err(error)) => break debug!(%error, "the connection ended"),
                None => break,
            }
        }
    });
}

/// Sees whether the session is as wanted, and whether it can write.
async fn make_ready(client: &Client, wanted: SessionAttrs) -> Result<Option<ReadOnly>, Failure> {
    // With a level of its own: a standby knows no SERIALIZABLE, which may be the default.
    let query = "BEGIN ISOLATION LEVEL READ COMMITTED; \
                 SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only'), \
                 pg_catalog.current_setting('default_transaction_isolation'); \
                 COMMIT";
    let lost = |error| Failure::Unreachable(reason(&error));
    let rows = client.simple_query(query).await.map_err(lost)?;
    let row = rows.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some([row.get(0), row.get(1), row.get(2)]),
        _ => None,
    });
    let Some([Some(recovery), Some(read_only), Some(isolation)]) = row else {
        return Err(Failure::Unreachable("it gave no answer on its state".to_owned()));
    };
    let (standby, read_only) = (recovery == "t", read_only == "on");
    let unmet = match wanted {
        SessionAttrs::ReadWrite if read_only => Some("its session is read-only"),
        SessionAttrs::ReadOnly if !read_only => Some("its session is not read-only"),
        SessionAttrs::Primary if standby => Some("it is a standby"),
        SessionAttrs::Standby if !standby => Some("it is not a standby"),
        _ => None,
    };
    if let Some(unmet) = unmet {
        return Err(Failure::SessionAttrs(unmet.to_owned()));
    }
    // Only where it must be: a pooler may give the session to others.
    if isolation != "read committed" {
        let set = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED";
        client.batch_execute(set).await.map_err(lost)?;
    }
    Ok(read_only.then_some(if standby { ReadOnly::Standby } else { ReadOnly::Setting }))
}

/// `file`: where a password was found, if there was one; `spoke`: no TLS, or TLS was answered.
fn classify(
    params: &Params,
    target: &Target,
    file: Option<Option<&Path>>,
    spoke: bool,
    error: &tokio_postgres::Error,
) -> Failure {
    let host = target.to_string();
    let login = |code: Option<&str>, mut message: String| {
        match file {
            // 28000 is about who and from where, not about the password.
            _ if code == Some("28000") => {}
            None => message.push_str(
                "; none is configured: the connection string, PGPASSWORD or a password file gives it",
            ),
            Some(Some(path)) => {
                message.push_str(&format!("; the password is from {}", path.display()));
            }
            Some(None) => {}
        }
        let (user, code) = (params.user.clone(), code.map(str::to_owned));
        Failure::Final(ConnectError::Authentication { host: host.clone(), user, code, message })
    };

    if let Some(db) = error.as_db_error() {
        let said = [Some(db.message()), db.detail(), db.hint()];
        let message = said.into_iter().flatten().collect::<Vec<_>>().join("; ");
        let code = db.code().code().to_owned();
        return match code.get(..2).unwrap_or("") {
            "28" => login(Some(&code), message),
            _ if code == "3D000" => Failure::Final(ConnectError::DatabaseMissing {
                host,
                dbname: params.dbname.clone(),
            }),
            // Starting, stopping, full or broken: that server's own state.
            "08" | "53" | "57" | "58" | "XX" => {
                Failure::Unreachable(format!("{message} (SQLSTATE {code})"))
            }
            _ => Failure::Final(ConnectError::Rejected { host, code, message }),
        };
    }
    let mut cause = error.source();
    let mut io = false;
    while let Some(current) = cause {
        // An io::Error shows the source of what it wraps, and not the thing itself.
        let wrapped = current.downcast_ref::<io::Error>().map(io::Error::get_ref);
        io |= wrapped.is_some();
        let tls = current
            .downcast_ref::<rustls::Error>()
            .or_else(|| wrapped.flatten().and_then(|inner| inner.downcast_ref()));
        if let Some(tls) = tls {
            let (hint, lasting) = advice(tls);
            return Failure::Tls { reason: tls.to_string(), hint, lasting };
        }
        cause = current.source();
    }
    if io || error.is_closed() || error.source().is_none() {
        return Failure::Unreachable(reason(error));
    }
    if !spoke {
        return Failure::Tls {
            reason: "the server does not offer TLS".to_owned(),
            hint: "set ssl = on in its configuration, or use a weaker sslmode",
            lasting: true,
        };
    }
    login(None, reason(error))
}

/// The innermost cause, which is the one that tells something.
fn reason(error: &tokio_postgres::Error) -> String {
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(|c| c.source()) {
        cause = Some(inner);
    }
    cause.map_or_else(|| error.to_string(), ToString::to_string)
}
