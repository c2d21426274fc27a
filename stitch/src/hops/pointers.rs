//! Span pointers: what was written or read, as a hash that both sides can compute.
//!
//! Datadog's rules ("Span pointers", `DataDog/dd-span-pointer-rules`): a link without trace and span, with `ptr.kind`,
//! `ptr.hash` and `ptr.dir`, where `d` is written here and `u` read here. `hopline.ptr.kind`, `hopline.ptr.hash` and
//! `hopline.ptr.dir` say the same as attributes of a span; of arrays, each place is one pointer.
//!
//! The implementations differ in how they hash keys with spaces, binary keys and numbers. Who
//! knows the parts gives the hashes of all forms, so that each finds the other.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::{Hop, HopKeys, Rule};
use crate::key::{Direction, Key, Kind};
use crate::span::{Attributes, Span};

const DATADOG: &str = "_dd.span_links";

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "pointer.written",
        hop: "pointer",
        direction: Direction::Out,
        reads: &["hopline.ptr.hash", DATADOG],
        on_links: true,
        find,
    },
    Rule {
        name: "pointer.read",
        hop: "pointer",
        direction: Direction::In,
        reads: &["hopline.ptr.hash", DATADOG],
        on_links: true,
        find,
    },
];

fn find(rule: &Rule, span: &Span<'_>, found: &mut HopKeys) {
    let mut take = |kind: &str, hash: &str, direction: &str| {
        if direction_of(direction, span) != Some(rule.direction) {
            return;
        }
        match pointer_key(kind, hash) {
            Some((hop, key)) => found.push_hop(rule, hop, key, None),
            None => found.refused += 1,
        }
    };
    if span.attributes.get("hopline.ptr.hash").is_some() {
        let of = |key: &str| span.attributes.texts(key);
        let (kinds, directions) = (of("hopline.ptr.kind"), of("hopline.ptr.dir"));
        for (i, hash) in of("hopline.ptr.hash").iter().enumerate() {
            // One kind or direction may stand for all.
            let at = |texts: &[String]| texts.get(i).or_else(|| texts.first()).cloned().unwrap_or_default();
            take(&at(&kinds), hash, &at(&directions));
        }
    }
    for link in span.links {
        let of = |key: &str| link.attributes.text(key);
        let is_pointer = of("link.kind").is_none_or(|kind| kind == "span-pointer");
        if let Some(hash) = of("ptr.hash").filter(|_| is_pointer) {
            take(of("ptr.kind").unwrap_or_default(), hash, of("ptr.dir").unwrap_or_default());
        }
    }
    for link in datadog_links(span.attributes) {
        let of = |key: &str| link.get("attributes").and_then(|a| a.get(key)).and_then(|v| v.as_str());
        if let Some(hash) = of("ptr.hash") {
            take(of("ptr.kind").unwrap_or_default(), hash, of("ptr.dir").unwrap_or_default());
        }
    }
}

/// The links of a span in Datadog's own format: a text of JSON.
fn datadog_links(attributes: &dyn Attributes) -> Vec<serde_json::Value> {
    let text = attributes.text(DATADOG);
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

fn direction_of(text: &str, span: &Span<'_>) -> Option<Direction> {
    match text {
        "d" | "out" | "downstream" => Some(Direction::Out),
        "u" | "in" | "upstream" => Some(Direction::In),
        "" if span.kind.is_out() => Some(Direction::Out),
        "" if span.kind.is_in() => Some(Direction::In),
        _ => None,
    }
}

/// The key of a pointer, if its hash is one: on errors some implementations write other texts in its place.
fn pointer_key(kind: &str, hash: &str) -> Option<(Hop, Key)> {
    let hash = valid_hash(hash)?;
    Some(match kind {
        "aws.s3.object" => ("s3", Key::new(Kind::S3Pointer, hash)),
        "aws.dynamodb.item" => ("dynamodb.stream", Key::new(Kind::DynamoItem, hash)),
        "" => return None,
        kind => ("pointer", Key::new(Kind::Pointer, format!("{kind}|{hash}"))),
    })
}

/// A hash of 32 hexadecimal digits, in lower case.
pub(super) fn valid_hash(hash: &str) -> Option<String> {
    let is_hash = hash.len() == 32 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    is_hash.then(|| hash.to_ascii_lowercase())
}

/// The hash of a pointer: SHA-256 over its components with `|` between them, the first 32 hexadecimal digits.
pub fn span_pointer_hash(components: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for (i, component) in components.iter().enumerate() {
        if i > 0 {
            hasher.update(b"|");
        }
        hasher.update(component);
    }
    hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The hashes of an object: of its key as it stands, and as the other side may have written it. Notifications of S3 have
/// URL-encoded keys, and not everybody decodes them before hashing.
pub fn s3_object_hashes(bucket: &str, key: &str, etag: &str, side: Direction) -> Vec<String> {
    let etag = without_quotes(etag);
    let other = match side {
        Direction::Out => url_encoded(key),
        Direction::In => url_decoded(key),
    };
    let hash = |key: &str| span_pointer_hash(&[bucket.as_bytes(), key.as_bytes(), etag.as_bytes()]);
    let mut hashes = vec![hash(key)];
    hashes.extend((other != key).then(|| hash(&other)));
    hashes
}

/// An entity tag without the quotes around it.
pub fn without_quotes(etag: &str) -> &str {
    let etag = etag.trim();
    etag.strip_prefix('"').and_then(|e| e.strip_suffix('"')).unwrap_or(etag)
}

/// An object's key as it stands in notifications of S3: a form's encoding, in which `/` stays.
pub fn url_encoded(key: &str) -> Cow<'_, str> {
    let is_plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(*b, b'/' | b'.' | b'-' | b'_' | b'*');
    if key.as_bytes().iter().all(is_plain) {
        return Cow::Borrowed(key);
    }
    let mut text = String::with_capacity(key.len() * 3);
    for byte in key.bytes() {
        match byte {
            b if is_plain(&b) => text.push(char::from(b)),
            b' ' => text.push('+'),
            b => text.push_str(&format!("%{b:02X}")),
        }
    }
    Cow::Owned(text)
}

/// The key of an object that stands URL-encoded in a notification; what cannot be decoded stays as it is.
pub fn url_decoded(key: &str) -> Cow<'_, str> {
    if !key.contains(['+', '%']) {
        return Cow::Borrowed(key);
    }
    decoded_bytes(key).and_then(|bytes| String::from_utf8(bytes).ok()).map_or(Cow::Borrowed(key), Cow::Owned)
}

fn decoded_bytes(key: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => digit(rest.next()?)? << 4 | digit(rest.next()?)?,
            byte => byte,
        });
    }
    Some(bytes)
}

/// The value of a key attribute of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyValue<'a> {
    /// `S`
    Text(&'a str),
    /// `N`, as it was written.
    Number(&'a str),
    /// `B`, as bytes.
    Binary(&'a [u8]),
    /// `B`, in base64 as it stands in a stream's records.
    Base64(&'a str),
}

impl<'a> KeyValue<'a> {
    /// The bytes that are hashed, the regular form first.
    fn forms(self) -> Vec<Cow<'a, [u8]>> {
        match self {
            KeyValue::Text(text) => vec![Cow::Borrowed(text.as_bytes())],
            KeyValue::Number(number) => {
                let mut forms = vec![Cow::Borrowed(number.as_bytes())];
                let canonical = canonical_number(number).filter(|canonical| canonical != number);
                forms.extend(canonical.map(|canonical| Cow::Owned(canonical.into_bytes())));
                forms
            }
            KeyValue::Binary(bytes) => vec![Cow::Borrowed(bytes), Cow::Owned(base64(bytes).into_bytes())],
            KeyValue::Base64(text) => {
                let raw = from_base64(text).map(Cow::Owned);
                raw.into_iter().chain([Cow::Borrowed(text.as_bytes())]).collect()
            }
        }
    }
}

/// The hashes of an item by its table and its one or two key attributes, the regular one first. Besides: numbers in the
/// form to which DynamoDB brings them, binary keys as bytes and in base64.
pub fn dynamodb_item_hashes(table: &str, key: &[(&str, KeyValue<'_>)]) -> Vec<String> {
    let mut key = key.to_vec();
    key.sort_by(|(a, _), (b, _)| a.as_bytes().cmp(b.as_bytes()));
    let hash = |first: (&str, &[u8]), second: (&str, &[u8])| {
        span_pointer_hash(&[table.as_bytes(), first.0.as_bytes(), first.1, second.0.as_bytes(), second.1])
    };
    match key.as_slice() {
        [(name, value)] => value.forms().iter().map(|form| hash((name, form), ("", b""))).collect(),
        [(a, first), (b, second)] => {
            let seconds = second.forms();
            let firsts = first.forms();
            firsts.iter().flat_map(|f| seconds.iter().map(|s| hash((a, f), (b, s)))).collect()
        }
        _ => Vec::new(),
    }
}

/// A decimal number as DynamoDB gives it back: without exponent, leading and trailing zeros, and a plus.
pub fn canonical_number(text: &str) -> Option<String> {
    // DynamoDB's numbers reach from 1E-130 to 9.9E+125, with 38 digits.
    const EXPONENT_MAX: i64 = 200;
    const DIGITS_MAX: usize = 400;
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !is_number || digits.len() > DIGITS_MAX || exponent.checked_abs()? > EXPONENT_MAX {
        return None;
    }
    let leading = digits.len() - digits.trim_start_matches('0').len();
    let significant = digits.trim_matches('0');
    if significant.is_empty() {
        return Some("0".to_owned());
    }
    // Where the point stands, counted from before the first significant digit.
    let point = whole.len() as i64 + exponent - leading as i64;
    let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or_default());
    let length = significant.len() as i64;
    Some(if point <= 0 {
        format!("{sign}0.{}{significant}", zeros(-point))
    } else if point >= length {
        format!("{sign}{significant}{}", zeros(point - length))
    } else {
        let (whole, fraction) = significant.split_at(usize::try_from(point).ok()?);
        format!("{sign}{whole}.{fraction}")
    })
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let letter = |bits: u32| char::from(BASE64.get((bits & 63) as usize).copied().unwrap_or_default());
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or_default());
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        text.extend([letter(bits >> 18), letter(bits >> 12)]);
        text.push(if chunk.len() > 1 { letter(bits >> 6) } else { '=' });
        text.push(if chunk.len() > 2 { letter(bits) } else { '=' });
    }
    text
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let value = BASE64.iter().position(|l| *l == letter)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
