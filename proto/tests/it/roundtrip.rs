//! Whatever is sent as JSON arrives as if it had been sent as protobuf.

use crate::generate::Gen;
use crate::write_json::Writer;
use hopline_proto::json::{Message, Refused, transcode};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;

/// Reads `json` and compares it with `request`; as bytes, since NaN is not itself.
#[track_caller]
fn check<M: prost::Message + Default + std::fmt::Debug>(
    message: Message,
    request: &M,
    json: &serde_json::Value,
    pretty: bool,
) {
    let text = if pretty { serde_json::to_string_pretty(json).unwrap() } else { json.to_string() };
    let mut bytes = b"before".to_vec();
    let refused = transcode(message, text.as_bytes(), &mut bytes).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(refused, Refused::default(), "{text}");
    let read = M::decode(bytes.strip_prefix(b"before").unwrap()).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(read.encode_to_vec(), request.encode_to_vec(), "{read:#?}\n{request:#?}\n{text}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn traces(seed: u64, choices: u64, pretty: bool) {
        let request: ExportTraceServiceRequest = Gen(seed).traces();
        check(Message::Traces, &request, &Writer(Gen(choices)).traces(&request), pretty);
    }

    #[test]
    fn logs(seed: u64, choices: u64, pretty: bool) {
        let request: ExportLogsServiceRequest = Gen(seed).logs();
        check(Message::Logs, &request, &Writer(Gen(choices)).logs(&request), pretty);
    }

    #[test]
    fn metrics(seed: u64, choices: u64, pretty: bool) {
        let request: ExportMetricsServiceRequest = Gen(seed).metrics();
        check(Message::Metrics, &request, &Writer(Gen(choices)).metrics(&request), pretty);
    }
}
