//! `pgalert run` and `pgalert once`: the same parts, put together.
//!
//! ```text
//! claimer ──claim──▶ sender ──outcomes──▶ reporter        upkeep
//!    │ connection 1    (network)             │ connection 2   │ connection 3      breakers: one more, where one opens
//!                                            └ one more, where two claims are to be reported at once
//! ```

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use tokio::sync::{mpsc, Mutex, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout, timeout_at, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::breakers::Breakers;
use crate::channels::{self, Channels};
use crate::claimer::{self, Claimer};
use crate::config::Config;
use crate::connect::Params;
use crate::database::{self, DatabaseError};
use crate::desk;
use crate::entry;
use crate::link::Link;
use crate::loops::{Fault, Loops};
use crate::observe::{self, Meters, Observed};
use crate::reporter::{Reporter, Tally};
use crate::sender::Sender;
use crate::signals::Signals;
use crate::supervisor::Supervisor;
use crate::traces::Traces;
use crate::upkeep;

struct Parts {
    claimer: Claimer,
    reporter: JoinHandle<Tally>,
}

type Patience = Option<(Duration, CancellationToken)>;

/// Connects and starts the reporter. Who has `patience` for later faults has none here.
async fn assemble(
    config: &Config,
    params: &Arc<Params>,
    channels: Channels,
    patience: Patience,
    supervisor: &Supervisor,
    meters: &Arc<Meters>,
) -> anyhow::Result<Parts> {
    let worker = worker_name();
    let listens = config.database.listen && patience.is_none();
    if channels.is_empty() {
        warn!("no channel is configured: every message will fail with channel_not_configured");
    }
    let link = |name, listens| {
        Link::new(params.clone(), name, listens).counted(meters).with_patience(patience.clone())
    };
    let mut claims = link("claims", listens);
    let mut reports = link("reports", false);
    let traces = Traces::configured(config, &worker)?;
    for link in [&mut claims, &mut reports] {
        match &patience {
            None => entry::open_in_time(link, supervisor).await?,
            Some(_) => entry::open(link).await?,
        }
    }
    let (progress, told) = mpsc::unbounded_channel();
    let settings = config.worker.clone();
    let claimer = Claimer {
        link: claims,
        worker: worker.clone(),
        environment: config.database.environment.clone(),
        listens,
        longest_pause: config.database.poll_max,
        room: Arc::new(Semaphore::new(settings.max_in_flight as usize)),
        memory: claimer::memory(),
        sender: Sender {
            channels,
            meters: meters.clone(),
            traces,
            progress,
            tasks: TaskTracker::new(),
            give_up: CancellationToken::new(),
        },
        meters: meters.clone(),
        settings: settings.clone(),
        stop: CancellationToken::new(),
    };
    let reporter = Reporter::new(reports, link("reports", false), worker, settings).run(told);
    let reporter = tokio::spawn(supervisor.watched("reporter", reporter));
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

/// Runs until SIGTERM or SIGINT. An internal loop that ends by itself is an error. `desk`: its way to the database, where
/// it is wanted.
pub async fn run(
    config: Config,
    params: Arc<Params>,
    desk: Option<Arc<Params>>,
) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let mut loops = Loops::default();
    let desk = match desk {
        Some(params) => {
            let server = desk::Server::bind(&config.desk, params).await?;
            Some(loops.start("desk", server.serve(std::future::pending())))
        }
        None => None,
    };
    let mut supervisor = Supervisor::of_environment();
    let listener = match config.metrics.listen {
        // Another driver of this machine may have the address that nobody chose.
        Some(address) => match observe::bind(address).await {
            Err(fault) if config.is_default("metrics.listen") => {
                warn!("metrics and health are not served: {fault:#}");
                None
            }
            bound => Some(bound?),
        },
        None => None,
    };
    if listener.is_some() {
        supervisor = supervisor.asked();
    }
    let meters = Arc::new(Meters::new(&config.channel_names()));
    let channels = channels::configured(&config)?;
    if let Some(listener) = listener {
        let observed = Observed {
            meters: meters.clone(),
            channels: channels.clone(),
            link: Mutex::new(Link::new(params.clone(), "metrics", false)),
            environment: config.database.environment.clone(),
            supervisor: supervisor.clone(),
            claim_within: config.metrics.claim_within,
        };
        info!(address = %listener.local_addr()?, "metrics and health are served");
        loops.start("listener of metrics and health", observe::serve(listener, observed));
    }
    let Parts { claimer, mut reporter } = tokio::select! {
        parts = assemble(&config, &params, channels, None, &supervisor, &meters) => parts?,
        name = signals.next() => {
            supervisor.stopping();
            info!("{name}: stopped before there was a database");
            return Ok(());
        }
        fault = loops.fault() => bail!(fault),
    };
    let room = claimer.room.clone();
    let upkeep_link = Link::new(params.clone(), "upkeep", false).counted(&meters);
    let upkeep =
        upkeep::run(upkeep_link, config.database.environment.clone(), config.worker.clone());
    let upkeep = loops.start("upkeep", supervisor.watched("upkeep", upkeep));
    let (stop, under_way) = (claimer.stop.clone(), UnderWay::of(&claimer.sender));
    let give_up = under_way.give_up.clone();
    let worker = claimer.worker.clone();
    let link = Link::new(params, "breakers", false).counted(&meters);
    let breakers = Arc::new(Breakers::new(link, worker.clone(), claimer.sender.channels.clone()));
    let told = breakers.clone();
    let watch = loops.start("watch of breakers", async move { told.watch().await });
    let mut claims = tokio::spawn(supervisor.watched("claimer", claimer.run()));
    meters.vitals.claimed();
    supervisor.ready();
    info!(worker, "running");

    let name = tokio::select! {
        name = signals.next() => name,
        ended = &mut claims => bail!(Fault::of("claimer", ended)),
        ended = &mut reporter => bail!(Fault::of("reporter", ended)),
        fault = loops.fault() => bail!(fault),
    };
    supervisor.stopping();
    if let Some(desk) = desk {
        desk.abort();
    }
    info!("{name}: finishing what is in flight; a second signal gives it up");
    tokio::spawn(async move {
        signals.next().await;
        give_up.cancel();
    });
    upkeep.abort();
    watch.abort();
    stop.cancel();
    let end = Instant::now() + config.worker.shutdown_grace;
    match timeout_at(end, &mut claims).await {
        Ok(Ok(_sender)) => {}
        Ok(Err(error)) => bail!(Fault::of::<()>("claimer", Err(error))),
        Err(_) => {
            warn!("{STUCK_CLAIM}");
            claims.abort();
        }
    }
    let in_flight = config.worker.max_in_flight as usize - room.available_permits();
    finish(under_way, reporter, &config, end, in_flight).await?;
    if timeout(LAST_WORD, breakers.forget()).await.is_err() {
        warn!("the database does not answer: breakers of this driver are forgotten in an hour");
    }
    info!("stopped");
    Ok(())
}

/// For what is told to the database at the very end.
const LAST_WORD: Duration = Duration::from_secs(2);

const STUCK_CLAIM: &str =
    "the database does not answer a claim: what it may have claimed will be taken over";

/// What is being sent, when the claimer that owns the sender may not come back.
struct UnderWay {
    tasks: TaskTracker,
    give_up: CancellationToken,
    traces: Traces,
}

impl UnderWay {
    fn of(sender: &Sender) -> Self {
        let Sender { tasks, give_up, traces, .. } = sender;
        Self { tasks: tasks.clone(), give_up: give_up.clone(), traces: traces.clone() }
    }
}

/// Lets what is in flight end within the grace, then gives up the rest; the reporter reports and releases. What is left of
/// the traces is handed over after that.
async fn finish(
    under_way: UnderWay,
    reporter: JoinHandle<Tally>,
    config: &Config,
    end: Instant,
    in_flight: usize,
) -> anyhow::Result<Tally> {
    let grace = config.worker.shutdown_grace;
    let UnderWay { tasks, give_up, traces } = under_way;
    tasks.close();
    if timeout_at(end, tasks.wait()).await.is_err() {
        warn!(
            grace_s = grace.as_secs(),
            in_flight, "not all was sent within the grace: the rest is given back"
        );
        give_up.cancel();
        tasks.wait().await;
    }
    let reported = timeout(grace.max(Duration::from_secs(5)), reporter).await;
    traces.close().await;
    match reported {
        Ok(tally) => Ok(tally.map_err(|e| Fault::of::<()>("reporter", Err(e)))?),
        Err(_) => bail!("the last outcomes could not be reported: their claims will be taken over and sent again"),
    }
}

/// What `pgalert once` prints.
#[derive(Debug)]
pub struct Summary {
    pub tally: Tally,
    /// Dead letters whose time had not come.
    pub skipped: i64,
    /// By a signal, with messages left to send, or where it is not known whether there are.
    pub stopped: bool,
}

/// Sends all that is due and ends. An outage longer than the lease ends it too: the claims are another's by then.
pub async fn once(config: Config, params: Arc<Params>) -> anyhow::Result<Summary> {
    let limit = config.worker.lease;
    let hopeless = CancellationToken::new();
    let patience = Some((limit, hopeless.clone()));
    tokio::select! {
        summary = send_all(config, params, patience) => summary,
        () = hopeless.cancelled() => bail!("the database did not come back within {} s", limit.as_secs_f64()),
    }
}

async fn send_all(
    config: Config,
    params: Arc<Params>,
    patience: Patience,
) -> anyhow::Result<Summary> {
    let mut signals = Signals::new()?;
    let channels = channels::configured(&config)?;
    let environment = config.database.environment.clone();
    let mut upkeep = Link::new(params.clone(), "upkeep", false).with_patience(patience.clone());
    entry::open(&mut upkeep).await?;
    let client = upkeep.open().await?;
    if let Some(reason) = database::hold_reason(client, &environment).await? {
        bail!("held: {reason}");
    }
    let skipped = database::count_waiting(client).await?;
    let meters = Arc::new(Meters::new(&config.channel_names()));
    let supervisor = Supervisor::of_environment();
    let Parts { mut claimer, reporter } =
        assemble(&config, &params, channels, patience, &supervisor, &meters).await?;
    let under_way = UnderWay::of(&claimer.sender);
    let (stop, give_up) = (claimer.stop.clone(), under_way.give_up.clone());
    let worker = claimer.worker.clone();
    let stopped = stop.clone();
    tokio::spawn(async move {
        signals.next().await;
        stop.cancel();
        signals.next().await;
        give_up.cancel();
    });
    // What was sent is reported, whatever ended it.
    let grace = config.worker.shutdown_grace;
    let (ended, rest) = tokio::select! {
        ended = until_empty(&mut claimer, &mut upkeep, &environment) => (ended, grace),
        () = async { stopped.cancelled().await; sleep(grace).await } => {
            warn!("{STUCK_CLAIM}");
            (Ok(()), Duration::ZERO)
        }
    };
    drop(claimer);
    let tally = finish(under_way, reporter, &config, Instant::now() + rest, 0).await?;
    ended?;
    let stopped = stopped.is_cancelled() && {
        let left = async { database::count_left(upkeep.reopen().await, &worker).await };
        !matches!(timeout(LAST_WORD, left).await, Ok(Ok(0)))
    };
    Ok(Summary { tally, skipped, stopped })
}

async fn until_empty(
    claimer: &mut Claimer,
    upkeep: &mut Link,
    environment: &str,
) -> Result<(), DatabaseError> {
    let stop = claimer.stop.clone();
    loop {
        let mut found = upkeep::queue_retries(upkeep, environment).await? > 0;
        while claimer.claim().await? {
            found = true;
        }
        stop.run_until_cancelled(claimer.idle()).await;
        if !found || stop.is_cancelled() {
            break;
        }
    }
    let client = upkeep.reopen().await;
    let maintained = database::maintain(client, environment).await;
    upkeep.check(maintained).map(drop)
}
