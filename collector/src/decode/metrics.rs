//! The columns of `metrics`.

mod exemplars;
mod series;

use arrow::array::ArrayRef;
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, UInt32Type, UInt64Type};
use arrow::error::ArrowError;
use hopline_model::{Signal, Table, names};
use hopline_proto::value::key_value_to_text;
use hopline_proto::wire::WireError;

use self::exemplars::{Exemplars, Quantiles};
use super::column::{Blanks, Bools, Dict, Ids, Lists, Numbers, Optional, Times, Values};
use super::common::Common;
use super::message::{Buckets, MetricHead, MetricKind, Number, Point, PointPart, Quantile};
use super::{Rows, Scratch, Stop};

/// What all points of one metric share: keys in the dictionaries.
#[derive(Debug, Clone, Copy)]
struct MetricKeys {
    kind: MetricKind,
    name: i32,
    description: i32,
    unit: i32,
    kind_key: i32,
    temporality: Option<i32>,
    is_monotonic: Option<bool>,
    metadata: Option<i32>,
    series: u64,
}

/// The columns of `metrics`.
#[derive(Debug)]
pub(super) struct Metrics {
    common: Common,
    time: Times,
    start_time: Optional<Times>,
    name: Dict,
    description: Dict,
    unit: Dict,
    kind: Dict,
    temporality: Optional<Dict>,
    is_monotonic: Optional<Bools>,
    metadata: Optional<Dict>,
    series_id: Ids<8>,
    flags: Numbers<UInt32Type>,
    value: Optional<Numbers<Float64Type>>,
    value_int: Optional<Numbers<Int64Type>>,
    count: Optional<Numbers<UInt64Type>>,
    sum: Optional<Numbers<Float64Type>>,
    min: Optional<Numbers<Float64Type>>,
    max: Optional<Numbers<Float64Type>>,
    bucket_counts: Optional<Lists<Numbers<UInt64Type>>>,
    explicit_bounds: Optional<Lists<Numbers<Float64Type>>>,
    scale: Optional<Numbers<Int32Type>>,
    zero_count: Optional<Numbers<UInt64Type>>,
    zero_threshold: Optional<Numbers<Float64Type>>,
    positive: Side,
    negative: Side,
    quantiles: Optional<Lists<Quantiles>>,
    exemplars: Optional<Lists<Exemplars>>,
}

/// One side of exponential histograms. The offset is null where the side was not sent,
/// the counts where it has none.
#[derive(Debug, Default)]
struct Side {
    offset: Optional<Numbers<Int32Type>>,
    counts: Optional<Lists<Numbers<UInt64Type>>>,
}

impl Side {
    fn push(&mut self, row: usize, buckets: Option<&[u8]>, counts: &mut Vec<u64>) -> Result<(), WireError> {
        if let Some(buckets) = buckets {
            let head = Buckets::read(buckets, counts)?;
            self.offset.at(row).push(head.offset);
            push_list(&mut self.counts, row, counts.iter().copied());
        }
        Ok(())
    }

    fn truncate(&mut self, rows: usize) {
        self.offset.truncate(rows);
        self.counts.truncate(rows);
    }
}

/// Appends a list, unless it is empty.
fn push_list<T: arrow::array::ArrowPrimitiveType>(
    column: &mut Optional<Lists<Numbers<T>>>,
    row: usize,
    values: impl ExactSizeIterator<Item = T::Native>,
) {
    if values.len() > 0 {
        let items = column.at(row).open();
        values.for_each(|value| items.push(value));
    }
}

impl Metrics {
    /// Reads what stands around the points; nothing if the metric has no data.
    fn keys(&mut self, metric: &[u8], scratch: &mut Scratch<'_>) -> Result<Option<MetricKeys>, Stop> {
        scratch.text.clear();
        scratch.text.push('{');
        let head = MetricHead::read::<Stop>(metric, |metadata| {
            key_value_to_text(metadata, &mut scratch.text, 0)?;
            Ok(())
        })?;
        let Some(kind) = head.kind else { return Ok(None) };
        let metadata = if scratch.text.len() > 1 {
            scratch.text.push('}');
            Some(self.metadata.values().key(scratch.text.as_bytes()))
        } else {
            None
        };
        let temporality = if kind.has_temporality() {
            let word = names::temporality_name(head.temporality);
            Some(self.temporality.values().key(word.as_bytes()))
        } else {
            None
        };
        Ok(Some(MetricKeys {
            kind,
            name: self.name.key(head.name),
            description: self.description.key(head.description),
            unit: self.unit.key(head.unit),
            kind_key: self.kind.key(kind.name().as_bytes()),
            temporality,
            is_monotonic: if kind == MetricKind::Sum { Some(head.is_monotonic) } else { None },
            metadata,
            series: series::of_metric(head.name, self.common.source_hashes()),
        }))
    }

    fn push<'a>(&mut self, keys: &MetricKeys, point: &'a [u8], scratch: &mut Scratch<'a>) -> Result<(), Stop> {
        let row = self.common.rows();
        let Scratch { attributes, events: exemplars, links: quantiles, lists, .. } = scratch;
        attributes.clear();
        exemplars.clear();
        quantiles.clear();
        let head = Point::read::<WireError>(keys.kind, point, lists, |part, bytes| {
            match part {
                PointPart::Attribute => attributes.push(bytes),
                PointPart::Exemplar => exemplars.push(bytes),
                PointPart::Quantile => quantiles.push(bytes),
            }
            Ok(())
        })?;
        self.push_metric(row, keys);
        self.time.push(head.time);
        if head.start_time != 0 {
            self.start_time.at(row).push(head.start_time);
        }
        self.flags.push(head.flags);
        self.push_numbers(row, keys.kind, &head, scratch)?;
        self.push_parts(row, scratch)?;

        let attributes = std::mem::take(&mut scratch.attributes);
        let series = series::of_point(keys.series, &attributes, &mut scratch.text);
        let pushed = self.common.attributes.push(row, &attributes, scratch);
        scratch.attributes = attributes;
        self.series_id.push(&series?.to_be_bytes());
        pushed?;
        self.common.end_row(None);
        Ok(())
    }

    fn push_metric(&mut self, row: usize, keys: &MetricKeys) {
        self.name.push_key(keys.name);
        self.description.push_key(keys.description);
        self.unit.push_key(keys.unit);
        self.kind.push_key(keys.kind_key);
        if let Some(key) = keys.temporality {
            self.temporality.at(row).push_key(key);
        }
        if let Some(is_monotonic) = keys.is_monotonic {
            self.is_monotonic.at(row).push(is_monotonic);
        }
        if let Some(key) = keys.metadata {
            self.metadata.at(row).push_key(key);
        }
    }

    fn push_numbers(
        &mut self,
        row: usize,
        kind: MetricKind,
        head: &Point<'_>,
        scratch: &mut Scratch<'_>,
    ) -> Result<(), Stop> {
        match head.value {
            Some(Number::Double(value)) => self.value.at(row).push(value),
            Some(Number::Int(value)) => {
                self.value.at(row).push(value as f64);
                self.value_int.at(row).push(value);
            }
            None => {}
        }
        if matches!(kind, MetricKind::Gauge | MetricKind::Sum) {
            return Ok(());
        }
        self.count.at(row).push(head.count);
        // The sum of a summary has no presence of its own.
        let sum = if kind == MetricKind::Summary { head.sum.or(Some(0.0)) } else { head.sum };
        for (column, value) in [(&mut self.sum, sum), (&mut self.min, head.min), (&mut self.max, head.max)] {
            if let Some(value) = value {
                column.at(row).push(value);
            }
        }
        push_list(&mut self.bucket_counts, row, scratch.lists.counts.iter().copied());
        push_list(&mut self.explicit_bounds, row, scratch.lists.bounds.iter().map(|bits| f64::from_bits(*bits)));
        if kind == MetricKind::ExponentialHistogram {
            self.scale.at(row).push(head.scale);
            self.zero_count.at(row).push(head.zero_count);
            self.zero_threshold.at(row).push(head.zero_threshold);
            self.positive.push(row, head.positive, &mut scratch.lists.counts)?;
            self.negative.push(row, head.negative, &mut scratch.lists.counts)?;
        }
        Ok(())
    }

    /// The exemplars and quantiles, which stand where a span has its events and links.
    fn push_parts(&mut self, row: usize, scratch: &mut Scratch<'_>) -> Result<(), Stop> {
        if !scratch.events.is_empty() {
            let exemplars = self.exemplars.at(row).open();
            for exemplar in &scratch.events {
                exemplars.push(exemplar, &mut scratch.text)?;
            }
        }
        if !scratch.links.is_empty() {
            let quantiles = self.quantiles.at(row).open();
            for quantile in &scratch.links {
                quantiles.push(Quantile::read(quantile)?);
            }
        }
        Ok(())
    }
}

impl Rows for Metrics {
    const SIGNAL: Signal = Signal::Metrics;

    fn new() -> Self {
        Metrics {
            common: Common::new(Table::Metrics),
            time: Times::default(),
            start_time: Optional::default(),
            name: Dict::default(),
            description: Dict::default(),
            unit: Dict::default(),
            kind: Dict::default(),
            temporality: Optional::default(),
            is_monotonic: Optional::default(),
            metadata: Optional::default(),
            series_id: Ids::default(),
            flags: Numbers::default(),
            value: Optional::default(),
            value_int: Optional::default(),
            count: Optional::default(),
            sum: Optional::default(),
            min: Optional::default(),
            max: Optional::default(),
            bucket_counts: Optional::default(),
            explicit_bounds: Optional::default(),
            scale: Optional::default(),
            zero_count: Optional::default(),
            zero_threshold: Optional::default(),
            positive: Side::default(),
            negative: Side::default(),
            quantiles: Optional::default(),
            exemplars: Optional::default(),
        }
    }

    fn common(&mut self) -> &mut Common {
        &mut self.common
    }

    fn push_item<'a>(&mut self, metric: &'a [u8], scratch: &mut Scratch<'a>) -> Result<bool, WireError> {
        let keys = match self.keys(metric, scratch) {
            Ok(Some(keys)) => keys,
            Ok(None) | Err(Stop::TooDeep) => return Ok(false),
            Err(Stop::Wire(error)) => return Err(error),
        };
        let mut all = true;
        MetricHead::points::<WireError>(metric, keys.kind, |point| match self.push(&keys, point, scratch) {
            Ok(()) => Ok(()),
            Err(Stop::Wire(error)) => Err(error),
            Err(Stop::TooDeep) => {
                all = false;
                self.truncate(self.common.rows());
                Ok(())
            }
        })?;
        Ok(all)
    }

    fn rows(&self) -> usize {
        self.common.rows()
    }

    fn truncate(&mut self, rows: usize) {
        self.common.truncate(rows);
        self.time.truncate(rows);
        self.start_time.truncate(rows);
        for dict in [&mut self.name, &mut self.description, &mut self.unit, &mut self.kind] {
            dict.truncate(rows);
        }
        self.temporality.truncate(rows);
        self.is_monotonic.truncate(rows);
        self.metadata.truncate(rows);
        self.series_id.truncate(rows);
        self.flags.truncate(rows);
        for column in [&mut self.value, &mut self.sum, &mut self.min, &mut self.max, &mut self.zero_threshold] {
            column.truncate(rows);
        }
        self.value_int.truncate(rows);
        self.count.truncate(rows);
        self.bucket_counts.truncate(rows);
        self.explicit_bounds.truncate(rows);
        self.scale.truncate(rows);
        self.zero_count.truncate(rows);
        self.positive.truncate(rows);
        self.negative.truncate(rows);
        self.quantiles.truncate(rows);
        self.exemplars.truncate(rows);
    }

    fn bytes(&self) -> usize {
        let words = [&self.name, &self.description, &self.unit, &self.kind];
        let numbers = [&self.value, &self.sum, &self.min, &self.max, &self.zero_threshold];
        // Time, series id and flags.
        self.common.bytes()
            + self.rows() * (8 + 8 + 4)
            + words.iter().map(|d| d.bytes()).sum::<usize>()
            + numbers.iter().map(|n| n.bytes()).sum::<usize>()
            + self.start_time.bytes()
            + self.temporality.bytes()
            + self.is_monotonic.bytes()
            + self.metadata.bytes()
            + self.value_int.bytes()
            + self.count.bytes()
            + self.bucket_counts.bytes()
            + self.explicit_bounds.bytes()
            + self.scale.bytes()
            + self.zero_count.bytes()
            + self.positive.offset.bytes()
            + self.positive.counts.bytes()
            + self.negative.offset.bytes()
            + self.negative.counts.bytes()
            + self.quantiles.bytes()
            + self.exemplars.bytes()
    }

    fn full(&self) -> bool {
        let words = [&self.name, &self.description, &self.unit, self.metadata.get()];
        self.common.full() || words.iter().any(|d| d.full()) || self.exemplars.full()
    }

    fn finish(&mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        let mut blanks = Blanks::default();
        self.common.finish(&mut blanks, |rows, blanks, out| {
            out.push(self.time.finish(None)?);
            out.push(self.start_time.finish(rows, blanks)?);
            for dict in [&mut self.name, &mut self.description, &mut self.unit, &mut self.kind] {
                out.push(dict.finish(None)?);
            }
            out.push(self.temporality.finish(rows, blanks)?);
            out.push(self.is_monotonic.finish(rows, blanks)?);
            out.push(self.metadata.finish(rows, blanks)?);
            out.push(self.series_id.finish(None)?);
            out.push(self.flags.finish(None)?);
            out.push(self.value.finish(rows, blanks)?);
            out.push(self.value_int.finish(rows, blanks)?);
            out.push(self.count.finish(rows, blanks)?);
            for column in [&mut self.sum, &mut self.min, &mut self.max] {
                out.push(column.finish(rows, blanks)?);
            }
            out.push(self.bucket_counts.finish(rows, blanks)?);
            out.push(self.explicit_bounds.finish(rows, blanks)?);
            out.push(self.scale.finish(rows, blanks)?);
            out.push(self.zero_count.finish(rows, blanks)?);
            out.push(self.zero_threshold.finish(rows, blanks)?);
            for side in [&mut self.positive, &mut self.negative] {
                out.push(side.offset.finish(rows, blanks)?);
                out.push(side.counts.finish(rows, blanks)?);
            }
            out.push(self.quantiles.finish(rows, blanks)?);
            out.push(self.exemplars.finish(rows, blanks)?);
            Ok(())
        })
    }
}
