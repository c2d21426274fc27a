#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;

#[test]
fn a_wrong_exact_edge_misses_the_goal() {
    let good = Score { truth: 100, identity: 1, exact: 1, inferred: 98, missed: 1, ..Score::default() };
    assert!(good.reaches_goal());
    assert!(Score { wrong_inferred: 2, ..good }.reaches_goal());
    assert!(!Score { wrong_inferred: 3, ..good }.reaches_goal());
    assert!(!Score { wrong_xray: 1, ..good }.reaches_goal());
    assert!(!Score { wrong_exact: 1, ..good }.reaches_goal());
    assert!(!Score { missed_identity: 1, ..good }.reaches_goal());
}

/// A truth of edges between `web-1`, `a` and `b`, all of one kind, whose identity is on both sides but for the last.
fn truth() -> Truth {
    let mut truth = Truth::default();
    for (from, to, identity) in [("web-1", "a", true), ("a", "b", true), ("a", "c", false)] {
        let edge = TrueEdge { kind: "sqs".to_owned(), identity, attempt: Some(1) };
        truth.edges.insert((from.to_owned(), to.to_owned()), edge);
    }
    for id in ["a", "b", "c"] {
        truth.roots.insert((format!("trace-{id}"), format!("root-{id}")), id.to_owned());
    }
    truth.senders.insert(("trace-web".to_owned(), "sent".to_owned()), "web-1".to_owned());
    truth
}

fn edge(from: &str, to: &str, certainty: &str) -> Value {
    let end = |id: &str| match id {
        "web" => serde_json::json!({"trace_id": "trace-web", "root_span_id": "other", "span_id": "sent"}),
        id => {
            serde_json::json!({"trace_id": format!("trace-{id}"), "root_span_id": format!("root-{id}"), "span_id": "x"})
        }
    };
    serde_json::json!({"from": end(from), "to": end(to), "certainty": certainty, "hop": "sqs", "rule": "messaging.message.id",
        "attempt": 1, "retry": false, "dead_letter": false})
}

fn scored(edges: &[Value]) -> (Score, Vec<String>) {
    let (truth, mut answer) = (truth(), Answer::default());
    answer.add_flow(&serde_json::json!({"edges": edges, "traces": []}), &truth);
    let (scores, _, lines) = score(&truth, &answer);
    (scores["sqs"], lines)
}

#[test]
fn edges_count_once_by_their_best_certainty() {
    let all = [edge("web", "a", "exact"), edge("a", "b", "inferred"), edge("a", "b", "exact"), edge("a", "a", "exact")];
    let (score, lines) = scored(&all);
    assert_eq!(score, Score { truth: 3, identity: 2, exact: 2, missed: 1, ..Score::default() });
    assert!(score.reaches_goal() && lines.is_empty());
}

#[test]
fn what_is_missed_or_wrong_is_told() {
    let (score, lines) = scored(&[edge("web", "a", "exact"), edge("web", "b", "inferred"), edge("b", "a", "exact")]);
    let expected = Score { truth: 3, identity: 2, exact: 1, missed: 2, missed_identity: 1, ..Score::default() };
    assert_eq!(score, Score { wrong_exact: 1, wrong_inferred: 1, ..expected });
    assert!(!score.reaches_goal());
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0], "missed sqs a -> b");
}

#[test]
fn what_is_said_of_an_edge_is_held_against_the_truth() {
    let said = |kind: &str, attempt: Option<u32>, name: &str, value: Value| {
        let mut truth = truth();
        truth.edges.values_mut().for_each(|e| *e = TrueEdge { kind: kind.to_owned(), attempt, ..e.clone() });
        let mut edge = edge("web", "a", "exact");
        edge[name] = value;
        let mut answer = Answer::default();
        answer.add_flow(&serde_json::json!({"edges": [edge], "traces": []}), &truth);
        let said = score(&truth, &answer).1;
        said.into_iter().filter(|(_, count)| !count.reaches_goal()).map(|(what, _)| what).collect::<Vec<_>>()
    };
    let one = Some(1);
    assert!(said("sqs", one, "hop", "sqs".into()).is_empty());
    assert_eq!(said("sqs", one, "hop", "sns".into()), ["hop"]);
    assert!(said("lambda.invoke.async", one, "hop", "lambda.invoke".into()).is_empty());
    assert_eq!(said("sqs", one, "attempt", 2.into()), ["attempt"]);
    assert_eq!(said("sqs", one, "retry", true.into()), ["attempt"]);
    assert_eq!(said("sqs", Some(2), "attempt", 2.into()), ["attempt"], "a second try is a retry");
    assert!(said("sqs", None, "attempt", 2.into()).is_empty(), "nothing tells of the first try");
    assert_eq!(said("sqs", one, "dead_letter", true.into()), ["dead letter"]);
    assert_eq!(said("sqs.dlq", one, "dead_letter", false.into()), ["dead letter"]);
    assert!(said("sqs.dlq", one, "dead_letter", true.into()).is_empty());
}

#[test]
fn two_requests_of_the_web_site_in_one_flow_are_two_stories() {
    let trace = |id: &str, service: &str| serde_json::json!({"trace_id": id, "service": service});
    let merged = |traces: &[Value]| {
        let mut answer = Answer::default();
        answer.add_flow(&serde_json::json!({"edges": [], "traces": traces}), &truth());
        answer.merged
    };
    assert_eq!(merged(&[trace("1", "shop-web"), trace("2", "orders-api")]), 0);
    assert_eq!(merged(&[trace("1", "shop-web"), trace("2", "shop-web")]), 1);
}
