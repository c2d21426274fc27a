//! Limits are told when they are hit, and circles end.

use super::super::testing::{World, check, text, trace};
use super::super::{Assembly, CutReason, Limits, Seed};

/// Traces `t00`, `t01`, …, each the cause of the next.
fn chain(count: usize) -> String {
    let line = |n: usize| {
        let (start, end) = (n * 10, n * 10 + 1);
        format!(
            "t{n:02} s - server f{n} {start} {end} in=sqs:m{n} out=sns:x{n}\nt{n:02} p s producer f{n} {start} {end} out=sqs:m{}",
            n + 1
        )
    };
    (0..count).map(line).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn cut(limits: Limits, traces: usize, reason: CutReason) {
    let flow = World::new(&chain(40)).assemble("t20", limits).0;
    let reasons: Vec<CutReason> = flow.cuts.iter().map(|cut| cut.reason).collect();
    assert!(flow.traces.len() == traces && reasons.contains(&reason), "{}", text(&flow));
    assert!(!reasons.contains(&CutReason::Batch), "{}", text(&flow));
}

#[test]
fn limits_are_told() {
    let limits = Limits::default();
    cut(Limits { depth_max: 3, ..limits }, 7, CutReason::Depth);
    cut(Limits { traces_max: 5, ..limits }, 5, CutReason::Traces);
    cut(Limits { spans_max: 8, ..limits }, 4, CutReason::Spans);
    cut(Limits { span_ns: 45_000_000_000, ..limits }, 5, CutReason::Time);
    let flow = World::new(&chain(40)).assemble("t20", Limits { keys_max: 60, ..limits }).0;
    assert!(flow.cuts.iter().any(|cut| cut.reason == CutReason::Keys), "{}", text(&flow));
}

#[test]
fn a_trace_that_is_too_large_is_shortened() {
    let spans: String = (1..30).map(|n| format!("\nt s{n} s internal one {n} {n}")).collect();
    let world = World::new(&format!("t s - server one 0 40{spans}"));
    let flow = world.assemble("t", Limits { spans_max: 10, ..Limits::default() }).0;
    assert_eq!((flow.spans.len(), flow.cuts[0].reason), (10, CutReason::Spans));
}

#[test]
fn circles_end() {
    check(
        "a s - server one 0 9 in=ce:y
         a p s producer one 1 2 out=ce:x
         b s - server two 1 9 in=ce:x
         b p s producer two 2 3 out=ce:y",
        "a",
        "a b
         b.p -> a.s ce ce exact 0s
         a.p -> b.s ce ce exact 0s",
    );
    // Spans that are their own ancestors.
    check(
        "a s t server one 0 9
         a t s client one 1 8
         a u a client one 1 8",
        "a",
        "a",
    );
    check("a s s server one 0 9 link=a.s out=sqs:m1 in=sqs:m1", "a", "a\nhalf out sqs:m1 a.s\nhalf in sqs:m1 a.s");
}

#[test]
fn what_is_not_stored_is_no_story() {
    check("a s - server one 0 1", "b", "");
    check("a s - server one 0 1", "sqs:m1", "");
    check("a s - server one 0 1 link=b.s", "a", "a");
}

#[test]
fn an_invocation_can_be_asked_for() {
    check(
        "a c - client one 0 3 out=lambda:r1\nb s - server two/two 1 2 inv=r1",
        "lambda:r1",
        "a b\na.c -> b.s lambda lambda exact 1s sync",
    );
}

/// A trace that is deep, wide and full of keys is worked out in time that grows with its size.
#[test]
fn large_traces_are_no_trouble() {
    let mut script = String::from("t s - server one 0 100000\nt d0 s internal one 0 1000\n");
    for n in 1..20_000 {
        script += &format!("t d{n:x} d{:x} internal one 1 1000\n", n - 1);
    }
    let fan: String = (0..5_000).map(|n| format!("t p{n} s producer one 5 6 out=sqs:m{n}\n")).collect();
    let receivers: String = (0..500).map(|n| format!("r{n} s - server two 7 8 in=sqs:m{n}\n")).collect();
    let world = World::new(&(script + &fan + &receivers));
    let mut assembly = Assembly::new(Seed::Trace(trace("t")), Limits::default());
    let mut took = std::time::Duration::ZERO;
    loop {
        let begin = std::time::Instant::now();
        let Some(wants) = assembly.wants() else { break };
        took += begin.elapsed();
        let (spans, rows) = world.answer(&wants);
        assembly.give(spans, rows);
    }
    let flow = assembly.finish();
    assert_eq!((flow.traces.len(), flow.edges.len(), flow.halves.len()), (501, 500, 4_500));
    // Far more than it takes, also unoptimised; what is quadratic would take minutes.
    assert!(took.as_secs() < 20, "{took:?}");
}

/// Each read waits for storage, so their number is what a flow costs: two for each hop, one for keys and one for traces.
#[test]
fn a_flow_is_read_in_few_rounds() {
    let rounds = |script: &str, seed: &str| {
        let world = World::new(script);
        let mut assembly = Assembly::new(Seed::Trace(trace(seed)), Limits::default());
        let (mut rounds, mut keys) = (0, 0);
        while let Some(wants) = assembly.wants() {
            (rounds, keys) = (rounds + 1, keys + wants.keys.len());
            let (spans, rows) = world.answer(&wants);
            assembly.give(spans, rows);
        }
        (assembly.finish().traces.len(), rounds, keys)
    };
    let fan: String = (0..14).map(|n| format!("\nn{n} s - server next 60 61 in=sns:x5")).collect();
    let script = chain(6) + &fan;
    assert_eq!(rounds(&script, "t00"), (20, 14, 86));
    assert_eq!(rounds(&script, "t03"), (20, 8, 86));
}

#[test]
fn what_was_left_out_of_a_batch_is_told() {
    // Senders of other stories, of which a hundred are told.
    let mut script = String::from("b s - server worker 50 90\nb m0 s consumer worker 51 52 in=sqs:m0\n");
    for n in 0..130 {
        script += &format!("a{n} p - producer shop 0 1 out=sqs:m{n}\nb m{n} s consumer worker 51 52 in=sqs:m{n}\n");
    }
    let world = World::new(&script);
    for (seed, edges, left) in [("b", 100, 30), ("a3", 101, 29)] {
        let flow = world.flow(seed);
        assert_eq!((flow.edges.len(), flow.foreign_left), (edges, left), "{seed} {}", text(&flow));
        let expected = format!("edges of other stories in a batch beyond 100 of one trace ({left} left out)");
        assert_eq!(flow.gaps(), [expected], "{seed}");
    }
    assert_eq!(World::new("a s - server one 0 1").flow("a").gaps(), Vec::<String>::new());
    // The same where links alone tell of them.
    let mut script = String::from("b s - server worker 50 90\n");
    for n in 0..130 {
        script += &format!("a{n} p - producer shop 0 1\nb m{n} s consumer worker 51 52 link=a{n}.p\n");
    }
    let world = World::new(&script);
    for (seed, edges, left) in [("b", 100, 30), ("a3", 101, 29)] {
        let flow = world.flow(seed);
        assert_eq!((flow.edges.len(), flow.foreign_left), (edges, left), "{seed} {}", text(&flow));
        assert!(seed == "b" || flow.edges.iter().any(|edge| edge.from.trace_id == trace("a3")));
    }
    // Once a story has much to read, fewer of them are read.
    let few = world.assemble("b", Limits { traces_max: 50, ..Limits::default() }).0;
    assert_eq!((few.edges.len(), few.foreign_left), (12, 118), "{}", text(&few));
}

#[test]
fn links_that_an_sdk_dropped_are_told() {
    let dropped = [3, 7, 0, 5, 1, 2].map(|n| format!("b m{n} s consumer worker 51 52 dropped={n}\n"));
    let mut world = World::new(&format!("b s - server worker 50 90\n{}", dropped.concat()));
    world.spans.extend(world.spans.clone());
    let id = |n: usize| super::super::testing::span(&format!("m{n}")).to_string();
    let named = format!("7 of span {}, 5 of span {}, 3 of span {}, 3 of 2 more", id(7), id(5), id(3));
    let expected =
        format!("links that an SDK dropped ({named}): the senders of those messages are not known from them");
    assert_eq!(world.flow("b").gaps(), [expected]);
    world
        .spans
        .iter_mut()
        .for_each(|span| (span.dropped_links, span.dropped_keys) = (0, usize::from(span.parent.is_none())));
    let keys = format!(
        "keys beyond 264 on one side of a span (1 of span {}): they were not looked for",
        super::super::testing::span("s")
    );
    assert_eq!(world.flow("b").gaps(), [keys]);
}
