//! Rows of `metrics` as points to fold.

use std::collections::BTreeSet;

use arrow::array::{
    Array, ArrowPrimitiveType, BooleanArray, Float64Array, Int32Array, PrimitiveArray, RecordBatch, UInt64Array,
};

use super::buckets::{Buckets, Exponential};
use super::fold::{Agg, Data, Meaning, Point};
use crate::error::Error;
use crate::otlp::columns::{Bytes, Items, Numbers, Text, boolean, float64, int32, time, uint64};

/// What is selected.
pub(super) const COLUMNS: [&str; 20] = [
    "time",
    "start_time",
    "series_id",
    "type",
    "temporality",
    "is_monotonic",
    "value",
    "count",
    "sum",
    "min",
    "max",
    "bucket_counts",
    "explicit_bounds",
    "scale",
    "zero_count",
    "positive_offset",
    "positive_bucket_counts",
    "negative_offset",
    "negative_bucket_counts",
    "quantiles",
];

/// Adds the types of a batch's points to `kinds`.
pub(super) fn kinds(batch: &RecordBatch, kinds: &mut BTreeSet<String>) -> Result<(), Error> {
    let column = Text::of(batch, "type")?;
    for kind in (0..batch.num_rows()).map(|row| column.or_empty(row)) {
        if !kinds.contains(kind) {
            kinds.insert(kind.to_owned());
        }
    }
    Ok(())
}

/// The points of a batch; those without a value are left out.
pub(super) fn of(batch: &RecordBatch, labels: usize) -> Result<Vec<Point>, Error> {
    let (times, starts) = (time(batch, "time")?, time(batch, "start_time")?);
    let (series, kinds) = (Bytes::of(batch, "series_id")?, Text::of(batch, "type")?);
    let (temporalities, monotonic) = (Text::of(batch, "temporality")?, boolean(batch, "is_monotonic")?);
    let labels = (0..labels).map(|i| Text::of(batch, &format!("label_{i}"))).collect::<Result<Vec<_>, _>>()?;
    let data = Values::of(batch)?;
    let points = (0..batch.num_rows()).filter_map(|row| {
        let kind = kinds.or_empty(row);
        Some(Point {
            series: series.get(row).and_then(|id| id.try_into().ok()).unwrap_or_default(),
            time: times.value(row),
            start_time: starts.is_valid(row).then(|| starts.value(row)),
            meaning: meaning(kind, temporalities.get(row), &monotonic, row),
            labels: labels.iter().map(|label| label.get(row).map(str::to_owned)).collect(),
            data: data.get(kind, row)?,
        })
    });
    Ok(points.collect())
}

fn meaning(kind: &str, temporality: Option<&str>, monotonic: &BooleanArray, row: usize) -> Meaning {
    let rises = monotonic.is_valid(row) && monotonic.value(row);
    match (kind, temporality) {
        ("gauge", _) => Meaning::Level,
        (_, Some("delta")) => Meaning::Increment,
        ("sum", _) if !rises => Meaning::Level,
        _ => Meaning::Total,
    }
}

/// The aggregation of a metric when none is asked for.
pub(super) fn usual_agg(point: &Point) -> Agg {
    match (&point.data, point.meaning) {
        (Data::Distribution { .. }, _) => Agg::Quantile(0.5),
        (Data::Number(_), Meaning::Level) => Agg::Avg,
        (Data::Number(_), _) => Agg::Rate,
    }
}

struct Values {
    value: Float64Array,
    count: UInt64Array,
    sum: Float64Array,
    min: Float64Array,
    max: Float64Array,
    bucket_counts: Numbers<UInt64Array>,
    explicit_bounds: Numbers<Float64Array>,
    scale: Int32Array,
    zero_count: UInt64Array,
    positive: (Int32Array, Numbers<UInt64Array>),
    negative: (Int32Array, Numbers<UInt64Array>),
    quantiles: (Items, Float64Array, Float64Array),
}

impl Values {
    fn of(batch: &RecordBatch) -> Result<Self, Error> {
        let side = |offset, counts| Ok::<_, Error>((int32(batch, offset)?, Numbers::counts(batch, counts)?));
        let quantiles = Items::of(batch, "quantiles")?;
        let (quantile, of_quantile) = (quantiles.float64("quantile")?, quantiles.float64("value")?);
        Ok(Self {
            value: float64(batch, "value")?,
            count: uint64(batch, "count")?,
            sum: float64(batch, "sum")?,
            min: float64(batch, "min")?,
            max: float64(batch, "max")?,
            bucket_counts: Numbers::counts(batch, "bucket_counts")?,
            explicit_bounds: Numbers::doubles(batch, "explicit_bounds")?,
            scale: int32(batch, "scale")?,
            zero_count: uint64(batch, "zero_count")?,
            positive: side("positive_offset", "positive_bucket_counts")?,
            negative: side("negative_offset", "negative_bucket_counts")?,
            quantiles: (quantiles, quantile, of_quantile),
        })
    }

    fn get(&self, kind: &str, row: usize) -> Option<Data> {
        if matches!(kind, "gauge" | "sum") {
            return get(&self.value, row).map(Data::Number);
        }
        let buckets = match kind {
            "histogram" => self.explicit(row),
            "exponential_histogram" => Some(self.exponential(row)),
            _ => None,
        };
        let (items, quantile, value) = &self.quantiles;
        let quantiles = items.range(row).filter_map(|i| Some((get(quantile, i)?, get(value, i)?)));
        Some(Data::Distribution {
            count: get(&self.count, row)?,
            sum: get(&self.sum, row),
            min: get(&self.min, row),
            max: get(&self.max, row),
            buckets,
            quantiles: quantiles.collect(),
        })
    }

    fn explicit(&self, row: usize) -> Option<Buckets> {
        let (range, counts) = self.bucket_counts.get(row)?;
        let counts: Vec<u64> = range.filter_map(|i| get(counts, i)).collect();
        let bounds: Vec<f64> = match self.explicit_bounds.get(row) {
            Some((range, bounds)) => range.filter_map(|i| get(bounds, i)).collect(),
            None => Vec::new(),
        };
        (counts.len() == bounds.len() + 1).then_some(Buckets::Explicit { bounds, counts })
    }

    fn exponential(&self, row: usize) -> Buckets {
        let side = |(offset, counts): &(Int32Array, Numbers<UInt64Array>)| {
            let first = get(offset, row).unwrap_or_default();
            let Some((range, counts)) = counts.get(row) else { return Default::default() };
            let counted = (first..).zip(range).filter_map(|(index, i)| Some((index, get(counts, i)?)));
            counted.filter(|(_, count)| *count > 0).collect()
        };
        Buckets::Exponential(Exponential {
            scale: get(&self.scale, row).unwrap_or_default(),
            zero: get(&self.zero_count, row).unwrap_or_default(),
            positive: side(&self.positive),
            negative: side(&self.negative),
        })
    }
}

fn get<T: ArrowPrimitiveType>(column: &PrimitiveArray<T>, row: usize) -> Option<T::Native> {
    (row < column.len() && column.is_valid(row)).then(|| column.value(row))
}
