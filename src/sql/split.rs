//! Where one statement ends and the next begins.
//!
//! A semicolon ends a statement, save within quotes and comments. Nothing else of SQL is
//! understood here.

/// The statements of `text`, without their semicolons; those that are empty are left out.
pub(super) fn statements(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        match end(rest) {
            Some(at) => {
                let (statement, behind) = rest.split_at(at);
                found.push(statement);
                rest = behind.get(1..).unwrap_or_default();
            }
            None => {
                found.push(rest);
                break;
            }
        }
    }
    found.into_iter().map(str::trim).filter(|s| !is_empty(s)).collect()
}

/// Whether `text` ends with a whole statement: nothing but spaces and comments stand behind its last semicolon.
pub(super) fn is_whole(text: &str) -> bool {
    let mut rest = text;
    let mut ended = false;
    while let Some(at) = end(rest) {
        ended = true;
        rest = rest.get(at + 1..).unwrap_or_default();
    }
    ended && is_empty(rest)
}

/// The place of the first semicolon that ends a statement.
fn end(text: &str) -> Option<usize> {
    parts(text).find(|(_, part)| *part == ";").map(|(at, _)| at)
}

/// Whether there is nothing but spaces and comments.
fn is_empty(text: &str) -> bool {
    parts(text).all(|(_, part)| part.trim().is_empty() || part.starts_with("--") || part.starts_with("/*"))
}

/// The quotes, the comments and the single characters between them.
fn parts(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = text.get(at..).filter(|r| !r.is_empty())?;
        let first = rest.chars().next()?;
        let long = match first {
            '\'' | '"' => behind(rest, 1, &first.to_string()),
            '-' if rest.starts_with("--") => behind(rest, 2, "\n"),
            '/' if rest.starts_with("/*") => behind(rest, 2, "*/"),
            c => c.len_utf8(),
        };
        let part = rest.get(..long)?;
        let here = at;
        at += long;
        Some((here, part))
    })
}

/// The length up to and with the next `end` after `from` bytes, or of all where there is none.
fn behind(text: &str, from: usize, end: &str) -> usize {
    text.get(from..).and_then(|rest| rest.find(end)).map_or(text.len(), |at| from + at + end.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_semicolon_outside_of_quotes_and_comments_ends_a_statement() {
        for (text, expected) in [
            ("select 1", vec!["select 1"]),
            ("select 1; select 2;", vec!["select 1", "select 2"]),
            ("select ';' ; select \";\"\"x;\"", vec!["select ';'", "select \";\"\"x;\""]),
            ("select 'it''s;'; select 'ü;'", vec!["select 'it''s;'", "select 'ü;'"]),
            ("select 1 -- one; still\n; /* ; */ select 2", vec!["select 1 -- one; still", "/* ; */ select 2"]),
            (";; ; -- nothing\n", vec![]),
            ("select 'open; ", vec!["select 'open;"]),
            ("", vec![]),
        ] {
            assert_eq!(statements(text), expected, "{text}");
        }
    }

    #[test]
    fn a_statement_is_whole_when_nothing_stands_behind_its_semicolon() {
        for text in ["select 1;", "select ';';  \n", "select 1; -- done", "a; b;", ";"] {
            assert!(is_whole(text), "{text}");
        }
        for text in ["", "select 1", "select ';", "select 1 -- ;", "a; b", "/* ; "] {
            assert!(!is_whole(text), "{text}");
        }
    }
}
