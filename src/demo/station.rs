//! One environment's end of the SDK: its providers, its exporters, and what they were given.
//!
//! The SDK makes the spans and records, as in a real function; a processor collects what
//! one invocation finished, and the player exports it as one tiny batch. Ids are those of
//! the plan: the SDK asks [`Preset`] for them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity as SdkSeverity};
use opentelemetry::trace::{
    Event as SdkEvent, Link as SdkLink, Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _,
    TraceFlags, TraceId, TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{
    Array, Context as SdkContext, InstrumentationScope, Key, KeyValue, StringValue, Value as SdkValue,
};
use opentelemetry_otlp::{LogExporter, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogExporter as _, LogProcessor, SdkLogRecord, SdkLoggerProvider};
use opentelemetry_sdk::trace::{IdGenerator, Sampler, SdkTracerProvider, SpanData, SpanExporter as _, SpanProcessor};

use super::export::Exporters;
use super::words::{Attributes, Kind, Log, Nanos, Severity, Span, Value};

/// A finished log record and the scope it was written in.
pub(crate) type Record = (SdkLogRecord, InstrumentationScope);

/// Traces and logs of one resource.
#[derive(Debug)]
pub(crate) struct Station {
    tracers: SdkTracerProvider,
    loggers: SdkLoggerProvider,
    ids: Preset,
    spans: Collected<SpanData>,
    records: Collected<Record>,
    /// Sends this resource's spans.
    pub(crate) span_exporter: Arc<SpanExporter>,
    /// Sends this resource's log records.
    pub(crate) log_exporter: Arc<LogExporter>,
}

impl Station {
    /// The providers and exporters of a resource.
    pub(crate) fn new(resource: &Attributes, exporters: &Exporters) -> anyhow::Result<Station> {
        let resource = sdk_resource(resource);
        let (mut span_exporter, mut log_exporter) = (exporters.spans()?, exporters.logs()?);
        span_exporter.set_resource(&resource);
        log_exporter.set_resource(&resource);
        let (ids, spans, records) = (Preset::default(), Collected::default(), Collected::default());
        let tracers = SdkTracerProvider::builder()
            .with_resource(resource.clone())
            .with_sampler(Sampler::AlwaysOn)
            .with_id_generator(ids.clone())
            .with_span_processor(spans.clone())
            .build();
        let loggers = SdkLoggerProvider::builder().with_resource(resource).with_log_processor(records.clone()).build();
        let (span_exporter, log_exporter) = (Arc::new(span_exporter), Arc::new(log_exporter));
        Ok(Station { tracers, loggers, ids, spans, records, span_exporter, log_exporter })
    }

    /// Plays spans through the SDK and gives what it made of them.
    pub(crate) fn spans(&self, spans: Vec<Span>) -> Vec<SpanData> {
        for span in spans {
            self.span(span);
        }
        self.spans.take()
    }

    /// Plays log records through the SDK and gives what it made of them.
    pub(crate) fn records(&self, scope: &'static str, logs: Vec<Log>) -> Vec<Record> {
        let logger = self.loggers.logger(scope);
        for log in logs {
            let mut record = logger.create_log_record();
            record.set_timestamp(time(log.time));
            record.set_observed_timestamp(time(log.observed));
            let (number, text) = match log.severity {
                Severity::Info => (SdkSeverity::Info, "INFO"),
                Severity::Warn => (SdkSeverity::Warn, "WARN"),
                Severity::Error => (SdkSeverity::Error, "ERROR"),
            };
            record.set_severity_number(number);
            record.set_severity_text(text);
            record.set_body(any_value(log.body));
            record.add_attributes(log.attributes.into_iter().map(|(k, v)| (k, any_value(v))));
            if let Some(context) = log.context {
                let (trace, span) = (TraceId::from(context.trace), SpanId::from(context.span));
                record.set_trace_context(trace, span, Some(TraceFlags::SAMPLED));
            }
            logger.emit(record);
        }
        self.records.take()
    }

    fn span(&self, span: Span) {
        let (name, version) = span.scope;
        let tracer = self.tracers.tracer_with_scope(InstrumentationScope::builder(name).with_version(version).build());
        self.ids.set(TraceId::from(span.context.trace), SpanId::from(span.context.span));
        let parent = match span.parent {
            Some((parent, remote)) => {
                SdkContext::new().with_remote_span_context(span_context(span.context.trace, parent, remote))
            }
            None => SdkContext::new(),
        };
        let events = span.events.into_iter().map(|e| SdkEvent::new(e.name, time(e.time), key_values(e.attributes), 0));
        let links = span
            .links
            .into_iter()
            .map(|l| SdkLink::new(span_context(l.context.trace, l.context.span, true), key_values(l.attributes), 0));
        let builder = tracer
            .span_builder(span.name)
            .with_kind(match span.kind {
                Kind::Internal => SpanKind::Internal,
                Kind::Server => SpanKind::Server,
                Kind::Client => SpanKind::Client,
                Kind::Producer => SpanKind::Producer,
                Kind::Consumer => SpanKind::Consumer,
            })
            .with_start_time(time(span.start))
            .with_attributes(key_values(span.attributes))
            .with_events(events.collect())
            .with_links(links.collect());
        let mut made = tracer.build_with_context(builder, &parent);
        if let Some(description) = span.error {
            made.set_status(Status::error(description));
        }
        made.end_with_timestamp(time(span.end));
    }
}

/// The SDK's resource with exactly these attributes.
pub(crate) fn sdk_resource(attributes: &Attributes) -> Resource {
    Resource::builder_empty().with_attributes(key_values(attributes.clone())).build()
}

/// The SDK's time.
pub(crate) fn time(nanos: Nanos) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

fn span_context(trace: u128, span: u64, remote: bool) -> SpanContext {
    SpanContext::new(TraceId::from(trace), SpanId::from(span), TraceFlags::SAMPLED, remote, TraceState::default())
}

fn key_values(attributes: Attributes) -> Vec<KeyValue> {
    attributes.into_iter().map(|(key, value)| KeyValue::new(key, sdk_value(value))).collect()
}

fn sdk_value(value: Value) -> SdkValue {
    match value {
        Value::Text(text) => SdkValue::String(text.into()),
        Value::Int(number) => SdkValue::I64(number),
        Value::Double(number) => SdkValue::F64(number),
        Value::Bool(truth) => SdkValue::Bool(truth),
        Value::Texts(texts) => SdkValue::Array(Array::String(texts.into_iter().map(StringValue::from).collect())),
        // Only bodies have maps; as an attribute of a span the SDK knows none.
        Value::Map(map) => SdkValue::String(format!("{map:?}").into()),
    }
}

fn any_value(value: Value) -> AnyValue {
    match value {
        Value::Text(text) => AnyValue::String(text.into()),
        Value::Int(number) => AnyValue::Int(number),
        Value::Double(number) => AnyValue::Double(number),
        Value::Bool(truth) => AnyValue::Boolean(truth),
        Value::Texts(texts) => {
            AnyValue::ListAny(Box::new(texts.into_iter().map(|t| AnyValue::String(t.into())).collect()))
        }
        Value::Map(map) => {
            AnyValue::Map(Box::new(map.into_iter().map(|(k, v)| (Key::from_static_str(k), any_value(v))).collect()))
        }
    }
}

/// Ids that were decided before.
#[derive(Debug, Clone, Default)]
struct Preset(Arc<Mutex<Option<(TraceId, SpanId)>>>);

impl Preset {
    fn set(&self, trace: TraceId, span: SpanId) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((trace, span));
    }

    fn get(&self) -> (TraceId, SpanId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or((TraceId::INVALID, SpanId::INVALID))
    }
}

impl IdGenerator for Preset {
    fn new_trace_id(&self) -> TraceId {
        self.get().0
    }

    fn new_span_id(&self) -> SpanId {
        self.get().1
    }
}

/// A processor that keeps what it is given until somebody takes it.
#[derive(Debug)]
struct Collected<T>(Arc<Mutex<Vec<T>>>);

impl<T> Default for Collected<T> {
    fn default() -> Self {
        Collected(Arc::default())
    }
}

impl<T> Clone for Collected<T> {
    fn clone(&self) -> Self {
        Collected(Arc::clone(&self.0))
    }
}

impl<T> Collected<T> {
    fn push(&self, item: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(item);
    }

    fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl SpanProcessor for Collected<SpanData> {
    fn on_start(&self, _span: &mut opentelemetry_sdk::trace::Span, _context: &SdkContext) {}

    fn on_end(&self, span: SpanData) {
        self.push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl LogProcessor for Collected<Record> {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        self.push((record.clone(), scope.clone()));
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}
