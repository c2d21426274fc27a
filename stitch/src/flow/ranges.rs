//! Records of a stream that a receiver names by first and last sequence number only.
//!
//! Ranges cannot be looked up by hash, so they are compared with what the traces of the
//! story are known to have sent.

use std::cmp::Ordering;

use ahash::HashMap;

use super::Certainty;
use super::matching::{Match, Proof, agree, sender};
use super::trace::Trace;
use crate::key::Kind;

/// What was sent to a shard, by sequence number.
type Shard<'a> = Vec<(Sequence<'a>, &'a Trace, usize)>;

/// A sequence number: up to 128 bits and more, written in decimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sequence<'a>(&'a str);

impl<'a> Sequence<'a> {
    fn parse(text: &'a str) -> Option<Sequence<'a>> {
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| Sequence(text.trim_start_matches('0')))
    }
}

impl Ord for Sequence<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.cmp(other.0))
    }
}

impl PartialOrd for Sequence<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Edges into the ranges of these traces, with the trace that received.
pub(super) fn matches<'a>(traces: &[&'a Trace]) -> Vec<(&'a Trace, Match)> {
    let mut shards: HashMap<&str, Shard<'a>> = HashMap::default();
    for trace in traces {
        for usage in &trace.outs {
            let Some(key) = trace.key_of(usage).map(|k| &k.key).filter(|key| key.kind == Kind::Kinesis) else {
                continue;
            };
            let Some((shard, number)) = key.id.rsplit_once(':') else { continue };
            if let Some(number) = Sequence::parse(number) {
                shards.entry(shard).or_default().push((number, *trace, usage.node));
            }
        }
    }
    for shard in shards.values_mut() {
        shard.sort_by_key(|(number, trace, node)| (*number, trace.id, *node));
    }
    let mut found = Vec::new();
    for trace in traces {
        for usage in &trace.ins {
            let Some(hop_key) = trace.key_of(usage).filter(|k| k.key.kind == Kind::KinesisRange) else { continue };
            let Some((shard, first, last)) = parse(&hop_key.key.id) else { continue };
            let Some(shard) = shards.get(shard) else { continue };
            let begin = shard.partition_point(|(number, ..)| *number < first);
            let within = shard.iter().skip(begin).take_while(|(number, ..)| *number <= last);
            for (_, sending, from) in within {
                let spans = (sending.node(*from), trace.node(usage.node));
                let fits = matches!(spans, (Some(a), Some(b)) if agree(&a.span, &b.span));
                let from = sender(sending, *from).filter(|_| fits && !std::ptr::eq(*sending, *trace));
                found.extend(from.map(|from| {
                    let proof = Proof::Key(hop_key.rule);
                    let (keys, certainty) = (vec![usage.key], Certainty::Exact);
                    (*trace, Match { from, to: usage.node, proof, keys, certainty, candidates: 1 })
                }));
            }
        }
    }
    found
}

/// The shard and the two ends of `<region>:<stream>:<shard>:<first>..<last>`.
fn parse(id: &str) -> Option<(&str, Sequence<'_>, Sequence<'_>)> {
    let (shard, range) = id.rsplit_once(':')?;
    let (first, last) = range.split_once("..")?;
    Some((shard, Sequence::parse(first)?, Sequence::parse(last)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_compare_as_numbers() {
        let less = |a, b| Sequence::parse(a) < Sequence::parse(b);
        assert!(less("9", "10"));
        assert!(less("0009", "10"));
        assert!(less(
            "49590338271490256608559692538361571095921575989136588898",
            "149590338271490256608559692538361571095921575989136588898"
        ));
        assert!(!less("10", "010"));
        assert_eq!(Sequence::parse("1e5"), None);
        assert_eq!(Sequence::parse(""), None);
    }
}
