//! Connections to the mail server, kept for the next mail. lettre's own pool would take one back also where a mail was given
//! up in the middle of it: the answer to that mail would then be heard as one to the next.

use std::sync::{Arc, Once, Weak};
use std::time::{Duration, Instant};

use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{self, Auth, Data, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use lettre::transport::smtp::response::Response;
use lettre::transport::smtp::Error as SmtpError;
use lettre::{Address, Message as Mail};
use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use super::stream::SmtpStream;
use crate::http::{self, Connector};

/// Of a connection that waits for the next mail.
const MAX_IDLE: Duration = Duration::from_secs(60);
/// For the server's answer to a farewell.
const FAREWELL: Duration = Duration::from_secs(1);
/// Of one login: LOGIN has two.
const MAX_CHALLENGES: usize = 10;

pub enum Encryption {
    None,
    Starttls(TlsParameters),
    /// From the first byte.
    Tls,
}

/// Why a mail was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    NoConnection(http::Fault),
    /// Before there was any mail.
    #[error(transparent)]
    NoSession(SmtpError),
    #[error(transparent)]
    Smtp(#[from] SmtpError),
    #[error("{0}")]
    Unfit(&'static str),
    #[error("the address has characters beyond ASCII before its \"@\", which the mail server does not take (SMTPUTF8)")]
    AddressBeyondAscii,
}

pub struct Server {
    pub host: String,
    port: u16,
    encryption: Encryption,
    credentials: Option<Credentials>,
    connector: Connector,
    hello: ClientId,
    idle: Mutex<Vec<Idle>>,
    closing: Once,
}

struct Idle {
    connection: AsyncSmtpConnection,
    since: Instant,
}

impl Server {
    pub fn new(
        host: String,
        port: u16,
        encryption: Encryption,
        credentials: Option<Credentials>,
        tls: ClientConfig,
        connect_timeout: Duration,
    ) -> Arc<Self> {
        let tls = TlsConnector::from(Arc::new(tls));
        // The operator's own server may be one of this network.
        let connector = Connector::new(None, tls, connect_timeout, connect_timeout);
        Arc::new(Self {
            host,
            port,
            encryption,
            credentials,
            connector,
            hello: ClientId::default(),
            idle: Mutex::default(),
            closing: Once::new(),
        })
    }

    /// Given up before its end, it closes the connection, whatever the server would have said.
    pub async fn send(self: &Arc<Self>, mail: &Mail) -> Result<Response, Fault> {
        let mut connection = self.connection().await?;
        let answer = hand_over(&mut connection, mail).await;
        match answer {
            // Of the others it has heard nothing.
            Ok(_) | Err(Fault::AddressBeyondAscii | Fault::Unfit(_)) => self.keep(connection),
            // Some servers let those wait that have been refused often.
            Err(_) => {
                tokio::spawn(farewell(connection));
            }
        }
        answer
    }

    /// Whether it answers, and takes the login.
    pub async fn answers(&self) -> Result<bool, Fault> {
        let mut connection = self.connect().await?;
        let answers = connection.test_connected().await;
        farewell(connection).await;
        Ok(answers)
    }

    async fn connection(&self) -> Result<AsyncSmtpConnection, Fault> {
        loop {
            let kept = self.idle.lock().pop();
            let Some(Idle { mut connection, .. }) = kept else { return self.connect().await };
            // The server may have closed it meanwhile.
            if connection.test_connected().await {
                return Ok(connection);
            }
        }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Fault> {
        let tls = matches!(self.encryption, Encryption::Tls);
        let stream = self.connector.open(&self.host, self.port, tls).await;
        let stream = Box::new(SmtpStream::new(stream.map_err(Fault::NoConnection)?));
        let greeted = AsyncSmtpConnection::connect_with_transport(stream, &self.hello).await;
        let mut connection = greeted.map_err(Fault::NoSession)?;
        if let Encryption::Starttls(parameters) = &self.encryption {
            let started = connection.starttls(parameters.clone(), &self.hello).await;
            started.map_err(Fault::NoSession)?;
        }
        if let Some(credentials) = &self.credentials {
            if let Err(fault) = sign_in(&mut connection, credentials).await {
                tokio::spawn(farewell(connection));
                return Err(fault);
            }
        }
        Ok(connection)
    }

    fn keep(self: &Arc<Self>, connection: AsyncSmtpConnection) {
        self.idle.lock().push(Idle { connection, since: Instant::now() });
        self.closing.call_once(|| {
            tokio::spawn(close_idle(Arc::downgrade(self)));
        });
    }

    /// The newest is used first, so the oldest are at the beginning.
    fn take_old(&self) -> Vec<Idle> {
        let mut idle = self.idle.lock();
        let old = idle.partition_point(|kept| kept.since.elapsed() > MAX_IDLE);
        idle.drain(..old).collect()
    }
}

async fn close_idle(server: Weak<Server>) {
    loop {
        sleep(MAX_IDLE / 2).await;
        let Some(server) = server.upgrade() else { return };
        for kept in server.take_old() {
            farewell(kept.connection).await;
        }
    }
}

async fn farewell(mut connection: AsyncSmtpConnection) {
    let _ = timeout(FAREWELL, connection.abort()).await;
}

/// Not by lettre's `send`, nor its `auth` below: they wait for the answer to a farewell before they tell of a refusal.
async fn hand_over(connection: &mut AsyncSmtpConnection, mail: &Mail) -> Result<Response, Fault> {
    let envelope = mail.envelope();
    let beyond_ascii = |address: &Address| !AsRef::<str>::as_ref(address).is_ascii();
    let (to, from) =
        (envelope.to().iter().any(beyond_ascii), envelope.from().is_some_and(beyond_ascii));
    let takes_all = connection.server_info().supports_feature(Extension::SmtpUtfEight);
    let mut options = Vec::new();
    match (to || from, takes_all) {
        (false, _) => {}
        (true, true) => options.push(MailParameter::SmtpUtfEight),
        (true, false) if to => return Err(Fault::AddressBeyondAscii),
        (true, false) => {
            return Err(Fault::Unfit(
                "the server does not take an email.from with characters beyond ASCII (SMTPUTF8)",
            ))
        }
    }
    connection.command(commands::Mail::new(envelope.from().cloned(), options)).await?;
    for to in envelope.to() {
        connection.command(Rcpt::new(to.clone(), Vec::new())).await?;
    }
    connection.command(Data).await?;
    Ok(connection.message(&mail.formatted()).await?)
}

async fn sign_in(
    connection: &mut AsyncSmtpConnection,
    credentials: &Credentials,
) -> Result<(), Fault> {
    let mechanism = connection.server_info().get_auth_mechanism(DEFAULT_MECHANISMS).ok_or(
        Fault::Unfit("the server offers no way to log in that is known here (PLAIN, LOGIN)"),
    )?;
    let mut answer = connection.command(Auth::new(mechanism, credentials.clone(), None)?).await?;
    for _ in 0..MAX_CHALLENGES {
        if !answer.has_code(334) {
            return Ok(());
        }
        let next = Auth::new_from_response(mechanism, credentials.clone(), &answer)?;
        answer = connection.command(next).await?;
    }
    Err(Fault::Unfit("the server does not come to an end of the login"))
}
