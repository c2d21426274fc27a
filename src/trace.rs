//! `hopline trace`: one trace as a waterfall.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use hopline_model::TraceId;

use crate::exit::Exit;
use crate::json;
use crate::render::{Style, waterfall};
use crate::source::{Source, SourceArgs};

pub(crate) const EXAMPLES: &str = "\
Examples:
  hopline trace 0af7651916cd43dd8448eb211c80319c
  hopline trace 0af7651916cd43dd8448eb211c80319c --json | jq .
  hopline trace 0af7651916cd43dd8448eb211c80319c --data ./hopline-data

Marks: ✗ error, ❄ cold start, → sends a message, ← receives one, ◌ parent that has not arrived.";

/// What `hopline trace` is asked.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Trace id: 32 hexadecimal digits
    #[arg(value_parser = trace_id)]
    id: TraceId,
    /// Print the trace as OTLP JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
}

fn trace_id(text: &str) -> Result<TraceId, String> {
    text.trim().parse().map_err(|error| format!("{error}; 32 hexadecimal digits are expected"))
}

/// Shows the trace.
pub(crate) async fn run(args: Args, config: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let source = Source::open(&args.source, config).await?;
    let id = args.id.to_string();
    let trace = source.get_json(&format!("/api/v1/traces/{id}")).await?;
    let mut out = std::io::stdout().lock();
    let style = Style::stdout();
    if args.json {
        json::write_pretty(&trace, style.is_terminal(), &mut out)?;
        return Ok(ExitCode::SUCCESS);
    }
    let spans = waterfall::from_otlp(&json::parse(&trace).context("the answer is not JSON")?);
    if spans.is_empty() {
        return Err(Exit::not_found(format!("there is no trace {id} in {}", source.name())).into());
    }
    out.write_all(waterfall::render(&id, &spans, style).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
