//! OpenTelemetry: a span for each attempt to send a message to a recipient, handed over by OTLP. Without an endpoint
//! nothing of it is built.

mod export;
mod span;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry::{Key, KeyValue};
use opentelemetry_sdk::resource::{EnvResourceDetector, ResourceDetector};
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, SpanExporter,
};
use opentelemetry_sdk::Resource;
use tokio::task::spawn_blocking;
use tracing::warn;

use crate::config::{Config, ConfigError};
use export::Watched;
pub use span::{outgoing, TRACEPARENT};

const SERVICE: &str = "pgalert";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// At the end: what is not handed over by then is lost.
const LAST_EXPORT: Duration = Duration::from_secs(5);

/// Where spans come from. Clones share one way to the collector.
#[derive(Clone)]
pub struct Traces(Option<Arc<Tracing>>);

struct Tracing {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Traces {
    /// `instance`: by which this process is told from others of its kind. In a Tokio runtime, which does the network I/O.
    pub fn configured(config: &Config, instance: &str) -> Result<Self, ConfigError> {
        if config.traces.endpoint.is_empty() {
            return Ok(Self(None));
        }
        let exporter = Watched::new(export::exporter(config)?);
        let of_no_caller = Sampler::TraceIdRatioBased(config.traces.sample_ratio);
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::ParentBased(Box::new(of_no_caller)))
            // A thread of its own with a bounded queue: what does not fit is dropped, and no send waits for it.
            .with_span_processor(BatchSpanProcessor::builder(exporter).build())
            .with_resource(resource(&config.traces.service_name, instance))
            .build();
        let tracer = provider.tracer(SERVICE);
        Ok(Self(Some(Arc::new(Tracing { provider, tracer }))))
    }

    /// Hands over what is left, within `LAST_EXPORT`. Spans that end later are dropped.
    pub async fn close(self) {
        let Some(tracing) = self.0 else { return };
        let closing = spawn_blocking(move || tracing.provider.shutdown_with_timeout(LAST_EXPORT));
        if !matches!(closing.await, Ok(Ok(()))) {
            warn!("the last spans could not be handed over");
        }
    }
}

/// For `pgalert check`: hands over nothing, the way that spans go. In a Tokio runtime.
pub async fn check(config: &Config) -> Result<(), String> {
    let exporter = export::exporter(config).map_err(|error| error.to_string())?;
    exporter.export(Vec::new()).await.map_err(|error| error.to_string())
}

/// What OTEL_RESOURCE_ATTRIBUTES says stands, but for a name that is configured.
fn resource(service_name: &str, instance: &str) -> Resource {
    let given = EnvResourceDetector::new().detect();
    let ours = [
        ("service.name", SERVICE),
        ("service.version", VERSION),
        ("service.instance.id", instance),
    ];
    let missing = ours.into_iter().filter(|(key, _)| given.get(&Key::from(*key)).is_none());
    let named = (!service_name.is_empty()).then_some(("service.name", service_name));
    let attributes = missing.chain(named).map(|(key, value)| KeyValue::new(key, value.to_owned()));
    Resource::builder().with_attributes(attributes).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The environment of the tests has no OTEL_… variables.
    #[test]
    fn the_resource_names_program_version_and_process() {
        for (configured, expected) in [("", "pgalert"), ("alerts of sales", "alerts of sales")] {
            let resource = resource(configured, "host-1");
            let value = |key: &'static str| resource.get(&Key::from(key)).unwrap().to_string();
            assert_eq!(value("service.name"), expected);
            assert_eq!(value("service.version"), VERSION);
            assert_eq!(value("service.instance.id"), "host-1");
        }
    }
}
