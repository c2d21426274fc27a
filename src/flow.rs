//! `hopline flow`: the traces of one story, with the hops between them.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use hopline_model::{SpanId, TraceId};
use serde_json::Value;

use crate::exit::Exit;
use crate::render::flow::Messages;
use crate::render::{Style, clean, flow};
use crate::source::{Source, SourceArgs, parameter};
use crate::{json, sql};

pub(crate) const EXAMPLES: &str = "\
Examples:
  hopline flow 0af7651916cd43dd8448eb211c80319c          of a trace
  hopline flow 8476a536-e9f4-11e8-9739-2dfe598c3fcd      of an invocation or a message, by its id
  hopline flow 's3.obj:photos|cat.jpg|0123456789abcdef'  of a key, as in hopline.link.out

Marks: ┃ the path that took the time, ✗ failed, ◌ something never came, ❄ cold start, ⇢ a hop, with the time that the
message waited; ≈ a hop inferred from time and place, ⌁ one by an X-Ray root.";

/// What `hopline flow` is asked.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Id of a trace, an invocation or a message, or a key
    id: String,
    /// Span that is meant: where its trace took several messages together, only its own count
    #[arg(long, value_name = "SPAN_ID", value_parser = span_id)]
    span: Option<SpanId>,
    /// Print the answer of the API
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
}

fn span_id(text: &str) -> Result<SpanId, String> {
    text.parse().map_err(|error| format!("{error}; 16 hexadecimal digits are expected"))
}

/// Shows the flow.
pub(crate) async fn run(args: Args, config: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let source = Source::open(&args.source, config).await?;
    let answer = find(&source, &args).await?;
    let style = Style::stdout();
    if args.json {
        json::write_pretty(&answer, style.is_terminal(), &mut std::io::stdout().lock())?;
        return Ok(ExitCode::SUCCESS);
    }
    let answer = json::parse(&answer).context("the answer is not JSON")?;
    // The picture is worth having without them.
    let messages = match messages(&source, &answer).await {
        Ok(messages) => messages,
        Err(error) => {
            let warning = Style::stderr().yellow("warning:");
            writeln!(
                std::io::stderr(),
                "{warning} what failed spans said is not known: {}",
                clean(&format!("{error:#}"))
            )?;
            Messages::new()
        }
    };
    std::io::stdout().lock().write_all(flow::render(&answer, &messages, style).as_bytes())?;
    sql::warn_if_incomplete(&answer)?;
    Ok(ExitCode::SUCCESS)
}

/// The flow of whatever has this id: the API says not found for what it is not.
async fn find(source: &Source, args: &Args) -> anyhow::Result<Vec<u8>> {
    // Ids that come out of files may have the end of a line at theirs.
    let id = args.id.trim();
    let mut paths = Vec::new();
    match (id.parse::<TraceId>(), args.span) {
        (Ok(trace), Some(span)) => return source.get_json(&format!("/api/v1/flows/{trace}?span_id={span}")).await,
        (Err(error), Some(_)) => return Err(Exit::usage(format!("--span needs the id of a trace: {error}")).into()),
        (Ok(trace), None) => paths.push(format!("/api/v1/flows/{trace}")),
        (Err(_), None) => {}
    }
    if id.contains(':') {
        paths.push(format!("/api/v1/flows?{}", parameter("key", id)));
    }
    let others = ["invocation_id", "message_id"];
    paths.extend(others.map(|name| format!("/api/v1/flows?{}", parameter(name, id))));
    for path in paths {
        match source.get_json(&path).await {
            Err(error) if is_other(&error) => {}
            answer => return answer,
        }
    }
    let name = source.name();
    Err(Exit::not_found(match platform_says(source, id).await? {
        Some(what) => format!("no span of the invocation {id:?} is known in {name}: {what}"),
        None => format!("no trace, invocation, message or key {id:?} is known in {name}"),
    })
    .into())
}

/// Whether an error says that the id is of another kind.
fn is_other(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Exit>().is_some()
}

/// What is known of an invocation that has no span, and so no flow.
async fn platform_says(source: &Source, id: &str) -> anyhow::Result<Option<String>> {
    let id: String = parameter("", id).chars().skip(1).collect();
    let answer = match source.get_json(&format!("/api/v1/invocations/{id}")).await {
        Err(error) if is_other(&error) => return Ok(None),
        answer => json::parse(&answer?).context("the answer is not JSON")?,
    };
    let Some(last) = answer.get("attempts").and_then(Value::as_array).and_then(|attempts| attempts.last()) else {
        return Ok(None);
    };
    let text = |name: &str| last.get(name).and_then(Value::as_str).map(|text| clean(text).into_owned());
    let how = text("cause").or_else(|| text("outcome").map(|outcome| format!("outcome {outcome}")));
    let parts = [text("function"), text("start_time"), how];
    Ok(Some(parts.into_iter().flatten().collect::<Vec<_>>().join(", ")))
}

/// Traces of a flow whose errors are read, and spans with an error.
const TRACES_MAX: usize = 100;
const MESSAGES_MAX: usize = 1_000;

/// What the failed spans of a flow said: the message of their status, else of the exception that they recorded.
async fn messages(source: &Source, flow: &Value) -> anyhow::Result<Messages> {
    let traces = flow.get("traces").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let failed = traces.iter().filter(|trace| trace.get("errors").and_then(Value::as_u64) > Some(0));
    let ids = failed.filter_map(|trace| trace.get("trace_id")?.as_str()?.parse::<TraceId>().ok());
    let ids: Vec<String> = ids.take(TRACES_MAX).map(|id| format!("'{id}'")).collect();
    if ids.is_empty() {
        return Ok(Messages::new());
    }
    let query = format!(
        "SELECT trace_id, span_id, status_message, events FROM spans WHERE trace_id IN ({}) AND status_code = 'ERROR' \
         LIMIT {MESSAGES_MAX}",
        ids.join(", ")
    );
    let answer = source.post("/api/v1/sql", &serde_json::json!({ "query": query }), "application/json").await?;
    let answer = crate::source::json(answer).await?;
    let rows = answer.get("rows").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    Ok(rows.iter().filter_map(message).collect())
}

fn message(row: &Value) -> Option<((String, String), String)> {
    let text = |column: usize| row.get(column).and_then(Value::as_str).map(str::to_owned);
    let message = text(2).filter(|message| !message.is_empty()).or_else(|| exception(row.get(3)?))?;
    Some(((text(0)?, text(1)?), message))
}

/// The last exception among events: earlier ones were got over.
fn exception(events: &Value) -> Option<String> {
    let one = |event: &Value| {
        let attributes = event.get("attributes")?;
        let attributes = match attributes {
            Value::String(text) => serde_json::from_str(text).ok()?,
            other => other.clone(),
        };
        let text = |key: &str| attributes.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        match (text("exception.type"), text("exception.message")) {
            (Some(kind), Some(message)) => Some(format!("{kind}: {message}")),
            (kind, message) => kind.or(message).map(str::to_owned),
        }
    };
    events.as_array()?.iter().rev().find_map(one)
}
