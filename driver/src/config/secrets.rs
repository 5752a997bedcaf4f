//! Secrets: never shown, never in the file.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::ConfigError;

/// What is shown in their stead.
pub const HIDDEN: &str = "********";
/// Keys that are secrets wherever they stand.
pub const SECRET_KEYS: &[&str] =
    &["password", "secret", "token", "operator_token", "read_only_token", "secret_headers"];
/// Connection strings, which are secrets only where they hold a password.
pub const URL_KEYS: &[&str] = &["database.url", "desk.database_url"];

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

/// The value itself, which only the environment can have given, before the file's.
pub fn secret(value: &Secret, file: &str) -> Result<Secret, ConfigError> {
    if file.is_empty() || !value.0.is_empty() {
        return Ok(value.clone());
    }
    read_secret(Path::new(file))
}

/// The content of a file that holds one secret; a line break at its end does not count.
pub fn read_secret(path: &Path) -> Result<Secret, ConfigError> {
    let text = fs::read_to_string(path)
        .map_err(|cause| ConfigError::Unreadable { path: path.to_path_buf(), cause })?;
    Ok(Secret(text.trim_end_matches(['\r', '\n']).to_owned()))
}
