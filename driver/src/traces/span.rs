//! The span of one attempt: a child of the caller's where the alert came with a `traceparent`.

use std::future::Future;

use http::header::HeaderValue;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{Span as _, SpanBuilder, SpanContext, SpanKind, Status, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::Span;

use super::Traces;
use crate::message::{Message, Outcome, FAILED};

/// What this and the receiver's part of a trace agree on.
pub const TRACEPARENT: &str = "traceparent";

tokio::task_local! {
    static SENDING: Option<SpanContext>;
}

/// Begun before the message waits for its turn. One that is dropped is a message that was given up: it has no outcome.
pub struct SendSpan(Option<Span>);

impl Traces {
    pub fn begin(&self, message: &Message, channel: &str) -> SendSpan {
        let Some(tracing) = &self.0 else { return SendSpan(None) };
        let caller = caller(message.traceparent.as_deref());
        let builder = SpanBuilder::from_name("send").with_kind(SpanKind::Client);
        let mut span = tracing.tracer.build_with_context(builder, &caller);
        if span.is_recording() {
            span.update_name(format!("send {channel}"));
            span.set_attributes([
                KeyValue::new("messaging.system", "pgalert"),
                KeyValue::new("messaging.operation.type", "send"),
                KeyValue::new("messaging.operation.name", "send"),
                KeyValue::new("messaging.destination.name", channel.to_owned()),
                KeyValue::new("messaging.message.id", message.delivery_key.to_string()),
                KeyValue::new("pgalert.alert_id", message.alert_id.clone()),
                KeyValue::new("pgalert.channel", channel.to_owned()),
                KeyValue::new("pgalert.attempt", i64::from(message.attempt)),
            ]);
        }
        SendSpan(Some(span))
    }
}

impl SendSpan {
    /// Lets what is sent meanwhile pass the trace on: see `outgoing`.
    pub fn around<F: Future>(&self, sending: F) -> impl Future<Output = F::Output> + use<F> {
        SENDING.scope(self.0.as_ref().map(|span| span.span_context().clone()), sending)
    }

    /// Neither the receiver's words nor an address: the class says what went wrong, the host where.
    pub fn end(self, outcome: &Outcome) {
        let Some(mut span) = self.0.filter(Span::is_recording) else { return };
        span.set_attribute(KeyValue::new("pgalert.outcome", outcome.outcome));
        if let Some(host) = &outcome.host {
            span.set_attribute(KeyValue::new("server.address", host.clone()));
        }
        if let Some(class) = &outcome.error_class {
            span.set_attribute(KeyValue::new("error.type", class.clone()));
        }
        if outcome.outcome == FAILED {
            span.set_status(Status::error(""));
        }
    }
}

/// The header `traceparent` of a request that is made while a message is sent, as W3C Trace Context has it.
pub fn outgoing() -> Option<HeaderValue> {
    let context = SENDING.try_with(Option::clone).ok().flatten()?;
    let flags = u8::from(context.is_sampled());
    let text = format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id());
    HeaderValue::from_str(&text).ok()
}

/// The one header that the database keeps.
struct Kept<'a>(&'a str);

impl Extractor for Kept<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACEPARENT).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

/// What is no valid traceparent is none: the span begins a trace.
fn caller(traceparent: Option<&str>) -> Context {
    match traceparent {
        Some(text) => {
            TraceContextPropagator::new().extract_with_context(&Context::new(), &Kept(text))
        }
        None => Context::new(),
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TraceContextExt;

    use super::*;

    #[test]
    fn a_valid_traceparent_is_the_parent() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for (flags, sampled) in [("00", false), ("01", true), ("02", false), ("03", true)] {
            let context = caller(Some(&format!("{}{flags}", &text[..53])));
            let span = context.span();
            let found = span.span_context();
            assert_eq!(found.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
            assert_eq!(found.span_id().to_string(), "b7ad6b7169203331");
            assert!(found.is_remote());
            assert_eq!(found.is_sampled(), sampled, "{flags}");
        }
        for later in ["01", "01-extra"] {
            let later = format!("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{later}");
            assert!(
                caller(Some(&later)).span().span_context().is_sampled(),
                "of a version to come"
            );
        }
        let zeros = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        let reserved = "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for none in [None, Some(""), Some("01"), Some(zeros), Some(reserved)] {
            assert!(!caller(none).span().span_context().is_valid(), "{none:?}");
        }
    }

    #[tokio::test]
    async fn nothing_is_passed_on_without_a_span() {
        assert_eq!(outgoing(), None);
        assert_eq!(SendSpan(None).around(async { outgoing() }).await, None);
    }
}
