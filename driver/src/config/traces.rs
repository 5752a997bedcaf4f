//! Section [traces]: where spans are handed over, and how many.

use serde::Deserialize;
use url::Url;

use super::secrets::{secret, Secret};
use super::ConfigError;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    pub endpoint: String,
    pub sample_ratio: f64,
    pub service_name: String,
    secret_headers: Secret,
    secret_headers_file: String,
}

impl Traces {
    pub fn secret_headers(&self) -> &str {
        self.secret_headers.expose()
    }

    pub(super) fn read_headers(&mut self) -> Result<(), ConfigError> {
        self.secret_headers = secret(&self.secret_headers, &self.secret_headers_file)?;
        Ok(())
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            return Err(ConfigError::Invalid("traces.sample_ratio is from 0 to 1".into()));
        }
        let url = match self.endpoint.as_str() {
            "" => return Ok(()),
            endpoint => Url::parse(endpoint).ok(),
        };
        // A user's name or a password would be shown with the configuration.
        let valid = url.is_some_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
        });
        if valid {
            return Ok(());
        }
        Err(ConfigError::Invalid(
            "traces.endpoint is an http or https URL such as \"http://127.0.0.1:4318\", without a password or a query; what signs in belongs into traces.secret_headers".into(),
        ))
    }
}
