//! What holds of every story.

use proptest::prelude::*;

use super::super::Limits;
use super::super::testing::{World, text};
use super::batches::TWO_ORDERS;
use super::hostile::{LARGE_BATCH, PARTIAL, TRIES, WORKFLOW};
use super::stories::{ORDER, XRAY};

const STORIES: [&str; 7] = [ORDER, XRAY, TWO_ORDERS, PARTIAL, TRIES, LARGE_BATCH, WORKFLOW];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Rows come in any order, in parts, and twice.
    #[test]
    fn the_order_of_rows_does_not_matter(
        order in Just((0..1000usize).collect::<Vec<_>>()).prop_shuffle(),
        twice in proptest::collection::vec(any::<bool>(), 64),
        script in proptest::sample::select(&STORIES[..]),
    ) {
        let plain = World::new(script);
        let mut mixed = World::new(script);
        let mut spans: Vec<_> = mixed.spans.iter().cloned().zip(&twice).flat_map(|(s, t)| vec![s; 1 + usize::from(*t)]).collect();
        let mut rows: Vec<_> = mixed.rows.iter().cloned().zip(twice.iter().cycle()).flat_map(|(r, t)| vec![r; 1 + usize::from(*t)]).collect();
        let mut index = order.iter();
        spans.sort_by_cached_key(|_| index.next());
        rows.sort_by_cached_key(|_| index.next());
        (mixed.spans, mixed.rows) = (spans, rows);
        for seed in ["api", "work", "a", "b", "b.m1", "d", "e", "z"] {
            let (one, other) = (plain.flow(seed), mixed.flow(seed));
            prop_assert_eq!(text(&one), text(&other));
            prop_assert_eq!(one, other);
        }
    }
}

/// A story in which each trace has one cause: of each trace but the first, which earlier one, and by what.
fn tree() -> impl Strategy<Value = Vec<(usize, u8)>> {
    proptest::collection::vec((any::<usize>(), 0..5u8), 1..12)
}

fn tree_script(causes: &[(usize, u8)]) -> String {
    let mut lines = vec!["t0 s - server f0/f0 0 9 inv=r0".to_owned()];
    for (index, (cause, by)) in causes.iter().enumerate() {
        let (child, cause) = (index + 1, cause % (index + 1));
        let (at, sent) = (child * 100, child * 100 - 5);
        let (out, received) = match by {
            0 => (format!("out=sqs:m{child}@q"), format!("in=sqs:m{child}@q")),
            1 => (String::new(), format!("link=t{cause}.p{child}")),
            2 => (format!("out=lambda:r{child}"), String::new()),
            3 => (format!("out=dest:sns|topic{child}"), format!("in=dest:sns|topic{child}")),
            _ => (format!("out=ce:e{child}"), format!("link=t{cause}.p{child} in=ce:e{child}")),
        };
        lines.push(format!("t{cause} p{child} s producer f{cause}/f{cause} {sent} {} {out}", sent + 1));
        lines.push(format!("t{child} s - server f{child}/f{child} {at} {} inv=r{child} {received}", at + 9));
    }
    lines.join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A story without a batch is the same from each of its traces.
    #[test]
    fn it_does_not_matter_where_one_asks(causes in tree()) {
        let world = World::new(&tree_script(&causes));
        let whole = world.flow("t0");
        prop_assert_eq!(whole.traces.len(), causes.len() + 1, "{}", text(&whole));
        prop_assert_eq!(whole.edges.len(), causes.len());
        for seed in 1..=causes.len() {
            prop_assert_eq!(text(&world.flow(&format!("t{seed}"))), text(&whole));
        }
    }
}

/// Spans, links and keys as nobody would send them.
fn nonsense() -> impl Strategy<Value = String> {
    const KEYS: &[&str] = &[
        "sqs:m1",
        "sqs:m2@q",
        "lambda:r1",
        "lambda.outcome:r1",
        "kinesis:eu:s:0:5",
        "kinesis.range:eu:s:0:1..9",
        "ddb.item:i",
        "sfn:run",
        "sfn:run#a",
        "kafka:-:t:0:1",
        "ce:x",
        "xray:t1",
        "xray:t2:s1",
        "dest:sqs|q",
        "dest:sns|p",
        "s3.req:a",
        "gps:-:1",
        "durable:d#*",
        "kinesis.range:nothing",
        "apigw:1",
    ];
    let keys = || proptest::collection::vec(proptest::sample::select(KEYS), 0..3);
    let links = proptest::collection::vec((0..6u8, 0..6u8), 0..3);
    let kind = proptest::sample::select(&["server", "client", "producer", "consumer", "internal"][..]);
    let line = ((0..6u8, 0..6u8, 0..7u8), kind, (0..4u8, 0..3u8), (0..400u32, 0..60u32), links, keys(), keys());
    let line = line.prop_map(|((t, s, p), kind, (service, acct), (start, took), links, outs, ins)| {
        let end = start + took;
        let mut line = format!("t{t} s{s} s{p} {kind} f{service}/f{service} {start} {end} inv=r{service}");
        let links: Vec<String> = links.iter().map(|(t, s)| format!("t{t}.s{s}")).collect();
        for (word, values) in [("link", links.join(",")), ("out", outs.join(",")), ("in", ins.join(","))] {
            if !values.is_empty() {
                line += &format!(" {word}={values}");
            }
        }
        if acct > 0 { format!("{line} acct={acct} error") } else { line }
    });
    proptest::collection::vec(line, 1..40).prop_map(|lines| lines.join("\n") + "\nxray t1 s1 r0 5\nxray t2 s1 r1 5")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Nothing panics or goes on for ever, and the order of rows does not matter, whatever they say.
    #[test]
    fn nonsense_is_survived(script in nonsense(), seed in 0..6u8, most in 0..4usize) {
        let world = World::new(&script);
        let mut turned = world.clone();
        turned.spans.reverse();
        turned.rows.reverse();
        let limits = Limits { batch_traces_max: most, xray_root_invocations_max: most, ..Limits::default() };
        for seed in [format!("t{seed}"), format!("t{seed}.s1"), "sqs:m1 ce:x".to_owned()] {
            let (one, other) = (world.assemble(&seed, limits).0, turned.assemble(&seed, limits).0);
            prop_assert_eq!(text(&one), text(&other));
            prop_assert!(one.traces.len() <= 6 && one.start_ns <= one.end_ns);
            prop_assert!(one.critical_path.windows(2).all(|w| w[0].end_ns <= w[1].start_ns), "{:?}", one.critical_path);
            prop_assert_eq!(one, other);
        }
    }
}

#[test]
fn an_assembly_can_be_held_while_its_reader_waits() {
    fn is_send<T: Send>() {}
    is_send::<super::super::Assembly>();
}
