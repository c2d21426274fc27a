//! Decodes the requests of a group into one batch a table.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::record_batch::RecordBatch;
use hopline_model::{Signal, Table};
use hopline_storage::Record;

use super::Member;
use crate::decode::Decoder;

/// Builders that grew beyond this are given back.
const KEPT_BYTES: usize = 32 << 20;

/// A decoder that survives panics of what it decodes.
#[derive(Default)]
pub(crate) struct GroupDecoder {
    decoder: Decoder,
}

impl GroupDecoder {
    /// The rows of all members. A member that cannot be decoded is marked, and has none.
    pub(super) fn decode(&mut self, records: &[Record], members: &mut [Member]) -> Vec<(Table, RecordBatch)> {
        let plain: usize = members.iter().map(|member| member.plain.len()).sum();
        let together = catch_unwind(AssertUnwindSafe(|| {
            for (record, member) in records.iter().zip(members.iter_mut()) {
                let pushed = self.decoder.push(record.signal, &record.tenant, &member.plain);
                member.failed = pushed.is_err();
                if let Err(error) = pushed {
                    tracing::error!(%error, signal = record.signal.name(), "a checked request could not be decoded");
                }
            }
            self.decoder.finish()
        }));
        let batches = together.unwrap_or_else(|_| {
            let one = |(record, member): (&Record, &mut Member)| {
                let batches = decode_alone(record.signal, &record.tenant, &member.plain);
                member.failed = batches.is_none();
                batches.unwrap_or_default()
            };
            self.decoder = Decoder::new();
            records.iter().zip(members.iter_mut()).flat_map(one).collect()
        });
        if plain > KEPT_BYTES {
            self.decoder = Decoder::new();
        }
        batches
    }
}

/// The rows of one request, in a decoder of its own; none if it cannot be decoded.
pub(crate) fn decode_alone(signal: Signal, tenant: &str, plain: &[u8]) -> Option<Vec<(Table, RecordBatch)>> {
    let decode = || {
        let mut decoder = Decoder::new();
        decoder.push(signal, tenant, plain).map(|()| decoder.finish())
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
