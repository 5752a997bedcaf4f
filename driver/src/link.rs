//! A connection that is made again when it is lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use tokio_postgres::{Client, Notification};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::connect::{connect, ConnectError, Connected, Params};
use crate::database::{self, DatabaseError};
use crate::observe::Meters;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Between tries to connect: longer each time, and not at the same moment as others.
pub struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pauses {
    pub fn next(&mut self) -> Duration {
        let pause = self.0.mul_f64(rand::random_range(0.5..1.0));
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
        pause
    }
}

pub struct Link {
    params: Arc<Params>,
    /// What it is for, in logs.
    name: &'static str,
    listens: bool,
    connected: Option<Connected>,
    pauses: Pauses,
    /// Counts connections after the first.
    reconnects: Option<Counter>,
    was_connected: bool,
    /// Where somebody waits for the end: how long an outage may last, and what to cancel then.
    patience: Option<(Duration, CancellationToken)>,
}

impl Link {
    pub fn new(params: Arc<Params>, name: &'static str, listens: bool) -> Self {
        Self {
            params,
            name,
            listens,
            connected: None,
            pauses: Pauses::default(),
            reconnects: None,
            was_connected: false,
            patience: None,
        }
    }

    pub fn with_patience(mut self, patience: Option<(Duration, CancellationToken)>) -> Self {
        self.patience = patience;
        self
    }

    pub fn counted(mut self, meters: &Meters) -> Self {
        self.reconnects = Some(meters.reconnects(self.name));
        self
    }

    /// Connects once; a fault is the caller's to tell.
    pub async fn open(&mut self) -> Result<&Client, ConnectError> {
        if self.connected.as_ref().is_none_or(|connected| connected.client.is_closed()) {
            self.connected = None;
            let connected = connect(&self.params).await?.writable()?;
            if self.listens {
                database::listen(&connected.client).await.map_err(|error| {
                    ConnectError::Refused { lasting: !error.may_pass(), reason: error.to_string() }
                })?;
            }
            info!(connection = self.name, host = %connected.host, tls = connected.tls, "connected");
            self.pauses = Pauses::default();
            if let Some(reconnects) = self.reconnects.as_ref().filter(|_| self.was_connected) {
                reconnects.inc();
            }
            self.was_connected = true;
            self.connected = Some(connected);
        }
        match &self.connected {
            Some(connected) => Ok(&connected.client),
            None => Err(ConnectError::Refused { reason: "not connected".into(), lasting: false }),
        }
    }

    /// None where there is no connection now.
    pub fn client(&self) -> Option<&Client> {
        self.connected.as_ref().map(|connected| &connected.client)
    }

    /// The next call makes a new connection.
    pub fn close(&mut self) {
        self.connected = None;
    }

    /// Connects, waiting as long as it takes.
    pub async fn reopen(&mut self) -> &Client {
        let started = Instant::now();
        loop {
            match self.open().await {
                Ok(_) => break,
                Err(error) => {
                    let pause = self.pauses.next();
                    let retry_in_ms = pause.as_millis() as u64;
                    if error.is_fatal() {
                        error!(connection = self.name, %error, retry_in_ms, "the database refuses this driver: somebody must mend it");
                    } else {
                        warn!(connection = self.name, %error, retry_in_ms, "no connection to the database");
                    }
                    if let Some((limit, hopeless)) = &self.patience {
                        if started.elapsed() + pause > *limit {
                            hopeless.cancel();
                        }
                    }
                    tokio::time::sleep(pause).await;
                }
            }
        }
        // The loop ends only when open() succeeded.
        match &self.connected {
            Some(connected) => &connected.client,
            None => unreachable!("open() succeeded without a connection"),
        }
    }

    /// Notes what a call returned: after a lost connection the next call makes a new one.
    pub fn check<T>(&mut self, result: Result<T, DatabaseError>) -> Result<T, DatabaseError> {
        match &result {
            Err(DatabaseError::Lost(reason)) => {
                warn!(connection = self.name, reason, "the connection to the database was lost");
                self.connected = None;
            }
            // A failover: behind the same address there is a standby now.
            Err(DatabaseError::ReadOnly(reason)) => {
                warn!(connection = self.name, reason, "the database cannot be written to any more");
                self.connected = None;
            }
            _ => {}
        }
        result
    }

    /// The next notification; never returns where there is no connection to bring one.
    pub async fn notified(&mut self) -> Notification {
        if let Some(connected) = &mut self.connected {
            if let Some(notification) = connected.notifications.recv().await {
                return notification;
            }
        }
        std::future::pending().await
    }
}
