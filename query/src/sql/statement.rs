//! Takes SQL text and gives one statement that only reads.
//!
//! The text is checked before it is parsed, and the parsed statement before it is
//! planned: parsing, planning and even dropping a statement call themselves once for
//! each level of it, so its depth is bounded here, whatever way it grows.

use std::ops::ControlFlow;

use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    CopySource, DescribeAlias, Expr, ObjectName, Query, Select, SetExpr, Statement as Sql, TableFactor, Visit, Visitor,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::ignored;
use crate::error::Error;

/// The longest text that is parsed, in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 256 << 10;
/// Words, literals and signs of a text.
const TOKENS_MAX: usize = 40_000;
/// Operators of a text. `a + b + c + …` is as deep as it has operators.
const OPERATORS_MAX: usize = 1_000;
/// Those of them that are not words or comparisons: planning `a + b + c + …` takes time
/// that grows with the square of their number.
const SIGNS_MAX: usize = 250;
/// Parentheses, subqueries and prefixes in each other.
const DEPTH_MAX: usize = 48;
/// Tables named by a statement, joins and unions included.
const RELATIONS_MAX: usize = 64;
/// SELECTs of a statement. Planning a union takes time that grows with their square.
const SELECTS_MAX: usize = 128;

/// The table functions that a query may use: they make rows, they read nothing.
const TABLE_FUNCTIONS: [&str; 3] = ["generate_series", "range", "unnest"];
/// The tables of `information_schema` that describe tables, not the server.
const INFORMATION_SCHEMA: [&str; 3] = ["tables", "columns", "schemata"];

/// Parses `text`, which must be one statement that reads.
pub(crate) fn parse(text: &str) -> Result<Statement, Error> {
    check_text(text)?;
    let dialect = GenericDialect {};
    let parser = DFParserBuilder::new(text).with_dialect(&dialect).with_recursion_limit(DEPTH_MAX).build();
    let statements = parser.and_then(|mut parser| parser.parse_statements());
    let mut statements = statements.map_err(|error| at_the_end(error.into(), text))?;
    let statement = statements.pop_front();
    if !statements.is_empty() {
        let message = format!("one statement at a time, not {}", statements.len() + 1);
        return Err(Error::Plan { message, hint: None });
    }
    let statement =
        statement.ok_or_else(|| Error::Parse { message: "there is no query".to_owned(), position: None })?;
    check_statement(&statement)?;
    Ok(statement)
}

/// The parser gives no position for what is missing at the end of the text.
fn at_the_end(error: Error, text: &str) -> Error {
    match error {
        Error::Parse { message, position: None } if message.ends_with("found: EOF") => {
            let line = text.lines().count().max(1) as u64;
            let column = text.lines().last().map_or(0, |line| line.chars().count()) as u64 + 1;
            Error::Parse { message, position: Some((line, column)) }
        }
        other => other,
    }
}

fn check_text(text: &str) -> Result<(), Error> {
    let too_large = |what, got: usize, max: usize| Err(Error::TooLarge { what, got: got.to_string(), max: max as u64 });
    if text.len() > TEXT_BYTES_MAX {
        return Err(Error::TooLarge {
            what: "the query",
            got: format!("{} bytes", text.len()),
            max: TEXT_BYTES_MAX as u64,
        });
    }
    let dialect = GenericDialect {};
    let tokens = Tokenizer::new(&dialect, text).tokenize().map_err(|e| crate::error::from_parser(&e.into()))?;
    let tokens = tokens.iter().filter(|t| !matches!(t, Token::Whitespace(_)));
    let (mut count, mut operators, mut signs, mut depth) = (0, 0, 0, 0_usize);
    for token in tokens {
        count += 1;
        operators += usize::from(deepens(token));
        signs += usize::from(deepens(token) && !is_logic(token));
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return too_large("the nesting of the query", depth, DEPTH_MAX);
        }
    }
    if count > TOKENS_MAX {
        return too_large("the list of the query's words", count, TOKENS_MAX);
    }
    if signs > SIGNS_MAX {
        return too_large("the list of the query's arithmetic operators", signs, SIGNS_MAX);
    }
    if operators > OPERATORS_MAX {
        return too_large("the list of the query's operators", operators, OPERATORS_MAX);
    }
    Ok(())
}

/// Whether a token can make what stands left of it one level deeper, without parentheses.
fn deepens(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::XOR
                | Keyword::DIV
                | Keyword::IS
                | Keyword::IN
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::SIMILAR
                | Keyword::BETWEEN
                | Keyword::COLLATE
                | Keyword::AT
                | Keyword::UNION
                | Keyword::EXCEPT
                | Keyword::INTERSECT
                | Keyword::MINUS
                | Keyword::JOIN
                | Keyword::NOT
                | Keyword::NOTNULL
        ),
        Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::HexStringLiteral(_)
        | Token::Comma
        | Token::Period
        | Token::LParen
        | Token::RParen
        | Token::RBracket
        | Token::SemiColon
        | Token::Placeholder(_)
        | Token::EOF => false,
        // All signs, and the rarer kinds of literal.
        _ => true,
    }
}

/// Whether an operator is a word or a comparison.
fn is_logic(token: &Token) -> bool {
    use Token::{Eq, Gt, GtEq, Lt, LtEq, Neq, Word};
    matches!(token, Word(_) | Eq | Neq | Lt | LtEq | Gt | GtEq)
}

fn check_statement(statement: &Statement) -> Result<(), Error> {
    match statement {
        Statement::Statement(statement) => check_sql(statement),
        Statement::Explain(explain) => match &*explain.statement {
            Statement::Explain(_) => Err(refused("EXPLAIN of EXPLAIN")),
            inner => check_statement(inner),
        },
        Statement::CreateExternalTable(_) => Err(refused("CREATE EXTERNAL TABLE")),
        Statement::CopyTo(_) => Err(refused("COPY")),
        Statement::Reset(_) => Err(refused("RESET")),
    }
}

fn check_sql(statement: &Sql) -> Result<(), Error> {
    match statement {
        Sql::Query(_) => visit(statement),
        Sql::Explain { statement, .. } if matches!(**statement, Sql::Query(_)) => visit(statement),
        Sql::ExplainTable { describe_alias: DescribeAlias::Describe | DescribeAlias::Desc, .. }
        | Sql::ShowTables { .. }
        | Sql::ShowColumns { .. } => visit(statement),
        Sql::Copy { source: CopySource::Table { .. } | CopySource::Query(_), .. } => Err(refused("COPY")),
        other => {
            // The first words of the statement as it was parsed name it best: CREATE TABLE, DROP VIEW, SET.
            let text = other.to_string();
            let words = text.split_whitespace().take_while(|w| w.chars().all(|c| c.is_ascii_uppercase())).take(2);
            let words: Vec<&str> = words.collect();
            Err(refused(if words.is_empty() { "this statement" } else { return Err(refused(&words.join(" "))) }))
        }
    }
}

fn refused(what: &str) -> Error {
    Error::ReadOnly { what: what.to_owned() }
}

fn visit(statement: &Sql) -> Result<(), Error> {
    match statement.visit(&mut Check::default()) {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Looks at all parts of a statement for what does more than read, or reads more than tables.
#[derive(Default)]
struct Check {
    relations: usize,
    selects: usize,
}

/// More of `what` than there may be.
fn too_many(what: &'static str, max: usize) -> ControlFlow<Box<Error>> {
    ControlFlow::Break(Box::new(Error::TooLarge { what, got: format!("more than {max}"), max: max as u64 }))
}

/// The planner would pass this over.
fn passed_over(clause: Option<&str>) -> ControlFlow<Box<Error>> {
    match clause {
        None => ControlFlow::Continue(()),
        Some(clause) => {
            let message = format!("{clause} is not supported");
            ControlFlow::Break(Box::new(Error::Plan { message, hint: None }))
        }
    }
}

impl Visitor for Check {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        let refuse = |what: &str| ControlFlow::Break(Box::new(refused(what)));
        if !query.locks.is_empty() {
            return refuse("FOR UPDATE");
        }
        if query.for_clause.is_some() || query.settings.is_some() || query.format_clause.is_some() {
            return refuse("a FOR, SETTINGS or FORMAT clause");
        }
        match writes(&query.body) {
            Some(what) => refuse(what),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        passed_over(ignored::in_expr(expr))
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Self::Break> {
        passed_over(ignored::in_select(select))?;
        self.selects += 1;
        if self.selects > SELECTS_MAX {
            return too_many("the list of the query's SELECTs", SELECTS_MAX);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Self::Break> {
        self.relations += 1;
        if self.relations > RELATIONS_MAX {
            return too_many("the list of the query's tables", RELATIONS_MAX);
        }
        let parts: Vec<String> = relation.0.iter().map(|p| p.to_string().trim_matches('"').to_lowercase()).collect();
        if let [.., schema, table] = parts.as_slice()
            && schema == "information_schema"
            && !INFORMATION_SCHEMA.contains(&table.as_str())
        {
            let message = format!("there is no table information_schema.{table}");
            return ControlFlow::Break(Box::new(Error::Plan { message, hint: None }));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Self::Break> {
        passed_over(ignored::in_table(factor))?;
        let function = match factor {
            TableFactor::Table { name, args: Some(_), .. } => name.to_string().to_lowercase(),
            TableFactor::Function { name, .. } => name.to_string().to_lowercase(),
            TableFactor::TableFunction { .. } => "TABLE(…)".to_owned(),
            _ => return ControlFlow::Continue(()),
        };
        if TABLE_FUNCTIONS.contains(&function.as_str()) {
            return ControlFlow::Continue(());
        }
        ControlFlow::Break(Box::new(refused(&format!("the table function {function}"))))
    }
}

/// What the body of a query writes, if it does.
fn writes(body: &SetExpr) -> Option<&'static str> {
    match body {
        SetExpr::Select(select) if select.into.is_some() => Some("SELECT INTO"),
        SetExpr::Insert(_) => Some("INSERT"),
        SetExpr::Update(_) => Some("UPDATE"),
        SetExpr::Delete(_) => Some("DELETE"),
        SetExpr::Merge(_) => Some("MERGE"),
        SetExpr::SetOperation { left, right, .. } => writes(left).or_else(|| writes(right)),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[track_caller]
    fn check(text: &str, expected: Result<(), ErrorKind>) {
        let got = parse(text).map(|_| ()).map_err(|e| e.kind());
        assert_eq!(got, expected, "{text:.80}");
    }

    #[test]
    fn statements_that_read() {
        for text in [
            "select 1",
            "SELECT * FROM spans s JOIN logs l ON s.trace_id = l.trace_id",
            "WITH x AS (SELECT 1) SELECT * FROM x UNION ALL SELECT 2;",
            "VALUES (1, 2)",
            "EXPLAIN SELECT 1",
            "EXPLAIN ANALYZE SELECT * FROM spans",
            "SHOW TABLES",
            "SHOW COLUMNS FROM spans",
            "DESCRIBE spans",
            "SELECT * FROM information_schema.columns",
            "SELECT * FROM generate_series(1, 3)",
        ] {
            check(text, Ok(()));
        }
    }

    #[test]
    fn statements_that_do_more_than_read() {
        for text in [
            "CREATE TABLE x AS SELECT 1",
            "CREATE VIEW x AS SELECT 1",
            "CREATE EXTERNAL TABLE x STORED AS PARQUET LOCATION '/etc/passwd'",
            "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
            "CREATE FUNCTION f() RETURNS INT RETURN 1",
            "CREATE SCHEMA x",
            "DROP TABLE spans",
            "DROP VIEW spans",
            "ALTER TABLE spans ADD COLUMN x INT",
            "INSERT INTO spans VALUES (1)",
            "INSERT INTO spans SELECT * FROM spans",
            "UPDATE spans SET name = 'x'",
            "DELETE FROM spans",
            "TRUNCATE TABLE spans",
            "COPY spans TO '/tmp/x.parquet'",
            "COPY (SELECT 1) TO '/tmp/x.csv' STORED AS CSV",
            "SET datafusion.execution.batch_size = 1",
            "RESET datafusion.execution.batch_size",
            "SHOW ALL",
            "SHOW datafusion.execution.batch_size",
            "SHOW FUNCTIONS",
            "PREPARE p AS SELECT 1",
            "EXECUTE p",
            "DEALLOCATE p",
            "BEGIN",
            "COMMIT",
            "SELECT 1 INTO x",
            "SELECT * INTO x FROM spans",
            "EXPLAIN INSERT INTO spans VALUES (1)",
            "EXPLAIN COPY spans TO '/tmp/x.parquet'",
            "EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1",
            "WITH x AS (SELECT 1) INSERT INTO spans SELECT * FROM x",
            "SELECT * FROM read_parquet('/etc/passwd')",
            "SELECT * FROM parquet_metadata('/etc/passwd')",
            "SELECT * FROM spans FOR UPDATE",
        ] {
            check(text, Err(ErrorKind::Forbidden));
        }
    }

    #[test]
    fn not_one_statement() {
        for text in ["", " ; ", "-- nothing", "SELEC 1", "SELECT 1; SELECT 2", "SELECT 'open", "SELECT (1"] {
            check(text, Err(ErrorKind::Invalid));
        }
        check("SELECT * FROM information_schema.df_settings", Err(ErrorKind::Invalid));
    }

    #[test]
    fn clauses_that_would_be_passed_over() {
        for text in [
            "SELECT * FROM spans TABLESAMPLE BERNOULLI (10)",
            "SELECT * FROM spans s TABLESAMPLE (10 PERCENT)",
            "SELECT * FROM (SELECT * FROM spans) x TABLESAMPLE (10 PERCENT)",
            "SELECT name FROM spans PREWHERE name = 'x'",
            "SELECT name FROM spans CONNECT BY name = 'x'",
            "SELECT name FROM spans PARTITION (p1)",
            "SELECT name FROM spans WITH ORDINALITY",
            "SELECT name, count(*) FROM spans GROUP BY name WITH ROLLUP",
            "SELECT count(DISTINCT *) FROM spans",
        ] {
            let error = parse(text).map(|_| ()).unwrap_err();
            assert!(error.to_string().ends_with("is not supported"), "{text}: {error}");
            assert_eq!(error.kind(), ErrorKind::Invalid, "{text}");
        }
    }

    #[test]
    fn any_way_to_grow_deep_is_bounded() {
        // With as much stack as a query has.
        let thread = std::thread::Builder::new().stack_size(crate::engine::STACK_BYTES).spawn(grow_deep);
        thread.unwrap().join().unwrap();
    }

    fn grow_deep() {
        let n = 100_000;
        for text in [
            format!("SELECT {}1{}", "(".repeat(n), ")".repeat(n)),
            format!("SELECT 1{}", "+1".repeat(n)),
            format!("SELECT {}1", "- ".repeat(n)),
            format!("SELECT {}true", "NOT ".repeat(n)),
            format!("SELECT 1{}", "::int".repeat(n)),
            format!("SELECT 1{}", " IS NULL".repeat(n)),
            format!("SELECT a{}", "[1]".repeat(n)),
            format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(5_000)),
            format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(500)),
            format!("SELECT {}1{}", "abs(".repeat(2_000), ")".repeat(2_000)),
            format!("SELECT * FROM spans{}", ", spans".repeat(5_000)),
            format!("SELECT * FROM spans{}", " NATURAL JOIN spans".repeat(900)),
            format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(5_000), " END".repeat(5_000)),
            format!("SELECT {}1", "EXISTS (SELECT ".repeat(2_000)),
            format!("SELECT '{}'", "x".repeat(1 << 20)),
        ] {
            assert!(parse(&text).is_err(), "{text:.60}");
        }
    }

    #[test]
    fn long_lists_are_fine() {
        let ids: Vec<String> = (0..5_000).map(|i| format!("'{i:032x}'")).collect();
        check(&format!("SELECT * FROM spans WHERE trace_id IN ({})", ids.join(", ")), Ok(()));
    }
}
