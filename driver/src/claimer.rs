//! Claims messages whenever there is room for them, and sleeps when there are none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::config::Worker;
use crate::database::{self, DatabaseError};
use crate::link::Link;
use crate::sender::Sender;

const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
/// How long "asleep" holds in the database; renewed while asleep.
const NAP: Duration = Duration::from_secs(10);

pub struct Claimer {
    pub link: Link,
    pub worker: String,
    pub environment: String,
    pub listens: bool,
    pub longest_pause: Duration,
    pub settings: Worker,
    pub sender: Sender,
    /// One permit for each message that may be in flight.
    pub room: Arc<Semaphore>,
}

impl Claimer {
    /// Claims until `stop`; then returns the sender, whose tasks may still be under way.
    pub async fn run(mut self, stop: CancellationToken) -> Sender {
        tokio::select! {
            () = self.claim_forever() => {}
            () = stop.cancelled() => {}
        }
        self.sender
    }

    async fn claim_forever(&mut self) {
        let mut pause = SHORTEST_PAUSE;
        let mut asleep_until = Instant::now();
        loop {
            match self.claim().await {
                Ok(true) => {
                    pause = SHORTEST_PAUSE;
                    continue;
                }
                Ok(false) => {}
                Err(DatabaseError::Lost(_)) => {
                    asleep_until = Instant::now();
                    continue;
                }
                Err(error) => {
                    warn!(%error, "a claim was refused; again soon");
                    pause = self.longest_pause;
                }
            }
            if self.listens && asleep_until < Instant::now() + NAP / 4 {
                let client = self.link.reopen().await;
                let said = database::announce_sleep(client, NAP).await;
                if self.link.check(said).is_ok() {
                    asleep_until = Instant::now() + NAP;
                    continue; // look once more: what was enqueued before the announcement has notified nobody
                }
            }
            // Polling goes on: a message whose transaction began before the announcement has notified nobody either.
            tokio::select! {
                _ = self.link.notified(), if self.listens => pause = SHORTEST_PAUSE,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(self.longest_pause),
            }
        }
    }

    /// Claims once when there is room. True when there was something.
    pub async fn claim(&mut self) -> Result<bool, DatabaseError> {
        let size = u32::from(self.settings.batch_size).min(self.settings.max_in_flight);
        let Ok(room) = self.room.clone().acquire_many_owned(size).await else { return Ok(false) };
        let client = self.link.reopen().await;
        let result = database::claim_batch(
            client,
            &self.environment,
            &self.worker,
            size as i32,
            self.settings.lease,
        )
        .await;
        let Some(claim) = self.link.check(result)? else { return Ok(false) };
        self.sender.dispatch(claim, room);
        Ok(true)
    }

    /// Waits until nothing is in flight.
    pub async fn idle(&self) -> Option<OwnedSemaphorePermit> {
        self.room.clone().acquire_many_owned(self.settings.max_in_flight).await.ok()
    }
}
