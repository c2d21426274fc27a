//! One number for all errors of one kind.
//!
//! Two errors are of one kind if these are the same:
//!
//! 1. the type;
//! 2. where it came from: the five innermost frames of the stack trace that are the
//!    function's own code (the runtime's and libraries' are left out; if all are theirs, the
//!    three innermost), each as function and file name, without folders, lines and columns:
//!    an edit elsewhere in the file must not make a new error of an old one;
//! 3. the first line of the message, with what differs from case to case left out: numbers,
//!    ids, addresses, times, and, where there are frames, what stands in quotes.
//!
//! Stack traces are read as Python, Node, Java, .NET and Go write them. What is not
//! understood has no frames; then type and message decide.
//!
//! The numbers are kept, so the rule has a version, which is part of the number: after a
//! change, old and new errors differ.

mod frames;
#[cfg(test)]
mod tests;

use std::hash::Hasher;

use twox_hash::XxHash64;

/// Raised with each change of what the number is made of.
const VERSION: &str = "1";

/// Longest start of a message that counts.
const MESSAGE_MAX: usize = 256;

/// The fingerprint of an error with this type, message and stack trace; each may be empty.
pub fn of(kind: &str, message: &str, stack: &str) -> u64 {
    let frames = frames::of(stack);
    let mut text = String::with_capacity(256);
    text.push_str(VERSION);
    text.push('\n');
    template(kind, false, &mut text);
    for frame in &frames {
        text.push('\n');
        text.push_str(frame);
    }
    text.push_str("\n\n");
    let line = message.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    template(line, !frames.is_empty(), &mut text);
    let mut hash = XxHash64::with_seed(0);
    hash.write(text.as_bytes());
    hash.finish()
}

/// A fingerprint as 16 hexadecimal digits, as people and clients read it.
pub fn to_text(fingerprint: u64) -> String {
    format!("{fingerprint:016x}")
}

/// The fingerprint that [`to_text`] wrote.
pub fn from_text(text: &str) -> Option<u64> {
    let is_digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    is_digits.then(|| u64::from_str_radix(text, 16).ok())?
}

/// Writes what is the same in each case: words, with one `#` for each run of values.
fn template(text: &str, without_quoted: bool, out: &mut String) {
    let mut rest = text.get(..floor(text, MESSAGE_MAX)).unwrap_or_default();
    let mut was_value = false;
    while let Some(c) = rest.chars().next() {
        if without_quoted && matches!(c, '\'' | '"' | '`') {
            // An apostrophe within a word has a letter before it, and never comes here.
            let inner = rest.get(1..).unwrap_or_default();
            if let Some(end) = inner.find(c) {
                value(&mut was_value, out);
                rest = inner.get(end + 1..).unwrap_or_default();
                continue;
            }
        }
        if !is_of_word(c) {
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
            continue;
        }
        let end = rest.find(|c: char| !is_of_word(c) && c != '\'').unwrap_or(rest.len());
        let (word, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if is_value(word) {
            value(&mut was_value, out);
        } else {
            was_value = false;
            out.push(' ');
            out.push_str(word.trim_end_matches(['.', '\'', '-']));
        }
        rest = after;
    }
}

fn value(was_value: &mut bool, out: &mut String) {
    if !*was_value {
        out.push_str(" #");
        *was_value = true;
    }
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '@' | '+' | '$')
}

/// Whether a word stands for one case: it has a digit, is a mail address, or is an id in
/// hexadecimal digits that happen to be letters.
fn is_value(word: &str) -> bool {
    word.chars().any(|c| c.is_numeric())
        || word.contains('@')
        || (word.len() >= 8 && word.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The largest boundary between characters that is not above `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
