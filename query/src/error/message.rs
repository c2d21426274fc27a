//! Messages of DataFusion, Arrow and the engine of regular expressions as a client reads them: short,
//! without the names of their types and the insides of their trees.

use super::from_datafusion::distance;

/// Longer messages are cut.
const CHARS_MAX: usize = 1_000;
/// Candidates that take more room than that do not help.
const CANDIDATES_MAX: usize = 200;
/// What the reader of files says before the error of a filter.
const OF_FILTER: &str = "Error evaluating filter predicate: ";
/// They are called with OVER.
const WINDOW_FUNCTIONS: [&str; 10] = [
    "row_number",
    "rank",
    "dense_rank",
    "percent_rank",
    "cume_dist",
    "ntile",
    "lag",
    "lead",
    "last_value",
    "nth_value",
];
/// What they say before a message about where it comes from.
const PREFIXES: [&str; 9] = [
    "Internal error: ",
    "Error during planning: ",
    "Execution error: ",
    "External error: ",
    "This feature is not implemented: ",
    "Arrow error: ",
    "Compute error: ",
    "Cast error: ",
    "Parser error: ",
];

/// Without what says more about DataFusion than about the query.
pub(super) fn tidy(message: &str) -> String {
    let message = message.split("\nThis issue was likely caused by a bug").next().unwrap_or_default();
    let mut text = without_tree(message);
    for prefix in PREFIXES {
        text = text.replace(prefix, "");
    }
    // Such a column is text to everybody.
    let not_plain = text.contains("Unsupported data type Dictionary(");
    text = text.replace("Dictionary(Int32, Utf8)", "Utf8").replace("hopline.public.", "");
    if not_plain {
        text.push_str(", which is kept as a dictionary here: CAST it to VARCHAR");
    }
    match text.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

/// A message about a query that cannot be planned, and what may help.
pub(super) fn planning(message: &str) -> (String, Option<String>) {
    let text = tidy(message);
    if let Some(found) = no_such_function(&text).or_else(|| no_such_arguments(&text)).or_else(|| same_name(&text)) {
        return found;
    }
    if let Some(found) = other_type_in_group_by(&text) {
        return found;
    }
    if text.starts_with("Physical plan does not support logical expression") {
        let message = "a subquery stands where it is not supported, or in a way that is not";
        return (
            message.to_owned(),
            Some("in WHERE, and related by equality, it is; a JOIN may say the same".to_owned()),
        );
    }
    let hint = text.contains("table '").then(|| "the tables are spans, logs and metrics".to_owned());
    (text.replace("While expanding wildcard, ", ""), hint)
}

/// A message about what DataFusion does not do, and what may help. Sometimes it only names the thing.
pub(super) fn not_supported(message: &str) -> (String, Option<String>) {
    let (text, hint) = planning(message);
    let says_so = ["upport", "mplement", "not "].iter().any(|word| text.contains(word));
    (if says_so { text } else { format!("{text} is not supported") }, hint)
}

/// The error of a filter, as its `Debug` shows it, if `text` is about one.
pub(super) fn of_filter(text: &str) -> Option<&str> {
    Some(text.split_once(OF_FILTER)?.1)
}

/// What the engine of regular expressions says, if `text` is about one that it does not take.
pub(super) fn regular_expression(text: &str) -> Option<String> {
    if let Some(at) = text.find("regex parse error:") {
        // As `Debug` it stands between lines of tildes.
        let message = text.get(at..)?.split("\n~~~").next()?;
        return Some(message.trim_end().to_owned());
    }
    let too_large = "the regular expression is too large";
    if text.contains("Compiled regex exceeds size limit") || text.contains("CompiledTooBig(") {
        return Some(too_large.to_owned());
    }
    let (_, pattern) = text.split_once("Regular expression did not compile: ")?;
    Some(format!("not a regular expression: {pattern}"))
}

/// The first text in quotes of what `Debug` shows.
pub(super) fn quoted(debug: &str) -> Option<String> {
    let mut text = String::new();
    let mut chars = debug.split_once('"')?.1.chars();
    loop {
        match chars.next()? {
            '"' => return Some(text),
            '\\' => match chars.next()? {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                '0' => text.push('\0'),
                'u' => {
                    let digits: String = chars.by_ref().skip(1).take_while(|c| *c != '}').collect();
                    text.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
                }
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
}

/// Names a part of the query that is not supported by its keyword, in place of the tree that was parsed from it.
fn without_tree(message: &str) -> String {
    if let Some(node) = message.strip_prefix("Unsupported ast node ") {
        let node = node.strip_prefix("in sqltorel: ").unwrap_or(node);
        let name: String = node.chars().take_while(char::is_ascii_alphanumeric).collect();
        return format!("{} is not supported", keyword(&name));
    }
    if !message.contains("span: Span(") && !message.contains("relation: ") {
        return message.to_owned();
    }
    let short = message.split(['{', '(']).next().unwrap_or_default();
    short.trim_end().replace(" by ExprPlanner", "")
}

/// `MatchRecognize` → `MATCH_RECOGNIZE`
fn keyword(name: &str) -> String {
    if name == "RLike" {
        return "RLIKE".to_owned();
    }
    let mut text = String::new();
    for (i, c) in name.chars().enumerate() {
        if i > 0 && c.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(c.to_ascii_uppercase());
    }
    text
}

fn no_such_function(text: &str) -> Option<(String, Option<String>)> {
    let (name, rest) = text.strip_prefix("Invalid function '")?.split_once('\'')?;
    if WINDOW_FUNCTIONS.contains(&name) {
        return Some((format!("{name} is a window function"), Some(format!("{name}(…) OVER (…)"))));
    }
    let near = rest.split_once("Did you mean '").and_then(|(_, near)| near.split('\'').next());
    let near = near.filter(|near| distance(name, near) <= (name.len() / 3).max(1));
    Some((format!("there is no function {name}"), near.map(|near| format!("did you mean {near}?"))))
}

fn no_such_arguments(text: &str) -> Option<(String, Option<String>)> {
    if let Some((function, errors)) = text.split_once("' failed to match any signature") {
        let function = function.rsplit('\'').next()?;
        let found = errors.split_once("received ").and_then(|(_, found)| found.split_whitespace().next());
        return Some((format!("{function} does not take {}", found.unwrap_or("these arguments")), None));
    }
    let (why, rest) = text.split_once("No function matches the given name and argument types '")?;
    let (call, rest) = rest.split_once('\'')?;
    // These say in many words that there is none.
    let wordy = why.contains("oerce") || why.contains("coercion");
    let why = why.trim_end().trim_end_matches('.');
    let message = if wordy { format!("there is no {call}") } else { why.to_owned() };
    let candidates = rest.split_once("Candidate functions:").map(|(_, list)| list.split_whitespace());
    let candidates = candidates.map(|list| list.collect::<Vec<_>>().join(" ")).filter(|list| {
        !list.is_empty()
            && list.len() <= CANDIDATES_MAX
            && !["OneOf(", "UserDefined", "Any"].iter().any(|w| list.contains(w))
    });
    Some((message, candidates.map(|list| format!("there is {list}"))))
}

/// An attribute function that is one type in SELECT and another in GROUP BY: only its columns are named.
fn other_type_in_group_by(text: &str) -> Option<(String, Option<String>)> {
    let (_, rest) = text.split_once(", column \"")?;
    let (column, rest) = rest.split_once("\" must appear in the GROUP BY clause")?;
    let name = column.rsplit('.').next().unwrap_or(column);
    if !name.starts_with("attributes_") && !matches!(name, "resource" | "scope") {
        return None;
    }
    let (_, given) = rest.split_once("currently only \"")?;
    let (given, _) = given.rsplit_once("\" appears")?;
    let (function, key) = ["resource_attr(", "scope_attr(", "attr("].iter().find_map(|name| {
        let (_, call) = given.split_once(name)?;
        Some((name.trim_end_matches('('), call.split_once(')')?.0))
    })?;
    let message = format!(
        "{function}({key}) is grouped by as it is, and elsewhere in the query it is a number or another type, which \
         is not the same value"
    );
    Some((message, Some(format!("write {function}_double({key}), or another one type, in both places"))))
}

fn same_name(text: &str) -> Option<(String, Option<String>)> {
    let (_, rest) = text.split_once("require unique expression names but the expression \"")?;
    let name = rest.split("\" at position ").next()?;
    Some((format!("two columns have the same name: {name}"), Some("give one of them another name with AS".to_owned())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_not_shown() {
        for (message, expected) in [
            ("Unsupported ast node Pivot { table: Table { name: x } } in create_relation", "PIVOT is not supported"),
            ("Unsupported ast node in sqltorel: Collate { expr: x }", "COLLATE is not supported"),
            ("Unsupported ast node MatchRecognize { x }", "MATCH_RECOGNIZE is not supported"),
            ("TOP", "TOP is not supported"),
            ("Unsupported JOIN operator Semi(On(Ident { span: Span(x) }))", "Unsupported JOIN operator Semi"),
            ("Binary operator '->' is not supported", "Binary operator '->' is not supported"),
        ] {
            assert_eq!(not_supported(message).0, expected);
        }
        assert_eq!(tidy(&"x".repeat(5_000)).chars().count(), CHARS_MAX + 1);
    }

    #[test]
    fn functions() {
        for (message, expected, hint) in [
            ("Invalid function 'digest'.\nDid you mean 'right'?", "there is no function digest", None),
            (
                "Invalid function 'cout'.\nDid you mean 'count'?",
                "there is no function cout",
                Some("did you mean count?"),
            ),
            (
                "Internal error: Function 'sum' failed to match any signature, errors: Error during planning: Function \
                 'sum' requires Decimal, but received String (DataType: Utf8).",
                "sum does not take String",
                None,
            ),
            (
                "Function 'nullif' expects 2 arguments but received 1. No function matches the given name and argument \
                 types 'nullif(Int64)'. You might\n\tCandidate functions:\n\tnullif(Comparable(2))",
                "Function 'nullif' expects 2 arguments but received 1",
                Some("there is nullif(Comparable(2))"),
            ),
        ] {
            assert_eq!(planning(message), (expected.to_owned(), hint.map(str::to_owned)));
        }
    }

    #[test]
    fn texts_in_quotes() {
        assert_eq!(quoted(r#"Plan("a\n\"b\" \u{1F600}\\")"#).unwrap(), "a\n\"b\" 😀\\");
        assert_eq!(quoted("Plan"), None);
        assert_eq!(quoted(r#"Plan("open"#), None);
    }

    #[test]
    fn regular_expressions() {
        let own = "regex parse error:\n    (\n    ^\nerror: unclosed group";
        for text in [own.to_owned(), format!("did not compile: Syntax(\n~~~~\n{own}\n~~~~\n)")] {
            assert_eq!(regular_expression(&text).unwrap(), own);
        }
        assert_eq!(regular_expression("CompiledTooBig(10)").unwrap(), "the regular expression is too large");
        assert_eq!(regular_expression("Regular expression did not compile: *").unwrap(), "not a regular expression: *");
        assert_eq!(regular_expression("all is well"), None);
    }
}
