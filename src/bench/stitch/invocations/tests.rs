#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
//! What is wrong must not count as right.

use super::*;
use crate::demo::{Outcome, StartType};

const START: Nanos = 1_800_000_000 * SECOND;

fn ran(id: &str) -> Invocation {
    Invocation {
        id: id.to_owned(),
        request_id: id.to_owned(),
        function: "thumbs",
        instance: "i-1".to_owned(),
        extension: "e-1".to_owned(),
        start_type: StartType::Cold,
        start_known: true,
        init_ms: Some(200.0),
        start_ns: START,
        duration_ms: 12.5,
        outcome: Outcome::Ok,
        trace_id: "t-1".to_owned(),
        root_span_id: Some("s-1".to_owned()),
        spans: 3,
        reported: true,
        memory_mb: 128,
        billed_ms: Some(215),
        cost_usd: Some(6.48e-7),
        attempt: 1,
        trigger: "http",
    }
}

fn given(id: &str) -> Given {
    let text = |text: &str| Some(text.to_owned());
    Given {
        id: id.to_owned(),
        function: "thumbs".to_owned(),
        instance: text("i-1"),
        start_ns: START,
        start_type: "cold".to_owned(),
        outcome: "ok".to_owned(),
        has_span: true,
        span: (text("t-1"), text("s-1")),
        cost: Some(6.48e-7),
        ..Given::default()
    }
}

/// Holds answers against the truth: the lines of tables that miss their goal, with what was missed and what was wrong.
#[track_caller]
fn check(truth: &[Invocation], given: &[Given], expected: &[(&str, u64, u64)]) {
    let facts: Vec<Fact> = truth.iter().cloned().map(Fact::Invocation).collect();
    let (counts, lines) = score(&Truth::of(&facts), given, &BTreeSet::new());
    let tables = counts.tables();
    let all = tables.iter().flat_map(|(_, counts)| counts);
    let missed: Vec<(&str, u64, u64)> = all
        .filter(|(_, count)| !count.reaches_goal())
        .map(|(name, count)| (*name, count.truth - count.right, count.given - count.right))
        .collect();
    assert_eq!(missed, expected, "{lines:?}");
    assert_eq!(missed.is_empty(), lines.is_empty(), "{lines:?}");
}

#[test]
fn what_is_right_reaches_every_goal() {
    let by_extension = Given { instance: Some("e-1".to_owned()), ..given("a") };
    check(&[ran("a"), ran("b")], &[given("b"), by_extension], &[]);
}

#[test]
fn each_mistake_counts_as_one() {
    let wrong = |change: fn(&mut Given)| {
        let mut given = given("a");
        change(&mut given);
        [given]
    };
    let truth = [ran("a")];
    check(&truth, &wrong(|g| g.start_type = "preinit".to_owned()), &[("cold", 1, 0), ("preinit", 0, 1)]);
    check(&truth, &wrong(|g| g.start_type = "unknown".to_owned()), &[("cold", 1, 0), ("unknown", 0, 1)]);
    check(&truth, &wrong(|g| g.outcome = "error".to_owned()), &[("error", 0, 1), ("ok", 1, 0)]);
    check(&truth, &wrong(|g| g.cost = Some(6.48e-7 + 1e-12)), &[("the very cost", 1, 1)]);
    check(&truth, &wrong(|g| g.cost = None), &[("the very cost", 1, 0)]);
    check(&truth, &wrong(|g| g.span.1 = Some("s-2".to_owned())), &[(SPAN_CAME, 1, 1)]);
    check(&truth, &wrong(|g| g.has_span = false), &[(SPAN_CAME, 1, 0), (SPAN_LOST, 0, 1)]);
}

#[test]
fn what_is_missed_or_made_up_counts_in_every_table() {
    let missed = [(SPAN_CAME, 1, 0), ("cold", 1, 0), ("ok", 1, 0), ("the very cost", 1, 0)];
    let made_up = [(SPAN_CAME, 0, 1), ("cold", 0, 1), ("ok", 0, 1), ("the very cost", 0, 1)];
    let both = [(SPAN_CAME, 1, 1), ("cold", 1, 1), ("ok", 1, 1), ("the very cost", 1, 1)];
    check(&[ran("a"), ran("b")], &[given("a")], &missed);
    check(&[ran("a")], &[given("a"), given("b")], &made_up);
    // Twice the same is one too many.
    check(&[ran("a")], &[given("a"), given("a")], &made_up);
    for other in [
        Given { instance: Some("i-2".to_owned()), ..given("a") },
        Given { function: "audit".to_owned(), ..given("a") },
        Given { start_ns: START + 2 * SECOND, ..given("a") },
    ] {
        check(&[ran("a")], &[other], &both);
    }
}

#[test]
fn retries_are_told_apart_by_their_time() {
    let later = START + 5 * SECOND;
    let again = Invocation { id: "a#2".to_owned(), start_ns: later, outcome: Outcome::Error, ..ran("a") };
    let given = [Given { start_ns: later, outcome: "error".to_owned(), ..given("a") }, given("a")];
    check(&[ran("a"), again], &given, &[]);
}

#[test]
fn without_evidence_only_unknown_is_right() {
    let truth = [Invocation { start_known: false, ..ran("a") }];
    check(&truth, &[Given { start_type: "unknown".to_owned(), ..given("a") }], &[]);
    check(&truth, &[given("a")], &[("cold", 0, 1), ("unknown", 1, 0)]);
}

#[test]
fn a_cost_is_expected_where_the_platform_says_what_it_bills() {
    let no_cost = Given { cost: None, ..given("a") };
    check(&[Invocation { cost_usd: None, ..ran("a") }], std::slice::from_ref(&no_cost), &[]);
    check(&[Invocation { cost_usd: None, ..ran("a") }], &[given("a")], &[("the very cost", 0, 1)]);
    check(&[Invocation { reported: false, ..ran("a") }], &[no_cost], &[]);
}

#[test]
fn what_nobody_told_may_be_missed_and_must_not_be_wrong() {
    let lost = || Invocation { outcome: Outcome::Crash, root_span_id: None, reported: false, ..ran("a") };
    let given = |outcome: &str| Given { outcome: outcome.to_owned(), start_type: "unknown".to_owned(), ..given("a") };
    check(&[lost()], &[], &[]);
    check(&[lost()], &[given("oom")], &[]);
    check(&[lost()], &[given("unknown")], &[]);
    let facts = [Fact::Invocation(lost())];
    let (counts, _) = score(&Truth::of(&facts), &[given("ok")], &BTreeSet::new());
    assert_eq!(counts.outcomes["ok"], Count { truth: 0, given: 1, right: 0 });
}

#[test]
fn a_lost_invocation_is_tied_to_the_trace_of_what_it_left() {
    let facts = [Fact::Invocation(Invocation { outcome: Outcome::Timeout, root_span_id: None, ..ran("a") })];
    let left = |id: &str, trace: &str| {
        let flow = serde_json::json!({"unfinished": [{
            "invocation_id": id, "function": "thumbs", "start_time": "2027-01-15T08:00:00.000000000Z",
            "spans": [{"trace_id": trace, "span_id": "1"}, {"trace_id": trace, "span_id": "2"}],
        }]});
        Unfinished::read(&flow)
    };
    let tied = |unfinished| score(&Truth::of(&facts), &[], &unfinished).0.known[TIED];
    assert_eq!(tied(BTreeSet::new()), Count { truth: 1, given: 0, right: 0 });
    assert_eq!(tied(left("a", "t-1")), Count { truth: 1, given: 1, right: 1 });
    assert_eq!(tied(left("a", "t-2")), Count { truth: 1, given: 1, right: 0 });
    assert_eq!(tied(left("b", "t-1")), Count { truth: 1, given: 1, right: 0 });
}

#[test]
fn an_answer_is_read() {
    let value = serde_json::json!({
        "id": "a", "function": "thumbs", "instance": "i-1", "start_time": "2027-01-15T08:00:00.000000000Z", "start_type": "cold",
        "start_evidence": "", "outcome": "ok", "has_span": true, "trace_id": "t-1", "span_id": "s-1",
        "cost": {"amount": 6.48e-7, "currency": "USD"},
    });
    assert_eq!(Given::read(&value).unwrap(), given("a"));
}
