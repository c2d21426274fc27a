//! What stands below the tree of a flow: where the time went, what failed, what never finished,
//! what is known to be missing, where the flow was not followed, and what the marks mean.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;

use serde_json::Value;

use super::super::{Style, clean, duration, pad_left, width};
use super::{COLD_START, MISSING_PARENT, Row, Story, at, list, plural};

/// Most lines of each kind.
const NOTES_MAX: usize = 10;

/// Most lines of where the time went, and the least share of it, in percent, that is worth a line.
const TIMES_MAX: usize = 6;
const SHARE_MIN: i64 = 1;

/// Writes all that there is to say.
pub(super) fn write(text: &mut String, story: &Story<'_>, style: Style) {
    times(text, story, style);
    failures(text, story, style);
    unfinished(text, story, style);
    halves(text, story, style);
    parents(text, story, style);
    cuts(text, story, style);
    legend(text, story, style);
}

/// Writes `parts` with `separator` between them, on as many lines as it takes, each after a blank and `mark` or as many blanks.
pub(super) fn wrap(text: &mut String, mark: &str, parts: &[String], separator: &str, style: Style) {
    let before = if mark.is_empty() { String::new() } else { format!(" {mark} ") };
    let mut used = width(&before);
    let indent = " ".repeat(used.max(1));
    // A line that goes on ends with the separator.
    let most = style.width.map(|most| most.saturating_sub(width(separator.trim_end())));
    text.push_str(&before);
    for (i, part) in parts.iter().enumerate() {
        let gap = if i > 0 { separator } else { "" };
        if i > 0 && most.is_some_and(|most| used + width(gap) + width(part) > most) {
            text.push_str(gap.trim_end());
            text.push('\n');
            text.push_str(&indent);
            used = width(&indent);
        } else {
            text.push_str(gap);
            used += width(gap);
        }
        text.push_str(part);
        used += width(part);
    }
    text.push('\n');
}

/// One note: its words on as many lines as it takes.
fn note(text: &mut String, mark: &str, words: &str, paint: impl Fn(&str) -> String, style: Style) {
    let words: Vec<String> = words.split(' ').map(&paint).collect();
    wrap(text, &paint(mark), &words, " ", style);
}

/// The rows of the path that took the time, first to last, each with the time that it took of it.
pub(super) fn path(story: &Story<'_>) -> Vec<(usize, i64)> {
    let of = |kind: &str| -> HashMap<(&str, &str), usize> {
        let rows = story.rows.iter().enumerate().filter(|(_, row)| row.row == kind);
        rows.map(|(i, row)| (row.place(), i)).collect()
    };
    let (spans, invocations) = (of("span"), of("invocation"));
    let step = |step: &Value| {
        let place = (at(step, "/trace_id"), at(step, "/span_id"));
        // The time of an invocation whose span never came.
        let lost = step.get("invocation_id").and_then(|_| invocations.get(&place));
        let row = *lost.or_else(|| spans.get(&place))?;
        let took = step.get("duration_ns").and_then(Value::as_i64)?;
        let is_wait = step.get("wait").and_then(Value::as_bool) == Some(true);
        let hop = story.row(Some(row)).and_then(Row::above).filter(|above| is_wait && is_hop(story, *above));
        Some((hop.unwrap_or(row), took))
    };
    list(story.flow, "critical_path").iter().filter_map(step).collect()
}

fn is_hop(story: &Story<'_>, row: usize) -> bool {
    story.row(Some(row)).is_some_and(Row::is_hop)
}

/// The longest parts of the critical path.
fn times(text: &mut String, story: &Story<'_>, style: Style) {
    let mut parts: Vec<(String, i64)> = Vec::new();
    for (row, took) in path(story) {
        let Some(row) = story.row(Some(row)) else { continue };
        let what = if row.is_hop() { waiting(row) } else { named(row) };
        match parts.iter_mut().find(|(other, _)| *other == what) {
            Some((_, sum)) => *sum = sum.saturating_add(took),
            None => parts.push((what, took)),
        }
    }
    if story.rows.len() < 2 || parts.is_empty() {
        return;
    }
    let told: i64 = parts.iter().map(|(_, took)| *took).fold(0, i64::saturating_add);
    parts.push(("told by no span".to_owned(), story.total.saturating_sub(told)));
    // Of equal ones the earlier first.
    parts.sort_by_key(|(_, took)| std::cmp::Reverse(*took));
    let share = |took: i64| i64::try_from(i128::from(took) * 100 / i128::from(story.total)).unwrap_or(0);
    let most = parts.iter().filter(|(_, took)| share(*took) >= SHARE_MIN).take(TIMES_MAX);
    let _ = writeln!(text, " where the time went, of {}:", duration(story.total));
    for (what, took) in most {
        let figures = format!("{} {:>3} %", pad_left(&duration(*took), 14), share(*took));
        let _ =
            writeln!(text, "{figures}  {}", style.width.map_or_else(|| what.clone(), |most| cut(what, most, &figures)));
    }
}

/// A hop; where it has no destination, its name is the receiver.
fn waiting(row: &Row) -> String {
    let receiver = Some(&row.name).filter(|name| row.destination.is_none() && !name.is_empty());
    let receiver = receiver.map(|name| format!(", received by {}", clean(name))).unwrap_or_default();
    format!("waiting: {}{receiver}", row.hop_name())
}

fn cut(what: &str, most: usize, after: &str) -> String {
    super::super::cut(what, most.saturating_sub(width(after) + 2)).into_owned()
}

/// A span's name, and where it runs if the name does not say it.
fn named(row: &Row) -> String {
    let name = clean(&row.name);
    if row.names_itself() || row.service.is_empty() { name.into_owned() } else { format!("{name} of {}", row.whose()) }
}

/// What failed, each failure once, with a trace to look at.
fn failures(text: &mut String, story: &Story<'_>, style: Style) {
    let mut found: Vec<(String, &str, usize)> = Vec::new();
    for row in story.rows.iter().filter(|row| row.is_source) {
        let message = row.message.as_deref().map_or_else(|| " failed".to_owned(), |m| format!(": {}", clean(m)));
        let what = format!("{}{message}", named(row));
        match found.iter_mut().find(|(other, ..)| *other == what) {
            Some((.., times)) => *times += 1,
            None => found.push((what, &row.trace_id, 1)),
        }
    }
    let red = |text: &str| style.red(text);
    for (what, trace, times) in found.iter().take(NOTES_MAX) {
        let times = if *times > 1 { format!(" ({times} times)") } else { String::new() };
        note(text, "✗", &format!("{what}{times}, trace {}", clean(trace)), red, style);
    }
    if found.len() > NOTES_MAX {
        note(text, "✗", &plural(found.len() - NOTES_MAX, "further failure"), red, style);
    }
}

/// Invocations whose span never came.
fn unfinished(text: &mut String, story: &Story<'_>, style: Style) {
    let all = list(story.flow, "unfinished");
    let red = |text: &str| style.red(text);
    for one in all.iter().take(NOTES_MAX) {
        let attempt = one.get("attempt").and_then(Value::as_u64).filter(|n| *n > 1);
        let attempt = attempt.map(|n| format!(", try {n}")).unwrap_or_default();
        let id = at(one, "/invocation_id");
        let name = Some(at(one, "/function")).filter(|name| !name.is_empty()).unwrap_or("an invocation");
        let cause = Some(at(one, "/cause")).filter(|cause| !cause.is_empty());
        let why = cause.map(|cause| format!("{}; ", clean(cause))).unwrap_or_default();
        let left = list(one, "spans").len();
        let left = if left > 0 { format!(", only {} below it did", plural(left, "span")) } else { String::new() };
        let words = format!("{}{attempt}: {why}its span never came{left}, invocation {}", clean(name), clean(id));
        note(text, "◌", &words, red, style);
    }
    if all.len() > NOTES_MAX {
        let words = format!("{} never finished", plural(all.len() - NOTES_MAX, "further invocation"));
        note(text, "◌", &words, red, style);
    }
}

/// Hops of which only one side is known.
fn halves(text: &mut String, story: &Story<'_>, style: Style) {
    let missing = story.flow.get("missing").unwrap_or(&Value::Null);
    let yellow = |text: &str| style.yellow(text);
    for (name, what) in [("sent", "sent, and nobody was seen receiving it"), ("received", "received, sender unknown")] {
        let halves = list(missing, name);
        for half in halves.iter().take(NOTES_MAX) {
            let parts = ["/hop", "/destination", "/key"].map(|key| clean(at(half, key)).into_owned());
            let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            let by = [at(half, "/end/function"), at(half, "/end/service"), "?"].into_iter().find(|by| !by.is_empty());
            let words = format!("{} of {}: {what}", parts.join(" "), clean(by.unwrap_or("?")));
            note(text, "◌", &words, yellow, style);
        }
        if halves.len() > NOTES_MAX {
            let more = plural(halves.len() - NOTES_MAX, "more message");
            note(text, "◌", &format!("{more} {what}"), yellow, style);
        }
    }
}

/// Spans that stand at the top because their parent is not stored.
fn parents(text: &mut String, story: &Story<'_>, style: Style) {
    let orphans = story.rows.iter().filter(|row| row.flags & MISSING_PARENT != 0).count();
    if orphans > 0 {
        let words = format!("{} whose parent has not arrived", plural(orphans, "span"));
        note(text, "◌", &words, |text| style.yellow(text), style);
    }
}

/// Where the flow was not followed: each reason and set of traces once.
fn cuts(text: &mut String, story: &Story<'_>, style: Style) {
    let mut seen: HashSet<(&str, BTreeSet<&str>, u64)> = HashSet::new();
    for one in list(story.flow, "cuts") {
        let count = one.get("traces_count").and_then(Value::as_u64).unwrap_or(0);
        let reason = at(one, "/reason");
        let traces: BTreeSet<&str> = list(one, "traces").iter().filter_map(Value::as_str).collect();
        if !seen.insert((reason, traces.clone(), count)) {
            continue;
        }
        let why = match reason {
            "batch" => "the other messages of a batch are of other stories",
            "xray_root" => "too many invocations share an X-Ray root",
            "depth" => "it is too many hops away",
            "time" => "it is too long before or after",
            "traces" => "the limit of traces was reached",
            "spans" => "the limit of spans was reached",
            "keys" => "the limit of keys was reached",
            _ => "a limit was reached",
        };
        let shown: Vec<&str> = traces.into_iter().take(3).collect();
        let more = if count as usize > shown.len() && !shown.is_empty() { ", …" } else { "" };
        let shown = if shown.is_empty() { String::new() } else { format!(": {}{more}", clean(&shown.join(", "))) };
        let words = format!("{} not followed, {why}{shown}", plural(count as usize, "trace"));
        note(text, "✂", &words, |text| style.yellow(text), style);
    }
}

/// What the marks mean that were used.
fn legend(text: &mut String, story: &Story<'_>, style: Style) {
    let any = |is: &dyn Fn(&Row) -> bool| story.rows.iter().any(is);
    let hop = |mark: &'static str| move |row: &Row| row.is_hop() && row.certainty_mark() == mark;
    let lost = |row: &Row| row.flags & MISSING_PARENT != 0 || row.is_unfinished() || row.is_half;
    let parts = [
        (any(&|row| row.is_on_path) && story.rows.len() > 1, "┃ where the time went"),
        (any(&|row| row.is_error()), "✗ failed"),
        (any(&lost), "◌ something never came"),
        (any(&|row| row.flags & COLD_START != 0), "❄ cold start"),
        (any(&hop("⇢")), "⇢ a hop, and how long it waited"),
        (any(&hop("≈")), "≈ a hop inferred from time and place"),
        (any(&hop("⌁")), "⌁ a hop by an X-Ray root"),
    ];
    let parts: Vec<String> = parts.iter().filter(|(is_used, _)| *is_used).map(|(_, part)| style.dim(part)).collect();
    if !parts.is_empty() {
        text.push(' ');
        wrap(text, "", &parts, "  ", Style { width: style.width.map(|most| most.saturating_sub(1)), ..style });
    }
}
