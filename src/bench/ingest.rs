//! `hopline bench ingest`: what it costs a server to take spans.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;

use super::encode::{Compression, Format};
use super::histogram::Latencies;
use super::load::{self, Outcome, Pace, Target};
use super::machine::{Machine, Shares};
use super::server::{Choice, Left, Server, Usage, usage};
use super::workload::Workload;

/// How requests travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    /// OTLP/gRPC
    Grpc,
    /// OTLP/HTTP with protobuf
    Http,
    /// OTLP/HTTP with JSON
    HttpJson,
}

/// What load to make.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    choice: Choice,
    /// How requests travel
    #[arg(long, value_enum, default_value = "grpc")]
    transport: Transport,
    /// How requests are compressed
    #[arg(long, value_enum, default_value = "gzip")]
    compression: Compression,
    /// Spans in a request
    #[arg(long, value_name = "NUMBER", default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    spans: u64,
    /// Connections
    #[arg(long, value_name = "NUMBER", default_value_t = 4)]
    connections: usize,
    /// Requests at once on each connection
    #[arg(long, value_name = "NUMBER", default_value_t = 4)]
    concurrency: usize,
    /// Stops after so many requests
    #[arg(long, value_name = "NUMBER")]
    requests: Option<u64>,
    /// Stops after so many seconds [default: 10, or 600 when --requests is given]
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
    /// Spans a second, at fixed times whatever the server does; latencies count from these times
    #[arg(long, value_name = "SPANS")]
    rate: Option<f64>,
    /// Ids follow from this [default: from the clock]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Prints the report as JSON
    #[arg(long)]
    json: bool,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Report {
    transport: String,
    compression: String,
    spans_per_request: u64,
    connections: usize,
    concurrency: usize,
    rate_spans_per_s: Option<f64>,
    wall_s: f64,
    requests: u64,
    spans_acknowledged: u64,
    spans_refused: u64,
    requests_retried: u64,
    first_error: Option<String>,
    wire_bytes_per_span: f64,
    spans_per_s: f64,
    acknowledged_after: Option<Latencies>,
    /// CPU the server used from the first request to the last acknowledgement.
    server_cpu_s_while_loaded: Option<f64>,
    /// CPU the server used from its start to its end: all that was not yet written is in it.
    server_cpu_s_in_all: Option<f64>,
    server_cpu_s_per_million_spans: Option<f64>,
    spans_per_server_cpu_s: Option<f64>,
    server_peak_rss_bytes: Option<u64>,
    server_idle_rss_bytes: Option<u64>,
    server_started_in_ms: Option<f64>,
    disk_bytes_per_span: Option<f64>,
    /// Who used the machine's CPUs while loaded.
    machine: Option<Shares>,
    spans_counted: u64,
    /// Whether as many spans were added to the table as were acknowledged.
    complete: bool,
}

/// Runs the benchmark. The exit code is 1 when what was acknowledged is not what is there.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    check(&args)?;
    let server = Server::open(&args.choice).await?;
    let started_in = server.started_in;
    // Idle is when starting is over.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let idle = server.usage();
    let before = server.count_spans().await.context("count the spans before")?;
    let (from, from_all) = (server.usage(), Watched::now());
    let outcome = load(&args, &server).await?;
    let (to, to_all) = (server.usage(), Watched::now());
    let counted = server.count_spans().await.context("count the spans afterwards")?.saturating_sub(before);
    let last = server.usage();
    let left = server.stop().await?;

    let mut report = report(&args, &outcome, counted);
    report.server_started_in_ms = started_in.map(|d| d.as_secs_f64() * 1e3);
    report.machine = from
        .zip(to)
        .zip(from_all.zip(to_all))
        .and_then(|(server, (from, to))| from.machine.shares(to.machine, server, (from.load, to.load)));
    report.costs(idle.filter(|_| started_in.is_some()), from.zip(to), last, left);
    print(&report, args.json)?;
    Ok(if report.complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The machine, and this process on it.
struct Watched {
    machine: Machine,
    load: Usage,
}

impl Watched {
    fn now() -> Option<Watched> {
        Some(Watched { machine: Machine::now()?, load: usage(std::process::id())? })
    }
}

/// Sends the load that `args` describe.
async fn load(args: &Args, server: &Server) -> anyhow::Result<Outcome> {
    let format = if args.transport == Transport::HttpJson { Format::Json } else { Format::Protobuf };
    let grpc = args.transport == Transport::Grpc;
    let addr = if grpc { server.grpc } else { server.http };
    let clock = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    let workload = Workload::new(args.spans, format, args.seed.unwrap_or_else(clock));
    let seconds = args.seconds.unwrap_or(if args.requests.is_some() { 600.0 } else { 10.0 });
    let pace = Pace {
        connections: args.connections,
        concurrency: args.concurrency,
        requests: args.requests.unwrap_or(u64::MAX),
        length: Duration::from_secs_f64(seconds),
        rate: args.rate.map(|spans| spans / args.spans as f64),
    };
    load::run(workload, Target { addr, grpc, format, compression: args.compression }, pace).await
}

/// Sends `spans` spans as fast as they go, for other benchmarks to read.
pub(crate) async fn fill(server: &Server, spans: u64) -> anyhow::Result<u64> {
    let workload = Workload::new(512, Format::Protobuf, 1);
    let pace = Pace {
        connections: 2,
        concurrency: 4,
        requests: spans.div_ceil(512),
        length: Duration::from_secs(600),
        rate: None,
    };
    let target = Target { addr: server.grpc, grpc: true, format: Format::Protobuf, compression: Compression::Gzip };
    let outcome = load::run(workload, target, pace).await?;
    anyhow::ensure!(outcome.refused == 0, "the server refused spans: {}", outcome.first_error.unwrap_or_default());
    Ok(outcome.acknowledged)
}

fn check(args: &Args) -> anyhow::Result<()> {
    let positive = |n: Option<f64>| n.is_none_or(|n| n.is_finite() && n > 0.0 && n < 1e9);
    anyhow::ensure!(positive(args.seconds), "--seconds must be more than 0");
    anyhow::ensure!(positive(args.rate), "--rate must be more than 0");
    let senders = args.connections.saturating_mul(args.concurrency);
    anyhow::ensure!((1..=100_000).contains(&senders), "--connections times --concurrency must be from 1 to 100000");
    Ok(())
}

fn report(args: &Args, outcome: &Outcome, counted: u64) -> Report {
    let name = |value: Option<clap::builder::PossibleValue>| value.map(|v| v.get_name().to_owned()).unwrap_or_default();
    let wall_s = outcome.wall.as_secs_f64();
    let acknowledged = outcome.acknowledged;
    Report {
        transport: name(args.transport.to_possible_value()),
        compression: name(args.compression.to_possible_value()),
        spans_per_request: args.spans,
        connections: args.connections,
        concurrency: args.concurrency,
        rate_spans_per_s: args.rate,
        wall_s,
        requests: outcome.requests,
        spans_acknowledged: acknowledged,
        spans_refused: outcome.refused,
        requests_retried: outcome.retried,
        first_error: outcome.first_error.clone(),
        wire_bytes_per_span: outcome.bytes as f64 / acknowledged.max(1) as f64,
        spans_per_s: acknowledged as f64 / wall_s.max(1e-9),
        acknowledged_after: outcome.latencies.latencies(),
        server_cpu_s_while_loaded: None,
        server_cpu_s_in_all: None,
        server_cpu_s_per_million_spans: None,
        spans_per_server_cpu_s: None,
        server_peak_rss_bytes: None,
        server_idle_rss_bytes: None,
        server_started_in_ms: None,
        disk_bytes_per_span: None,
        machine: None,
        spans_counted: counted,
        complete: counted == acknowledged && acknowledged > 0,
    }
}

impl Report {
    fn costs(&mut self, idle: Option<Usage>, loaded: Option<(Usage, Usage)>, last: Option<Usage>, left: Option<Left>) {
        let spans = self.spans_acknowledged.max(1) as f64;
        self.server_idle_rss_bytes = idle.and_then(|u| u.rss_bytes);
        self.server_peak_rss_bytes = last.and_then(|u| u.peak_rss_bytes);
        self.server_cpu_s_while_loaded = loaded.map(|(from, to)| to.cpu_s - from.cpu_s);
        self.server_cpu_s_in_all = left.and_then(|l| l.cpu_s);
        // Of a server of our own everything counts: what it puts off is not for free.
        let cpu_s = self.server_cpu_s_in_all.or(self.server_cpu_s_while_loaded);
        if let Some(cpu_s) = cpu_s.filter(|_| self.spans_acknowledged > 0) {
            self.server_cpu_s_per_million_spans = Some(cpu_s / spans * 1e6);
            self.spans_per_server_cpu_s = (cpu_s > 0.0).then(|| spans / cpu_s);
        }
        self.disk_bytes_per_span = left.map(|l| l.parquet_bytes as f64 / spans);
    }
}

fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, report).context("write the report")?;
        return writeln!(out).context("write the report");
    }
    out.write_all(text(report).as_bytes()).context("write the report")
}

fn text(r: &Report) -> String {
    let mut lines = Vec::new();
    let mut line = |name: &str, value: String| lines.push(format!("{name:<24}{value}\n"));
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / 1_048_576.0);
    line(
        "load",
        format!(
            "{} {}, {} spans a request, {} connections of {} at once{}",
            r.transport,
            r.compression,
            r.spans_per_request,
            r.connections,
            r.concurrency,
            r.rate_spans_per_s.map(|rate| format!(", {rate:.0} spans/s wanted")).unwrap_or_default()
        ),
    );
    line("acknowledged", format!("{} spans in {} requests, {:.2} s", r.spans_acknowledged, r.requests, r.wall_s));
    line("throughput", format!("{:.0} spans/s, {:.0} bytes a span on the wire", r.spans_per_s, r.wire_bytes_per_span));
    if let Some(l) = r.acknowledged_after {
        let all = format!(
            "p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms",
            l.p50_ms, l.p99_ms, l.p999_ms, l.max_ms
        );
        line("acknowledged after", all);
    }
    line("refused", format!("{} spans; {} requests sent again", r.spans_refused, r.requests_retried));
    if let Some(error) = &r.first_error {
        line("first refusal", error.clone());
    }
    if let (Some(per_million), Some(per_second)) = (r.server_cpu_s_per_million_spans, r.spans_per_server_cpu_s) {
        let loaded = r.server_cpu_s_while_loaded.unwrap_or_default();
        let all = r.server_cpu_s_in_all.map(|s| format!(", {s:.2} s from start to end")).unwrap_or_default();
        line(
            "server CPU",
            format!(
                "{per_million:.2} s a million spans, {per_second:.0} spans a CPU-second ({loaded:.2} s while loaded{all})"
            ),
        );
    }
    if let Some(peak) = r.server_peak_rss_bytes {
        let idle = r.server_idle_rss_bytes.map(|idle| format!(", {} idle", mib(idle))).unwrap_or_default();
        line("server memory", format!("{} at most{idle}", mib(peak)));
    }
    if let Some(ms) = r.server_started_in_ms {
        line("server start", format!("{ms:.0} ms to ready"));
    }
    if let Some(bytes) = r.disk_bytes_per_span {
        line("disk", format!("{bytes:.1} bytes a span in Parquet"));
    }
    if let Some(m) = r.machine {
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        line(
            "CPUs while loaded",
            format!(
                "server {}, this load {}, other processes {}, stolen by the host {}",
                percent(m.server),
                percent(m.load),
                percent(m.others),
                percent(m.stolen)
            ),
        );
    }
    let verdict = if r.complete { "all acknowledged spans are there" } else { "NOT what was acknowledged" };
    line("counted by SQL", format!("{} spans: {verdict}", r.spans_counted));
    lines.concat()
}
