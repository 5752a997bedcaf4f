//! The way to the collector: OTLP by HTTP, through the driver's own client. It is the operator's host, so the guard for
//! recipients' URLs does not apply.

use std::collections::HashMap;
use std::fmt::{self, Debug, Formatter};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Request, Response};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as Export};
use opentelemetry_sdk::Resource;
use percent_encoding::percent_decode_str;
use tokio::runtime::Handle;
use tracing::{info, warn};
use url::Url;

use crate::config::{Config, ConfigError};
use crate::http::{Call, Http};

/// As OpenTelemetry has it for OTLP by HTTP.
const PATH: &str = "/v1/traces";

pub fn exporter(config: &Config) -> Result<SpanExporter, ConfigError> {
    let bad = |error: String| ConfigError::Invalid(format!("traces: {error}"));
    let traces = &config.traces;
    SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}{PATH}", traces.endpoint.trim_end_matches('/')))
        .with_headers(headers(traces.secret_headers())?)
        .with_http_client(Client { http: Http::new(&config.http)?, runtime: Handle::current() })
        .build()
        .map_err(|error| bad(error.to_string()))
}

/// "name=value,name=value", a value percent-encoded where it must be, as in OTEL_EXPORTER_OTLP_HEADERS.
fn headers(text: &str) -> Result<HashMap<String, String>, ConfigError> {
    let bad = |reason: &str| ConfigError::Invalid(format!("traces.secret_headers: {reason}"));
    let mut headers = HashMap::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let (name, value) =
            item.split_once('=').ok_or_else(|| bad("it is \"name=value\", with commas between"))?;
        let value = percent_decode_str(value.trim()).decode_utf8_lossy().into_owned();
        let valid =
            HeaderName::try_from(name.trim()).is_ok() && HeaderValue::try_from(&value).is_ok();
        if !valid {
            return Err(bad("a name or a value has characters that a header cannot have"));
        }
        headers.insert(name.trim().to_owned(), value);
    }
    Ok(headers)
}

/// Spans are exported by a thread that is not the runtime's.
struct Client {
    http: Arc<Http>,
    runtime: Handle,
}

impl Debug for Client {
    fn fmt(&self, formatter: &mut Formatter) -> fmt::Result {
        formatter.write_str("Client")
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let url = Url::parse(&head.uri.to_string())?;
        let headers = head.headers;
        let call = Call { url, headers, body: body.into(), trusted: true, repeatable: false };
        let http = self.http.clone();
        let answer = self.runtime.spawn(async move { http.post(call).await }).await?;
        let answer = answer.map_err(|error| error.text())?;
        let mut response = Response::new(answer.body.into());
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }
}

/// Says once that spans are lost, and once that they are not any more.
#[derive(Debug)]
pub struct Watched {
    exporter: SpanExporter,
    fails: AtomicBool,
}

impl Watched {
    pub fn new(exporter: SpanExporter) -> Self {
        Self { exporter, fails: AtomicBool::new(false) }
    }
}

impl Export for Watched {
    async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(spans).await;
        match (&result, self.fails.swap(result.is_err(), Ordering::Relaxed)) {
            (Err(error), false) => {
                warn!(%error, "spans cannot be handed over and are dropped; sending goes on")
            }
            (Ok(()), true) => info!("spans are handed over again"),
            _ => {}
        }
        result
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_no_error_quotes_them() {
        let found = headers(" Authorization=Basic%20dTpw, x-team = a=b ,").unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found["Authorization"], "Basic dTpw");
        assert_eq!(found["x-team"], "a=b");
        assert!(headers("").unwrap().is_empty());
        for bad in ["hunter2", "na me=hunter2", "=hunter2", "name=hunter2%0aother"] {
            let error = headers(bad).unwrap_err().to_string();
            assert!(
                error.contains("traces.secret_headers") && !error.contains("hunter2"),
                "{error}"
            );
        }
    }
}
