//! The channels that this driver sends through. A new one that is more than another JSON body is a file here and a line in
//! `configured`; one that is not is a section of the configuration.

mod email;
mod json;
pub mod preview;
mod slack;
mod sms;
mod webhook;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use governor::Quota;
use http::header::HeaderValue;
use url::Url;

use crate::config::{Config, ConfigError};
use crate::http::Http;
use crate::message::{Message, Receipt, Recipient, SendError};
use crate::route::{may_wait, Crowd, Route};
use crate::templates::Templates;

#[async_trait]
pub trait Channel: Send + Sync {
    /// Sends one message to one recipient. Bounded in time by the channel itself.
    async fn send(&self, message: &Message, recipient: &Recipient) -> Result<Receipt, SendError>;

    /// The host that a recipient's address leads to (with the port where it is not the usual), for bounds of one host. None for
    /// an address that `send` refuses.
    fn destination(&self, recipient: &Recipient) -> Option<String>;

    /// What the receiver takes from one sender, for each address. None where it says nothing.
    fn pace(&self) -> Option<Quota> {
        None
    }

    /// What it sends with, also as base64 where it is sent so: errors do not show it.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }

    /// An error without them, which the receiver may have quoted.
    fn hidden_in(&self, error: SendError) -> SendError {
        self.secrets().iter().fold(error, |error, secret| error.hiding(secret))
    }

    /// Whether it could send now, for `pgalert check`: what was reached, or what is wrong and what to do. Neither holds a secret.
    async fn check(&self) -> Result<String, String>;
}

/// By the name that alerts use.
pub type Channels = HashMap<String, Arc<Route>>;

pub fn configured(config: &Config) -> Result<Channels, ConfigError> {
    let templates = Arc::new(templates(config)?);
    let http = Http::new(&config.http)?;
    let with = || (http.clone(), templates.clone());
    let crowd = Crowd::new(may_wait(config));
    let mut channels = Channels::new();
    let mut add = |name: &str, channel: Option<Arc<dyn Channel>>, concurrency: u32| {
        if let Some(channel) = channel {
            let route = Route::new(name, channel, concurrency, crowd.clone(), config);
            channels.insert(name.to_owned(), Arc::new(route));
        }
    };
    let Config { email, webhook, slack, sms, .. } = config;
    add("email", email::configured(email, templates.clone())?, email.concurrency);
    let (client, source) = with();
    let allow_http = config.http.allow_http;
    add("webhook", webhook::configured(webhook, allow_http, client, source), webhook.concurrency);
    let (client, source) = with();
    add("slack", slack::configured(slack, client, source)?, slack.concurrency);
    let (client, source) = with();
    add("sms", sms::configured(sms, client, source)?, sms.concurrency);
    for (name, settings) in &config.channels {
        let (client, source) = with();
        add(name, json::configured(name, settings, client, source)?, settings.concurrency);
    }
    Ok(channels)
}

/// Those of all channels, on or off.
pub fn templates(config: &Config) -> Result<Templates, ConfigError> {
    let fixed =
        ["email.subject.txt", "email.txt", "email.html", "slack.json", "sms.txt", "webhook.json"];
    let mut names: Vec<String> = fixed.map(str::to_owned).into();
    names.extend(config.channels.keys().map(|name| format!("{name}.json")));
    let bodies = config.channels.iter().filter(|(_, channel)| !channel.body.is_empty());
    let bodies = bodies.map(|(name, channel)| (format!("{name}.json"), channel.body.clone()));
    Templates::load(&config.templates.folder, bodies.collect(), &names)
}

/// A URL of the configuration that paths are added to.
fn base_url(key: &str, text: &str) -> Result<Url, ConfigError> {
    let bad =
        |reason: String| ConfigError::BadValue { name: key.into(), value: text.into(), reason };
    let url = Url::parse(text).map_err(|error| bad(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.path().ends_with('/') {
        return Err(bad("it is an http or https URL that ends in \"/\"".into()));
    }
    Ok(url)
}

fn bearer(key: &str, token: &str) -> Result<HeaderValue, ConfigError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
        ConfigError::Invalid(format!("{key} has characters that a header cannot have"))
    })?;
    value.set_sensitive(true);
    Ok(value)
}
