#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod cases;
mod columns;
mod generate;
mod json;
mod properties;
mod rows;

use arrow::record_batch::RecordBatch;
use hopline_model::{Signal, Table, schema};

use super::{Checked, DecodeError, Decoder, check};

/// The batch of one request, whose check must say `items` and `refused`.
#[track_caller]
fn decode(signal: Signal, body: &[u8]) -> Option<RecordBatch> {
    let checked = check(signal, body).unwrap();
    let mut decoder = Decoder::new();
    decoder.push(signal, "default", body).unwrap();
    let table = signal.table();
    assert_eq!(decoder.rows(table) as u64, checked.items - checked.refused, "{checked:?}");
    finish(&mut decoder, table)
}

/// The batch of `table`, the only one that the decoder may have rows for.
#[track_caller]
fn finish(decoder: &mut Decoder, table: Table) -> Option<RecordBatch> {
    let rows = decoder.rows(table);
    let mut batches = decoder.finish();
    derives(&batches);
    assert!(Table::ALL.iter().all(|t| decoder.rows(*t) == 0));
    assert_eq!(batches.len(), usize::from(rows > 0));
    batches.pop().map(|(of, batch)| {
        assert_eq!((of, batch.num_rows()), (table, rows));
        assert_eq!(batch.schema(), schema::of(table));
        batch
    })
}

/// From whatever was decoded, rows of the derived tables can be derived.
fn derives(batches: &[(Table, RecordBatch)]) {
    let mut deriver = hopline_stitch::derive::Deriver::default();
    for (table, batch) in batches {
        let derived = deriver.of(*table, batch).unwrap();
        derived.hop_keys.iter().for_each(|rows| assert_eq!(rows.schema(), schema::of(Table::HopKeys)));
        derived.invocations.iter().for_each(|rows| assert_eq!(rows.schema(), schema::of(Table::Invocations)));
    }
}
