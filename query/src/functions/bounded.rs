//! DataFusion's functions that make large values of small ones, with a limit.
//!
//! What a function returns is not counted against the memory budget until an operator
//! keeps it, so `repeat('x', 1000000000)` would take the server down before any limit
//! is asked. Each of these functions is refused a length beyond a bound of its own.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

/// The most bytes or items that one call may make of a batch of rows.
pub const SIZE_MAX: i64 = 1 << 25;

/// The functions, the arguments that say how much they make, and what of.
const LENGTHS: [(&str, &[usize], Unit); 7] = [
    ("repeat", &[1], Unit::FirstArgument),
    ("lpad", &[1], Unit::One),
    ("rpad", &[1], Unit::One),
    ("array_repeat", &[1], Unit::FirstArgument),
    ("array_resize", &[1], Unit::One),
    ("range", &[0, 1], Unit::One),
    ("generate_series", &[0, 1], Unit::One),
];

/// What is made as often as a length says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Unit {
    /// A character, a byte or an item.
    One,
    /// What the first argument is.
    FirstArgument,
}

/// The `function` itself, or, if it makes large values, the function with a limit.
pub fn bound(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    let lengths = LENGTHS.iter().find(|(name, ..)| *name == function.name());
    match lengths {
        Some((_, lengths, unit)) => Arc::new(ScalarUDF::from(Bounded { inner: function, lengths, unit: *unit })),
        None => function,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    lengths: &'static [usize],
    unit: Unit,
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let units = match (self.unit, args.args.first()) {
            (Unit::FirstArgument, Some(first)) => sizes(first, args.number_rows)?,
            _ => vec![1; args.number_rows.max(1)],
        };
        let mut size = 0_i64;
        for length in self.lengths.iter().filter_map(|i| args.args.get(*i)) {
            if length.data_type().is_temporal() {
                return exec_err!("{} takes numbers; for times use date_bin or date_trunc", self.name());
            }
            let lengths = lengths(length, args.number_rows)?;
            size = units.iter().zip(lengths).fold(size, |sum, (unit, n)| sum.saturating_add(n.saturating_mul(*unit)));
        }
        if size > SIZE_MAX {
            return exec_err!("{} is asked for more than {SIZE_MAX} characters or items at once", self.name());
        }
        self.inner.invoke_with_args(args)
    }
}

/// The absolute value of an argument in each row.
fn lengths(argument: &ColumnarValue, rows: usize) -> Result<Vec<i64>> {
    let numbers = arrow::compute::cast(&argument.to_array(rows.max(1))?, &DataType::Int64)?;
    Ok(numbers.as_primitive::<Int64Type>().iter().map(|n| n.unwrap_or(0).saturating_abs()).collect())
}

/// About how many bytes an argument has in each row.
fn sizes(argument: &ColumnarValue, rows: usize) -> Result<Vec<i64>> {
    let bytes = |size: usize| i64::try_from(size).unwrap_or(i64::MAX).saturating_add(1);
    match argument {
        ColumnarValue::Scalar(value) => Ok(vec![bytes(value.size()); rows.max(1)]),
        ColumnarValue::Array(array) => match arrow::compute::cast(array, &DataType::Utf8) {
            Ok(texts) => Ok(texts.as_string::<i32>().iter().map(|t| bytes(t.map_or(0, str::len))).collect()),
            Err(_) => Ok(vec![bytes(array.get_array_memory_size()); rows.max(1)]),
        },
    }
}
