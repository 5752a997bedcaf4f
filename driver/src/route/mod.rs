//! The way of a message to its receiver through one channel, and what stands on it:
//!
//! ```text
//! rate limit of the recipient ─▶ place at the host ─▶ place of the channel ─▶ breaker ─▶ send ─▶ quick second tries
//! ```
//!
//! What cannot go now is deferred, which costs no retry.

mod breaker;
mod gate;
mod host;
mod hosts;
mod load;
mod pace;

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::channels::Channel;
use crate::config::{self, Config};
use crate::message::{classes, ErrorKind, Message, Receipt, Recipient, SendError};
use breaker::Health;
use gate::{Place, Share};
pub use host::Crowd;
use host::{Host, Pass};
pub use hosts::Breakers;
use hosts::Hosts;
use pace::Pace;

/// The part of the messages in flight that may wait for their recipient's rate, and that for hosts that end nothing.
const WAITING_PART: u32 = 4;

/// A send that takes longer makes room for another of its channel.
const LINGERS: Duration = Duration::from_millis(250);

/// A channel with its bounds.
pub struct Route {
    name: String,
    channel: Arc<dyn Channel>,
    places: Semaphore,
    /// For sends that linger: as many again.
    aside: Semaphore,
    pace: Pace,
    hosts: Hosts,
    limits: config::Limits,
    breaker: config::Breaker,
    quick_retries: Vec<Duration>,
}

/// Held while it is sent.
struct Places<'a> {
    _at_host: Place<'a>,
    /// None only where the channel was closed, which nobody does.
    of_channel: Option<SemaphorePermit<'a>>,
}

/// What became of a message.
pub struct Sent {
    pub result: Result<Receipt, SendError>,
    /// Of the last try alone.
    pub took: Duration,
}

impl Sent {
    fn quick_pause(&self) -> Option<Duration> {
        self.result.as_ref().err().and_then(SendError::quick_pause)
    }
}

impl Route {
    pub fn new(
        name: &str,
        channel: Arc<dyn Channel>,
        concurrency: u32,
        crowd: Arc<Crowd>,
        config: &Config,
    ) -> Self {
        let quotas = channel.pace().into_iter().chain(config.limits.per_recipient);
        let waiting = Arc::new(Semaphore::new(may_wait(config) as usize));
        let most = config.limits.host_concurrency;
        Self {
            name: name.to_owned(),
            places: Semaphore::new(concurrency as usize),
            aside: Semaphore::new(concurrency as usize),
            pace: Pace::new(quotas, waiting, config.limits.max_wait),
            channel,
            hosts: Hosts::new(Share::new(concurrency, most), most, crowd),
            limits: config.limits.clone(),
            breaker: config.breaker.clone(),
            quick_retries: config.worker.quick_retries.clone(),
        }
    }

    /// Without the bounds, which are for many messages.
    pub fn channel(&self) -> &dyn Channel {
        &*self.channel
    }

    pub fn breakers(&self) -> Breakers {
        self.hosts.breakers()
    }

    /// Hosts whose breaker is not closed, each with the time at which one may try it.
    pub fn open_hosts(&self) -> Vec<(String, Instant)> {
        self.hosts.open()
    }

    /// An error without what the receiver may have quoted and nobody else is to read: the recipient's address and secrets, and
    /// the channel's own.
    pub fn hidden_in(&self, error: SendError, recipient: &Recipient) -> SendError {
        self.channel.hidden_in(recipient.hidden_in(error))
    }

    /// Sends one message to one recipient, or says that it is to wait.
    pub async fn send(&self, message: &Message, recipient: &Recipient) -> Sent {
        // An address that names no host is refused by the channel.
        let host = self.hosts.get(&self.channel.destination(recipient).unwrap_or_default());
        let (places, pass) = match self.admit(&host, recipient).await {
            Ok(admitted) => admitted,
            Err(error) => return Sent { result: Err(error), took: Duration::ZERO },
        };
        let mut sent = self.attempt(&host, places, message, recipient).await;
        if sent.quick_pause().is_some() && !self.quick_retries.is_empty() {
            match host.second_try() {
                Ok(_leave) => self.try_again(&host, message, recipient, &mut sent).await,
                // The breaker hears from those that wait whether it was a blip.
                Err(error) => return Sent { result: Err(error), took: sent.took },
            }
        }
        if pass.record(health(&sent.result)) {
            let Breakers { closed, open, half_open } = self.breakers();
            let channel = &self.name;
            warn!(channel, closed, open, half_open, "a host's breaker has opened or closed");
            debug!(host = self.channel.destination(recipient), "it is this one's");
        }
        sent
    }

    async fn admit<'a>(
        &'a self,
        host: &'a Host,
        recipient: &Recipient,
    ) -> Result<(Places<'a>, Pass<'a>), SendError> {
        if let Some(refusal) = host.refusal(&self.breaker) {
            return Err(refusal);
        }
        self.pace.turn(&recipient.address).await?;
        let places = self.places(host).await?;
        // The last steps: the receiver may have asked for a pause while it waited, or the breaker have opened.
        self.pace.still(&recipient.address)?;
        let pass = host.admit(&self.breaker)?;
        Ok((places, pass))
    }

    async fn places<'a>(&'a self, host: &'a Host) -> Result<Places<'a>, SendError> {
        let at_host = host.place(&self.limits).await?;
        Ok(Places { _at_host: at_host, of_channel: self.places.acquire().await.ok() })
    }

    /// Within the attempt, as long as that may help.
    async fn try_again(
        &self,
        host: &Host,
        message: &Message,
        recipient: &Recipient,
        sent: &mut Sent,
    ) {
        for pause in &self.quick_retries {
            let Some(asked) = sent.quick_pause() else { return };
            sleep(upward((*pause).max(asked))).await;
            let Ok(places) = self.places(host).await else { return };
            *sent = self.attempt(host, places, message, recipient).await;
        }
    }

    async fn attempt(
        &self,
        host: &Host,
        mut places: Places<'_>,
        message: &Message,
        recipient: &Recipient,
    ) -> Sent {
        let _running = host.start();
        let started = Instant::now();
        let mut sending = pin!(self.channel.send(message, recipient));
        let result = match timeout(LINGERS, sending.as_mut()).await {
            Ok(result) => result,
            Err(_) => {
                let aside = self.aside.try_acquire();
                if aside.is_ok() {
                    places.of_channel = None;
                }
                sending.await
            }
        };
        if let Err(SendError { kind: ErrorKind::Throttled { retry_after }, .. }) = &result {
            self.pace.pause(&recipient.address, *retry_after);
        }
        Sent { result, took: started.elapsed() }
    }
}

/// Of the messages in flight.
pub fn may_wait(config: &Config) -> u32 {
    (config.worker.max_in_flight / WAITING_PART).max(1)
}

/// What an attempt says of its host. Who refuses a message, or asks for a pause, is alive; of the first it says nothing
/// where the message was not sent at all.
fn health(result: &Result<Receipt, SendError>) -> Health {
    match result {
        Ok(_) => Health::Alive,
        Err(error) => match error.kind {
            ErrorKind::Throttled { .. } => Health::Alive,
            ErrorKind::Transient if classes::is_the_hosts(&error.class) => Health::Dead,
            _ => Health::Unknown,
        },
    }
}

fn deferred(class: &str, text: &str, retry_after: Duration) -> SendError {
    SendError::new(ErrorKind::Throttled { retry_after }, class, text)
}

/// A pause with jitter, which only adds: up to a quarter.
fn upward(pause: Duration) -> Duration {
    pause + pause.mul_f64(rand::random_range(0.0..0.25))
}
