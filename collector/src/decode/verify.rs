//! Which requests and which items are taken. Both the check of a request and the
//! building of columns decide by what stands here.

use std::fmt;

use hopline_model::Signal;
use hopline_proto::value::{self, DEPTH_MAX};
use hopline_proto::wire::{Reader, Value, WireError};

use super::message::{
    Any, Buckets, EventHead, ExemplarHead, LinkHead, Lists, LogHead, MetricHead, Point, PointPart, Quantile, SpanHead,
    SpanPart, next_message,
};

/// Why an item is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// An id has neither its length nor, where that is allowed, no bytes.
    IdLength { field: &'static str, expected: usize, len: usize },
    /// An id is all zero.
    IdZero { field: &'static str },
    /// An attribute, a body, or an attribute of the resource or scope.
    TooDeep,
    /// A metric that is no gauge, sum, histogram, exponential histogram or summary.
    NoData,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::IdLength { field, expected, len } => write!(f, "its {field} has {len} bytes, not {expected}"),
            Refusal::IdZero { field } => write!(f, "its {field} is all zero"),
            Refusal::TooDeep => write!(f, "it has a value that is nested more than {DEPTH_MAX} levels deep"),
            Refusal::NoData => write!(f, "the metric has no data of a known type"),
        }
    }
}

/// What a walk met that is stored otherwise than it was sent, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Found {
    /// Strings that are not UTF-8.
    pub(super) strings: u64,
    /// Ids of links and exemplars that have a wrong length.
    pub(super) ids: u64,
    /// Whether a value is nested too deep.
    pub(super) too_deep: bool,
}

/// What is to be done with one span or log record, or with one metric's data points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Verdict {
    /// Spans, log records or data points.
    pub(super) items: u64,
    /// How many of them are refused.
    pub(super) refused: u64,
    /// Why the first of these is refused.
    pub(super) refusal: Option<Refusal>,
    /// What was met in those that are taken.
    pub(super) strings: u64,
    /// As [`Found::ids`].
    pub(super) ids: u64,
}

impl Verdict {
    fn add(&mut self, refusal: Option<Refusal>, found: Found) {
        self.items += 1;
        let refusal = refusal.or(if found.too_deep { Some(Refusal::TooDeep) } else { None });
        match refusal {
            None => {
                self.strings += found.strings;
                self.ids += found.ids;
            }
            Some(_) => {
                self.refused += 1;
                self.refusal = self.refusal.or(refusal);
            }
        }
    }
}

/// Why the ids of this span are not those of a span.
#[inline]
pub(super) fn refuse_span(head: &SpanHead<'_>) -> Option<Refusal> {
    for (field, id, expected) in [("trace_id", head.trace_id, 16), ("span_id", head.span_id, 8)] {
        if id.len() != expected {
            return Some(Refusal::IdLength { field, expected, len: id.len() });
        }
        if is_zero(id) {
            return Some(Refusal::IdZero { field });
        }
    }
    refuse_optional("parent_span_id", head.parent_span_id, 8)
}

/// Why the ids of this log record are not those of a log record.
#[inline]
pub(super) fn refuse_log(head: &LogHead<'_>) -> Option<Refusal> {
    refuse_optional("trace_id", head.trace_id, 16).or_else(|| refuse_optional("span_id", head.span_id, 8))
}

#[inline]
fn refuse_optional(field: &'static str, id: &[u8], expected: usize) -> Option<Refusal> {
    let fits = id.is_empty() || id.len() == expected;
    if fits { None } else { Some(Refusal::IdLength { field, expected, len: id.len() }) }
}

/// Whether all bytes are zero, or there are none.
#[inline]
pub(super) fn is_zero(id: &[u8]) -> bool {
    id.iter().all(|b| *b == 0)
}

impl Found {
    #[inline]
    fn text(&mut self, text: &[u8]) {
        if !text.is_ascii() && simdutf8::basic::from_utf8(text).is_err() {
            self.strings += 1;
        }
    }

    fn id(&mut self, id: &[u8], expected: usize) {
        if !id.is_empty() && id.len() != expected {
            self.ids += 1;
        }
    }

    /// Walks over a `KeyValue`.
    #[inline]
    fn attribute(&mut self, key_value: &[u8]) -> Result<(), WireError> {
        self.attribute_at(key_value, 0)
    }

    #[inline]
    fn attribute_at(&mut self, key_value: &[u8], depth: usize) -> Result<(), WireError> {
        let (key, value) = value::key_value(key_value)?;
        self.text(key);
        self.any(value, depth)
    }

    /// Walks over an `AnyValue` that `depth` others enclose.
    #[inline]
    fn any(&mut self, any_value: &[u8], depth: usize) -> Result<(), WireError> {
        if depth >= DEPTH_MAX {
            self.too_deep = true;
            return Ok(());
        }
        match Any::read(any_value)? {
            Any::String(text) => self.text(text),
            Any::Array(values) => return self.nested(values, depth + 1, Self::any),
            Any::Map(entries) => return self.nested(entries, depth + 1, Self::attribute_at),
            Any::Empty | Any::Bool(_) | Any::Int(_) | Any::Double(_) | Any::Bytes => {}
        }
        Ok(())
    }

    #[inline(never)]
    fn nested(
        &mut self,
        list: &[u8],
        depth: usize,
        each: fn(&mut Self, &[u8], usize) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        let mut reader = Reader::new(list);
        while let Some(value) = next_message(&mut reader, 1)? {
            each(self, value, depth)?;
        }
        Ok(())
    }

    /// Walks over a `Resource` and the schema URL beside it.
    pub(super) fn resource(&mut self, resource: &[u8], schema_url: &[u8]) -> Result<(), WireError> {
        self.text(schema_url);
        let mut reader = Reader::new(resource);
        while let Some(field) = reader.next()? {
            match field {
                (1, Value::Bytes(attribute)) => self.attribute(attribute)?,
                (3, Value::Bytes(entity_ref)) => self.entity_ref(entity_ref)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn entity_ref(&mut self, entity_ref: &[u8]) -> Result<(), WireError> {
        let mut reader = Reader::new(entity_ref);
        while let Some(field) = reader.next()? {
            if let (1..=4, Value::Bytes(text)) = field {
                self.text(text);
            }
        }
        Ok(())
    }

    /// Walks over an `InstrumentationScope` and the schema URL beside it.
    pub(super) fn scope(&mut self, scope: &[u8], schema_url: &[u8]) -> Result<(), WireError> {
        self.text(schema_url);
        let mut reader = Reader::new(scope);
        while let Some(field) = reader.next()? {
            match field {
                (1 | 2, Value::Bytes(text)) => self.text(text),
                (3, Value::Bytes(attribute)) => self.attribute(attribute)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn event(&mut self, event: &[u8]) -> Result<(), WireError> {
        let head = EventHead::read(event, |attribute| self.attribute(attribute))?;
        self.text(head.name);
        Ok(())
    }

    fn link(&mut self, link: &[u8]) -> Result<(), WireError> {
        let head = LinkHead::read(link, |attribute| self.attribute(attribute))?;
        self.text(head.trace_state);
        self.id(head.trace_id, 16);
        self.id(head.span_id, 8);
        Ok(())
    }

    fn exemplar(&mut self, exemplar: &[u8]) -> Result<(), WireError> {
        let head = ExemplarHead::read(exemplar, |attribute| self.attribute(attribute))?;
        self.id(head.trace_id, 16);
        self.id(head.span_id, 8);
        Ok(())
    }
}

/// Walks over one `Span`, `LogRecord` or `Metric`. `outside` is why everything of its
/// resource or scope is refused.
pub(super) fn item(signal: Signal, bytes: &[u8], outside: Option<Refusal>) -> Result<Verdict, WireError> {
    match signal {
        Signal::Traces => span(bytes, outside),
        Signal::Logs => log(bytes, outside),
        Signal::Metrics => metric(bytes, outside),
    }
}

#[inline]
fn span(bytes: &[u8], outside: Option<Refusal>) -> Result<Verdict, WireError> {
    let (mut verdict, mut found) = (Verdict::default(), Found::default());
    let head = SpanHead::read(bytes, |part, bytes| match part {
        SpanPart::Attribute => found.attribute(bytes),
        SpanPart::Event => found.event(bytes),
        SpanPart::Link => found.link(bytes),
    })?;
    for text in [head.name, head.trace_state, head.status_message] {
        found.text(text);
    }
    verdict.add(outside.or_else(|| refuse_span(&head)), found);
    Ok(verdict)
}

fn log(bytes: &[u8], outside: Option<Refusal>) -> Result<Verdict, WireError> {
    let (mut verdict, mut found) = (Verdict::default(), Found::default());
    let head = LogHead::read(bytes, |attribute| found.attribute(attribute))?;
    for text in [head.severity_text, head.event_name] {
        found.text(text);
    }
    found.any(head.body, 0)?;
    verdict.add(outside.or_else(|| refuse_log(&head)), found);
    Ok(verdict)
}

fn metric(bytes: &[u8], outside: Option<Refusal>) -> Result<Verdict, WireError> {
    let (mut verdict, mut found) = (Verdict::default(), Found::default());
    let head = MetricHead::read::<WireError>(bytes, |metadata| found.attribute(metadata))?;
    for text in [head.name, head.description, head.unit] {
        found.text(text);
    }
    let Some(kind) = head.kind else {
        verdict.add(Some(Refusal::NoData), found);
        return Ok(verdict);
    };
    let outside = outside.or(if found.too_deep { Some(Refusal::TooDeep) } else { None });
    let mut lists = Lists::default();
    MetricHead::points::<WireError>(bytes, kind, |point| {
        let mut found = Found::default();
        let head = Point::read::<WireError>(kind, point, &mut lists, |part, bytes| match part {
            PointPart::Attribute => found.attribute(bytes),
            PointPart::Exemplar => found.exemplar(bytes),
            PointPart::Quantile => Quantile::read(bytes).map(drop),
        })?;
        for buckets in [head.positive, head.negative].into_iter().flatten() {
            Buckets::read(buckets, &mut lists.counts)?;
        }
        verdict.add(outside, found);
        Ok(())
    })?;
    if verdict.items > verdict.refused {
        verdict.strings += found.strings;
    }
    Ok(verdict)
}
