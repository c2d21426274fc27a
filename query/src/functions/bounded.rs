//! DataFusion's functions that make large values of small ones, with a limit.
//!
//! What a function returns is not counted against the memory budget until an operator
//! keeps it, so `repeat('x', 1000000000)` would take the server down before any limit
//! is asked. Each of these functions is refused a length beyond a bound of its own.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

/// The most bytes (of `lpad` and `rpad`: characters) that one call may make of the rows at hand.
pub const SIZE_MAX: i64 = 1 << 25;
/// The bytes of a number in a list.
const NUMBER_BYTES: i64 = 8;

/// The functions, and what they make.
const FUNCTIONS: [(&str, Makes); 7] = [
    ("repeat", Makes::Copies),
    ("array_repeat", Makes::Copies),
    ("lpad", Makes::Text),
    ("rpad", Makes::Text),
    ("array_resize", Makes::List),
    ("range", Makes::Numbers),
    ("generate_series", Makes::Numbers),
];

/// What a function makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Makes {
    /// The first argument, as often as the second says.
    Copies,
    /// A text with as many characters as the second argument says.
    Text,
    /// A list with as many items as the second argument says; new ones are the third.
    List,
    /// The numbers from the first argument to the second, in steps of the third.
    Numbers,
}

/// The `function` itself, or, if it makes large values, the function with a limit.
pub fn bound(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    match FUNCTIONS.iter().find(|(name, _)| *name == function.name()) {
        Some((_, makes)) => Arc::new(ScalarUDF::from(Bounded { inner: function, makes: *makes })),
        None => function,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    makes: Makes,
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
        let times = |argument: &ColumnarValue| argument.data_type().is_temporal();
        if self.makes == Makes::Numbers && args.args.iter().take(2).any(times) {
            return exec_err!("{} takes numbers; for times use date_bin or date_trunc", self.name());
        }
        // Of literals the value is made once, however many rows there are.
        let constant = args.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let size = self.makes.sizes(&args.args, rows)?.into_iter().fold(0_i64, i64::saturating_add);
        if size > SIZE_MAX {
            let unit = if self.makes == Makes::Text { "characters" } else { "bytes" };
            return exec_err!("{} is asked for more than {SIZE_MAX} {unit} at once", self.name());
        }
        self.inner.invoke_with_args(args)
    }
}

impl Makes {
    /// What is made in each row.
    fn sizes(self, args: &[ColumnarValue], rows: usize) -> Result<Vec<i64>> {
        let numbers = |at: usize, default: i64| match args.get(at) {
            Some(argument) => numbers(argument, rows),
            None => Ok(vec![default; rows]),
        };
        let bytes = |at: usize| match args.get(at) {
            Some(argument) => bytes(argument, rows),
            None => Ok(vec![NUMBER_BYTES; rows]),
        };
        let products = |counts: Vec<i64>, sizes: Vec<i64>| {
            counts.into_iter().zip(sizes).map(|(n, size)| n.saturating_abs().saturating_mul(size)).collect()
        };
        Ok(match self {
            Makes::Copies => products(numbers(1, 0)?, bytes(0)?),
            Makes::Text => products(numbers(1, 0)?, vec![1; rows]),
            Makes::List => products(numbers(1, 0)?, bytes(2)?.into_iter().map(|b| b.max(NUMBER_BYTES)).collect()),
            Makes::Numbers => {
                let (first, second) = (numbers(0, 0)?, numbers(1, 0)?);
                let distances = first.iter().zip(second).map(|(a, b)| i128::from(*a) - i128::from(b));
                let steps = numbers(2, 1)?.into_iter().map(|step| i128::from(step).abs().max(1));
                let counts = distances.zip(steps).map(|(d, step)| i64::try_from(d.abs() / step).unwrap_or(i64::MAX));
                products(counts.collect(), vec![NUMBER_BYTES; rows])
            }
        })
    }
}

/// An argument in each row, as a number.
fn numbers(argument: &ColumnarValue, rows: usize) -> Result<Vec<i64>> {
    let numbers = arrow::compute::cast(&argument.to_array(rows)?, &DataType::Int64)?;
    Ok(numbers.as_primitive::<Int64Type>().iter().map(|n| n.unwrap_or(0)).collect())
}

/// How many bytes an argument has in each row.
fn bytes(argument: &ColumnarValue, rows: usize) -> Result<Vec<i64>> {
    let array = match argument {
        ColumnarValue::Scalar(value) => {
            let size = bytes(&ColumnarValue::Array(value.to_array_of_size(1)?), 1)?.first().copied();
            return Ok(vec![size.unwrap_or(1); rows]);
        }
        ColumnarValue::Array(array) => array,
    };
    if let Some(width) = array.data_type().primitive_width() {
        return Ok(vec![width as i64; rows]);
    }
    let at_least_one = |size: usize| i64::try_from(size.max(1)).unwrap_or(i64::MAX);
    // Words of a dictionary are written out.
    let kind = match array.data_type() {
        DataType::Dictionary(_, value) => value,
        other => other,
    };
    if kind.is_string() {
        let texts = arrow::compute::cast(array, &DataType::LargeUtf8)?;
        return Ok(texts.as_string::<i64>().iter().map(|t| at_least_one(t.map_or(0, str::len))).collect());
    }
    let in_memory = |array: ArrayRef| array.to_data().get_slice_memory_size().unwrap_or(usize::MAX);
    let size = |row| match array.as_list_opt::<i32>() {
        Some(list) => in_memory(list.value(row)),
        None => in_memory(array.slice(row, 1)),
    };
    Ok((0..array.len()).map(|row| at_least_one(size(row))).collect())
}
