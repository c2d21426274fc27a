//! Whose fault an error is, and what it says.

use super::*;

#[tokio::test]
async fn errors_say_what_to_change() {
    let kept = Kept::new();
    let engine = engine(&kept);
    let problem = async |query: &str| ask(&engine, query, Params::None).await.unwrap_err().problem();
    let parse = problem("SELECT *\nFROM spans WHERE").await;
    assert_eq!((parse.status, parse.line), (400, Some(2)), "{parse:?}");
    let column = problem("SELECT duraton FROM spans").await;
    assert_eq!(column.hint.as_deref(), Some("did you mean duration?"), "{column:?}");
    let table = problem("SELECT * FROM span").await;
    assert_eq!(
        (table.status, table.hint.as_deref()),
        (400, Some("the tables are spans, logs and metrics")),
        "{table:?}"
    );
    let path = problem("SELECT * FROM '/etc/passwd'").await;
    assert_eq!(path.status, 400, "{path:?}");
    let path = problem("SELECT * FROM 'x.parquet'").await;
    assert_eq!(path.status, 400, "{path:?}");
    assert_eq!(problem("SELECT 1/0").await.detail, "division by zero");
    assert_eq!(problem("SELECT $1").await.status, 400);
    assert_eq!(problem("SELECT nothing(1)").await.status, 400);
    assert_eq!(problem("DROP TABLE spans").await.status, 403);
    assert_eq!(problem("SELECT CAST('x' AS BIGINT)").await.status, 400);
}

/// Asserts that a query is refused, wherever the rows are, and with which words.
async fn refused(query: &str, expected: &str) {
    everywhere(async |engine| {
        let got = ask(engine, query, Params::None).await;
        let problem = got.expect_err(query).problem();
        assert_eq!((problem.status, problem.kind.as_str()), (400, "invalid"), "{query}: {problem:?}");
        let said = format!("{} {}", problem.detail, problem.hint.unwrap_or_default());
        assert!(said.contains(expected), "{query}: {said}");
        for inside in ["Internal error", "Error during planning", "Execution error", "ArrowError", "~~~", "Span("] {
            assert!(!said.contains(inside), "{query}: {said}");
        }
    })
    .await;
}

#[tokio::test]
async fn regular_expressions_that_are_none() {
    let unclosed = "regex parse error:\n    (\n    ^\nerror: unclosed group";
    for condition in ["name ~ '('", "name !~ '('", "name ~* '('", "name !~* '('", "regexp_like(name, '(')"] {
        refused(&format!("SELECT name FROM spans WHERE {condition}"), unclosed).await;
        refused(&format!("SELECT {condition} FROM spans"), unclosed).await;
    }
    refused("SELECT name FROM spans WHERE name ~ concat('(', name)", "unclosed group").await;
    refused("SELECT name FROM spans WHERE regexp_match(name, '[')[1] = 'x'", "unclosed character class").await;
    refused("SELECT regexp_replace(name, '(', '') FROM spans", unclosed).await;
    refused("SELECT regexp_count(name, '*') FROM spans", "not a regular expression: *").await;
    refused("SELECT name FROM spans WHERE name ~ '\\w{1000}{1000}'", "too large").await;
    refused("SELECT name FROM spans WHERE attr('http.route') ~ '('", unclosed).await;
    refused("EXPLAIN ANALYZE SELECT name FROM spans WHERE name ~ '('", unclosed).await;
}

#[tokio::test]
async fn values_that_cannot_be_computed_with() {
    for (expression, expected) in [
        ("1 / (duration - duration)", "division by zero"),
        ("duration % (duration - duration)", "division by zero"),
        ("CAST(name AS int)", "Cannot cast string '"),
        ("CAST(name AS timestamp)", "Error parsing timestamp from '"),
        ("CAST(CAST(duration AS varchar) || 'x' AS date)", "x'"),
        ("CAST(-duration AS int unsigned)", "Can't cast value -"),
        ("date_bin(interval '0 seconds', start_time)", "must be non-zero"),
        ("date_bin(CAST(name AS interval), start_time)", "Invalid input syntax for type interval"),
        ("substr(name, 1, -5)", "negative"),
        ("split_part(name, ' ', 0)", "must not be zero"),
        ("chr(-duration)", "invalid Unicode scalar value"),
        ("decode(name, 'hex')", "decode from hex"),
        ("hex(span_id(name))", "is not a span_id of 16 hexadecimal digits"),
        ("repeat(name, 1000000000)", "more than"),
        ("start_time - duration * interval '1000000 years'", ""),
    ] {
        refused(&format!("SELECT {expression} FROM spans"), expected).await;
        // In the files' reader.
        refused(&format!("SELECT name FROM spans WHERE concat({expression}, 'x') = 'q'"), expected).await;
        // On the side of a join that all parts of the query share.
        let shared = format!("SELECT concat({expression}, 'x') AS x FROM spans");
        let join = format!("SELECT 1 FROM ({shared}) a JOIN spans b ON a.x = b.name");
        refused(&join, expected).await;
    }
    refused("SELECT (SELECT name FROM spans)", "more than one row").await;
}

#[tokio::test]
async fn statements_that_cannot_be_planned() {
    for (query, expected) in [
        ("SELECT * FROM spans PIVOT (count(name) FOR kind IN ('SERVER'))", "PIVOT is not supported"),
        ("SELECT * FROM spans MATCH_RECOGNIZE (PATTERN (a) DEFINE a AS true)", "MATCH_RECOGNIZE is not supported"),
        ("SELECT name COLLATE \"de\" FROM spans", "COLLATE is not supported"),
        ("SELECT 5 DIV 2", "this cannot stand here"),
        ("SELECT EXISTS(SELECT 1)", "a subquery stands where it is not supported"),
        ("SELECT name FROM spans WHERE name RLIKE 'x'", "RLIKE is not supported"),
        ("SELECT row_number() FROM spans", "row_number is a window function"),
        ("SELECT TOP 5 name FROM spans", "TOP is not supported"),
        (
            "SELECT name, name FROM spans",
            "two columns have the same name: spans.name give one of them another name with AS",
        ),
        ("SELECT p99(name) FROM spans", "approx_percentile_cont does not take String"),
        ("SELECT sum(name) FROM spans", "sum does not take String"),
        (
            "SELECT attr('app.mixed') + 1 FROM spans GROUP BY attr('app.mixed')",
            "attr('app.mixed') is grouped by as it is, and elsewhere in the query it is a number or another type, \
             which is not the same value write attr_double('app.mixed')",
        ),
        (
            "SELECT count(*) FROM spans GROUP BY service, resource_attr('cpus') HAVING resource_attr('cpus') > 1",
            "write resource_attr_double('cpus')",
        ),
        ("SELECT nothing(1)", "there is no function nothing"),
        ("SELECT countt(*) FROM spans", "did you mean count?"),
        ("SELECT attr() FROM spans", "attr takes an attribute's key"),
        ("SELECT attr('a', 'b') FROM spans", "attr takes an attribute's key"),
        ("SELECT attr(5) FROM spans", "attr takes an attribute's key"),
        ("SELECT events[1]['nothing'] FROM spans", "Field nothing not found"),
        ("SELECT name FROM spans WHERE name LIKE 'a%' ESCAPE 'xx'", "single character"),
        ("SELECT name FROM spans WHERE start_time > 'yesterday'", "Error parsing timestamp from 'yesterday'"),
        ("SELECT to_timestamp('x')", "Error parsing timestamp from 'x'"),
        ("SELECT (SELECT max(time) FROM logs l WHERE l.time < s.start_time) FROM spans s", "related by equality"),
    ] {
        refused(query, expected).await;
    }
}
