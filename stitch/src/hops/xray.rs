//! X-Ray: trace headers, and traces that a span's links name.
//!
//! AWS's services pass the header `Root=…;Parent=…;Sampled=…` on where they pass nothing
//! else on (AWS X-Ray Developer Guide, "Tracing header"). A root is a trace id of
//! OpenTelemetry written in another way; the parent is mostly a segment of the platform,
//! which no span tells of, but the platform's records of invocations do.

use hopline_model::{SpanId, TraceId};

use super::messaging::header;
use super::{HopKeys, Rule};
use crate::key::{Direction, Key, Kind};
use crate::span::Span;

/// Where a trace header, or a root alone, was seen.
const HEADERS: &[&str] = &[
    "aws.xray.trace_header",
    "aws.xray.trace_id",
    "aws.xray.header",
    "aws.trace_header",
    "AWSTraceHeader",
    "_X_AMZN_TRACE_ID",
    "X-Amzn-Trace-Id",
    "http.request.header.x-amzn-trace-id",
    "http.request.header.x_amzn_trace_id",
];

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "xray.sent",
        hop: "xray",
        direction: Direction::Out,
        reads: HEADERS,
        on_links: false,
        find: |rule, span, found| {
            if span.kind.is_out() {
                in_header(rule, span, found)
            }
        },
    },
    Rule {
        name: "xray.received",
        hop: "xray",
        direction: Direction::In,
        reads: HEADERS,
        on_links: false,
        find: |rule, span, found| {
            if !span.kind.is_out() {
                in_header(rule, span, found)
            }
        },
    },
    Rule { name: "link", hop: "link", direction: Direction::In, reads: &[], on_links: true, find: linked },
];

fn in_header(rule: &Rule, span: &Span<'_>, found: &mut HopKeys) {
    let headers = HEADERS.iter().filter_map(|key| header(span, &[key]));
    for header in headers.filter_map(|text| xray_header(&text)) {
        keys(&header).into_iter().for_each(|key| found.push(rule, key, None));
    }
}

/// Each trace that is linked, once. Whoever looks at the span's own trace sees its links without a key.
fn linked(rule: &Rule, span: &Span<'_>, found: &mut HopKeys) {
    let mut traces: Vec<TraceId> = span.links.iter().filter_map(|link| link.trace_id).collect();
    traces.retain(|trace| *trace != span.trace_id && !trace.is_zero());
    traces.sort_unstable();
    traces.dedup();
    traces.iter().for_each(|trace| found.push(rule, Key::new(Kind::Link, trace.to_string()), None));
}

/// The keys of a header: root and parent, and the root alone.
pub(super) fn keys(header: &XrayHeader) -> Vec<Key> {
    let both = header.parent.map(|parent| Key::new(Kind::Xray, format!("{}:{parent}", header.root)));
    both.into_iter().chain([Key::new(Kind::Xray, header.root.to_string())]).collect()
}

/// The keys of an identity `<root>[:<parent>]`, the root in either way of writing.
pub(super) fn forms(id: &str) -> Vec<Key> {
    let (root, parent) = id.split_once(':').map_or((id, None), |(root, parent)| (root, Some(parent)));
    let header = |root| XrayHeader { root, parent: parent.and_then(|p| p.parse().ok()), is_sampled: None };
    xray_root(root).map(|root| keys(&header(root))).unwrap_or_default()
}

/// What a trace header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XrayHeader {
    /// The trace.
    pub root: TraceId,
    /// The segment from which the call came.
    pub parent: Option<SpanId>,
    /// Whether the trace is recorded, if that was decided.
    pub is_sampled: Option<bool>,
}

/// Reads `Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1`, its fields in any order, or a root
/// alone.
pub fn xray_header(text: &str) -> Option<XrayHeader> {
    let text = text.trim();
    if !text.contains('=') {
        return Some(XrayHeader { root: root(text)?, parent: None, is_sampled: None });
    }
    let field = |name: &str| {
        let mut fields = text.split(';').filter_map(|field| field.split_once('='));
        fields.find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    let is_sampled = match field("Sampled") {
        Some("1") => Some(true),
        Some("0") => Some(false),
        _ => None,
    };
    let parent = field("Parent").and_then(|p| p.parse().ok()).filter(|parent: &SpanId| !parent.is_zero());
    Some(XrayHeader { root: root(field("Root")?)?, parent, is_sampled })
}

/// The trace id in a trace header or in a root alone.
pub fn xray_root(text: &str) -> Option<TraceId> {
    xray_header(text).map(|header| header.root)
}

/// `1-<8 digits: seconds>-<24 digits>`, or the 32 digits as OpenTelemetry writes them.
fn root(text: &str) -> Option<TraceId> {
    let digits = match text.strip_prefix("1-").and_then(|rest| rest.split_once('-')) {
        Some((seconds, rest)) if seconds.len() == 8 => format!("{seconds}{rest}"),
        Some(_) => return None,
        None => text.to_owned(),
    };
    digits.parse().ok().filter(|root: &TraceId| !root.is_zero())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::testing::Probe;
    use super::*;
    use crate::span::Value::{Json, Text};

    const ROOT: &str = "5759e988bd862e3fe1be46a994272793";
    const HEADER: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";

    #[test]
    fn headers() {
        let root = ROOT.parse().unwrap();
        let parent = "53995c3f42cd8ad8".parse().ok();
        let check = |text, parent, is_sampled| {
            assert_eq!(xray_header(text), Some(XrayHeader { root, parent, is_sampled }), "{text}");
            assert_eq!(xray_root(text), Some(root), "{text}");
        };
        check(HEADER, parent, Some(true));
        check("Sampled=0; parent=53995c3f42cd8ad8; root=1-5759E988-bd862e3fe1be46a994272793", parent, Some(false));
        check("Self=1-67891234-12456789abcdef012345678;Root=1-5759e988-bd862e3fe1be46a994272793", None, None);
        check("Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=?;Lineage=a87bd80c:0|68fd508a:5", None, None);
        check("1-5759e988-bd862e3fe1be46a994272793", None, None);
        check(ROOT, None, None);
    }

    #[test]
    fn what_is_no_root() {
        for text in [
            "",
            "Root=",
            "Parent=53995c3f42cd8ad8",
            "1-5759e98-8bd862e3fe1be46a994272793",
            "1-5759e988-bd862e3fe1be46a99427279",
            "1-00000000-000000000000000000000000",
            "2-5759e988-bd862e3fe1be46a994272793",
            "é-é;Root=é",
        ] {
            assert_eq!(xray_header(text), None, "{text}");
        }
    }

    #[test]
    fn headers_in_attributes() {
        let both = |rule: &str, side: &str| {
            [format!("{rule} {side} xray:{ROOT}"), format!("{rule} {side} xray:{ROOT}:53995c3f42cd8ad8")]
        };
        let [root, parent] = both("xray.received", "in");
        Probe::consumer(&[("AWSTraceHeader", Text(HEADER))]).keys(&[&root, &parent]);
        Probe::server(&[("aws.xray.trace_id", Text("1-5759e988-bd862e3fe1be46a994272793"))]).keys(&[&root]);
        let list = format!("[\"{HEADER}\"]");
        Probe::server(&[("http.request.header.x-amzn-trace-id", Json(&list))]).keys(&[&root, &parent]);
        let [root, parent] = both("xray.sent", "out");
        Probe::producer(&[("aws.xray.trace_header", Text(HEADER))]).keys(&[&root, &parent]);
        Probe::producer(&[("aws.xray.trace_header", Text("Root=none"))]).keys(&[]);
    }

    #[test]
    fn links_name_traces_each_once() {
        let links: &[(u128, &[_])] = &[(0xbeef, &[]), (0xbeef, &[]), (0, &[]), (1, &[])];
        Probe::server(&[]).links(links).keys(&["link in link:0000000000000000000000000000beef"]);
    }
}
