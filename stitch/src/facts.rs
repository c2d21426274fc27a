//! Rows of the table `invocations`: [`Fact`]s as columns, there and back.

pub(crate) mod metrics;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, FixedSizeBinaryBuilder, Int64Builder, RecordBatch, StringBuilder,
    TimestampNanosecondBuilder,
};
use arrow::datatypes::{Int64Type, TimestampNanosecondType};
use arrow::error::ArrowError;
use hopline_model::{SpanId, Table, TraceId, schema};

use crate::columns::{ColumnsError, Text};
use crate::invocation::{Architecture, Fact, InitPhase, InitType, Oom, Provider, Source, Status, Trigger};
use crate::words::Words as Dict;

/// A column of `T`s: its name, how a fact gives its value, how it takes it back.
struct Column<G, S> {
    name: &'static str,
    get: G,
    set: S,
}

type Words = Column<fn(&Fact) -> Option<&str>, fn(&mut Fact, &str)>;
type Ints = Column<fn(&Fact) -> Option<i64>, fn(&mut Fact, i64)>;
type Bools = Column<fn(&Fact) -> Option<bool>, fn(&mut Fact, bool)>;
type Ids<const N: usize> = Column<fn(&Fact) -> Option<[u8; N]>, fn(&mut Fact, [u8; N])>;

macro_rules! word {
    ($name:literal, $field:ident) => {
        Column { name: $name, get: |f| f.$field.as_deref(), set: |f, text| f.$field = Some(text.to_owned()) }
    };
    ($name:literal, $field:ident, $kind:ident) => {
        Column { name: $name, get: |f| f.$field.map($kind::name), set: |f, text| f.$field = $kind::from_name(text) }
    };
}

macro_rules! value {
    ($name:literal, $field:ident) => {
        Column { name: $name, get: |f| f.$field, set: |f, value| f.$field = Some(value) }
    };
}

/// Texts of which there are few, null where they are not known.
const WORDS: [Words; 12] = [
    word!("version", version),
    word!("instance", instance),
    word!("account", account),
    word!("region", region),
    word!("provider", provider, Provider),
    word!("trigger", trigger, Trigger),
    word!("init_type", init_type, InitType),
    word!("init_phase", init_phase, InitPhase),
    word!("status", status, Status),
    word!("out_of_memory", oom, Oom),
    word!("error_type", error_type),
    word!("architecture", architecture, Architecture),
];

const TEXTS: [Words; 2] = [word!("invocation_id", invocation_id), word!("error_message", error_message)];

const INTS: [Ints; 10] = [
    value!("init_duration", init_ns),
    value!("restore_duration", restore_ns),
    value!("duration", duration_ns),
    value!("billed_duration", billed_ns),
    value!("memory_size", memory_size),
    value!("memory_used", memory_used),
    value!("time_limit", limit_ns),
    value!("http_status", http_status),
    value!("deliveries", deliveries),
    value!("dropped_records", dropped_records),
];

const TIMES: [Ints; 2] = [value!("start_time", start_ns), value!("end_time", end_ns)];

const BOOLS: [Bools; 2] = [
    value!("coldstart", coldstart),
    Column { name: "is_server", get: |f| f.is_server.then_some(true), set: |f, truth| f.is_server = truth },
];

const TRACE_IDS: [Ids<16>; 2] = [
    Column { name: "trace_id", get: |f| f.trace_id.map(|id| id.0), set: |f, id| f.trace_id = Some(TraceId(id)) },
    Column { name: "xray_root", get: |f| f.xray_root.map(|id| id.0), set: |f, id| f.xray_root = Some(TraceId(id)) },
];

const SPAN_IDS: [Ids<8>; 3] = [
    Column { name: "span_id", get: |f| f.span_id.map(|id| id.0), set: |f, id| f.span_id = Some(SpanId(id)) },
    Column {
        name: "xray_segment",
        get: |f| f.xray_segment.map(|id| id.0),
        set: |f, id| f.xray_segment = Some(SpanId(id)),
    },
    Column {
        name: "fingerprint",
        get: |f| f.fingerprint.map(u64::to_be_bytes),
        set: |f, id| f.fingerprint = Some(u64::from_be_bytes(id)),
    },
];

/// Rows of `invocations` that are being made.
pub(crate) struct FactRows {
    rows: usize,
    time: TimestampNanosecondBuilder,
    tenant: Dict,
    service: Dict,
    function: Dict,
    source: Dict,
    words: [Dict; WORDS.len()],
    texts: [StringBuilder; TEXTS.len()],
    ints: [Int64Builder; INTS.len()],
    times: [TimestampNanosecondBuilder; TIMES.len()],
    bools: [BooleanBuilder; BOOLS.len()],
    trace_ids: [FixedSizeBinaryBuilder; TRACE_IDS.len()],
    span_ids: [FixedSizeBinaryBuilder; SPAN_IDS.len()],
}

fn times() -> TimestampNanosecondBuilder {
    TimestampNanosecondBuilder::new().with_timezone(schema::UTC)
}

impl Default for FactRows {
    fn default() -> Self {
        FactRows {
            rows: 0,
            time: times(),
            tenant: Dict::default(),
            service: Dict::default(),
            function: Dict::default(),
            source: Dict::default(),
            words: Default::default(),
            texts: Default::default(),
            ints: Default::default(),
            times: std::array::from_fn(|_| times()),
            bools: std::array::from_fn(|_| BooleanBuilder::new()),
            trace_ids: std::array::from_fn(|_| FixedSizeBinaryBuilder::new(16)),
            span_ids: std::array::from_fn(|_| FixedSizeBinaryBuilder::new(8)),
        }
    }
}

impl FactRows {
    pub(crate) fn push(&mut self, tenant: &str, service: &str, fact: &Fact) {
        self.rows += 1;
        self.time.append_value(fact.time_ns);
        self.tenant.append_value(tenant);
        self.service.append_value(service);
        self.function.append_value(fact.function.as_deref().unwrap_or_default());
        self.source.append_value(fact.source.name());
        self.words.iter_mut().zip(&WORDS).for_each(|(to, column)| to.append_option((column.get)(fact)));
        self.texts.iter_mut().zip(&TEXTS).for_each(|(to, column)| to.append_option((column.get)(fact)));
        self.ints.iter_mut().zip(&INTS).for_each(|(to, column)| to.append_option((column.get)(fact)));
        self.times.iter_mut().zip(&TIMES).for_each(|(to, column)| to.append_option((column.get)(fact)));
        self.bools.iter_mut().zip(&BOOLS).for_each(|(to, column)| to.append_option((column.get)(fact)));
        self.trace_ids.iter_mut().zip(&TRACE_IDS).for_each(|(to, column)| append_id(to, (column.get)(fact)));
        self.span_ids.iter_mut().zip(&SPAN_IDS).for_each(|(to, column)| append_id(to, (column.get)(fact)));
    }

    /// The batch, if there are rows; none are left.
    pub(crate) fn finish(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        if std::mem::take(&mut self.rows) == 0 {
            return Ok(None);
        }
        let mut named: Vec<(&str, ArrayRef)> = vec![
            ("time", Arc::new(self.time.finish())),
            ("tenant", self.tenant.finish()?),
            ("service", self.service.finish()?),
            ("function", self.function.finish()?),
            ("source", self.source.finish()?),
        ];
        for (column, words) in WORDS.iter().zip(&mut self.words) {
            named.push((column.name, words.finish()?));
        }
        named.extend(TEXTS.iter().zip(&mut self.texts).map(|(c, b)| (c.name, Arc::new(b.finish()) as ArrayRef)));
        named.extend(INTS.iter().zip(&mut self.ints).map(|(c, b)| (c.name, Arc::new(b.finish()) as ArrayRef)));
        named.extend(TIMES.iter().zip(&mut self.times).map(|(c, b)| (c.name, Arc::new(b.finish()) as ArrayRef)));
        named.extend(BOOLS.iter().zip(&mut self.bools).map(|(c, b)| (c.name, Arc::new(b.finish()) as ArrayRef)));
        named
            .extend(TRACE_IDS.iter().zip(&mut self.trace_ids).map(|(c, b)| (c.name, Arc::new(b.finish()) as ArrayRef)));
        named.extend(SPAN_IDS.iter().zip(&mut self.span_ids).map(|(c, b)| (c.name, Arc::new(b.finish()) as ArrayRef)));
        let schema = schema::of(Table::Invocations);
        let column = |name: &String| named.iter().find(|(n, _)| n == name).map(|(_, array)| Arc::clone(array));
        // A column that is missing makes the batch fail; a test compares the two lists.
        let columns = schema.fields().iter().filter_map(|field| column(field.name())).collect();
        RecordBatch::try_new(schema, columns).map(Some)
    }
}

/// Appends an id to a column of ids of that length.
pub(crate) fn append_id<const N: usize>(to: &mut FixedSizeBinaryBuilder, id: Option<[u8; N]>) {
    match id {
        // The length is right by its type.
        Some(id) => drop(to.append_value(id)),
        None => to.append_null(),
    }
}

/// Facts as a batch of `invocations`, of one tenant and service; nothing if there are none.
pub fn batch<'a>(
    tenant: &str,
    service: &str,
    facts: impl IntoIterator<Item = &'a Fact>,
) -> Result<Option<RecordBatch>, ArrowError> {
    let mut rows = FactRows::default();
    facts.into_iter().for_each(|fact| rows.push(tenant, service, fact));
    rows.finish()
}

/// The facts of a batch of `invocations`, in the order of its rows. A row whose source is not known (a newer server
/// wrote it) is left out.
pub fn facts(batch: &RecordBatch) -> Result<Vec<Fact>, ColumnsError> {
    let sources = Text::of(batch, "source")?;
    let functions = Text::of(batch, "function")?;
    let time = batch.column_by_name("time").and_then(|c| c.as_primitive_opt::<TimestampNanosecondType>());
    let time = time.ok_or(ColumnsError("time"))?;
    let mut facts: Vec<Option<Fact>> = (0..batch.num_rows())
        .map(|row| {
            let mut fact = Fact::new(Source::from_name(sources.or_empty(row))?, time.value(row));
            fact.function = functions.get(row).filter(|f| !f.is_empty()).map(str::to_owned);
            Some(fact)
        })
        .collect();
    for column in WORDS.iter().chain(&TEXTS) {
        let texts = Text::of(batch, column.name)?;
        each(&mut facts, |row, fact| texts.get(row).into_iter().for_each(|text| (column.set)(fact, text)));
    }
    for column in &INTS {
        let array = batch.column_by_name(column.name).and_then(|c| c.as_primitive_opt::<Int64Type>());
        let array = array.ok_or(ColumnsError(column.name))?;
        each(&mut facts, |row, fact| {
            if array.is_valid(row) {
                (column.set)(fact, array.value(row));
            }
        });
    }
    for column in &TIMES {
        let array = batch.column_by_name(column.name).and_then(|c| c.as_primitive_opt::<TimestampNanosecondType>());
        let array = array.ok_or(ColumnsError(column.name))?;
        each(&mut facts, |row, fact| {
            if array.is_valid(row) {
                (column.set)(fact, array.value(row));
            }
        });
    }
    for column in &BOOLS {
        let array = batch.column_by_name(column.name).and_then(|c| c.as_boolean_opt());
        let array = array.ok_or(ColumnsError(column.name))?;
        each(&mut facts, |row, fact| {
            if array.is_valid(row) {
                (column.set)(fact, array.value(row));
            }
        });
    }
    ids(batch, &TRACE_IDS, &mut facts)?;
    ids(batch, &SPAN_IDS, &mut facts)?;
    Ok(facts.into_iter().flatten().collect())
}

fn each(facts: &mut [Option<Fact>], mut set: impl FnMut(usize, &mut Fact)) {
    facts.iter_mut().enumerate().filter_map(|(row, fact)| Some((row, fact.as_mut()?))).for_each(|(row, f)| set(row, f));
}

fn ids<const N: usize>(
    batch: &RecordBatch,
    columns: &[Ids<N>],
    facts: &mut [Option<Fact>],
) -> Result<(), ColumnsError> {
    for column in columns {
        let array = batch.column_by_name(column.name).and_then(|c| c.as_fixed_size_binary_opt());
        let array = array.ok_or(ColumnsError(column.name))?;
        each(facts, |row, fact| {
            let id = if array.is_valid(row) { array.value(row).try_into().ok() } else { None };
            id.into_iter().for_each(|id| (column.set)(fact, id));
        });
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Two facts: one of which everything is known, and one of which nothing is.
    fn samples() -> Vec<Fact> {
        let mut full = Fact::new(Source::Report, 7);
        full.function = Some("orders".into());
        full.is_server = true;
        for column in WORDS.iter().chain(&TEXTS) {
            let words = ["a text", "aws", "http", "snap-start", "invoke", "timeout", "killed", "arm64"];
            // The last word that is one of the column's.
            let fits = words.iter().filter(|word| {
                (column.set)(&mut full, word);
                (column.get)(&full).is_some()
            });
            let word = *fits.last().unwrap();
            (column.set)(&mut full, word);
        }
        (0..).zip(INTS.iter().chain(&TIMES)).for_each(|(i, column)| (column.set)(&mut full, i * 1_000));
        BOOLS.iter().for_each(|column| (column.set)(&mut full, true));
        (1..).zip(&TRACE_IDS).for_each(|(i, column)| (column.set)(&mut full, [i; 16]));
        (1..).zip(&SPAN_IDS).for_each(|(i, column)| (column.set)(&mut full, [i; 8]));
        vec![full, Fact::new(Source::Log, -1)]
    }

    #[test]
    fn there_and_back() {
        let samples = samples();
        let mut rows = FactRows::default();
        samples.iter().for_each(|fact| rows.push("tenant", "service", fact));
        let batch = rows.finish().unwrap().unwrap();
        assert_eq!(batch.num_rows(), 2);
        assert_eq!(facts(&batch).unwrap(), samples);
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            assert!(column.is_valid(0), "{} is not filled", field.name());
        }
    }

    #[test]
    fn no_facts_are_no_batch() {
        assert!(FactRows::default().finish().unwrap().is_none());
    }
}
