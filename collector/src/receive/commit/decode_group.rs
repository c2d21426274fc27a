//! Decodes the requests of a group into batches, mostly one a table.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::record_batch::RecordBatch;
use hopline_model::Table;
use hopline_storage::Record;

use super::Member;
use crate::decode::{DecodeError, Decoder};

/// Builders that grew beyond this are given back.
const KEPT_BYTES: usize = 32 << 20;

pub(crate) type Batches = Vec<(Table, RecordBatch)>;

/// A decoder that survives panics of what it decodes.
#[derive(Default)]
pub(crate) struct GroupDecoder {
    decoder: Decoder,
}

impl GroupDecoder {
    /// The rows of all members. A member that cannot be decoded is marked, and has none.
    pub(super) fn decode(&mut self, records: &[Record], members: &mut [Member]) -> Batches {
        let together = catch_unwind(AssertUnwindSafe(|| {
            let mut batches = Batches::new();
            for (record, member) in records.iter().zip(members.iter_mut()) {
                let pushed = push(&mut self.decoder, &mut batches, record, &member.plain);
                member.failed = pushed.is_err();
                if let Err(error) = pushed {
                    tracing::error!(%error, signal = record.signal.name(), "a checked request could not be decoded");
                }
            }
            batches.extend(self.decoder.finish());
            batches
        }));
        let batches = together.unwrap_or_else(|_| {
            let one = |(record, member): (&Record, &mut Member)| {
                let batches = decode_alone(record, &member.plain);
                member.failed = batches.is_none();
                batches.unwrap_or_default()
            };
            self.decoder = Decoder::new();
            records.iter().zip(members.iter_mut()).flat_map(one).collect()
        });
        if members.iter().map(|member| member.plain.len()).sum::<usize>() > KEPT_BYTES {
            self.decoder = Decoder::new();
        }
        batches
    }
}

/// Adds a request to `decoder`, whose batches so far go to `full` if it has no room.
pub(crate) fn push(
    decoder: &mut Decoder,
    full: &mut Batches,
    record: &Record,
    plain: &[u8],
) -> Result<(), DecodeError> {
    decoder.set_received_at(record.received_at);
    match decoder.push(record.signal, &record.tenant, plain) {
        Err(DecodeError::Full) => {
            full.extend(decoder.finish());
            decoder.push(record.signal, &record.tenant, plain)
        }
        other => other,
    }
}

/// The rows of one request, in a decoder of its own; none if it cannot be decoded.
pub(crate) fn decode_alone(record: &Record, plain: &[u8]) -> Option<Batches> {
    let signal = record.signal;
    let decode = || {
        let mut decoder = Decoder::new();
        decoder.set_received_at(record.received_at);
        decoder.push(signal, &record.tenant, plain).map(|()| decoder.finish())
    };
    match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(Ok(batches)) => Some(batches),
        Ok(Err(error)) => {
            tracing::error!(%error, signal = signal.name(), "a checked request could not be decoded");
            None
        }
        Err(_) => {
            tracing::error!(signal = signal.name(), bytes = plain.len(), "the decoder panicked");
            None
        }
    }
}
