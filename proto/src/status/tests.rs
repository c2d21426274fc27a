#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prost::Message as _;

// The messages of google.rpc, written down anew for the test.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<RpcDuration>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RpcDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct BadRequest {
    #[prost(message, repeated, tag = "1")]
    field_violations: Vec<Violation>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Violation {
    #[prost(string, tag = "1")]
    field: String,
    #[prost(string, tag = "2")]
    description: String,
}

#[test]
fn r06_a_status_in_both_encodings() {
    let status = Status::bad_request("\"x\" is wrong", "spans[0]").with(Detail::RetryInfo(Duration::from_millis(1500)));
    let read = RpcStatus::decode(&status.to_protobuf()[..]).unwrap();
    assert_eq!((read.code, read.message.as_str(), read.details.len()), (3, "\"x\" is wrong", 2));
    assert_eq!(read.details[0].type_url, "type.googleapis.com/google.rpc.BadRequest");
    let violations = BadRequest::decode(&read.details[0].value[..]).unwrap().field_violations;
    assert_eq!(violations, [Violation { field: "spans[0]".into(), description: "\"x\" is wrong".into() }]);
    assert_eq!(read.details[1].type_url, "type.googleapis.com/google.rpc.RetryInfo");
    let delay = RetryInfo::decode(&read.details[1].value[..]).unwrap().retry_delay.unwrap();
    assert_eq!((delay.seconds, delay.nanos), (1, 500_000_000));
    assert_eq!(
        status.to_json(),
        concat!(
            r#"{"code":3,"message":"\"x\" is wrong","details":["#,
            r#"{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"spans[0]","description":"\"x\" is wrong"}]},"#,
            r#"{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"1.500s"}]}"#
        )
    );
}

#[test]
fn r07_a_field_that_is_not_known_is_left_out() {
    let status = Status::bad_request("it is wrong", "");
    let details = concat!(
        r#"{"code":3,"message":"it is wrong","details":["#,
        r#"{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"description":"it is wrong"}]}]}"#
    );
    assert_eq!(status.to_json(), details);
}

#[test]
fn a_status_without_details() {
    let status = Status::new(Code::Unavailable, "later");
    assert_eq!(status.to_json(), r#"{"code":14,"message":"later"}"#);
    let expected = RpcStatus { code: 14, message: "later".into(), details: vec![] };
    assert_eq!(RpcStatus::decode(&status.to_protobuf()[..]).unwrap(), expected);
}

#[test]
fn durations_have_the_digits_they_need() {
    for (nanos, text) in [
        (2_000_000_000, "2s"),
        (1_500_000_000, "1.500s"),
        (1_000_001_000, "1.000001s"),
        (1, "0.000000001s"),
        (0, "0s"),
        (10_100_000_000, "10.100s"),
    ] {
        let mut out = String::new();
        duration_to_json(Duration::from_nanos(nanos), &mut out);
        assert_eq!(out, text);
    }
}

#[test]
fn r01_nothing_is_said_when_all_is_well() {
    assert_eq!(response_to_protobuf(None), b"");
    assert_eq!(response_to_json(Message::Traces, None), "{}");
    assert_eq!(response_from_protobuf(b""), Ok(None));
}

#[test]
fn r03_what_was_refused_is_counted() {
    let partial = PartialSuccess { rejected: 3, message: "bad ids".into() };
    let bytes = response_to_protobuf(Some(&partial));
    let read = ExportTraceServiceResponse::decode(&bytes[..]).unwrap();
    let expected = ExportTracePartialSuccess { rejected_spans: 3, error_message: "bad ids".into() };
    assert_eq!(read.partial_success, Some(expected));
    assert_eq!(response_from_protobuf(&bytes), Ok(Some(partial.clone())));
    for (signal, name) in [
        (Message::Traces, "rejectedSpans"),
        (Message::Logs, "rejectedLogRecords"),
        (Message::Metrics, "rejectedDataPoints"),
    ] {
        let expected = format!(r#"{{"partialSuccess":{{"{name}":"3","errorMessage":"bad ids"}}}}"#);
        assert_eq!(response_to_json(signal, Some(&partial)), expected);
    }
}

#[test]
fn r04_a_warning_refuses_nothing() {
    let warning = PartialSuccess { rejected: 0, message: "1 string was repaired".into() };
    let read = ExportLogsServiceResponse::decode(&response_to_protobuf(Some(&warning))[..]).unwrap();
    let partial = read.partial_success.unwrap();
    assert_eq!((partial.rejected_log_records, partial.error_message.as_str()), (0, "1 string was repaired"));
}
