//! Sends claimed messages: one task for each message and channel; the channel's route bounds them.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::FutureExt;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

use crate::channels::Channels;
use crate::message::{Claim, Message, Outcome, Recipient, SendError, DEFERRED, FAILED};
use crate::observe::{InFlight, Meters};
use crate::route::{Route, Sent};
use crate::traces::Traces;

/// Of one message and channel. Messages in flight are bounded, and a user may have any number of addresses.
const RECIPIENTS_AT_ONCE: usize = 16;

/// A message that is being sent. It holds its place among those in flight until all of it is reported.
pub struct Flight {
    message: Message,
    channels_left: AtomicUsize,
    worst: AtomicU8,
    _place: OwnedSemaphorePermit,
    _memory: Option<OwnedSemaphorePermit>,
    _counted: InFlight,
}

/// How a message ended, the worst of its channels.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Ending {
    Delivered,
    Deferred,
    Failed,
}

impl Flight {
    /// Counts a channel as reported. Gives the message's ending with its last.
    pub fn channel_reported(&self, outcomes: &[Outcome]) -> Option<Ending> {
        let worst = outcomes.iter().map(|outcome| ending(outcome) as u8).max().unwrap_or_default();
        let worst = self.worst.fetch_max(worst, Ordering::AcqRel).max(worst);
        let last = self.channels_left.fetch_sub(1, Ordering::AcqRel) == 1;
        last.then_some(match worst {
            0 => Ending::Delivered,
            1 => Ending::Deferred,
            _ => Ending::Failed,
        })
    }
}

fn ending(outcome: &Outcome) -> Ending {
    match outcome.outcome {
        FAILED => Ending::Failed,
        DEFERRED => Ending::Deferred,
        _ => Ending::Delivered,
    }
}

/// What the reporter is told.
pub enum Progress {
    /// A claim is in work; this many channels of messages will follow. Cancel `lost` to stop sending it.
    Opened { claim_id: i64, channels: usize, lost: CancellationToken },
    /// All recipients of one channel of one message have an outcome.
    Sent { claim_id: i64, flight: Arc<Flight>, outcomes: Vec<Outcome> },
}

pub struct Sender {
    pub channels: Channels,
    pub meters: Arc<Meters>,
    pub traces: Traces,
    pub progress: UnboundedSender<Progress>,
    pub tasks: TaskTracker,
    /// Cancelled when what is in flight is to be given up.
    pub give_up: CancellationToken,
}

/// What the tasks of one claim share.
struct Work {
    /// Cancelled when the claim is another's, or is given up.
    lost: CancellationToken,
    meters: Arc<Meters>,
    traces: Traces,
    progress: UnboundedSender<Progress>,
}

impl Sender {
    /// `places` holds one permit for each message, `memory` one for each KiB of them.
    pub fn dispatch(
        &self,
        claim: Claim,
        mut places: OwnedSemaphorePermit,
        mut memory: OwnedSemaphorePermit,
    ) {
        let claim_id = claim.claim_id;
        let channels = claim.messages.iter().map(|message| message.channels.len()).sum();
        let lost = self.give_up.child_token();
        let work = Arc::new(Work {
            lost: lost.clone(),
            meters: self.meters.clone(),
            traces: self.traces.clone(),
            progress: self.progress.clone(),
        });
        work.tell(Progress::Opened { claim_id, channels, lost });
        for message in claim.messages {
            let Some(place) = places.split(1) else { break };
            let kib = (message.text.len() + message.alert_data.get().len()) / 1024 + 1;
            let memory = memory.split(kib.min(memory.num_permits()));
            let flight = Arc::new(Flight {
                channels_left: AtomicUsize::new(message.channels.len()),
                worst: AtomicU8::new(0),
                message,
                _place: place,
                _memory: memory,
                _counted: self.meters.in_flight(),
            });
            for index in 0..flight.message.channels.len() {
                let (flight, work) = (flight.clone(), work.clone());
                let route = self.channels.get(&flight.message.channels[index]).cloned();
                self.tasks.spawn(async move {
                    let name = &flight.message.channels[index];
                    let outcomes = tokio::select! {
                        outcomes = send_channel(&flight.message, name, route.as_deref(), &work) => outcomes,
                        () = work.lost.cancelled() => return,
                    };
                    work.tell(Progress::Sent { claim_id, flight, outcomes });
                });
            }
        }
    }
}

impl Work {
    /// A closed channel means that the reporter has ended, and with it the process.
    fn tell(&self, progress: Progress) {
        let _ = self.progress.send(progress);
    }
}

async fn send_channel(
    message: &Message,
    name: &str,
    route: Option<&Route>,
    work: &Work,
) -> Vec<Outcome> {
    let Work { meters, traces, .. } = work;
    let recipients = message.recipients.get(name).map(Vec::as_slice).unwrap_or_default();
    let refused = |error| {
        let outcome = Outcome::of(message, name, None, Err(error), Default::default());
        traces.begin(message, name).end(&outcome);
        vec![outcome]
    };
    let outcomes = match (route, recipients) {
        (None, _) => refused(SendError::transient(
            "channel_not_configured",
            "this driver has no such channel configured",
        )),
        (Some(_), []) => refused(SendError::transient(
            "no_recipient",
            "the user has no enabled address for this channel",
        )),
        // The rule: a set of futures for one would cost as much as its request.
        (Some(route), [recipient]) => {
            vec![send_one(message, name, recipient, route, traces).await]
        }
        (Some(route), _) => {
            let mut under_way = FuturesUnordered::new();
            let mut outcomes = Vec::with_capacity(recipients.len());
            for recipient in recipients {
                if under_way.len() == RECIPIENTS_AT_ONCE {
                    outcomes.extend(under_way.next().await);
                }
                under_way.push(send_one(message, name, recipient, route, traces));
            }
            outcomes.extend(under_way.collect::<Vec<_>>().await);
            outcomes
        }
    };
    meters.sent(message, name, &outcomes);
    for outcome in &outcomes {
        log(message, outcome);
    }
    outcomes
}

/// A panic of a channel is this message's failure, not the daemon's.
async fn send_one(
    message: &Message,
    name: &str,
    recipient: &Recipient,
    route: &Route,
    traces: &Traces,
) -> Outcome {
    let span = traces.begin(message, name);
    let sending =
        span.around(AssertUnwindSafe(route.send(message, recipient)).catch_unwind()).await;
    let Sent { result, took } = sending.unwrap_or_else(|_| Sent {
        result: Err(SendError::transient("internal", "the channel's code panicked")),
        took: Duration::ZERO,
    });
    let result = result.map_err(|error| route.hidden_in(error, recipient));
    let outcome = Outcome::of(message, name, Some(recipient.recipient_id), result, took);
    span.end(&outcome);
    outcome
}

/// One line for each outcome. An error's words may name what is nobody else's business, so they are for debugging.
fn log(message: &Message, outcome: &Outcome) {
    let (delivery_key, alert, attempt) = (message.delivery_key, &message.alert_id, message.attempt);
    let Outcome { outcome, channel, error_class, duration_ms, error, .. } = outcome;
    info!(%delivery_key, alert, channel, attempt, outcome, error_class, duration_ms, "{outcome}");
    if error.is_some() {
        debug!(%delivery_key, error, "the receiver's words");
    }
}
