#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod advice;
mod clouds;
mod logs;
mod merging;
mod metrics;
mod minutes;
mod spans;
mod starts;
mod tries;

use std::fmt::Write;

use hopline_model::{SpanId, TraceId};

use super::*;

const MS: i64 = 1_000_000;

/// Facts of a script, one a line: `<ms> <source> key=value …`.
///
/// Each is of the function `f` in the instance `2026/[1]a` unless `fn=` and `in=` say other
/// ones; `in=-` is none. `took=` is the duration: a span begins at its time, a record of an
/// end was written then. `from=` is the begin of what a metric's point counts.
fn facts(script: &str) -> Vec<Fact> {
    script.lines().map(str::trim).filter(|line| !line.is_empty()).map(fact).collect()
}

fn fact(line: &str) -> Fact {
    let mut words = line.split(' ').filter(|w| !w.is_empty());
    let time = (words.next().unwrap().parse::<f64>().expect(line) * MS as f64) as i64;
    let source = Source::from_name(words.next().unwrap()).expect(line);
    let mut fact = Fact::new(source, time);
    fact.function = Some("f".into());
    fact.instance = Some("2026/[1]a".into());
    fact.is_server = source == Source::Span;
    let mut took = None;
    for word in words {
        let (key, value) = word.split_once('=').expect(line);
        let ms = || Some((value.parse::<f64>().expect(line) * MS as f64) as i64);
        let mb = || Some(value.parse::<i64>().unwrap() << 20);
        let text = || (value != "-").then(|| value.to_owned());
        let trace = || Some(TraceId(value.parse::<u128>().unwrap().to_be_bytes()));
        match key {
            "id" => fact.invocation_id = text(),
            "fn" => fact.function = text(),
            "in" => fact.instance = text(),
            "took" => took = ms(),
            "from" => (fact.start_ns, fact.end_ns) = (ms(), Some(time)),
            "billed" => fact.billed_ns = ms(),
            "init" => fact.init_ns = ms(),
            "restore" => fact.restore_ns = ms(),
            "limit" => fact.limit_ns = ms(),
            "size" => fact.memory_size = mb(),
            "used" => fact.memory_used = mb(),
            "status" => fact.status = Some(Status::from_name(value).expect(line)),
            "type" => fact.init_type = Some(InitType::from_name(value).expect(line)),
            "phase" => fact.init_phase = Some(InitPhase::from_name(value).expect(line)),
            "oom" => fact.oom = Some(Oom::from_name(value).expect(line)),
            "cold" => fact.coldstart = Some(value == "true"),
            "trace" => fact.trace_id = trace(),
            "span" => fact.span_id = Some(SpanId(value.parse::<u64>().unwrap().to_be_bytes())),
            "error" => fact = fact.with_exception(&Exception { kind: value, message: "went wrong", stack: "" }),
            "kind" => fact.error_type = text(),
            "dropped" => fact.dropped_records = value.parse().ok(),
            _ => panic!("{line}"),
        }
    }
    match source {
        Source::Span | Source::InitSpan => {
            fact.start_ns = Some(time);
            fact.end_ns = Some(time + took.unwrap_or(0));
        }
        _ => {}
    }
    match source {
        Source::InitReport | Source::InitSpan => fact.init_ns = took,
        Source::RestoreReport => fact.restore_ns = took,
        _ => fact.duration_ns = took,
    }
    fact
}

fn merged(script: &str) -> Merged {
    merge(&facts(script), &Rules::default())
}

/// What is known of a fact, in the order of its fields.
fn told(fact: &Fact) -> String {
    let mut out = format!("{}", fact.source);
    let mut text = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            write!(out, " {name}={value}").unwrap();
        }
    };
    let ms = |value: Option<i64>| value.map(|ns| (ns as f64 / MS as f64).to_string());
    let mb = |value: Option<i64>| value.map(|bytes| (bytes as f64 / 1_048_576.0).to_string());
    text("id", fact.invocation_id.clone());
    text("fn", fact.function.clone());
    text("version", fact.version.clone());
    text("in", fact.instance.clone());
    text("account", fact.account.clone());
    text("region", fact.region.clone());
    text("provider", fact.provider.map(|p| p.to_string()));
    text("trigger", fact.trigger.map(|t| t.to_string()));
    text("cold", fact.coldstart.map(|c| c.to_string()));
    text("type", fact.init_type.map(|t| t.to_string()));
    text("phase", fact.init_phase.map(|p| p.to_string()));
    text("init", ms(fact.init_ns));
    text("restore", ms(fact.restore_ns));
    text("took", ms(fact.duration_ns));
    text("billed", ms(fact.billed_ns));
    text("size", mb(fact.memory_size));
    text("used", mb(fact.memory_used));
    text("status", fact.status.map(|s| s.to_string()));
    text("oom", fact.oom.map(|o| o.to_string()));
    text("limit", ms(fact.limit_ns));
    text("error", fact.error_type.clone());
    text("message", fact.error_message.clone().map(|m| format!("{m:?}")));
    text("root", fact.xray_root.map(|r| r.to_string()));
    text("segment", fact.xray_segment.map(|s| s.to_string()));
    text("arch", fact.architecture.map(|a| a.to_string()));
    text("http", fact.http_status.map(|s| s.to_string()));
    text("deliveries", fact.deliveries.map(|d| d.to_string()));
    text("dropped", fact.dropped_records.map(|d| d.to_string()));
    out
}

#[test]
fn words_have_one_name_each() {
    for source in Source::ALL {
        assert_eq!(Source::from_name(source.name()), Some(*source));
    }
    for outcome in Outcome::ALL {
        assert_eq!(Outcome::from_name(outcome.name()), Some(*outcome));
    }
    assert_eq!(StartType::from_name("hot"), None);
    for (text, trigger) in [
        ("http", Trigger::Http),
        ("pubsub", Trigger::Pubsub),
        ("serviceBusTrigger", Trigger::Pubsub),
        ("queueTrigger", Trigger::Pubsub),
        ("eventHubTrigger", Trigger::Pubsub),
        ("httpTrigger", Trigger::Http),
        ("timerTrigger", Trigger::Timer),
        ("blobTrigger", Trigger::Datasource),
        ("cosmosDBTrigger", Trigger::Datasource),
        ("orchestrationTrigger", Trigger::Other),
    ] {
        assert_eq!(Trigger::of(text), Some(trigger), "{text}");
    }
    assert_eq!(Trigger::of("something"), None);
    assert_eq!(Architecture::of("amd64"), Some(Architecture::X86_64));
    assert_eq!(Provider::of("gcp_cloud_run"), Some(Provider::Gcp));
    assert_eq!(Provider::of("azure.functions"), Some(Provider::Azure));
}
