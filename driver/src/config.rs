//! Configuration: defaults, file, environment and flags become one checked value. Nothing is opened here but the files
//! that it names.

mod channels;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use thiserror::Error;
use toml::{Table, Value};

use crate::connect::Params;
pub use channels::{JsonChannel, Slack, Sms, Templates};

/// The reference of all keys, and their defaults.
pub const DEFAULTS: &str = include_str!("config.default.toml");
const SYSTEM_FILE: &str = "/etc/pgalert/pgalert.toml";
const HIDDEN: &str = "********";

#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path} is not TOML: {source}")]
    Syntax { path: String, source: Box<toml::de::Error> },
    #[error("{file}: there is no key \"{key}\"\nhint: `pgalert config --defaults` lists all keys")]
    UnknownKey { file: String, key: String },
    #[error("{file}: \"{key}\" is a secret and may not stand in a file that others read\nhint: use {env}, or {key}_file")]
    SecretInFile { file: String, key: String, env: String },
    #[error("{file}: \"database.url\" holds a password, which may not stand in a file that others read\nhint: leave it out there; use database.password_file, PGPASSWORD, a password file of libpq, or the variable DATABASE_URL")]
    PasswordInUrl { file: String },
    #[error("{name} cannot be \"{value}\": {reason}")]
    BadValue { name: String, value: String, reason: String },
    #[error("configuration: {0}")]
    Invalid(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub database: Database,
    pub worker: Worker,
    pub email: Email,
    pub http: Http,
    pub webhook: Webhook,
    pub slack: Slack,
    pub sms: Sms,
    pub channels: BTreeMap<String, JsonChannel>,
    pub templates: Templates,
    pub log: Log,
    /// The effective values, for `pgalert config`.
    #[serde(skip)]
    table: Table,
    /// What set a value that is no default, by "section.key".
    #[serde(skip)]
    origins: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    pub url: Secret,
    pub password_file: String,
    pub environment: String,
    pub listen: bool,
    #[serde(deserialize_with = "duration")]
    pub poll_max: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    pub batch_size: u16,
    pub max_in_flight: u32,
    #[serde(deserialize_with = "duration")]
    pub lease: Duration,
    #[serde(deserialize_with = "duration")]
    pub report_interval: Duration,
    pub report_size: usize,
    #[serde(deserialize_with = "duration")]
    pub retry_interval: Duration,
    #[serde(deserialize_with = "duration")]
    pub maintain_interval: Duration,
    #[serde(deserialize_with = "duration")]
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
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    Starttls,
    Tls,
    None,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub allow_http: bool,
    pub allow_addresses: Vec<String>,
    pub ca_file: String,
    #[serde(deserialize_with = "duration")]
    pub connect_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    pub tls_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    pub enabled: bool,
    pub concurrency: u32,
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

/// A text that Debug does not show.
#[derive(Clone, Deserialize, PartialEq)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str(if self.0.is_empty() { "" } else { HIDDEN })
    }
}

/// What flags set. Each wins over file and environment.
#[derive(Debug, Default)]
pub struct Overrides {
    pub database_url: Option<String>,
    pub log_level: Option<String>,
    pub log_format: Option<LogFormat>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str(&self.shown())
    }
}

type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Config {
    pub fn load(
        file: Option<&Path>,
        env: Environment,
        overrides: Overrides,
    ) -> Result<Self, ConfigError> {
        let mut table = defaults()?;
        let mut origins = BTreeMap::new();
        let named =
            file.map(Path::to_path_buf).or_else(|| env("PGALERT_CONFIG").map(PathBuf::from));
        let file = named.or_else(|| Some(PathBuf::from(SYSTEM_FILE)).filter(|path| path.exists()));
        if let Some(path) = file {
            let text = fs::read_to_string(&path)
                .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
            let name = path.display().to_string();
            overlay_file(&mut table, parse(&text, &name)?, &name, &mut origins)?;
        }
        overlay_environment(&mut table, env, &mut origins)?;
        let format = overrides.log_format.map(|format| match format {
            LogFormat::Json => "json".to_owned(),
            LogFormat::Text => "text".to_owned(),
        });
        for (section, key, flag, value) in [
            ("database", "url", "--database-url", overrides.database_url),
            ("log", "level", "--log-level", overrides.log_level),
            ("log", "format", "--log-format", format),
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
        for channel in config.channels.values_mut().filter(|channel| channel.enabled) {
            channel.secret = secret(&channel.secret, &channel.secret_file)?;
        }
        Ok(config)
    }

    /// The effective values as TOML, without secrets; what is no default says where it is from.
    pub fn shown(&self) -> String {
        let mut text = String::new();
        for (section, values) in &self.table {
            let values = values.as_table().into_iter().flatten();
            if section != CHANNELS {
                self.show_section(section, values, &mut text);
                continue;
            }
            for (channel, values) in values {
                let values = values.as_table().into_iter().flatten();
                self.show_section(&format!("{CHANNELS}.{channel}"), values, &mut text);
            }
        }
        text
    }

    fn show_section<'a>(
        &self,
        section: &str,
        values: impl Iterator<Item = (&'a String, &'a Value)>,
        text: &mut String,
    ) {
        text.push_str(&format!("[{section}]\n"));
        for (key, value) in values {
            let full = format!("{section}.{key}");
            let shown = match value.as_str() {
                Some(url) if full == "database.url" && !url.is_empty() => {
                    let redacted = Params::parse(url, &|_| None).map(|params| params.redacted());
                    Value::String(redacted.unwrap_or_else(|_| HIDDEN.into())).to_string()
                }
                Some(secret) if SECRET_KEYS.contains(&key.as_str()) && !secret.is_empty() => {
                    Value::from(HIDDEN).to_string()
                }
                _ => value.to_string(),
            };
            let origin = self.origins.get(&full);
            let origin = origin.map(|origin| format!("  # {origin}")).unwrap_or_default();
            text.push_str(&format!("{key} = {shown}{origin}\n"));
        }
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
        for (name, channel) in &self.channels {
            channel.check(name)?;
        }
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(ConfigError::Invalid((*rule).into())),
            None => Ok(()),
        }
    }
}

/// Keys that are secrets wherever they stand; database.url is one only where it holds a password.
const SECRET_KEYS: &[&str] = &["password", "secret", "token"];
/// The section whose keys are sections.
const CHANNELS: &str = "channels";

fn parse(text: &str, path: &str) -> Result<Table, ConfigError> {
    text.parse()
        .map_err(|source| ConfigError::Syntax { path: path.into(), source: Box::new(source) })
}

/// The defaults of channels say only what is their own.
fn defaults() -> Result<Table, ConfigError> {
    let mut table = parse(DEFAULTS, "the defaults")?;
    if let Some(Value::Table(channels)) = table.get_mut(CHANNELS) {
        for (_, channel) in channels.iter_mut() {
            let mut whole = parse(channels::DEFAULTS, "the defaults")?;
            if let Value::Table(channel) = channel {
                whole.extend(std::mem::take(channel));
            }
            *channel = Value::Table(whole);
        }
    }
    Ok(table)
}

fn set(table: &mut Table, section: &str, key: &str, value: Value) {
    if let Some(Value::Table(section)) = table.get_mut(section) {
        section.insert(key.into(), value);
    }
}

/// Sections of the file over those of the defaults. `[channels.<name>]` are sections too, and there may be new ones.
fn overlay_file(
    table: &mut Table,
    file: Table,
    name: &str,
    origins: &mut BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    for (section, values) in file {
        let unknown = |key| ConfigError::UnknownKey { file: name.into(), key };
        let Value::Table(values) = values else { return Err(unknown(section)) };
        let Some(Value::Table(known)) = table.get_mut(&section) else {
            return Err(unknown(section));
        };
        if section != CHANNELS {
            overlay_section(known, &section, values, name, origins)?;
            continue;
        }
        for (channel, values) in values {
            let section = format!("{CHANNELS}.{channel}");
            let Value::Table(values) = values else { return Err(unknown(section)) };
            let known = known
                .entry(channel)
                .or_insert(Value::Table(parse(channels::DEFAULTS, "the defaults")?));
            if let Value::Table(known) = known {
                overlay_section(known, &section, values, name, origins)?;
            }
        }
    }
    Ok(())
}

fn overlay_section(
    known: &mut Table,
    section: &str,
    values: Table,
    name: &str,
    origins: &mut BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    for (key, value) in values {
        let full = format!("{section}.{key}");
        if !known.contains_key(&key) {
            return Err(ConfigError::UnknownKey { file: name.into(), key: full });
        }
        if SECRET_KEYS.contains(&key.as_str()) {
            let env = env_name(section, &key);
            return Err(ConfigError::SecretInFile { file: name.into(), key: full, env });
        }
        if full == "database.url" {
            let text = value.as_str().unwrap_or_default();
            if Params::parse(text, &|_| None).is_ok_and(|params| params.has_password()) {
                return Err(ConfigError::PasswordInUrl { file: name.into() });
            }
        }
        origins.insert(full, name.into());
        known.insert(key, value);
    }
    Ok(())
}

fn env_name(section: &str, key: &str) -> String {
    format!("PGALERT_{}_{}", section.replace('.', "_").to_uppercase(), key.to_uppercase())
}

/// Variables of keys; each is read as the type that its default has.
fn overlay_environment(
    table: &mut Table,
    env: Environment,
    origins: &mut BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    if let Some(url) = env("DATABASE_URL") {
        set(table, "database", "url", Value::String(url));
        origins.insert("database.url".into(), "DATABASE_URL".into());
    }
    for (section, values) in table.iter_mut() {
        let Value::Table(values) = values else { continue };
        if section != CHANNELS {
            environment_of_section(values, section, env, origins)?;
            continue;
        }
        for (channel, values) in values.iter_mut() {
            if let Value::Table(values) = values {
                environment_of_section(values, &format!("{CHANNELS}.{channel}"), env, origins)?;
            }
        }
    }
    Ok(())
}

fn environment_of_section(
    values: &mut Table,
    section: &str,
    env: Environment,
    origins: &mut BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    for (key, value) in values.iter_mut() {
        let name = env_name(section, key);
        let Some(text) = env(&name) else { continue };
        origins.insert(format!("{section}.{key}"), name.clone());
        let parsed = match value {
            Value::Integer(_) => {
                text.parse().map(Value::Integer).map_err(|_| "it is a whole number")
            }
            Value::Boolean(_) => {
                text.parse().map(Value::Boolean).map_err(|_| "it is true or false")
            }
            // An item cannot hold a comma.
            Value::Array(_) => Ok(Value::Array(
                text.split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty())
                    .map(Value::from)
                    .collect(),
            )),
            Value::Table(_) => Err("it is a table, which only a file can have"),
            _ => Ok(Value::String(text.clone())),
        };
        *value = parsed.map_err(|reason| ConfigError::BadValue {
            name,
            value: text,
            reason: reason.into(),
        })?;
    }
    Ok(())
}

/// The value itself, which only the environment can have given, before the file's.
fn secret(value: &Secret, file: &str) -> Result<Secret, ConfigError> {
    if file.is_empty() || !value.0.is_empty() {
        return Ok(value.clone());
    }
    read_secret(Path::new(file))
}

/// The content of a file that holds one secret; a line break at its end does not count.
pub fn read_secret(path: &Path) -> Result<Secret, ConfigError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_path_buf(), source })?;
    Ok(Secret(text.trim_end_matches(['\r', '\n']).to_owned()))
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|e| {
        serde::de::Error::custom(format!(
            "\"{text}\" is no duration such as \"500ms\" or \"30s\": {e}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let path =
            std::env::temp_dir().join(format!("pgalert-config-{}.toml", rand::random::<u64>()));
        fs::write(&path, file).unwrap();
        let lookup = |name: &str| {
            env.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
        };
        let config = Config::load(Some(&path), &lookup, Overrides::default());
        fs::remove_file(path).unwrap();
        config
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
        let config = load(
            "[worker]\nbatch_size = 7\nreport_size = 8\n",
            &[("PGALERT_WORKER_BATCH_SIZE", "9")],
        )
        .unwrap();
        assert_eq!((config.worker.batch_size, config.worker.report_size), (9, 8));
        assert_eq!(config.worker.lease, Duration::from_secs(60));
    }

    #[test]
    fn unknown_keys_and_bad_values_are_named() {
        for (file, env, expected) in [
            ("[worker]\nbatchsize = 1\n", ("", ""), "there is no key \"worker.batchsize\""),
            ("[slcak]\n", ("", ""), "there is no key \"slcak\""),
            (
                "",
                ("PGALERT_WORKER_BATCH_SIZE", "many"),
                "PGALERT_WORKER_BATCH_SIZE cannot be \"many\"",
            ),
            ("[worker]\nlease = \"soon\"\n", ("", ""), "\"soon\" is no duration"),
            ("[worker]\nbatch_size = 0\n", ("", ""), "worker.batch_size is from 1 to 10000"),
            ("[email]\nhost = \"localhost\"\n", ("", ""), "email.from is needed"),
            ("[worker]\nbatch_size = \"x\"\n", ("", ""), "worker.batch_size"),
        ] {
            let error = load(file, &[env]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn secrets_are_refused_in_the_file_and_hidden_in_what_is_shown() {
        let error = load("[email]\npassword = \"hunter2\"\n", &[]).unwrap_err().to_string();
        assert!(error.contains("PGALERT_EMAIL_PASSWORD") && !error.contains("hunter2"), "{error}");
        let env =
            [("PGALERT_EMAIL_PASSWORD", "hunter2"), ("DATABASE_URL", "postgres://me:hunter2@db/x")];
        let config = load("", &env).unwrap();
        assert_eq!(config.email.password.expose(), "hunter2");
        assert!(!config.shown().contains("hunter2"), "{}", config.shown());
        assert!(!format!("{config:?}").contains("hunter2"));
        for url in ["postgres://me:hunter2@db/x", "host=db password=hunter2"] {
            let error = load(&format!("[database]\nurl = \"{url}\"\n"), &[]).unwrap_err();
            assert!(matches!(error, ConfigError::PasswordInUrl { .. }), "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        load("[database]\nurl = \"postgres://me@db/x\"\n", &[]).unwrap();
    }

    #[test]
    fn what_is_shown_says_where_it_is_from_and_can_be_read_again() {
        let env = [("PGALERT_WORKER_REPORT_SIZE", "9")];
        let shown = load("[worker]\nlease = \"30s\"\n", &env).unwrap().shown();
        assert!(shown.contains("report_size = 9  # PGALERT_WORKER_REPORT_SIZE\n"), "{shown}");
        assert!(shown.contains("lease = \"30s\"  # /"), "{shown}");
        assert!(shown.contains("batch_size = 500\n"), "{shown}");
        let read: Table = shown.parse().unwrap();
        assert_eq!(read["worker"]["report_size"].as_integer(), Some(9));
    }

    #[test]
    fn the_environments_password_wins_over_the_files() {
        let env = [
            ("PGALERT_EMAIL_PASSWORD", "direct"),
            ("PGALERT_EMAIL_PASSWORD_FILE", "/nonexistent/password"),
        ];
        assert_eq!(load("", &env).unwrap().email.password.expose(), "direct");
        assert!(matches!(load("", &env[1..]), Err(ConfigError::Unreadable { .. })));
    }
}
