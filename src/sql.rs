//! `hopline sql`: one query, a file of them, or a conversation.
//!
//! - [`split`]: where one statement ends and the next begins;
//! - [`stream`]: an answer that is printed as it comes;
//! - [`shell`]: the conversation.

mod shell;
mod split;
mod stream;

use std::fmt;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::render::table::{self, Column};
use crate::render::{self, Style};
use crate::source::{self, Refused, Source, SourceArgs};
use split::Statement;

pub(crate) const EXAMPLES: &str = "\
Examples:
  hopline sql                                                    interactive; \\? helps, \\q leaves
  hopline sql \"SELECT name, duration FROM spans ORDER BY start_time DESC LIMIT 10\"
  hopline sql --format csv -f report.sql > report.csv
  echo 'SELECT count(*) FROM logs' | hopline sql --format json
  hopline sql --data ./hopline-data \"SELECT count(*) FROM spans\"   no server needed";

/// What `hopline sql` is asked.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// The query; without it and -f, standard input is read, or a conversation begins
    query: Option<String>,
    /// File with queries, separated by semicolons
    #[arg(short, long, value_name = "FILE", conflicts_with = "query")]
    file: Option<PathBuf>,
    /// How answers are printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Seconds after which a query is given up [default: the server's]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: Option<u64>,
    #[command(flatten)]
    source: SourceArgs,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// A header and a line a row
    Csv,
    /// One object: columns, rows, and whether that is all
    Json,
    /// An object a row
    Ndjson,
}

impl Format {
    fn media_type(self) -> &'static str {
        match self {
            Format::Table | Format::Json => "application/json",
            Format::Csv => "text/csv",
            Format::Ndjson => "application/x-ndjson",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Table => "table",
            Format::Csv => "csv",
            Format::Json => "json",
            Format::Ndjson => "ndjson",
        })
    }
}

/// Runs the queries.
pub(crate) async fn run(args: Args, config: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let text = match (&args.query, &args.file) {
        (Some(query), _) => Some(query.clone()),
        (None, Some(file)) => Some(std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?),
        (None, None) if std::io::stdin().is_terminal() => None,
        (None, None) => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("read standard input")?;
            Some(text)
        }
    };
    let statements = text.as_deref().map(split::statements);
    if statements.as_ref().is_some_and(Vec::is_empty) {
        return Err(
            Exit::usage("there is no query: give one as an argument, in a file with -f, or on standard input").into()
        );
    }
    let source = Source::open(&args.source, config).await?;
    let mut client =
        Client { source, format: args.format, timeout: args.timeout.map(Duration::from_secs), timing: false };
    let Some(statements) = statements else {
        return shell::run(&mut client).await;
    };
    for statement in statements {
        client.run(&statement).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks queries and prints the answers.
pub(crate) struct Client {
    source: Source,
    format: Format,
    timeout: Option<Duration>,
    timing: bool,
}

impl Client {
    /// Asks one query and prints its answer.
    async fn run(&self, statement: &Statement<'_>) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut body = json!({ "query": statement.text });
        if let (Some(timeout), Some(body)) = (self.timeout, body.as_object_mut()) {
            body.insert("timeout_ms".to_owned(), json!(timeout.as_millis() as u64));
        }
        let answer = self.source.post("/api/v1/sql", &body, self.format.media_type()).await;
        let answer = answer.map_err(|error| in_our_words(error, statement, self.timeout))?;
        match self.format {
            Format::Table => self.print_table(&source::json(answer).await?, started.elapsed())?,
            format => stream::print(answer, format, &self.source).await?,
        }
        if self.timing && self.format != Format::Table {
            let took = i64::try_from(started.elapsed().as_nanos()).unwrap_or(i64::MAX);
            eprint(&format!("{}\n", render::duration(took)))?;
        }
        Ok(())
    }

    fn print_table(&self, answer: &Value, took: Duration) -> anyhow::Result<()> {
        let style = Style::stdout();
        let (columns, rows) = to_table(answer).context("the answer is not a table")?;
        let mut text = table::render(&columns, &rows, style);
        let mut note = format!("{} row{}", render::count(rows.len() as u64), if rows.len() == 1 { "" } else { "s" });
        if self.timing {
            note.push_str(&format!(", {}", render::duration(i64::try_from(took.as_nanos()).unwrap_or(i64::MAX))));
        }
        text.push_str(&format!("{}\n", style.dim(&format!("({note})"))));
        std::io::stdout().write_all(text.as_bytes())?;
        warn_if_incomplete(answer)
    }
}

/// What the server says of its parameters and of one statement, said of our flag and of all that was given.
fn in_our_words(error: anyhow::Error, statement: &Statement<'_>, timeout: Option<Duration>) -> anyhow::Error {
    let Refused { detail, hint, place } = match error.downcast::<Refused>() {
        Ok(refused) => refused,
        Err(error) => return error,
    };
    let most =
        detail.strip_prefix("timeout_ms is between 1 and ").and_then(|rest| rest.split(',').next()?.parse().ok());
    if let (Some(most), Some(timeout)) = (most, timeout) {
        let (given, most) = (timeout.as_secs(), Duration::from_millis(most).as_secs_f64());
        let message = format!("--timeout {given}: at most {most} seconds are allowed (setting query.timeout_max_ms)");
        return Exit::usage(message).into();
    }
    let hint = hint.map(|hint| hint.replace("set timeout_ms", "allow more seconds with --timeout"));
    Refused { detail, hint, place: place.map(|place| statement.place(place)) }.into()
}

/// Says so if an answer is not all there is. Fails if it ended in an error.
pub(crate) fn warn_if_incomplete(answer: &Value) -> anyhow::Result<()> {
    if answer.get("complete") != Some(&Value::Bool(false)) {
        return Ok(());
    }
    if let Some(error) = answer.get("error") {
        let detail = error.get("detail").or(error.get("title")).and_then(Value::as_str).unwrap_or_default();
        bail!("the answer ended early: {}", render::clean(detail));
    }
    let reason = answer.get("reason").and_then(Value::as_str).unwrap_or("the server does not say why");
    let warning = Style::stderr().yellow("warning:");
    eprint(&format!("{warning} the answer is not complete: {}\n", render::clean(reason)))
}

fn eprint(text: &str) -> anyhow::Result<()> {
    Ok(std::io::stderr().write_all(text.as_bytes())?)
}

/// The columns and the cells of a JSON answer.
fn to_table(answer: &Value) -> Option<(Vec<Column>, Vec<Vec<String>>)> {
    let column = |column: &Value| {
        let kind = column.get("type").and_then(Value::as_str).unwrap_or_default().to_lowercase();
        let numeric = ["int", "uint", "float", "double", "decimal"].iter().any(|n| kind.starts_with(n));
        Some(Column { name: column.get("name")?.as_str()?.to_owned(), numeric })
    };
    let columns = answer.get("columns")?.as_array()?.iter().map(column).collect::<Option<Vec<_>>>()?;
    let row = |row: &Value| Some(row.as_array()?.iter().map(cell).collect());
    let rows = answer.get("rows")?.as_array()?.iter().map(row).collect::<Option<Vec<_>>>()?;
    Some((columns, rows))
}

/// A value as the text of a cell.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_answer_becomes_a_table() {
        let answer = json!({
            "columns": [{"name": "service", "type": "Utf8"}, {"name": "n", "type": "Int64"}, {"name": "m", "type": "Map"}],
            "rows": [["cart", 3, {"a": [1, null]}], [null, -1.5, {}]], "complete": true,
        });
        let (columns, rows) = to_table(&answer).unwrap();
        assert_eq!(columns.iter().map(|c| c.numeric).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(rows, [["cart", "3", r#"{"a":[1,null]}"#], ["null", "-1.5", "{}"]]);
        assert!(to_table(&json!({"columns": 1})).is_none());
    }
}
