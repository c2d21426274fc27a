#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
//! What is sent must be what was meant: read back with a reader that is not ours.

use std::collections::HashSet;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use prost::Message as _;

use super::*;

const DAY: Nanos = 86_400 * SECOND;
const NOW: Nanos = 1_800_000_000_123_456_789;

fn plan(seed: u64) -> Plan {
    Plan { seed, functions: 7, each: 200, from: NOW - 3 * DAY, to: NOW }
}

fn attribute(of: &[KeyValue], key: &str) -> Option<Any> {
    of.iter().find(|kv| kv.key == key).and_then(|kv| kv.value.clone()).and_then(|value| value.value)
}

#[test]
fn a_seed_makes_the_same_invocations_in_the_same_bytes() {
    let bytes = |seed| {
        let (plan, mut out) = (plan(seed), Vec::new());
        plan.write(&plan.invocations(), &mut out);
        (plan.invocations(), out)
    };
    assert_eq!(bytes(3), bytes(3));
    assert_ne!(bytes(3).0, bytes(4).0);
}

#[test]
fn invocations_are_spread_evenly() {
    let plan = plan(1);
    let all = plan.invocations();
    assert_eq!(all.len(), 1_400);
    assert!(all.is_sorted());
    assert!(all[0].start >= plan.from && all[1_399].start < plan.to);
    for function in 0..7 {
        let starts = Starts::of(&all, |one| one.function == function);
        for day in 0..3 {
            let count = starts.within(plan.from + day * DAY, plan.from + (day + 1) * DAY);
            assert!((65..=68).contains(&count), "{count} of function {function} on day {day}");
        }
    }
    let failed = all.iter().filter(|one| plan.failed(one)).count();
    assert!((4..30).contains(&failed), "{failed} failed");
}

#[test]
fn requests_say_what_functions_say() {
    let plan = plan(9);
    let all = plan.invocations();
    let (mut out, mut ids, mut versions) = (Vec::new(), HashSet::new(), HashSet::new());
    for some in all.chunks(64) {
        plan.write(some, &mut out);
        let request = ExportTraceServiceRequest::decode(out.as_slice()).unwrap();
        assert_eq!(request.resource_spans.len(), some.len());
        for (one, of_resource) in some.iter().zip(request.resource_spans) {
            let resource = of_resource.resource.unwrap().attributes;
            let name = Plan::name(one.function);
            for key in ["service.name", "faas.name"] {
                assert_eq!(attribute(&resource, key), Some(Any::StringValue(name.clone())));
            }
            for key in ["faas.instance", "cloud.provider", "cloud.region"] {
                assert!(matches!(attribute(&resource, key), Some(Any::StringValue(_))), "{key}");
            }
            assert!(matches!(attribute(&resource, "faas.max_memory"), Some(Any::IntValue(128_000_000..))));
            let Some(Any::StringValue(version)) = attribute(&resource, "faas.version") else { unreachable!() };
            versions.insert(version);
            let span = &of_resource.scope_spans[0].spans[0];
            assert_eq!((span.name.as_str(), span.kind), (name.as_str(), 2));
            assert_eq!(span.start_time_unix_nano, one.start.unsigned_abs());
            assert!((2_000_000..4_000_000_000).contains(&(span.end_time_unix_nano - span.start_time_unix_nano)));
            assert_eq!(span.status.as_ref().is_some_and(|status| status.code == 2), plan.failed(one));
            let Some(Any::StringValue(id)) = attribute(&span.attributes, "faas.invocation_id") else { unreachable!() };
            assert_eq!(id.len(), 36);
            ids.insert((id, span.trace_id.clone(), span.span_id.clone()));
        }
    }
    assert_eq!(ids.len(), all.len());
    assert_eq!(versions.len(), 3);
}

#[test]
fn a_range_counts_its_start_and_not_its_end() {
    let one = |start| Invocation { start, function: 0, n: 0 };
    let starts = Starts::of(&[one(10), one(20), one(20), one(30)], |_| true);
    for (from, to, count) in [(0, 100, 4), (10, 20, 1), (20, 30, 2), (20, 31, 3), (11, 20, 0), (31, 99, 0), (30, 10, 0)]
    {
        assert_eq!(starts.within(from, to), count, "{from}..{to}");
    }
    assert_eq!(Starts::default().within(0, 100), 0);
}

#[test]
fn hours_are_counted_twenty_minutes_after_their_end() {
    let hour = 3_600 * SECOND;
    let minute = 60 * SECOND;
    assert_eq!(counted_until(100 * hour + 19 * minute, hour), 99 * hour);
    assert_eq!(counted_until(100 * hour + 20 * minute, hour), 100 * hour);
    assert_eq!(counted_until(96 * hour + 19 * minute, DAY), 72 * hour);
    assert_eq!(counted_until(97 * hour, DAY), 96 * hour);
}
