//! Tells the database which hosts this driver leaves alone, for those who look at all drivers on one screen.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{json, Value};
use tokio::sync::Mutex;
use tokio::time::{interval, MissedTickBehavior};
use tracing::warn;

use crate::channels::Channels;
use crate::database::{self, DatabaseError};
use crate::link::Link;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What is open is told again: a crash of the server empties the table.
const TELL_AGAIN: Duration = Duration::from_secs(10);
/// The database knows no longer pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(86_400);

/// Hosts whose breaker is not closed, by channel, each with the time at which one may try it.
type Open = BTreeMap<(String, String), Instant>;

pub struct Breakers {
    worker: String,
    channels: Channels,
    told: Mutex<Told>,
}

struct Told {
    /// Connects when there is something to tell.
    link: Link,
    open: Open,
    at: Instant,
}

impl Breakers {
    pub fn new(link: Link, worker: String, channels: Channels) -> Self {
        let told = Told { link, open: Open::new(), at: Instant::now() };
        Self { worker, channels, told: Mutex::new(told) }
    }

    /// Tells what is open, and each change, for ever.
    pub async fn watch(&self) {
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if let Err(error) = self.tell(self.open()).await {
                warn!(%error, "breakers could not be written down; again soon");
            }
        }
    }

    /// This worker ends: nothing of it is left.
    pub async fn forget(&self) {
        if let Err(error) = self.tell(Open::new()).await {
            warn!(%error, "breakers could not be taken back; they are forgotten in an hour");
        }
    }

    fn open(&self) -> Open {
        let hosts = self.channels.iter().flat_map(|(channel, route)| {
            let name = |(host, until)| ((channel.clone(), host), until);
            route.open_hosts().into_iter().map(name)
        });
        hosts.collect()
    }

    async fn tell(&self, open: Open) -> Result<(), DatabaseError> {
        let mut told = self.told.lock().await;
        let now = Instant::now();
        if open == told.open && (open.is_empty() || now < told.at + TELL_AGAIN) {
            return Ok(());
        }
        let breakers: Value = open
            .iter()
            .map(|((channel, host), until)| {
                let pause = until.saturating_duration_since(now).min(LONGEST_PAUSE);
                json!({"channel": channel, "host": host, "pause_s": pause.as_secs_f64()})
            })
            .collect();
        let client = told.link.reopen().await;
        let result = database::report_breakers(client, &self.worker, &breakers).await;
        told.link.check(result)?;
        (told.open, told.at) = (open, now);
        Ok(())
    }
}
