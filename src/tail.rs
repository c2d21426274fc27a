//! `hopline tail`: what arrives, live, a line a row.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::flags;
use crate::json;
use crate::render::{Style, clean, cut, duration, pad, pad_left, width};
use crate::source::{self, Source, SourceArgs, parameter};
use crate::sql;

pub(crate) const EXAMPLES: &str = "\
Examples:
  hopline tail                                          spans, as they are stored
  hopline tail --service checkout --status error
  hopline tail logs --severity-min warn --text timeout
  hopline tail metrics --name faas.invocations --json

Ctrl-C ends it. A terminal that is too slow misses rows, and is told how many batches.";

/// What `hopline tail` is asked. All conditions must hold.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// What is followed
    #[arg(value_parser = ["spans", "logs", "metrics"], default_value = "spans")]
    table: String,
    /// Rows of this service
    #[arg(long)]
    service: Option<String>,
    /// Rows of this function
    #[arg(long)]
    function: Option<String>,
    /// Spans with this name, or points of this metric
    #[arg(long)]
    name: Option<String>,
    /// Spans of this kind
    #[arg(long, ignore_case = true, value_parser = ["unspecified", "internal", "server", "client", "producer", "consumer"])]
    kind: Option<String>,
    /// Spans with this status
    #[arg(long, ignore_case = true, value_parser = ["unset", "ok", "error"])]
    status: Option<String>,
    /// Spans that took at least this long: 10ms, 1.5s
    #[arg(long, value_name = "DURATION", value_parser = flags::duration)]
    min_duration: Option<String>,
    /// Log records at least this severe: TRACE, DEBUG, INFO, WARN, ERROR, FATAL, or 1 to 24
    #[arg(long, value_name = "SEVERITY", value_parser = flags::severity)]
    severity_min: Option<String>,
    /// Log records whose body contains this text
    #[arg(long)]
    text: Option<String>,
    /// Print each row as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
}

impl Args {
    fn path(&self) -> String {
        let given = [
            ("service", &self.service),
            ("function", &self.function),
            ("name", &self.name),
            ("kind", &self.kind),
            ("status", &self.status),
            ("min_duration", &self.min_duration),
            ("severity_min", &self.severity_min),
            ("text", &self.text),
        ];
        let given = given.into_iter().filter_map(|(name, value)| Some(parameter(name, value.as_deref()?)));
        let all: Vec<String> = [parameter("table", &self.table)].into_iter().chain(given).collect();
        format!("/api/v1/tail?{}", all.join("&"))
    }
}

/// What comes. The row is printed as it came, however deep its attributes are.
#[derive(Deserialize)]
struct Item {
    table: String,
    row: Box<RawValue>,
}

/// Follows until the server or the user ends it.
pub(crate) async fn run(args: Args, config: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let source = Source::open(&args.source, config).await?;
    if let Source::Folder(..) = source {
        bail!("no server runs on {}: only a server has something to follow", source.name());
    }
    let answer = source.get(&args.path(), "application/x-ndjson").await?;
    let style = Style::stdout();
    let mut lines = source::lines(answer);
    while let Some(line) = lines.next().await {
        let line = line?;
        // An empty line only says that the connection lives.
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let Item { table, row: raw } = serde_json::from_slice(&line).context("the answer is not JSON")?;
        let row = json::parse(raw.get().as_bytes()).context("the answer is not JSON")?;
        if table == "missed" {
            let batches = row.get("batches").and_then(Value::as_u64).unwrap_or(0);
            let note = format!("{batches} batches were missed: this reader is too slow");
            writeln!(std::io::stderr(), "{} {note}", Style::stderr().yellow("warning:"))?;
            continue;
        }
        let text = match args.json {
            true if style.is_terminal() => json::harmless(raw.get()),
            true => raw.get().to_owned(),
            false => show(&table, &row, style),
        };
        writeln!(std::io::stdout(), "{text}")?;
    }
    bail!("{} ended the connection", source.name());
}

/// One row as a line.
fn show(table: &str, row: &Value, style: Style) -> String {
    let text = |key: &str| row.get(key).map(sql::cell).unwrap_or_default();
    let clock = |key: &str| style.dim(text(key).get(11..23).unwrap_or_default());
    let service = |name: &str| style.hue(name.bytes().map(usize::from).sum(), &pad(&cut(&clean(name), 20), 20));
    match table {
        "spans" => {
            let took = row.get("duration_ns").and_then(Value::as_i64).unwrap_or(0);
            let is_error = row.get("error") == Some(&Value::Bool(true));
            let mut name = clean(&text("name")).into_owned();
            if is_error {
                name = style.red(format!("✗ {name} {}", clean(&text("status_message"))).trim_end());
            }
            let (start, took) = (clock("start_time"), pad_left(&duration(took), 10));
            format!("{start} {took} {} {name}  {}", service(&text("service")), style.dim(&text("trace_id")))
        }
        "logs" => {
            let number = row.get("severity_number").and_then(Value::as_i64).unwrap_or(0);
            let word = match number {
                1..=4 => "TRACE",
                5..=8 => "DEBUG",
                9..=12 => "INFO",
                13..=16 => "WARN",
                17..=20 => "ERROR",
                21..=24 => "FATAL",
                _ => "-",
            };
            let word = pad(word, 5);
            let word = match number {
                17.. => style.red(&word),
                13.. => style.yellow(&word),
                _ => word,
            };
            let line = format!("{} {word} {} ", clock("time"), service(&text("service")));
            let body = clean(&text("body")).into_owned();
            // 12 for the time, 5 and 20 for severity and service, 3 spaces.
            let room = style.width.map_or(usize::MAX, |w| w.saturating_sub(40).max(20));
            format!("{line}{}", if width(&body) > room { cut(&body, room).into_owned() } else { body })
        }
        _ => point(row).unwrap_or_else(|| row.to_string()),
    }
}

/// The data points of an OTLP `MetricsData`, each as `name value unit`.
fn point(row: &Value) -> Option<String> {
    let resource = row.pointer("/resourceMetrics/0")?;
    let metric = resource.pointer("/scopeMetrics/0/metrics/0")?;
    let attributes = resource.pointer("/resource/attributes").and_then(Value::as_array);
    let service = attributes.and_then(|all| all.iter().find(|a| a.get("key").is_some_and(|k| k == "service.name")));
    let service = service.and_then(|a| a.pointer("/value/stringValue")).and_then(Value::as_str).unwrap_or_default();
    let text = |key: &str| metric.get(key).and_then(Value::as_str).unwrap_or_default();
    let kinds = ["gauge", "sum", "histogram", "exponentialHistogram", "summary"];
    let (kind, data) = kinds.into_iter().find_map(|kind| Some((kind, metric.get(kind)?)))?;
    let point = data.pointer("/dataPoints/0")?;
    let value = ["asInt", "asDouble"].into_iter().find_map(|key| point.get(key)).map(sql::cell);
    let value = value.unwrap_or_else(|| {
        let part = |key: &str| point.get(key).map(sql::cell).unwrap_or_else(|| "?".to_owned());
        format!("count {} sum {}", part("count"), part("sum"))
    });
    let line = format!("{} {} {value} {} ({kind})", pad(&cut(&clean(service), 20), 20), text("name"), text("unit"));
    Some(clean(&line).into_owned())
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
        let args = Cli::try_parse_from(["x", "logs", "--severity-min", "WARN", "--text", "a b"]).unwrap().args;
        assert_eq!(args.path(), "/api/v1/tail?table=logs&severity_min=WARN&text=a%20b");
        assert!(Cli::try_parse_from(["x", "traces"]).is_err());
    }

    #[test]
    fn a_row_is_a_line() {
        let style = Style::plain(Some(60));
        let span = json!({"start_time": "2026-01-31T12:00:00.123456789Z", "duration_ns": 1_500_000, "service": "cart",
            "name": "GET /\n", "error": true, "status_message": "no", "trace_id": "0af7"});
        assert_eq!(show("spans", &span, style), "12:00:00.123    1.50 ms cart                 ✗ GET /↵ no  0af7");
        let log = json!({"time": "2026-01-31T12:00:00.123456789Z", "severity_number": 17, "service": "cart",
            "body": "a\x1bb and much more than fits into the line"});
        let line = show("logs", &log, style);
        assert_eq!(line, "12:00:00.123 ERROR cart                 a␛b and much more t…");
        assert_eq!(width(&line), 60);
        let metric = json!({"resourceMetrics": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "cart"}}]},
            "scopeMetrics": [{"metrics": [{"name": "n", "unit": "1", "sum": {"dataPoints": [{"asInt": "5"}]}}]}],
        }]});
        assert_eq!(show("metrics", &metric, style), "cart                 n 5 1 (sum)");
    }
}
