#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use serde_json::json;

use super::*;

fn edge(from: (&str, &str), to: (&str, &str)) -> Value {
    let end = |(trace, root): (&str, &str)| json!({"trace_id": trace, "root_span_id": root});
    json!({"from": end(from), "to": end(to)})
}

#[test]
fn hops_follow_each_other_within_traces_and_over_them() {
    let [a, b, c, d] = [("1", "a"), ("1", "b"), ("2", "c"), ("3", "d")];
    let cases: [(&[_], usize); 5] = [
        (&[], 0),
        (&[(a, b)], 1),
        (&[(b, c), (a, b), (c, d), (a, d)], 3),
        (&[(a, a), (a, b)], 1),
        // A cycle ends.
        (&[(a, b), (b, a)], 2),
    ];
    for (pairs, expected) in cases {
        let edges: Vec<Value> = pairs.iter().map(|(from, to)| edge(*from, *to)).collect();
        assert_eq!(hops(&edges.iter().collect::<Vec<_>>()), expected, "{pairs:?}");
    }
}

#[test]
fn a_flow_is_measured_without_what_others_sent() {
    let flow = json!({
        "traces": [{"trace_id": "1"}, {"trace_id": "2"}],
        "edges": [edge(("1", "a"), ("2", "b")), edge(("9", "x"), ("2", "b"))],
        "rows_count": 7,
    });
    assert_eq!(Size::of(&flow), Size { traces: 2, edges: 1, rows: 7, hops: 1 });
    assert_eq!(Size::of(&json!({})), Size::default());
}

#[test]
fn the_largest_story_is_asked_for_first() {
    let options = Options { hooks: true, ..past_options(1, Style::Mixed, ORDERS, EVERY) };
    let facts = Story::of(options).facts;
    let all = candidates(&facts);
    let of_edges = facts.iter().filter_map(|fact| if let Fact::Edge(edge) = fact { Some(edge) } else { None });
    let provable: Vec<_> = of_edges.filter(|edge| edge.identity).collect();
    assert!(all.len() > 5 && all.iter().collect::<HashSet<_>>().len() == all.len());
    // No two of them are of one story.
    assert!(!provable.iter().any(|e| {
        e.from_trace_id != e.to_trace_id && all.contains(&e.from_trace_id) && all.contains(&e.to_trace_id)
    }));
    assert_eq!(all, candidates(&facts));
}
