//! Retry selection and maintenance, on a connection of their own. Harmless beside pg_cron and other drivers.

use std::time::Duration;

use tokio::time::{interval, MissedTickBehavior};
use tracing::{debug, error, info, warn};

use crate::config::Worker;
use crate::database::{self, DatabaseError};
use crate::link::Link;

/// Dead letters queued in one transaction.
const RETRIES_AT_ONCE: i32 = 1000;

pub async fn run(mut link: Link, environment: String, settings: Worker) {
    let every = |period: Duration| {
        let mut ticks = interval(period.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    };
    let (mut retry, mut maintain) =
        (every(settings.retry_interval), every(settings.maintain_interval));
    let mut held = None;
    loop {
        tokio::select! {
            _ = retry.tick(), if !settings.retry_interval.is_zero() => {
                if let Err(error) = queue_retries(&mut link, &environment).await {
                    warn!(%error, "retries could not be queued; again soon");
                }
            }
            _ = maintain.tick() => {
                let client = link.reopen().await;
                let done = database::maintain(client, &environment).await;
                match link.check(done) {
                    Ok(done) => debug!(done, "maintained"),
                    Err(error) => warn!(%error, "maintenance failed; again soon"),
                }
                let client = link.reopen().await;
                let reason = database::hold_reason(client, &environment).await;
                if let Ok(reason) = link.check(reason) {
                    match &reason {
                        Some(reason) if held.as_ref() != Some(reason) => error!(reason, "held: nothing is claimed here"),
                        None if held.is_some() => info!("no longer held"),
                        _ => {}
                    }
                    held = reason;
                }
            }
        }
    }
}

/// Queues all dead letters that are due. Returns how many.
pub async fn queue_retries(link: &mut Link, environment: &str) -> Result<i32, DatabaseError> {
    let mut total = 0;
    loop {
        let client = link.reopen().await;
        let result = database::schedule_retries(client, environment, RETRIES_AT_ONCE).await;
        let queued = link.check(result)?;
        total += queued;
        if queued < RETRIES_AT_ONCE {
            return Ok(total);
        }
    }
}
