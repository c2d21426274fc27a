//! What do the log and the writing of Parquet cost? Goals: appending and syncing a
//! megabyte in a few milliseconds; sorting and writing 450,000 spans a second.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hopline_benches::workload::Workload;
use hopline_collector::decode::Decoder;
use hopline_model::{Signal, Table};
use hopline_storage::{Config, Encoding, Format, Mode, Record, Storage, SystemClock};
use tempfile::TempDir;

/// A storage of its own, which works only when it is told to.
fn storage() -> (TempDir, Storage) {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { compact: false, hot_bytes_max: 4 << 30, flush_bytes: 2 << 30, ..Config::default() };
    let registry = prometheus::Registry::new();
    let (storage, replay) =
        Storage::open(dir.path(), config, Mode::ReadWrite, Arc::new(SystemClock), &registry).unwrap();
    drop(replay);
    (dir, storage)
}

fn record(body: Bytes, hash: u128) -> Record {
    Record {
        tenant: "default".into(),
        signal: Signal::Traces,
        encoding: Encoding::Zstd,
        format: Format::Protobuf,
        received_at: 1_760_000_000_000_000_000,
        hash,
        body,
    }
}

/// Requests of 512 spans as they come from an exporter that compresses them, in groups
/// as they gather while a sync runs.
fn log(c: &mut Criterion) {
    let mut workload = Workload::new(7);
    let bodies: Vec<Bytes> =
        (0..64).map(|_| zstd::bulk::compress(&workload.request(512).protobuf(), 1).unwrap().into()).collect();
    let mut group = c.benchmark_group("log");
    group.measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500)).sample_size(20);
    for requests in [1, 8, 32] {
        let records: Vec<Record> =
            bodies.iter().cycle().take(requests).enumerate().map(|(i, b)| record(b.clone(), i as u128)).collect();
        group.throughput(Throughput::Elements(requests as u64 * 512));
        let (_dir, storage) = storage();
        group.bench_with_input(BenchmarkId::new("append", requests), &records, |b, records| {
            b.iter(|| storage.append(records).unwrap());
        });
        group.bench_with_input(BenchmarkId::new("append_sync", requests), &records, |b, records| {
            b.iter(|| {
                storage.append(records).unwrap();
                storage.sync().unwrap();
            });
        });
    }
    group.finish();
}

/// Batches of `requests` requests of 512 spans each.
fn batches(requests: usize) -> Vec<(Table, RecordBatch)> {
    let mut workload = Workload::new(11);
    let mut decoder = Decoder::new();
    let mut all = Vec::new();
    for i in 0..requests {
        decoder.push(Signal::Traces, "default", &workload.request(512).protobuf()).unwrap();
        if i % 4 == 3 {
            all.extend(decoder.finish());
        }
    }
    all.extend(decoder.finish());
    all
}

/// From rows in memory to a committed Parquet file: gather, sort, encode, compress, write.
fn write(c: &mut Criterion) {
    let mut group = c.benchmark_group("write");
    group.measurement_time(Duration::from_secs(8)).sample_size(10);
    for requests in [20, 200] {
        let batches = batches(requests);
        group.throughput(Throughput::Elements(requests as u64 * 512));
        let (_dir, storage) = storage();
        group.bench_with_input(BenchmarkId::new("spans", requests * 512), &batches, |b, batches| {
            b.iter_batched(
                || batches.clone(),
                |batches| {
                    let position = storage.append(&[record(Bytes::from_static(b"x"), 0)]).unwrap();
                    storage.publish(batches, position);
                    storage.flush().unwrap();
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, log, write);
criterion_main!(benches);
