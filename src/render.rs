//! What a terminal shows: colours and widths, tables, waterfalls, durations.
//!
//! Nothing that came from telemetry reaches the terminal as it is: control characters, which
//! could move the cursor or set colours, are shown as symbols.

pub(crate) mod flow;
pub(crate) mod progress;
pub(crate) mod table;
#[cfg(test)]
mod tests;
pub(crate) mod waterfall;

use std::borrow::Cow;
use std::io::IsTerminal;

use console::{Term, measure_text_width};

/// What the place that is written to can show.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// Whether colours are shown.
    colour: bool,
    /// Columns of the terminal; nothing where it is a file or a pipe.
    pub(crate) width: Option<usize>,
}

impl Style {
    /// What standard output can show.
    pub(crate) fn stdout() -> Style {
        Style::of(std::io::stdout().is_terminal(), &Term::stdout())
    }

    /// What standard error can show.
    pub(crate) fn stderr() -> Style {
        Style::of(std::io::stderr().is_terminal(), &Term::stderr())
    }

    /// No colours, and this width.
    #[cfg(test)]
    pub(crate) fn plain(width: Option<usize>) -> Style {
        Style { colour: false, width }
    }

    fn of(is_terminal: bool, term: &Term) -> Style {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        let width = is_terminal.then(|| term.size_checked().map_or(80, |(_, columns)| usize::from(columns)));
        Style { colour: is_terminal && !no_colour && !dumb, width }
    }

    /// Whether it is a terminal, where control characters do something.
    pub(crate) fn is_terminal(&self) -> bool {
        self.width.is_some()
    }

    /// For what went wrong.
    pub(crate) fn red(&self, text: &str) -> String {
        self.paint("31;1", text)
    }

    /// For what went well.
    pub(crate) fn green(&self, text: &str) -> String {
        self.paint("32", text)
    }

    /// For what needs a look.
    pub(crate) fn yellow(&self, text: &str) -> String {
        self.paint("33", text)
    }

    /// For what stands beside the point.
    pub(crate) fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    /// For headings.
    pub(crate) fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    /// One of six colours, always the same for the same number.
    pub(crate) fn hue(&self, number: usize, text: &str) -> String {
        let codes = ["36", "34", "32", "35", "33", "96"];
        self.paint(codes.get(number % codes.len()).copied().unwrap_or("36"), text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// `text` with control characters as symbols, so that it stays on its line and does nothing.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_control) {
        return Cow::Borrowed(text);
    }
    let shown = text.chars().map(|c| match c {
        '\n' => '↵',
        '\t' => ' ',
        // The symbols for the control characters stand in their order from U+2400 on.
        c if (c as u32) < 0x20 => char::from_u32(0x2400 + c as u32).unwrap_or('?'),
        c if is_control(c) => '\u{fffd}',
        c => c,
    });
    Cow::Owned(shown.collect())
}

/// Control characters, and those that change the direction of writing.
pub(crate) fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Columns that `text` takes.
pub(crate) fn width(text: &str) -> usize {
    measure_text_width(text)
}

/// `text` in at most `columns` columns; what is cut off is marked.
pub(crate) fn cut(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let (mut kept, mut used) = (String::new(), 0);
    for c in text.chars() {
        used += width(c.encode_utf8(&mut [0; 4]));
        if used + 1 > columns {
            break;
        }
        kept.push(c);
    }
    if columns > 0 {
        kept.push('…');
    }
    Cow::Owned(kept)
}

/// `text` and spaces up to `columns` columns.
pub(crate) fn pad(text: &str, columns: usize) -> String {
    let spaces = columns.saturating_sub(width(text));
    format!("{text}{}", " ".repeat(spaces))
}

/// Spaces and `text`, together `columns` columns.
pub(crate) fn pad_left(text: &str, columns: usize) -> String {
    let spaces = columns.saturating_sub(width(text));
    format!("{}{text}", " ".repeat(spaces))
}

/// A duration with three digits and the unit that fits: `1.23 s`.
pub(crate) fn duration(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let ns = ns.unsigned_abs();
    let scaled = |unit: f64| {
        let value = ns as f64 / unit;
        let decimals = if value >= 99.95 {
            0
        } else if value >= 9.995 {
            1
        } else {
            2
        };
        format!("{value:.decimals$}")
    };
    let text = match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{} µs", scaled(1e3)),
        1_000_000..1_000_000_000 => format!("{} ms", scaled(1e6)),
        1_000_000_000..60_000_000_000 => format!("{} s", scaled(1e9)),
        60_000_000_000..3_600_000_000_000 => {
            let seconds = ns / 1_000_000_000;
            format!("{} min {} s", seconds / 60, seconds % 60)
        }
        _ => {
            let minutes = ns / 60_000_000_000;
            format!("{} h {} min", minutes / 60, minutes % 60)
        }
    };
    format!("{sign}{text}")
}

/// A number of bytes with the unit that fits: `12.3 MiB`.
pub(crate) fn bytes(n: u64) -> String {
    let mut value = n as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{n} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// A number with its thousands apart: `1,234,567`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(c);
    }
    text
}

/// A time as RFC 3339 with milliseconds.
pub(crate) fn utc(time: std::time::SystemTime) -> String {
    let since_1970 = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since_1970.as_secs() / 86_400, since_1970.as_secs() % 86_400);
    // Days to a date by eras of 400 years (146,097 days), years beginning in March.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since_1970.subsec_millis())
}
