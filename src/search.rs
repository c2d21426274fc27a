//! `hopline search`: spans by condition, as a table.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::flags;
use crate::render::table::{self, Column};
use crate::render::{self, Style};
use crate::source::{Source, SourceArgs, parameter};
use crate::sql;

pub(crate) const EXAMPLES: &str = "\
Examples:
  hopline search                                            the newest 20 spans
  hopline search --service checkout --status error --start -1h
  hopline search --min-duration 500ms --order slowest
  hopline search --attr http.route=/cart --attr 'http.response.status_code>=500'
  hopline search --function resize --kind consumer --json | jq '.spans[].trace_id'

Times: RFC 3339, seconds, ms or ns since 1970, or relative like -1h. Durations: 10ms, 1.5s, 2m.";

/// Spans that one request asks for.
const PAGE: usize = 1_000;

/// What `hopline search` is asked. All conditions must hold.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Spans of this service (repeatable: of any of them)
    #[arg(long)]
    service: Vec<String>,
    /// Spans with this name
    #[arg(long, visible_alias = "name")]
    operation: Option<String>,
    /// Spans of this function
    #[arg(long)]
    function: Option<String>,
    /// Spans of this kind
    #[arg(long, ignore_case = true, value_parser = ["unspecified", "internal", "server", "client", "producer", "consumer"])]
    kind: Option<String>,
    /// Spans with this status
    #[arg(long, ignore_case = true, value_parser = ["unset", "ok", "error"])]
    status: Option<String>,
    /// Spans that took at least this long
    #[arg(long, value_name = "DURATION", value_parser = flags::duration)]
    min_duration: Option<String>,
    /// Spans that took at most this long
    #[arg(long, value_name = "DURATION", value_parser = flags::duration)]
    max_duration: Option<String>,
    /// Condition on an attribute: key=value, key!=value, key>1, key>=1, key<1, key<=1, key (it is there), !key (it is not); repeatable
    #[arg(long, value_name = "CONDITION")]
    attr: Vec<String>,
    /// Condition on an attribute of the resource; repeatable
    #[arg(long, value_name = "CONDITION")]
    resource_attr: Vec<String>,
    /// Spans that started then or later
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = flags::time)]
    start: Option<String>,
    /// Spans that started earlier
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = flags::time)]
    end: Option<String>,
    /// What comes first
    #[arg(long, value_parser = ["newest", "slowest"], default_value = "newest")]
    order: String,
    /// Spans at most
    #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// Print JSON: the spans with all their attributes
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
}

impl Args {
    /// The query part of the address, without limit and cursor.
    fn parameters(&self) -> Vec<String> {
        let one = [
            ("operation", &self.operation),
            ("function", &self.function),
            ("kind", &self.kind),
            ("status", &self.status),
            ("min_duration", &self.min_duration),
            ("max_duration", &self.max_duration),
            ("start", &self.start),
            ("end", &self.end),
        ];
        let many = [("service", &self.service), ("attr", &self.attr), ("resource_attr", &self.resource_attr)];
        let one = one.into_iter().filter_map(|(name, value)| Some(parameter(name, value.as_deref()?)));
        let many = many.into_iter().flat_map(|(name, values)| values.iter().map(move |v| parameter(name, v)));
        one.chain(many).chain([parameter("order", &self.order)]).collect()
    }
}

/// Finds spans and prints them.
pub(crate) async fn run(args: Args, config: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let source = Source::open(&args.source, config).await?;
    let answer = find(&source, &args).await?;
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &answer).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(ExitCode::SUCCESS);
    }
    let spans = answer.get("spans").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let style = Style::stdout();
    out.write_all(to_table(spans, style).as_bytes())?;
    let note = format!("({} span{})", render::count(spans.len() as u64), if spans.len() == 1 { "" } else { "s" });
    writeln!(out, "{}", style.dim(&note))?;
    // More than was asked for is no surprise; anything else is.
    if answer.get("cursor").is_none_or(Value::is_null) {
        sql::warn_if_incomplete(&answer)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Follows the cursor until there are enough spans.
async fn find(source: &Source, args: &Args) -> anyhow::Result<Value> {
    let parameters = args.parameters().join("&");
    let limit = args.limit as usize;
    let mut spans: Vec<Value> = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = (limit - spans.len()).min(PAGE);
        let mut answer = source.get_json(&format!("/api/v1/search?{parameters}&limit={page}{cursor}")).await?;
        let found = answer.get_mut("spans").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
        let is_empty = found.is_empty();
        spans.extend(found);
        match answer.get("cursor").and_then(Value::as_str) {
            Some(next) if spans.len() < limit && !is_empty => cursor = format!("&{}", parameter("cursor", next)),
            _ => {
                if let Some(answer) = answer.as_object_mut() {
                    answer.insert("spans".to_owned(), json!(spans));
                }
                return Ok(answer);
            }
        }
    }
}

fn to_table(spans: &[Value], style: Style) -> String {
    let text = |span: &Value, key: &str| span.get(key).map(sql::cell).unwrap_or_default();
    let with_function = spans.iter().any(|s| s.get("function").is_some_and(|f| !f.is_null()));
    let mut columns = vec![Column::text("start"), Column::number("duration"), Column::text("service")];
    columns.extend(with_function.then(|| Column::text("function")));
    columns.extend(["name", "kind", "status", "trace"].map(Column::text));
    let row = |span: &Value| {
        // Milliseconds tell people enough; --json has all nine digits.
        let start: String = text(span, "start_time").chars().take(23).collect();
        let duration = span.get("duration_ns").and_then(Value::as_i64).unwrap_or(0);
        let mut row = vec![start.replace('T', " "), render::duration(duration), text(span, "service")];
        row.extend(with_function.then(|| text(span, "function")));
        let status = match (text(span, "status").as_str(), text(span, "status_message").as_str()) {
            ("UNSET", _) => String::new(),
            (status, "") => status.to_owned(),
            (status, message) => format!("{status}: {message}"),
        };
        row.extend([text(span, "name"), text(span, "kind").to_lowercase(), status, text(span, "trace_id")]);
        row
    };
    table::render(&columns, &spans.iter().map(row).collect::<Vec<_>>(), style)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn flags_become_parameters() {
        let flags = ["x", "--service", "a b", "--service", "c", "--attr", "n>=5", "--start", "-1h", "--kind", "SERVER"];
        let args = Cli::try_parse_from(flags).unwrap().args;
        let expected = "kind=SERVER&start=-1h&service=a%20b&service=c&attr=n%3E%3D5&order=newest";
        assert_eq!(args.parameters().join("&"), expected);
        assert!(Cli::try_parse_from(["x", "--kind", "nonsense"]).is_err());
        let error = Cli::try_parse_from(["x", "--min-duration", "soon"]).err().unwrap().to_string();
        assert!(error.contains("'soon' for '--min-duration <DURATION>'") && error.contains("such as 10ms"), "{error}");
        assert!(Cli::try_parse_from(["x", "--end", "yesterday"]).is_err());
    }

    #[test]
    fn spans_become_a_table() {
        let span = json!({
            "trace_id": "0af7651916cd43dd8448eb211c80319c", "service": "cart", "name": "GET /", "kind": "SERVER",
            "start_time": "2026-01-31T12:00:00.123456789Z", "duration_ns": 1_500_000, "status": "ERROR", "status_message": "no",
        });
        let table = to_table(&[span], Style::plain(None));
        let row = table.lines().nth(2).unwrap();
        let expected = " 2026-01-31 12:00:00.123 │  1.50 ms │ cart    │ GET / │ server │ ERROR: no │ 0af7651916cd43dd8448eb211c80319c";
        assert_eq!(row, expected);
    }
}
