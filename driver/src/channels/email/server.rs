//! Connections to the mail server, kept for the next mail. lettre's own pool would take one back also where a mail was given
//! up in the middle of it: the answer to that mail would then be heard as one to the next.

use std::sync::{Arc, Once, Weak};
use std::time::{Duration, Instant};

use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;
use lettre::transport::smtp::Error as SmtpError;
use lettre::Message as Mail;
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

/// Of a connection that waits for the next mail.
const MAX_IDLE: Duration = Duration::from_secs(60);
/// For the server's answer to a farewell.
const FAREWELL: Duration = Duration::from_secs(1);

pub enum Encryption {
    None,
    Starttls(TlsParameters),
    Tls(TlsParameters),
}

pub struct Server {
    pub host: String,
    port: u16,
    encryption: Encryption,
    credentials: Option<Credentials>,
    connect_timeout: Duration,
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
        connect_timeout: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            host,
            port,
            encryption,
            credentials,
            connect_timeout,
            hello: ClientId::default(),
            idle: Mutex::default(),
            closing: Once::new(),
        })
    }

    /// Given up before its end, it closes the connection, whatever the server would have said.
    pub async fn send(self: &Arc<Self>, mail: &Mail) -> Result<Response, SmtpError> {
        let mut connection = self.connection().await?;
        let answer = connection.send(mail.envelope(), &mail.formatted()).await;
        if !connection.has_broken() {
            self.keep(connection);
        }
        answer
    }

    /// Whether it answers, and takes the login.
    pub async fn answers(&self) -> Result<bool, SmtpError> {
        let mut connection = self.connect().await?;
        let answers = connection.test_connected().await;
        connection.abort().await;
        Ok(answers)
    }

    async fn connection(&self) -> Result<AsyncSmtpConnection, SmtpError> {
        loop {
            let kept = self.idle.lock().pop();
            let Some(Idle { mut connection, .. }) = kept else { return self.connect().await };
            // The server may have closed it meanwhile.
            if connection.test_connected().await {
                return Ok(connection);
            }
        }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, SmtpError> {
        let wrapper = match &self.encryption {
            Encryption::Tls(parameters) => Some(parameters.clone()),
            _ => None,
        };
        let address = (self.host.as_str(), self.port);
        let limit = Some(self.connect_timeout);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(address, limit, &self.hello, wrapper, None).await?;
        if let Encryption::Starttls(parameters) = &self.encryption {
            connection.starttls(parameters.clone(), &self.hello).await?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await?;
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
        for mut kept in server.take_old() {
            let _ = timeout(FAREWELL, kept.connection.abort()).await;
        }
    }
}
