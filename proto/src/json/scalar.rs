//! Scalars: from the JSON token to the bytes of the field.

use super::schema::Kind;
use super::tokens::{Kind as Token, number_len};
use super::{Stop, Transcoder};
use crate::wire::{self, WireType};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::borrow::Cow;

/// `AnyValue.doubleValue`.
const DOUBLE_VALUE: u32 = 4;
/// As much of a wrong value is shown in a message.
const SHOWN_MAX: usize = 40;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

impl<'a> Transcoder<'a, '_> {
    /// Reads a scalar and writes it with its tag, or without into a packed list.
    pub(super) fn scalar(&mut self, kind: Kind, number: Option<u32>) -> Result<(), Stop> {
        match kind {
            Kind::String => {
                let text = self.text("a string")?;
                wire::put_bytes(self.out, number.unwrap_or_default(), &text);
            }
            Kind::Id => self.id(number.unwrap_or_default())?,
            Kind::Bytes => self.base64(number.unwrap_or_default())?,
            Kind::Bool => {
                let found = self.tokens.peek()?;
                if !matches!(found, Token::True | Token::False) {
                    return self.mismatch("a boolean");
                }
                self.tokens.literal(found)?;
                self.put(kind, number, u64::from(found == Token::True));
            }
            Kind::Double => {
                let value = self.double()?;
                self.put(kind, number, value.to_bits());
            }
            Kind::Enum => {
                if self.tokens.peek()? == Token::String {
                    return self.enum_in_quotes(number);
                }
                let value = self.integer(i32::MIN.into(), i32::MAX.into())?;
                self.put(kind, number, value as u64);
            }
            Kind::IntOrDouble => self.int_or_double(number.unwrap_or_default())?,
            Kind::Sfixed64 => {
                let value = self.integer(i64::MIN.into(), i64::MAX.into())?;
                self.put(kind, number, value as u64);
            }
            Kind::Uint64 | Kind::Fixed64 => {
                let value = self.integer(0, u64::MAX.into())?;
                self.put(kind, number, value as u64);
            }
            Kind::Uint32 | Kind::Fixed32 => {
                let value = self.integer(0, u32::MAX.into())?;
                self.put(kind, number, value as u64);
            }
            Kind::Sint32 => {
                let value = self.integer(i32::MIN.into(), i32::MAX.into())?;
                self.put(kind, number, wire::zigzag_encode(value as i64));
            }
            // Messages are begun by the caller.
            Kind::Message(_) => {}
        }
        Ok(())
    }

    /// Writes the default of a numeric kind into a packed list.
    pub(super) fn put_zero(&mut self, kind: Kind) {
        self.put(kind, None, 0);
    }

    /// Writes a number, given as its bits. Defaults are written too: they matter
    /// where a field knows whether it was set, and the last of duplicate keys counts.
    #[inline]
    fn put(&mut self, kind: Kind, number: Option<u32>, bits: u64) {
        let wire_type = match kind {
            Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => WireType::Fixed64,
            Kind::Fixed32 => WireType::Fixed32,
            _ => WireType::Varint,
        };
        if let Some(number) = number {
            wire::put_tag(self.out, number, wire_type);
        }
        match wire_type {
            WireType::Fixed64 => self.out.extend_from_slice(&bits.to_le_bytes()),
            WireType::Fixed32 => self.out.extend_from_slice(&(bits as u32).to_le_bytes()),
            _ => wire::put_varint(self.out, bits),
        }
    }

    /// The string that must be next.
    #[inline]
    fn text(&mut self, expected: &str) -> Result<Cow<'a, [u8]>, Stop> {
        if self.tokens.peek()? != Token::String {
            return self.mismatch(expected);
        }
        Ok(self.tokens.string()?.bytes())
    }

    fn id(&mut self, number: u32) -> Result<(), Stop> {
        if self.tokens.peek()? != Token::String {
            return self.mismatch("a hexadecimal string");
        }
        let offset = self.tokens.pos();
        let text = self.tokens.string()?.bytes();
        wire::put_tag(self.out, number, WireType::Bytes);
        wire::put_varint(self.out, text.len() as u64 / 2);
        let (pairs, rest) = text.as_chunks::<2>();
        // Two digits a byte; 0x100 and above stand for anything else.
        let mut bad = usize::from(!rest.is_empty()) << 8;
        for &[high, low] in pairs {
            let byte = digit(high) << 4 | digit(low);
            bad |= byte;
            self.out.push(byte as u8);
        }
        if bad > 0xff {
            return self.unfit(offset, "hexadecimal");
        }
        Ok(())
    }

    fn base64(&mut self, number: u32) -> Result<(), Stop> {
        if self.tokens.peek()? != Token::String {
            return self.mismatch("a base64 string");
        }
        let offset = self.tokens.pos();
        let text = self.tokens.string()?.bytes();
        let engine = if text.iter().any(|b| matches!(b, b'-' | b'_')) { &URL_SAFE } else { &STANDARD };
        match engine.decode(text) {
            Ok(bytes) => {
                wire::put_bytes(self.out, number, &bytes);
                Ok(())
            }
            Err(_) => self.unfit(offset, "base64"),
        }
    }

    /// An enumeration in quotes is an integer written as a string, which proto3 JSON
    /// takes, or a name, which OTLP does not.
    #[cold]
    fn enum_in_quotes(&mut self, number: Option<u32>) -> Result<(), Stop> {
        let offset = self.tokens.pos();
        match self.integer(i32::MIN.into(), i32::MAX.into()) {
            Ok(value) => {
                self.put(Kind::Enum, number, value as u64);
                Ok(())
            }
            Err(Stop::Value { .. }) => self.unfit(offset, "an integer, and OTLP/JSON has no names for enumerations"),
            Err(stop) => Err(stop),
        }
    }

    /// `AnyValue.intValue`. JavaScript's exporters take every number without a fraction for an
    /// integer, 1e300 too. A number, not in quotes, that is no 64-bit integer is kept as the
    /// double that it is.
    #[inline]
    fn int_or_double(&mut self, number: u32) -> Result<(), Stop> {
        let is_number = self.tokens.peek()? == Token::Number;
        let offset = self.tokens.pos();
        match self.integer(i64::MIN.into(), i64::MAX.into()) {
            Ok(value) => {
                self.put(Kind::IntOrDouble, Some(number), value as u64);
                Ok(())
            }
            Err(stop @ Stop::Value { .. }) if is_number => self.double_as_int(offset, stop),
            Err(stop) => Err(stop),
        }
    }

    #[cold]
    fn double_as_int(&mut self, offset: usize, stop: Stop) -> Result<(), Stop> {
        self.tokens.seek(offset);
        let Ok(value) = self.double() else { return Err(stop) };
        self.put(Kind::Double, Some(DOUBLE_VALUE), value.to_bits());
        self.note_change(&shown(self.tokens.since(offset)));
        Ok(())
    }

    /// An integer, as a number or in quotes.
    #[inline]
    fn integer(&mut self, min: i128, max: i128) -> Result<i128, Stop> {
        let found = self.tokens.peek()?;
        let offset = self.tokens.pos();
        let text = match found {
            Token::Number => Cow::Borrowed(self.tokens.number()?),
            Token::String => self.tokens.string()?.bytes(),
            _ => return self.mismatch("an integer"),
        };
        match parse_integer(&text) {
            Some(value) if value >= min && value <= max => Ok(value),
            Some(_) => self.unfit(offset, &format!("between {min} and {max}")),
            None => self.unfit(offset, "an integer"),
        }
    }

    /// A double, as a number or in quotes.
    fn double(&mut self) -> Result<f64, Stop> {
        let found = self.tokens.peek()?;
        let offset = self.tokens.pos();
        let text = match found {
            Token::Number => Cow::Borrowed(self.tokens.number()?),
            Token::String => self.tokens.string()?.bytes(),
            _ => return self.mismatch("a number"),
        };
        match &*text {
            b"NaN" => return Ok(f64::NAN),
            b"Infinity" => return Ok(f64::INFINITY),
            b"-Infinity" => return Ok(f64::NEG_INFINITY),
            _ => {}
        }
        let whole = !text.is_empty() && number_len(&text) == text.len();
        match std::str::from_utf8(&text).ok().filter(|_| whole).and_then(|text| text.parse::<f64>().ok()) {
            Some(value) if value.is_finite() => Ok(value),
            Some(_) => self.unfit(offset, "within the range of a double"),
            None => self.unfit(offset, "a number"),
        }
    }

    /// The scalar at `offset`, which was just taken, is not what its field needs.
    #[cold]
    fn unfit<T>(&self, offset: usize, expected: &str) -> Result<T, Stop> {
        let message = format!("{} is not {expected}", shown(self.tokens.since(offset)));
        Err(Stop::Value { offset, message })
    }
}

/// A scalar's JSON for a message, cut to a good length.
pub(super) fn shown(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw.get(..SHOWN_MAX * 4).unwrap_or(raw));
    match text.char_indices().nth(SHOWN_MAX) {
        Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()),
        None => text.into_owned(),
    }
}

/// The value of a hexadecimal digit, at least 0x100 for anything else, also when
/// shifted or combined.
#[inline]
fn digit(byte: u8) -> usize {
    match byte {
        b'0'..=b'9' => usize::from(byte - b'0'),
        b'a'..=b'f' => usize::from(byte - b'a' + 10),
        b'A'..=b'F' => usize::from(byte - b'A' + 10),
        _ => 0x100,
    }
}

/// The value of a JSON number if it is an integer: `10`, `1e3`, `2.50e1`, `-0`.
#[inline]
fn parse_integer(text: &[u8]) -> Option<i128> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let plain = !digits.is_empty() && digits.len() <= 20 && digits.iter().all(u8::is_ascii_digit);
    let leading_zero = digits.len() > 1 && digits.first() == Some(&b'0');
    if !plain || leading_zero {
        return parse_decimal(text);
    }
    let value = digits.iter().fold(0, |n: i128, d| n * 10 + i128::from(d - b'0'));
    Some(if negative { -value } else { value })
}

/// The slow way of [`parse_integer`], for fractions and exponents.
#[cold]
fn parse_decimal(text: &[u8]) -> Option<i128> {
    if text.is_empty() || number_len(text) != text.len() {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        // An exponent beyond i64 can only be that of zero; saturate.
        Some((mantissa, exponent)) => {
            let limit = if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
            (mantissa, exponent.parse::<i64>().unwrap_or(limit))
        }
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let mut value: i128 = 0;
    let digits = whole.trim_start_matches('-').bytes().chain(fraction.bytes());
    let mut zeros = 0;
    // Trailing zeros only move the point, so that `1000e-3` is 1.
    for digit in digits {
        if digit == b'0' && value != 0 {
            zeros += 1;
            continue;
        }
        // More than 38 significant digits are no 64-bit integer.
        value = value.checked_mul(10_i128.checked_pow(zeros + 1)?)?.checked_add(i128::from(digit - b'0'))?;
        zeros = 0;
    }
    if value == 0 {
        return Some(0);
    }
    let shift = exponent.clamp(i64::MIN / 2, i64::MAX / 2) - fraction.len() as i64 + i64::from(zeros);
    let scale = 10_i128.checked_pow(u32::try_from(shift).ok()?)?;
    let value = value.checked_mul(scale)?;
    Some(if whole.starts_with('-') { -value } else { value })
}
