//! Reports outcomes, a few at a time, and keeps the leases of claims in work.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::join;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{interval, sleep, timeout, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::config::Worker;
use crate::database::{self, DatabaseError};
use crate::link::Link;
use crate::message::Outcome;
use crate::sender::{Ending, Flight, Progress};

const SHORTEST_RENEWAL: Duration = Duration::from_millis(10);
/// After a second connection could not be made, or was of no use.
const SECOND_AGAIN: Duration = Duration::from_secs(60);

/// Messages by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    pub delivered: u64,
    pub failed: u64,
    pub deferred: u64,
}

struct OpenClaim {
    channels_left: usize,
    renewed: Instant,
    /// Ends the sending of what is left of it.
    lost: CancellationToken,
}

struct Sent {
    flight: Arc<Flight>,
    outcomes: Vec<Outcome>,
}

pub struct Reporter {
    link: Link,
    /// Reports at the same time, where there are several claims, and as long as the database lets it connect.
    second: Link,
    second_from: Instant,
    worker: String,
    settings: Worker,
    open: HashMap<i64, OpenClaim>,
    /// By claim; kept through a lost connection.
    unreported: HashMap<i64, Vec<Sent>>,
    unreported_outcomes: usize,
    /// A report was refused for a reason that may pass: the next tick tries again.
    refused: bool,
    tally: Tally,
}

impl Reporter {
    pub fn new(link: Link, second: Link, worker: String, settings: Worker) -> Self {
        let (open, unreported) = (HashMap::new(), HashMap::new());
        Self {
            link,
            second,
            second_from: Instant::now(),
            worker,
            settings,
            open,
            unreported,
            unreported_outcomes: 0,
            refused: false,
            tally: Tally::default(),
        }
    }

    /// Runs until nobody sends any more; then reports the rest and gives back what was not sent.
    pub async fn run(mut self, mut progress: UnboundedReceiver<Progress>) -> Tally {
        let mut tick = interval(self.settings.report_interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut renewal = interval((self.settings.lease / 6).max(SHORTEST_RENEWAL));
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = Vec::new();
        loop {
            tokio::select! {
                // All that came while the last report was under way: a slow database gets fewer and larger ones.
                count = progress.recv_many(&mut told, usize::MAX) => {
                    if count == 0 {
                        break;
                    }
                    told.drain(..).for_each(|progress| self.note(progress));
                    if self.unreported_outcomes >= self.settings.report_size && !self.refused {
                        self.report().await;
                    }
                }
                _ = tick.tick() => self.report().await,
                _ = renewal.tick() => self.renew().await,
            }
        }
        self.report().await;
        while !self.unreported.is_empty() {
            sleep(self.settings.report_interval).await;
            self.report().await;
        }
        self.release().await;
        self.tally
    }

    fn note(&mut self, progress: Progress) {
        match progress {
            Progress::Opened { claim_id, channels, lost } => {
                let claim = OpenClaim { channels_left: channels, renewed: Instant::now(), lost };
                self.open.insert(claim_id, claim);
            }
            Progress::Sent { claim_id, .. } if !self.open.contains_key(&claim_id) => {
                debug!(claim_id, "dropped the outcome of a claim that was lost");
            }
            Progress::Sent { claim_id, flight, outcomes } => {
                self.unreported_outcomes += outcomes.len();
                self.unreported.entry(claim_id).or_default().push(Sent { flight, outcomes });
            }
        }
    }

    async fn report(&mut self) {
        self.refused = false;
        if self.unreported.is_empty() {
            return; // and so does not wait for a database that is down
        }
        self.link.reopen().await;
        let second = self.unreported.len() > 1 && self.open_second().await;
        let claims: Vec<(&i64, &Vec<Sent>)> = self.unreported.iter().collect();
        let (first, others) = claims.split_at(if second { claims.len() / 2 } else { claims.len() });
        // A pooler may have no session for it: what it does not report in time, the first one does, before a lease is lost.
        let patience = self.second_patience();
        let (mut results, others) = join!(
            report_claims(&mut self.link, &self.worker, first),
            timeout(patience, report_claims(&mut self.second, &self.worker, others)),
        );
        match others {
            Ok(others) => results.extend(others),
            Err(_) => {
                info!("the second connection for reports does not answer: one does");
                self.second.close();
            }
        }
        if second && self.second.client().is_none() {
            self.refused = true;
            self.second_from = Instant::now() + SECOND_AGAIN;
        }
        for (claim_id, result) in results {
            match result {
                Ok(()) => self.reported(claim_id),
                // The same report again: what was recorded is not recorded twice.
                Err(DatabaseError::Lost(_) | DatabaseError::ReadOnly(_)) => self.refused = true,
                Err(error) if error.may_pass() => {
                    warn!(claim_id, %error, "a report was refused; again soon");
                    self.refused = true;
                }
                Err(DatabaseError::LeaseLost(reason)) => {
                    warn!(
                        claim_id,
                        reason, "lease lost: another worker delivers the rest of this claim"
                    );
                    self.forget(claim_id);
                }
                Err(refused) => {
                    error!(claim_id, error = %refused, "a report was refused: the claim is given up and will be taken over");
                    self.forget(claim_id);
                }
            }
        }
    }

    async fn open_second(&mut self) -> bool {
        if self.second_from > Instant::now() {
            return false;
        }
        let refusal = match timeout(self.second_patience(), self.second.open()).await {
            Ok(Ok(_)) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        info!(error = refusal, "no second connection for reports: one does");
        self.second_from = Instant::now() + SECOND_AGAIN;
        false
    }

    fn second_patience(&self) -> Duration {
        self.settings.lease / 6
    }

    fn reported(&mut self, claim_id: i64) {
        let sent = self.unreported.remove(&claim_id).unwrap_or_default();
        for Sent { flight, outcomes } in &sent {
            self.unreported_outcomes -= outcomes.len();
            match flight.channel_reported(outcomes) {
                Some(Ending::Delivered) => self.tally.delivered += 1,
                Some(Ending::Deferred) => self.tally.deferred += 1,
                Some(Ending::Failed) => self.tally.failed += 1,
                None => {}
            }
        }
        if let Some(claim) = self.open.get_mut(&claim_id) {
            claim.channels_left = claim.channels_left.saturating_sub(sent.len());
            if claim.channels_left == 0 {
                self.open.remove(&claim_id);
            }
        }
    }

    fn forget(&mut self, claim_id: i64) {
        if let Some(claim) = self.open.remove(&claim_id) {
            claim.lost.cancel();
        }
        let sent = self.unreported.remove(&claim_id).unwrap_or_default();
        self.unreported_outcomes -= sent.iter().map(|sent| sent.outcomes.len()).sum::<usize>();
    }

    async fn renew(&mut self) {
        let due: Vec<i64> = (self.open.iter())
            .filter(|(_, claim)| claim.renewed.elapsed() > self.settings.lease / 3)
            .map(|(claim_id, _)| *claim_id)
            .collect();
        for claim_id in due {
            let client = self.link.reopen().await;
            let result =
                database::extend_lease(client, claim_id, &self.worker, self.settings.lease).await;
            match self.link.check(result) {
                Ok(_) => {
                    if let Some(claim) = self.open.get_mut(&claim_id) {
                        claim.renewed = Instant::now();
                    }
                }
                Err(DatabaseError::LeaseLost(reason)) => {
                    warn!(
                        claim_id,
                        reason, "lease lost: another worker delivers the rest of this claim"
                    );
                    self.forget(claim_id);
                }
                Err(error) => warn!(claim_id, %error, "the lease could not be renewed; again soon"),
            }
        }
    }

    async fn release(&mut self) {
        for claim_id in self.open.keys().copied().collect::<Vec<_>>() {
            let client = self.link.reopen().await;
            let result = database::release_claim(client, claim_id, &self.worker).await;
            match self.link.check(result) {
                Ok(messages) => info!(claim_id, messages, "gave back what was not sent"),
                Err(error) => {
                    warn!(claim_id, %error, "a claim could not be given back; its lease will run out")
                }
            }
        }
    }
}

/// Reports claims one after the other until the connection is lost.
async fn report_claims(
    link: &mut Link,
    worker: &str,
    claims: &[(&i64, &Vec<Sent>)],
) -> Vec<(i64, Result<(), DatabaseError>)> {
    let mut results = Vec::with_capacity(claims.len());
    for &(&claim_id, sent) in claims {
        let Some(client) = link.client() else { break };
        let outcomes: Vec<&Outcome> = sent.iter().flat_map(|sent| &sent.outcomes).collect();
        let reported = database::report(client, claim_id, worker, &outcomes).await;
        results.push((claim_id, link.check(reported).map(drop)));
    }
    results
}
