//! Brings back at start what the log holds and no file does yet.
//!
//! The records take the way they took when they came: decompression, the JSON reader, the
//! check, the decoder; so the same items are stored and the same are refused. Each core
//! decodes a run of records at a time; the runs are published in the order of the log.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use hopline_storage::{Encoding, Position, Record};

use super::commit::{Batches, decode_alone, push};
use super::config::REQUEST_BYTES_MAX;
use super::export;
use super::inflate::{self, Coding};
use super::metrics::Metrics;
use super::store::{Store, StoreError};
use crate::decode::Decoder;

/// Decompressed bytes of a run.
const RUN_BYTES: usize = 8 << 20;

/// What a replay did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Replayed {
    pub(crate) records: u64,
    pub(crate) skipped: u64,
}

/// Publishes the rows of `records`, which are in the order of the log.
pub(crate) fn replay<E: Into<StoreError>>(
    store: &dyn Store,
    metrics: &Metrics,
    records: impl Iterator<Item = Result<(Position, Record), E>>,
) -> Result<Replayed, StoreError> {
    let begun = Instant::now();
    let mut done = Replayed::default();
    let mut records = records;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    loop {
        let runs = take_runs(&mut records, cores)?;
        if runs.is_empty() {
            break;
        }
        for (run, batches, skipped) in decode_runs(&runs) {
            done.records += run.len() as u64;
            done.skipped += skipped;
            let Some((position, _)) = run.last() else { continue };
            for (table, batch) in &batches {
                if let Some(stored) = metrics.stored.get(table.index()) {
                    stored.inc_by(batch.num_rows() as u64);
                }
            }
            store.publish(batches, *position);
            store.derive_many();
        }
        if store.is_full() {
            store.flush()?;
        }
    }
    metrics.replayed_requests.inc_by(done.records);
    metrics.replay_skipped.inc_by(done.skipped);
    if done.records > 0 {
        let seconds = begun.elapsed().as_secs_f64();
        tracing::info!(requests = done.records, skipped = done.skipped, seconds, "replayed the log");
    }
    Ok(done)
}

type Run = Vec<(Position, Record)>;

/// At most `count` runs of records; none at the end of the log.
fn take_runs<E: Into<StoreError>>(
    records: &mut impl Iterator<Item = Result<(Position, Record), E>>,
    count: usize,
) -> Result<Vec<Run>, StoreError> {
    let mut runs = Vec::with_capacity(count);
    while runs.len() < count {
        let mut run = Run::new();
        let mut bytes = 0;
        while bytes < RUN_BYTES {
            let Some(record) = records.next() else { break };
            let (position, record) = record.map_err(Into::into)?;
            let coding = coding_of(record.encoding);
            bytes += record.body.len() + inflate::expected_bytes(coding, &record.body, REQUEST_BYTES_MAX);
            run.push((position, record));
        }
        if run.is_empty() {
            break;
        }
        runs.push(run);
    }
    Ok(runs)
}

type Decoded<'a> = (&'a Run, Batches, u64);

fn decode_runs(runs: &[Run]) -> Vec<Decoded<'_>> {
    std::thread::scope(|scope| {
        let spawned: Vec<_> = runs.iter().map(|run| (run, scope.spawn(|| decode_run(run)))).collect();
        let joined = spawned.into_iter().map(|(run, thread)| {
            // The decoder panicked: one request at a time, to lose no other.
            let (batches, skipped) = thread.join().unwrap_or_else(|_| decode_one_by_one(run));
            (run, batches, skipped)
        });
        joined.collect()
    })
}

fn decode_run(run: &Run) -> (Batches, u64) {
    let mut decoder = Decoder::new();
    let mut batches = Batches::new();
    let mut skipped = 0;
    for (position, record) in run {
        let decoded = plain_of(record).and_then(|plain| {
            let pushed = push(&mut decoder, &mut batches, record, &plain);
            pushed.map_err(|error| error.to_string())
        });
        if let Err(error) = decoded {
            skipped += 1;
            tracing::error!(position = position.0, error, "a record of the log cannot be decoded and is skipped");
        }
    }
    batches.extend(decoder.finish());
    (batches, skipped)
}

fn decode_one_by_one(run: &Run) -> (Batches, u64) {
    let mut all = Batches::new();
    let mut skipped = 0;
    for (position, record) in run {
        let plain = catch_unwind(AssertUnwindSafe(|| plain_of(record).ok())).ok().flatten();
        match plain.and_then(|plain| decode_alone(record, &plain)) {
            Some(batches) => all.extend(batches),
            None => {
                skipped += 1;
                tracing::error!(position = position.0, "a record of the log cannot be decoded and is skipped");
            }
        }
    }
    (all, skipped)
}

fn plain_of(record: &Record) -> Result<bytes::Bytes, String> {
    let inflated = inflate::inflate(coding_of(record.encoding), &record.body, REQUEST_BYTES_MAX);
    let read = inflated.and_then(|inflated| export::read(record.signal, record.format, inflated));
    read.map(|(plain, _)| plain).map_err(|error| error.to_string())
}

fn coding_of(encoding: Encoding) -> Coding {
    match encoding {
        Encoding::Identity => Coding::Identity,
        Encoding::Gzip => Coding::Gzip,
        Encoding::Zstd => Coding::Zstd,
    }
}
