//! Layers: the defaults, the file and the environment, one over the other.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::channels;
use super::secrets::{SECRET_KEYS, URL_KEYS};
use super::{ConfigError, DEFAULTS};
use crate::connect::Params;

/// Variables by name.
pub type Environment = BTreeMap<String, String>;

/// Variables that others know, too, and their keys. What they set, PGALERT_… sets anew.
const COMMON: &[(&str, &str, &str)] = &[
    ("DATABASE_URL", "database", "url"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "traces", "endpoint"),
    ("OTEL_SERVICE_NAME", "traces", "service_name"),
];

/// The section whose keys are sections.
pub const CHANNELS: &str = "channels";

pub fn parse(text: &str, path: &str) -> Result<Table, ConfigError> {
    text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        ConfigError::Syntax {
            path: path.into(),
            line: before.matches('\n').count() + 1,
            problem: error.message().to_owned(),
        }
    })
}

/// The defaults of channels say only what is their own.
pub fn defaults() -> Result<Table, ConfigError> {
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

pub fn set(table: &mut Table, section: &str, key: &str, value: Value) {
    if let Some(Value::Table(section)) = table.get_mut(section) {
        section.insert(key.into(), value);
    }
}

/// Sections of the file over those of the defaults. `[channels.<name>]` are sections too, and there may be new ones.
pub fn overlay_file(
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
        if URL_KEYS.contains(&full.as_str()) {
            let text = value.as_str().unwrap_or_default();
            if Params::parse(text, &|_| None).is_ok_and(|params| params.has_password()) {
                let env = match full.as_str() {
                    "database.url" => "DATABASE_URL".to_owned(),
                    _ => env_name(section, &key),
                };
                let file = name.into();
                return Err(ConfigError::PasswordInUrl { file, key: full, env });
            }
        }
        // "1" is written for "1.0".
        let value = match (&known[&key], value) {
            (Value::Float(_), Value::Integer(whole)) => Value::Float(whole as f64),
            (_, value) => value,
        };
        origins.insert(full, name.into());
        known.insert(key, value);
    }
    Ok(())
}

fn env_name(section: &str, key: &str) -> String {
    format!("PGALERT_{}_{}", section.replace('.', "_").to_uppercase(), key.to_uppercase())
}

/// Variables of keys; each is read as the type that its default has.
pub fn overlay_environment(
    table: &mut Table,
    env: &Environment,
    origins: &mut BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    for (variable, section, key) in COMMON {
        if let Some(text) = env.get(*variable) {
            set(table, section, key, Value::String(text.clone()));
            origins.insert(format!("{section}.{key}"), (*variable).into());
        }
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
    env: &Environment,
    origins: &mut BTreeMap<String, String>,
) -> Result<(), ConfigError> {
    for (key, value) in values.iter_mut() {
        let name = env_name(section, key);
        let Some(text) = env.get(&name) else { continue };
        origins.insert(format!("{section}.{key}"), name.clone());
        let parsed = match value {
            Value::Integer(_) => {
                text.parse().map(Value::Integer).map_err(|_| "it is a whole number")
            }
            Value::Float(_) => text.parse().map(Value::Float).map_err(|_| "it is a number"),
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
            value: text.clone(),
            reason: reason.into(),
        })?;
    }
    Ok(())
}

/// Letters by which a name may differ from the one that was meant.
const MAX_MISSPELT: usize = 3;
const PREFIX: &str = "PGALERT_";
/// Variables that are no keys: the file's own name, and what the project's tests read.
const OTHERS: &[&str] = &["PGALERT_CONFIG", "PGALERT_TEST_"];

/// A variable of ours that sets nothing is a misspelt one, and what it was to set stays at its default unseen.
pub fn check_environment(table: &Table, env: &Environment) -> Result<(), ConfigError> {
    let mut known = Vec::new();
    for (section, values) in table {
        let values = values.as_table().into_iter().flatten();
        for (key, value) in values {
            match value {
                Value::Table(channel) if section == CHANNELS => known
                    .extend(channel.keys().map(|own| env_name(&format!("{section}.{key}"), own))),
                _ => known.push(env_name(section, key)),
            }
        }
    }
    let unknown = env.keys().find(|name| {
        name.starts_with(PREFIX)
            && !known.contains(name)
            && !OTHERS.iter().any(|other| name.starts_with(other))
    });
    let Some(name) = unknown else { return Ok(()) };
    let meant = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(known, name), known))
        .min()
        .filter(|(distance, _)| *distance <= MAX_MISSPELT);
    let meant = meant.map(|(_, known)| format!("; did you mean {known}?")).unwrap_or_default();
    Err(ConfigError::UnknownVariable { name: name.clone(), meant })
}
