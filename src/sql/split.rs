//! Where one statement ends and the next begins.
//!
//! A semicolon ends a statement, save within quotes and comments. Nothing else of SQL is
//! understood here.

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement<'a> {
    /// The statement, without its semicolon.
    pub(super) text: &'a str,
    /// All that stands before it.
    before: &'a str,
}

impl Statement<'_> {
    /// The line and the column in the whole text of those in the statement; all from 1.
    pub(super) fn place(&self, (line, column): (u64, u64)) -> (u64, u64) {
        let (lines, last) = match self.before.rsplit_once('\n') {
            Some((lines, last)) => (1 + lines.matches('\n').count(), last),
            None => (0, self.before),
        };
        let columns = if line == 1 { last.chars().count() } else { 0 };
        (line + lines as u64, column + columns as u64)
    }
}

impl<'a> From<&'a str> for Statement<'a> {
    fn from(text: &'a str) -> Self {
        Statement { text, before: "" }
    }
}

/// The statements of `text`; those that are empty are left out.
pub(super) fn statements(text: &str) -> Vec<Statement<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        let until = end(rest).unwrap_or(rest.len());
        let statement = rest.get(..until).unwrap_or_default();
        if !is_empty(statement) {
            let from = text.len() - rest.len() + (statement.len() - statement.trim_start().len());
            found.push(Statement { text: statement.trim(), before: text.get(..from).unwrap_or_default() });
        }
        match rest.get(until + 1..) {
            Some(behind) => rest = behind,
            None => return found,
        }
    }
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
            assert_eq!(statements(text).iter().map(|s| s.text).collect::<Vec<_>>(), expected, "{text}");
        }
    }

    #[test]
    fn a_place_in_a_statement_is_one_in_the_text() {
        let text = "select 1;\n\nü; select 2\n from x";
        let places: Vec<_> = statements(text).iter().map(|s| (s.place((1, 1)), s.place((2, 5)))).collect();
        assert_eq!(places, [((1, 1), (2, 5)), ((3, 1), (4, 5)), ((3, 4), (4, 5))]);
        assert_eq!(Statement::from("select").place((1, 3)), (1, 3));
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
