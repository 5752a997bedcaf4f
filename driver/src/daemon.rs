//! `pgalert run` and `pgalert once`: the same parts, put together.
//!
//! ```text
//! claimer ──claim──▶ sender ──outcomes──▶ reporter        upkeep
//!    │ connection 1    (network)             │ connection 2   │ connection 3
//! ```

use std::sync::Arc;

use anyhow::{bail, Context};
use tokio::signal::unix::{signal, SignalKind};
use tokio::sync::{mpsc, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::channels;
use crate::claimer::Claimer;
use crate::config::Config;
use crate::connect::Params;
use crate::database;
use crate::link::Link;
use crate::reporter::{Reporter, Tally};
use crate::sender::Sender;
use crate::upkeep;

struct Parts {
    claimer: Claimer,
    reporter: JoinHandle<Tally>,
}

/// Connects and starts the reporter. A fault here is told at once; later faults are waited out.
async fn assemble(config: &Config, params: &Arc<Params>, listens: bool) -> anyhow::Result<Parts> {
    let worker = worker_name();
    let channels = channels::configured(config)?;
    if channels.is_empty() {
        warn!("no channel is configured: every message will fail with channel_not_configured");
    }
    let mut claims = Link::new(params.clone(), "claims", listens);
    let mut reports = Link::new(params.clone(), "reports", false);
    claims.open().await?;
    reports.open().await?;
    let (progress, told) = mpsc::unbounded_channel();
    let settings = config.worker.clone();
    let claimer = Claimer {
        link: claims,
        worker: worker.clone(),
        environment: config.database.environment.clone(),
        listens,
        longest_pause: config.database.poll_max,
        room: Arc::new(Semaphore::new(settings.max_in_flight as usize)),
        sender: Sender {
            channels,
            progress,
            tasks: TaskTracker::new(),
            give_up: CancellationToken::new(),
        },
        settings: settings.clone(),
        stop: CancellationToken::new(),
    };
    let reporter = tokio::spawn(Reporter::new(reports, worker, settings).run(told));
    Ok(Parts { claimer, reporter })
}

/// Unique for each start, so that a restarted process is not taken for the one that held its claims.
fn worker_name() -> String {
    let host: String = gethostname::gethostname()
        .to_string_lossy()
        .chars()
        .filter(|c| !c.is_control())
        .take(100)
        .collect();
    format!("{host}-{}-{:08x}", std::process::id(), rand::random::<u32>())
}

/// Runs until SIGTERM or SIGINT. An internal loop that ends by itself is an error.
pub async fn run(config: Config, params: Arc<Params>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let Parts { claimer, mut reporter } =
        assemble(&config, &params, config.database.listen).await?;
    let room = claimer.room.clone();
    let upkeep_link = Link::new(params, "upkeep", false);
    let mut upkeep = tokio::spawn(upkeep::run(
        upkeep_link,
        config.database.environment.clone(),
        config.worker.clone(),
    ));
    let stop = claimer.stop.clone();
    let worker = claimer.worker.clone();
    let mut claims = tokio::spawn(claimer.run());
    info!(worker, "running");

    tokio::select! {
        _ = terminate.recv() => info!("SIGTERM: finishing what is in flight"),
        _ = interrupt.recv() => info!("SIGINT: finishing what is in flight"),
        ended = &mut claims => bail!("the claimer ended by itself: {:?}", ended.err()),
        ended = &mut reporter => bail!("the reporter ended by itself: {:?}", ended.err()),
        ended = &mut upkeep => bail!("the upkeep ended by itself: {:?}", ended.err()),
    }
    upkeep.abort();
    stop.cancel();
    let sender = claims.await.context("the claimer panicked")?;
    let in_flight = config.worker.max_in_flight as usize - room.available_permits();
    finish(sender, reporter, &config, in_flight).await?;
    info!("stopped");
    Ok(())
}

/// Lets what is in flight end within the grace, then gives up the rest; the reporter reports and releases.
async fn finish(
    sender: Sender,
    reporter: JoinHandle<Tally>,
    config: &Config,
    in_flight: usize,
) -> anyhow::Result<Tally> {
    let grace = config.worker.shutdown_grace;
    sender.tasks.close();
    if tokio::time::timeout(grace, sender.tasks.wait()).await.is_err() {
        warn!(
            grace_s = grace.as_secs(),
            in_flight, "not all was sent within the grace: the rest is given back"
        );
        sender.give_up.cancel();
        sender.tasks.wait().await;
    }
    drop(sender);
    match tokio::time::timeout(grace.max(std::time::Duration::from_secs(5)), reporter).await {
        Ok(tally) => tally.context("the reporter panicked"),
        Err(_) => bail!("the last outcomes could not be reported: their claims will be taken over and sent again"),
    }
}

/// What `pgalert once` prints.
#[derive(Debug)]
pub struct Summary {
    pub tally: Tally,
    /// Dead letters whose time had not come.
    pub skipped: i64,
}

/// Sends all that is due and ends.
pub async fn once(config: Config, params: Arc<Params>) -> anyhow::Result<Summary> {
    let environment = config.database.environment.clone();
    let mut upkeep = Link::new(params.clone(), "upkeep", false);
    let client = upkeep.open().await?;
    if let Some(reason) = database::hold_reason(client, &environment).await? {
        bail!("held: {reason}");
    }
    let skipped = database::count_waiting(client).await?;
    let Parts { mut claimer, reporter } = assemble(&config, &params, false).await?;
    loop {
        let mut found = upkeep::queue_retries(&mut upkeep, &environment).await? > 0;
        while claimer.claim().await? {
            found = true;
        }
        claimer.idle().await;
        if !found {
            break;
        }
    }
    let client = upkeep.reopen().await;
    let maintained = database::maintain(client, &environment).await;
    upkeep.check(maintained)?;
    let Claimer { sender, .. } = claimer;
    let tally = finish(sender, reporter, &config, 0).await?;
    Ok(Summary { tally, skipped })
}
