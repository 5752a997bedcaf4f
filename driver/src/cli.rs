//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::LogFormat;
use crate::deliveries::DeliveriesCommand;
use crate::dlq::DlqCommand;

/// Sends the alerts that a database has accepted (extension pgalert).
///
/// Exit codes: 0 done; 1 could not do its work; 2 wrong usage; 64 wrong configuration; 70 a fault of the program.
#[derive(Debug, Parser)]
#[command(name = "pgalert", version, max_term_width = 100)]
pub struct Cli {
    /// Configuration file [default: /etc/pgalert/pgalert.toml where it exists]
    #[arg(long, global = true, env = "PGALERT_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Connection string as libpq has it. Shown to other users of this machine: prefer the variable DATABASE_URL
    #[arg(long, global = true, value_name = "URL")]
    pub database_url: Option<String>,

    /// error, warn, info, debug, trace or a filter such as "info,pgalert=debug"
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<String>,

    /// Form of the log on standard error
    #[arg(long, global = true, value_enum)]
    pub log_format: Option<LogFormat>,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send alerts as they come, until SIGTERM
    ///
    /// Waits for a database that is away, also at the start; a refused login, a missing extension or missing rights end it.
    ///
    /// Section [traces] of the configuration, or OTEL_EXPORTER_OTLP_ENDPOINT, says where spans of the sends are handed over.
    Run {
        /// Serve /metrics, /healthz and /readyz there, instead of on 127.0.0.1:9189; "" for nowhere
        #[arg(long, value_name = "ADDRESS")]
        metrics_listen: Option<String>,
        /// Serve the desk, too, as `pgalert desk` does
        #[arg(long)]
        desk: bool,
    },
    /// Show in a browser what was sent and what failed, and act on it: http://127.0.0.1:9188 until SIGTERM
    ///
    /// Section [desk] of the configuration says where it listens and who may come in. Its role is a member of
    /// pgalert_operator.
    Desk,
    /// Send all that is due and exit; prints "N delivered, N failed, N deferred, N skipped"
    ///
    /// Skipped are dead letters whose next retry is not due. Exits with 0 also when some failed (they are in the dead
    /// letter queue), with 1 when it could not do its work.
    Once,
    /// Fire an alert by hand and print what became of it: delivered, queued, duplicate, capped, no_channels or expired
    Deliver {
        /// The alert as a JSON object, or @FILE; at least {"id": "..."}
        #[arg(long, value_name = "JSON")]
        alert: String,
        #[arg(long, value_name = "USER_ID")]
        user: String,
        #[arg(long, value_name = "TEXT")]
        message: String,
        /// How long the same content is refused, such as "1 hour"; "0" not at all [default: the policy's]
        #[arg(long, value_name = "INTERVAL")]
        dedup_window: Option<String>,
        /// The span that fires it, as W3C Trace Context has it: spans of its sends are that one's children. What is not of that
        /// form is dropped
        #[arg(long, value_name = "TRACEPARENT")]
        traceparent: Option<String>,
    },
    /// Check configuration, database, rights and receivers; says what to do about what is wrong
    Check,
    /// Send a test message through a channel and print what its receiver answered; exits with 1 when it was refused
    ///
    /// It goes the way of an alert, but past the database: nothing is recorded.
    Test {
        #[arg(long)]
        channel: String,
        /// Where to: an address as `pgalert recipients add` takes it
        #[arg(long, value_name = "ADDRESS", allow_hyphen_values = true)]
        to: String,
        /// Sign as for a recipient with the secret in this file
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
        #[command(flatten)]
        sample: Sample,
    },
    /// Print what a channel would send, as its templates have it
    Preview {
        #[arg(long)]
        channel: String,
        #[arg(long, value_name = "ADDRESS", default_value = "address", allow_hyphen_values = true)]
        to: String,
        #[command(flatten)]
        sample: Sample,
    },
    /// Where users are reached
    #[command(subcommand)]
    Recipients(RecipientsCommand),
    /// Names of channels that alerts may use, beyond the built-in ones
    #[command(subcommand)]
    Channels(ChannelsCommand),
    /// What failed: look at it, retry, edit, discard
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// What was delivered
    #[command(subcommand)]
    Deliveries(DeliveriesCommand),
    /// How it goes: queue, workers, dead letters, the last hour
    Status {
        #[arg(long)]
        json: bool,
    },
    /// Print the completion for a shell
    Completions { shell: clap_complete::Shell },
    /// Write the man pages into a folder
    Man {
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Print the effective configuration, with secrets hidden
    Config {
        /// Print the defaults instead: the reference of all keys
        #[arg(long)]
        defaults: bool,
    },
}

const SAMPLE_ALERT: &str = r#"{"id": "pgalert-test", "name": "Test of pgalert"}"#;
const SAMPLE_USER: &str = "test";
const SAMPLE_MESSAGE: &str = "This is a test; nothing has happened.";

/// An alert that nobody fired.
#[derive(Debug, Args)]
pub struct Sample {
    /// The alert as a JSON object, or @FILE
    #[arg(long, value_name = "JSON", default_value = SAMPLE_ALERT)]
    pub alert: String,
    #[arg(long, value_name = "USER_ID", default_value = SAMPLE_USER)]
    pub user: String,
    #[arg(long, value_name = "TEXT", default_value = SAMPLE_MESSAGE)]
    pub message: String,
}

impl Default for Sample {
    fn default() -> Self {
        let [alert, user, message] = [SAMPLE_ALERT, SAMPLE_USER, SAMPLE_MESSAGE].map(str::to_owned);
        Self { alert, user, message }
    }
}

#[derive(Debug, Subcommand)]
pub enum ChannelsCommand {
    /// Make a name known to the database; a section [channels.<name>] says how it is sent
    Add {
        name: String,
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
    },
    /// List names: name, whether it is built in, description
    List {
        #[arg(long)]
        json: bool,
    },
    /// Refuse alerts and new addresses that use a name from now on
    Remove { name: String },
}

#[derive(Debug, Subcommand)]
pub enum RecipientsCommand {
    /// Add an address and print its id; an address that is there already keeps its id
    Add {
        user: String,
        channel: String,
        #[arg(allow_negative_numbers = true)]
        address: String,
        #[command(flatten)]
        secret: NewSecret,
    },
    /// Give an address a new secret; messages are signed with it and the one before, until that is dropped
    RotateSecret {
        recipient_id: i64,
        /// Read it from this file ("-": standard input) instead of making one
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
    },
    /// Sign with the newest secret of an address alone
    DropOldSecret { recipient_id: i64 },
    /// Send to an address again that was disabled because its receiver said that it is gone
    Enable { recipient_id: i64 },
    /// List addresses: id, user, channel, address, then "signed" and "disabled: why" where they are
    List {
        /// Only this user's
        #[arg(long, value_name = "USER_ID")]
        user: Option<String>,
        #[arg(long)]
        json: bool,
    },
    /// Remove an address by its id
    Remove { recipient_id: i64 },
}

/// What messages to an address are signed with, as Standard Webhooks asks.
#[derive(Debug, Args)]
pub struct NewSecret {
    /// Make a secret for its messages to be signed with, and print it after the id, this once
    #[arg(long)]
    pub generate_secret: bool,
    /// Read the secret from this file; "-" is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "generate_secret")]
    pub secret_file: Option<PathBuf>,
}
