//! What happens when the log fails, the server stops, or the client goes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use hopline_model::Table;
use hopline_storage::{Encoding, Error, Format, Position, Record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::{Channel, JSON, LOGS, PROTOBUF, TRACES, gzip, json_span, logs, post, spans, spans_with_bad};
use super::{bind_with, config, no_records, start, until};

#[tokio::test]
async fn r11_r14_a_failing_log_is_answered_as_retryable_and_nothing_is_visible() {
    let running = start().await;
    let (store, addr) = (&running.store, running.collector.http_addr());
    let channel = Channel::open(running.collector.grpc_addr()).await;
    for fault in [&store.fail_append, &store.fail_sync] {
        fault.store(true, Ordering::SeqCst);
        let reply = post(addr, "/v1/traces", &[PROTOBUF], spans(1, 2)).await;
        assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (503, "1"));
        let reply = post(addr, "/v1/traces", &[JSON], json_span(1)).await;
        assert!(String::from_utf8_lossy(&reply.body).contains(r#""retryDelay":"1s""#), "{:?}", reply.body);
        let reply = channel.call(TRACES, "", &spans(1, 2)).await;
        assert_eq!(reply.grpc_status, Some(14));
        assert!(!reply.header("grpc-status-details-bin").is_empty(), "RetryInfo");
        // A body so large that the log is synced while it is decoded.
        assert_eq!(channel.call(TRACES, "", &spans(9, 3_000)).await.grpc_status, Some(14));
        assert!(running.collector.degraded().is_some());
        assert_eq!((store.rows(Table::Spans), store.records().len()), (0, 0));
        fault.store(false, Ordering::SeqCst);
    }
    // The retry is stored, not taken for a duplicate.
    assert_eq!(channel.call(TRACES, "", &spans(1, 2)).await.grpc_status, Some(0));
    assert_eq!(running.collector.degraded(), None);
    assert_eq!(channel.call(TRACES, "", &spans(9, 3_000)).await.grpc_status, Some(0));
    assert_eq!(running.stop().await.rows(Table::Spans), 3_002);
}

#[tokio::test]
async fn storage_that_takes_no_writes_refuses_before_the_body_is_read() {
    let running = start().await;
    running.store.refuses.store(true, Ordering::SeqCst);
    let mut stream = TcpStream::connect(running.collector.http_addr()).await.unwrap();
    let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 503");
    running.store.refuses.store(false, Ordering::SeqCst);
    assert_eq!(post(running.collector.http_addr(), "/v1/logs", &[PROTOBUF], logs(1)).await.status, 200);
    running.stop().await;
}

#[tokio::test]
async fn r17_a_client_that_goes_mid_body_leaves_nothing() {
    let running = start().await;
    let body = spans(1, 50);
    let mut stream = TcpStream::connect(running.collector.http_addr()).await.unwrap();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body[..body.len() / 2]).await.unwrap();
    until("the request is in", || running.metric("in_flight_requests", "") == 1).await;
    drop(stream);
    until("the request is gone", || running.metric("in_flight_requests", "") == 0).await;
    assert_eq!(running.metric("pending_bytes", ""), 0);
    assert!(running.stop().await.records().is_empty());
}

#[tokio::test]
async fn a_client_that_goes_after_the_hand_over_does_not_cancel_the_commit() {
    let running = start().await;
    running.store.close_gate();
    let channel = Channel::open(running.collector.grpc_addr()).await;
    let call = tokio::spawn(async move { channel.call(TRACES, "", &spans(1, 2)).await.grpc_status });
    until("the group is appended", || running.store.groups() == 1).await;
    call.abort();
    let _ = call.await;
    until("the request is gone", || running.metric("in_flight_requests", "") == 0).await;
    running.store.open_gate();
    assert_eq!(running.stop().await.rows(Table::Spans), 2);
}

#[tokio::test]
async fn t20_stopping_finishes_what_is_in_flight_and_refuses_the_rest() {
    let running = start().await;
    running.store.close_gate();
    let channel = Channel::open(running.collector.grpc_addr()).await;
    let other = Channel::open(running.collector.grpc_addr()).await;
    let call = tokio::spawn(async move { channel.call(TRACES, "", &spans(1, 2)).await.grpc_status });
    until("the group is appended", || running.store.groups() == 1).await;
    let super::Running { collector, store, .. } = running;
    let collector = std::sync::Arc::new(collector);
    let stopping = {
        let collector = std::sync::Arc::clone(&collector);
        tokio::spawn(async move { collector.stop(Duration::from_secs(10)).await })
    };
    until("draining", || !collector.ready()).await;
    assert_eq!(other.call(TRACES, "", &spans(2, 2)).await.grpc_status, Some(14));
    let reply = post(collector.http_addr(), "/v1/traces", &[PROTOBUF], spans(3, 2)).await;
    assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (503, "1"));
    store.open_gate();
    assert_eq!(call.await.unwrap(), Some(0));
    stopping.await.unwrap();
    assert!(TcpStream::connect(collector.http_addr()).await.is_err(), "the listener is closed");
    assert_eq!(store.rows(Table::Spans), 2);
}

#[tokio::test]
async fn before_the_replay_exports_are_told_to_retry() {
    let running = bind_with(config()).await;
    assert!(!running.collector.ready());
    let addr = running.collector.http_addr();
    assert_eq!(post(addr, "/v1/traces", &[PROTOBUF], spans(1, 1)).await.status, 503);
    running.collector.replay_records(no_records()).await.unwrap();
    assert!(running.collector.ready());
    assert_eq!(post(addr, "/v1/traces", &[PROTOBUF], spans(1, 1)).await.status, 200);
    running.stop().await;
}

#[tokio::test]
async fn a_taken_port_is_a_clear_error() {
    let running = start().await;
    let taken = super::Config { http_addr: running.collector.grpc_addr(), ..config() };
    let store = std::sync::Arc::new(super::FakeStore::default());
    let error = super::Collector::bind_store(taken, store, &prometheus::Registry::new()).await.err().unwrap();
    let text = super::super::commit::chain(&error);
    assert!(
        text.starts_with(&format!("listen on {} (collector.http_addr): ", running.collector.grpc_addr())),
        "{text}"
    );
    running.stop().await;
}

#[tokio::test]
async fn replay_gives_the_rows_that_were_visible() {
    let running = start().await;
    let addr = running.collector.http_addr();
    let channel = Channel::open(running.collector.grpc_addr()).await;
    for seed in 1..20 {
        assert_eq!(channel.call(TRACES, "gzip", &gzip(&spans_with_bad(seed, 3, 1))).await.grpc_status, Some(0));
        assert_eq!(channel.call(LOGS, "", &logs(seed)).await.grpc_status, Some(0));
        assert_eq!(post(addr, "/v1/traces", &[JSON], json_span(seed + 100)).await.status, 200);
    }
    let first = running.stop().await;
    let mut records: Vec<Result<(Position, Record), Error>> = Vec::new();
    for (i, record) in first.records().into_iter().enumerate() {
        records.push(Ok((Position(i as u64 + 1), record)));
    }
    // A record that no decoder can read is skipped, and takes no other with it.
    let broken = Record { encoding: Encoding::Gzip, format: Format::Json, ..first.records()[0].clone() };
    records.insert(7, Ok((Position(7), broken)));
    let again = bind_with(config()).await;
    again.collector.replay_records(records.into_iter()).await.unwrap();
    assert_eq!(again.metric("replay_skipped_records_total", ""), 1);
    let second = again.stop().await;
    assert!(second.flushes.load(Ordering::SeqCst) > 0, "a full hot tier is written out on the way");
    for table in Table::ALL {
        let rows = |store: &super::FakeStore| {
            let batches = store.batches().into_iter().filter(|(t, _)| *t == table).map(|(_, batch)| batch);
            let batches: Vec<_> = batches.collect();
            arrow::compute::concat_batches(&hopline_model::schema::of(table), &batches).unwrap()
        };
        assert_eq!(rows(&second), rows(&first), "{table}");
    }
    assert_eq!(first.rows(Table::Spans), 19 * 4);
}

#[tokio::test]
async fn tails_see_what_becomes_visible() {
    let running = start().await;
    let mut tail = running.collector.tail();
    assert_eq!(post(running.collector.http_addr(), "/v1/traces", &[PROTOBUF], spans(1, 2)).await.status, 200);
    let (table, batch) = tail.recv().await.unwrap();
    assert_eq!((table, batch.num_rows()), (Table::Spans, 2));
    running.stop().await;
}
