//! `hopline search`: spans by condition, as a table.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::flags;
use crate::json;
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
    /// Go on behind an earlier answer: the `cursor` that it gave with --json, and the same conditions
    #[arg(long)]
    cursor: Option<String>,
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
    let style = Style::stdout();
    if args.json {
        json::write_pretty(&serde_json::to_vec(&answer)?, style.is_terminal(), &mut out)?;
        return Ok(ExitCode::SUCCESS);
    }
    let spans = answer.spans.iter().map(|span| json::parse(span.get().as_bytes()));
    let spans = spans.collect::<Result<Vec<_>, _>>().context("the answer is not JSON")?;
    out.write_all(to_table(&spans, style).as_bytes())?;
    let note = format!("({} span{})", render::count(spans.len() as u64), if spans.len() == 1 { "" } else { "s" });
    writeln!(out, "{}", style.dim(&note))?;
    // More than was asked for is no surprise; anything else is.
    if answer.cursor.is_none() {
        let Found { complete, reason, .. } = &answer;
        sql::warn_if_incomplete(&serde_json::json!({ "complete": complete, "reason": reason }))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// An answer. The spans stay text: their attributes may be deeper than a tree may be.
#[derive(Debug, Serialize, Deserialize)]
struct Found {
    spans: Vec<Box<RawValue>>,
    complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Follows the cursor until there are enough spans.
async fn find(source: &Source, args: &Args) -> anyhow::Result<Found> {
    let parameters = args.parameters().join("&");
    let limit = args.limit as usize;
    let mut spans = Vec::new();
    let mut cursor = args.cursor.clone();
    loop {
        let page = (limit - spans.len()).min(PAGE);
        let from = cursor.map(|cursor| format!("&{}", parameter("cursor", &cursor))).unwrap_or_default();
        let answer = source.get_json(&format!("/api/v1/search?{parameters}&limit={page}{from}")).await?;
        let mut found: Found = serde_json::from_slice(&answer).context("the answer is not that of a search")?;
        let is_empty = found.spans.is_empty();
        spans.append(&mut found.spans);
        if found.cursor.is_none() || spans.len() >= limit || is_empty {
            return Ok(Found { spans, ..found });
        }
        cursor = found.cursor;
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
    use serde_json::json;

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
