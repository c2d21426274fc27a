//! Rows T01–T20.

use bytes::Bytes;
use serde_json::Value;

use super::*;
use crate::client::{Grpc, LOGS, METRICS, TRACES, raw};
use crate::otlp::{hex, log_bytes, metric_bytes, span_bytes, span_json, trace_id};
use crate::server::{start, start_with, until};

#[tokio::test]
async fn t01_grpc_takes_all_three_signals() {
    let (server, _dir) = start().await;
    let grpc = Grpc::connect(&server.grpc).await;
    for (path, body) in [(TRACES, span_bytes(1, 2)), (LOGS, log_bytes("hello")), (METRICS, metric_bytes("m"))] {
        let answer = grpc.call(path, body, "identity").await;
        assert_eq!((answer.code, answer.body.len()), (0, 0), "{path}: {answer:?}");
    }
    assert_eq!(count(&server, "spans").await, 2);
    assert_eq!(count(&server, "logs").await, 1);
    assert_eq!(count(&server, "metrics").await, 1);
}

#[tokio::test]
async fn t02_http_takes_all_three_signals_over_http1_and_http2() {
    let (server, _dir) = start().await;
    for (signal, body) in [("traces", span_bytes(1, 2)), ("logs", log_bytes("x")), ("metrics", metric_bytes("m"))] {
        let answer = export(&server, signal, PROTOBUF, body).await;
        assert_eq!((answer.status, answer.body.len()), (200, 0));
        assert_eq!(answer.header("content-type"), PROTOBUF);
    }
    let stream = tokio::net::TcpStream::connect(&server.http).await.unwrap();
    let builder = hyper::client::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
    let (mut sender, connection) = builder.handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post(format!("http://{}/v1/traces", server.http)).header("content-type", PROTOBUF);
    let body = http_body_util::Full::new(Bytes::from(span_bytes(2, 3)));
    let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
    assert_eq!(count(&server, "spans").await, 5);
}

#[tokio::test]
async fn t03_profiles_are_cleanly_unknown() {
    let (server, _dir) = start().await;
    let url = format!("http://{}/v1development/profiles", server.http);
    let answer = client::post(&url, &[("content-type", PROTOBUF)], Vec::new()).await;
    assert_eq!(answer.status, 404);
    assert_eq!(Status::decode(answer.body).unwrap().code, 12);
    let path = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";
    let answer = Grpc::connect(&server.grpc).await.call(path, Vec::new(), "identity").await;
    assert_eq!(answer.code, 12, "{answer:?}");
}

#[tokio::test]
async fn t04_gzip_and_none_on_both_protocols() {
    let (server, _dir) = start().await;
    let grpc = Grpc::connect(&server.grpc).await;
    for (trace, encoding) in [(1, "identity"), (2, "gzip")] {
        assert_eq!(grpc.call(TRACES, span_bytes(trace, 10), encoding).await.code, 0);
        let headers = [("content-type", PROTOBUF), ("content-encoding", encoding)];
        let body = client::compress(encoding, span_bytes(trace + 10, 10));
        assert_eq!(export_with(&server, "traces", &headers, body).await.status, 200);
        let headers = [("content-type", JSON), ("content-encoding", encoding)];
        let body = client::compress(encoding, span_json(trace + 20, "").into());
        assert_eq!(export_with(&server, "traces", &headers, body).await.status, 200);
    }
    assert_eq!(count(&server, "spans").await, 42);
}

#[tokio::test]
async fn t05_zstd_on_both_deflate_on_http_and_others_refused() {
    let (server, _dir) = start().await;
    let grpc = Grpc::connect(&server.grpc).await;
    assert_eq!(grpc.call(TRACES, span_bytes(1, 10), "zstd").await.code, 0);
    for (trace, encoding) in [(2, "zstd"), (3, "deflate")] {
        let headers = [("content-type", PROTOBUF), ("content-encoding", encoding)];
        let body = client::compress(encoding, span_bytes(trace, 10));
        assert_eq!(export_with(&server, "traces", &headers, body).await.status, 200, "{encoding}");
    }
    assert_eq!(count(&server, "spans").await, 30);
    for encoding in ["snappy", "lz4"] {
        let headers = [("content-type", PROTOBUF), ("content-encoding", encoding)];
        assert_eq!(export_with(&server, "traces", &headers, span_bytes(4, 1)).await.status, 415);
        let answer = grpc.call(TRACES, span_bytes(4, 1), encoding).await;
        assert_eq!(answer.code, 12, "{answer:?}");
        let accepted = answer.headers.get("grpc-accept-encoding").unwrap().to_str().unwrap();
        assert!(accepted.contains("gzip") && accepted.contains("zstd"), "{accepted}");
    }
    assert_eq!(count(&server, "spans").await, 30);
}

#[tokio::test]
async fn t06_json_and_protobuf_on_one_port() {
    let (server, _dir) = start().await;
    assert_eq!(export(&server, "traces", PROTOBUF, span_bytes(1, 1)).await.status, 200);
    let answer = export(&server, "traces", JSON, span_json(2, "")).await;
    assert_eq!((answer.status, answer.text().as_str(), answer.header("content-type")), (200, "{}", JSON));
    assert_eq!(count(&server, "spans").await, 2);
}

#[tokio::test]
async fn t07_content_types_with_parameters_and_in_upper_case() {
    let (server, _dir) = start().await;
    for (n, content_type) in ["application/json; charset=utf-8", "APPLICATION/JSON"].into_iter().enumerate() {
        assert_eq!(export(&server, "traces", content_type, span_json(n as u64, "")).await.status, 200);
    }
    for (n, content_type) in ["application/x-protobuf; proto=x", "Application/X-Protobuf"].into_iter().enumerate() {
        assert_eq!(export(&server, "traces", content_type, span_bytes(n as u64 + 10, 1)).await.status, 200);
    }
    assert_eq!(count(&server, "spans").await, 4);
}

#[tokio::test]
async fn t08_other_content_types_are_refused() {
    let (server, _dir) = start().await;
    for headers in [&[][..], &[("content-type", "text/plain")], &[("content-type", "application/grpc+json")]] {
        let answer = export_with(&server, "traces", headers, span_bytes(1, 1)).await;
        assert_eq!(answer.status, 415, "{headers:?}");
        let status = answer.json();
        assert!(status["message"].as_str().unwrap().contains("application/x-protobuf"), "{status}");
    }
    assert_eq!(count(&server, "spans").await, 0);
}

#[tokio::test]
async fn t09_other_methods_are_refused() {
    let (server, _dir) = start().await;
    for method in [http::Method::GET, http::Method::PUT, http::Method::DELETE] {
        let url = format!("http://{}/v1/logs", server.http);
        let answer = client::request(method, &url, &[("content-type", JSON)], Vec::new()).await.unwrap();
        assert_eq!((answer.status, answer.header("allow")), (405, "POST"));
        assert!(answer.json()["message"].as_str().unwrap().contains("POST"));
    }
}

#[tokio::test]
async fn t10_an_unknown_content_encoding_is_never_read_as_identity() {
    let (server, _dir) = start().await;
    let headers = [("content-type", PROTOBUF), ("content-encoding", "br")];
    let answer = export_with(&server, "traces", &headers, span_bytes(1, 1)).await;
    assert_eq!(answer.status, 415);
    assert!(Status::decode(answer.body).unwrap().message.contains("br"));
    assert_eq!(count(&server, "spans").await, 0);
}

#[tokio::test]
async fn t11_identity_and_empty_encodings_are_none() {
    let (server, _dir) = start().await;
    for (trace, encoding) in [(1, "identity"), (2, ""), (3, "IDENTITY")] {
        let headers = [("content-type", PROTOBUF), ("content-encoding", encoding)];
        assert_eq!(export_with(&server, "traces", &headers, span_bytes(trace, 1)).await.status, 200, "{encoding:?}");
    }
    assert_eq!(count(&server, "spans").await, 3);
}

#[tokio::test]
async fn t12_answers_that_are_compressed_say_so() {
    let (server, _dir) = start().await;
    let headers = [("content-type", JSON), ("accept-encoding", "gzip")];
    let answer = export_with(&server, "traces", &headers, span_json(1, "")).await;
    assert_eq!(answer.status, 200);
    let body = match answer.header("content-encoding") {
        "" => answer.text(),
        "gzip" => {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&answer.body[..]), &mut text).unwrap();
            text
        }
        other => panic!("not asked for: {other}"),
    };
    assert_eq!(body, "{}");
}

#[tokio::test]
async fn t13_only_the_signals_paths_are_served() {
    let (server, _dir) = start().await;
    for path in ["/", "/v1/", "/v1/trace", "/v1/traces/x", "/other"] {
        let url = format!("http://{}{path}", server.http);
        let answer = client::post(&url, &[("content-type", PROTOBUF)], span_bytes(1, 1)).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(Status::decode(answer.body).unwrap().message.contains("/v1/traces"), "{path}");
    }
}

#[tokio::test]
async fn t14_both_protocols_on_either_port() {
    let (server, _dir) = start().await;
    let answer = Grpc::connect(&server.http).await.call(TRACES, span_bytes(1, 1), "gzip").await;
    assert_eq!(answer.code, 0, "{answer:?}");
    let url = format!("http://{}/v1/traces", server.grpc);
    assert_eq!(client::post(&url, &[("content-type", PROTOBUF)], span_bytes(2, 1)).await.status, 200);
    assert_eq!(count(&server, "spans").await, 2);
}

#[tokio::test]
async fn t15_concurrent_calls_on_one_connection_and_keep_alive() {
    let (server, _dir) = start().await;
    let grpc = Grpc::connect(&server.grpc).await;
    let calls = (0..64).map(|n| {
        let grpc = grpc.clone();
        tokio::spawn(async move { grpc.call(TRACES, span_bytes(n, 3), "identity").await.code })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap(), 0);
    }
    // Two requests on one HTTP/1.1 connection; the second asks for its end.
    let body = span_json(500, "");
    let more = span_json(501, "");
    let head = |close: &str, length: usize| {
        format!(
            "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: {JSON}\r\n{close}content-length: {length}\r\n\r\n"
        )
    };
    let both = [head("", body.len()), body, head("connection: close\r\n", more.len()), more].concat();
    let answer = raw(&server.http, both.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
    assert_eq!(count(&server, "spans").await, 64 * 3 + 2);
}

#[tokio::test]
async fn t16_custom_headers_and_credentials_do_no_harm() {
    let (server, _dir) = start().await;
    let headers = [("content-type", PROTOBUF), ("authorization", "Bearer x"), ("x-scope-orgid", "a"), ("x-a", "b")];
    assert_eq!(export_with(&server, "traces", &headers, span_bytes(1, 1)).await.status, 200);
}

#[tokio::test]
async fn t17_no_cors_unless_configured() {
    let (server, _dir) = start().await;
    let headers = [("origin", "http://example.com"), ("access-control-request-method", "POST")];
    let url = format!("http://{}/v1/traces", server.http);
    let answer = client::request(http::Method::OPTIONS, &url, &headers, Vec::new()).await.unwrap();
    assert_eq!(answer.status, 405);
    assert!(answer.headers.keys().all(|k| !k.as_str().starts_with("access-control")), "{:?}", answer.headers);
}

#[tokio::test]
async fn t18_loopback_is_the_default() {
    let output = std::process::Command::new(crate::server::binary()).args(["config", "show"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for address in ["127.0.0.1:4317", "127.0.0.1:4318", "127.0.0.1:4320"] {
        assert!(text.contains(address), "{text}");
    }
}

#[tokio::test]
async fn t19_a_client_that_never_ends_its_head_is_closed() {
    let (server, _dir) = start_with("[collector]\nheader_timeout_ms = 200\n").await;
    let answer = raw(&server.http, b"POST /v1/traces HTTP/1.1\r\nhost: x\r\n").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn t20_shutdown_stores_what_it_acknowledged_and_refuses_the_rest_as_retryable() {
    let (mut server, _dir) = start().await;
    let grpc = Grpc::connect(&server.grpc).await;
    let mut calls = Vec::new();
    for n in 0..200 {
        let grpc = grpc.clone();
        calls.push(tokio::spawn(async move { grpc.try_call(TRACES, span_bytes(n, 5), "gzip").await }));
    }
    until("some are stored", async || count(&server, "spans").await > 0).await;
    assert!(server.stop().await.success(), "{}", server.log());
    let mut acknowledged = Vec::new();
    for (n, call) in calls.into_iter().enumerate() {
        match call.await.unwrap() {
            Ok(answer) if answer.code == 0 => acknowledged.push(hex(&trace_id(n as u64))),
            Ok(answer) => assert_eq!(answer.code, 14, "{answer:?}"),
            Err(_) => {} // the connection was closed before an answer: the client tries again
        }
    }
    let server = server.again().await;
    let stored = server.sql("SELECT trace_id, count(*) FROM spans GROUP BY 1").await;
    let stored: Vec<Value> = stored.into_iter().inspect(|row| assert_eq!(row[1], 5)).map(|mut r| r.remove(0)).collect();
    for id in &acknowledged {
        assert!(stored.contains(&Value::from(id.as_str())), "{id} was acknowledged and is gone");
    }
}
