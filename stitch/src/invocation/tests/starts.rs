use super::*;

/// Plays a script; gives each invocation as `<id> <start type>: <evidence>`.
fn starts(script: &str, rules: &Rules<'_>) -> String {
    let merged = merge(&facts(script), rules);
    let line = |i: &Invocation| format!("{} {}: {}", i.id, i.start_type, i.start_evidence);
    merged.invocations.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn check(script: &str, expected: &str) {
    assert_eq!(starts(script, &Rules::default()), expected, "{script}");
}

const SERVED: &str = "the environment had served before";
const NOTHING: &str = "nothing tells of the environment's beginning";

#[test]
fn rule_1_without_an_environment_the_span_decides() {
    check("0 span id=a in=- took=5", "a unknown: nothing names the environment");
    check("0 span id=a in=- took=5 cold=true", "a cold: the span says faas.coldstart = true");
    check("0 span id=a in=- took=5 cold=false", "a warm: the span says faas.coldstart = false");
    check(
        "0 span id=a in=- took=5 cold=true type=provisioned-concurrency",
        "a preinit: initialised as provisioned-concurrency",
    );
    check("9 report id=a in=- took=5 init=200", "a unknown: nothing names the environment");
}

#[test]
fn rule_2_only_the_first_of_an_environment_is_not_warm() {
    let script = "200 init_report took=200 type=on-demand phase=init
        201 start id=a
        300 start id=b
        400 start id=c in=2026/[1]b
        500 span id=d took=5 cold=true";
    let expected = format!(
        "a cold: began 0.0 s after the initialisation ended\nb warm: {SERVED}\nc unknown: {NOTHING}\nd warm: {SERVED}"
    );
    check(script, &expected);
}

#[test]
fn rule_3_provisioned_and_managed_are_made_ahead() {
    for kind in ["provisioned-concurrency", "lambda-managed-instances"] {
        // Even if the first invocation comes at once.
        let script = format!(
            "200 init_report took=200 type={kind} phase=init\n201 span id=a took=5 cold=true\n300 span id=b took=5"
        );
        check(&script, &format!("a preinit: initialised as {kind}\nb warm: {SERVED}"));
    }
}

#[test]
fn rule_3_a_restore_is_one_unless_it_was_long_ago() {
    let script = |start: u32| {
        format!("0 restore_start type=snap-start\n300 restore_report took=300 type=snap-start\n{start} start id=a")
    };
    check(&script(301), "a restore: began 0.3 s after the restore began");
    check(&script(9_900), "a restore: began 9.9 s after the restore began");
    check(&script(10_100), "a preinit: began 10.1 s after the restore began");
    // The begin is told by the report alone, or the type by the initialisation alone.
    check(
        "300 restore_report took=300 type=snap-start\n301 start id=a",
        "a restore: began 0.3 s after the restore began",
    );
    check("0 init_start type=snap-start\n90000 start id=a", "a restore: initialised as snap-start");
    check("9 report id=a took=5 restore=300", "a restore: the report names a restore");
}

#[test]
fn rule_4_the_gap_tells_what_was_waited_for() {
    let script = |start: u32| {
        format!("0 init_start type=on-demand\n200 init_report took=200 type=on-demand phase=init\n{start} start id=a")
    };
    check(&script(201), "a cold: began 0.0 s after the initialisation ended");
    check(&script(10_100), "a cold: began 9.9 s after the initialisation ended");
    check(&script(10_300), "a preinit: began 10.1 s after the initialisation ended");
    // Clocks that differ.
    check(&script(150), "a cold: began -0.1 s after the initialisation ended");
    let rules = Rules { preinit_gap_ns: 1_000 * MS, ..Rules::default() };
    assert_eq!(starts(&script(1_300), &rules), "a preinit: began 1.1 s after the initialisation ended");
}

#[test]
fn rule_4_with_the_begin_alone() {
    check("0 init_start\n9900 start id=a", "a cold: began 9.9 s after the initialisation ended");
    check("0 init_start\n15000 start id=a", &format!("a unknown: {NOTHING}"));
    check("0 init_start\n20100 start id=a", "a preinit: began 10.1 s after the initialisation ended");
    // The report tells how long it took.
    check(
        "0 init_start\n15000 start id=a\n15005 report id=a took=5 init=6000",
        "a cold: began 9.0 s after the initialisation ended",
    );
    check("0 init_start\n15000 span id=a took=5 cold=true", "a cold: the span says faas.coldstart = true");
}

#[test]
fn rule_5_without_records_the_span_is_believed() {
    check(
        "0 span id=a took=5 cold=true\n9 span id=b took=5 cold=false",
        &format!("a cold: the span says faas.coldstart = true\nb warm: {SERVED}"),
    );
    check(
        "0 span id=a took=5 cold=true type=provisioned-concurrency",
        "a preinit: initialised as provisioned-concurrency",
    );
    check("0 span id=a took=5 cold=true type=on-demand", "a cold: the span says faas.coldstart = true");
    check("0 span id=a took=5 cold=true type=snap-start", "a restore: initialised as snap-start");
    // First or later of an environment made ahead?
    let open = "a unknown: the span says faas.coldstart = false";
    check("0 span id=a took=5 cold=false type=provisioned-concurrency", open);
    check("0 span id=a took=5 cold=false", open);
    check("0 span id=a took=5 cold=false\n9 span id=b took=5 cold=false", &format!("{open}\nb warm: {SERVED}"));
}

#[test]
fn records_are_believed_more_than_the_span() {
    // An instrumentation that calls each first invocation of a process cold.
    check(
        "200 init_report took=200 type=on-demand\n90000 span id=a took=5 cold=true",
        "a preinit: began 89.8 s after the initialisation ended",
    );
    check(
        "200 init_report took=200 type=on-demand\n201 span id=a took=5 cold=false",
        "a cold: began 0.0 s after the initialisation ended",
    );
}

#[test]
fn python_never_says_that_a_start_was_cold() {
    check("0 span id=a took=5\n9 span id=b took=5", &format!("a unknown: {NOTHING}\nb warm: {SERVED}"));
    // The extension's span of the initialisation is enough.
    check(
        "0 init_span took=200 trace=9 span=9\n201 span id=a took=5",
        "a cold: began 0.0 s after the initialisation ended",
    );
    // An initialisation in the report says that it was the first, not that it waited.
    check("0 span id=a took=5\n6 report id=a took=6 init=200", &format!("a unknown: {NOTHING}"));
    check(
        "0 span id=a took=5 cold=false\n6 report id=a took=6 init=200",
        "a preinit: the report names an initialisation for which the span did not wait",
    );
    check("0 span id=a took=5 cold=true\n6 report id=a took=6 init=200", "a cold: the span says faas.coldstart = true");
}

#[test]
fn rule_6_a_second_initialisation_is_no_second_cold_start() {
    let script = "0 init_start phase=init
        10000 init_report took=10000 type=on-demand phase=init status=timeout
        10001 start id=a
        12001 init_report took=2000 type=on-demand phase=invoke
        12500 report id=a took=2499
        20000 start id=b
        20010 report id=b took=10
        20100 init_start phase=invoke
        20400 init_report took=300 type=on-demand phase=invoke id=c
        20100 start id=c
        20500 report id=c took=400";
    let merged = merged(script);
    let found: Vec<_> = merged.invocations.iter().map(|i| (i.id.as_str(), i.start_type, i.reinit)).collect();
    use StartType::{Cold, Warm};
    assert_eq!(found, [("a", Cold, true), ("b", Warm, false), ("c", Warm, true)]);
    assert_eq!(merged.environments.len(), 1);
    let environment = &merged.environments[0];
    assert_eq!((environment.reinits, environment.first, environment.invocations), (2, Some(0), 3));
    assert_eq!(environment.init_ns, Some(10_000 * MS));
    assert_eq!(environment.init_status, Some(Status::Timeout));
}

#[test]
fn rule_6_the_extensions_span_of_a_second_initialisation() {
    let script = "0 span id=a took=5
        100 init_span took=300 trace=9 span=9
        400 init_report took=300 phase=invoke
        90 start id=b
        500 report id=b took=410";
    let merged = merged(script);
    assert_eq!(merged.environments[0].init_span, None);
    assert_eq!(merged.invocations[1].start_type, StartType::Warm);
    assert!(merged.invocations[1].reinit);
    assert_eq!(merged.invocations[0].start_type, StartType::Unknown);
}

#[test]
fn rule_6_a_line_that_does_not_say_its_phase() {
    // The line INIT_START has no phase: after a time-out the process is started anew, in the same environment.
    let script = "0 init_start
        200 init_report took=200 type=on-demand phase=init
        201 start id=a
        3201 report id=a took=3000 status=timeout
        9000 start id=b
        9001 init_start
        9001 init_span took=250 trace=9 span=9
        9500 report id=b took=500";
    let merged = merged(script);
    let found: Vec<_> = merged.invocations.iter().map(|i| (i.id.as_str(), i.start_type, i.reinit)).collect();
    assert_eq!(found, [("a", StartType::Cold, false), ("b", StartType::Warm, true)]);
    let environment = &merged.environments[0];
    assert_eq!((environment.reinits, environment.init_ns), (1, Some(200 * MS)));
    // One beginning, as a record and as a line some milliseconds later, is no second one.
    let twice = super::merged("0 init_start phase=init\n3 init_start\n200 init_report took=200\n201 start id=a");
    assert_eq!((twice.environments[0].reinits, twice.invocations[0].reinit), (0, false));
}

#[test]
fn rule_7_one_beginning_told_six_ways_is_one() {
    let script = "0 init_start type=on-demand phase=init
        0 init_metric cold=true
        200 init_metric init=200
        200 init_report took=200 type=on-demand phase=init
        0 init_span took=200 trace=9 span=7
        201 span id=a took=5 cold=true trace=1 span=1
        207 report id=a took=6 init=200
        300 span id=b took=5 cold=false trace=2 span=2";
    let merged = merged(script);
    let cold = merged.invocations.iter().filter(|i| i.start_type == StartType::Cold).count();
    assert_eq!((cold, merged.environments.len()), (1, 1));
    let environment = &merged.environments[0];
    use Source::{InitMetric, InitReport, InitSpan, InitStart};
    assert_eq!(environment.told_by, [InitStart, InitReport, InitSpan, InitMetric]);
    // Rule 8: the span of the initialisation belongs to the first invocation.
    let span = Some((TraceId(9u128.to_be_bytes()), SpanId(7u64.to_be_bytes())));
    assert_eq!(merged.invocations[0].init_span, span);
    assert_eq!(merged.invocations[0].init_ns, Some(200 * MS));
    assert_eq!(merged.invocations[1].init_span, None);
    assert_eq!(merged.invocations[1].init_ns, None);
}

#[test]
fn what_was_before_is_asked_for() {
    let script = "0 span id=a took=5 cold=true\n9 span id=b took=5";
    let of = |script: &str, last: Option<i64>| {
        let past = move |_: &EnvironmentKey| last;
        starts(script, &Rules { past: &past, ..Rules::default() })
    };
    let cold = "the span says faas.coldstart = true";
    // It had served before the range that was read.
    assert_eq!(of(script, Some(-1)), format!("a warm: {SERVED}\nb warm: {SERVED}"));
    assert_eq!(of(script, Some(-LIFE_MAX_NS)), format!("a warm: {SERVED}\nb warm: {SERVED}"));
    assert_eq!(of(script, None), format!("a cold: {cold}\nb warm: {SERVED}"));
    // That was another one of its name.
    assert_eq!(of(script, Some(-LIFE_MAX_NS - 1)), format!("a cold: {cold}\nb warm: {SERVED}"));
}

/// Whether the hour of an invocation is looked at alone, with what was told up to a day before, or all that is known at once.
#[test]
fn what_was_long_ago_tells_nothing() {
    let init = "200 init_report took=200 type=provisioned-concurrency phase=init";
    let made = "initialised as provisioned-concurrency";
    let day = 24 * 3_600_000;
    check(&format!("{init}\n{day} start id=a"), &format!("a preinit: {made}"));
    check(&format!("{init}\n{} start id=a", day + 201), &format!("a unknown: {NOTHING}"));
    // What it served before counts as long; then what is told of its beginning is of another one.
    check(
        &format!("{init}\n201 start id=a\n{day} start id=b\n{} start id=c", 2 * day),
        &format!("a preinit: {made}\nb warm: {SERVED}\nc warm: {SERVED}"),
    );
    check(
        &format!("{init}\n201 start id=a\n{} start id=b", day + 202),
        &format!("a preinit: {made}\nb unknown: {NOTHING}"),
    );
    check(
        &format!(
            "{init}\n201 start id=a\n{} init_report took=200 type=on-demand phase=init\n{} start id=b",
            2 * day,
            2 * day + 1
        ),
        &format!("a preinit: {made}\nb cold: began 0.0 s after the initialisation ended"),
    );
    let types = |script: &str| merged(script).invocations.iter().map(|i| i.init_type).collect::<Vec<_>>();
    assert_eq!(
        types(&format!("{init}\n201 start id=a\n{day} start id=b\n{} start id=c", day + 201)),
        [Some(InitType::Provisioned), Some(InitType::Provisioned), None]
    );
}

#[test]
fn an_environment_that_never_served() {
    let merged = merged("0 init_start type=provisioned-concurrency\n200 init_report took=200");
    assert!(merged.invocations.is_empty());
    assert!(merged.environments[0].is_unused());
    assert_eq!(merged.environments[0].init_type, Some(InitType::Provisioned));
}
