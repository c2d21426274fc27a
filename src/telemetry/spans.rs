//! Makes OpenTelemetry spans of the server's `tracing` spans and sends them over OTLP.
//!
//! Only spans of Hopline's own crates, of level INFO and above: requests, queries, flushes.
//! A field of the `tracing` span becomes an attribute; an event of level ERROR within it
//! makes its status an error.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer;
use tracing_subscriber::registry::LookupSpan;

/// Our own spans are few; what a collector cannot take within this time is dropped.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Sends spans in the background.
#[derive(Debug)]
pub(super) struct Sender {
    provider: SdkTracerProvider,
    to_itself: bool,
}

impl Sender {
    /// Connects when there is something to send, not before.
    pub(super) fn new(endpoint: &str, own_otlp: SocketAddr) -> anyhow::Result<Sender> {
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(TIMEOUT).build()?;
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource = Resource::builder().with_service_name("hopline").with_attribute(version).build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        Ok(Sender { provider, to_itself: is_own(endpoint, own_otlp) })
    }

    /// What listens to `tracing`.
    pub(super) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        let to_itself = self.to_itself;
        let wanted = move |metadata: &Metadata<'_>| {
            let is_ours = metadata.target().starts_with("hopline");
            let is_storing = ["hopline_storage", "hopline_collector"].iter().any(|t| metadata.target().starts_with(t));
            is_ours && *metadata.level() <= Level::INFO && !(to_itself && is_storing)
        };
        SpanLayer { tracer: self.provider.tracer("hopline") }.with_filter(filter_fn(wanted))
    }

    /// Sends what waits.
    pub(super) fn stop(self, grace: Duration) -> anyhow::Result<()> {
        Ok(self.provider.shutdown_with_timeout(grace)?)
    }
}

/// Whether `endpoint` is this server. A host name that is not an address counts as this server if
/// the port is the same: no span of storage is better than spans without end.
fn is_own(endpoint: &str, own: SocketAddr) -> bool {
    let Ok(uri) = endpoint.parse::<http::Uri>() else { return false };
    let host: Option<std::net::IpAddr> = uri.host().and_then(|h| h.trim_matches(['[', ']']).parse().ok());
    let is_here = host.is_none_or(|ip| ip.is_loopback() || ip.is_unspecified() || ip == own.ip());
    uri.port_u16().unwrap_or(80) == own.port() && is_here
}

struct SpanLayer {
    tracer: SdkTracer,
}

/// The OpenTelemetry span of a `tracing` span, kept beside it until it closes.
struct Open(Span);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for SpanLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: layer::Context<'_, S>) {
        let parent = match attributes.parent() {
            Some(parent) => context.span(parent),
            None if attributes.is_contextual() => context.lookup_current(),
            None => None,
        };
        let parent: Option<SpanContext> =
            parent.and_then(|p| p.extensions().get::<Open>().map(|open| open.0.span_context().clone()));
        let parent = parent.map_or_else(Context::new, |p| Context::new().with_remote_span_context(p));
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let builder = SpanBuilder::from_name(fields.name.unwrap_or_else(|| attributes.metadata().name().to_owned()))
            .with_kind(fields.kind.unwrap_or(SpanKind::Internal))
            .with_attributes(fields.attributes);
        let span = self.tracer.build_with_context(builder, &parent);
        if let Some(ours) = context.span(id) {
            ours.extensions_mut().replace(Open(span));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: layer::Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(open) = span.extensions_mut().get_mut::<Open>() {
            let mut fields = Fields::default();
            values.record(&mut fields);
            open.0.set_attributes(fields.attributes);
            if fields.is_error {
                open.0.set_status(Status::error(""));
            }
        }
    }

    fn on_event(&self, event: &Event<'_>, context: layer::Context<'_, S>) {
        if *event.metadata().level() != Level::ERROR {
            return;
        }
        let Some(span) = context.event_span(event) else { return };
        if let Some(open) = span.extensions_mut().get_mut::<Open>() {
            let mut fields = Fields::default();
            event.record(&mut fields);
            let message = fields.message.unwrap_or_default();
            open.0.set_status(Status::error(message.clone()));
            open.0.add_event(message, fields.attributes);
        }
    }

    fn on_close(&self, id: Id, context: layer::Context<'_, S>) {
        let open = context.span(&id).and_then(|span| span.extensions_mut().remove::<Open>());
        if let Some(mut open) = open {
            open.0.end();
        }
    }
}

/// Collects the fields of a span or an event. `otel.name`, `otel.kind` and `error` mean the span itself.
#[derive(Default)]
struct Fields {
    attributes: Vec<KeyValue>,
    name: Option<String>,
    kind: Option<SpanKind>,
    message: Option<String>,
    is_error: bool,
}

impl Fields {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        self.attributes.push(KeyValue::new(field.name(), value));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "otel.name" => self.name = Some(value.to_owned()),
            "otel.kind" => {
                self.kind = Some(match value {
                    "server" => SpanKind::Server,
                    "client" => SpanKind::Client,
                    _ => SpanKind::Internal,
                });
            }
            "message" => self.message = Some(value.to_owned()),
            _ => self.add(field, value.to_owned()),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        match field.name() {
            "error" => self.is_error |= value,
            _ => self.add(field, value),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn knows_itself() {
        let own = "127.0.0.1:4317".parse().unwrap();
        for endpoint in ["http://127.0.0.1:4317", "http://localhost:4317/", "http://0.0.0.0:4317", "http://[::1]:4317"]
        {
            assert!(is_own(endpoint, own), "{endpoint}");
        }
        for endpoint in ["http://127.0.0.1:14317", "http://10.0.0.7:4317", "http://collector:4318", "not a URL"] {
            assert!(!is_own(endpoint, own), "{endpoint}");
        }
    }
}
