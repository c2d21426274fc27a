//! Rows of `invocations` that follow from rows of `metrics`.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{ArrowPrimitiveType, Float64Type, TimestampNanosecondType, UInt64Type};

use super::FactRows;
use crate::columns::{ColumnsError, Known, Resources, Text};
use crate::invocation::{Fact, MetricView, is_of_functions};

/// Adds the facts that follow from a batch of `metrics`. Points of all but a few metrics cost one look at their name.
pub(crate) fn add(metrics: &RecordBatch, known: &Known, rows: &mut FactRows) -> Result<(), ColumnsError> {
    let names = Text::of(metrics, "name")?;
    let taken: Vec<usize> = (0..metrics.num_rows()).filter(|row| is_of_functions(names.or_empty(*row))).collect();
    if taken.is_empty() {
        return Ok(());
    }
    let text = |name: &'static str| Text::of(metrics, name);
    let (tenants, services, functions) = (text("tenant")?, text("service")?, text("function")?);
    let (units, temporalities, scopes) = (text("unit")?, text("temporality")?, text("scope_name")?);
    let resources = Resources::of(metrics, known)?;
    let times = numbers::<TimestampNanosecondType>(metrics, "time")?;
    let starts = numbers::<TimestampNanosecondType>(metrics, "start_time")?;
    let (values, sums) = (numbers::<Float64Type>(metrics, "value")?, numbers::<Float64Type>(metrics, "sum")?);
    let counts = numbers::<UInt64Type>(metrics, "count")?;
    for row in taken {
        let fact = Fact::of_metric(&MetricView {
            time_ns: times(row).unwrap_or_default(),
            start_ns: starts(row).filter(|start| *start > 0),
            name: names.or_empty(row),
            unit: units.or_empty(row),
            is_cumulative: temporalities.or_empty(row) == "cumulative",
            value: values(row),
            count: counts(row),
            sum: sums(row),
            scope: scopes.or_empty(row),
            function: functions.get(row).filter(|f| !f.is_empty()),
            resource: resources.get(row),
        });
        fact.iter().for_each(|fact| rows.push(tenants.or_empty(row), services.or_empty(row), fact));
    }
    Ok(())
}

/// The numbers of a column, by row.
fn numbers<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &'static str,
) -> Result<impl Fn(usize) -> Option<T::Native> + 'a, ColumnsError> {
    let column = batch.column_by_name(name).and_then(|c| c.as_primitive_opt::<T>()).ok_or(ColumnsError(name))?;
    Ok(move |row: usize| (row < column.len() && column.is_valid(row)).then(|| column.value(row)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampNanosecondArray, UInt64Array};
    use arrow::array::{DictionaryArray, Int32Array};
    use arrow::datatypes::Int32Type;

    use super::*;
    use crate::facts::facts;
    use crate::invocation::Source;

    const RESOURCE: &str = r#"{"attributes":{"faas.name":"orders","faas.instance":"2026/11/21/[7]ab"}}"#;

    /// Name, value, count, sum.
    type Point<'a> = (&'a str, Option<f64>, Option<u64>, Option<f64>);

    /// A batch with what is read of the table.
    fn points(rows: &[Point<'_>]) -> RecordBatch {
        points_of(RESOURCE, rows)
    }

    fn points_of(resource: &str, rows: &[Point<'_>]) -> RecordBatch {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![resource]));
        let keys = Int32Array::from(vec![0; rows.len()]);
        let resources: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::try_new(keys, texts).unwrap());
        let words = |word: &str| -> ArrayRef { Arc::new(StringArray::from(vec![word; rows.len()])) };
        let names: StringArray = rows.iter().map(|row| Some(row.0)).collect();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("tenant", words("default")),
            ("service", words("orders")),
            ("function", words("orders")),
            ("name", Arc::new(names)),
            ("unit", words("s")),
            ("temporality", words("delta")),
            ("scope_name", words("shop")),
            ("resource", resources),
            ("time", Arc::new(TimestampNanosecondArray::from(vec![9_000; rows.len()]))),
            ("start_time", Arc::new(TimestampNanosecondArray::from(vec![5_000; rows.len()]))),
            ("value", Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.1)))),
            ("count", Arc::new(UInt64Array::from_iter(rows.iter().map(|row| row.2)))),
            ("sum", Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.3)))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
            .unwrap()
    }

    #[test]
    fn points_of_functions_become_facts() {
        let batch = points(&[
            ("http.server.duration", None, Some(1), Some(0.2)),
            ("faas.coldstarts", Some(1.0), None, None),
            ("faas.init_duration", None, Some(1), Some(0.25)),
            ("faas.mem_usage", None, Some(1), Some(1e8)),
            ("faas.mem_usage", None, Some(2), Some(2e8)),
        ]);
        let mut rows = FactRows::default();
        add(&batch, &Known::default(), &mut rows).unwrap();
        let found = facts(&rows.finish().unwrap().unwrap()).unwrap();
        let told: Vec<_> = found.iter().map(|f| (f.source, f.init_ns, f.memory_used, f.start_ns)).collect();
        let expected = [
            (Source::InitMetric, None, None, None),
            (Source::InitMetric, Some(250_000_000), None, None),
            (Source::Metric, None, Some(100_000_000), Some(5_000)),
        ];
        assert_eq!(told, expected);
        assert!(found.iter().all(|f| f.instance.as_deref() == Some("2026/11/21/[7]ab")));
        assert!(found.iter().all(|f| f.function.as_deref() == Some("orders")));
    }

    /// To read the resource of each point would be to read 20 gigabytes.
    #[test]
    fn a_large_resource_of_many_points_is_read_once() {
        let note = "x".repeat(1_000_000);
        let resource = format!(r#"{{"attributes":{{"faas.name":"orders","note":"{note}","faas.instance":"7"}}}}"#);
        let mut rows = FactRows::default();
        let points = points_of(&resource, &[("faas.mem_usage", None, Some(1), Some(1e8)); 20_000]);
        add(&points, &Known::default(), &mut rows).unwrap();
        let found = facts(&rows.finish().unwrap().unwrap()).unwrap();
        assert_eq!(found.len(), 20_000);
        assert!(found.iter().all(|f| f.instance.as_deref() == Some("7")));
    }

    #[test]
    fn other_metrics_are_no_rows() {
        let mut rows = FactRows::default();
        add(&points(&[("http.server.duration", None, Some(1), Some(0.2))]), &Known::default(), &mut rows).unwrap();
        add(&points(&[("faas.timeouts", Some(0.0), None, None)]), &Known::default(), &mut rows).unwrap();
        assert!(rows.finish().unwrap().is_none());
    }
}
