//! Spans for the tests of rules.

use hopline_model::{SpanId, TraceId};

use super::{HopKeys, keys_of};
use crate::span::{Attributes, Link, Span, SpanKind, Value};

/// A span that is being made up.
#[derive(Clone, Copy)]
pub(crate) struct Probe<'a> {
    kind: SpanKind,
    name: &'a str,
    function: Option<&'a str>,
    attributes: &'a [(&'a str, Value<'a>)],
    resource: &'a [(&'a str, Value<'a>)],
    links: &'a [(u128, &'a [(&'a str, Value<'a>)])],
}

impl<'a> Probe<'a> {
    pub(crate) fn new(kind: SpanKind, attributes: &'a [(&'a str, Value<'a>)]) -> Self {
        Probe { kind, name: "a span", function: None, attributes, resource: &[], links: &[] }
    }

    pub(crate) fn client(attributes: &'a [(&'a str, Value<'a>)]) -> Self {
        Self::new(SpanKind::Client, attributes)
    }

    pub(crate) fn producer(attributes: &'a [(&'a str, Value<'a>)]) -> Self {
        Self::new(SpanKind::Producer, attributes)
    }

    pub(crate) fn consumer(attributes: &'a [(&'a str, Value<'a>)]) -> Self {
        Self::new(SpanKind::Consumer, attributes)
    }

    pub(crate) fn server(attributes: &'a [(&'a str, Value<'a>)]) -> Self {
        Self::new(SpanKind::Server, attributes)
    }

    pub(crate) fn name(self, name: &'a str) -> Self {
        Probe { name, ..self }
    }

    pub(crate) fn function(self, function: &'a str) -> Self {
        Probe { function: Some(function), ..self }
    }

    pub(crate) fn resource(self, resource: &'a [(&'a str, Value<'a>)]) -> Self {
        Probe { resource, ..self }
    }

    /// Links: the trace (0 for none) and the attributes of each.
    pub(crate) fn links(self, links: &'a [(u128, &'a [(&'a str, Value<'a>)])]) -> Self {
        Probe { links, ..self }
    }

    /// Shows the span. It is of trace 1, begins at 16666666:40 minutes since 1970 and takes a tenth of a second.
    pub(crate) fn with<T>(self, look: impl FnOnce(&Span<'_>) -> T) -> T {
        let (attributes, resource) = (Known(self.attributes), Known(self.resource));
        let of_links: Vec<Known<'_>> = self.links.iter().map(|(_, attributes)| Known(attributes)).collect();
        let links: Vec<Link<'_>> = self
            .links
            .iter()
            .zip(&of_links)
            .map(|((trace, _), attributes)| Link {
                trace_id: (*trace != 0).then(|| TraceId(trace.to_be_bytes())),
                span_id: (*trace != 0).then_some(SpanId([7; 8])),
                attributes,
            })
            .collect();
        look(&Span {
            trace_id: TraceId(1_u128.to_be_bytes()),
            span_id: SpanId([2; 8]),
            parent: None,
            name: self.name,
            kind: self.kind,
            is_error: false,
            start_ns: 1_000_000_000_000_000_000,
            end_ns: 1_000_000_000_100_000_000,
            service: "shop",
            function: self.function,
            attributes: &attributes,
            resource: &resource,
            links: &links,
        })
    }

    /// Its keys.
    pub(crate) fn found(self) -> HopKeys {
        self.with(keys_of)
    }

    /// Checks its keys, as `rule direction key @destination`, in any order. Destination keys are left out: [`Probe::destinations`].
    #[track_caller]
    pub(crate) fn keys(self, expected: &[&str]) {
        self.compare(expected, |line| !line.contains(" dest:"));
    }

    /// Checks its destination keys, as in [`Probe::keys`].
    #[track_caller]
    pub(crate) fn destinations(self, expected: &[&str]) {
        self.compare(expected, |line| line.contains(" dest:"));
    }

    #[track_caller]
    fn compare(self, expected: &[&str], which: impl Fn(&str) -> bool) {
        let mut lines = lines(&self.found());
        lines.retain(|line| which(line));
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(lines, expected);
    }
}

/// Keys as `rule direction key @destination`, sorted.
pub(crate) fn lines(found: &HopKeys) -> Vec<String> {
    let line = |k: &super::HopKey| {
        let destination = k.destination.as_deref().map(|d| format!(" @{d}")).unwrap_or_default();
        format!("{} {} {}{destination}", k.rule, k.direction.name(), k.key)
    };
    let mut lines: Vec<String> = found.keys.iter().map(line).collect();
    lines.sort();
    lines
}

/// Attributes that know the aliases of promoted keys, as the columns do.
struct Known<'a>(&'a [(&'a str, Value<'a>)]);

impl Attributes for Known<'_> {
    fn get(&self, key: &str) -> Option<Value<'_>> {
        let of = |key: &str| self.0.iter().find(|(k, _)| *k == key).map(|(_, value)| *value);
        of(key).or_else(|| {
            let (promoted, _) = hopline_model::promoted::find(key).filter(|(p, _)| p.key == key)?;
            promoted.aliases.iter().find_map(|alias| of(alias))
        })
    }
}
