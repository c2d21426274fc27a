use super::*;
use crate::cost::PriceTable;
use proptest::prelude::*;

/// Each invocation as `<id>#<attempt> <start ms>+<duration ms> <outcome>` and what else is true.
pub(super) fn lines(merged: &Merged) -> String {
    let line = |i: &Invocation| {
        let mut out = format!("{}#{} {}", i.id, i.attempt, i.start_ns as f64 / MS as f64);
        if let Some(duration) = i.duration_ns {
            write!(out, "+{}", duration as f64 / MS as f64).unwrap();
        }
        write!(out, " {}", i.outcome).unwrap();
        let flags = [("oom", i.out_of_memory), ("late", i.timed_out), ("lost", i.is_lost()), ("spanless", !i.has_span)];
        for (name, is_set) in flags {
            if is_set {
                write!(out, " {name}").unwrap();
            }
        }
        out
    };
    merged.invocations.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[track_caller]
pub(super) fn check(script: &str, expected: &str) {
    let found = merged(script);
    let expected: Vec<&str> = expected.lines().map(str::trim).collect();
    assert_eq!(lines(&found), expected.join("\n"), "{script}");
}

#[test]
fn all_sources_of_one_invocation() {
    let script = "1000 start id=a
        1001 span id=a took=98 status=ok trace=5 span=6
        1100 runtime_done id=a took=100 status=ok
        1102 report id=a took=102 billed=103 size=512 used=96 status=ok";
    check(script, "a#1 1000+102 ok");
    let merged = merged(script);
    let invocation = &merged.invocations[0];
    assert_eq!(invocation.runtime_ns, Some(100 * MS));
    assert_eq!(invocation.billed_ns, Some(103 * MS));
    assert_eq!(invocation.memory_used, Some(96 << 20));
    assert_eq!(invocation.trace_id, Some(TraceId(5u128.to_be_bytes())));
    assert_eq!(invocation.provider, Some(Provider::Aws));
    assert!(invocation.has_span && invocation.has_report && !invocation.is_lost());
    // Each source alone is an invocation too.
    check("1000 start id=a", "a#1 1000 unknown spanless");
    check("1001 span id=a took=98 status=ok", "a#1 1001+98 ok");
    check("1100 runtime_done id=a", "a#1 1100 unknown spanless");
    check("1102 report id=a took=102", "a#1 1000+102 unknown lost spanless");
}

#[test]
fn how_it_ended() {
    // A line REPORT without a status: the span decides.
    check("0 span id=a took=5 status=ok\n6 report id=a took=6", "a#1 0+6 ok");
    check("0 span id=a took=5 status=error\n6 report id=a took=6", "a#1 0+6 error");
    // An answer of 500 is no failure of the invocation.
    check("0 span id=a took=5 status=error\n6 report id=a took=6 status=ok", "a#1 0+6 ok");
    check("5 runtime_done id=a took=5 status=error kind=Function.Unknown", "a#1 0+5 error spanless");
    check("5 runtime_done id=a took=5 status=crash kind=Runtime.ExitError", "a#1 0+5 crash spanless");
    check("6 report id=a took=6 status=error kind=Runtime.ExitError", "a#1 0+6 crash lost spanless");
}

#[test]
fn a_time_out_that_never_sent_its_span() {
    check("3002 report id=a took=3002 status=timeout", "a#1 0+3002 timeout late lost spanless");
    check("3000 log id=a limit=3000 status=timeout", "a#1 0+3000 timeout late spanless");
    check(
        "0 start id=a\n3000 log id=a limit=3000 status=timeout\n3000 runtime_done id=a",
        "a#1 0+3000 timeout late spanless",
    );
    // What was sent before the end does not make it a success.
    check("0 span id=a took=2990 status=ok\n3000 log id=a limit=3000 status=timeout", "a#1 0+2990 timeout late");
    let merged = merged("3000 log id=a limit=3000 status=timeout");
    assert_eq!(merged.invocations[0].cause.as_deref(), Some("timed out after 3.00 s"));
    assert!(merged.invocations[0].fingerprint.is_some());
}

#[test]
fn memory_that_ran_out_is_counted_once() {
    check("5 log id=a oom=log", "a#1 5 oom oom spanless");
    check("5 runtime_done id=a took=5 status=crash oom=record", "a#1 0+5 oom oom spanless");
    check("5 report id=a took=5 oom=report size=128 used=128", "a#1 0+5 oom oom lost spanless");
    let all = "3 log id=a oom=log\n4 log id=a oom=killed status=crash
        5 runtime_done id=a took=5 status=crash oom=record
        6 report id=a took=6 status=crash oom=report size=128 used=128";
    check(all, "a#1 0+6 oom oom lost spanless");
    assert_eq!(merged(all).invocations[0].cause.as_deref(), Some("out of memory: 128 of 128 MB used"));
    // A success with all memory used is a success.
    check("0 span id=a took=5 status=ok\n6 report id=a took=6 status=ok oom=report", "a#1 0+6 ok");
    // It went on: not a failure, but told.
    check("0 span id=a took=5 status=ok\n3 log id=a oom=log", "a#1 0+5 ok oom");
    check("0 span id=a took=5 status=error error=MemoryError", "a#1 0+5 oom oom");
    // A time-out at the limit is both; one whose process was killed is a time-out.
    check("9 report id=a took=9 status=timeout oom=report", "a#1 0+9 timeout oom late lost spanless");
    check("9 report id=a took=9 status=timeout\n9 log id=a oom=killed", "a#1 0+9 timeout late lost spanless");
    check("9 log id=a oom=killed status=crash", "a#1 9 oom oom spanless");
}

#[test]
fn a_retry_comes_soon_after_the_try_before() {
    // Minutes 0, 16, 33 and 34: whoever looks at one hour of them says the same of each.
    let script = "0 span id=a took=5 status=error\n960000 span id=a took=5 status=error
        1980000 span id=a took=5 status=error\n2040000 span id=a took=5 status=ok";
    let found = merged(script);
    let of: Vec<_> = found.invocations.iter().map(|i| (i.attempt, i.is_retry)).collect();
    assert_eq!(of, [(1, false), (2, true), (3, false), (4, true)]);
    let later = merged("1980000 span id=a took=5 status=error\n2040000 span id=a took=5 status=ok");
    let of: Vec<_> = later.invocations.iter().map(|i| (i.attempt, i.is_retry)).collect();
    assert_eq!(of, [(1, false), (2, true)]);
}

#[test]
fn retries_have_one_request_id() {
    let script = "0 span id=a took=100 status=error trace=1 span=1
        102 report id=a took=102
        60000 span id=a took=100 status=error trace=2 span=2 in=2026/[1]b
        60102 report id=a took=102 in=2026/[1]b
        60050 log id=a error=ValueError in=2026/[1]b
        180000 start id=a
        180050 runtime_done id=a
        180060 log id=a oom=log";
    check(script, "a#1 0+102 error\na#2 60000+102 error\na#3 180000+50 oom oom spanless");
    // At the same time in two places: two tries.
    check("0 span id=a took=100\n50 span id=a took=100 in=2026/[1]b", "a#1 0+100 unknown\na#2 50+100 unknown");
    // Two names of one place are one.
    check("0 span id=a took=100 in=4711\n102 report id=a took=102", "a#1 0+102 unknown");
    // One id of two functions.
    check("0 span id=a took=9\n3 span id=a took=5 fn=g", "a#1 0+9 unknown\na#1 3+5 unknown");
}

#[test]
fn without_a_request_id_environment_and_time_decide() {
    let script = "0 start id=a
        100 report id=a took=100
        101 start id=b
        200 report id=b took=99
        1 span took=98 status=ok trace=1 span=1
        150 log oom=log";
    check(script, "a#1 0+100 ok\nb#1 101+99 oom oom lost spanless");
    // By the trace, where the environment does not tell.
    let script = "0 span id=a took=100 status=ok trace=1 in=x\n0 span id=b took=100 status=ok trace=2 in=x
        50 log oom=log trace=2 in=x\n50 log oom=log in=x";
    let merged = merged(script);
    assert_eq!(lines(&merged), "a#1 0+100 ok\nb#1 0+100 ok oom");
    assert_eq!(merged.unplaced, 1);
    // A span that fits nowhere is an invocation by itself.
    check(
        "0 span took=5 status=ok span=1 in=x\n2 span took=5 status=ok span=2 in=x",
        "0000000000000001#1 0+5 ok\n0000000000000002#1 2+5 ok",
    );
    // The host's span of the same request.
    check(
        "0 span took=9 status=ok span=1 trace=1 in=x\n2 span id=a took=5 status=ok span=2 trace=1 in=y",
        "a#1 0+9 ok",
    );
}

#[test]
fn an_invocation_without_an_end_runs_until_the_next() {
    let script = "0 start id=a\n2500 log oom=log\n3000 start id=b\n3100 report id=b took=100\n3400 log oom=killed";
    check(script, "a#1 0 oom oom spanless\nb#1 3000+100 oom oom lost spanless");
    // Not for ever.
    check("0 start id=a\n960001 log oom=log", "a#1 0 unknown spanless");
    // Nor in another function.
    check("0 start id=a\n2500 log oom=log fn=g", "a#1 0 unknown spanless");
}

#[test]
fn the_best_error_is_kept() {
    let script = "5 runtime_done id=a took=5 status=error kind=Function.Unknown
        3 log id=a error=KeyError
        0 span id=a took=5 status=error error=ValueError";
    let invocation = &merged(script).invocations[0];
    assert_eq!(invocation.error_type.as_deref(), Some("ValueError"));
    assert_eq!(invocation.cause.as_deref(), Some("ValueError: went wrong"));
    assert_eq!(invocation.fingerprint, Some(crate::fingerprint::of("ValueError", "went wrong", "")));
    // An error that was logged and survived is not the invocation's.
    let invocation = &merged("0 span id=a took=5 status=ok\n3 log id=a error=KeyError").invocations[0];
    assert_eq!((invocation.outcome, &invocation.error_type, &invocation.cause), (Outcome::Ok, &None, &None));
}

#[test]
fn what_the_platform_dropped_is_said() {
    let merged = merged("0 logs_dropped dropped=12\n0 logs_dropped dropped=12\n9 logs_dropped dropped=1");
    assert_eq!((merged.dropped_records, merged.invocations.len()), (13, 0));
}

#[test]
fn who_ran_at_a_time() {
    let merged = merged(
        "0 span id=a took=100\n101 span id=b took=100\n300 start id=c\n0 span id=x took=9 in=i\n0 span id=y took=9 in=i",
    );
    let at = |instance: &str, ms: i64| merged.at(instance, ms * MS).map(|i| i.id.as_str());
    let here = "2026/[1]a";
    assert_eq!([at(here, 50), at(here, 150), at(here, 250), at(here, 400)], [Some("a"), Some("b"), None, Some("c")]);
    assert_eq!([at(here, -1), at("i", 5), at("j", 5)], [None; 3]);
}

#[test]
fn the_billed_duration_has_its_price() {
    let prices = PriceTable::builtin();
    let rules = Rules { prices: Some(&prices), ..Rules::default() };
    let mut facts = facts("102 report id=a took=102 billed=1000 size=1024 used=96\n200 span id=b took=5");
    for fact in &mut facts {
        fact.region = Some("eu-central-1".to_owned());
        // There are no prices for 1970.
        fact.time_ns += 1_795_255_200_000_000_000;
    }
    let merged = merge(&facts, &rules);
    let cost = |id: &str| merged.invocations.iter().find(|i| i.id == id).unwrap().cost.clone();
    let found = cost("a").unwrap();
    assert_eq!((found.usd, &*found.table), (0.0000168667, prices.version()));
    assert!(found.is_architecture_assumed);
    // Nobody says what was billed.
    assert_eq!(cost("b"), None);
}

#[test]
fn an_initialisation_is_billed_as_the_platform_says() {
    // Since 2025-08-01 the billed duration has it in it; before, of most functions it had not. It is never added.
    let cost = |day: i64, report: &str| {
        let mut facts = facts(report);
        for fact in &mut facts {
            fact.region = Some("us-east-1".to_owned());
            fact.architecture = Some(Architecture::X86_64);
            fact.time_ns += day * 86_400_000_000_000;
        }
        let prices = PriceTable::builtin();
        let merged = merge(&facts, &Rules { prices: Some(&prices), ..Rules::default() });
        merged.invocations[0].cost.clone().unwrap()
    };
    // 103 ms × 0.125 GB = 0.012875 GB-s; 603 ms × 0.125 GB = 0.075375 GB-s; 16.6667e-6 USD a GB-s, 0.2e-6 a request.
    let before = cost(20_300, "103 report id=a took=102.25 billed=103 init=500 size=128 used=64");
    assert_eq!(before.usd, 0.000000414584);
    let since = cost(20_301, "103 report id=a took=102.25 billed=603 init=500 size=128 used=64");
    assert_eq!(since.usd, 0.000001456253);
    assert_eq!((&*before.table, before.is_architecture_assumed), (PriceTable::builtin().version(), false));
}

/// A script's line from a few choices, so that facts often speak of the same invocation.
fn any_line() -> impl Strategy<Value = String> {
    let source = prop::sample::select(vec![
        "span",
        "span",
        "start",
        "runtime_done",
        "report",
        "log",
        "init_span",
        "init_start",
        "init_report",
        "restore_start",
        "restore_report",
        "logs_dropped",
        "metric",
        "init_metric",
    ]);
    let id = prop::sample::select(vec!["", " id=a", " id=a", " id=b", " id=c"]);
    let place = prop::sample::select(vec!["", "", " in=-", " in=2026/[1]b", " in=4711", " fn=g", " fn=-"]);
    let more = prop::sample::select(vec![
        "",
        " took=700",
        " took=5000",
        " status=ok",
        " status=error kind=X",
        " status=timeout limit=3000",
        " oom=log",
        " oom=report size=1 used=1",
        " cold=true",
        " cold=false took=9",
        " phase=invoke took=100",
        " type=snap-start",
        " type=provisioned-concurrency",
        " trace=1 span=1 took=50",
        " trace=2 span=2 error=E",
        " took=20 init=100",
    ]);
    (0u32..40, source, id, place, more)
        .prop_map(|(time, source, id, place, more)| format!("{} {source}{id}{place}{more}", time * 500))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn order_and_copies_do_not_matter(
        lines in prop::collection::vec(any_line(), 1..30),
        again in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        seed in any::<u64>(),
    ) {
        let straight = facts(&lines.join("\n"));
        let mut mixed = straight.clone();
        for index in again {
            mixed.push(straight[index.index(straight.len())].clone());
        }
        // A small generator of its own: the shuffle must be the seed's.
        let mut state = seed | 1;
        for at in (1..mixed.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            mixed.swap(at, (state >> 33) as usize % (at + 1));
        }
        prop_assert_eq!(merge(&straight, &Rules::default()), merge(&mixed, &Rules::default()));
    }

    #[test]
    fn nothing_is_lost_and_nothing_is_counted_twice(lines in prop::collection::vec(any_line(), 1..30)) {
        let facts = facts(&lines.join("\n"));
        let merged = merge(&facts, &Rules::default());
        // Each id is there, and no other one but those of spans.
        for fact in &facts {
            let is_own = !fact.source.is_of_environment() && fact.source != Source::LogsDropped;
            if let Some(id) = fact.invocation_id.as_deref().filter(|_| is_own) {
                prop_assert!(merged.invocations.iter().any(|i| i.id == id), "{} of {:?}", id, lines);
            }
        }
        // No environment has two firsts.
        for environment in &merged.environments {
            let of_it = |i: &&Invocation| i.environment().as_ref() == Some(&environment.key);
            let firsts = merged.invocations.iter().filter(of_it).filter(|i| !matches!(i.start_type, StartType::Warm | StartType::Unknown));
            prop_assert!(firsts.count() <= 1);
        }
        let of_spans = facts.iter().filter(|f| f.source == Source::Span).count();
        let told = facts.iter().filter(|f| !f.source.is_of_environment()).count();
        prop_assert!(merged.invocations.iter().filter(|i| i.has_span).count() <= of_spans);
        prop_assert!(merged.invocations.len() <= told);
    }
}

/// The id of the invocation that ran in an environment at a time, and of the lost one that left a span there.
fn owners(script: &str, instance: &str, at_ms: i64) -> (Option<String>, Option<String>) {
    let found = merged(script);
    let id = |i: Option<&Invocation>| i.map(|i| i.id.clone());
    (id(found.at(instance, at_ms * MS)), id(found.lost_at("f", instance, at_ms * MS)))
}

#[test]
fn what_never_ended_has_ended_when_the_next_began() {
    let script = "0 start id=a\n100000 start id=b\n101000 report id=b took=1000";
    let a = Some("a".to_owned());
    assert_eq!(owners(script, "2026/[1]a", 99_000), (a.clone(), a));
    assert_eq!(owners(script, "2026/[1]a", 100_500).0.as_deref(), Some("b"));
    assert_eq!(owners(script, "2026/[1]a", 200_000).0, None);
    // Nothing runs for more than a quarter of an hour.
    assert_eq!(owners("0 start id=a", "2026/[1]a", 2_000_000), (None, None));
}

#[test]
fn an_environment_may_have_two_names() {
    // The extension calls it x, the function's spans name the log stream.
    let both = "0 start id=a in=x\n1 span id=a took=98 trace=1 span=1\n100 report id=a in=x took=100";
    let lost = "5000 start id=b in=x\n8000 report id=b in=x took=3000";
    let b = Some("b".to_owned());
    assert_eq!(owners(&format!("{both}\n{lost}"), "2026/[1]a", 6_000), (b.clone(), b.clone()));
    // Another stream had another invocation then.
    assert_eq!(owners(&format!("{both}\n{lost}"), "2026/[1]b", 6_000), (None, None));
    // Where nothing tells which stream it is, it must be the only one.
    assert_eq!(owners(lost, "2026/[1]a", 6_000), (None, b));
    let other = "5500 start id=c in=y\n8500 report id=c in=y took=3000";
    assert_eq!(owners(&format!("{lost}\n{other}"), "2026/[1]a", 6_000), (None, None));
}
