//! Whatever is sent as spans and logs: what is derived from it never panics, and is the same in any order.
//! The seeds of the fuzz target `stitch`, mutations of them, and made-up telemetry; no server.

#[path = "../../../fuzz/fuzz_targets/stitch/check.rs"]
mod check;

use std::path::PathBuf;

use hopline_stitch::hops::rules;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::script::{span_id, trace_id};

/// The inputs under `fuzz/corpus`.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    // Asked when it runs: two checkouts may share one target folder.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let folder = PathBuf::from(here).join("fuzz/corpus").join(target);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let read = |path: PathBuf| (path.display().to_string(), std::fs::read(&path).unwrap());
    let mut files: Vec<_> = files.map(|entry| read(entry.unwrap().path())).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Changes texts and numbers of a JSON document in a few places: what stays well-formed gets further.
fn mutate(random: &mut StdRng, text: &str) -> String {
    const PIECES: [&str; 16] = [
        "",
        "0",
        "-1",
        "9223372036854775807",
        "1e999",
        "sqs:",
        "|",
        ":",
        "#",
        "..",
        "é",
        "\\u0000",
        "lambda:r1",
        "m1",
        "orders",
        "%2",
    ];
    let mut text = text.to_owned();
    for _ in 0..random.random_range(1..6) {
        let marks: Vec<usize> = text.match_indices('"').map(|(at, _)| at).collect();
        let Some(pair) = marks.get(random.random_range(0..marks.len().max(1))..).and_then(|m| m.get(..2)) else {
            break;
        };
        let (from, to) = (pair[0] + 1, pair[1]);
        match random.random_range(0..3) {
            0 => text.replace_range(from..to, PIECES[random.random_range(0..PIECES.len())]),
            1 => text.insert_str(to, PIECES[random.random_range(0..PIECES.len())]),
            // One text stands where another stood: two ids become equal, a value becomes a key.
            _ => {
                let other = marks[random.random_range(0..marks.len() - 1)];
                let end = text[other + 1..].find('"').map_or(text.len(), |at| other + 1 + at);
                let piece = text[other + 1..end].to_owned();
                text.replace_range(from..to, &piece);
            }
        }
    }
    text
}

#[test]
fn the_corpus_and_mutations_of_it() {
    let seed = 3;
    let mut random = StdRng::seed_from_u64(seed);
    for (name, input) in ["json", "protobuf", "stitch"].iter().flat_map(|target| corpus(target)) {
        check::check(&input);
        let Ok(text) = String::from_utf8(input) else { continue };
        for round in 0..60 {
            let mutated = mutate(&mut random, &text);
            let outcome = std::panic::catch_unwind(|| check::check(mutated.as_bytes()));
            assert!(outcome.is_ok(), "seed {seed}, {name}, round {round}: {mutated}");
        }
    }
}

#[test]
fn the_seeds_are_taken() {
    for (name, input) in corpus("stitch") {
        use hopline_proto::json::{Message, transcode};
        let taken = [Message::Traces, Message::Logs].into_iter().any(|m| transcode(m, &input, &mut Vec::new()).is_ok());
        assert!(taken, "{name}");
    }
}

const TEXTS: [&str; 24] = [
    "",
    "m1",
    "m2",
    "r1",
    "r2",
    "orders",
    "orders-dlq",
    "aws_sqs",
    "aws.sns",
    "kafka",
    "servicebus",
    "send",
    "process",
    "receive",
    "-1",
    "18446744073709551616",
    "arn:aws:sqs:eu-central-1:123456789012:orders",
    "https://sqs.eu-central-1.amazonaws.com/123456789012/orders",
    "arn:aws:states:eu-central-1:1:execution:m:n",
    "sqs:m1",
    "kinesis.range:e:s:x:1..9",
    "kinesis:e:s:x:5",
    "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=4bf92f3577b34da6;Sampled=1",
    "\u{0}é漢\u{202e}",
];

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => proptest::sample::select(&TEXTS[..]).prop_map(|text| json!({"stringValue": text})),
        2 => proptest::collection::vec(proptest::sample::select(&TEXTS[..]), 0..4).prop_map(|texts| {
            let texts: Vec<Value> = texts.into_iter().map(|text| json!({"stringValue": text})).collect();
            json!({"arrayValue": {"values": texts}})
        }),
        1 => any::<i64>().prop_map(|n| json!({"intValue": n.to_string()})),
        1 => any::<bool>().prop_map(|b| json!({"boolValue": b})),
        1 => Just(json!({"doubleValue": "NaN"})),
        1 => Just(json!({"kvlistValue": {"values": [{"key": "requestId", "value": {"stringValue": "r1"}}]}})),
    ]
}

/// Attributes that some rule reads, and a few that others read.
fn attributes(most: usize) -> impl Strategy<Value = Vec<Value>> {
    let mut keys: Vec<&'static str> = rules().flat_map(|rule| rule.reads.iter().copied()).collect();
    keys.extend([
        "faas.invocation_id",
        "faas.coldstart",
        "faas.trigger",
        "messaging.message_id",
        "messaging.destination",
        "ptr.hash",
    ]);
    keys.extend(["hopline.link.in", "hopline.link.out", "hopline.link.in", "hopline.link.out"]);
    let one = (proptest::sample::select(keys), value()).prop_map(|(key, value)| json!({"key": key, "value": value}));
    proptest::collection::vec(one, 0..most)
}

fn resource() -> impl Strategy<Value = Value> {
    const KEYS: [&str; 7] = [
        "service.name",
        "faas.name",
        "faas.instance",
        "cloud.account.id",
        "cloud.region",
        "cloud.resource_id",
        "faas.max_memory",
    ];
    let one =
        (proptest::sample::select(&KEYS[..]), value()).prop_map(|(key, value)| json!({"key": key, "value": value}));
    proptest::collection::vec(one, 0..5).prop_map(|attributes| json!({"attributes": attributes}))
}

fn time() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => (0..100_u64).prop_map(|s| (1_790_000_000_000_000_000 + s * 1_000_000_000).to_string()),
        1 => proptest::sample::select(&["0", "1", "9223372036854775807", "18446744073709551615"][..]).prop_map(str::to_owned),
    ]
}

fn span() -> impl Strategy<Value = Value> {
    let ids = || (proptest::sample::select(&["a", "b", "c"][..]), proptest::sample::select(&["1", "2", "3", "4"][..]));
    let links = proptest::collection::vec((ids(), attributes(3)), 0..3);
    let parent = proptest::option::of(proptest::sample::select(&["1", "2", "3", "9"][..]));
    (ids(), parent, 0..7, time(), time(), attributes(12), links, resource()).prop_map(
        |((trace, span), parent, kind, start, end, attributes, links, resource)| {
            let link = |((trace, span), attributes): &((&str, &str), Vec<Value>)| {
                json!({"traceId": trace_id(trace), "spanId": span_id(span), "attributes": attributes})
            };
            let mut made = json!({
                "traceId": trace_id(trace), "spanId": span_id(span), "name": "op", "kind": kind, "startTimeUnixNano": start,
                "endTimeUnixNano": end, "attributes": attributes, "links": links.iter().map(link).collect::<Vec<_>>(),
                "status": {"code": kind % 3},
            });
            if let Some(parent) = parent {
                made["parentSpanId"] = json!(span_id(parent));
            }
            json!({"resource": resource, "scopeSpans": [{"spans": [made]}]})
        },
    )
}

fn record() -> impl Strategy<Value = Value> {
    const KINDS: [&str; 9] = [
        "platform.start",
        "platform.runtimeDone",
        "platform.report",
        "platform.initStart",
        "platform.initReport",
        "platform.restoreReport",
        "platform.logsDropped",
        "function",
        "platform.nothing",
    ];
    const LINES: [&str; 10] = [
        "START RequestId: r1 Version: 3",
        "REPORT RequestId: r1 Duration: 1.00 ms Billed Duration: 2 ms Memory Size: 128 MB Max Memory Used: 128 MB",
        "REPORT RequestId: r2 Duration: NaN ms Status: timeout",
        "END RequestId: r1",
        "INIT_REPORT Status: error Duration: 5 ms",
        "r1 Task timed out after 3.00 seconds",
        "RequestId: r1 Error: Runtime exited with error: signal: killed",
        "",
        "REPORT",
        "START RequestId:",
    ];
    let body = prop_oneof![3 => proptest::sample::select(&LINES[..]).prop_map(|line| json!({"stringValue": line})), 1 => value()];
    (proptest::sample::select(&KINDS[..]), body, time(), attributes(3), resource()).prop_map(
        |(kind, body, time, mut attributes, resource)| {
            attributes.push(json!({"key": "type", "value": {"stringValue": kind}}));
            let record = json!({"timeUnixNano": time, "body": body, "attributes": attributes, "severityNumber": 17});
            json!({"resource": resource, "scopeLogs": [{"logRecords": [record]}]})
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn made_up_telemetry(spans in proptest::collection::vec(span(), 0..12), records in proptest::collection::vec(record(), 0..12)) {
        check::check(json!({"resourceSpans": spans}).to_string().as_bytes());
        check::check(json!({"resourceLogs": records}).to_string().as_bytes());
    }
}
