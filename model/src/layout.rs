//! How the attributes of one row stood when they were sent.
//!
//! A row's attributes are spread over promoted columns and one map a type, which
//! loses their order among each other. The column `attribute_layout` keeps it: the
//! list of (type, key) in the order of sending, as a JSON array of strings such as
//! `["S.http.route","i.http.status_code"]`. Rows of one operation nearly always
//! share one layout, so the dictionary-encoded column costs next to nothing.
//!
//! The letter of an entry says where its value stands:
//! - a capital letter (`S`, `I`, `B`): in the promoted column of that key;
//! - a small letter (`s`, `i`, `d`, `b`, `o`): it is the next entry of the map of that type.
//!
//! So the attributes of a row are given back by walking its layout, with one position
//! a map. A promoted column may also be filled where the layout has no capital letter for
//! it (from an alias, from an exception event, or by a normalised value): that is for
//! queries, and was not sent.

/// The type of an attribute's value, and so the map it stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum AttributeType {
    /// `stringValue`: map `attributes_string`.
    String = b's',
    /// `intValue`: map `attributes_int`.
    Int = b'i',
    /// `doubleValue`: map `attributes_double`.
    Double = b'd',
    /// `boolValue`: map `attributes_bool`.
    Bool = b'b',
    /// Bytes, arrays, maps and empty values, as value text: map `attributes_other`.
    Other = b'o',
}

impl AttributeType {
    /// All types, in the order of the map columns.
    pub const ALL: [AttributeType; 5] =
        [AttributeType::String, AttributeType::Int, AttributeType::Double, AttributeType::Bool, AttributeType::Other];

    /// The letter that stands for the type in a layout.
    pub fn letter(self) -> char {
        self as u8 as char
    }

    /// The type that `letter` stands for.
    pub fn from_letter(letter: char) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.letter() == letter)
    }

    /// The column with the map of this type.
    pub fn column(self) -> &'static str {
        match self {
            AttributeType::String => "attributes_string",
            AttributeType::Int => "attributes_int",
            AttributeType::Double => "attributes_double",
            AttributeType::Bool => "attributes_bool",
            AttributeType::Other => "attributes_other",
        }
    }
}

/// One attribute of a row: what it is called, its type, and where its value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The type of the value.
    pub kind: AttributeType,
    /// Whether the value stands in the promoted column of the key, not in the map of its type.
    pub promoted: bool,
    /// The attribute's key.
    pub key: String,
}

/// The attributes of a row in the order in which they were sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout(pub Vec<Entry>);

impl Layout {
    /// Appends one entry to a layout's text that is being built: start with an empty
    /// string, end with [`Layout::close`].
    pub fn push_text(text: &mut String, kind: AttributeType, promoted: bool, key: &str) {
        text.push_str(if text.is_empty() { "[\"" } else { ",\"" });
        text.push(if promoted { kind.letter().to_ascii_uppercase() } else { kind.letter() });
        text.push('.');
        for c in key.chars() {
            match c {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                c if (c as u32) < 0x20 => {
                    text.push_str("\\u00");
                    text.push(char::from_digit(c as u32 >> 4, 16).unwrap_or('0'));
                    text.push(char::from_digit(c as u32 & 15, 16).unwrap_or('0'));
                }
                c => text.push(c),
            }
        }
        text.push('"');
    }

    /// Ends a layout's text. No attributes at all is the empty string.
    pub fn close(text: &mut String) {
        if !text.is_empty() {
            text.push(']');
        }
    }

    /// Reads what [`Layout::push_text`] wrote. Nothing if the text is not a layout.
    pub fn parse(text: &str) -> Option<Layout> {
        let mut entries = Vec::new();
        if text.is_empty() {
            return Some(Layout(entries));
        }
        let mut chars = text.strip_prefix('[')?.chars();
        loop {
            if chars.next()? != '"' {
                return None;
            }
            let letter = chars.next()?;
            let kind = AttributeType::from_letter(letter.to_ascii_lowercase())?;
            if chars.next()? != '.' {
                return None;
            }
            entries.push(Entry { kind, promoted: letter.is_ascii_uppercase(), key: parse_key(&mut chars)? });
            match chars.next()? {
                ',' => {}
                ']' if chars.next().is_none() => return Some(Layout(entries)),
                _ => return None,
            }
        }
    }
}

/// Reads a key up to and with its closing quote.
fn parse_key(chars: &mut std::str::Chars<'_>) -> Option<String> {
    let mut key = String::new();
    loop {
        match chars.next()? {
            '"' => return Some(key),
            '\\' => match chars.next()? {
                'u' => {
                    let code = chars.by_ref().take(4).try_fold(0, |n, c| Some(n << 4 | c.to_digit(16)?))?;
                    key.push(char::from_u32(code)?);
                }
                c => key.push(c),
            },
            c => key.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_key_there_and_back() {
        let keys = ["http.method", "", "a\"b\\c", "\u{1}\n\u{1f}", "ключ", "]", "x,y"];
        let entries: Vec<_> = keys
            .iter()
            .zip(AttributeType::ALL.into_iter().cycle())
            .enumerate()
            .map(|(i, (key, kind))| Entry { kind, promoted: i % 2 == 0, key: key.to_string() })
            .collect();
        let mut text = String::new();
        for e in &entries {
            Layout::push_text(&mut text, e.kind, e.promoted, &e.key);
        }
        Layout::close(&mut text);
        assert_eq!(Layout::parse(&text), Some(Layout(entries)));
    }

    #[test]
    fn nothing_is_the_empty_text() {
        let mut text = String::new();
        Layout::close(&mut text);
        assert_eq!(text, "");
        assert_eq!(Layout::parse(""), Some(Layout::default()));
        for bad in ["[", "[]", "[\"x\"]", "[\"s.a\"", "[\"s.a\"]x", "[\"q.a\"]"] {
            assert_eq!(Layout::parse(bad), None, "{bad}");
        }
    }
}
