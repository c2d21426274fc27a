//! Writes one sorted Parquet file.
//!
//! Rows come sorted, in batches; a row group is written as soon as it is full. What the
//! manifests need to know of the file is collected on the way.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, SchemaRef, TimestampNanosecondType};
use hopline_model::{Cardinality, PromotedType, Table, promoted, schema};
use object_store::path::Path;
use parking_lot::Mutex;
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{Compression, Encoding, Type, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion};
use parquet::schema::types::{ColumnDescriptor, ColumnPath};

use crate::config::Config;
use crate::data_file::{DataFile, Names, OPERATIONS_MAX, SERVICES_MAX, TENANTS_MAX};
use crate::error::Error;
use crate::object::{Objects, Upload};
use crate::record::Position;
use crate::sort::column;

/// Rows of a data page: a by-id read decodes a page of each column.
const PAGE_ROWS: usize = 8_192;
/// The same of roll-ups: one function is read in a small piece of each hour.
const ROLLUP_PAGE_ROWS: usize = 1_024;
/// False positives of a bloom filter.
const BLOOM_FPP: f64 = 0.01;
/// Dictionaries of values in attribute maps grow no larger: they are decoded as a whole for one row.
const MAP_DICTIONARY_BYTES: usize = 128 << 10;

/// What one writes into a file beside its rows.
pub(crate) struct FileFacts {
    pub(crate) table: Table,
    pub(crate) path: Path,
    pub(crate) writer: String,
    pub(crate) created_at: i64,
    pub(crate) level: u8,
    /// The last log position whose rows may be in it.
    pub(crate) upto: Position,
}

/// A Parquet file that is being written.
pub(crate) struct FileWriter {
    facts: FileFacts,
    schema: SchemaRef,
    writer: ArrowWriter<Upload>,
    failure: Arc<Mutex<Option<Error>>>,
    rows: u64,
    times: Option<(i64, i64)>,
}

impl FileWriter {
    pub(crate) fn new(objects: Arc<Objects>, config: &Config, facts: FileFacts) -> Result<Self, Error> {
        let schema = schema::of(facts.table);
        let properties = properties(config, &facts, &schema)?;
        let upload = Upload::new(objects, facts.path.clone());
        let failure = upload.failure();
        let writer = ArrowWriter::try_new(upload, schema.clone(), Some(properties))
            .map_err(Error::rows(format!("begin {}", facts.path)))?;
        Ok(Self { facts, schema, writer, failure, rows: 0, times: None })
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Appends rows that come behind all rows before.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let times = column(batch, self.facts.table.time_column())?.as_primitive_opt::<TimestampNanosecondType>();
        let times = times.ok_or_else(|| Error::corrupt("a batch", "its time column is not a time"))?;
        if let (Some(min), Some(max)) = (times.values().iter().min(), times.values().iter().max()) {
            let (low, high) = self.times.unwrap_or((*min, *max));
            self.times = Some((low.min(*min), high.max(*max)));
        }
        self.rows += batch.num_rows() as u64;
        let written = self.writer.write(batch);
        written.map_err(|e| self.failed(e))
    }

    /// Ends the file durably.
    pub(crate) fn finish(self, names: Names) -> Result<DataFile, Error> {
        let failure = self.failure.clone();
        let upload = self.writer.into_inner().map_err(|e| {
            failure.lock().take().unwrap_or_else(|| Error::rows(format!("write {}", self.facts.path))(e))
        })?;
        let (size_bytes, crc32c) = upload.finish()?;
        let (min_time, max_time) = self.times.unwrap_or_default();
        Ok(DataFile {
            table: self.facts.table,
            path: self.facts.path,
            rows: self.rows,
            size_bytes,
            min_time,
            max_time,
            created_at: self.facts.created_at,
            level: self.facts.level,
            crc32c,
            schema_version: schema::SCHEMA_VERSION,
            tenants: names.tenants.into_list(),
            services: names.services.into_list(),
            operations: names.operations.into_list(),
            attribute_keys: names.attribute_keys.into_list(),
        })
    }

    fn failed(&self, e: ParquetError) -> Error {
        let first = self.failure.lock().take();
        first.unwrap_or_else(|| Error::rows(format!("write {}", self.facts.path))(e))
    }
}

fn properties(config: &Config, facts: &FileFacts, schema: &SchemaRef) -> Result<WriterProperties, Error> {
    let converted = ArrowSchemaConverter::new().convert(schema);
    let columns = converted.map_err(Error::rows("make a Parquet schema"))?;
    let level = ZstdLevel::try_new(config.zstd_level).map_err(Error::rows("choose a compression level"))?;
    let entry = |key: &str, value: String| KeyValue::new(format!("hopline.{key}"), value);
    let metadata = vec![
        entry("schema_version", schema::SCHEMA_VERSION.to_string()),
        entry("table", facts.table.to_string()),
        entry("writer", facts.writer.clone()),
        entry("level", facts.level.to_string()),
        entry("log_position", facts.upto.0.to_string()),
    ];
    let leaf = |name: &&str| columns.columns().iter().position(|c| c.path().string() == **name);
    // What stands behind a period is in order within each period only.
    let sorted = facts.table.sort_period().map_or(usize::MAX, |period| period.behind);
    let order = facts.table.sort_columns().iter().take(sorted).filter_map(leaf);
    let order = order.map(|i| SortingColumn { column_idx: i as i32, descending: false, nulls_first: false }).collect();
    let page_rows = if facts.table == Table::FunctionMinutes { ROLLUP_PAGE_ROWS } else { PAGE_ROWS };
    let mut builder = WriterProperties::builder()
        .set_created_by(format!("hopline {}", env!("CARGO_PKG_VERSION")))
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(config.row_group_rows))
        .set_data_page_row_count_limit(page_rows)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_statistics_truncate_length(Some(64))
        .set_column_index_truncate_length(Some(64))
        .set_sorting_columns(Some(order))
        .set_key_value_metadata(Some(metadata));
    for column in columns.columns() {
        builder = column_properties(builder, facts.table, config, column);
    }
    Ok(builder.build())
}

/// Encoding and statistics of one leaf column.
fn column_properties(
    mut b: WriterPropertiesBuilder,
    table: Table,
    config: &Config,
    leaf: &ColumnDescriptor,
) -> WriterPropertiesBuilder {
    let path = leaf.path().clone();
    let root = path.parts().first().cloned().unwrap_or_default();
    let nested = path.parts().len() > 1;
    let name = path.parts().last().cloned().unwrap_or_default();
    let is_time =
        leaf.physical_type() == Type::INT64 && matches!(name.as_str(), "time" | "start_time" | "observed_time");
    let promoted = promoted::of(table).find(|p| p.column == root);
    let high = promoted.is_some_and(|p| p.kind == PromotedType::String && p.cardinality == Cardinality::High);
    let plain_text = !nested && matches!(root.as_str(), "body" | "invocation_id");
    // Of roll-ups it is a sketch.
    let is_duration = root == "duration" && leaf.physical_type() == Type::INT64;
    if is_time || is_duration {
        b = without_dictionary(b, &path, Encoding::DELTA_BINARY_PACKED);
    } else if high || plain_text {
        b = without_dictionary(b, &path, Encoding::DELTA_LENGTH_BYTE_ARRAY);
    } else if matches!(name.as_str(), "trace_id" | "span_id" | "parent_span_id" | "key_hash") {
        b = without_dictionary(b, &path, Encoding::PLAIN);
    } else if nested {
        b = b.set_column_dictionary_page_size_limit(path.clone(), MAP_DICTIONARY_BYTES);
    }
    if nested {
        return b;
    }
    if Some(root.as_str()) == table.id_column() {
        b = b
            .set_column_bloom_filter_enabled(path.clone(), true)
            .set_column_bloom_filter_fpp(path.clone(), BLOOM_FPP)
            .set_column_bloom_filter_max_ndv(path.clone(), config.row_group_rows as u64);
    }
    let statistics = match root.as_str() {
        "tenant" | "service" | "name" | "function" | "resolution" | "kind" | "status_code" | "trace_id"
        | "key_hash" | "duration" | "severity_number" | "value" => EnabledStatistics::Page,
        _ if root == table.time_column() => EnabledStatistics::Page,
        "start_time" | "observed_time" | "series_id" | "type" | "event_name" | "scope_name" => EnabledStatistics::Chunk,
        _ if promoted.is_some_and(|p| p.kind == PromotedType::Int) => EnabledStatistics::Page,
        _ if promoted.is_some() && !high => EnabledStatistics::Chunk,
        _ => EnabledStatistics::None,
    };
    b.set_column_statistics_enabled(path, statistics)
}

fn without_dictionary(b: WriterPropertiesBuilder, path: &ColumnPath, encoding: Encoding) -> WriterPropertiesBuilder {
    b.set_column_dictionary_enabled(path.clone(), false).set_column_encoding(path.clone(), encoding)
}

/// Adds the names that occur in `batch`, which is sorted and whose dictionaries hold only values in use.
pub(crate) fn collect_names(table: Table, batch: &RecordBatch, names: &mut Names) -> Result<(), Error> {
    for tenant in values(batch, "tenant")? {
        names.tenants.add(tenant.to_owned(), TENANTS_MAX);
    }
    // Roll-ups are of functions alone.
    if table != Table::FunctionMinutes {
        values(batch, "service")?.for_each(|service| names.services.add(service.to_owned(), SERVICES_MAX));
    }
    if table.is_signal() {
        values(batch, "attribute_layout")?.for_each(|layout| names.add_layout(layout));
    }
    let kind = match table {
        Table::Spans => "kind",
        Table::Metrics => "type",
        Table::Logs | Table::HopKeys | Table::Invocations | Table::FunctionMinutes => return Ok(()),
    };
    let columns = [dictionary(batch, "service")?, dictionary(batch, "name")?, dictionary(batch, kind)?];
    let mut seen: HashSet<[i32; 3], ahash::RandomState> = HashSet::default();
    let mut before = None;
    for row in 0..batch.num_rows() {
        let keys = columns.map(|c| c.keys().value(row));
        if before.replace(keys) == Some(keys) || !seen.insert(keys) {
            continue;
        }
        let [service, name, kind] = columns.map(|c| text_at(c, row).to_owned());
        names.operations.add((service, name, kind), OPERATIONS_MAX);
    }
    Ok(())
}

type Text = arrow::array::DictionaryArray<Int32Type>;

fn dictionary<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a Text, Error> {
    let found = column(batch, name)?.as_dictionary_opt::<Int32Type>();
    let is_text = |d: &&Text| matches!(d.values().data_type(), DataType::Utf8);
    found.filter(is_text).ok_or_else(|| Error::corrupt("a batch", format!("{name} is not dictionary-encoded text")))
}

fn values<'a>(batch: &'a RecordBatch, name: &str) -> Result<impl Iterator<Item = &'a str>, Error> {
    Ok(dictionary(batch, name)?.values().as_string::<i32>().iter().flatten())
}

/// The text of a row; empty where it is null.
pub(crate) fn text_at(dictionary: &Text, row: usize) -> &str {
    let values = dictionary.values().as_string::<i32>();
    dictionary.key(row).filter(|key| *key < values.len()).map_or("", |key| values.value(key))
}
