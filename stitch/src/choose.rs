//! Which of several senders a receiver had its message from: one answer for flows and for the map of hops.

use std::collections::BTreeSet;

use hopline_model::{SpanId, TraceId};

use crate::hops::short_name;
use crate::key::{KeyHash, Kind, Scope};

/// How much later than the receiver's end a sender may begin by its own clock. Clocks of functions agree within
/// milliseconds; an identity that both know is proof enough for what a badly set one shows.
pub(crate) const SKEW_NS: i64 = 10_000_000_000;

/// Of one key, no more foreign traces than this are read just to find out who sent, or how often an item was read.
pub(crate) const READS_MAX: usize = 12;

/// An attempt may end this much later than what became of it was received, by clocks that differ.
const OUTCOME_SKEW_NS: i64 = 1_000_000_000;

/// A span, as far as choosing goes.
pub(crate) trait Timed {
    /// Nanoseconds since 1970.
    fn start_ns(&self) -> i64;
    /// Nanoseconds since 1970.
    fn end_ns(&self) -> i64;
    /// Its ids: of two that began together, the smaller comes first.
    fn ids(&self) -> (TraceId, SpanId);
}

fn by_start<T: Timed>(span: &&T) -> (i64, (TraceId, SpanId)) {
    (span.start_ns(), span.ids())
}

/// Whether `to` may have received what `from` sent by a key of this kind: not before it was sent, and not after the service
/// had dropped it.
pub(crate) fn is_in_time(kind: Kind, from: &impl Timed, to: &impl Timed) -> bool {
    from.start_ns() <= to.end_ns().saturating_add(SKEW_NS)
        && to.start_ns().saturating_sub(from.end_ns()) <= kind.window()
}

/// The sender of what `to` received.
pub(crate) fn sender<'a, T: Timed>(kind: Kind, senders: &[&'a T], to: &impl Timed) -> Option<&'a T> {
    let start_ns = to.start_ns();
    match kind {
        // All attempts of an invocation have its id. What became of it is told after the last.
        Kind::LambdaOutcome => last_ended(senders, start_ns).or_else(|| nearest(senders, start_ns)),
        // Of names that several may have, trace context tells whose it is.
        kind if kind.is_of_content() || kind.scope() == Scope::Account => {
            in_trace(senders, to).or_else(|| nearest(senders, start_ns))
        }
        _ => nearest(senders, start_ns),
    }
}

/// What a reader knows, besides its content, of what was written: several may have written the same.
#[derive(Debug, Default)]
pub(crate) struct Writing {
    /// Names of the writing itself.
    pub(crate) names: Vec<(Kind, KeyHash)>,
    /// The traces of those who wrote under these names.
    pub(crate) writers: BTreeSet<TraceId>,
    /// The spans that sent by whatever other key of the reader.
    pub(crate) told: BTreeSet<(TraceId, SpanId)>,
    /// How many things it knows by their content.
    pub(crate) contents: usize,
}

impl Writing {
    /// Keeps those of the candidates, who all wrote the same, who may have written what was read: who wrote under one of the
    /// names is the one. Where all that was read has its writer so, nobody else is; and who wrote under other names of a kind
    /// that the reader knows wrote at another time. `names_of` gives the names of a candidate.
    pub(crate) fn retain<S>(
        &self,
        candidates: &mut Vec<S>,
        ids_of: impl Fn(&S) -> (TraceId, SpanId),
        names_of: impl Fn(&S) -> Vec<(Kind, KeyHash)>,
    ) {
        let is_told = |s: &S| self.told.contains(&ids_of(s));
        if candidates.iter().any(is_told) {
            candidates.retain(is_told);
            return;
        }
        let is_writer = |s: &S| self.writers.contains(&ids_of(s).0);
        if candidates.iter().any(is_writer) || (self.contents > 0 && self.writers.len() >= self.contents) {
            candidates.retain(is_writer);
            return;
        }
        candidates.retain(|candidate| {
            let mut own = names_of(candidate);
            own.retain(|(kind, _)| self.names.iter().any(|(known, _)| known == kind));
            own.is_empty() || own.iter().any(|name| self.names.contains(name))
        });
    }
}

/// The last of the senders in the receiver's own trace: of those that wrote the same, trace context tells which it was.
fn in_trace<'a, T: Timed>(senders: &[&'a T], to: &impl Timed) -> Option<&'a T> {
    let own: Vec<&T> = senders.iter().copied().filter(|s| s.ids().0 == to.ids().0).collect();
    nearest(&own, to.start_ns())
}

/// The last of the senders that began before the receiver; if none did, the first.
fn nearest<'a, T: Timed>(senders: &[&'a T], start_ns: i64) -> Option<&'a T> {
    let last = senders.iter().copied().filter(|s| s.start_ns() <= start_ns).max_by_key(by_start);
    last.or_else(|| senders.iter().copied().min_by_key(by_start))
}

/// The last of the senders that ended before the receiver began.
fn last_ended<'a, T: Timed>(senders: &[&'a T], start_ns: i64) -> Option<&'a T> {
    let ended = senders.iter().copied().filter(|s| s.end_ns() <= start_ns.saturating_add(OUTCOME_SKEW_NS));
    ended.max_by_key(|s| (s.end_ns(), by_start(s)))
}

/// The write that a read of an item saw, and how many it could have been.
///
/// A stream keeps its records for 24 hours and hands out the changes of an item in order. One write before the read: that
/// is it. Several: if the reading function saw as many changes as there were writes, the k-th saw the k-th; else it was the
/// last before it. `reads` are those of one function, `read` among them.
pub(crate) fn write<'a, T: Timed, R: Timed>(writes: &[&'a T], reads: &[&R], read: &R) -> Option<(&'a T, usize)> {
    let before: Vec<&T> = writes.iter().filter(|w| w.start_ns() <= read.start_ns()).copied().collect();
    if let Some(own) = in_trace(&before, read) {
        return Some((own, 1));
    }
    if before.len() < 2 {
        return before.first().map(|only| (*only, 1));
    }
    let mut writes = writes.to_vec();
    writes.sort_by_key(by_start);
    let mut reads = reads.to_vec();
    reads.sort_by_key(by_start);
    let fits = reads.len() == writes.len()
        && reads.iter().zip(&writes).all(|(read, write)| write.start_ns() <= read.start_ns());
    let place = reads.iter().position(|other| other.ids() == read.ids()).filter(|_| fits);
    let in_order = place.and_then(|place| writes.get(place).copied());
    in_order.or_else(|| nearest(&before, read.start_ns())).map(|write| (write, before.len()))
}

/// The destination of a hop, of which the two sides may say different things: a topic and its subscription, a queue and
/// the one for dead letters.
pub(crate) fn destination<'a>(
    kind: Kind,
    is_dead_letter: bool,
    sent: Option<&'a str>,
    received: Option<&'a str>,
) -> Option<&'a str> {
    // Of a dead letter the queue it came out of says more than the one it was sent to; an outcome's sender names itself.
    if is_dead_letter || kind == Kind::LambdaOutcome { received.or(sent) } else { sent.or(received) }
}

/// A message comes out of another queue than it was sent to: of SQS, only a redrive policy moves it and keeps its id. Elsewhere
/// the name of the queue tells.
pub(crate) fn is_dead_letter(kind: Option<Kind>, sent: &str, received: &str) -> bool {
    let (sent, received) = (short_name(sent), short_name(received));
    sent != received && (kind == Some(Kind::Sqs) || is_dead_letter_name(received))
}

/// Whether a queue is called as people call those for dead letters.
fn is_dead_letter_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = || name.split(|c: char| !c.is_ascii_alphanumeric());
    name.contains("dlq") || name.contains("deadletter") || words().any(|word| matches!(word, "dead" | "dl" | "dlx"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Took(i64, i64, u8);

    impl Timed for Took {
        fn start_ns(&self) -> i64 {
            self.0 * 1_000_000_000
        }

        fn end_ns(&self) -> i64 {
            self.1 * 1_000_000_000
        }

        fn ids(&self) -> (TraceId, SpanId) {
            (TraceId([self.2; 16]), SpanId(self.0.to_be_bytes()))
        }
    }

    /// A receiver in trace 9.
    fn at(start: i64) -> Took {
        Took(start, start, 9)
    }

    #[track_caller]
    fn check(kind: Kind, senders: &[Took], start: i64, expected: Option<Took>) {
        for senders in [senders.iter().collect::<Vec<_>>(), senders.iter().rev().collect()] {
            assert_eq!(sender(kind, &senders, &at(start)), expected.as_ref());
        }
    }

    #[test]
    fn the_last_before_it() {
        check(Kind::Sqs, &[], 5, None);
        check(Kind::Sqs, &[Took(1, 2, 1), Took(3, 9, 1), Took(6, 7, 1)], 5, Some(Took(3, 9, 1)));
        check(Kind::Sqs, &[Took(8, 9, 1), Took(6, 7, 1)], 5, Some(Took(6, 7, 1)));
    }

    #[test]
    fn of_attempts_the_last_that_ended() {
        let attempts = [Took(0, 1, 1), Took(60, 61, 1), Took(180, 181, 1)];
        check(Kind::LambdaOutcome, &attempts, 182, Some(Took(180, 181, 1)));
        // Its clock is late.
        check(Kind::LambdaOutcome, &attempts, 180, Some(Took(180, 181, 1)));
        // One that still runs is none.
        check(Kind::LambdaOutcome, &[Took(0, 1, 1), Took(60, 300, 1)], 100, Some(Took(0, 1, 1)));
        check(Kind::LambdaOutcome, &[Took(0, 300, 1)], 100, Some(Took(0, 300, 1)));
    }

    #[test]
    fn of_those_who_wrote_the_same_the_one_in_the_trace() {
        check(Kind::S3Object, &[Took(0, 1, 9), Took(2, 3, 1)], 5, Some(Took(0, 1, 9)));
        check(Kind::Sqs, &[Took(0, 1, 9), Took(2, 3, 1)], 5, Some(Took(2, 3, 1)));
        check(Kind::Kafka, &[Took(0, 1, 9), Took(2, 3, 1)], 5, Some(Took(0, 1, 9)));
        let (own, other, read) = (Took(0, 1, 9), Took(2, 3, 1), at(5));
        assert_eq!(write(&[&own, &other], &[&read], &read), Some((&own, 1)));
    }

    #[test]
    fn writes_and_reads_in_order() {
        let check = |writes: &[Took], reads: &[Took], read: usize, expected: Option<(Took, usize)>| {
            let (w, r): (Vec<_>, Vec<_>) = (writes.iter().collect(), reads.iter().collect());
            let found = reads.get(read).and_then(|read| write(&w, &r, read));
            assert_eq!(found, expected.as_ref().map(|(write, count)| (write, *count)));
        };
        check(&[Took(0, 1, 1)], &[at(2)], 0, Some((Took(0, 1, 1), 1)));
        check(&[Took(4, 5, 1)], &[at(2)], 0, None);
        let (writes, reads) = ([Took(2, 2, 1), Took(0, 1, 1)], [at(5), at(3)]);
        check(&writes, &reads, 1, Some((Took(0, 1, 1), 2)));
        check(&writes, &reads, 0, Some((Took(2, 2, 1), 2)));
        // Not all of them were seen.
        check(&writes, &reads[..1], 0, Some((Took(2, 2, 1), 2)));
    }
}
