//! What stitching costs at ingest: CPU time of the server with it and without it, for the
//! same telemetry of functions, sent as tiny exports.

use std::io::Write as _;

use anyhow::Context as _;
use serde::Serialize;

use crate::bench::server::{Choice, Server};
use crate::demo::{Delivery, Options, Story, deliver};

/// What one play cost.
#[derive(Debug, Clone, Copy, Serialize)]
struct Run {
    stitch: bool,
    spans: u64,
    cpu_s: f64,
    parquet_bytes: u64,
}

/// Plays `options` into servers of its own, `times` times with and without, and says what it cost.
pub(super) async fn run(options: &Options, times: u64, as_json: bool) -> anyhow::Result<()> {
    let mut runs = Vec::new();
    for _ in 0..times {
        // By turns, so that what else the machine does meets both.
        for stitch in [false, true] {
            runs.push(play(options.clone(), stitch).await?);
        }
    }
    let mut out = std::io::stdout().lock();
    if as_json {
        serde_json::to_writer_pretty(&mut out, &runs).context("write the report")?;
        return writeln!(out).context("write the report");
    }
    let mut medians = Vec::new();
    for stitch in [false, true] {
        let of: Vec<&Run> = runs.iter().filter(|run| run.stitch == stitch).collect();
        let mut costs: Vec<f64> = of.iter().map(|run| run.cpu_s * 1e6 / run.spans as f64).collect();
        costs.sort_by(f64::total_cmp);
        let median = costs.get(costs.len() / 2).copied().unwrap_or(0.0);
        let bytes = of.first().map_or(0, |run| run.parquet_bytes / run.spans.max(1));
        let spans = of.first().map_or(0, |run| run.spans);
        let name = if stitch { "with" } else { "without" };
        let all = costs.iter().map(|cost| format!("{cost:.1}")).collect::<Vec<_>>().join(", ");
        writeln!(
            out,
            "{name:<8} stitching: {median:.1} CPU-seconds a million spans (of {all}), {bytes} bytes of Parquet a span, {spans} spans"
        )
        .context("write the report")?;
        medians.push(median);
    }
    if let [without, with] = medians.as_slice() {
        writeln!(out, "stitching costs {:.1} % more", (with / without - 1.0) * 100.0).context("write the report")?;
    }
    Ok(())
}

async fn play(options: Options, stitch: bool) -> anyhow::Result<Run> {
    let seed = options.seed;
    let config = std::env::temp_dir().join(format!("hopline-bench-{}.toml", std::process::id()));
    std::fs::write(&config, format!("[collector]\nstitch = {stitch}\n")).context("write the settings")?;
    let choice = Choice { server: None, dir: None, server_config: Some(config.clone()), keep: false };
    let server = Server::open(&choice).await?;
    let story = Story::of(options);
    deliver(&format!("http://{}", server.grpc), story, Delivery::Ordered, seed).await.context("send the play")?;
    let spans = server.count_spans().await?;
    let left = server.stop().await?.context("the server was not ours")?;
    std::fs::remove_file(&config).context("remove the settings")?;
    let cpu_s = left.cpu_s.context("the CPU time of a process is not known here")?;
    Ok(Run { stitch, spans, cpu_s, parquet_bytes: left.parquet_bytes })
}
