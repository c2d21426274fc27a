//! Any bytes as OTLP/JSON, and as value text: refused, or taken whole. What is taken
//! is protobuf that the decoder takes as well.
#![no_main]

use hopline_collector::decode;
use hopline_model::Signal;
use hopline_proto::json::{Message, transcode};
use hopline_proto::value;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    for (message, signal) in
        [(Message::Traces, Signal::Traces), (Message::Logs, Signal::Logs), (Message::Metrics, Signal::Metrics)]
    {
        let mut out = Vec::new();
        match transcode(message, input, &mut out) {
            Ok(refused) => {
                assert_eq!(refused.items == 0, refused.message.is_none());
                decode::check(signal, &out).expect("what the transcoder writes is protobuf");
            }
            Err(error) => assert!(out.is_empty() && error.offset <= input.len()),
        }
    }
    let text = String::from_utf8_lossy(input);
    let mut wire = Vec::new();
    if value::text_to_wire(&text, &mut wire).is_ok() {
        value::text_to_otlp_json(&text, &mut String::new()).expect("both sinks take the same");
        value::ValueRef::parse(&text).expect("what can be walked can be read");
    }
    let _ = value::resource_text_to_wire(&text, &mut Vec::new());
    let _ = value::members(&text).count() + value::elements(&text).count();
});
