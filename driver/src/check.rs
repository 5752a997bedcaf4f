//! `pgalert check`: what is right, and what to do about what is not.

use tokio_postgres::Client;
use tracing::warn;

use crate::channels::{self, preview};
use crate::cli::Sample;
use crate::config::Config;
use crate::connect::{connect, ConnectError, Params};
use crate::database::DatabaseError;
use crate::entry::Unready;
use crate::{database, output, sample, traces};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What the driver's role must be allowed to call.
const FUNCTIONS: &[&str] = &[
    "pgalert.claim_batch(text,integer,interval)",
    "pgalert.report(bigint,text,jsonb)",
    "pgalert.extend_lease(bigint,text,interval)",
    "pgalert.release_claim(bigint,text)",
    "pgalert.schedule_retries(integer)",
    "pgalert.maintain()",
    "pgalert.announce_sleep(interval)",
    "pgalert.hold_reason()",
    "pgalert.count_waiting()",
    "pgalert.metrics()",
];

/// Prints a line for each thing checked. True when all is right.
pub async fn check(config: &Config, params: &Params) -> bool {
    let mut list = List { right: true };
    list.add(Ok("configuration is read".into()));
    list.database(config, params).await;
    list.templates(config);
    match channels::configured(config) {
        Ok(channels) if channels.is_empty() => {
            list.add(Err("no channel is configured; set email.host or webhook.enabled".into()))
        }
        Ok(channels) => {
            let mut names: Vec<&str> = channels.keys().map(String::as_str).collect();
            names.sort_unstable();
            for name in names {
                let found = channels[name].channel().check().await;
                list.add(
                    found
                        .map(|text| format!("{name}: {text}"))
                        .map_err(|text| format!("{name}: {text}")),
                );
            }
        }
        Err(error) => list.add(Err(error.to_string())),
    }
    list.traces(config).await;
    list.right
}

/// Whether the extension is of this driver's version: what is there, or what is wrong.
pub async fn fits(client: &Client) -> Result<String, String> {
    extension(client).await.map_err(String::from)
}

/// What `run` and `once` need before they start: without it each of their calls would fail.
pub async fn ready(client: &Client) -> Result<(), Unready> {
    match extension(client).await {
        Err(Unfit::Missing(text)) => return Err(Unready::Unfit(text)),
        Err(Unfit::Unknown(error)) => return Err(Unready::Database(error)),
        Err(Unfit::Differs(text)) => warn!("{text}"),
        Ok(_) => {}
    }
    rights(client).await.map(drop)
}

struct List {
    right: bool,
}

/// The exit code tells the same to a caller who does not read on.
fn say(mark: &str, text: &str) {
    let _ = output::line(format_args!("{mark} {text}"));
}

/// What is wrong with the extension's version.
enum Unfit {
    Missing(String),
    Differs(String),
    /// It was not answered.
    Unknown(DatabaseError),
}

impl From<Unfit> for String {
    fn from(unfit: Unfit) -> String {
        match unfit {
            Unfit::Missing(text) | Unfit::Differs(text) => text,
            Unfit::Unknown(error) => error.to_string(),
        }
    }
}

async fn extension(client: &Client) -> Result<String, Unfit> {
    match database::versions(client).await {
        Ok((server, Some(extension))) if extension == VERSION => {
            Ok(format!("PostgreSQL {server}, extension {extension} fits this driver"))
        }
        Ok((_, Some(extension))) => Err(Unfit::Differs(format!(
            "the extension is version {extension}, this driver {VERSION}; install that version and ALTER EXTENSION pgalert UPDATE"
        ))),
        Ok((_, None)) => Err(Unfit::Missing(
            "the extension is not in this database; as a superuser: CREATE EXTENSION pgalert".into(),
        )),
        Err(error) => Err(Unfit::Unknown(error)),
    }
}

async fn rights(client: &Client) -> Result<String, Unready> {
    match database::missing_rights(client, FUNCTIONS).await {
        Ok((role, missing)) if missing.is_empty() => {
            Ok(format!("role {role} may do a driver's work"))
        }
        Ok((role, missing)) => Err(Unready::Unfit(format!(
            "role {role} may not call {}; GRANT pgalert_driver TO {role}",
            missing.join(", ")
        ))),
        Err(DatabaseError::Refused { sqlstate, message, .. }) if sqlstate.starts_with("42") => {
            Err(Unready::Unfit(format!(
                "{message}; GRANT pgalert_driver TO the role of the connection"
            )))
        }
        Err(error) => Err(Unready::Database(error)),
    }
}

impl List {
    fn add(&mut self, found: Result<String, String>) {
        match found {
            Ok(text) => say("✓", &text),
            Err(text) => {
                say("✗", &text);
                self.right = false;
            }
        }
    }

    /// The user's own, with an alert that says little.
    fn templates(&mut self, config: &Config) {
        let templates = match channels::templates(config) {
            Ok(templates) => templates,
            Err(error) => return self.add(Err(error.to_string())),
        };
        let names = templates.own();
        let mut channels: Vec<_> = names.iter().filter_map(|name| name.split('.').next()).collect();
        channels.dedup();
        for channel in channels {
            let rendered = sample::message(&Sample::default())
                .map_err(|error| error.to_string())
                .and_then(|message| {
                    preview::parts(config, &templates, channel, &message, "address")
                        .map_err(|error| error.text())
                });
            self.add(match rendered {
                Ok(_) => Ok(format!("{channel}: your templates render")),
                Err(text) => Err(format!("{channel}: {text}; `pgalert preview --channel {channel}` tries it with an alert of yours")),
            });
        }
    }

    async fn traces(&mut self, config: &Config) {
        let endpoint = &config.traces.endpoint;
        if endpoint.is_empty() {
            return;
        }
        self.add(match traces::check(config).await {
            Ok(()) => Ok(format!("traces: {endpoint} takes them")),
            Err(error) => Err(format!(
                "traces: {endpoint} does not take them: {error}; traces.endpoint is a collector's port for OTLP by HTTP, usually 4318"
            )),
        });
    }

    async fn database(&mut self, config: &Config, params: &Params) {
        let connected = match connect(params).await {
            Ok(connected) => connected,
            Err(error) => return self.add(Err(format!("database {}: {error}", params.redacted()))),
        };
        let tls = if connected.tls { "with TLS" } else { "without TLS" };
        self.add(Ok(format!(
            "database {} is reached on {} {tls}",
            params.redacted(),
            connected.host
        )));
        if let Some(why) = connected.read_only {
            let host = connected.host.clone();
            self.add(Err(ConnectError::ReadOnly { host, why }.to_string()));
        }
        let client = &connected.client;
        let installed = extension(client).await;
        let missing = matches!(installed, Err(Unfit::Missing(_) | Unfit::Unknown(_)));
        self.add(installed.map_err(String::from));
        if missing {
            return;
        }
        let permitted = rights(client).await;
        let refused = permitted.is_err();
        self.add(permitted.map_err(|error| error.to_string()));
        if refused {
            return;
        }
        match database::hold_reason(client, &config.database.environment).await {
            Ok(None) => self.add(Ok("nothing holds the queue".into())),
            Ok(Some(reason)) => self.add(Err(format!("held: {reason}"))),
            Err(error) => self.add(Err(error.to_string())),
        }
        match database::channels::list_channels(client).await {
            Ok(known) => {
                let unknown = config.channels.iter().filter(|(name, channel)| {
                    channel.enabled && known.iter().all(|known| known.name != **name)
                });
                for (name, _) in unknown {
                    self.add(Err(format!(
                        "channel {name} is configured, but the database does not know its name; `pgalert channels add {name}`"
                    )));
                }
            }
            Err(error) => self.add(Err(error.to_string())),
        }
    }
}
