#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;
use crate::flow::FlowSpan;
use crate::key::Key;

/// A trace of one unit: `parents` names of each span but the first the one above it, by its place. All have a key.
fn unit(id: u8, parents: &[usize]) -> Trace {
    let span_id = |at: usize| SpanId((at as u64 + 1).to_be_bytes());
    let span = |at: usize| FlowSpan {
        trace_id: TraceId([id; 16]),
        span_id: span_id(at),
        parent: at.checked_sub(1).map(|at| span_id(parents[at])),
        start_ns: at as i64,
        end_ns: 1_000_000_000,
        kind: SpanKind::Internal,
        is_error: false,
        service: id.to_string(),
        function: None,
        name: "a span".to_owned(),
        invocation_id: None,
        account: None,
        region: None,
        links: Vec::new(),
        keys: vec![HopKey {
            key: Key::new(Kind::Sqs, at.to_string()),
            direction: Direction::In,
            hop: "sqs",
            destination: None,
            rule: "sqs",
        }],
        dropped_links: 0,
        dropped_keys: 0,
    };
    Trace::new(TraceId([id; 16]), (0..=parents.len()).map(span).collect(), usize::MAX)
}

/// A draft by a key, or by a link.
fn draft<'a>(from: &'a Trace, to: &'a Trace, (sender, receiver): (usize, usize), is_keyed: bool) -> Draft<'a> {
    Draft {
        from: Source::Here(from, sender),
        trace: to,
        to: receiver,
        proof: if is_keyed { Proof::Key("sqs") } else { Proof::Link },
        keys: if is_keyed { vec![0] } else { Vec::new() },
        certainty: Certainty::Exact,
        candidates: 1,
    }
}

type Pairs = Vec<(usize, usize)>;

/// Between which spans edges are left, and which are told by a link too.
fn merged(from: &Trace, to: &Trace, keyed: &Pairs, links: &Pairs) -> BTreeMap<(usize, usize), bool> {
    let keyed = keyed.iter().map(|pair| draft(from, to, *pair, true));
    let group = keyed.chain(links.iter().map(|pair| draft(from, to, *pair, false))).collect();
    let left = merge(group, &mut Places::default());
    left.iter().map(|d| ((d.sending().unwrap().1, d.to), d.proof == Proof::Link)).collect()
}

/// As [`merged`], by looking at each with each.
fn by_each(from: &Trace, to: &Trace, keyed: &Pairs, links: &Pairs) -> BTreeMap<(usize, usize), bool> {
    let mut left: BTreeMap<(usize, usize), bool> = keyed.iter().map(|pair| (*pair, false)).collect();
    for link in links {
        let mut above = to.in_unit_above(link.1);
        let nearest = above.find(|at| keyed.iter().any(|(_, receiver)| receiver == at));
        let same = |(sender, receiver): &&(usize, usize)| {
            nearest.is_none_or(|at| at == *receiver)
                && from.are_related(*sender, link.0)
                && to.are_related(*receiver, link.1)
        };
        let same: Pairs = keyed.iter().filter(same).copied().collect();
        if same.is_empty() {
            left.insert(*link, true);
        }
        left.extend(same.into_iter().map(|pair| (pair, true)));
    }
    left
}

fn parents() -> impl Strategy<Value = Vec<usize>> {
    let index = any::<prop::sample::Index>();
    let of = |up: Vec<prop::sample::Index>| up.iter().enumerate().map(|(at, up)| up.index(at + 1)).collect();
    proptest::collection::vec(index, 0..12).prop_map(of)
}

proptest! {
    #[test]
    fn what_tells_of_one_hop_is_found_as_by_each_with_each(
        (from, to) in (parents(), parents()),
        keyed in proptest::collection::vec((0..12_usize, 0..12_usize), 0..8),
        links in proptest::collection::vec((0..12_usize, 0..12_usize), 0..8),
    ) {
        let (from, to) = (unit(1, &from), unit(2, &to));
        let within = |pairs: Pairs| -> Pairs {
            let pair = |(a, b): (usize, usize)| (a % from.nodes.len(), b % to.nodes.len());
            pairs.into_iter().map(pair).collect()
        };
        let (keyed, links) = (within(keyed), within(links));
        // What a key and a link tell of the same two spans is one before anything else is.
        let links: Pairs = links.into_iter().filter(|link| !keyed.contains(link)).collect();
        prop_assert_eq!(merged(&from, &to, &keyed, &links), by_each(&from, &to, &keyed, &links));
    }
}

/// With as many keys as links, each with each would take hours.
#[test]
fn many_keys_and_links_between_two_units() {
    const COUNT: usize = 100_000;
    // Below the first span so many, and below each of them one.
    let parents: Vec<usize> = (0..COUNT).map(|_| 0).chain(1..=COUNT).collect();
    let (from, to) = (unit(1, &parents), unit(2, &parents));
    let keyed: Pairs = (1..=COUNT).map(|n| (n, n)).collect();
    let all = |left: BTreeMap<_, bool>, edges: usize, told: usize| {
        assert_eq!((left.len(), left.values().filter(|told| **told).count()), (edges, told));
    };
    // Each link is that of one key.
    all(merged(&from, &to, &keyed, &(1..=COUNT).map(|n| (n + COUNT, n + COUNT)).collect()), COUNT, COUNT);
    // All links are from the span above all senders, or to the one above all receivers.
    all(merged(&from, &to, &keyed, &(1..=COUNT).map(|n| (0, n + COUNT)).collect()), COUNT, COUNT);
    all(merged(&from, &to, &keyed, &(1..=COUNT).map(|n| (n + COUNT, 0)).collect()), COUNT, COUNT);
    // No link is that of any key.
    let crossed: Pairs = (1..COUNT).map(|n| (n + COUNT, n + 1 + COUNT)).collect();
    all(merged(&from, &to, &keyed, &crossed), 2 * COUNT - 1, COUNT - 1);
    // One span received all.
    let keyed: Pairs = (1..=COUNT).map(|n| (n, 1)).collect();
    all(merged(&from, &to, &keyed, &(1..=COUNT).map(|n| (n + COUNT, 1)).collect()), COUNT, COUNT);
}
