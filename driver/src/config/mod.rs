//! Configuration: defaults, file, environment and flags become one checked value. Nothing is opened here but the files
//! that it names.

mod channels;
mod desk;
mod error;
mod layers;
mod secrets;
mod sections;
mod show;
mod traces;
mod values;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::{Table, Value};

pub use channels::{JsonChannel, Slack, Sms, Templates};
pub use desk::Desk;
pub use error::ConfigError;
pub use layers::Environment;
use layers::{check_environment, defaults, overlay_environment, overlay_file, parse, set};
use secrets::secret;
pub use secrets::{read_secret, Secret};
pub use sections::{
    Breaker, Database, Email, Http, Limits, Log, LogFormat, Metrics, Security, Webhook, Worker,
};
pub use traces::Traces;

/// The reference of all keys, and their defaults.
pub const DEFAULTS: &str = include_str!("../config.default.toml");
const SYSTEM_FILE: &str = "/etc/pgalert/pgalert.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub database: Database,
    pub worker: Worker,
    pub email: Email,
    pub limits: Limits,
    pub breaker: Breaker,
    pub http: Http,
    pub webhook: Webhook,
    pub slack: Slack,
    pub sms: Sms,
    pub channels: BTreeMap<String, JsonChannel>,
    pub templates: Templates,
    pub metrics: Metrics,
    pub traces: Traces,
    pub desk: Desk,
    pub log: Log,
    /// The effective values, for `pgalert config`.
    #[serde(skip)]
    table: Table,
    /// What set a value that is no default, by "section.key".
    #[serde(skip)]
    origins: BTreeMap<String, String>,
}

/// What flags set. Each wins over file and environment.
#[derive(Debug, Default)]
pub struct Overrides {
    pub database_url: Option<String>,
    pub log_level: Option<String>,
    pub log_format: Option<LogFormat>,
    pub metrics_listen: Option<String>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str(&self.shown())
    }
}

impl Config {
    pub fn load(
        file: Option<&Path>,
        env: &Environment,
        overrides: Overrides,
    ) -> Result<Self, ConfigError> {
        let mut table = defaults()?;
        let mut origins = BTreeMap::new();
        let named =
            file.map(Path::to_path_buf).or_else(|| env.get("PGALERT_CONFIG").map(PathBuf::from));
        let file = named.or_else(|| Some(PathBuf::from(SYSTEM_FILE)).filter(|path| path.exists()));
        if let Some(path) = file {
            let text = fs::read_to_string(&path)
                .map_err(|cause| ConfigError::Unreadable { path: path.clone(), cause })?;
            let name = path.display().to_string();
            overlay_file(&mut table, parse(&text, &name)?, &name, &mut origins)?;
        }
        check_environment(&table, env)?;
        overlay_environment(&mut table, env, &mut origins)?;
        let format = overrides.log_format.map(|format| match format {
            LogFormat::Json => "json".to_owned(),
            LogFormat::Text => "text".to_owned(),
        });
        for (section, key, flag, value) in [
            ("database", "url", "--database-url", overrides.database_url),
            ("log", "level", "--log-level", overrides.log_level),
            ("log", "format", "--log-format", format),
            ("metrics", "listen", "--metrics-listen", overrides.metrics_listen),
        ] {
            if let Some(value) = value {
                set(&mut table, section, key, Value::String(value));
                origins.insert(format!("{section}.{key}"), flag.into());
            }
        }
        let mut config: Config = Value::Table(table.clone())
            .try_into()
            .map_err(|e: toml::de::Error| ConfigError::Invalid(e.to_string()))?;
        (config.table, config.origins) = (table, origins);
        config.check()?;
        config.email.password = secret(&config.email.password, &config.email.password_file)?;
        config.slack.token = secret(&config.slack.token, &config.slack.token_file)?;
        config.sms.secret = secret(&config.sms.secret, &config.sms.secret_file)?;
        config.desk.read_tokens()?;
        config.traces.read_headers()?;
        for channel in config.channels.values_mut().filter(|channel| channel.enabled) {
            channel.secret = secret(&channel.secret, &channel.secret_file)?;
        }
        Ok(config)
    }

    /// Those of which an alert may come here: the built-in ones, and those that this file turns on.
    pub fn channel_names(&self) -> Vec<&str> {
        let on = self.channels.iter().filter(|(_, channel)| channel.enabled);
        ["email", "slack", "sms", "webhook"]
            .into_iter()
            .chain(on.map(|(name, _)| name.as_str()))
            .collect()
    }

    /// No file, variable or flag sets it.
    pub fn is_default(&self, key: &str) -> bool {
        !self.origins.contains_key(key)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let worker = &self.worker;
        let rules = [
            ((1..=10_000).contains(&worker.batch_size), "worker.batch_size is from 1 to 10000"),
            (worker.max_in_flight >= 1, "worker.max_in_flight is at least 1"),
            (worker.report_size >= 1, "worker.report_size is at least 1"),
            (
                (Duration::from_millis(100)..=Duration::from_secs(86_400)).contains(&worker.lease),
                "worker.lease is from 100ms to 24h",
            ),
            (!worker.report_interval.is_zero(), "worker.report_interval is more than 0"),
            (!worker.maintain_interval.is_zero(), "worker.maintain_interval is more than 0"),
            (!self.database.poll_max.is_zero(), "database.poll_max is more than 0"),
            (self.limits.host_concurrency >= 1, "limits.host_concurrency is at least 1"),
            (!self.metrics.claim_within.is_zero(), "metrics.claim_within is more than 0"),
            (!self.breaker.pause.is_zero(), "breaker.pause is more than 0"),
            (
                self.breaker.max_pause >= self.breaker.pause,
                "breaker.max_pause is at least breaker.pause",
            ),
            (!self.http.connect_timeout.is_zero(), "http.connect_timeout is more than 0"),
            (!self.http.tls_timeout.is_zero(), "http.tls_timeout is more than 0"),
            (!self.http.timeout.is_zero(), "http.timeout is more than 0"),
            (!self.email.timeout.is_zero(), "email.timeout is more than 0"),
            (self.email.concurrency >= 1, "email.concurrency is at least 1"),
            (self.webhook.concurrency >= 1, "webhook.concurrency is at least 1"),
            (self.slack.concurrency >= 1, "slack.concurrency is at least 1"),
            (self.sms.concurrency >= 1, "sms.concurrency is at least 1"),
            (
                self.email.host.is_empty() || !self.email.from.is_empty(),
                "email.from is needed where email.host is set",
            ),
        ];
        self.sms.check()?;
        self.desk.check()?;
        self.traces.check()?;
        for (name, channel) in &self.channels {
            channel.check(name)?;
        }
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(ConfigError::Invalid((*rule).into())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
