//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::LogFormat;

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
    Run,
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
    },
    /// Check configuration, database, rights and receivers; says what to do about what is wrong
    Check,
    /// Where users are reached
    #[command(subcommand)]
    Recipients(RecipientsCommand),
    /// Print the effective configuration, with secrets hidden
    Config {
        /// Print the defaults instead: the reference of all keys
        #[arg(long)]
        defaults: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum RecipientsCommand {
    /// Add an address and print its id; an address that is there already keeps its id
    Add { user: String, channel: String, address: String },
    /// List addresses: id, user, channel, address
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
