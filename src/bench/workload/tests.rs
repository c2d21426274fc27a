#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
//! What is sent must be what was meant: read back with a reader that is not ours.

use std::collections::{HashMap, HashSet};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use super::*;

const NOW: u64 = 1_800_000_000_123_456_789;

fn spans(workload: &Workload, n: u64) -> Vec<Span> {
    let mut out = Vec::new();
    workload.write(n, NOW, &mut out);
    let request = match workload.format {
        Format::Protobuf => ExportTraceServiceRequest::decode(out.as_slice()).unwrap(),
        Format::Json => {
            let mut wire = Vec::new();
            hopline_proto::json::transcode(hopline_proto::json::Message::Traces, &out, &mut wire).unwrap();
            ExportTraceServiceRequest::decode(wire.as_slice()).unwrap()
        }
    };
    assert_eq!(request.resource_spans.len(), 1);
    request.resource_spans.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans).collect()
}

#[test]
fn ten_requests_make_whole_traces() {
    for format in [Format::Protobuf, Format::Json] {
        for size in [1, 3, 32, 512] {
            let workload = Workload::new(size, format, 9);
            for batch in [0, 1, 77] {
                let all: Vec<_> = (0..SERVICES).flat_map(|s| spans(&workload, batch * SERVICES + s)).collect();
                let mut traces: HashMap<Vec<u8>, Vec<&Span>> = HashMap::new();
                for span in &all {
                    assert_eq!(span.attributes.len(), 11);
                    assert!(span.end_time_unix_nano < NOW && span.start_time_unix_nano < span.end_time_unix_nano);
                    traces.entry(span.trace_id.clone()).or_default().push(span);
                }
                assert_eq!(traces.len() as u64, size);
                for trace in traces.values() {
                    let ids: HashSet<_> = trace.iter().map(|s| s.span_id.clone()).collect();
                    assert_eq!(ids.len(), 10);
                    let roots = trace.iter().filter(|s| s.parent_span_id.is_empty()).count();
                    assert_eq!(roots, 1);
                    assert!(trace.iter().all(|s| s.parent_span_id.is_empty() || ids.contains(&s.parent_span_id)));
                }
            }
        }
    }
}

#[test]
fn both_formats_say_the_same() {
    let (wire, json) = (Workload::new(7, Format::Protobuf, 3), Workload::new(7, Format::Json, 3));
    for n in [0, 5, 13, 1_000] {
        assert_eq!(spans(&wire, n), spans(&json, n));
    }
}

#[test]
fn no_two_requests_are_the_same_and_spans_have_about_500_bytes() {
    let workload = Workload::new(512, Format::Protobuf, 1);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    workload.write(3, NOW, &mut a);
    workload.write(3 + 20 * SERVICES, NOW, &mut b);
    assert_eq!(a.len(), b.len());
    assert_ne!(a, b);
    let each = a.len() / 512;
    assert!((420..580).contains(&each), "{each}");
}
