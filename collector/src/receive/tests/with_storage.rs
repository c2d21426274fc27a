//! The receivers on the real storage.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hopline_model::Table;
use hopline_storage::{Mode, Storage, SystemClock};
use prometheus::Registry;

use super::super::Collector;
use super::client::{Channel, JSON, TRACES, gzip, json_span, post, spans};
use super::config;

async fn open(dir: &Path) -> (Collector, Storage) {
    let registry = Registry::new();
    let clock = Arc::new(SystemClock);
    let opened = Storage::open(dir, hopline_storage::Config::default(), Mode::ReadWrite, clock, &registry);
    let (storage, replay) = opened.unwrap();
    let collector = Collector::start(config(), storage.clone(), replay, &registry).await.unwrap();
    (collector, storage)
}

fn rows(storage: &Storage) -> u64 {
    let snapshot = storage.snapshot();
    let hot: usize = snapshot.hot(Table::Spans).iter().map(|batch| batch.num_rows()).sum();
    hot as u64 + snapshot.files(Table::Spans).iter().map(|file| file.rows).sum::<u64>()
}

#[tokio::test(flavor = "multi_thread")]
async fn r16_r18_what_was_acknowledged_is_there_at_once_and_after_a_restart_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let (collector, storage) = open(dir.path()).await;
    let channel = Channel::open(collector.grpc_addr()).await;
    for seed in 1..=10 {
        assert_eq!(channel.call(TRACES, "gzip", &gzip(&spans(seed, 3))).await.grpc_status, Some(0));
        assert_eq!(rows(&storage), seed * 3, "visible at once");
    }
    assert_eq!(post(collector.http_addr(), "/v1/traces", &[JSON], json_span(99)).await.status, 200);
    collector.stop(Duration::from_secs(5)).await;
    // As after `kill -9`: nothing is flushed or closed, only the lock is given back.
    drop((collector, storage));

    let (collector, storage) = open(dir.path()).await;
    assert_eq!(rows(&storage), 31);
    let channel = Channel::open(collector.grpc_addr()).await;
    assert_eq!(channel.call(TRACES, "gzip", &gzip(&spans(1, 3))).await.grpc_status, Some(0));
    assert_eq!(rows(&storage), 31, "a retry across the restart is not stored again");
    collector.stop(Duration::from_secs(5)).await;
    storage.close().unwrap();
}
