//! What holds for every request.

use arrow::record_batch::RecordBatch;
use hopline_model::Signal;
use hopline_proto::json::{Message as JsonMessage, transcode};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

use super::generate::Choices;
use super::{Decoder, check, decode, finish, json, rows};

/// A request as protobuf and JSON, and the items of it that should be stored.
fn request(signal: Signal, choices: &[u8]) -> (Vec<u8>, String, Vec<Vec<u8>>) {
    let mut choices = Choices::new(choices);
    match signal {
        Signal::Traces => {
            let request = choices.traces();
            (request.encode_to_vec(), json::traces(&request), rows::sent_spans(request))
        }
        Signal::Logs => {
            let request = choices.logs();
            (request.encode_to_vec(), json::logs(&request), rows::sent_records(request))
        }
        Signal::Metrics => {
            let request = choices.metrics();
            (request.encode_to_vec(), json::metrics(&request), rows::sent_points(request))
        }
    }
}

fn stored(signal: Signal, batch: &RecordBatch) -> Vec<Vec<u8>> {
    match signal {
        Signal::Traces => rows::stored_spans(batch),
        Signal::Logs => rows::stored_records(batch),
        Signal::Metrics => rows::stored_points(batch),
    }
}

/// Choices for a request that is usually not empty.
fn choices() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..1500)
}

fn signal() -> impl Strategy<Value = Signal> {
    prop_oneof![Just(Signal::Traces), Just(Signal::Logs), Just(Signal::Metrics)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_sent_is_given_back(signal in signal(), choices in choices()) {
        let (body, _, sent) = request(signal, &choices);
        let stored = decode(signal, &body).map_or(vec![], |batch| stored(signal, &batch));
        prop_assert_eq!(stored, sent);
    }

    #[test]
    fn json_gives_the_same_rows_as_protobuf(signal in signal(), choices in choices()) {
        let (body, json, _) = request(signal, &choices);
        let message = match signal {
            Signal::Traces => JsonMessage::Traces,
            Signal::Logs => JsonMessage::Logs,
            Signal::Metrics => JsonMessage::Metrics,
        };
        let mut transcoded = Vec::new();
        let refused = transcode(message, json.as_bytes(), &mut transcoded).unwrap();
        prop_assert_eq!(refused.items, 0, "{:?}", refused.message);
        prop_assert_eq!(check(signal, &transcoded), check(signal, &body));
        prop_assert_eq!(decode(signal, &transcoded), decode(signal, &body));
    }

    #[test]
    fn requests_that_share_a_batch_do_not_disturb_each_other(
        signal in signal(),
        all in vec(vec(any::<u8>(), 0..500), 1..6),
        batches in 1..4,
    ) {
        let mut decoder = Decoder::new();
        for _ in 0..batches {
            let mut sent = Vec::new();
            for choices in &all {
                let (body, _, items) = request(signal, choices);
                decoder.push(signal, "t", &body).unwrap();
                sent.extend(items);
            }
            let batch = finish(&mut decoder, signal.table());
            prop_assert_eq!(batch.map_or(vec![], |batch| stored(signal, &batch)), sent);
        }
    }
}

/// A small random number generator: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 16) as usize % n.max(1)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 24) as u8).collect()
    }
}

#[test]
fn the_generated_requests_are_worth_testing() {
    let mut random = Random(7);
    for signal in Signal::ALL {
        let items: usize = (0..200).map(|_| request(signal, &random.bytes(1000)).2.len()).sum();
        assert!(items > 300, "{items} {} in 200 requests", signal.name());
    }
}

fn damage(body: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = random.below(body.len());
        match random.below(5) {
            0 => body.truncate(at),
            1 if !body.is_empty() => body[at] ^= 1 << random.below(8),
            2 if !body.is_empty() => body[at] = random.next() as u8,
            3 => body.insert(at, random.next() as u8),
            _ => {
                let end = (at + random.below(40)).min(body.len());
                let piece = body[at.min(end)..end].to_vec();
                let to = random.below(body.len());
                body.splice(to..to, piece);
            }
        }
    }
}

#[test]
fn damaged_requests_are_refused_whole_by_both_walks() {
    let (mut random, mut refused) = (Random(0x5EED_CAFE), 0);
    for round in 0..6000 {
        let signal = Signal::ALL[round % 3];
        let len = random.below(400);
        let (mut body, _, _) = request(signal, &random.bytes(len));
        let (good, _, sent) = request(signal, &random.bytes(200));
        damage(&mut body, &mut random);

        let mut decoder = Decoder::new();
        decoder.push(signal, "t", &good).unwrap();
        let before = decoder.rows(signal.table());
        let checked = check(signal, &body);
        let pushed = decoder.push(signal, "t", &body);
        let added = decoder.rows(signal.table()) - before;
        match checked {
            Ok(checked) => {
                assert_eq!(pushed, Ok(()), "round {round}: {body:02x?}");
                assert_eq!(added as u64, checked.items - checked.refused, "round {round}: {body:02x?}");
                finish(&mut decoder, signal.table());
            }
            Err(_) => {
                refused += 1;
                assert!(pushed.is_err(), "round {round}: {body:02x?}");
                let batch = finish(&mut decoder, signal.table());
                assert_eq!(batch.map_or(vec![], |batch| stored(signal, &batch)), sent, "round {round}");
            }
        }
        // The decoder is as good as new.
        decoder.push(signal, "t", &good).unwrap();
        let batch = finish(&mut decoder, signal.table());
        assert_eq!(batch.map_or(vec![], |batch| stored(signal, &batch)), sent, "round {round}");
    }
    assert!((1000..5500).contains(&refused), "{refused} of the damaged requests are broken");
}
