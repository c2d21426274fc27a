//! CloudWatch's metrics of AWS Lambda, as they come in OTLP.
//!
//! Their name is `amazonaws.com/<namespace>/<metric>`. Metric streams send each as a summary of one period, with the
//! statistics `sum` and, as quantiles 0 and 1, least and greatest (AWS: "Translations with OpenTelemetry 1.0.0 format
//! in CloudWatch"); the collector's CloudWatch receiver sends a gauge for each statistic, which its attribute `stat`
//! names. The dimensions are attributes, or the members of the attribute `Dimensions`.
//!
//! Lambda sends each metric several times: for a function, and again for its versions and aliases (AWS: "Types of
//! metrics for Lambda functions"). Only the first has it all, so only that counts.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int32Type;
use hopline_model::{AttributeType, Layout, Table};
use hopline_storage::DataFile;

use crate::api::params::TimeRange;
use crate::engine::Session;
use crate::error::Error;
use crate::otlp::columns::Text;

/// How often a function was throttled.
pub(super) const THROTTLES: &str = "amazonaws.com/AWS/Lambda/Throttles";
/// How old the last record of a batch was when the function got it, in milliseconds.
pub(super) const ITERATOR_AGE: &str = "amazonaws.com/AWS/Lambda/IteratorAge";

/// The longest period of a point that ends behind a range and began in it.
pub(super) const PERIOD_MAX: i64 = 3_600_000_000_000;

/// What is selected to tell whose a point is, and what it measures.
pub(super) const LABELS: &str = "attr_text('FunctionName') AS function_name, attr_text('Dimensions') AS dimensions, \
                                 attr_text('Resource') AS of_resource, attr_text('ExecutedVersion') AS of_version, \
                                 attr_text('stat') AS stat";
/// Their names.
pub(super) const LABEL_NAMES: &str = "function_name, dimensions, of_resource, of_version, stat";

/// Whose points are, and what they measure.
pub(super) struct Labels {
    function: Text,
    dimensions: Text,
    resource: Text,
    version: Text,
    stat: Text,
}

impl Labels {
    /// Of rows with [`LABELS`].
    pub(super) fn of(batch: &RecordBatch) -> Result<Labels, Error> {
        let text = |name: &str| Text::of(batch, name);
        Ok(Labels {
            function: text("function_name")?,
            dimensions: text("dimensions")?,
            resource: text("of_resource")?,
            version: text("of_version")?,
            stat: text("stat")?,
        })
    }

    /// The function whose whole the point tells.
    pub(super) fn function(&self, row: usize) -> Option<String> {
        if let Some(function) = self.function.get(row) {
            let is_whole = self.resource.get(row).is_none() && self.version.get(row).is_none();
            return is_whole.then(|| function.to_owned());
        }
        let dimensions: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(self.dimensions.get(row)?).ok()?;
        let function = dimensions.get("FunctionName")?.as_str()?;
        (dimensions.len() == 1).then(|| function.to_owned())
    }

    /// The statistic, where a point has only one.
    pub(super) fn stat(&self, row: usize) -> Option<&str> {
        self.stat.get(row)
    }
}

/// Whether points of the metric may be stored in the range: known without reading a row.
pub(super) fn may_be_stored(session: &Session, metric: &str, range: TimeRange) -> bool {
    let in_file = |file: &DataFile| {
        is_in(file, range)
            && file.operations.as_ref().is_none_or(|names| names.iter().any(|(_, name, _)| name == metric))
    };
    let snapshot = session.snapshot();
    let in_memory = |batch: &RecordBatch| has_text(batch, "name", |name| name == metric);
    snapshot.files(Table::Metrics).iter().any(|file| in_file(file))
        || snapshot.hot(Table::Metrics).iter().any(|batch| in_memory(batch))
}

/// Whether spans in the range may have the attribute, a text: known without reading a row.
pub(super) fn may_have(session: &Session, key: &str, range: TimeRange) -> bool {
    let letter = AttributeType::String.letter();
    let in_file = |file: &DataFile| {
        is_in(file, range)
            && file.attribute_keys.as_ref().is_none_or(|keys| keys.iter().any(|(k, l)| k == key && *l == letter))
    };
    let in_layout =
        |layout: &str| Layout::parse(layout).is_none_or(|layout| layout.0.iter().any(|entry| entry.key == key));
    let snapshot = session.snapshot();
    snapshot.files(Table::Spans).iter().any(|file| in_file(file))
        || snapshot
            .hot(Table::Spans)
            .iter()
            .any(|batch| has_text(batch, "attribute_layout", |l| l.contains(key) && in_layout(l)))
}

fn is_in(file: &DataFile, range: TimeRange) -> bool {
    range.start.is_none_or(|start| file.max_time >= start) && range.end.is_none_or(|end| file.min_time < end)
}

/// Whether one of the different texts of a column is such.
fn has_text(batch: &RecordBatch, column: &str, is: impl Fn(&str) -> bool) -> bool {
    let texts = batch.column_by_name(column).and_then(|c| c.as_dictionary_opt::<Int32Type>());
    let texts = texts.and_then(|d| d.values().as_string_opt::<i32>());
    texts.is_none_or(|texts| (0..texts.len()).any(|i| texts.is_valid(i) && is(texts.value(i))))
}
