//! The channels that this driver sends through. A new one is a file here and a line in `configured`.

mod email;
mod webhook;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use crate::config::{Config, ConfigError};
use crate::message::{Message, Receipt, Recipient, SendError};

#[async_trait]
pub trait Channel: Send + Sync {
    /// Sends one message to one recipient. Bounded in time by the channel itself.
    async fn send(&self, message: &Message, recipient: &Recipient) -> Result<Receipt, SendError>;

    /// Whether it could send now, for `pgalert check`: what was reached, or what is wrong and what to do.
    async fn check(&self) -> Result<String, String>;
}

/// A channel with its bound of messages under way at once.
#[derive(Clone)]
pub struct Route {
    pub channel: Arc<dyn Channel>,
    pub permits: Arc<Semaphore>,
}

/// By the name that alerts use.
pub type Channels = HashMap<&'static str, Route>;

pub fn configured(config: &Config) -> Result<Channels, ConfigError> {
    let mut channels = Channels::new();
    let mut add = |name, channel: Option<Arc<dyn Channel>>, concurrency: u32| {
        if let Some(channel) = channel {
            channels.insert(
                name,
                Route { channel, permits: Arc::new(Semaphore::new(concurrency as usize)) },
            );
        }
    };
    add("email", email::configured(&config.email)?, config.email.concurrency);
    add("webhook", webhook::configured(&config.webhook)?, config.webhook.concurrency);
    Ok(channels)
}
