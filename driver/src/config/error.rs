//! What can be wrong with a configuration.

use std::path::PathBuf;

use thiserror::Error;

#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {cause}")]
    Unreadable { path: PathBuf, cause: std::io::Error },
    /// Without the line itself, which may hold a secret.
    #[error("{path} is not TOML: line {line}: {problem}")]
    Syntax { path: String, line: usize, problem: String },
    #[error("{file}: there is no key \"{key}\"\nhint: `pgalert config --defaults` lists all keys")]
    UnknownKey { file: String, key: String },
    #[error("{file}: \"{key}\" is a secret and may not stand in a file that others read\nhint: use {env}, or {key}_file")]
    SecretInFile { file: String, key: String, env: String },
    #[error("{file}: \"{key}\" holds a password, which may not stand in a file that others read\nhint: leave it out there; use a password_file, PGPASSWORD, a password file of libpq, or the variable {env}")]
    PasswordInUrl { file: String, key: String, env: String },
    #[error("there is no setting for the variable {name}{meant}\nhint: variables are PGALERT_<SECTION>_<KEY>; `pgalert config --defaults` lists all keys, and [channels.<name>] of yours needs its section in the file")]
    UnknownVariable { name: String, meant: String },
    #[error("{name} cannot be \"{value}\": {reason}")]
    BadValue { name: String, value: String, reason: String },
    #[error("configuration: {0}")]
    Invalid(String),
}
