//! A table of text on a terminal.
//!
//! Columns get the width they need while that fits; then the widest give way. A row with so
//! many columns that none could be read is shown downwards instead, a column a line.

use std::fmt::Write as _;

use super::{Style, clean, cut, pad, pad_left, width};

/// A column narrower than this tells nothing: then rows are shown downwards.
const NARROWEST: usize = 6;

/// Wider cells are cut on a terminal even if there is room, so that a row stays readable.
const WIDEST: usize = 120;

/// One column's heading.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    /// What stands above it.
    pub(crate) name: String,
    /// Numbers stand at the right.
    pub(crate) numeric: bool,
}

impl Column {
    /// A column of text.
    pub(crate) fn text(name: &str) -> Column {
        Column { name: name.to_owned(), numeric: false }
    }

    /// A column of numbers.
    pub(crate) fn number(name: &str) -> Column {
        Column { name: name.to_owned(), numeric: true }
    }
}

/// The table as text, each line ended.
pub(crate) fn render(columns: &[Column], rows: &[Vec<String>], style: Style) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| clean(cell).into_owned()).collect()).collect();
    let widths = needed(columns, &rows);
    match style.width {
        None => across(columns, &rows, &widths, style),
        Some(available) => match fit(&widths, available) {
            Some(widths) => across(columns, &rows, &widths, style),
            None => down(columns, &rows, available, style),
        },
    }
}

/// The width that each column would like.
fn needed(columns: &[Column], rows: &[Vec<String>]) -> Vec<usize> {
    let of = |(i, column): (usize, &Column)| {
        let cells = rows.iter().filter_map(|row| row.get(i)).map(|cell| width(cell));
        cells.max().unwrap_or(0).max(width(&clean(&column.name))).max(1)
    };
    columns.iter().enumerate().map(of).collect()
}

/// The widths within `available` columns, separators included; nothing if there is no room.
fn fit(needed: &[usize], available: usize) -> Option<Vec<usize>> {
    let separators = needed.len() * 3;
    let room = available.checked_sub(separators.min(available))?;
    let mut widths: Vec<usize> = needed.iter().map(|w| (*w).min(WIDEST)).collect();
    // Columns that need less than an equal share get what they need; the others share the rest.
    let mut limit = WIDEST;
    while widths.iter().sum::<usize>() > room {
        limit -= 1;
        if limit < NARROWEST {
            return None;
        }
        widths.iter_mut().for_each(|w| *w = (*w).min(limit));
    }
    Some(widths)
}

fn across(columns: &[Column], rows: &[Vec<String>], widths: &[usize], style: Style) -> String {
    let mut text = String::new();
    let names: Vec<String> = columns.iter().map(|c| clean(&c.name).into_owned()).collect();
    let last = columns.len().saturating_sub(1);
    let mut line = |cells: &[String], is_head: bool| {
        for (i, ((cell, width), column)) in cells.iter().zip(widths).zip(columns).enumerate() {
            let shown = cut(cell, *width);
            let padded = match (column.numeric, i == last) {
                (true, _) => pad_left(&shown, *width),
                (false, true) => shown.into_owned(),
                (false, false) => pad(&shown, *width),
            };
            let separator = if i == 0 { " " } else { " │ " };
            text.push_str(separator);
            text.push_str(&if is_head { style.bold(&padded) } else { padded });
        }
        text.push('\n');
        if is_head {
            let rules: Vec<String> = widths.iter().map(|w| "─".repeat(w + 2)).collect();
            text.push_str(&rules.join("┼"));
            text.push('\n');
        }
    };
    line(&names, true);
    rows.iter().for_each(|row| line(row, false));
    text
}

fn down(columns: &[Column], rows: &[Vec<String>], available: usize, style: Style) -> String {
    let mut text = String::new();
    let names = columns.iter().map(|c| width(&clean(&c.name))).max().unwrap_or(0).min(available / 2);
    let room = available.saturating_sub(names + 4).max(NARROWEST);
    for (number, row) in rows.iter().enumerate() {
        let title = format!("─[ row {} ]", number + 1);
        let rule = "─".repeat(available.min(60).saturating_sub(width(&title)));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", style.dim(&format!("{title}{rule}")));
        for (column, cell) in columns.iter().zip(row) {
            let name = pad(&cut(&clean(&column.name), names), names);
            let _ = writeln!(text, " {} │ {}", style.bold(&name), cut(cell, room));
        }
    }
    text
}
