//! The first connections of the daemon: a database that is away is waited for, and what somebody must mend is told at once.

use std::time::{Duration, Instant};

use tracing::warn;

use crate::check;
use crate::connect::ConnectError;
use crate::database::DatabaseError;
use crate::link::{Link, Pauses};
use crate::supervisor::Supervisor;

/// How often the log is told of the same.
const AGAIN: Duration = Duration::from_secs(60);

/// Why there is no work to be done on a connection.
#[derive(Debug, thiserror::Error)]
pub enum Unready {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Database(DatabaseError),
    /// The extension is not there, or the role has not its rights.
    #[error("{0}")]
    Unfit(String),
}

impl Unready {
    /// Whether it may be otherwise later, without anybody's doing.
    fn may_pass(&self) -> bool {
        match self {
            Self::Connect(error) => !error.is_fatal(),
            Self::Database(error) => error.may_pass(),
            Self::Unfit(_) => false,
        }
    }
}

/// Connects, and sees that the driver can do its work.
pub async fn open(link: &mut Link) -> Result<(), Unready> {
    check::ready(link.open().await?).await
}

/// The same, as soon as the database is there.
pub async fn open_in_time(link: &mut Link, supervisor: &Supervisor) -> Result<(), Unready> {
    let mut pauses = Pauses::default();
    let mut told: Option<(String, Instant)> = None;
    loop {
        let error = match open(link).await {
            Err(error) if error.may_pass() => error.to_string(),
            outcome => return outcome,
        };
        link.close();
        if told.is_none() {
            supervisor.waiting();
        }
        if told.as_ref().is_none_or(|(same, at)| *same != error || at.elapsed() > AGAIN) {
            warn!(error, "the database cannot be used yet: this driver waits for it");
            told = Some((error, Instant::now()));
        }
        tokio::time::sleep(pauses.next()).await;
    }
}
