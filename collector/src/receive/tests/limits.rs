//! Everything has a limit, and says so.

use std::time::Duration;

use hopline_model::Table;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::Config;
use super::super::admit::OVERHEAD;
use super::client::{Channel, PROTOBUF, TRACES, framed, gzip, post, send, spans, zstd};
use super::{config, start_with, until};

const LIMIT: usize = 4096;

fn small() -> Config {
    Config { max_request_bytes: LIMIT, ..config() }
}

#[tokio::test]
async fn r08_too_large_is_refused_for_good() {
    let running = start_with(small()).await;
    let addr = running.collector.http_addr();
    let channel = Channel::open(running.collector.grpc_addr()).await;
    let large = spans(1, 200);
    assert!(large.len() > LIMIT && gzip(&large).len() < LIMIT && zstd(&large).len() < LIMIT);
    let bodies =
        [("", large.clone()), ("gzip", gzip(&large)), ("zstd", zstd(&large)), ("gzip", gzip(&vec![0; 1 << 20]))];
    for (encoding, body) in bodies {
        let reply = post(addr, "/v1/traces", &[PROTOBUF, ("content-encoding", encoding)], body.clone()).await;
        assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (413, ""), "{encoding:?}");
        let reply = channel.call(TRACES, encoding, &body).await;
        assert_eq!((reply.grpc_status, reply.header("grpc-status-details-bin")), (Some(8), ""), "{encoding:?}");
    }
    assert_eq!(running.metric("requests_refused_total", "too_large"), 8);
    assert_eq!(post(addr, "/v1/traces", &[PROTOBUF], spans(1, 2)).await.status, 200);
    running.stop().await;
}

#[tokio::test]
async fn r08_a_chunked_body_is_measured_as_it_comes() {
    let running = start_with(small()).await;
    let mut stream = TcpStream::connect(running.collector.http_addr()).await.unwrap();
    let head =
        "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("400\r\n{}\r\n", " ".repeat(0x400));
    for _ in 0..5 {
        stream.write_all(chunk.as_bytes()).await.unwrap();
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    running.stop().await;
}

#[tokio::test]
async fn r08_content_length_over_the_limit_is_refused_at_once() {
    let running = start_with(small()).await;
    let mut stream = TcpStream::connect(running.collector.http_addr()).await.unwrap();
    let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 9000000000\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    running.stop().await;
}

#[tokio::test]
async fn expect_100_continue_is_answered_when_the_body_is_wanted() {
    let running = start_with(small()).await;
    let mut stream = TcpStream::connect(running.collector.http_addr()).await.unwrap();
    let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 2\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 25];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"{}").await.unwrap();
    let mut answer = [0; 15];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    running.stop().await;
}

#[tokio::test]
async fn a_refused_client_that_sends_all_first_still_reads_the_answer() {
    let running = start_with(small()).await;
    // Twice: the connection is drained, and not reset.
    for _ in 0..2 {
        let reply = post(running.collector.http_addr(), "/v1/nothing", &[PROTOBUF], vec![0; 7000]).await;
        assert_eq!(reply.status, 404);
    }
    running.stop().await;
}

#[tokio::test]
async fn r11_overload_is_refused_as_retryable_and_passes() {
    let max_pending_bytes = 2 * LIMIT + OVERHEAD;
    let running = start_with(Config { max_pending_bytes, admission_wait_ms: 20, ..small() }).await;
    running.store.close_gate();
    let addr = running.collector.http_addr();
    let channel = Channel::open(running.collector.grpc_addr()).await;
    let calls = (0..4).map(|seed| {
        let channel = channel.clone();
        tokio::spawn(async move { channel.call(TRACES, "", &spans(seed + 1, 60)).await })
    });
    let calls: Vec<_> = calls.collect();
    until("overload", || running.metric("requests_refused_total", "overloaded") > 0).await;
    let reply = post(addr, "/v1/traces", &[PROTOBUF], spans(9, 60)).await;
    assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (503, "1"));
    running.store.open_gate();
    let mut stored = 0;
    for call in calls {
        match call.await.unwrap().grpc_status {
            Some(0) => stored += 60,
            other => assert_eq!(other, Some(14)),
        }
    }
    assert!(stored > 0);
    assert_eq!(post(addr, "/v1/traces", &[PROTOBUF], spans(9, 60)).await.status, 200, "it has passed");
    assert_eq!(running.metric("pending_bytes", ""), 0);
    assert_eq!(running.stop().await.rows(Table::Spans), stored + 60);
}

#[tokio::test]
async fn a_call_ends_at_its_deadline_and_can_be_retried() {
    let running = start_with(config()).await;
    running.store.close_gate();
    let channel = Channel::open(running.collector.grpc_addr()).await;
    let headers = [("content-type", "application/grpc"), ("grpc-timeout", "50m")];
    let reply = channel.request(TRACES, &headers, framed(false, &spans(1, 2))).await;
    assert_eq!(reply.grpc_status, Some(4));
    running.store.open_gate();
    assert_eq!(channel.call(TRACES, "", &spans(1, 2)).await.grpc_status, Some(0));
    assert_eq!(running.stop().await.rows(Table::Spans), 2, "once");
}

#[tokio::test]
async fn a_body_that_does_not_come_ends_as_retryable() {
    let running = start_with(Config { request_timeout_ms: 50, ..config() }).await;
    let mut stream = TcpStream::connect(running.collector.http_addr()).await.unwrap();
    let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 503");
    running.stop().await;
}

#[tokio::test]
async fn t19_slow_and_idle_connections_are_closed() {
    let timeouts = Config { header_timeout_ms: 100, idle_timeout_ms: 200, ..config() };
    let running = start_with(timeouts).await;
    let addr = running.collector.http_addr();
    for begin in ["", "POST /v1/tr", "PRI * HT"] {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(begin.as_bytes()).await.unwrap();
        assert_closed(&mut stream, begin).await;
    }
    // One that has sent a request may be idle for longer.
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_closed(&mut stream, "idle").await;
    until("all closed", || running.metric("connections", "") == 0).await;
    running.stop().await;
}

async fn assert_closed(stream: &mut TcpStream, what: &str) {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
    assert!(read.is_ok(), "still open: {what:?}");
}

#[tokio::test]
async fn connections_over_the_limit_are_closed() {
    let running = start_with(Config { max_connections: 1, ..config() }).await;
    let channel = Channel::open(running.collector.grpc_addr()).await;
    assert_eq!(channel.call(TRACES, "", &spans(1, 1)).await.grpc_status, Some(0));
    let mut other = TcpStream::connect(running.collector.http_addr()).await.unwrap();
    assert_closed(&mut other, "too many").await;
    drop(channel);
    until("a free slot", || running.metric("connections", "") == 0).await;
    assert_eq!(send(running.collector.http_addr(), "GET", "/", &[], "").await.status, 404);
    assert_eq!(running.metric("connections_refused_total", ""), 1);
    running.stop().await;
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let refused = |config: Config| config.validate().unwrap_err().to_string();
    assert_eq!(Config::default().validate(), Ok(()));
    assert_eq!(
        refused(Config { max_pending_bytes: 1 << 20, ..Config::default() }),
        "collector.max_pending_bytes = 1048576: must be at least 134219776: a largest request and what it decompresses to"
    );
    let text = refused(Config { max_request_bytes: 1 << 31, max_pending_bytes: 1 << 33, ..Config::default() });
    assert_eq!(
        text,
        "collector.max_request_bytes = 2147483648: must be at most 201326592: the log takes no larger records"
    );
}
