//! `Metric`, its data points and their exemplars.

use hopline_proto::wire::{self, Reader, Value, WireError};

/// The kinds of metric. The number is that of the field in `Metric`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode) enum MetricKind {
    Gauge = 5,
    Sum = 7,
    Histogram = 9,
    ExponentialHistogram = 10,
    Summary = 11,
}

impl MetricKind {
    const ALL: [MetricKind; 5] = [
        MetricKind::Gauge,
        MetricKind::Sum,
        MetricKind::Histogram,
        MetricKind::ExponentialHistogram,
        MetricKind::Summary,
    ];

    /// The word of the column `type`.
    pub(in crate::decode) fn name(self) -> &'static str {
        match self {
            MetricKind::Gauge => "gauge",
            MetricKind::Sum => "sum",
            MetricKind::Histogram => "histogram",
            MetricKind::ExponentialHistogram => "exponential_histogram",
            MetricKind::Summary => "summary",
        }
    }

    /// Whether metrics of this kind have an aggregation temporality.
    pub(in crate::decode) fn has_temporality(self) -> bool {
        !matches!(self, MetricKind::Gauge | MetricKind::Summary)
    }
}

/// A metric without its metadata and points.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::decode) struct MetricHead<'a> {
    pub(in crate::decode) name: &'a [u8],
    pub(in crate::decode) description: &'a [u8],
    pub(in crate::decode) unit: &'a [u8],
    /// Nothing if the metric has no data, or data of a kind that is not known.
    pub(in crate::decode) kind: Option<MetricKind>,
    pub(in crate::decode) temporality: i32,
    pub(in crate::decode) is_monotonic: bool,
}

impl<'a> MetricHead<'a> {
    /// Reads a `Metric`; its points are read by [`MetricHead::points`].
    pub(in crate::decode) fn read<E: From<WireError>>(
        metric: &'a [u8],
        mut metadata: impl FnMut(&'a [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut head = MetricHead::default();
        let mut reader = Reader::new(metric);
        while let Some((field, value)) = reader.next()? {
            match (field, value) {
                (1, Value::Bytes(text)) => head.name = text,
                (2, Value::Bytes(text)) => head.description = text,
                (3, Value::Bytes(text)) => head.unit = text,
                (12, Value::Bytes(bytes)) => metadata(bytes)?,
                (_, Value::Bytes(_)) => {
                    head.kind = MetricKind::ALL.into_iter().find(|k| *k as u32 == field).or(head.kind);
                }
                _ => {}
            }
        }
        let Some(kind) = head.kind else { return Ok(head) };
        for_each_data(metric, kind, |field, value| {
            match (field, value) {
                (2, Value::Varint(n)) => head.temporality = n as i32,
                (3, Value::Varint(n)) => head.is_monotonic = n != 0,
                _ => {}
            }
            Ok::<_, E>(())
        })?;
        Ok(head)
    }

    /// Hands over the data points of a metric of `kind`.
    pub(in crate::decode) fn points<E: From<WireError>>(
        metric: &'a [u8],
        kind: MetricKind,
        mut point: impl FnMut(&'a [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for_each_data(metric, kind, |field, value| match (field, value) {
            (1, Value::Bytes(bytes)) => point(bytes),
            _ => Ok(()),
        })
    }
}

/// Hands over the fields of the metric's `Gauge`, `Sum` and so on.
fn for_each_data<'a, E: From<WireError>>(
    metric: &'a [u8],
    kind: MetricKind,
    mut each: impl FnMut(u32, Value<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let mut fields = Reader::new(metric);
    while let Some(data) = super::next_message(&mut fields, kind as u32)? {
        let mut reader = Reader::new(data);
        while let Some((field, value)) = reader.next()? {
            each(field, value)?;
        }
    }
    Ok(())
}

/// The value of a number data point or of an exemplar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::decode) enum Number {
    Double(f64),
    Int(i64),
}

/// What may occur several times in a data point.
#[derive(Debug, Clone, Copy)]
pub(in crate::decode) enum PointPart {
    Attribute,
    Exemplar,
    Quantile,
}

/// The lists of numbers of a histogram's point.
#[derive(Debug, Default)]
pub(in crate::decode) struct Lists {
    pub(in crate::decode) counts: Vec<u64>,
    /// The bits of doubles.
    pub(in crate::decode) bounds: Vec<u64>,
}

/// A data point of any kind, without its repeated parts.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::decode) struct Point<'a> {
    pub(in crate::decode) start_time: u64,
    pub(in crate::decode) time: u64,
    pub(in crate::decode) flags: u32,
    /// Of gauges and sums.
    pub(in crate::decode) value: Option<Number>,
    pub(in crate::decode) count: u64,
    pub(in crate::decode) sum: Option<f64>,
    pub(in crate::decode) min: Option<f64>,
    pub(in crate::decode) max: Option<f64>,
    pub(in crate::decode) scale: i32,
    pub(in crate::decode) zero_count: u64,
    pub(in crate::decode) zero_threshold: f64,
    pub(in crate::decode) positive: Option<&'a [u8]>,
    pub(in crate::decode) negative: Option<&'a [u8]>,
}

impl<'a> Point<'a> {
    /// Reads a data point of a metric of `kind`; `lists` is filled anew.
    pub(in crate::decode) fn read<E: From<WireError>>(
        kind: MetricKind,
        point: &'a [u8],
        lists: &mut Lists,
        mut part: impl FnMut(PointPart, &'a [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        lists.counts.clear();
        lists.bounds.clear();
        let mut head = Point::default();
        let mut reader = Reader::new(point);
        while let Some((field, value)) = reader.next()? {
            match (field, value) {
                // The only two fields that have the same meaning in all kinds.
                (2, Value::Fixed64(time)) => head.start_time = time,
                (3, Value::Fixed64(time)) => head.time = time,
                _ => match kind {
                    MetricKind::Gauge | MetricKind::Sum => head.number(field, value, &mut part)?,
                    MetricKind::Histogram => head.histogram(field, value, lists, &mut part)?,
                    MetricKind::ExponentialHistogram => head.exponential(field, value, &mut part)?,
                    MetricKind::Summary => head.summary(field, value, &mut part)?,
                },
            }
        }
        Ok(head)
    }

    fn number<E>(
        &mut self,
        field: u32,
        value: Value<'a>,
        part: &mut impl FnMut(PointPart, &'a [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        match (field, value) {
            (4, Value::Fixed64(bits)) => self.value = Some(Number::Double(f64::from_bits(bits))),
            (5, Value::Bytes(bytes)) => part(PointPart::Exemplar, bytes)?,
            (6, Value::Fixed64(bits)) => self.value = Some(Number::Int(bits as i64)),
            (7, Value::Bytes(bytes)) => part(PointPart::Attribute, bytes)?,
            (8, Value::Varint(flags)) => self.flags = flags as u32,
            _ => {}
        }
        Ok(())
    }

    fn histogram<E: From<WireError>>(
        &mut self,
        field: u32,
        value: Value<'a>,
        lists: &mut Lists,
        part: &mut impl FnMut(PointPart, &'a [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        match (field, value) {
            (4, Value::Fixed64(count)) => self.count = count,
            (5, Value::Fixed64(bits)) => self.sum = Some(f64::from_bits(bits)),
            (6, Value::Fixed64(count)) => lists.counts.push(count),
            (6, Value::Bytes(packed)) => lists.counts.extend(wire::fixed64s(packed)?),
            (7, Value::Fixed64(bits)) => lists.bounds.push(bits),
            (7, Value::Bytes(packed)) => lists.bounds.extend(wire::fixed64s(packed)?),
            (8, Value::Bytes(bytes)) => part(PointPart::Exemplar, bytes)?,
            (9, Value::Bytes(bytes)) => part(PointPart::Attribute, bytes)?,
            (10, Value::Varint(flags)) => self.flags = flags as u32,
            (11, Value::Fixed64(bits)) => self.min = Some(f64::from_bits(bits)),
            (12, Value::Fixed64(bits)) => self.max = Some(f64::from_bits(bits)),
            _ => {}
        }
        Ok(())
    }

    fn exponential<E>(
        &mut self,
        field: u32,
        value: Value<'a>,
        part: &mut impl FnMut(PointPart, &'a [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        match (field, value) {
            (1, Value::Bytes(bytes)) => part(PointPart::Attribute, bytes)?,
            (4, Value::Fixed64(count)) => self.count = count,
            (5, Value::Fixed64(bits)) => self.sum = Some(f64::from_bits(bits)),
            (6, Value::Varint(scale)) => self.scale = wire::zigzag_decode(scale) as i32,
            (7, Value::Fixed64(count)) => self.zero_count = count,
            (8, Value::Bytes(buckets)) => self.positive = Some(buckets),
            (9, Value::Bytes(buckets)) => self.negative = Some(buckets),
            (10, Value::Varint(flags)) => self.flags = flags as u32,
            (11, Value::Bytes(bytes)) => part(PointPart::Exemplar, bytes)?,
            (12, Value::Fixed64(bits)) => self.min = Some(f64::from_bits(bits)),
            (13, Value::Fixed64(bits)) => self.max = Some(f64::from_bits(bits)),
            (14, Value::Fixed64(bits)) => self.zero_threshold = f64::from_bits(bits),
            _ => {}
        }
        Ok(())
    }

    fn summary<E>(
        &mut self,
        field: u32,
        value: Value<'a>,
        part: &mut impl FnMut(PointPart, &'a [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        match (field, value) {
            (4, Value::Fixed64(count)) => self.count = count,
            (5, Value::Fixed64(bits)) => self.sum = Some(f64::from_bits(bits)),
            (6, Value::Bytes(bytes)) => part(PointPart::Quantile, bytes)?,
            (7, Value::Bytes(bytes)) => part(PointPart::Attribute, bytes)?,
            (8, Value::Varint(flags)) => self.flags = flags as u32,
            _ => {}
        }
        Ok(())
    }
}

/// One side of an exponential histogram without its counts.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::decode) struct Buckets {
    pub(in crate::decode) offset: i32,
}

impl Buckets {
    /// Reads a `Buckets`; `counts` is filled anew.
    pub(in crate::decode) fn read(buckets: &[u8], counts: &mut Vec<u64>) -> Result<Self, WireError> {
        counts.clear();
        let mut head = Buckets::default();
        let mut reader = Reader::new(buckets);
        while let Some(field) = reader.next()? {
            match field {
                (1, Value::Varint(offset)) => head.offset = wire::zigzag_decode(offset) as i32,
                (2, Value::Varint(count)) => counts.push(count),
                (2, Value::Bytes(packed)) => {
                    for count in wire::varints(packed) {
                        counts.push(count?);
                    }
                }
                _ => {}
            }
        }
        Ok(head)
    }
}

/// One quantile of a summary.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::decode) struct Quantile {
    pub(in crate::decode) quantile: f64,
    pub(in crate::decode) value: f64,
}

impl Quantile {
    /// Reads a `ValueAtQuantile`.
    pub(in crate::decode) fn read(bytes: &[u8]) -> Result<Self, WireError> {
        let mut head = Quantile::default();
        let mut reader = Reader::new(bytes);
        while let Some(field) = reader.next()? {
            match field {
                (1, Value::Fixed64(bits)) => head.quantile = f64::from_bits(bits),
                (2, Value::Fixed64(bits)) => head.value = f64::from_bits(bits),
                _ => {}
            }
        }
        Ok(head)
    }
}

/// An exemplar without its attributes.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::decode) struct ExemplarHead<'a> {
    pub(in crate::decode) time: u64,
    pub(in crate::decode) value: Option<Number>,
    pub(in crate::decode) trace_id: &'a [u8],
    pub(in crate::decode) span_id: &'a [u8],
}

impl<'a> ExemplarHead<'a> {
    /// Reads an `Exemplar`.
    pub(in crate::decode) fn read<E: From<WireError>>(
        exemplar: &'a [u8],
        mut attribute: impl FnMut(&'a [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut head = ExemplarHead::default();
        let mut reader = Reader::new(exemplar);
        while let Some(field) = reader.next()? {
            match field {
                (2, Value::Fixed64(time)) => head.time = time,
                (3, Value::Fixed64(bits)) => head.value = Some(Number::Double(f64::from_bits(bits))),
                (4, Value::Bytes(id)) => head.span_id = id,
                (5, Value::Bytes(id)) => head.trace_id = id,
                (6, Value::Fixed64(bits)) => head.value = Some(Number::Int(bits as i64)),
                (7, Value::Bytes(bytes)) => attribute(bytes)?,
                _ => {}
            }
        }
        Ok(head)
    }
}
