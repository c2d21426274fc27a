//! How wide each part of a line is, and how far children are indented.
//!
//! A message adds three levels to the tree: who sent it, the hop, who received it. So a flow
//! is deep, and where it does not fit, first the indentation gives way, then the column of
//! services, whose names then stand where they change.

use super::super::waterfall::{DURATION, FREE_BAR, NARROWEST_BAR};
use super::super::{cut, width};
use super::Row;

/// Rows deeper than this are not indented further.
const DEEPEST: usize = 32;

/// Columns of a label that must be seen before the indentation may be wider.
const LABEL: usize = 24;

/// Columns of the longest name and service where nothing is cut, so that what is long does not widen other lines.
const ALIGNED: (usize, usize) = (80, 32);

/// Columns of the widest bar.
const BAR_MAX: usize = 100;

/// How lines are laid out.
pub(super) struct Layout {
    /// What is drawn before each row.
    pub(super) leads: Vec<String>,
    /// Columns of lead and label.
    pub(super) name: usize,
    /// Columns of the service, if it has a column.
    pub(super) service: Option<usize>,
    /// Columns of the longest bar; 0 for none.
    pub(super) bar: usize,
    /// Whether what is longer is cut.
    cuts: bool,
}

impl Layout {
    pub(super) fn of(rows: &[Row], available: Option<usize>) -> Layout {
        let service = rows.iter().map(|row| width(&row.whose())).max().unwrap_or(0).max(6);
        let Some(available) = available else {
            let leads = leads(rows, 3);
            let name = longest(rows, &leads, false, usize::MAX).min(ALIGNED.0);
            let service = Some(service.min(ALIGNED.1));
            return Layout { leads, name, service, bar: FREE_BAR, cuts: false };
        };
        let service = service.min(available / 5);
        for (with_service, step) in [(true, 3), (true, 2), (false, 3), (false, 2), (false, 1)] {
            let beside = if with_service { service + 2 } else { 0 };
            let room = available.saturating_sub(DURATION + 4 + beside).max(20);
            let name_max = room - NARROWEST_BAR.max(room / 4).min(room / 2);
            let leads = leads(rows, step);
            if step > 1 && longest(rows, &leads, !with_service, LABEL) > name_max {
                continue;
            }
            let service = with_service.then_some(service);
            return Layout::fitted(rows, leads, (room, name_max), service);
        }
        Layout { leads: Vec::new(), name: 0, service: None, bar: 0, cuts: true }
    }

    fn fitted(rows: &[Row], leads: Vec<String>, (room, name_max): (usize, usize), service: Option<usize>) -> Layout {
        let name = longest(rows, &leads, service.is_none(), usize::MAX).clamp(10, name_max.max(10));
        let bar = room.saturating_sub(name);
        let (name, bar) = if bar < NARROWEST_BAR { (room, 0) } else { (name, bar.min(BAR_MAX)) };
        // What is still too deep gives way to the label.
        let lead_max = name - (name / 2).min(LABEL);
        let short = |(row, lead): (&Row, String)| {
            let room = name.saturating_sub(width(&row.label(service.is_none())));
            end_of(lead, lead_max.max(room))
        };
        let leads = rows.iter().zip(leads).map(short).collect();
        Layout { leads, name, service, bar, cuts: true }
    }

    pub(super) fn service_width(&self) -> usize {
        self.service.map_or(0, |columns| columns + 2)
    }

    pub(super) fn cut(&self, text: &str, columns: usize) -> String {
        if self.cuts { cut(text, columns).into_owned() } else { text.to_owned() }
    }
}

/// Columns of the longest lead with its label, of which no more than `label_max` counts.
fn longest(rows: &[Row], leads: &[String], is_whole: bool, label_max: usize) -> usize {
    let one = |(row, lead): (&Row, &String)| width(lead) + width(&row.label(is_whole)).min(label_max);
    rows.iter().zip(leads).map(one).max().unwrap_or(0)
}

/// The last columns of a lead; that there is more is marked.
fn end_of(lead: String, columns: usize) -> String {
    let long = lead.chars().count();
    if long <= columns {
        return lead;
    }
    std::iter::once('…').chain(lead.chars().skip(long + 1 - columns.max(1))).collect()
}

/// What is drawn before each row: the rows are in pre-order.
fn leads(rows: &[Row], step: usize) -> Vec<String> {
    let mut last = vec![None; rows.len()];
    for (i, row) in rows.iter().enumerate() {
        row.above().and_then(|above| last.get_mut(above)).into_iter().for_each(|slot| *slot = Some(i));
    }
    let [middle, end, along, blank] = match step {
        1 => ["├", "└", "│", " "],
        2 => ["├ ", "└ ", "│ ", "  "],
        _ => ["├─ ", "└─ ", "│  ", "   "],
    };
    // Without the blank that separates the narrowest branches from the label.
    let gap = if step == 1 { " " } else { "" };
    let mut leads: Vec<String> = Vec::with_capacity(rows.len());
    // What stands before the children of each row, and how deep it is.
    let mut below: Vec<(String, usize)> = Vec::with_capacity(rows.len());
    for (i, row) in rows.iter().enumerate() {
        let above = row.above().and_then(|above| Some((below.get(above)?, last.get(above)?)));
        let (lead, before) = match above {
            None => (String::new(), (String::new(), 0)),
            Some(((before, depth), _)) if *depth >= DEEPEST => (before.clone() + gap, (before.clone(), *depth)),
            Some(((before, depth), last)) => {
                let (own, further) = if *last == Some(i) { (end, blank) } else { (middle, along) };
                (format!("{before}{own}{gap}"), (format!("{before}{further}"), depth + 1))
            }
        };
        leads.push(lead);
        below.push(before);
    }
    leads
}
