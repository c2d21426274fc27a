//! Checks the address of a request before anything reads it.
//!
//! What is escaped in it must be UTF-8: else it would be read as something that was not
//! asked for.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;

use crate::error::Error;

/// Refuses a request whose address is escaped wrongly.
pub(crate) async fn check(request: Request, next: Next) -> Result<Response, Error> {
    let uri = request.uri();
    for (part, text) in [("path", uri.path()), ("query part", uri.query().unwrap_or_default())] {
        well_escaped(text).map_err(|what| Error::Invalid(format!("the {part} of the address {what}")))?;
    }
    Ok(next.run(request).await)
}

fn well_escaped(text: &str) -> Result<(), String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digit = |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        let escaped =
            tail.split_first_chunk::<2>().and_then(|([a, b], after)| Some((digit(a)? << 4 | digit(b)?, after)));
        let Some((byte, after)) = escaped else {
            return Err("has a % without two hexadecimal digits behind it: the sign itself is written %25".to_owned());
        };
        bytes.push(byte);
        rest = after;
    }
    match std::str::from_utf8(&bytes) {
        Ok(_) => Ok(()),
        Err(_) => Err("is not UTF-8 where it is escaped".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        for good in ["", "a=b&c", "%C3%BC+%e2%82%ac", "%25", "ü"] {
            assert_eq!(well_escaped(good), Ok(()), "{good}");
        }
        for bad in ["%", "%f", "100%", "%zz", "%+1"] {
            assert!(well_escaped(bad).unwrap_err().contains("%25"), "{bad}");
        }
        for bad in ["%ff", "a=%C3", "%ed%a0%80"] {
            assert!(well_escaped(bad).unwrap_err().contains("not UTF-8"), "{bad}");
        }
    }
}
