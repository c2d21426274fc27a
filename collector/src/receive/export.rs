//! The way of one request: hash, decompress, read, check, hand to the committer, wait.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hopline_model::Signal;
use hopline_proto::json;
use hopline_proto::status::PartialSuccess;
use hopline_storage::{Encoding, Format, Record};
use tokio::sync::oneshot;
use twox_hash::XxHash3_128;

use super::admit::Permit;
use super::commit::{Ack, Closed, Job};
use super::door::Door;
use super::error::ExportError;
use super::inflate::{self, Coding};
use super::metrics;
use crate::decode::{self, Checked};

/// Bodies beyond this, or that become larger than `BLOCKING_PLAIN_BYTES`, keep a thread for
/// more than a millisecond, so they take one that may be kept.
const BLOCKING_BYTES: usize = 256 << 10;
const BLOCKING_PLAIN_BYTES: usize = 1 << 20;
/// Longest text of a partial success.
const MESSAGE_MAX: usize = 2048;

/// A request whose body was read.
pub(crate) struct Upload {
    pub(crate) signal: Signal,
    pub(crate) coding: Coding,
    pub(crate) format: Format,
    pub(crate) tenant: Arc<str>,
    pub(crate) body: Bytes,
    pub(crate) permit: Permit,
}

/// A request that was checked.
struct Prepared {
    record: Record,
    plain: Bytes,
    checked: Checked,
    is_duplicate: bool,
}

/// Stores what a request brings. Returns when that is durable and visible, with what the
/// client should know of it. Cancel safe: what was handed to the committer is stored anyway.
pub(crate) async fn export(door: &Arc<Door>, upload: Upload) -> Result<Option<PartialSuccess>, ExportError> {
    let Upload { signal, coding, format, tenant, body, mut permit } = upload;
    let limit = door.config.max_request_bytes;
    metrics::of(&door.metrics.request_bytes, signal).inc_by(body.len() as u64);
    let expected = inflate::expected_bytes(coding, &body, limit);
    permit.grow(expected).await?;
    let is_big = body.len() > BLOCKING_BYTES || expected > BLOCKING_PLAIN_BYTES;
    let request = Request { signal, coding, format, tenant, body };
    let prepared = if is_big {
        let door = Arc::clone(door);
        let work = tokio::task::spawn_blocking(move || prepare(&door, request));
        work.await.map_err(|_| ExportError::Internal)??
    } else {
        let work = std::panic::AssertUnwindSafe(|| prepare(door, request));
        std::panic::catch_unwind(work).map_err(|_| ExportError::Internal)??
    };
    let Prepared { record, plain, checked, is_duplicate } = prepared;
    if is_duplicate {
        metrics::of(&door.metrics.duplicates, signal).inc();
    } else if checked.items > checked.refused {
        let (answer, answered) = oneshot::channel();
        let ack = Ack { answer, handed_over: Instant::now(), permit };
        door.queue.push(Job { record, plain, ack }).map_err(|Closed| ExportError::Draining)?;
        // Without an answer the committer has panicked: what came of it is not known, so retry.
        answered.await.unwrap_or_else(|_| Err(ExportError::Storage("the log did not answer".to_owned())))?;
        metrics::of(&door.metrics.accepted, signal).inc_by(checked.items - checked.refused);
    }
    Ok(partial_success(door, signal, checked))
}

struct Request {
    signal: Signal,
    coding: Coding,
    format: Format,
    tenant: Arc<str>,
    body: Bytes,
}

fn prepare(door: &Door, request: Request) -> Result<Prepared, ExportError> {
    let Request { signal, coding, format, tenant, body } = request;
    let seed = (coding as u64) << 8 | format as u64;
    let hash = XxHash3_128::oneshot_with_seed(seed, &body);
    let inflated = inflate::inflate(coding, &body, door.config.max_request_bytes)?;
    metrics::of(&door.metrics.plain_bytes, signal).inc_by(inflated.len() as u64);
    let (encoding, body) = match coding {
        Coding::Identity => (Encoding::Identity, body),
        Coding::Gzip => (Encoding::Gzip, body),
        Coding::Zstd => (Encoding::Zstd, body),
        // The log does not know deflate.
        Coding::Deflate => (Encoding::Identity, inflated.clone()),
    };
    let (plain, checked) = read(signal, format, inflated)?;
    let received_at = door.store.now_ns();
    let record = Record { tenant, signal, encoding, format, received_at, hash, body };
    let is_duplicate = door.store.was_stored(&record);
    Ok(Prepared { record, plain, checked, is_duplicate })
}

/// The protobuf form of a decompressed body, and what is in it. Also the way of replay.
pub(crate) fn read(signal: Signal, format: Format, inflated: Bytes) -> Result<(Bytes, Checked), ExportError> {
    let (plain, unreadable) = match format {
        Format::Protobuf => (inflated, json::Refused::default()),
        Format::Json => {
            let mut plain = Vec::new();
            let refused = json::transcode(message_of(signal), &inflated, &mut plain);
            let refused = refused.map_err(|error| {
                let message = error.to_string();
                ExportError::Malformed { message, field: error.path }
            })?;
            (Bytes::from(plain), refused)
        }
    };
    let mut checked = decode::check(signal, &plain).map_err(|error| ExportError::malformed(error.to_string()))?;
    checked.items += unreadable.items;
    checked.refused += unreadable.items;
    checked.repaired += unreadable.changed;
    let said = [unreadable.message, checked.message, unreadable.warning];
    checked.message = said.into_iter().flatten().reduce(|all, more| format!("{all}; {more}"));
    Ok((plain, checked))
}

/// The message of `hopline_proto` that carries a signal.
pub(crate) fn message_of(signal: Signal) -> json::Message {
    match signal {
        Signal::Traces => json::Message::Traces,
        Signal::Logs => json::Message::Logs,
        Signal::Metrics => json::Message::Metrics,
    }
}

/// What the client should know: what was refused for good, what was repaired, or that the
/// request belongs elsewhere.
fn partial_success(door: &Door, signal: Signal, checked: Checked) -> Option<PartialSuccess> {
    metrics::of(&door.metrics.refused, signal).inc_by(checked.refused);
    metrics::of(&door.metrics.repaired, signal).inc_by(checked.repaired);
    if checked.refused == 0 && checked.repaired == 0 && checked.message.is_none() {
        return None;
    }
    let mut message = checked.message.unwrap_or_default();
    if message.is_empty() {
        message = match checked.refused {
            0 => format!("{} values were repaired", checked.repaired),
            refused => format!("{refused} items were refused"),
        };
    }
    if message.len() > MESSAGE_MAX {
        let end = (0..=MESSAGE_MAX).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
        message.truncate(end);
        message.push('…');
    }
    Some(PartialSuccess { rejected: checked.refused, message })
}
