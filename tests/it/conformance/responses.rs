//! Rows R01–R18.

use super::*;
use crate::client::{Grpc, LOGS, METRICS, TRACES, compress};
use crate::otlp::*;
use crate::server::{start, start_with, until};

const SIGNALS: [(&str, &str); 3] = [("traces", TRACES), ("logs", LOGS), ("metrics", METRICS)];

#[tokio::test]
async fn r01_full_success_leaves_partial_success_unset() {
    let (server, _dir) = start().await;
    let answer = export(&server, "traces", PROTOBUF, span_bytes(1, 1)).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(export(&server, "traces", JSON, span_json(2, "")).await.text(), "{}");
    assert!(Grpc::connect(&server.grpc).await.call(TRACES, span_bytes(3, 1), "identity").await.body.is_empty());
}

#[tokio::test]
async fn r02_empty_requests_and_envelopes_succeed() {
    let (server, _dir) = start().await;
    let grpc = Grpc::connect(&server.grpc).await;
    for (signal, path) in SIGNALS {
        assert_eq!(grpc.call(path, Vec::new(), "identity").await.code, 0);
        assert_eq!(export(&server, signal, PROTOBUF, Vec::new()).await.status, 200);
        assert_eq!(export(&server, signal, JSON, "{}").await.status, 200);
    }
    let empty = r#"{"resourceSpans":[{},{"scopeSpans":[]},{"scopeSpans":[{},{"spans":[]}]}]}"#;
    assert_eq!(export(&server, "traces", JSON, empty).await.text(), "{}");
    assert_eq!(count(&server, "spans").await, 0);
}

#[tokio::test]
async fn r03_refused_items_are_counted_and_the_rest_is_kept() {
    let (server, _dir) = start().await;
    let mut bad = span(1, 1);
    bad.trace_id = vec![1, 2, 3];
    let body = traces("it", vec![span(1, 0), bad, span(1, 2)]).encode_to_vec();
    let answer = export(&server, "traces", PROTOBUF, body.clone()).await;
    let (refused, message) = rejected(&answer.body).unwrap();
    assert_eq!((answer.status, refused), (200, 1));
    assert!(message.contains("trace_id") && message.contains('3'), "{message}");
    let answer = Grpc::connect(&server.grpc).await.call(TRACES, [body, span_bytes(9, 1)].concat(), "gzip").await;
    assert_eq!((answer.code, rejected(&answer.body).unwrap().0), (0, 1));
    let spans = r#"{"traceId":"00","spanId":"0000000000000001","name":"bad"}"#;
    let answer = export(&server, "traces", JSON, spans_json(spans)).await.json();
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "1", "{answer}");
    let mut bad_log = log("bad");
    bad_log.span_id = vec![1];
    let answer = export(&server, "logs", PROTOBUF, logs("it", vec![log("good"), bad_log]).encode_to_vec()).await;
    assert_eq!(rejected(&answer.body).unwrap().0, 1);
    assert_eq!(count(&server, "logs").await, 1);
    assert_eq!(server.metric(r#"hopline_collector_items_refused_total{reason="invalid",signal="traces"}"#).await, 3.0);
}

#[tokio::test]
async fn r04_a_warning_alone_refuses_nothing() {
    let (server, _dir) = start().await;
    let mut body = traces("it", vec![Span { name: "AAAA".into(), ..span(1, 0) }]).encode_to_vec();
    let at = body.windows(4).position(|w| w == b"AAAA").unwrap();
    body[at] = 0xff;
    let answer = export(&server, "traces", PROTOBUF, body).await;
    let (refused, message) = rejected(&answer.body).expect("a warning");
    assert_eq!((answer.status, refused), (200, 0));
    assert!(message.contains("UTF-8"), "{message}");
    assert_eq!(server.sql("SELECT name FROM spans").await[0][0], "\u{fffd}AAA");
}

#[tokio::test]
async fn r05_answers_have_the_content_type_of_the_request() {
    let (server, _dir) = start().await;
    for content_type in [PROTOBUF, JSON] {
        let good = if content_type == JSON { span_json(1, "").into_bytes() } else { span_bytes(2, 1) };
        assert_eq!(export(&server, "traces", content_type, good).await.header("content-type"), content_type);
        let bad = export(&server, "traces", content_type, "\u{7f}garbage").await;
        assert_eq!((bad.status, bad.header("content-type")), (400, content_type));
    }
}

#[tokio::test]
async fn r06_every_error_body_is_a_status() {
    let (server, _dir) = start_with("[collector]\nmax_request_bytes = 4096\n").await;
    let json = export(&server, "traces", JSON, "{").await;
    assert!(json.json()["code"].is_number() && json.json()["message"].is_string(), "{}", json.text());
    let large = export(&server, "traces", PROTOBUF, vec![0; 5000]).await;
    assert_eq!(Status::decode(large.body).unwrap().code, 8);
    let unknown = client::post(&format!("http://{}/nope", server.http), &[("content-type", JSON)], Vec::new()).await;
    assert_eq!((unknown.status, unknown.json()["code"].as_i64()), (404, Some(12)));
}

#[tokio::test]
async fn r07_what_cannot_be_decoded_is_a_bad_request() {
    let (server, _dir) = start().await;
    let truncated = span_bytes(1, 3)[..100].to_vec();
    for body in [truncated.clone(), vec![0xff; 40], vec![0x0a, 0x05, 1]] {
        let answer = export(&server, "traces", PROTOBUF, body).await;
        assert_eq!(answer.status, 400);
        let status = Status::decode(answer.body).unwrap();
        assert!(status.code == 3 && status.has("BadRequest") && !status.message.is_empty(), "{status:?}");
    }
    for body in ["nonsense", "{\"resourceSpans\":[}", "{\"resourceSpans\":", "{\"resourceSpans\":7}"] {
        let answer = export(&server, "traces", JSON, body).await;
        assert_eq!((answer.status, answer.json()["code"].as_i64()), (400, Some(3)), "{body}");
        assert!(answer.json()["details"][0]["@type"].as_str().unwrap().ends_with("BadRequest"), "{}", answer.text());
    }
    let answer = Grpc::connect(&server.grpc).await.call(TRACES, truncated, "gzip").await;
    assert!(answer.code == 3 && !answer.message.is_empty(), "{answer:?}");
    assert_eq!(count(&server, "spans").await, 0);
}

#[tokio::test]
async fn r08_too_large_is_not_retryable_before_and_after_decompression() {
    let (server, _dir) = start_with("[collector]\nmax_request_bytes = 100000\n").await;
    let grpc = Grpc::connect(&server.grpc).await;
    let (plain, bomb) = (vec![0u8; 100_001], vec![0u8; 10_000_000]);
    for (encoding, body) in [("identity", plain), ("gzip", bomb.clone()), ("zstd", bomb.clone()), ("deflate", bomb)] {
        let headers = [("content-type", PROTOBUF), ("content-encoding", encoding)];
        let answer = export_with(&server, "traces", &headers, compress(encoding, body.clone())).await;
        assert_eq!(answer.status, 413, "{encoding}");
        assert_eq!(answer.header("retry-after"), "");
        assert!(Status::decode(answer.body).unwrap().message.contains("100000"));
        if encoding != "deflate" {
            let answer = grpc.call(TRACES, body, encoding).await;
            assert_eq!((answer.code, Status::decode(&answer.details[..]).unwrap().has("RetryInfo")), (8, false));
        }
    }
}

#[tokio::test]
async fn r09_the_limit_is_64_mib() {
    let (server, _dir) = start().await;
    let name = "n".repeat(20 << 20);
    let body = traces("it", vec![Span { name, ..span(1, 0) }]).encode_to_vec();
    assert_eq!(export(&server, "traces", PROTOBUF, body).await.status, 200);
    let declared = "POST /v1/traces HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n";
    let head = format!("{declared}content-length: {}\r\n\r\n", (64 << 20) + 1);
    let answer = client::raw(&server.http, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_eq!(server.number("SELECT max(length(name)) FROM spans").await, 20 << 20);
}

#[tokio::test]
async fn r10_a_long_message_is_shortened() {
    let (server, _dir) = start().await;
    let key = "k".repeat(5 << 20);
    let spans = format!(r#"{{"traceId":"{key}","spanId":"01"}}"#);
    let answer = export(&server, "traces", JSON, spans_json(&spans)).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.len() < 64 << 10, "{} bytes", answer.body.len());
    assert_eq!(answer.json()["partialSuccess"]["rejectedSpans"], "1");
}

/// Holds nearly all of the room with two bodies that do not end, and gives back their connections.
async fn fill(server: &Server) -> Vec<tokio::net::TcpStream> {
    use tokio::io::AsyncWriteExt;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = tokio::net::TcpStream::connect(&server.http).await.unwrap();
        let head =
            format!("POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: {PROTOBUF}\r\ncontent-length: 60000\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&[0; 100]).await.unwrap();
        held.push(stream);
    }
    held
}

const SMALL: &str = "[collector]\nmax_request_bytes = 65536\nmax_pending_bytes = 140000\n";

#[tokio::test]
async fn r11_overload_is_retryable_and_passes() {
    let (server, _dir) = start_with(SMALL).await;
    let grpc = Grpc::connect(&server.grpc).await;
    let held = fill(&server).await;
    until("overload is answered as retryable", async || {
        export(&server, "traces", PROTOBUF, span_bytes(1, 400)).await.status == 503
    })
    .await;
    let answer = export(&server, "logs", JSON, logs_json("{},".repeat(10000).trim_end_matches(','))).await;
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|s| s >= 1), "{:?}", answer.headers);
    let answer = grpc.call(TRACES, span_bytes(2, 400), "identity").await;
    assert_eq!((answer.code, Status::decode(&answer.details[..]).unwrap().has("RetryInfo")), (14, true));
    drop(held);
    until("room again", async || grpc.call(TRACES, span_bytes(3, 400), "identity").await.code == 0).await;
    assert!(count(&server, "spans").await >= 400);
}

#[tokio::test]
async fn r12_a_rate_limit_would_be_retryable() {
    // There are no tenants and so no limits a tenant yet: what is over the limit of all is UNAVAILABLE, never
    // RESOURCE_EXHAUSTED without RetryInfo (docs/otlp.md, R12).
    let (server, _dir) = start_with(SMALL).await;
    let _held = fill(&server).await;
    let grpc = Grpc::connect(&server.grpc).await;
    until("overload", async || grpc.call(TRACES, span_bytes(1, 400), "identity").await.code == 14).await;
}

#[tokio::test]
async fn r13_permanent_failures_have_codes_that_clients_do_not_retry() {
    let (server, _dir) = start_with("[collector]\nmax_request_bytes = 65536\n").await;
    let grpc = Grpc::connect(&server.grpc).await;
    let retryable = [1, 4, 10, 11, 14, 15];
    let mut codes = vec![grpc.call(TRACES, vec![0xff; 9], "identity").await];
    codes.push(grpc.call(TRACES, vec![0; 70_000], "identity").await);
    codes.push(grpc.call(TRACES, vec![0; 7], "snappy").await);
    codes.push(grpc.call("/opentelemetry.Nope/Export", Vec::new(), "identity").await);
    for answer in codes {
        assert!(answer.code != 0 && !retryable.contains(&answer.code), "{answer:?}");
    }
    for (headers, body) in [
        (&[("content-type", PROTOBUF)][..], vec![0xff; 9]),
        (&[("content-type", PROTOBUF)], vec![0; 70_000]),
        (&[("content-type", "text/css")], Vec::new()),
        (&[("content-type", PROTOBUF), ("content-encoding", "x")], Vec::new()),
        (&[("content-type", PROTOBUF), ("content-encoding", "gzip")], b"not gzip".to_vec()),
    ] {
        let status = export_with(&server, "traces", headers, body).await.status;
        assert!((400..500).contains(&status) && status != 429, "{headers:?}: {status}");
    }
}

#[tokio::test]
async fn r15_grpc_and_http_agree() {
    let (server, _dir) = start_with("[collector]\nmax_request_bytes = 65536\n").await;
    let grpc = Grpc::connect(&server.grpc).await;
    for (body, code, status) in [(vec![0xff; 9], 3, 400), (vec![0; 70_000], 8, 413), (Vec::new(), 0, 200)] {
        assert_eq!(grpc.call(TRACES, body.clone(), "identity").await.code, code);
        assert_eq!(export(&server, "traces", PROTOBUF, body).await.status, status);
    }
}

#[tokio::test]
async fn r16_a_retried_request_is_stored_once() {
    let (server, _dir) = start().await;
    let grpc = Grpc::connect(&server.grpc).await;
    let body = span_bytes(1, 7);
    for _ in 0..3 {
        assert_eq!(grpc.call(TRACES, body.clone(), "gzip").await.code, 0);
        assert_eq!(export(&server, "logs", PROTOBUF, log_bytes("once")).await.status, 200);
        assert_eq!(
            export(&server, "metrics", JSON, metrics_json(r#"{"name":"m","gauge":{"dataPoints":[{"asInt":1}]}}"#))
                .await
                .status,
            200
        );
    }
    let calls = (0..20).map(|_| {
        let (grpc, body) = (grpc.clone(), span_bytes(2, 7));
        tokio::spawn(async move { grpc.call(TRACES, body, "identity").await.code })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap(), 0);
    }
    for (table, rows) in [("spans", 14), ("logs", 1), ("metrics", 1)] {
        assert_eq!(count(&server, table).await, rows, "{table}");
    }
    let server = server.kill_and_restart().await;
    let grpc = Grpc::connect(&server.grpc).await;
    assert_eq!(grpc.call(TRACES, body, "gzip").await.code, 0);
    assert_eq!(count(&server, "spans").await, 14, "a retry after a crash");
}

#[tokio::test]
async fn r17_a_client_that_leaves_in_the_middle_leaves_nothing() {
    use tokio::io::AsyncWriteExt;
    let (server, _dir) = start_with(SMALL).await;
    for _ in 0..50 {
        let mut stream = tokio::net::TcpStream::connect(&server.http).await.unwrap();
        let body = span_bytes(1, 50);
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: {PROTOBUF}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body[..body.len() - 1]).await.unwrap();
    }
    // All of the room is free again, although each of them held some.
    until("room again", async || export(&server, "traces", PROTOBUF, span_bytes(2, 400)).await.status == 200).await;
    assert_eq!(count(&server, "spans").await, 400);
}

#[tokio::test]
async fn r18_acknowledged_is_durable_and_visible() {
    let (mut server, _dir) = start().await;
    for round in 1..=5u64 {
        let grpc = Grpc::connect(&server.grpc).await;
        assert_eq!(grpc.call(TRACES, span_bytes(round, 10), "gzip").await.code, 0);
        assert_eq!(count(&server, "spans").await, round as i64 * 10, "visible at once");
        server = server.kill_and_restart().await;
        assert_eq!(count(&server, "spans").await, round as i64 * 10, "durable");
    }
}
