//! The effective configuration as TOML: `pgalert config` prints it.

use toml::Value;

use super::layers::CHANNELS;
use super::secrets::{HIDDEN, SECRET_KEYS, URL_KEYS};
use super::Config;
use crate::connect::Params;

impl Config {
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
                Some(url) if URL_KEYS.contains(&full.as_str()) && !url.is_empty() => {
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
}
