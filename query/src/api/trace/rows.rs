//! The rows of a waterfall: a trace in pre-order, in Arrow.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, DictionaryArray, FixedSizeBinaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
    UInt16Array, UInt32Array,
};
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use hopline_model::{SpanId, TraceId};

use super::Partial;
use crate::api::stream::Send;
use crate::api::tree::{self, Node, Place, Placed};
use crate::error::Error;
use crate::otlp::columns::{Bytes, Text, boolean, int64, time};

/// What is selected for a waterfall.
pub(super) const COLUMNS: [&str; 12] = [
    "span_id",
    "parent_span_id",
    "start_time",
    "duration",
    "service",
    "function",
    "name",
    "kind",
    "status_code",
    "faas_coldstart",
    HAS[0],
    HAS[1],
];

/// Those of them that the table does not have.
pub(in crate::api) const HAS: [&str; 2] =
    ["coalesce(array_length(links), 0) > 0 AS has_links", "coalesce(array_length(events), 0) > 0 AS has_events"];

/// Rows of the first batch: enough for a screen.
const FIRST_ROWS: usize = 256;
/// Rows of each further batch.
const BATCH_ROWS: usize = 32_768;

pub(in crate::api) const ERROR: u16 = 1;
const MISSING_PARENT: u16 = 2;
pub(in crate::api) const COLD_START: u16 = 4;
pub(in crate::api) const HAS_LINKS: u16 = 8;
pub(in crate::api) const HAS_EVENTS: u16 = 16;
const CIRCLE: u16 = 32;

/// A column of texts, as keys into the different ones.
#[derive(Default)]
pub(in crate::api) struct Words {
    words: Vec<String>,
    numbers: HashMap<String, i32>,
    keys: Vec<Option<i32>>,
}

impl Words {
    /// Adds the text of the next row.
    pub(in crate::api) fn push(&mut self, text: Option<&str>) {
        let key = text.map(|text| self.number(text));
        self.keys.push(key);
    }

    fn number(&mut self, text: &str) -> i32 {
        match self.numbers.get(text) {
            Some(number) => *number,
            None => {
                let number = i32::try_from(self.words.len()).unwrap_or(i32::MAX);
                self.words.push(text.to_owned());
                self.numbers.insert(text.to_owned(), number);
                number
            }
        }
    }

    /// The column in the order of `rows`.
    pub(in crate::api) fn array(&self, rows: &[Placed]) -> Result<ArrayRef, Error> {
        let keys: Int32Array = rows.iter().map(|p| self.keys.get(p.node).copied().flatten()).collect();
        let words: ArrayRef = Arc::new(self.words.iter().map(|w| Some(w.as_str())).collect::<StringArray>());
        Ok(Arc::new(DictionaryArray::try_new(keys, words).map_err(internal)?))
    }
}

const WORDS: [(&str, &str); 5] =
    [("service", "service"), ("function", "function"), ("name", "name"), ("kind", "kind"), ("status", "status_code")];

/// The spans of a trace, each once, as they were selected.
#[derive(Default)]
pub(super) struct Waterfall {
    nodes: Vec<Node>,
    flags: Vec<u16>,
    /// In the order of [`WORDS`].
    words: [Words; WORDS.len()],
}

impl Waterfall {
    pub(super) fn of(batches: &[RecordBatch]) -> Result<Self, Error> {
        let mut this = Self::default();
        let mut seen = HashSet::new();
        for batch in batches {
            this.add(batch, &mut seen)?;
        }
        Ok(this)
    }

    fn add(&mut self, batch: &RecordBatch, seen: &mut HashSet<Identity>) -> Result<(), Error> {
        let (ids, parents) = (Bytes::of(batch, "span_id")?, Bytes::of(batch, "parent_span_id")?);
        let (starts, durations) = (time(batch, "start_time")?, int64(batch, "duration")?);
        let bits = [
            (boolean(batch, "faas_coldstart")?, COLD_START),
            (boolean(batch, "has_links")?, HAS_LINKS),
            (boolean(batch, "has_events")?, HAS_EVENTS),
        ];
        let texts = WORDS.iter().map(|(_, column)| Text::of(batch, column)).collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let id = ids.get(row).and_then(SpanId::from_slice).unwrap_or_default();
            let parent = parents.get(row).and_then(SpanId::from_slice);
            let node = Node { id, parent, start: starts.value(row), duration: durations.value(row) };
            let mut keys = [None; WORDS.len()];
            for ((key, words), text) in keys.iter_mut().zip(&mut self.words).zip(&texts) {
                *key = text.get(row).map(|text| words.number(text));
            }
            let set = bits.iter().filter(|(column, _)| column.is_valid(row) && column.value(row));
            let mut flags = set.fold(0, |flags, (_, bit)| flags | bit);
            if !seen.insert((id, parent, node.start, node.duration, flags, keys)) {
                continue;
            }
            if texts.last().and_then(|status| status.get(row)) == Some("ERROR") {
                flags |= ERROR;
            }
            self.nodes.push(node);
            self.flags.push(flags);
            self.words.iter_mut().zip(keys).for_each(|(words, key)| words.keys.push(key));
        }
        Ok(())
    }

    /// What is missing from the trace.
    pub(super) fn partial(&self) -> Partial {
        let ids: HashSet<SpanId> = self.nodes.iter().map(|node| node.id).collect();
        let missing = |node: &&Node| node.parent.is_some_and(|parent| !ids.contains(&parent));
        Partial {
            missing_parents: self.nodes.iter().filter(missing).count(),
            roots: self.nodes.iter().filter(|node| node.parent.is_none()).count(),
        }
    }

    /// Writes the rows as an Arrow IPC stream, at most `limit` of them: the upper levels.
    pub(super) fn write(&self, trace_id: TraceId, limit: usize, send: Send<'_>) -> Result<(), Error> {
        let Partial { missing_parents, roots } = self.partial();
        let rows = upper_levels(tree::place(&self.nodes), limit);
        let start = self.nodes.iter().map(|n| n.start).min().unwrap_or_default();
        let end = self.nodes.iter().map(|n| n.start.saturating_add(n.duration)).max().unwrap_or_default();
        let complete = missing_parents == 0 && roots > 0 && rows.len() == self.nodes.len();
        let metadata = [
            ("trace_id", trace_id.to_string()),
            ("start_time_unix_nano", (start as u64).to_string()),
            ("duration_ns", end.saturating_sub(start).to_string()),
            ("spans", self.nodes.len().to_string()),
            ("rows", rows.len().to_string()),
            ("complete", complete.to_string()),
            ("missing_parents", missing_parents.to_string()),
            ("roots", roots.to_string()),
        ];
        let metadata = metadata.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let batch = self.batch(&rows, start, metadata)?;
        write_batches(&batch, send)
    }

    fn batch(&self, rows: &[Placed], start: i64, metadata: HashMap<String, String>) -> Result<RecordBatch, Error> {
        let nodes = || rows.iter().map(|p| self.nodes.get(p.node));
        let starts: Int64Array = nodes().map(|n| n.map(|n| n.start.saturating_sub(start))).collect();
        let durations: Int64Array = nodes().map(|n| n.map(|n| n.duration)).collect();
        let ids = nodes().map(|n| n.map(|n| n.id.0).unwrap_or_default());
        let ids = FixedSizeBinaryArray::try_from_iter(ids).map_err(internal)?;
        let flags: UInt16Array =
            rows.iter().map(|p| self.flags.get(p.node).map(|flags| flags | place_flag(p.place))).collect();
        let mut columns: Vec<(&str, ArrayRef)> = vec![
            ("parent_row", Arc::new(rows.iter().map(|p| Some(p.parent_row)).collect::<Int32Array>())),
            ("depth", Arc::new(rows.iter().map(|p| Some(p.depth)).collect::<UInt32Array>())),
            ("start", Arc::new(starts)),
            ("duration", Arc::new(durations)),
            ("self_time", Arc::new(rows.iter().map(|p| Some(p.self_time)).collect::<Int64Array>())),
        ];
        for ((name, _), words) in WORDS.iter().zip(&self.words) {
            columns.push((name, words.array(rows)?));
        }
        columns.push(("span_id", Arc::new(ids)));
        columns.push(("flags", Arc::new(flags)));
        columns.push(("children", Arc::new(rows.iter().map(|p| Some(p.children)).collect::<UInt32Array>())));
        columns.push(("descendants", Arc::new(rows.iter().map(|p| Some(p.descendants)).collect::<UInt32Array>())));
        let fields: Vec<Field> =
            columns.iter().map(|(name, a)| Field::new(*name, a.data_type().clone(), *name == "function")).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
        RecordBatch::try_new(schema, columns.into_iter().map(|(_, a)| a).collect()).map_err(internal)
    }
}

/// Writes rows as an Arrow IPC stream whose first batch is small.
pub(in crate::api) fn write_batches(batch: &RecordBatch, send: Send<'_>) -> Result<(), Error> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).map_err(internal)?;
    let mut from = 0;
    while from < batch.num_rows() {
        let rows = if from == 0 { FIRST_ROWS } else { BATCH_ROWS }.min(batch.num_rows() - from);
        writer.write(&batch.slice(from, rows)).map_err(internal)?;
        from += rows;
        if !send(std::mem::take(writer.get_mut())) {
            return Ok(());
        }
    }
    writer.finish().map_err(internal)?;
    send(std::mem::take(writer.get_mut()));
    Ok(())
}

/// What makes two rows one span that was stored twice.
type Identity = (SpanId, Option<SpanId>, i64, i64, u16, [Option<i32>; WORDS.len()]);

pub(in crate::api) fn place_flag(place: Place) -> u16 {
    match place {
        Place::MissingParent => MISSING_PARENT,
        Place::Circle => CIRCLE,
        Place::Root | Place::Child => 0,
    }
}

/// At most `limit` rows: whole levels from the top, then the first rows of the next one.
pub(in crate::api) fn upper_levels(placed: Vec<Placed>, limit: usize) -> Vec<Placed> {
    if placed.len() <= limit {
        return placed;
    }
    let mut levels: HashMap<u32, usize> = HashMap::new();
    placed.iter().for_each(|p| *levels.entry(p.depth).or_default() += 1);
    let (mut depth, mut left) = (0, limit);
    while let Some(rows) = levels.get(&depth).filter(|rows| **rows <= left) {
        left -= rows;
        depth += 1;
    }
    // The new number of each row that is kept; parents come before their children.
    let mut numbers: HashMap<i32, i32> = HashMap::from([(-1, -1)]);
    let mut kept = Vec::with_capacity(limit);
    for (row, mut placed) in (0..).zip(placed) {
        if placed.depth > depth || (placed.depth == depth && left == 0) {
            continue;
        }
        if placed.depth == depth {
            left -= 1;
        }
        numbers.insert(row, i32::try_from(kept.len()).unwrap_or(i32::MAX));
        placed.parent_row = numbers.get(&placed.parent_row).copied().unwrap_or(-1);
        kept.push(placed);
    }
    kept
}

pub(in crate::api) fn internal(error: ArrowError) -> Error {
    Error::Internal(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_keeps_whole_levels_from_the_top() {
        let node = |n: u64, p: u64| Node {
            id: SpanId(n.to_be_bytes()),
            parent: (p != 0).then(|| SpanId(p.to_be_bytes())),
            start: n as i64,
            duration: 1,
        };
        let placed = tree::place(&[node(1, 0), node(2, 1), node(3, 2), node(4, 1), node(5, 4), node(6, 4)]);
        let rows: Vec<_> =
            upper_levels(placed, 4).iter().map(|p| (p.node, p.parent_row, p.children, p.descendants)).collect();
        assert_eq!(rows, [(0, -1, 2, 5), (1, 0, 1, 1), (2, 1, 0, 0), (3, 0, 2, 2)]);
    }
}
