//! The committer: makes the requests of many connections durable and visible in groups.
//!
//! Requests that arrive while a group is being synced make up the next one. A group is
//! appended to the log in one write, decoded while the disk syncs it, published to the hot
//! tier, and only then acknowledged. So whatever was acknowledged is durable and visible.
//!
//! - One thread, so the hot tier sees the log's order.
//! - Equal requests in one group, or of one stored lately, are stored once and all answered.
//! - When the log fails, every request of the group is answered as retryable and nothing
//!   of it is visible.

mod decode_group;
mod queue;
mod syncer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ahash::AHashMap;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use hopline_model::{Signal, Table};
use hopline_storage::Record;
use hopline_storage::recent::Key;
use parking_lot::Mutex;
use tokio::sync::{broadcast, oneshot};

use super::admit::Permit;
use super::error::ExportError;
use super::metrics::{self, Metrics};
use super::store::{Store, StoreError};

pub(crate) use decode_group::{Batches, GroupDecoder, decode_alone, push};
pub(crate) use queue::{Closed, Queue};
use syncer::Syncer;

/// Rows as they became visible, for live tails.
pub type TailItem = (Table, Arc<RecordBatch>);

/// Groups whose decoding takes less than waking another thread are synced in this one.
const SYNC_INLINE_BYTES: usize = 64 << 10;
const ERROR_LOG_PAUSE: Duration = Duration::from_secs(10);

/// A checked request, ready for the log.
pub(crate) struct Job {
    pub(crate) record: Record,
    /// The protobuf bytes that are decoded into rows.
    pub(crate) plain: Bytes,
    pub(crate) ack: Ack,
}

/// Where the answer of a request goes.
pub(crate) struct Ack {
    pub(crate) answer: oneshot::Sender<Result<(), ExportError>>,
    pub(crate) handed_over: Instant,
    /// Held until the request is answered: its bytes are in memory until then.
    pub(crate) permit: Permit,
}

/// What `/readyz` asks of the committer.
#[derive(Debug, Default)]
pub(crate) struct Health {
    is_degraded: AtomicBool,
    reason: Mutex<String>,
}

impl Health {
    /// Why the last group could not be committed, if it could not.
    pub(crate) fn degraded(&self) -> Option<String> {
        self.is_degraded.load(Ordering::Acquire).then(|| self.reason.lock().clone())
    }

    fn set(&self, reason: Option<String>) {
        let is_degraded = reason.is_some();
        if let Some(reason) = reason {
            *self.reason.lock() = reason;
        }
        if self.is_degraded.swap(is_degraded, Ordering::AcqRel) && !is_degraded {
            tracing::info!("the log takes writes again");
        }
    }
}

/// The parts that the committer works with.
pub(crate) struct Committer {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) health: Arc<Health>,
    pub(crate) tail: broadcast::Sender<TailItem>,
    pub(crate) max_group_bytes: usize,
}

/// One request of a group, with all that wait for it.
struct Member {
    signal: Signal,
    plain: Bytes,
    ack: Ack,
    /// Requests with the same bytes.
    twins: Vec<Ack>,
    /// Its rows could not be made, though it was checked before.
    failed: bool,
}

impl Committer {
    /// Starts the thread. It ends when the queue is closed and empty.
    pub(crate) fn start(self) -> std::io::Result<JoinHandle<()>> {
        let syncer = Syncer::start(Arc::clone(&self.store))?;
        let work = Work { parts: self, syncer, decoder: GroupDecoder::default(), last_error_log: None };
        std::thread::Builder::new().name("hopline-commit".to_owned()).spawn(move || work.run())
    }
}

struct Work {
    parts: Committer,
    syncer: Syncer,
    decoder: GroupDecoder,
    last_error_log: Option<Instant>,
}

impl Work {
    fn run(mut self) {
        while let Some(jobs) = self.parts.queue.take(self.parts.max_group_bytes) {
            // A panic drops the group's acknowledgements, so its clients are told to retry.
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.commit(jobs)));
            if outcome.is_err() {
                self.decoder = GroupDecoder::default();
                self.note_error("panic", &"the committer panicked".into());
            }
        }
    }

    fn commit(&mut self, jobs: Vec<Job>) {
        let (records, mut members) = self.without_duplicates(jobs);
        if members.is_empty() {
            return;
        }
        self.parts.metrics.group_requests.observe(members.len() as f64);
        let position = match self.parts.store.append(&records) {
            Ok(position) => position,
            Err(error) => return self.fail("append", &error, members),
        };
        let plain_bytes: usize = members.iter().map(|member| member.plain.len()).sum();
        let sync_aside = plain_bytes > SYNC_INLINE_BYTES && self.syncer.begin();
        let batches = self.decoder.decode(&records, &mut members);
        let synced = if sync_aside { self.syncer.wait() } else { self.parts.store.sync() };
        if let Err(error) = synced {
            return self.fail("sync", &error, members);
        }
        // Before the rows are published: a flush right after that takes their part of the log away, and a
        // retry that comes after a crash must still be known.
        let stored = records.iter().zip(&members).filter(|(_, member)| !member.failed);
        stored.for_each(|(record, _)| self.parts.store.remember(record));
        self.show(&batches);
        self.parts.store.publish(batches, position);
        self.parts.health.set(None);
        for member in members {
            let answer = if member.failed { Err(ExportError::Internal) } else { Ok(()) };
            metrics::of(&self.parts.metrics.duplicates, member.signal).inc_by(member.twins.len() as u64);
            self.answer(member.ack, answer.clone());
            member.twins.into_iter().for_each(|twin| self.answer(twin, answer.clone()));
        }
        // Nobody waits for what follows from the rows, or else did it meanwhile.
        self.parts.store.derive_many();
    }

    /// Answers what was stored already, and joins equal requests into one member.
    fn without_duplicates(&self, jobs: Vec<Job>) -> (Vec<Record>, Vec<Member>) {
        let mut records: Vec<Record> = Vec::with_capacity(jobs.len());
        let mut members: Vec<Member> = Vec::with_capacity(jobs.len());
        let mut seen = AHashMap::with_capacity(jobs.len());
        for Job { record, plain, ack } in jobs {
            // The request was looked up when it came, but its twin may have been stored since.
            if self.parts.store.was_stored(&record) {
                metrics::of(&self.parts.metrics.duplicates, record.signal).inc();
                self.answer(ack, Ok(()));
                continue;
            }
            let slot = *seen.entry(Key::of(&record)).or_insert(members.len());
            match members.get_mut(slot) {
                Some(member) => member.twins.push(ack),
                None => {
                    members.push(Member { signal: record.signal, plain, ack, twins: Vec::new(), failed: false });
                    records.push(record);
                }
            }
        }
        (records, members)
    }

    fn show(&self, batches: &[(Table, RecordBatch)]) {
        for (table, batch) in batches {
            if let Some(stored) = self.parts.metrics.stored.get(table.index()) {
                stored.inc_by(batch.num_rows() as u64);
            }
            if table.is_signal() && self.parts.tail.receiver_count() > 0 {
                // Fails when the last receiver has just gone: nobody misses it.
                let _ = self.parts.tail.send((*table, Arc::new(batch.clone())));
            }
        }
    }

    fn answer(&self, ack: Ack, answer: Result<(), ExportError>) {
        let Ack { answer: client, handed_over, permit } = ack;
        self.parts.metrics.ack_seconds.observe(handed_over.elapsed().as_secs_f64());
        // First, so that who was answered finds its room free.
        drop(permit);
        // Fails when the client has gone: the request is stored all the same.
        let _ = client.send(answer);
    }

    fn fail(&mut self, step: &'static str, error: &StoreError, members: Vec<Member>) {
        self.note_error(step, error);
        let refused = || Err(ExportError::Storage("the log cannot be written".to_owned()));
        for member in members {
            self.answer(member.ack, refused());
            member.twins.into_iter().for_each(|twin| self.answer(twin, refused()));
        }
    }

    fn note_error(&mut self, step: &'static str, error: &StoreError) {
        self.parts.metrics.commit_errors.with_label_values(&[step]).inc();
        let chain = chain(error.as_ref());
        if self.last_error_log.is_none_or(|last| last.elapsed() > ERROR_LOG_PAUSE) {
            self.last_error_log = Some(Instant::now());
            tracing::error!(step, error = chain, "a group was not committed; its clients were told to retry");
        }
        self.parts.health.set(Some(format!("{step}: {chain}")));
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
