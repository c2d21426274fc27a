//! `hopline flow`: the traces of one story, with the hops between them.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::exit::Exit;
use crate::json;
use crate::render::{Style, flow};
use crate::source::{Source, SourceArgs, parameter};

pub(crate) const EXAMPLES: &str = "\
Examples:
  hopline flow 0af7651916cd43dd8448eb211c80319c          of a trace
  hopline flow 8476a536-e9f4-11e8-9739-2dfe598c3fcd      of an invocation or a message, by its id
  hopline flow 's3.obj:photos|cat.jpg|0123456789abcdef'  of a key, as in hopline.link.out

Marks: ✗ error, ❄ cold start, ⇢ a hop, with the time that the message waited; ≈ inferred, ⌁ by an X-Ray root.";

/// What `hopline flow` is asked.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Id of a trace, an invocation or a message, or a key
    id: String,
    /// Print the answer of the API
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
}

/// Shows the flow.
pub(crate) async fn run(args: Args, config: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let source = Source::open(&args.source, config).await?;
    let answer = find(&source, &args.id).await?;
    let mut out = std::io::stdout().lock();
    let style = Style::stdout();
    if args.json {
        json::write_pretty(&answer, style.is_terminal(), &mut out)?;
        return Ok(ExitCode::SUCCESS);
    }
    let answer = json::parse(&answer).context("the answer is not JSON")?;
    out.write_all(flow::render(&answer, style).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The flow of whatever has this id: the API says not found for what it is not.
async fn find(source: &Source, id: &str) -> anyhow::Result<Vec<u8>> {
    let mut paths = Vec::new();
    if id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()) {
        paths.push(format!("/api/v1/flows/{}", id.to_ascii_lowercase()));
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
    Err(Exit::not_found(format!("no trace, invocation, message or key {id:?} is known in {}", source.name())).into())
}

/// Whether an error says that the id is of another kind.
fn is_other(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Exit>().is_some()
}
