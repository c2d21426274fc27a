//! Trace and span ids.
//!
//! Sixteen and eight bytes; written as lower-case hexadecimal digits everywhere a
//! person or a client reads them (W3C Trace Context, section 3.2.2).

use std::fmt;
use std::str::FromStr;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The number of digits is wrong.
    #[error("an id of {expected} hexadecimal digits was expected, not of {got} characters")]
    Length {
        /// Digits that the id has.
        expected: usize,
        /// Characters that were given.
        got: usize,
    },
    /// A character is not a hexadecimal digit.
    #[error("{0:?} is not a hexadecimal digit")]
    Digit(char),
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Number of bytes.
            pub const LEN: usize = $len;

            /// The id with these bytes, or nothing if their number is wrong.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// Whether all bytes are zero, which the specification calls invalid.
            pub fn is_zero(&self) -> bool {
                self.0.iter().all(|b| *b == 0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // At once: a write for each byte takes ten times as long.
                let mut text = [0; 2 * $len];
                write_hex(&self.0, &mut text);
                f.write_str(std::str::from_utf8(&text).unwrap_or_default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let mut bytes = [0; $len];
                parse_hex(text, &mut bytes)?;
                Ok(Self(bytes))
            }
        }
    };
}

id!(
    /// The id that all spans of one trace carry.
    TraceId,
    16
);
id!(
    /// The id of one span within its trace.
    SpanId,
    8
);

/// Fills `text` with two digits a byte.
fn write_hex(bytes: &[u8], text: &mut [u8]) {
    let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' - 10 + value };
    for (byte, pair) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        pair.iter_mut().zip([byte >> 4, byte & 15]).for_each(|(to, value)| *to = digit(value));
    }
}

/// Fills `bytes` from twice as many hexadecimal digits of either case.
fn parse_hex(text: &str, bytes: &mut [u8]) -> Result<(), IdError> {
    if let Some(c) = text.chars().find(|c| !c.is_ascii_hexdigit()) {
        return Err(IdError::Digit(c));
    }
    if text.len() != bytes.len() * 2 {
        return Err(IdError::Length { expected: bytes.len() * 2, got: text.len() });
    }
    let digit = |b: u8| (b as char).to_digit(16).unwrap_or(0) as u8;
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        if let [high, low] = pair {
            *byte = digit(*high) << 4 | digit(*low);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_there_and_back() {
        let id: TraceId = "5B8EFFF798038103D269B633813FC60C".parse().unwrap_or_default();
        assert_eq!(id.to_string(), "5b8efff798038103d269b633813fc60c");
        assert!(!id.is_zero());
        assert!(SpanId::default().is_zero());
    }

    #[test]
    fn refuses_what_is_not_an_id() {
        assert_eq!("12".parse::<SpanId>(), Err(IdError::Length { expected: 16, got: 2 }));
        assert_eq!("zz".parse::<SpanId>(), Err(IdError::Digit('z')));
        assert_eq!("é".parse::<SpanId>(), Err(IdError::Digit('é')));
    }
}
