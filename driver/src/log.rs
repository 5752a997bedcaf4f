//! The log: to standard error, as text or JSON. Standard output is for data.

use std::io::{stderr, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, Log, LogFormat};

pub fn init(config: &Log) -> Result<(), ConfigError> {
    let filter = EnvFilter::try_new(&config.level).map_err(|e| ConfigError::BadValue {
        name: "log.level".into(),
        value: config.level.clone(),
        reason: e.to_string(),
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        // It would be told to standard error, by a macro that panics where that is closed.
        .log_internal_errors(false);
    match config.format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => builder.with_target(false).with_ansi(stderr().is_terminal()).init(),
    }
    Ok(())
}
