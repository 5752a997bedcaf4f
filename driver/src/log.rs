//! The log: to standard error, as text or JSON. Standard output is for data.

use std::io::{stderr, IsTerminal};

use tracing_subscriber::filter::{EnvFilter, LevelFilter};

use crate::config::{ConfigError, Log, LogFormat};

pub fn init(config: &Log) -> Result<(), ConfigError> {
    let filter = filter(&config.level).map_err(|reason| ConfigError::BadValue {
        name: "log.level".into(),
        value: config.level.clone(),
        reason,
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

/// A word that stands alone is a level here: taken as the name of a part of the program, it would mute all others.
fn filter(text: &str) -> Result<EnvFilter, String> {
    let mut alone = text.split(',').filter(|part| !part.contains(['=', '[', '{']));
    if alone.any(|word| word.parse::<LevelFilter>().is_err()) {
        return Err("it is error, warn, info, debug, trace or off; or a filter such as \"info,pgalert=debug\"".into());
    }
    EnvFilter::try_new(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_refused() {
        for good in ["info", "WARN", "off", "info,pgalert=debug", "info,hyper=off", "[send]=trace"]
        {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["infoo", "warning", "info,pgalert", "info,pgalert=debgu"] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }
}
