//! Sections of the channels beyond e-mail and webhook, and of templates.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{values, ConfigError, Secret};

/// Segments of an SMS at most: Twilio takes 1600 characters.
const MAX_SEGMENTS: u8 = 10;
/// Those that the extension itself knows, and that have a section of their own.
const SECTIONS: &[&str] = &["inapp", "email", "webhook", "slack", "sms"];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Templates {
    pub folder: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slack {
    pub enabled: bool,
    pub token: Secret,
    pub token_file: String,
    pub api_url: String,
    pub concurrency: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sms {
    pub account_sid: String,
    pub key_sid: String,
    pub secret: Secret,
    pub secret_file: String,
    pub from: String,
    pub messaging_service_sid: String,
    pub max_segments: u8,
    pub base_url: String,
    pub concurrency: u32,
}

/// Of `[channels.<name>]`; config.default.toml explains them.
pub const DEFAULTS: &str = r#"
enabled = true
url = ""
headers = {}
body = ""
secret = ""
secret_file = ""
repeatable = false
answer_ok = ""
retry_after = ""
wrong_secret = [401]
hint = ""
concurrency = 128
"#;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonChannel {
    pub enabled: bool,
    pub url: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
    pub secret: Secret,
    pub secret_file: String,
    pub repeatable: bool,
    pub answer_ok: String,
    pub retry_after: String,
    #[serde(deserialize_with = "values::statuses")]
    pub wrong_secret: Vec<u16>,
    pub hint: String,
    pub concurrency: u32,
}

impl Sms {
    pub fn check(&self) -> Result<(), ConfigError> {
        if (1..=MAX_SEGMENTS).contains(&self.max_segments) {
            return Ok(());
        }
        Err(ConfigError::Invalid(format!("sms.max_segments is from 1 to {MAX_SEGMENTS}")))
    }
}

impl JsonChannel {
    pub fn check(&self, name: &str) -> Result<(), ConfigError> {
        let valid = name.len() <= 63
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !valid {
            return Err(ConfigError::Invalid(format!(
                "channels.{name}: a channel's name is 1 to 63 lower-case letters, digits and \"_\", and begins with a letter"
            )));
        }
        if SECTIONS.contains(&name) {
            return Err(ConfigError::Invalid(format!(
                "channels.{name}: this channel is built in; its section is [{name}]"
            )));
        }
        if self.concurrency == 0 {
            return Err(ConfigError::Invalid(format!("channels.{name}.concurrency is at least 1")));
        }
        Ok(())
    }
}
