//! What each protocol answers when all is well, and when the request is wrong.

use hopline_model::Table;
use hopline_proto::status::response_from_protobuf;
use hopline_storage::{Encoding, Format};

use super::client::{
    Channel, JSON, LOGS, METRICS, PROTOBUF, TRACES, deflate, framed, gzip, json_span, logs, metrics, post, send, spans,
    spans_with_bad, zlib, zstd,
};
use super::{start, start_with};

#[tokio::test]
async fn t01_t04_grpc_takes_every_signal_and_encoding() {
    let running = start().await;
    let channel = Channel::open(running.collector.grpc_addr()).await;
    for (path, body) in [(TRACES, spans(1, 3)), (LOGS, logs(1)), (METRICS, metrics(1))] {
        let reply = channel.call(path, "", &body).await;
        assert_eq!((reply.status.as_u16(), reply.grpc_status), (200, Some(0)), "{path}");
        assert_eq!(reply.header("content-type"), "application/grpc");
        assert_eq!(reply.body[..], [0; 5], "r01: an empty message");
    }
    let (body_2, body_3) = (gzip(&spans(2, 3)), zstd(&spans(3, 3)));
    assert_eq!(channel.call(TRACES, "gzip", &body_2).await.grpc_status, Some(0));
    assert_eq!(channel.call(TRACES, "zstd", &body_3).await.grpc_status, Some(0));
    assert_eq!(channel.call(TRACES, "identity", &[]).await.grpc_status, Some(13), "compressed without an encoding");
    let store = running.stop().await;
    assert_eq!((store.rows(Table::Spans), store.rows(Table::Logs), store.rows(Table::Metrics)), (9, 1, 1));
    let records = store.records();
    assert_eq!(records[3].encoding, Encoding::Gzip);
    assert_eq!(records[3].body, body_2, "the log keeps a body as it came");
    assert_eq!((records[4].encoding, &records[4].body[..]), (Encoding::Zstd, &body_3[..]));
}

#[tokio::test]
async fn t02_t04_t05_http_takes_every_signal_format_and_encoding() {
    let running = start().await;
    let addr = running.collector.http_addr();
    for (path, body) in [("/v1/traces", spans(1, 3)), ("/v1/logs", logs(1)), ("/v1/metrics", metrics(1))] {
        let reply = post(addr, path, &[PROTOBUF], body).await;
        assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, &b""[..]), "{path}");
        assert_eq!(reply.header("content-type"), "application/x-protobuf");
    }
    let plain = |seed| spans(seed, 2);
    let bodies = [
        ("gzip", gzip(&plain(2))),
        ("zstd", zstd(&plain(3))),
        ("deflate", zlib(&plain(4))),
        ("deflate", deflate(&plain(5))),
        ("identity", plain(6)),
        ("", plain(7)),
        ("GZIP", gzip(&plain(8))),
    ];
    for (encoding, body) in bodies {
        let reply = post(addr, "/v1/traces", &[PROTOBUF, ("content-encoding", encoding)], body).await;
        assert_eq!(reply.status, 200, "{encoding:?}");
    }
    let reply = post(addr, "/v1/traces", &[JSON], json_span(9)).await;
    assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, &b"{}"[..]));
    assert_eq!(reply.header("content-type"), "application/json");
    let headers = [("content-type", "Application/JSON; charset=utf-8"), ("content-encoding", "gzip")];
    let reply = post(addr, "/v1/traces", &headers, gzip(json_span(10).as_bytes())).await;
    assert_eq!(reply.status, 200, "t07: {:?}", reply.body);
    let store = running.stop().await;
    assert_eq!(store.rows(Table::Spans), 3 + 7 * 2 + 2);
    assert_eq!(store.records()[10].format, Format::Json);
    assert_eq!(store.records()[5].body, plain(4), "deflate is logged as plain bytes");
}

#[tokio::test]
async fn t14_t15_each_port_speaks_both_protocols_and_many_at_once() {
    let running = start().await;
    for addr in [running.collector.grpc_addr(), running.collector.http_addr()] {
        let seed = u64::from(addr.port()) << 8;
        assert_eq!(post(addr, "/v1/traces", &[PROTOBUF], spans(seed, 1)).await.status, 200);
        let channel = Channel::open(addr).await;
        let calls = (1..=100).map(|i| {
            let channel = channel.clone();
            tokio::spawn(async move { channel.call(TRACES, "", &spans(seed + i, 1)).await.grpc_status })
        });
        for call in calls.collect::<Vec<_>>() {
            assert_eq!(call.await.unwrap(), Some(0));
        }
        let reply = channel.request("/v1/traces", &[PROTOBUF], spans(seed + 200, 1)).await;
        assert_eq!(reply.status, 200, "OTLP/HTTP over HTTP/2");
    }
    assert_eq!(running.stop().await.rows(Table::Spans), 2 * 102);
}

#[tokio::test]
async fn r03_r04_refused_items_are_counted_and_the_rest_is_kept() {
    let running = start().await;
    let addr = running.collector.http_addr();
    let reply = post(addr, "/v1/traces", &[PROTOBUF], spans_with_bad(1, 2, 3)).await;
    let partial = response_from_protobuf(&reply.body).unwrap().unwrap();
    assert_eq!((reply.status.as_u16(), partial.rejected), (200, 3));
    assert!(!partial.message.is_empty());
    let channel = Channel::open(running.collector.grpc_addr()).await;
    let reply = channel.call(TRACES, "", &spans_with_bad(2, 0, 4)).await;
    assert_eq!(reply.grpc_status, Some(0));
    assert_eq!(u32::from_be_bytes(reply.body[1..5].try_into().unwrap()) as usize, reply.body.len() - 5);
    assert_eq!(response_from_protobuf(&reply.body[5..]).unwrap().unwrap().rejected, 4);
    let reply = post(addr, "/v1/traces", &[JSON], json_span(0)).await;
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    assert!(text.starts_with(r#"{"partialSuccess":{"rejectedSpans":"1","errorMessage":""#), "{text}");
    let store = running.stop().await;
    assert_eq!(store.rows(Table::Spans), 2);
    assert_eq!(store.records().len(), 1, "what holds nothing to keep is not logged");
}

#[tokio::test]
async fn r04_a_warning_refuses_nothing() {
    let running = start().await;
    let addr = running.collector.http_addr();
    let said = async |path: &str, body: String| {
        let reply = post(addr, path, &[JSON], body).await;
        assert_eq!(reply.status, 200);
        String::from_utf8(reply.body.to_vec()).unwrap()
    };
    let large = json_span(1).replace("\"name\"", r#""attributes":[{"key":"n","value":{"intValue":1e300}}],"name""#);
    let text = said("/v1/traces", large).await;
    assert!(text.starts_with(r#"{"partialSuccess":{"rejectedSpans":"0","errorMessage":"1 numbers in"#), "{text}");
    let text = said("/v1/logs", json_span(2)).await;
    let start =
        r#"{"partialSuccess":{"rejectedLogRecords":"0","errorMessage":"the body has resourceSpans, but this is"#;
    assert!(text.starts_with(start), "{text}");
    let store = running.stop().await;
    assert_eq!((store.rows(Table::Spans), store.rows(Table::Logs), store.records().len()), (1, 0, 1));
}

#[tokio::test]
async fn r02_empty_requests_are_fine() {
    let running = start().await;
    assert_eq!(post(running.collector.http_addr(), "/v1/logs", &[PROTOBUF], "").await.status, 200);
    assert_eq!(post(running.collector.http_addr(), "/v1/logs", &[JSON], "{}").await.body, "{}");
    let channel = Channel::open(running.collector.grpc_addr()).await;
    assert_eq!(channel.call(METRICS, "", &[]).await.grpc_status, Some(0));
    assert!(running.stop().await.records().is_empty());
}

#[tokio::test]
async fn http_errors_have_a_status_in_the_encoding_of_the_request() {
    let running = start().await;
    let addr = running.collector.http_addr();
    let check =
        async |method: &str, path: &str, headers: &[(&str, &str)], body: &'static str, status: u16, code: i32| {
            let reply = send(addr, method, path, headers, body).await;
            assert_eq!(reply.status.as_u16(), status, "{method} {path} {headers:?}");
            if headers.contains(&PROTOBUF) {
                assert_eq!(reply.header("content-type"), "application/x-protobuf");
                assert_eq!(reply.body[..2], [8, code as u8], "r06: google.rpc.Status.code");
            } else {
                assert_eq!(reply.header("content-type"), "application/json");
                let text = String::from_utf8(reply.body.to_vec()).unwrap();
                assert!(text.starts_with(&format!("{{\"code\":{code},\"message\":\"")), "r06: {text}");
            }
            reply
        };
    check("POST", "/v1/traces", &[PROTOBUF], "\u{1}garbage", 400, 3).await;
    let reply = check("POST", "/v1/traces", &[JSON], "{\"resourceSpans\":[", 400, 3).await;
    let text = String::from_utf8_lossy(&reply.body);
    assert!(text.contains("google.rpc.BadRequest") && text.contains(r#""field":"resourceSpans[0]""#), "r07: {text}");
    check("POST", "/v1/traces", &[JSON], "", 400, 3).await;
    check("POST", "/v1/traces", &[PROTOBUF, ("content-encoding", "gzip")], "no gzip", 400, 3).await;
    check("POST", "/v1/traces", &[PROTOBUF, ("content-encoding", "br")], "", 415, 12).await;
    check("POST", "/v1/traces", &[JSON, ("content-encoding", "gzip, gzip")], "", 415, 12).await;
    check("POST", "/v1/traces", &[], "{}", 415, 3).await;
    check("POST", "/v1/traces", &[("content-type", "text/plain")], "{}", 415, 3).await;
    check("POST", "/v1/traces", &[("content-type", "application/grpc")], "{}", 415, 3).await;
    for method in ["GET", "PUT", "OPTIONS", "DELETE"] {
        assert_eq!(check(method, "/v1/logs", &[JSON], "", 405, 12).await.header("allow"), "POST");
    }
    check("POST", "/v1/unknown", &[PROTOBUF], "", 404, 12).await;
    check("POST", "/v1development/profiles", &[PROTOBUF], "", 404, 12).await;
    check("GET", "/", &[], "", 404, 12).await;
    assert!(running.stop().await.records().is_empty());
}

#[tokio::test]
async fn grpc_errors_are_trailers_only() {
    let running = start().await;
    let channel = Channel::open(running.collector.grpc_addr()).await;
    let grpc = ("content-type", "application/grpc");
    let check = async |path: &str, headers: &[(&str, &str)], body: Vec<u8>, code: u16| {
        let reply = channel.request(path, headers, body).await;
        assert_eq!((reply.status.as_u16(), reply.grpc_status), (200, Some(code)), "{path} {headers:?}");
        assert!(reply.body.is_empty());
        assert!(!reply.header("grpc-message").is_empty());
        reply
    };
    let profiles = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";
    check(profiles, &[grpc], framed(false, &[]), 12).await;
    check("/grpc.health.v1.Health/Check", &[grpc], framed(false, &[]), 12).await;
    check(TRACES, &[("content-type", "application/grpc+json")], framed(false, b"{}"), 12).await;
    let reply = check(TRACES, &[grpc, ("grpc-encoding", "snappy")], framed(true, &[]), 12).await;
    assert_eq!(reply.header("grpc-accept-encoding"), "identity,gzip,zstd");
    let reply = check(TRACES, &[grpc], framed(false, b"\x01garbage"), 3).await;
    assert!(!reply.header("grpc-status-details-bin").is_empty(), "r07");
    check(TRACES, &[grpc, ("grpc-encoding", "gzip")], framed(true, b"no gzip"), 3).await;
    check(TRACES, &[grpc], vec![], 13).await;
    check(TRACES, &[grpc], vec![0, 0, 0], 13).await;
    check(TRACES, &[grpc], vec![0, 0, 0, 0, 9, 1], 13).await;
    check(TRACES, &[grpc], vec![7, 0, 0, 0, 0], 13).await;
    check(TRACES, &[grpc], [framed(false, &[]), framed(false, &[])].concat(), 13).await;
    check(TRACES, &[grpc, ("grpc-timeout", "soon")], framed(false, &[]), 13).await;
    let reply = send(running.collector.grpc_addr(), "POST", TRACES, &[grpc], framed(false, &[])).await;
    assert_eq!(reply.status, 505, "gRPC needs HTTP/2");
    assert!(running.stop().await.records().is_empty());
}

#[tokio::test]
async fn r16_a_retried_request_is_acknowledged_and_not_stored_again() {
    let running = start().await;
    let addr = running.collector.http_addr();
    let body = spans_with_bad(1, 2, 1);
    let first = post(addr, "/v1/traces", &[PROTOBUF], body.clone()).await;
    let second = post(addr, "/v1/traces", &[PROTOBUF], body).await;
    assert_eq!((second.status, &second.body), (first.status, &first.body));
    assert_eq!(running.metric("requests_duplicate_total", "traces"), 1);
    // The same bytes can be an empty request of any signal, but not the same data.
    assert_eq!(running.stop().await.rows(Table::Spans), 2);
}

#[tokio::test]
async fn r16_equal_requests_in_flight_share_one_commit() {
    let running = start_with(super::config()).await;
    running.store.close_gate();
    let channel = Channel::open(running.collector.grpc_addr()).await;
    let call = |seed| {
        let channel = channel.clone();
        tokio::spawn(async move { channel.call(TRACES, "", &spans(seed, 2)).await.grpc_status })
    };
    let first = call(1);
    super::until("the first group", || running.store.groups() == 1).await;
    // One equal to what is being committed, and two equal ones in the next group.
    let calls = [first, call(1), call(2), call(2)];
    super::until("all in flight", || running.metric("in_flight_requests", "") == 4).await;
    running.store.open_gate();
    for call in calls {
        assert_eq!(call.await.unwrap(), Some(0));
    }
    assert_eq!(running.metric("requests_duplicate_total", ""), 2);
    assert_eq!(running.stop().await.rows(Table::Spans), 4);
}
