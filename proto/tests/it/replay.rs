//! The fuzz corpus and seeded mutations of it: whatever comes in, nothing panics, and
//! what is taken is well-formed.

use crate::generate::Gen;
use crate::write_json::Writer;
use hopline_proto::json::{Message, transcode};
use hopline_proto::value;
use hopline_proto::wire::{Reader, Value};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::{DecodeError, Message as _};
use std::path::PathBuf;

const MUTATIONS: usize = 200;

/// The inputs under `fuzz/corpus`, by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    // Asked when it runs: two checkouts may share one target folder.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let folder = PathBuf::from(here).join("../fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Requests of all signals from a seed, in JSON.
fn generated(seed: u64) -> Vec<Vec<u8>> {
    let (mut make, mut write) = (Gen(seed), Writer(Gen(seed + 1)));
    let (traces, logs, metrics) = (make.traces(), make.logs(), make.metrics());
    let values = [write.traces(&traces), write.logs(&logs), write.metrics(&metrics)];
    values.map(|v| v.to_string().into_bytes()).to_vec()
}

/// Changes a few places of `input`, with a liking for what matters in JSON.
fn mutate(random: &mut Gen, input: &[u8]) -> Vec<u8> {
    const PIECES: [&[u8]; 20] = [
        b"{",
        b"}",
        b"[",
        b"]",
        b"\"",
        b",",
        b":",
        b"null",
        b"1e999",
        b"-",
        b"\\",
        b"\\ud800",
        b"\xff",
        b"[[[[",
        b"{}",
        b"\"NaN\"",
        b"\x00",
        b"\x80\x80\x80\x80\x80",
        b"true",
        b"\x0a\xff\xff\xff\xff\x0f",
    ];
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(12)).min(bytes.len());
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => drop(bytes.splice(at..at, PIECES[random.below(PIECES.len())].iter().copied())),
            3 => drop(bytes.splice(at..end, PIECES[random.below(PIECES.len())].iter().copied())),
            4 => {
                let piece = bytes[at..end].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
    bytes
}

fn check_json(input: &[u8]) {
    for message in [Message::Traces, Message::Logs, Message::Metrics] {
        let mut out = Vec::new();
        match transcode(message, input, &mut out) {
            Ok(refused) => {
                assert_eq!(refused.items == 0, refused.message.is_none());
                let read = match message {
                    Message::Traces => ExportTraceServiceRequest::decode(&out[..]).err(),
                    Message::Logs => ExportLogsServiceRequest::decode(&out[..]).err(),
                    Message::Metrics => ExportMetricsServiceRequest::decode(&out[..]).err(),
                };
                assert!(read.as_ref().is_none_or(is_strictness), "{read:?}: {:?}", String::from_utf8_lossy(input));
            }
            Err(error) => {
                assert!(out.is_empty() && error.offset <= input.len());
                assert!(!error.to_string().is_empty());
            }
        }
    }
}

/// What prost refuses and Hopline takes: text that is not UTF-8, deep values.
fn is_strictness(error: &DecodeError) -> bool {
    let text = error.to_string();
    text.contains("UTF-8") || text.contains("recursion")
}

/// Walks everything that could be a message, and reads it as each thing it could be.
fn check_protobuf(input: &[u8], depth: usize) {
    let mut text = String::new();
    if value::any_value_to_text(input, &mut text, 0).is_ok() {
        // Written once more it is the same.
        let (mut wire, mut again) = (Vec::new(), String::new());
        value::text_to_wire(&text, &mut wire).unwrap();
        assert_eq!(value::any_value_to_text(&wire, &mut again, 0), Ok(0));
        assert_eq!(again, text);
        value::text_to_otlp_json(&text, &mut String::new()).unwrap();
    }
    let mut text = String::new();
    if value::resource_to_text(input, b"\xff", &mut text).is_ok() {
        value::resource_text_to_wire(&text, &mut Vec::new()).unwrap();
        value::resource_text_to_otlp_json(&text, &mut String::new()).unwrap();
        assert_eq!(value::schema_url(&text), "\u{fffd}");
    }
    let mut text = String::new();
    if value::scope_to_text(input, b"", &mut text).is_ok() {
        value::scope_text_to_wire(&text, "n", "v", &mut Vec::new()).unwrap();
        value::scope_text_to_otlp_json(&text, "n", "v", &mut String::new()).unwrap();
    }
    let _ = hopline_proto::status::response_from_protobuf(input);
    let mut reader = Reader::new(input);
    while let Ok(Some((_, value))) = reader.next() {
        if let Value::Bytes(bytes) = value
            && depth < 12
        {
            check_protobuf(bytes, depth + 1);
        }
    }
}

/// Anything may stand where value text is expected.
fn check_text(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if value::text_to_wire(&text, &mut Vec::new()).is_ok() {
        value::text_to_otlp_json(&text, &mut String::new()).unwrap();
        value::ValueRef::parse(&text).unwrap();
    }
    let _ = value::attributes_text_to_wire(&text, 1, &mut Vec::new());
    let _ = value::resource_text_to_otlp_json(&text, &mut String::new());
    let _ = value::members(&text).count() + value::elements(&text).count();
    let _ = (value::lookup(&text, "a"), value::unquote(&text));
}

#[test]
fn json_of_the_corpus_and_mutated() {
    let mut random = Gen(1);
    let inputs = corpus("json").into_iter().map(|(_, input)| input).chain((0..4).flat_map(generated));
    for input in inputs {
        check_json(&input);
        check_text(&input);
        for _ in 0..MUTATIONS {
            let mutated = mutate(&mut random, &input);
            check_json(&mutated);
            check_text(&mutated);
        }
    }
}

#[test]
fn protobuf_of_the_corpus_and_mutated() {
    let mut random = Gen(2);
    for (_, input) in corpus("protobuf") {
        check_protobuf(&input, 0);
        for _ in 0..MUTATIONS {
            check_protobuf(&mutate(&mut random, &input), 0);
        }
    }
}

#[test]
fn the_corpus_says_what_it_holds() {
    for (name, input) in corpus("json") {
        let taken = [Message::Traces, Message::Logs, Message::Metrics]
            .into_iter()
            .any(|m| transcode(m, &input, &mut Vec::new()).is_ok());
        assert_eq!(taken, !name.starts_with("bad_"), "{name}");
    }
    for (name, input) in corpus("protobuf") {
        let mut reader = Reader::new(&input);
        let taken = loop {
            match reader.next() {
                Ok(Some(_)) => {}
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        assert_eq!(taken, !name.starts_with("bad_"), "{name}");
    }
}
