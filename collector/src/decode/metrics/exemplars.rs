//! What stands in lists at a data point: exemplars, and quantiles of a summary.

use std::sync::Arc;

use arrow::array::{ArrayRef, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Float64Type, Int64Type};
use arrow::error::ArrowError;
use hopline_model::schema;
use hopline_proto::value::key_value_to_text;

use crate::decode::Stop;
use crate::decode::column::{Blanks, Ids, Numbers, Optional, Text, Times, Values};
use crate::decode::message::{ExemplarHead, Number, Quantile};

/// The exemplars of all points.
#[derive(Debug, Default)]
pub(super) struct Exemplars {
    time: Times,
    value: Optional<Numbers<Float64Type>>,
    value_int: Optional<Numbers<Int64Type>>,
    trace_id: Optional<Ids<16>>,
    span_id: Optional<Ids<8>>,
    attributes: Text,
}

impl Exemplars {
    pub(super) fn push(&mut self, exemplar: &[u8], text: &mut String) -> Result<(), Stop> {
        let row = self.len();
        text.clear();
        text.push('{');
        let head = ExemplarHead::read::<Stop>(exemplar, |attribute| {
            key_value_to_text(attribute, text, 0)?;
            Ok(())
        })?;
        text.push('}');
        self.time.push(head.time);
        match head.value {
            Some(Number::Double(value)) => self.value.at(row).push(value),
            Some(Number::Int(value)) => {
                self.value.at(row).push(value as f64);
                self.value_int.at(row).push(value);
            }
            None => {}
        }
        if let Some(id) = head.trace_id.as_array() {
            self.trace_id.at(row).push(id);
        }
        if let Some(id) = head.span_id.as_array() {
            self.span_id.at(row).push(id);
        }
        self.attributes.push_str(text);
        Ok(())
    }
}

impl Values for Exemplars {
    fn len(&self) -> usize {
        self.time.len()
    }

    fn pad(&mut self, len: usize) {
        self.time.pad(len);
        self.attributes.pad(len);
    }

    fn truncate(&mut self, len: usize) {
        self.time.truncate(len);
        self.value.truncate(len);
        self.value_int.truncate(len);
        self.trace_id.truncate(len);
        self.span_id.truncate(len);
        self.attributes.truncate(len);
    }

    fn bytes(&self) -> usize {
        let numbers = self.time.bytes() + self.value.bytes() + self.value_int.bytes();
        numbers + self.trace_id.bytes() + self.span_id.bytes() + self.attributes.bytes()
    }

    fn full(&self) -> bool {
        self.attributes.full()
    }

    fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
        let (len, mut blanks) = (self.len(), Blanks::default());
        let columns = vec![
            self.time.finish(None)?,
            self.value.finish(len, &mut blanks)?,
            self.value_int.finish(len, &mut blanks)?,
            self.trace_id.finish(len, &mut blanks)?,
            self.span_id.finish(len, &mut blanks)?,
            self.attributes.finish(None)?,
        ];
        Ok(Arc::new(StructArray::try_new(schema::exemplar_fields(), columns, nulls)?))
    }
}

/// The quantiles of all summaries.
#[derive(Debug, Default)]
pub(super) struct Quantiles {
    quantile: Numbers<Float64Type>,
    value: Numbers<Float64Type>,
}

impl Quantiles {
    pub(super) fn push(&mut self, quantile: Quantile) {
        self.quantile.push(quantile.quantile);
        self.value.push(quantile.value);
    }
}

impl Values for Quantiles {
    fn len(&self) -> usize {
        self.quantile.len()
    }

    fn pad(&mut self, len: usize) {
        self.quantile.pad(len);
        self.value.pad(len);
    }

    fn truncate(&mut self, len: usize) {
        self.quantile.truncate(len);
        self.value.truncate(len);
    }

    fn bytes(&self) -> usize {
        2 * self.quantile.bytes()
    }

    fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
        let columns = vec![self.quantile.finish(None)?, self.value.finish(None)?];
        Ok(Arc::new(StructArray::try_new(schema::quantile_fields(), columns, nulls)?))
    }
}
