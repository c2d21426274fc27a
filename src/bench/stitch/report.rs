//! What was found out, as tables and as JSON, and which goals were missed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use anyhow::Context as _;
use serde::Serialize;

use super::invocations::{self, Count, Counts};
use super::score::{self, Said, Score};

/// What one play came to.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Played {
    pub(super) seed: u64,
    pub(super) style: String,
    pub(super) setup: &'static str,
    /// Seconds from one order to the next.
    pub(super) every_s: u32,
    pub(super) delivery: String,
    /// Flows in which two requests of the web site stand, though they share no cause.
    pub(super) merged: u64,
    /// By kind of hop.
    pub(super) edges: BTreeMap<String, Score>,
    /// What is said of exact edges.
    pub(super) said: Said,
    pub(super) invocations: Counts,
}

/// What all plays of one style and one setup came to.
#[derive(Debug, Default)]
struct Sum {
    plays: u64,
    merged: u64,
    edges: BTreeMap<String, Score>,
    said: Said,
    invocations: Counts,
}

impl Sum {
    /// All tables of counts: what a line of each is about, and the lines.
    fn tables(&self) -> Vec<(&'static str, Vec<(&str, Count)>)> {
        let said = self.said.iter().map(|(what, count)| (*what, *count)).collect();
        std::iter::once(("exact edges", said)).chain(self.invocations.tables()).collect()
    }
}

#[derive(Debug, Serialize)]
struct Written<'a> {
    /// Goals that were missed, in words.
    missed: &'a [String],
    plays: &'a [Played],
}

/// Part of a whole as a percentage, never rounded up to all of it; a dash of nothing.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    if part == whole {
        return "100 %".to_owned();
    }
    let hundredths = u128::from(part) * 10_000 / u128::from(whole);
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

fn sums(played: &[Played]) -> BTreeMap<String, Sum> {
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    for play in played {
        let sum = sums.entry(format!("{}, {}, an order each {} s", play.style, play.setup, play.every_s)).or_default();
        sum.plays += 1;
        sum.merged += play.merged;
        for (kind, score) in &play.edges {
            sum.edges.entry(kind.clone()).or_default().add(score);
        }
        for (what, count) in &play.said {
            sum.said.entry(what).or_default().add(*count);
        }
        sum.invocations.add(&play.invocations);
    }
    sums
}

/// The goals that were missed, in words.
pub(super) fn missed(played: &[Played]) -> Vec<String> {
    let mut missed = Vec::new();
    for (name, sum) in sums(played) {
        if sum.merged > 0 {
            missed.push(format!("{name}: {} flows with two stories", sum.merged));
        }
        let edges = sum.edges.iter().filter(|(_, score)| !score.reaches_goal());
        missed.extend(edges.map(|(kind, score)| format!("{name}: edges: {kind}: {}", score.in_words())));
        for (table, counts) in sum.tables() {
            let counts = counts.iter().filter(|(_, count)| !count.reaches_goal());
            missed.extend(counts.map(|(label, count)| format!("{name}: {table}: {label}: {}", count.in_words())));
        }
    }
    missed
}

/// Prints all tables, or the report as JSON.
pub(super) fn print(played: &[Played], missed: &[String], as_json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if as_json {
        serde_json::to_writer_pretty(&mut out, &Written { missed, plays: played }).context("write the report")?;
        return writeln!(out).context("write the report");
    }
    for line in lines(played, missed) {
        writeln!(out, "{line}").context("write the report")?;
    }
    Ok(())
}

fn lines(played: &[Played], missed: &[String]) -> Vec<String> {
    let seeds: BTreeSet<u64> = played.iter().map(|play| play.seed).collect();
    let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
    let mut lines = vec![format!("seeds {}", seeds.join(", "))];
    for (name, sum) in sums(played) {
        let flows = format!("{} flows with two stories", sum.merged);
        lines.extend([String::new(), format!("{name}: {} plays, {flows}", sum.plays), score::HEADER.to_owned()]);
        let mut all = Score::default();
        for (kind, score) in &sum.edges {
            all.add(score);
            lines.push(format!("{kind:<20} {score}"));
        }
        lines.push(format!("{:<20} {all}", "all"));
        lines.push(invocations::HEADER.to_owned());
        for (table, counts) in sum.tables() {
            lines.extend(counts.iter().map(|(label, count)| count.line(&format!("{table}: {label}"))));
        }
    }
    lines.push(String::new());
    match missed {
        [] => lines.push("every goal is reached".to_owned()),
        missed => lines.extend(missed.iter().map(|goal| format!("goal missed: {goal}"))),
    }
    lines
}

#[cfg(test)]
mod tests;
