use super::insights::{FunctionStats, Insight, Signals, Thresholds, of, of_signals};

const DAY_NS: i64 = 86_400_000_000_000;
const MIB: u64 = 1 << 20;

fn fine() -> FunctionStats {
    FunctionStats {
        function: "f".to_owned(),
        range_ns: 8 * DAY_NS,
        invocations: 1_000,
        starts_known: 1_000,
        reported: 1_000,
        memory_size: 256 * MIB,
        memory_used_max: 180 * MIB,
        ..FunctionStats::default()
    }
}

#[track_caller]
fn check(change: impl FnOnce(&mut FunctionStats), expected: &[&str]) -> Vec<Insight> {
    let mut stats = fine();
    change(&mut stats);
    let found = of(&stats, &Thresholds::default());
    let lines: Vec<String> = found.iter().map(|i| format!("{}: {}", i.kind.name(), i.text)).collect();
    assert_eq!(lines, expected);
    found
}

#[test]
fn nothing_to_say() {
    check(|_| {}, &[]);
    assert_eq!(of(&FunctionStats::default(), &Thresholds::default()), []);
}

#[test]
fn failures() {
    check(|s| s.failed = 10, &[]);
    check(|s| s.failed = 11, &["errors: 1.1 % of invocations failed (11 of 1000)"]);
    check(|s| s.failed = 100, &["errors: 10.0 % of invocations failed (100 of 1000)"]);
    check(|s| s.failed = 101, &["high_errors: 10.1 % of invocations failed (101 of 1000)"]);
    // Few invocations say nothing.
    check(|s| (s.failed, s.invocations) = (19, 19), &[]);
    check(|s| s.timed_out = 1, &["timed_out: 1 of 1000 invocations ran out of time"]);
    check(|s| s.out_of_memory = 2, &["out_of_memory: 2 of 1000 invocations ran out of memory"]);
    check(
        |s| s.lost = 20,
        &["lost_telemetry: 2.0 % of the invocations that the platform reports have no span (20 of 1000)"],
    );
    check(|s| s.lost = 10, &[]);
}

#[test]
fn near_a_limit() {
    check(|s| s.memory_used_max = 243 * MIB, &[]);
    // Of 1000 MB: 950 are no more than 95 %, 951 are.
    let used = |mb: u64| move |s: &mut FunctionStats| (s.memory_size, s.memory_used_max) = (1_000 * MIB, mb * MIB);
    check(used(950), &[]);
    check(used(951), &["near_memory: an invocation used 951 of 1000 MB of memory (95.1 %)"]);
    let text = "near_memory: an invocation used 250 of 256 MB of memory (97.7 %)";
    check(|s| s.memory_used_max = 250 * MIB, &[text]);
    let near = |ms: u64| {
        move |s: &mut FunctionStats| (s.duration_max_ns, s.limit_ns) = (Some(ms * 1_000_000), Some(3_000_000_000))
    };
    check(near(2_850), &[]);
    check(near(2_851), &["near_timeout: an invocation took 2.9 of 3.0 s that it may take (95.0 %)"]);
    check(near(2_900), &["near_timeout: an invocation took 2.9 of 3.0 s that it may take (96.7 %)"]);
    check(|s| s.duration_max_ns = Some(1), &[]);
}

#[test]
fn cold_starts_with_their_coverage() {
    check(|s| s.cold = 10, &[]);
    let found = check(|s| s.cold = 11, &["cold_starts: 1.1 % of invocations waited for a cold start (11 of 1000)"]);
    assert!(found[0].evidence.iter().any(|e| e.name == "starts_known" && e.value == 1_000.0));
    check(|s| (s.cold, s.starts_known) = (50, 99), &[]);
}

#[test]
fn memory_that_nobody_uses() {
    let much = |s: &mut FunctionStats| (s.memory_size, s.memory_used_max) = (1_024 * MIB, 100 * MIB);
    check(much, &["over_provisioned: at most 100 of 1024 MB of memory were used in 8 days: 192 MB are a candidate"]);
    let found = check(
        |s| {
            much(s);
            s.gb_second = Some(0.0000166667);
            s.billed_ns = 3_600_000_000_000;
            s.other_sizes = vec![(512 * MIB, 90_000_000)];
        },
        &[
            "over_provisioned: at most 100 of 1024 MB of memory were used in 8 days: 192 MB are a candidate, which would \
           save 0.18 in 30 days if it took no longer",
        ],
    );
    let value = |name: &str| found[0].evidence.iter().find(|e| e.name == name).unwrap().value;
    // 832 MiB less for an hour.
    assert!((value("saving_in_range_usd") - 3_600.0 * 0.8125 * 0.0000166667).abs() < 1e-12);
    assert_eq!(value("memory_proposed_bytes"), (192 * MIB) as f64);
    assert_eq!(value("other_size_bytes"), (512 * MIB) as f64);
    // Enough seen: seven days, a hundred invocations.
    let text = "over_provisioned: at most 100 of 1024 MB of memory were used in 7 days: 192 MB are a candidate";
    check(|s| (much(s), s.range_ns = 7 * DAY_NS, s.invocations = 100).1, &[text]);
    check(|s| (much(s), s.range_ns = 7 * DAY_NS - 1).1, &[]);
    // 30 % above what was used, in steps of 64 MB: 196 MB would be 254.8, so 256; 197 would be more.
    let used = |mb: u64| move |s: &mut FunctionStats| (s.memory_size, s.memory_used_max) = (320 * MIB, mb * MIB);
    let text = "over_provisioned: at most 196 of 320 MB of memory were used in 8 days: 256 MB are a candidate";
    check(used(196), &[text]);
    check(used(197), &[]);
    // Memory that ran out is never advised away.
    check(|s| (much(s), s.out_of_memory = 1).1, &["out_of_memory: 1 of 1000 invocations ran out of memory"]);
    // Too little seen, or the smallest size already.
    check(|s| (much(s), s.range_ns = 6 * DAY_NS).1, &[]);
    check(|s| (much(s), s.invocations = 99).1, &[]);
    check(|s| (s.memory_size, s.memory_used_max) = (128 * MIB, 30 * MIB), &[]);
}

#[test]
fn what_other_sources_show() {
    let check = |change: fn(&mut Signals), expected: &[&str]| {
        let mut signals = Signals { function: "f".to_owned(), invocations: 90, ..Signals::default() };
        change(&mut signals);
        let found = of_signals(&signals, &Thresholds::default());
        let lines: Vec<String> = found.iter().map(|i| format!("{}: {}", i.kind.name(), i.text)).collect();
        assert_eq!(lines, expected);
    };
    check(|_| {}, &[]);
    // Calls that were refused are no invocations.
    check(|s| s.throttled = 10, &[]);
    check(|s| s.throttled = 11, &["throttled: 10.9 % of calls were refused as too many (11 of 101)"]);
    check(|s| s.iterator_age_max_ns = Some(7_200_000_000_000), &[]);
    check(
        |s| s.iterator_age_max_ns = Some(9_000_000_000_000),
        &["iterator_age: records of its stream waited for up to 2.5 h"],
    );
    check(|s| s.provisioned_used_share = Some(0.6), &[]);
    check(
        |s| s.provisioned_used_share = Some(0.25),
        &["provisioned_unused: at most 25.0 % of the provisioned environments were in use"],
    );
    check(|s| (s.cold, s.init_p95_ns) = (4, Some(3_000_000_000)), &[]);
    check(|s| (s.cold, s.init_p95_ns) = (5, Some(2_000_000_000)), &[]);
    check(
        |s| (s.cold, s.init_p95_ns) = (5, Some(3_000_000_000)),
        &["slow_init: 95 % of 5 cold starts wait for up to 3.0 s"],
    );
    check(
        |s| s.init_max_ns = Some(8_100_000_000),
        &["slow_init: an initialisation took 8.1 s: it is stopped and begun again after 10 s"],
    );
}
