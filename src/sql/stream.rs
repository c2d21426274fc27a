//! An answer that is printed as it comes, and whether it came to its end.

use std::io::Write as _;

use anyhow::anyhow;
use futures::StreamExt as _;
use serde_json::Value;

use super::{Format, warn_if_incomplete};
use crate::exit;
use crate::json;
use crate::render::{Style, clean};
use crate::source::{Answer, Source};

/// The end of an answer that is kept to see whether it is complete.
const END_BYTES: usize = 16 << 10;

/// Prints the answer that `source` gave.
pub(super) async fn print(answer: Answer, format: Format, source: &Source) -> anyhow::Result<()> {
    let mut chunks = answer.into_body().into_data_stream();
    let mut out = std::io::stdout();
    let mut screen = Style::stdout().is_terminal().then(|| Screen::new(format));
    let mut end: Vec<u8> = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => {
                out.flush()?;
                return Err(ended_early(error.into(), format, source));
            }
        };
        match &mut screen {
            Some(screen) => out.write_all(screen.show(&chunk).as_bytes())?,
            None => out.write_all(&chunk)?,
        }
        end.extend_from_slice(&chunk);
        end.drain(..end.len().saturating_sub(END_BYTES));
    }
    if end.last().is_some_and(|b| *b != b'\n') {
        out.write_all(b"\n")?;
    }
    out.flush()?;
    match incomplete(&String::from_utf8_lossy(&end)) {
        Some(how) => warn_if_incomplete(&how),
        None => Ok(()),
    }
}

/// Why the answer broke off. CSV has no place to say so: the server can but end the transfer.
fn ended_early(error: anyhow::Error, format: Format, source: &Source) -> anyhow::Error {
    match (format, source) {
        (Format::Csv, Source::Server(_)) => anyhow!(
            "the answer is not complete: the server broke it off, most likely because it has more rows or bytes than \
             an answer may have. CSV has no place to say why: --format ndjson does. Ask for less with LIMIT, or raise \
             the server's settings query.rows_max and query.answer_bytes_max"
        ),
        (Format::Csv, Source::Folder(..)) => anyhow!("the answer is not complete: {}", exit::chain(&error)),
        _ => error.context("read the answer"),
    }
}

/// What the end of a JSON or NDJSON answer says if the answer is not complete. Within a string the
/// quotes would be escaped, and within a value more would follow than one object's end.
fn incomplete(end: &str) -> Option<Value> {
    let at = end.rfind("\"complete\":false")?;
    serde_json::from_str(&format!("{{{}", end.get(at..)?)).ok()
}

/// Makes an answer harmless for a terminal: only the ends of its lines move the cursor.
struct Screen {
    is_csv: bool,
    in_quotes: bool,
    /// The beginning of a character whose rest is still to come.
    begun: Vec<u8>,
}

impl Screen {
    fn new(format: Format) -> Screen {
        Screen { is_csv: format == Format::Csv, in_quotes: false, begun: Vec::new() }
    }

    fn show(&mut self, chunk: &[u8]) -> String {
        self.begun.extend_from_slice(chunk);
        let whole = match std::str::from_utf8(&self.begun) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.begun.len(),
        };
        let rest = self.begun.split_off(whole);
        let bytes = std::mem::replace(&mut self.begun, rest);
        let text = String::from_utf8_lossy(&bytes);
        if !self.is_csv {
            return json::harmless(&text);
        }
        let mut shown = String::with_capacity(text.len());
        for part in text.split_inclusive(['"', '\r', '\n']) {
            // All three have one byte.
            let (before, sign) = part.split_at(part.len() - usize::from(part.ends_with(['"', '\r', '\n'])));
            shown.push_str(&clean(before));
            match sign {
                "\"" => self.in_quotes = !self.in_quotes,
                _ if self.in_quotes => {
                    shown.push_str(&clean(sign));
                    continue;
                }
                // It stands before the line's end.
                "\r" => continue,
                _ => {}
            }
            shown.push_str(sign);
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_that_was_cut_is_noticed() {
        let reason = |end: &str| incomplete(end).and_then(|v| v.get("reason")?.as_str().map(str::to_owned));
        assert_eq!(reason("[1]],\"complete\":false,\"reason\":\"limit\"}\n").as_deref(), Some("limit"));
        assert_eq!(reason("{\"a\":1}\n{\"complete\":false,\"reason\":\"x\"}\n").as_deref(), Some("x"));
        assert_eq!(incomplete("[{\"complete\":false}]],\"complete\":true}\n"), None);
        assert_eq!(incomplete("\"\\\"complete\\\":false\"]],\"complete\":true}\n"), None);
        assert_eq!(incomplete("a,b\n1,2\n"), None);
        assert!(warn_if_incomplete(&json!({"complete": false, "error": {"detail": "no memory"}})).is_err());
    }

    #[test]
    fn a_terminal_gets_no_control_characters_however_the_bytes_are_cut() {
        let csv = "name,n\r\n\u{1b}[2Jü\u{9b}x,1\r\n\"a \"\"b\"\"\r\nc\u{1b}\",2\r\n";
        let shown = "name,n\n␛[2Jü\u{fffd}x,1\n\"a \"\"b\"\"␍↵c␛\",2\n";
        for size in [1, 2, 3, 100] {
            let mut screen = Screen::new(Format::Csv);
            assert_eq!(csv.as_bytes().chunks(size).map(|chunk| screen.show(chunk)).collect::<String>(), shown);
        }
        let mut screen = Screen::new(Format::Ndjson);
        assert_eq!(screen.show("{\"a\":\"\u{7f}é\"}\n".as_bytes()), "{\"a\":\"\\u007fé\"}\n");
    }
}
