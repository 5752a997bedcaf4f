//! Claims messages whenever there is room for them, and sleeps when there are none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::config::Worker;
use crate::database::{self, DatabaseError};
use crate::link::Link;
use crate::observe::Meters;
use crate::sender::Sender;

/// All messages in flight, in KiB, and the most that the database puts into one claim.
const MEMORY_KIB: usize = 65_536;
const CLAIM_KIB: u32 = 8192;
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
/// How long "asleep" holds in the database, at least and at most; renewed while asleep.
const SHORTEST_NAP: Duration = Duration::from_secs(10);
const LONGEST_NAP: Duration = Duration::from_secs(3600);

pub struct Claimer {
    pub link: Link,
    pub worker: String,
    pub environment: String,
    pub listens: bool,
    pub longest_pause: Duration,
    pub settings: Worker,
    pub sender: Sender,
    pub meters: Arc<Meters>,
    /// One permit for each message that may be in flight.
    pub room: Arc<Semaphore>,
    /// One permit for each KiB of them.
    pub memory: Arc<Semaphore>,
    /// Cancelled when nothing more is to be claimed.
    pub stop: CancellationToken,
}

pub fn memory() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MEMORY_KIB))
}

impl Claimer {
    /// Claims until `stop`; then returns the sender, whose tasks may still be under way.
    pub async fn run(mut self) -> Sender {
        let mut pause = SHORTEST_PAUSE;
        let mut asleep_until = Instant::now();
        while !self.stop.is_cancelled() {
            match self.claim().await {
                Ok(true) => {
                    pause = SHORTEST_PAUSE;
                    continue;
                }
                Ok(false) => {}
                Err(DatabaseError::Lost(_) | DatabaseError::ReadOnly(_)) => {
                    asleep_until = Instant::now();
                    continue;
                }
                Err(error) => {
                    warn!(%error, "a claim was refused; again soon");
                    pause = self.longest_pause;
                }
            }
            let nap = self.nap();
            if self.listens
                && asleep_until < Instant::now() + nap / 4
                && self.announce_sleep(nap).await
            {
                asleep_until = Instant::now() + nap;
                continue; // look once more: what was enqueued before the announcement has notified nobody
            }
            // Polling goes on: a message whose transaction began before the announcement has notified nobody either.
            tokio::select! {
                _ = self.link.notified(), if self.listens => pause = SHORTEST_PAUSE,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(self.longest_pause),
                () = self.stop.cancelled() => {}
            }
        }
        self.sender
    }

    /// Longer than the pauses in which it is not renewed.
    fn nap(&self) -> Duration {
        (self.longest_pause * 4).clamp(SHORTEST_NAP, LONGEST_NAP)
    }

    async fn announce_sleep(&mut self, nap: Duration) -> bool {
        let stop = self.stop.clone();
        let Some(client) = stop.run_until_cancelled(self.link.reopen()).await else { return false };
        let said = database::announce_sleep(client, nap).await;
        self.link.check(said).is_ok()
    }

    /// Claims once when there is room. True when there was something.
    pub async fn claim(&mut self) -> Result<bool, DatabaseError> {
        let size = u32::from(self.settings.batch_size).min(self.settings.max_in_flight);
        let stop = self.stop.clone();
        let room = stop.run_until_cancelled(self.room.clone().acquire_many_owned(size)).await;
        let Some(Ok(room)) = room else { return Ok(false) };
        let memory = stop.run_until_cancelled(self.memory.clone().acquire_many_owned(CLAIM_KIB));
        let Some(Ok(memory)) = memory.await else { return Ok(false) };
        let Some(client) = stop.run_until_cancelled(self.link.reopen()).await else {
            return Ok(false);
        };
        // Not cut off by `stop`: what the server may have claimed is to be sent, or given back, by this worker.
        let result = database::claim_batch(
            client,
            &self.environment,
            &self.worker,
            size as i32,
            self.settings.lease,
        )
        .await;
        let claim = self.link.check(result)?;
        self.meters.claimed(claim.as_ref().map(|claim| claim.messages.len()));
        let Some(claim) = claim else { return Ok(false) };
        self.sender.dispatch(claim, room, memory);
        Ok(true)
    }

    /// Waits until nothing is in flight.
    pub async fn idle(&self) -> Option<OwnedSemaphorePermit> {
        self.room.clone().acquire_many_owned(self.settings.max_in_flight).await.ok()
    }
}
