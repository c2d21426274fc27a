//! JSON tokens by RFC 8259, pulled one by one from bytes in memory.
//!
//! The caller says what it takes next (a key, an element, a string), so there is no
//! state beside the position. [`Tokens::skip`] passes over a value of any depth
//! without recursion. Strings are handed over as they stand, escapes included, and
//! need not be UTF-8: whoever keeps them looks at that.

use std::borrow::Cow;

/// The bytes are not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Syntax {
    pub(crate) offset: usize,
    pub(crate) message: &'static str,
}

/// What a value is, seen from its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Number,
    True,
    False,
    Null,
}

impl Kind {
    /// The kind in words.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Object => "an object",
            Kind::Array => "a list",
            Kind::String => "a string",
            Kind::Number => "a number",
            Kind::True | Kind::False => "a boolean",
            Kind::Null => "null",
        }
    }
}

/// A string between its quotes, known to be well-formed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Str<'a> {
    pub(crate) raw: &'a [u8],
    pub(crate) escaped: bool,
}

impl<'a> Str<'a> {
    /// The string without escapes. An unpaired surrogate becomes the byte FF, which
    /// is never UTF-8: it is repaired and counted like other bytes of that kind.
    #[inline]
    pub(crate) fn bytes(self) -> Cow<'a, [u8]> {
        if self.escaped { Cow::Owned(unescape(self.raw)) } else { Cow::Borrowed(self.raw) }
    }
}

/// A position in JSON bytes.
#[derive(Debug, Clone)]
pub(crate) struct Tokens<'a> {
    bytes: &'a [u8],
    pos: usize,
}

impl<'a> Tokens<'a> {
    pub(crate) fn new(bytes: &'a [u8], pos: usize) -> Self {
        Tokens { bytes, pos }
    }

    pub(crate) fn pos(&self) -> usize {
        self.pos
    }

    /// Goes back to a position that [`Tokens::pos`] gave.
    pub(crate) fn seek(&mut self, pos: usize) {
        self.pos = pos;
    }

    /// The bytes from `start` up to here.
    pub(crate) fn since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.pos).unwrap_or_default()
    }

    pub(crate) fn syntax<T>(&self, message: &'static str) -> Result<T, Syntax> {
        let message = if self.pos >= self.bytes.len() { "the body ends too early" } else { message };
        Err(Syntax { offset: self.pos, message })
    }

    #[inline]
    fn space(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.pos) {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.pos += 1,
                other => return other.copied(),
            }
        }
    }

    /// Goes to the next value and says what it is, without taking it.
    #[inline]
    pub(crate) fn peek(&mut self) -> Result<Kind, Syntax> {
        Ok(match self.space() {
            Some(b'"') => Kind::String,
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'-' | b'0'..=b'9') => Kind::Number,
            Some(b't') => Kind::True,
            Some(b'f') => Kind::False,
            Some(b'n') => Kind::Null,
            _ => return self.syntax("expected a value"),
        })
    }

    /// Takes the brace or bracket that [`Tokens::peek`] saw.
    #[inline]
    pub(crate) fn enter(&mut self) {
        self.pos += 1;
    }

    /// The next key of the object that was entered and its colon, or its end.
    #[inline]
    pub(crate) fn key(&mut self, first: bool) -> Result<Option<Str<'a>>, Syntax> {
        match self.space() {
            Some(b'}') => {
                self.pos += 1;
                return Ok(None);
            }
            Some(b',') if !first => {
                self.pos += 1;
                self.space();
            }
            _ if !first => return self.syntax("expected `,` or `}`"),
            _ => {}
        }
        if self.bytes.get(self.pos) != Some(&b'"') {
            return self.syntax("expected a key in double quotes");
        }
        let key = self.string()?;
        if self.space() != Some(b':') {
            return self.syntax("expected `:`");
        }
        self.pos += 1;
        Ok(Some(key))
    }

    /// Whether the array that was entered has another element, which is next, or
    /// ended here.
    #[inline]
    pub(crate) fn element(&mut self, first: bool) -> Result<bool, Syntax> {
        match self.space() {
            Some(b']') => {
                self.pos += 1;
                Ok(false)
            }
            Some(b',') if !first => {
                self.pos += 1;
                Ok(true)
            }
            _ if first => Ok(true),
            _ => self.syntax("expected `,` or `]`"),
        }
    }

    /// Takes the string that starts here.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Str<'a>, Syntax> {
        self.pos += 1;
        let start = self.pos;
        let mut escaped = false;
        loop {
            self.pos += plain_len(self.bytes.get(self.pos..).unwrap_or_default());
            match self.bytes.get(self.pos) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return self.syntax("control character in a string"),
            }
        }
        let raw = self.since(start);
        self.pos += 1;
        Ok(Str { raw, escaped })
    }

    fn escape(&mut self) -> Result<(), Syntax> {
        let len = match self.bytes.get(self.pos + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') => {
                let digits = self.bytes.get(self.pos + 2..self.pos + 6);
                if !digits.is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit)) {
                    return self.syntax("`\\u` needs four hexadecimal digits");
                }
                6
            }
            _ => return self.syntax("unknown escape in a string"),
        };
        self.pos += len;
        Ok(())
    }

    /// Takes the number that starts here.
    #[inline]
    pub(crate) fn number(&mut self) -> Result<&'a [u8], Syntax> {
        let rest = self.bytes.get(self.pos..).unwrap_or_default();
        let len = number_len(rest);
        if len == 0 {
            return self.syntax("malformed number");
        }
        let start = self.pos;
        self.pos += len;
        Ok(self.since(start))
    }

    /// Takes `true`, `false` or `null`, whose first letter [`Tokens::peek`] saw.
    #[inline]
    pub(crate) fn literal(&mut self, kind: Kind) -> Result<(), Syntax> {
        let word: &[u8] = match kind {
            Kind::True => b"true",
            Kind::False => b"false",
            _ => b"null",
        };
        if !self.bytes.get(self.pos..).unwrap_or_default().starts_with(word) {
            return self.syntax("expected `true`, `false` or `null`");
        }
        self.pos += word.len();
        Ok(())
    }

    /// Takes the next value, whatever it is and however deep.
    pub(crate) fn skip(&mut self) -> Result<(), Syntax> {
        let mut open = Bits::default();
        loop {
            match self.peek()? {
                Kind::Object => {
                    self.enter();
                    if self.key(true)?.is_some() {
                        open.push(true);
                        continue;
                    }
                }
                Kind::Array => {
                    self.enter();
                    if self.element(true)? {
                        open.push(false);
                        continue;
                    }
                }
                Kind::String => drop(self.string()?),
                Kind::Number => drop(self.number()?),
                literal => self.literal(literal)?,
            }
            // A value has ended, and with it perhaps some that enclose it.
            loop {
                let more = match open.last() {
                    None => return Ok(()),
                    Some(true) => self.key(false)?.is_some(),
                    Some(false) => self.element(false)?,
                };
                if more {
                    break;
                }
                open.pop();
            }
        }
    }

    /// Takes the next value and returns its bytes.
    pub(crate) fn raw(&mut self) -> Result<&'a [u8], Syntax> {
        self.space();
        let start = self.pos;
        self.skip()?;
        Ok(self.since(start))
    }

    /// There must be nothing but white space from here on.
    pub(crate) fn finish(&mut self) -> Result<(), Syntax> {
        if self.space().is_some() { self.syntax("unexpected bytes behind the value") } else { Ok(()) }
    }
}

/// A stack of bits: one for each value that is open while skipping, so that even a
/// body of nothing but brackets costs an eighth of its size.
#[derive(Default)]
struct Bits {
    full: Vec<u64>,
    word: u64,
    len: u32,
}

impl Bits {
    fn push(&mut self, bit: bool) {
        if self.len == 64 {
            self.full.push(self.word);
            self.len = 0;
        }
        self.word = self.word << 1 | u64::from(bit);
        self.len += 1;
    }

    fn last(&self) -> Option<bool> {
        (self.len > 0).then_some(self.word & 1 == 1)
    }

    fn pop(&mut self) {
        self.word >>= 1;
        self.len = self.len.saturating_sub(1);
        if self.len == 0
            && let Some(word) = self.full.pop()
        {
            (self.word, self.len) = (word, 64);
        }
    }
}

/// How many bytes at the start of `bytes` are neither a quote, a backslash nor a
/// control character. Eight at a time.
#[inline]
fn plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let (words, rest) = bytes.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quote = word ^ (ONES * b'"' as u64);
        let slash = word ^ (ONES * b'\\' as u64);
        // Each term has the high bit of every byte that is zero, or below 0x20; a
        // borrow can only set further bits above a true one, so the lowest is right.
        let found = (quote.wrapping_sub(ONES) & !quote
            | slash.wrapping_sub(ONES) & !slash
            | word.wrapping_sub(ONES * 0x20) & !word)
            & HIGH;
        if found != 0 {
            return i * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let tail = rest.iter().position(|&b| b < 0x20 || b == b'"' || b == b'\\').unwrap_or(rest.len());
    words.len() * 8 + tail
}

/// Length of the JSON number at the start of `bytes`, 0 if there is none.
#[inline]
pub(super) fn number_len(bytes: &[u8]) -> usize {
    let digits = |from: usize| bytes.iter().skip(from).take_while(|b| b.is_ascii_digit()).count();
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    match bytes.get(at) {
        Some(b'0') => at += 1,
        Some(b'1'..=b'9') => at += digits(at),
        _ => return 0,
    }
    if bytes.get(at) == Some(&b'.') {
        match digits(at + 1) {
            0 => return 0,
            n => at += 1 + n,
        }
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
        match digits(at) {
            0 => return 0,
            n => at += n,
        }
    }
    at
}

/// Resolves the escapes of a well-formed string.
#[cold]
fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.iter().position(|&b| b == b'\\') {
        let (plain, escape) = rest.split_at(at);
        out.extend_from_slice(plain);
        let mut len = 2;
        match escape.get(1) {
            Some(b'b') => out.push(8),
            Some(b'f') => out.push(12),
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b't') => out.push(b'\t'),
            Some(b'u') => {
                let (c, escape_len) = unicode(escape);
                len = escape_len;
                match c {
                    Some(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                    None => out.push(0xff),
                }
            }
            Some(&c) => out.push(c),
            None => {}
        }
        rest = escape.get(len..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

/// The character of a `\uXXXX`, or of a pair of them, and the length of the escape.
/// No character if it is an unpaired surrogate.
fn unicode(escape: &[u8]) -> (Option<char>, usize) {
    let unit = |at: usize| {
        let digits = escape.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |n, &d| Some(n << 4 | char::from(d).to_digit(16)?))
    };
    match (unit(0), unit(6)) {
        (Some(high @ 0xd800..=0xdbff), Some(low @ 0xdc00..=0xdfff)) => {
            (char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)), 12)
        }
        (Some(unit), _) => (char::from_u32(unit), 6),
        (None, _) => (None, 6),
    }
}

#[cfg(test)]
mod tests;
