//! Sections but those of the channels by HTTP; config.default.toml explains their keys.

use std::net::SocketAddr;
use std::time::Duration;

use governor::Quota;
use serde::Deserialize;

use super::secrets::Secret;
use super::values;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    pub url: Secret,
    pub password_file: String,
    pub environment: String,
    pub listen: bool,
    #[serde(deserialize_with = "values::duration")]
    pub poll_max: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    pub batch_size: u16,
    pub max_in_flight: u32,
    #[serde(deserialize_with = "values::duration")]
    pub lease: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub report_interval: Duration,
    pub report_size: usize,
    #[serde(deserialize_with = "values::durations")]
    pub quick_retries: Vec<Duration>,
    #[serde(deserialize_with = "values::duration")]
    pub retry_interval: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub maintain_interval: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub shutdown_grace: Duration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Email {
    pub host: String,
    pub port: u16,
    pub security: Security,
    pub ca_file: String,
    pub username: String,
    pub password: Secret,
    pub password_file: String,
    pub from: String,
    pub unsubscribe_url: String,
    pub dkim_selector: String,
    pub dkim_domain: String,
    pub dkim_key_file: String,
    pub concurrency: u32,
    #[serde(deserialize_with = "values::duration")]
    pub timeout: Duration,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    Starttls,
    Tls,
    None,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub host_concurrency: u32,
    #[serde(deserialize_with = "values::rate")]
    pub per_recipient: Option<Quota>,
    #[serde(deserialize_with = "values::duration")]
    pub max_wait: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Breaker {
    pub failures: u32,
    #[serde(deserialize_with = "values::duration")]
    pub pause: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub max_pause: Duration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub allow_http: bool,
    pub allow_addresses: Vec<String>,
    pub ca_file: String,
    #[serde(deserialize_with = "values::duration")]
    pub connect_timeout: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub tls_timeout: Duration,
    #[serde(deserialize_with = "values::duration")]
    pub timeout: Duration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    pub enabled: bool,
    pub concurrency: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    #[serde(deserialize_with = "values::listen")]
    pub listen: Option<SocketAddr>,
    #[serde(deserialize_with = "values::duration")]
    pub claim_within: Duration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub level: String,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}
