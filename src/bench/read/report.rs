//! What was measured, as text and as JSON, and which goals were missed.

use std::io::Write as _;

use anyhow::Context as _;
use serde::Serialize;

use super::flow::FlowRun;
use super::overview::Overview;
use super::timing::Timing;
use crate::bench::machine::Shares;

/// What was measured.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) overview: Option<Overview>,
    pub(super) flow: Option<FlowRun>,
}

#[derive(Debug, Serialize)]
struct Written<'a> {
    /// Goals that were missed, in words.
    missed: &'a [String],
    #[serde(flatten)]
    report: &'a Report,
}

impl Report {
    fn timings(&self) -> impl Iterator<Item = &Timing> {
        let of_overview = self.overview.iter().flat_map(|overview| &overview.timings);
        of_overview.chain(self.flow.iter().map(|flow| &flow.timing))
    }

    /// The goals that were missed, in words.
    pub(super) fn missed(&self) -> Vec<String> {
        self.timings().filter_map(Timing::missed).collect()
    }

    /// Prints it, or writes it as JSON.
    pub(super) fn print(&self, missed: &[String], as_json: bool) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        if as_json {
            serde_json::to_writer_pretty(&mut out, &Written { missed, report: self }).context("write the report")?;
            return writeln!(out).context("write the report");
        }
        for line in self.lines(missed) {
            writeln!(out, "{line}").context("write the report")?;
        }
        Ok(())
    }

    fn lines(&self, missed: &[String]) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(overview) = &self.overview {
            of_overview(overview, &mut lines);
            lines.push(String::new());
        }
        if let Some(flow) = &self.flow {
            of_flow(flow, &mut lines);
            lines.push(String::new());
        }
        match missed {
            [] => lines.push("every goal is reached".to_owned()),
            missed => lines.extend(missed.iter().map(|goal| format!("goal missed: {goal}"))),
        }
        lines
    }
}

fn line(name: &str, value: &str) -> String {
    format!("{name:<24}{value}")
}

fn cpu(seconds: Option<f64>) -> String {
    seconds.map(|s| format!(", {s:.1} CPU-seconds of the server")).unwrap_or_default()
}

fn of_overview(o: &Overview, lines: &mut Vec<String>) {
    let what = format!("{} of {} functions over {} days", o.invocations, o.functions, o.days);
    lines.push(line("invocations", &what));
    let sent = format!("{:.1} s in {} requests{}", o.sent_in_s, o.requests, cpu(o.sent_server_cpu_s));
    lines.push(line("sent in", &sent));
    let rolled_up = format!("{:.1} s after the last of them{}", o.rolled_up_after_s, cpu(o.rolled_up_server_cpu_s));
    lines.push(line("all rolled up", &rolled_up));
    lines.push(line("files", &o.files.to_string()));
    lines.extend(o.timings.iter().map(of_timing));
    lines.extend(o.machine.map(of_machine));
}

fn of_flow(f: &FlowRun, lines: &mut Vec<String>) {
    lines.push(line("spans", &format!("{} in {} files, sent in {:.1} s", f.spans, f.files, f.sent_in_s)));
    let size = f.size;
    let what = format!("{} traces, {} edges, {} rows, up to {} hops", size.traces, size.edges, size.rows, size.hops);
    lines.push(line("flow", &format!("{what}; trace {}", f.trace_id)));
    lines.push(line("first time", &format!("{:.1} ms", f.first_ms)));
    lines.push(of_timing(&f.timing));
    lines.extend(f.machine.map(of_machine));
}

fn of_timing(t: &Timing) -> String {
    let cpu = t.server_cpu_ms.map(|ms| format!(", CPU {ms:.1} ms each")).unwrap_or_default();
    let goal = t.goal_ms.map(|goal| format!(" (goal: median at most {goal:.0} ms)")).unwrap_or_default();
    let times = format!("median {:.1} ms, p90 {:.1} ms, max {:.1} ms", t.median_ms, t.p90_ms, t.max_ms);
    line(&t.what, &format!("{times}{cpu}, {} times{goal}", t.requests))
}

fn of_machine(m: Shares) -> String {
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    line(
        "CPUs while asked",
        &format!(
            "server {}, this load {}, other processes {}, stolen by the host {}",
            percent(m.server),
            percent(m.load),
            percent(m.others),
            percent(m.stolen)
        ),
    )
}
