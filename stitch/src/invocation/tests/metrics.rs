//! Points of metrics as a source.

use super::merging::check as merges;
use super::*;
use crate::span::Value;

const SCOPE: &str = "github.com/open-telemetry/opentelemetry-lambda/collector/receiver/telemetryapi";

fn point<'a>(name: &'a str, resource: &'a dyn Attributes) -> MetricView<'a> {
    MetricView {
        time_ns: 2_000 * MS,
        start_ns: Some(1_000 * MS),
        name,
        unit: "s",
        is_cumulative: false,
        value: None,
        count: None,
        sum: None,
        scope: "shop",
        function: Some("f"),
        resource,
    }
}

fn instance() -> [(&'static str, Value<'static>); 1] {
    [("faas.instance", Value::Text("2026/[1]a"))]
}

#[track_caller]
fn check(name: &str, change: impl FnOnce(&mut MetricView<'_>), expected: &str) -> Option<Fact> {
    let resource: &[_] = &instance();
    let mut metric = point(name, &resource);
    change(&mut metric);
    let found = Fact::of_metric(&metric);
    assert_eq!(found.as_ref().map(told).unwrap_or_default(), expected, "{name}");
    found
}

fn one(metric: &mut MetricView<'_>, sum: f64) {
    (metric.count, metric.sum) = (Some(1), Some(sum));
}

#[test]
fn what_points_tell() {
    check("faas.coldstarts", |m| m.value = Some(1.0), "init_metric fn=f in=2026/[1]a cold=true");
    check("faas.coldstarts", |m| m.value = Some(0.0), "");
    check("faas.init_duration", |m| one(m, 0.25), "init_metric fn=f in=2026/[1]a init=250");
    let in_ms = |m: &mut MetricView<'_>| (one(m, 250.0), m.unit = "ms").1;
    check("faas.init_duration", in_ms, "init_metric fn=f in=2026/[1]a init=250");
    let memory = check("faas.mem_usage", |m| one(m, 100_663_296.0), "metric fn=f in=2026/[1]a used=96").unwrap();
    assert_eq!((memory.start_ns, memory.end_ns), (Some(1_000 * MS), Some(2_000 * MS)));
    check("faas.timeouts", |m| m.value = Some(1.0), "metric fn=f in=2026/[1]a status=timeout");
    // The extension takes a MiB for a million bytes, and its points have the time of the event.
    let of_extension = |m: &mut MetricView<'_>| (one(m, 96e6), m.scope = SCOPE).1;
    let memory = check("faas.mem_usage", of_extension, "metric fn=f in=2026/[1]a used=96").unwrap();
    assert_eq!((memory.start_ns, memory.time_ns), (None, 2_000 * MS));
}

#[test]
fn what_points_do_not_tell() {
    // Of two invocations, of nobody's, or of what the span tells better.
    check("faas.mem_usage", |m| (m.count, m.sum) = (Some(2), Some(2e8)), "");
    check("faas.timeouts", |m| m.value = Some(2.0), "");
    check("faas.errors", |m| m.value = Some(1.0), "");
    check("faas.invoke_duration", |m| one(m, 0.1), "");
    check("faas.init_duration", |m| one(m, f64::NAN), "");
    let resource: &[(&str, Value<'_>)] = &[];
    let metric = MetricView { value: Some(1.0), ..point("faas.coldstarts", &resource) };
    assert_eq!(Fact::of_metric(&metric), None);
    // A running total that is told again and again.
    let total = |m: &mut MetricView<'_>| (m.value, m.is_cumulative) = (Some(1.0), true);
    check("faas.coldstarts", total, "init_metric fn=f in=2026/[1]a cold=true");
    check("faas.coldstarts", |m| (total(m), m.time_ns = 1_000_000 * MS).1, "");
}

#[test]
fn a_count_of_cold_starts_is_an_upper_bound() {
    let start = |script: &str| {
        let invocation = merged(script).invocations[0].clone();
        (format!("{}: {}", invocation.start_type, invocation.start_evidence), invocation.init_ns)
    };
    let counted = "unknown: a metric counted the initialisation: cold at most, and nothing says that it was waited for";
    let metrics = "0 init_metric cold=true\n200 init_metric init=200";
    assert_eq!(start(&format!("{metrics}\n201 span id=a took=5")), (counted.to_owned(), Some(200 * MS)));
    // Anything says better: the span, or a record of the platform.
    let cold = "cold: the span says faas.coldstart = true".to_owned();
    assert_eq!(start(&format!("{metrics}\n201 span id=a took=5 cold=true")), (cold, Some(200 * MS)));
    let ahead = "preinit: initialised as provisioned-concurrency".to_owned();
    let report = "200 init_report took=210 type=provisioned-concurrency";
    assert_eq!(start(&format!("{metrics}\n{report}\n201 span id=a took=5")), (ahead, Some(210 * MS)));
    // It is one beginning, however often it is told; and the second invocation is warm.
    let merged = merged(&format!("{metrics}\n300 init_metric cold=true\n201 span id=a took=5\n300 span id=b took=5"));
    assert_eq!((merged.environments.len(), merged.invocations[1].start_type), (1, StartType::Warm));
    assert_eq!(merged.environments[0].told_by, [Source::InitMetric]);
}

#[test]
fn a_point_belongs_to_the_one_invocation_of_its_time() {
    let used = |script: &str| -> Vec<Option<i64>> {
        merged(script).invocations.iter().map(|i| i.memory_used.map(|b| b >> 20)).collect()
    };
    assert_eq!(used("0 span id=a took=50\n60 span id=b took=50\n111 metric from=59 used=96"), [None, Some(96)]);
    assert_eq!(used("0 span id=a took=50\n60 span id=b took=50\n111 metric from=0 used=96"), [None, None]);
    // The report knows better.
    assert_eq!(used("50 report id=a took=50 used=90\n50 metric used=96"), [Some(90)]);
    // A time-out that only the metric tells of: never without an invocation that something else tells of.
    merges("0 start id=a\n3000 metric status=timeout", "a#1 0 timeout late spanless");
    merges("3000 metric status=timeout", "");
    assert_eq!(merged("3000 metric status=timeout").unplaced, 1);
}
