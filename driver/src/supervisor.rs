//! What the service manager is told (systemd's sd_notify): that claims run, or wait for the database, that the loops live, that it ends. Where there is no
//! `NOTIFY_SOCKET` nothing is told.
//!
//! A ping of the watchdog says that the task of each loop gets its turns. A database that does not answer is no reason to
//! keep it back: a restart would not help, and what is in flight would be sent twice.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sd_notify::NotifyState;
use tokio::time::{interval, MissedTickBehavior};
use tracing::{error, warn};

/// Where no watchdog says how long a loop may show no life.
const ASKED_LIFE: Duration = Duration::from_secs(30);

struct Pulse {
    part: &'static str,
    beat: Mutex<Instant>,
}

#[derive(Clone)]
pub struct Supervisor {
    /// The time without a ping after which this process is killed.
    watchdog: Option<Duration>,
    /// The time within which each loop shows life; None where nobody asks.
    life: Option<Duration>,
    /// Those of loops that have ended are gone.
    pulses: Arc<Mutex<Vec<Weak<Pulse>>>>,
    told_up: Arc<AtomicBool>,
}

impl Supervisor {
    pub fn of_environment() -> Self {
        Self::new(sd_notify::watchdog_enabled())
    }

    fn new(watchdog: Option<Duration>) -> Self {
        let watchdog = watchdog.filter(|time| !time.is_zero());
        let life = watchdog.map(|watchdog| watchdog / 2);
        Self { watchdog, life, pulses: Arc::default(), told_up: Arc::default() }
    }

    /// For whom /healthz asks, with a watchdog or without.
    pub fn asked(mut self) -> Self {
        self.life = self.life.or(Some(ASKED_LIFE));
        self
    }

    /// A loop that has shown no life in time.
    pub fn asleep(&self) -> Option<&'static str> {
        self.stuck(self.life?)
    }

    /// Runs a loop, and notes that its task gets its turns.
    pub fn watched<F: Future>(
        &self,
        part: &'static str,
        future: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        let watched = self.life.map(|life| {
            let pulse = Arc::new(Pulse { part, beat: Mutex::new(Instant::now()) });
            self.pulses.lock().push(Arc::downgrade(&pulse));
            (pulse, life / 2)
        });
        async move {
            let Some((pulse, period)) = watched else { return future.await };
            let mut future = pin!(future);
            let mut beats = interval(period);
            beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    output = &mut future => return output,
                    _ = beats.tick() => *pulse.beat.lock() = Instant::now(),
                }
            }
        }
    }

    /// It is up: a boot goes on meanwhile.
    pub fn waiting(&self) {
        self.up("waits for the database");
    }

    pub fn ready(&self) {
        self.up("claims run");
    }

    fn up(&self, status: &str) {
        if self.told_up.swap(true, Ordering::Relaxed) {
            return tell(&[NotifyState::Status(status)]);
        }
        tell(&[NotifyState::Ready, NotifyState::Status(status)]);
        if let Some(watchdog) = self.watchdog {
            tokio::spawn(self.clone().ping(watchdog));
        }
    }

    pub fn stopping(&self) {
        tell(&[NotifyState::Stopping, NotifyState::Status("finishing what is in flight")]);
    }

    async fn ping(self, watchdog: Duration) {
        let mut pings = interval(watchdog / 4);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            pings.tick().await;
            match self.stuck(watchdog / 2) {
                None => tell(&[NotifyState::Watchdog]),
                Some(part) => error!(part, "it does not get its turns: no ping for the watchdog"),
            }
        }
    }

    /// A loop that has shown no life for so long.
    fn stuck(&self, limit: Duration) -> Option<&'static str> {
        let pulses = self.pulses.lock();
        pulses
            .iter()
            .filter_map(Weak::upgrade)
            .find(|pulse| pulse.beat.lock().elapsed() > limit)
            .map(|pulse| pulse.part)
    }
}

fn tell(state: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "the service manager cannot be told: look at NOTIFY_SOCKET");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::mpsc;

    use super::*;

    const WATCHDOG: Duration = Duration::from_millis(400);

    async fn until(mut condition: impl FnMut() -> bool) {
        let waiting = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_loop_that_blocks_is_stuck_until_it_goes_on() {
        let supervisor = Supervisor::new(Some(WATCHDOG));
        let (release, released) = mpsc::channel();
        let waits = tokio::spawn(supervisor.watched("waits", std::future::pending::<()>()));
        tokio::spawn(supervisor.watched("blocks", async move {
            released.recv().unwrap(); // keeps its thread
            std::future::pending::<()>().await;
        }));
        until(|| supervisor.stuck(WATCHDOG / 2) == Some("blocks")).await;
        release.send(()).unwrap();
        until(|| supervisor.stuck(WATCHDOG / 2).is_none()).await;
        waits.abort();
    }

    #[tokio::test]
    async fn a_loop_that_has_ended_is_not_stuck() {
        let supervisor = Supervisor::new(Some(WATCHDOG));
        assert_eq!(supervisor.watched("ends", async { 7 }).await, 7);
        assert_eq!(supervisor.stuck(Duration::ZERO), None);
    }

    #[tokio::test]
    async fn without_a_watchdog_nothing_is_noted() {
        let supervisor = Supervisor::new(Some(Duration::ZERO));
        assert_eq!(supervisor.watched("part", async { 7 }).await, 7);
        assert!(supervisor.pulses.lock().is_empty());
    }
}
