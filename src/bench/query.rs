//! `hopline bench query`: how long a handful of questions take, when asked again and again.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use super::histogram::{Histogram, Latencies};
use super::ingest;
use super::server::{Choice, Server};

/// What to ask, and of whom.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    choice: Choice,
    /// Spans that are sent first to a server that is started for this
    #[arg(long, value_name = "NUMBER", default_value_t = 200_000)]
    spans: u64,
    /// How often each question is asked, after three times to warm up
    #[arg(long, value_name = "NUMBER", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    repeat: u64,
    /// Prints the report as JSON
    #[arg(long)]
    json: bool,
}

/// A question.
#[derive(Debug)]
enum Question {
    /// In SQL.
    Sql(String),
    /// A path of the API.
    Path(String),
}

/// How long a question took.
#[derive(Debug, Serialize)]
struct Timing {
    name: &'static str,
    latencies: Option<Latencies>,
    error: Option<String>,
}

/// Runs the benchmark. The exit code is 1 when a question was not answered.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let server = Server::open(&args.choice).await?;
    if args.choice.server.is_none() {
        ingest::fill(&server, args.spans).await.context("send spans to ask about")?;
    }
    let spans = server.count_spans().await.context("count the spans")?;
    anyhow::ensure!(spans > 0, "the server has no spans to ask about");
    let mut timings = Vec::new();
    for (name, question) in questions(&server).await? {
        timings.push(time(&server, name, &question, args.repeat).await);
    }
    server.stop().await?;
    print(&timings, spans, args.json)?;
    let failed = timings.iter().any(|t| t.error.is_some());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The questions, about a trace and a service that the server really has.
async fn questions(server: &Server) -> anyhow::Result<Vec<(&'static str, Question)>> {
    let rows = server.sql("select trace_id, service, name from spans order by start_time desc limit 1").await?;
    let text = |i: usize| {
        let cell = rows.first().and_then(|row| row.get(i)).and_then(|cell| cell.as_str());
        cell.map(str::to_owned).context("find a span to ask about")
    };
    let (trace, service, name) = (text(0)?, text(1)?, text(2)?);
    let quoted = |text: &str| text.replace('\'', "''");
    let (in_sql, name) = (quoted(&service), quoted(&name));
    Ok(vec![
        ("trace by id", Question::Path(format!("/api/v1/traces/{trace}"))),
        ("search: newest 20 of a service", Question::Path(format!("/api/v1/search?service={}&limit=20", encoded(&service)))),
        ("services", Question::Path("/api/v1/services".to_owned())),
        ("SQL: count", Question::Sql("select count(*) from spans".to_owned())),
        (
            "SQL: service and operation, newest 20",
            Question::Sql(format!(
                "select trace_id, span_id, start_time, duration from spans where service = '{in_sql}' and name = '{name}' order by start_time desc limit 20"
            )),
        ),
        (
            "SQL: service, slowest 20",
            Question::Sql(format!("select trace_id, span_id, duration from spans where service = '{in_sql}' order by duration desc limit 20")),
        ),
        (
            "SQL: errors, newest 20",
            Question::Sql("select trace_id, span_id, name from spans where status_code = 'ERROR' order by start_time desc limit 20".to_owned()),
        ),
        (
            "SQL: count and average per service",
            Question::Sql("select service, count(*), avg(duration) from spans group by service".to_owned()),
        ),
    ])
}

fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

async fn time(server: &Server, name: &'static str, question: &Question, repeat: u64) -> Timing {
    let mut histogram = Histogram::new();
    for n in 0..repeat + 3 {
        match ask(server, question).await {
            Ok(took) if n >= 3 => histogram.record(took),
            Ok(_) => {}
            Err(error) => return Timing { name, latencies: None, error: Some(format!("{error:#}")) },
        }
    }
    Timing { name, latencies: histogram.latencies(), error: None }
}

async fn ask(server: &Server, question: &Question) -> anyhow::Result<Duration> {
    let began = Instant::now();
    match question {
        Question::Sql(query) => drop(server.sql(query).await?),
        Question::Path(path) => drop(server.get(path).await?),
    }
    Ok(began.elapsed())
}

fn print(timings: &[Timing], spans: u64, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        let report = serde_json::json!({ "spans": spans, "queries": timings });
        serde_json::to_writer_pretty(&mut out, &report).context("write the report")?;
        return writeln!(out).context("write the report");
    }
    writeln!(out, "{spans} spans; milliseconds, warm").context("write the report")?;
    for timing in timings {
        let figures = match (&timing.latencies, &timing.error) {
            (Some(l), _) => format!("p50 {:>9.2}   p99 {:>9.2}   max {:>9.2}", l.p50_ms, l.p99_ms, l.max_ms),
            (None, error) => format!("failed: {}", error.as_deref().unwrap_or("never asked")),
        };
        writeln!(out, "{:<40}{figures}", timing.name).context("write the report")?;
    }
    Ok(())
}
