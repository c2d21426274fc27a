#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
//! What a play must be: the same for a seed, whole, and as broken as the recordings.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::*;
use crate::demo::words::{Carried, Edge, Invocation, Kind, SECOND, StartType, Value};

fn options(style: Style, orders: u64) -> Options {
    let start = 1_700_000_000 * SECOND;
    Options {
        seed: 7,
        style,
        hooks: false,
        bare: false,
        start,
        end: start + orders as Nanos * 2 * SECOND,
        orders,
        patience: 30 * SECOND,
        schedule: 60 * SECOND,
    }
}

fn play(style: Style, orders: u64) -> Vec<Step> {
    World::new(options(style, orders)).collect()
}

fn edges(steps: &[Step]) -> Vec<&Edge> {
    let facts = steps.iter().flat_map(|s| &s.facts);
    facts.filter_map(|f| if let Fact::Edge(e) = f { Some(e) } else { None }).collect()
}

fn invocations(steps: &[Step]) -> Vec<&Invocation> {
    let facts = steps.iter().flat_map(|s| &s.facts);
    facts.filter_map(|f| if let Fact::Invocation(i) = f { Some(i) } else { None }).collect()
}

#[test]
fn the_same_seed_plays_the_same_story() {
    assert_eq!(play(Style::Mixed, 60), play(Style::Mixed, 60));
    let other = World::new(Options { seed: 8, ..options(Style::Mixed, 60) }).collect::<Vec<_>>();
    assert_ne!(play(Style::Mixed, 60), other);
}

#[test]
fn steps_come_in_the_order_of_time_and_end() {
    let steps = play(Style::Python, 100);
    assert!(steps.windows(2).all(|w| w[0].at <= w[1].at));
}

#[test]
fn every_kind_of_hop_start_and_outcome_occurs() {
    for style in [Style::Python, Style::Node, Style::Mixed] {
        let steps = play(style, 60);
        let kinds: HashSet<Hop> = edges(&steps).iter().map(|e| e.kind).collect();
        use Hop::*;
        for hop in [
            Http,
            Invoke,
            InvokeAsync,
            Destination,
            Sqs,
            SqsDlq,
            Sns,
            SnsSqs,
            EventBridge,
            S3,
            DynamoDbStream,
            Kinesis,
            Kafka,
            StepFunctions,
            ServiceBus,
            Durable,
            PubSub,
        ] {
            assert!(kinds.contains(&hop), "{style:?} has no {hop:?}");
        }
        let invocations = invocations(&steps);
        let functions: HashSet<_> = invocations.iter().map(|i| i.function).collect();
        for func in Func::ALL {
            assert!(functions.contains(func.spec().name), "{style:?} never runs {func:?}");
        }
        for start in [StartType::Cold, StartType::Warm, StartType::Preinit, StartType::Restore] {
            assert!(invocations.iter().any(|i| i.start_type == start), "{style:?} has no {start:?}");
        }
        for outcome in [Outcome::Ok, Outcome::Error, Outcome::Timeout, Outcome::Crash] {
            assert!(invocations.iter().any(|i| i.outcome == outcome), "{style:?} has no {outcome:?}");
        }
    }
}

/// What trace context gives, re-computed from the spans that are sent, as a backend would.
fn seen(steps: &[Step], edge: &Edge) -> Carried {
    let spans: Vec<_> = steps.iter().flat_map(|s| &s.flushes).flat_map(|f| &f.spans).collect();
    let known: HashSet<_> = spans.iter().map(|s| (s.context.trace_hex(), s.context.span_hex())).collect();
    let below: Vec<_> = spans.iter().filter(|s| s.context.trace_hex() == edge.to_trace_id).collect();
    let root = below.iter().find(|s| Some(s.context.span_hex()) == edge.to_span_id);
    let Some(root) = root else { return Carried::Broken };
    if let Some((parent, true)) = root.parent {
        let parent = format!("{parent:016x}");
        if edge.from_trace_id == edge.to_trace_id && parent == edge.from_span_id {
            return Carried::Parent;
        }
        if !known.contains(&(edge.to_trace_id.clone(), parent)) {
            return Carried::Phantom;
        }
    }
    let children = below.iter().filter(|s| s.parent == Some((root.context.span, false)));
    let links: Vec<_> = children.flat_map(|s| &s.links).collect();
    let here =
        links.iter().any(|l| l.context.trace_hex() == edge.from_trace_id && l.context.span_hex() == edge.from_span_id);
    match links.is_empty() {
        _ if here => Carried::Link,
        false => Carried::Dangling,
        true => Carried::Broken,
    }
}

#[test]
fn context_is_broken_as_recorded() {
    let shares = |style| {
        let steps = play(style, 45);
        let mut by_hop: BTreeMap<Hop, BTreeMap<Carried, usize>> = BTreeMap::new();
        for edge in edges(&steps) {
            let carried = seen(&steps, edge);
            assert_eq!(carried, edge.context, "{style:?} {edge:?}");
            if edge.to_span_id.is_some() {
                *by_hop.entry(edge.kind).or_default().entry(carried).or_default() += 1;
            }
        }
        by_hop
    };
    let only = |shares: &BTreeMap<Hop, BTreeMap<Carried, usize>>, hop, carried| {
        assert_eq!(shares[&hop].keys().collect::<Vec<_>>(), [&carried], "{hop:?}");
    };
    let broken =
        [Hop::Sns, Hop::EventBridge, Hop::S3, Hop::StepFunctions, Hop::Kafka, Hop::Kinesis, Hop::DynamoDbStream];
    for (style, invoke, queue) in [
        (Style::Python, Carried::Parent, Carried::Broken),
        (Style::Node, Carried::Broken, Carried::Dangling),
        (Style::Mixed, Carried::Parent, Carried::Link),
    ] {
        let shares = shares(style);
        only(&shares, Hop::Http, Carried::Parent);
        only(&shares, Hop::Invoke, invoke);
        only(&shares, Hop::Sqs, queue);
        only(&shares, Hop::SqsDlq, queue);
        for hop in broken {
            only(&shares, hop, Carried::Broken);
        }
    }
}

#[test]
fn ids_are_unique_and_times_are_sane() {
    let steps = play(Style::Mixed, 80);
    let mut spans = HashSet::new();
    let mut ends: HashMap<_, _> = HashMap::new();
    for flush in steps.iter().flat_map(|s| &s.flushes) {
        for span in flush.spans.iter().chain(&flush.platform_spans) {
            assert!(spans.insert(span.context), "{} twice", span.name);
            assert!(
                span.start <= span.end && span.end <= flush.at,
                "{} from {} to {}",
                span.name,
                span.start,
                span.end
            );
            assert!(span.context.trace != 0 && span.context.span != 0);
            ends.insert(span.context, span.end);
        }
        for log in flush.logs.iter().chain(&flush.platform_logs) {
            assert!(log.time > 0 && log.observed > 0);
        }
    }
    let mut ids = HashSet::new();
    assert!(invocations(&steps).iter().all(|i| ids.insert(&i.id)));
    // Both ends of each edge are known; the web site's are spans only.
    for edge in edges(&steps) {
        assert!(ids.contains(&edge.to), "{edge:?}");
        assert!(edge.from.starts_with("web-") || ids.contains(&edge.from), "{edge:?}");
    }
}

#[test]
fn poison_is_tried_three_times_and_then_a_dead_letter() {
    let steps = play(Style::Python, 40);
    let edges = edges(&steps);
    let dead: Vec<_> = edges.iter().filter(|e| e.kind == Hop::SqsDlq).collect();
    assert!(!dead.is_empty());
    for letter in dead {
        let mut tries: Vec<_> = edges
            .iter()
            .filter(|e| e.kind == Hop::Sqs && e.message_id == letter.message_id)
            .map(|e| e.attempt)
            .collect();
        tries.sort_unstable();
        assert_eq!(tries, [1, 2, 3], "{letter:?}");
    }
}

#[test]
fn the_platform_reports_each_invocation_of_lambda_once() {
    let steps = play(Style::Python, 40);
    let azure_and_google = ["ledger", "settle", "settle-book", "loyalty"];
    let expected = invocations(&steps).iter().filter(|i| !azure_and_google.contains(&i.function)).count();
    let logs = steps.iter().flat_map(|s| &s.flushes).flat_map(|f| &f.platform_logs);
    let reports = logs.filter(|l| l.attributes.contains(&("type", Value::Text("platform.report".to_owned()))));
    assert_eq!(reports.count(), expected);
}

#[test]
fn without_the_extension_the_story_is_the_same_and_the_platform_says_nothing() {
    let story = |bare| World::new(Options { bare, ..options(Style::Mixed, 60) }).collect::<Vec<_>>();
    let (told, bare) = (story(false), story(true));
    let ids = |steps: &[Step]| invocations(steps).iter().map(|i| i.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&told), ids(&bare));
    let platform = |steps: &[Step]| {
        let flushes = steps.iter().flat_map(|s| &s.flushes);
        flushes.map(|f| f.platform_logs.len() + f.platform_spans.len()).sum::<usize>()
    };
    assert!(platform(&told) > 0);
    assert_eq!(platform(&bare), 0);
    assert!(invocations(&bare).iter().all(|i| !i.reported));
}

#[test]
fn a_start_is_known_where_something_that_is_sent_tells_it() {
    let elsewhere = ["ledger", "settle", "settle-book", "loyalty"];
    for (style, bare, on_aws) in [
        (Style::Python, false, &[StartType::Cold, StartType::Preinit, StartType::Restore, StartType::Warm][..]),
        (Style::Node, true, &[StartType::Cold, StartType::Warm]),
        (Style::Python, true, &[StartType::Warm]),
    ] {
        let steps: Vec<Step> = World::new(Options { bare, ..options(style, 60) }).collect();
        // Those of which nothing is known at all aside.
        for ran in invocations(&steps).iter().filter(|i| i.reported || i.root_span_id.is_some()) {
            let is_aws = !elsewhere.contains(&ran.function);
            let known = if is_aws { on_aws.contains(&ran.start_type) } else { ran.start_type == StartType::Warm };
            assert_eq!(ran.start_known, known, "{style:?} bare={bare} {ran:?}");
        }
    }
}

#[test]
fn costs_are_those_of_the_reports() {
    let steps = play(Style::Node, 60);
    let logs = steps.iter().flat_map(|s| &s.flushes).flat_map(|f| &f.platform_logs);
    let reports = logs.filter(|l| l.attributes.contains(&("type", Value::Text("platform.report".to_owned()))));
    let mut billed: HashMap<String, i64> = HashMap::new();
    for (id, ms) in reports.map(billed_of) {
        billed.entry(id).or_insert(ms);
    }
    let mut provisioned = 0;
    for ran in invocations(&steps).iter().filter(|i| i.reported && i.attempt == 1) {
        let ms = ran.billed_ms.unwrap();
        assert_eq!(billed[&ran.request_id], ms, "{ran:?}");
        assert!(ms as f64 >= ran.duration_ms, "{ran:?}");
        match ran.cost_usd {
            Some(cost) => {
                let gb_seconds = ms as f64 * ran.memory_mb as f64 / 1_024_000.0;
                assert!((cost - 0.000_000_2 - gb_seconds * 0.000_016_666_7).abs() < 1e-15, "{ran:?}");
            }
            None => {
                provisioned += 1;
                assert_eq!(ran.function, "orders-api");
            }
        }
    }
    assert!(provisioned > 0);
}

/// The request id of a report, and what it bills.
fn billed_of(log: &crate::demo::words::Log) -> (String, i64) {
    let Value::Map(record) = &log.body else { panic!("{log:?}") };
    let of = |list: &[(&str, Value)], key: &str| list.iter().find(|(k, _)| *k == key).map(|(_, v)| v.clone());
    let (Some(Value::Text(id)), Some(Value::Map(metrics))) = (of(record, "requestId"), of(record, "metrics")) else {
        panic!("{log:?}")
    };
    let Some(Value::Int(billed)) = of(&metrics, "billedDurationMs") else { panic!("{log:?}") };
    (id, billed)
}

#[test]
fn exports_are_tiny() {
    let steps = play(Style::Mixed, 60);
    let mut sizes: Vec<_> = steps.iter().flat_map(|s| &s.flushes).map(|f| f.spans.len()).filter(|n| *n > 0).collect();
    sizes.sort_unstable();
    assert!(sizes[sizes.len() / 2] <= 5, "half of them have more than {} spans", sizes[sizes.len() / 2]);
    let kinds: HashSet<_> =
        steps.iter().flat_map(|s| &s.flushes).flat_map(|f| &f.spans).map(|s| format!("{:?}", s.kind)).collect();
    for kind in [Kind::Internal, Kind::Server, Kind::Client, Kind::Producer, Kind::Consumer] {
        assert!(kinds.contains(&format!("{kind:?}")));
    }
}
