//! `pgalert check`: what is right, and what to do about what is not.

use crate::channels;
use crate::config::Config;
use crate::connect::{connect, Params};
use crate::database;

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
];

/// Prints a line for each thing checked. True when all is right.
pub async fn check(config: &Config, params: &Params) -> bool {
    let mut list = List { right: true };
    list.add(Ok("configuration is read".into()));
    list.database(config, params).await;
    match channels::configured(config) {
        Ok(channels) if channels.is_empty() => {
            list.add(Err("no channel is configured; set email.host or webhook.enabled".into()))
        }
        Ok(channels) => {
            let mut names: Vec<_> = channels.keys().copied().collect();
            names.sort_unstable();
            for name in names {
                let found = channels[name].channel.check().await;
                list.add(
                    found
                        .map(|text| format!("{name}: {text}"))
                        .map_err(|text| format!("{name}: {text}")),
                );
            }
        }
        Err(error) => list.add(Err(error.to_string())),
    }
    list.right
}

struct List {
    right: bool,
}

impl List {
    fn add(&mut self, found: Result<String, String>) {
        match found {
            Ok(text) => println!("✓ {text}"),
            Err(text) => {
                println!("✗ {text}");
                self.right = false;
            }
        }
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
        let client = &connected.client;
        match database::versions(client).await {
            Ok((server, Some(extension))) if extension == VERSION => {
                self.add(Ok(format!("PostgreSQL {server}, extension {extension} fits this driver")));
            }
            Ok((_, Some(extension))) => self.add(Err(format!(
                "the extension is version {extension}, this driver {VERSION}; install that version and ALTER EXTENSION pgalert UPDATE"
            ))),
            Ok((_, None)) => {
                return self.add(Err("the extension is not in this database; as a superuser: CREATE EXTENSION pgalert".into()))
            }
            Err(error) => return self.add(Err(error.to_string())),
        }
        match database::missing_rights(client, FUNCTIONS).await {
            Ok((role, missing)) if missing.is_empty() => {
                self.add(Ok(format!("role {role} may do a driver's work")))
            }
            Ok((role, missing)) => {
                return self.add(Err(format!(
                    "role {role} may not call {}; GRANT pgalert_driver TO {role}",
                    missing.join(", ")
                )))
            }
            Err(error) => return self.add(Err(error.to_string())),
        }
        match database::hold_reason(client, &config.database.environment).await {
            Ok(None) => self.add(Ok("nothing holds the queue".into())),
            Ok(Some(reason)) => self.add(Err(format!("held: {reason}"))),
            Err(error) => self.add(Err(error.to_string())),
        }
    }
}
