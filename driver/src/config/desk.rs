//! Section [desk]: where it listens and whom it lets in.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use super::secrets::{secret, Secret};
use super::{values, ConfigError};

/// A token can be tried ten times a minute; it may not be one that is guessed all the same.
const MIN_TOKEN: usize = 16;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Desk {
    pub listen: SocketAddr,
    pub database_url: Secret,
    pub password_file: String,
    pub operator_token: Secret,
    operator_token_file: String,
    pub read_only_token: Secret,
    read_only_token_file: String,
    pub proxy_header: String,
    #[serde(deserialize_with = "values::networks")]
    pub trusted_proxies: Vec<IpNet>,
    pub operators: Vec<String>,
    pub hosts: Vec<String>,
    #[serde(deserialize_with = "values::duration")]
    pub session: Duration,
    pub connections: usize,
}

impl Desk {
    /// Whether a person must sign in, here or at a proxy.
    pub fn authenticates(&self) -> bool {
        self.has_tokens() || !self.proxy_header.is_empty()
    }

    pub fn has_tokens(&self) -> bool {
        !self.operator_token.expose().is_empty() || !self.read_only_token.expose().is_empty()
    }

    pub(super) fn read_tokens(&mut self) -> Result<(), ConfigError> {
        self.operator_token = secret(&self.operator_token, &self.operator_token_file)?;
        self.read_only_token = secret(&self.read_only_token, &self.read_only_token_file)?;
        for (name, token) in
            [("operator_token", &self.operator_token), ("read_only_token", &self.read_only_token)]
        {
            if (1..MIN_TOKEN).contains(&token.expose().len()) {
                let rule = format!("desk.{name} has at least {MIN_TOKEN} characters: `openssl rand -hex 16` makes one");
                return Err(ConfigError::Invalid(rule));
            }
        }
        Ok(())
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let rules = [
            (self.connections >= 1, "desk.connections is at least 1"),
            (!self.session.is_zero(), "desk.session is more than 0"),
            (
                self.proxy_header.is_empty() == self.trusted_proxies.is_empty(),
                "desk.proxy_header and desk.trusted_proxies are set together",
            ),
            (
                self.operators.is_empty() || !self.proxy_header.is_empty(),
                "desk.operators are names that come in desk.proxy_header, which is not set",
            ),
            (
                http::HeaderName::try_from(self.proxy_header.as_str()).is_ok()
                    || self.proxy_header.is_empty(),
                "desk.proxy_header is the name of a header",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(ConfigError::Invalid((*rule).into())),
            None => Ok(()),
        }
    }
}
