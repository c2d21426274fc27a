//! `hex(bytes)`, `trace_id('…')` and `span_id('…')`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryBuilder, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// The functions.
pub fn all() -> Vec<ScalarUDF> {
    vec![
        ScalarUDF::from(Hex { signature: Signature::any(1, Volatility::Immutable) }),
        ScalarUDF::from(Id { name: "trace_id", bytes: 16, signature: Signature::any(1, Volatility::Immutable) }),
        ScalarUDF::from(Id { name: "span_id", bytes: 8, signature: Signature::any(1, Volatility::Immutable) }),
    ]
}

/// Appends `bytes` as lower-case hexadecimal digits.
pub fn write_hex(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            out.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
}

/// The bytes of hexadecimal digits of either case, if they are `len`.
pub fn parse_hex(text: &str, len: usize) -> Option<Vec<u8>> {
    let digits = text.trim().as_bytes();
    if digits.len() != 2 * len {
        return None;
    }
    let digit = |b: u8| char::from(b).to_digit(16);
    digits
        .chunks_exact(2)
        .map(|pair| match pair {
            [high, low] => Some((digit(*high)? << 4 | digit(*low)?) as u8),
            _ => None,
        })
        .collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Hex {
    signature: Signature,
}

impl ScalarUDFImpl for Hex {
    fn name(&self) -> &str {
        "hex"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        use DataType::{Binary, BinaryView, FixedSizeBinary, LargeBinary, Null};
        match types {
            [FixedSizeBinary(_) | Binary | LargeBinary | BinaryView | Null] => Ok(DataType::Utf8),
            _ => plan_err!("hex takes bytes, such as trace_id; to_hex takes numbers"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        on_first(&args, |array| {
            let bytes = arrow::compute::cast(array, &DataType::Binary)?;
            let (mut out, mut text) = (StringBuilder::new(), String::new());
            for value in bytes.as_binary::<i32>().iter() {
                match value {
                    Some(value) => {
                        text.clear();
                        write_hex(value, &mut text);
                        out.append_value(&text);
                    }
                    None => out.append_null(),
                }
            }
            Ok(Arc::new(out.finish()))
        })
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Id {
    name: &'static str,
    bytes: i32,
    signature: Signature,
}

impl ScalarUDFImpl for Id {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::FixedSizeBinary(self.bytes))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        on_first(&args, |array| {
            let texts = arrow::compute::cast(array, &DataType::Utf8)?;
            let mut out = FixedSizeBinaryBuilder::with_capacity(texts.len(), self.bytes);
            for text in texts.as_string::<i32>().iter() {
                match text {
                    Some(text) => match parse_hex(text, self.bytes as usize) {
                        Some(id) => out.append_value(id)?,
                        None => {
                            return exec_err!(
                                "{text:?} is not a {} of {} hexadecimal digits",
                                self.name,
                                2 * self.bytes
                            );
                        }
                    },
                    None => out.append_null(),
                }
            }
            Ok(Arc::new(out.finish()))
        })
    }
}

/// Applies `f` to the only argument; a constant stays one.
fn on_first(args: &ScalarFunctionArgs, f: impl Fn(&ArrayRef) -> Result<ArrayRef>) -> Result<ColumnarValue> {
    match args.args.first() {
        Some(ColumnarValue::Array(array)) => Ok(ColumnarValue::Array(f(array)?)),
        Some(ColumnarValue::Scalar(value)) => {
            let array = f(&value.to_array()?)?;
            Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&array, 0)?))
        }
        None => exec_err!("an argument is missing"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn hex_there_and_back() {
        let mut text = String::new();
        write_hex(&[0, 0xab, 0xff], &mut text);
        assert_eq!(text, "00abff");
        assert_eq!(parse_hex("00ABff", 3), Some(vec![0, 0xab, 0xff]));
        for bad in ["", "00abf", "00abfg", "00abff00", "ääabff"] {
            assert_eq!(parse_hex(bad, 3), None, "{bad}");
        }
    }
}
