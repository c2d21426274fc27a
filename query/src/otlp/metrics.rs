//! Rows of `metrics` as OTLP/JSON.

use std::collections::HashMap;

use arrow::array::{
    Array, ArrowPrimitiveType, BooleanArray, Float64Array, Int32Array, Int64Array, PrimitiveArray, RecordBatch,
    UInt32Array, UInt64Array,
};
use hopline_model::{Table, names};
use hopline_proto::value as text_value;

use super::columns::{
    Attributes, Bytes, Error, Items, Numbers, Text, boolean, float64, int32, int64, time, uint32, uint64,
};
use super::group::{Groups, Names, Row, Sink, attributes_text, id, member, number, number_text, text};
use super::spans::{attributes, count, list, value};

const NAMES: Names = Names { resources: "resourceMetrics", scopes: "scopeMetrics", items: "metrics" };

pub(super) fn write(rows: &[RecordBatch]) -> Result<String, Error> {
    let mut batches = rows.iter().map(Metrics::of).collect::<Result<Vec<_>, _>>()?;
    let mut groups = Groups::default();
    for (number, batch) in rows.iter().enumerate() {
        groups.add(number, batch, |_| Ok(true))?;
    }
    let mut out = String::new();
    groups.write(NAMES, "", &mut Sink::whole(&mut out), |rows, sink| {
        for (i, points) in by_metric(&batches, rows).iter().enumerate() {
            if i > 0 {
                sink.out().push(',');
            }
            write_metric(&mut batches, points, sink.out())?;
        }
        Ok(())
    })?;
    Ok(out)
}

/// The rows of one scope by metric, in the order of first appearance.
fn by_metric(batches: &[Metrics], rows: &[Row]) -> Vec<Vec<Row>> {
    let mut numbers: HashMap<Identity<'_>, usize> = HashMap::new();
    let mut metrics: Vec<Vec<Row>> = Vec::new();
    for row in rows {
        let Some(batch) = batches.get(row.0) else { continue };
        let number = *numbers.entry(batch.identity(row.1)).or_insert(metrics.len());
        match metrics.get_mut(number) {
            Some(points) => points.push(*row),
            None => metrics.push(vec![*row]),
        }
    }
    metrics
}

fn write_metric(batches: &mut [Metrics], points: &[Row], out: &mut String) -> Result<(), Error> {
    let Some((batch, row)) = points.first().and_then(|(b, row)| Some((batches.get(*b)?, *row))) else { return Ok(()) };
    let kind = batch.kind.or_empty(row).to_owned();
    out.push('{');
    text(out, "name", batch.name.or_empty(row));
    text(out, "description", batch.description.or_empty(row));
    text(out, "unit", batch.unit.or_empty(row));
    attributes_text(out, "metadata", batch.metadata.or_empty(row))?;
    member(out, if kind == "exponential_histogram" { "exponentialHistogram" } else { &kind });
    out.push('{');
    let temporality = batch.temporality.get(row).map(names::temporality_number).unwrap_or_default();
    let is_monotonic = set(&batch.is_monotonic, row);
    member(out, "dataPoints");
    out.push('[');
    for (i, (batch, row)) in points.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        if let Some(batch) = batches.get_mut(*batch) {
            batch.write_point(&kind, *row, out)?;
        }
    }
    out.push(']');
    number(out, "aggregationTemporality", i64::from(temporality));
    if is_monotonic {
        out.push_str(",\"isMonotonic\":true");
    }
    out.push_str("}}");
    Ok(())
}

/// What makes two points of one scope points of one metric.
type Identity<'a> = (&'a str, &'a str, &'a str, &'a str, Option<&'a str>, Option<bool>, &'a str);

struct Metrics {
    time: Int64Array,
    start_time: Int64Array,
    name: Text,
    description: Text,
    unit: Text,
    kind: Text,
    temporality: Text,
    is_monotonic: BooleanArray,
    metadata: Text,
    flags: UInt32Array,
    value: Float64Array,
    value_int: Int64Array,
    distribution: Distribution,
    exponential: Exponential,
    quantiles: Items,
    exemplars: Exemplars,
    attributes: Attributes,
}

impl Metrics {
    fn of(batch: &RecordBatch) -> Result<Self, Error> {
        Ok(Self {
            time: time(batch, "time")?,
            start_time: time(batch, "start_time")?,
            name: Text::of(batch, "name")?,
            description: Text::of(batch, "description")?,
            unit: Text::of(batch, "unit")?,
            kind: Text::of(batch, "type")?,
            temporality: Text::of(batch, "temporality")?,
            is_monotonic: boolean(batch, "is_monotonic")?,
            metadata: Text::of(batch, "metadata")?,
            flags: uint32(batch, "flags")?,
            value: float64(batch, "value")?,
            value_int: int64(batch, "value_int")?,
            distribution: Distribution::of(batch)?,
            exponential: Exponential::of(batch)?,
            quantiles: Items::of(batch, "quantiles")?,
            exemplars: Exemplars::of(batch)?,
            attributes: Attributes::of(batch, Table::Metrics)?,
        })
    }

    fn identity(&self, row: usize) -> Identity<'_> {
        (
            self.name.or_empty(row),
            self.description.or_empty(row),
            self.unit.or_empty(row),
            self.kind.or_empty(row),
            self.temporality.get(row),
            self.is_monotonic.is_valid(row).then(|| self.is_monotonic.value(row)),
            self.metadata.or_empty(row),
        )
    }

    fn write_point(&mut self, kind: &str, row: usize, out: &mut String) -> Result<(), Error> {
        out.push('{');
        attributes(&mut self.attributes, row, out)?;
        if self.start_time.is_valid(row) {
            number_text(out, "startTimeUnixNano", value(&self.start_time, row) as u64);
        }
        number_text(out, "timeUnixNano", value(&self.time, row) as u64);
        match kind {
            "gauge" | "sum" => {
                if let Some(value) = get(&self.value_int, row) {
                    number_text(out, "asInt", value);
                } else {
                    double(out, "asDouble", get(&self.value, row));
                }
            }
            "histogram" => self.distribution.write(row, out),
            "exponential_histogram" => {
                self.distribution.write_sums(row, out);
                self.exponential.write(row, out);
            }
            _ => {
                self.distribution.write_sums(row, out);
                self.write_quantiles(row, out)?;
            }
        }
        self.exemplars.write(row, out)?;
        number(out, "flags", count(&self.flags, row));
        out.push('}');
        Ok(())
    }

    fn write_quantiles(&self, row: usize, out: &mut String) -> Result<(), Error> {
        let (quantile, value) = (self.quantiles.float64("quantile")?, self.quantiles.float64("value")?);
        list(out, "quantileValues", self.quantiles.range(row), |i, out| {
            double(out, "quantile", get(&quantile, i));
            double(out, "value", get(&value, i));
            Ok(())
        })
    }
}

/// Count, sum, extremes and explicit buckets.
struct Distribution {
    count: UInt64Array,
    sum: Float64Array,
    min: Float64Array,
    max: Float64Array,
    bucket_counts: Numbers<UInt64Array>,
    explicit_bounds: Numbers<Float64Array>,
}

impl Distribution {
    fn of(batch: &RecordBatch) -> Result<Self, Error> {
        Ok(Self {
            count: uint64(batch, "count")?,
            sum: float64(batch, "sum")?,
            min: float64(batch, "min")?,
            max: float64(batch, "max")?,
            bucket_counts: Numbers::counts(batch, "bucket_counts")?,
            explicit_bounds: Numbers::doubles(batch, "explicit_bounds")?,
        })
    }

    fn write_sums(&self, row: usize, out: &mut String) {
        number_text(out, "count", get(&self.count, row).unwrap_or_default());
        double(out, "sum", get(&self.sum, row));
        double(out, "min", get(&self.min, row));
        double(out, "max", get(&self.max, row));
    }

    fn write(&self, row: usize, out: &mut String) {
        self.write_sums(row, out);
        counts(out, "bucketCounts", &self.bucket_counts, row);
        if let Some((range, bounds)) = self.explicit_bounds.get(row).filter(|(range, _)| !range.is_empty()) {
            member(out, "explicitBounds");
            out.push('[');
            for i in range {
                if !out.ends_with('[') {
                    out.push(',');
                }
                text_value::double_to_otlp_json(get(bounds, i).unwrap_or_default(), out);
            }
            out.push(']');
        }
    }
}

/// The buckets of exponential histograms.
struct Exponential {
    scale: Int32Array,
    zero_count: UInt64Array,
    zero_threshold: Float64Array,
    positive: (Int32Array, Numbers<UInt64Array>),
    negative: (Int32Array, Numbers<UInt64Array>),
}

impl Exponential {
    fn of(batch: &RecordBatch) -> Result<Self, Error> {
        let side = |offset, counts| Ok((int32(batch, offset)?, Numbers::counts(batch, counts)?));
        Ok(Self {
            scale: int32(batch, "scale")?,
            zero_count: uint64(batch, "zero_count")?,
            zero_threshold: float64(batch, "zero_threshold")?,
            positive: side("positive_offset", "positive_bucket_counts")?,
            negative: side("negative_offset", "negative_bucket_counts")?,
        })
    }

    fn write(&self, row: usize, out: &mut String) {
        number(out, "scale", i64::from(get(&self.scale, row).unwrap_or_default()));
        number_text(out, "zeroCount", get(&self.zero_count, row).unwrap_or_default());
        for (name, (offset, buckets)) in [("positive", &self.positive), ("negative", &self.negative)] {
            if offset.is_valid(row) || buckets.get(row).is_some() {
                member(out, name);
                out.push('{');
                number(out, "offset", i64::from(get(offset, row).unwrap_or_default()));
                counts(out, "bucketCounts", buckets, row);
                out.push('}');
            }
        }
        let threshold = get(&self.zero_threshold, row).unwrap_or_default();
        // Minus zero is not the default value.
        if threshold.to_bits() != 0 {
            double(out, "zeroThreshold", Some(threshold));
        }
    }
}

struct Exemplars {
    items: Items,
    time: Int64Array,
    value: Float64Array,
    value_int: Int64Array,
    trace_id: Bytes,
    span_id: Bytes,
    attributes: Text,
}

impl Exemplars {
    fn of(batch: &RecordBatch) -> Result<Self, Error> {
        let items = Items::of(batch, "exemplars")?;
        Ok(Self {
            time: items.time("time")?,
            value: items.float64("value")?,
            value_int: items.int64("value_int")?,
            trace_id: items.bytes("trace_id")?,
            span_id: items.bytes("span_id")?,
            attributes: items.text("attributes")?,
            items,
        })
    }

    fn write(&self, row: usize, out: &mut String) -> Result<(), Error> {
        list(out, "exemplars", self.items.range(row), |i, out| {
            attributes_text(out, "filteredAttributes", self.attributes.or_empty(i))?;
            number_text(out, "timeUnixNano", value(&self.time, i) as u64);
            if let Some(value) = get(&self.value_int, i) {
                number_text(out, "asInt", value);
            } else {
                double(out, "asDouble", get(&self.value, i));
            }
            id(out, "spanId", self.span_id.get(i));
            id(out, "traceId", self.trace_id.get(i));
            Ok(())
        })
    }
}

fn get<T: ArrowPrimitiveType>(column: &PrimitiveArray<T>, row: usize) -> Option<T::Native> {
    (row < column.len() && column.is_valid(row)).then(|| column.value(row))
}

fn set(column: &BooleanArray, row: usize) -> bool {
    row < column.len() && column.is_valid(row) && column.value(row)
}

fn double(out: &mut String, name: &str, value: Option<f64>) {
    if let Some(value) = value {
        member(out, name);
        text_value::double_to_otlp_json(value, out);
    }
}

fn counts(out: &mut String, name: &str, numbers: &Numbers<UInt64Array>, row: usize) {
    let Some((range, values)) = numbers.get(row).filter(|(range, _)| !range.is_empty()) else { return };
    member(out, name);
    out.push('[');
    for i in range {
        out.push_str(if out.ends_with('[') { "\"" } else { ",\"" });
        out.push_str(&get(values, i).unwrap_or_default().to_string());
        out.push('"');
    }
    out.push(']');
}
