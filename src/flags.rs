//! Values of flags that a server would refuse, refused before one is asked.
//!
//! What cannot be told without the server (whether a date exists, a condition on an attribute)
//! is left to it: its refusal of a parameter is turned into one of the flag ([`refused`]).

const UNITS: [&str; 9] = ["ns", "us", "µs", "ms", "s", "m", "h", "d", "w"];

/// A duration as the API reads it.
pub(crate) fn duration(text: &str) -> Result<String, String> {
    let is_duration = text.parse::<u64>().is_ok() || has_unit(text);
    let expected = || "a duration such as 10ms, 1.5s or 2h is expected (without a unit: nanoseconds)".to_owned();
    if is_duration { Ok(text.to_owned()) } else { Err(expected()) }
}

/// A time as the API reads it.
pub(crate) fn time(text: &str) -> Result<String, String> {
    let relative = text.strip_prefix("now").unwrap_or(text);
    let is_relative = relative.is_empty() && !text.is_empty() || relative.strip_prefix('-').is_some_and(has_unit);
    let is_digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    let is_date =
        text.split_once('-').is_some_and(|(year, rest)| year.len() == 4 && is_digits(year) && rest.len() >= 5);
    if is_relative || is_digits(text) || is_date {
        return Ok(text.to_owned());
    }
    Err("a time such as 2026-01-31T12:00:00Z, 1769860800 (seconds, ms or ns since 1970) or -1h is expected".to_owned())
}

/// A severity as the API reads it.
pub(crate) fn severity(text: &str) -> Result<String, String> {
    const WORDS: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
    let is_word = WORDS.iter().any(|word| word.eq_ignore_ascii_case(text));
    let is_number = text.parse::<u8>().is_ok_and(|n| (1..=24).contains(&n));
    if is_word || is_number {
        return Ok(text.to_owned());
    }
    Err(format!("one of {} or a number from 1 to 24 is expected", WORDS.join(", ")))
}

fn has_unit(text: &str) -> bool {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    number.parse::<f64>().is_ok() && UNITS.contains(&unit.trim())
}

/// What the server says of a parameter, said of the flag that has its name.
pub(crate) fn refused(detail: &str) -> String {
    let Some(rest) = detail.strip_prefix("parameter ") else { return detail.to_owned() };
    let end = rest.find(['=', ' ']).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    format!("--{}{}", name.replace('_', "-"), rest.replacen('=', " ", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_api() {
        for good in ["10ms", "1.5s", "2h", "0", "500", "3 s", "7d"] {
            assert!(duration(good).is_ok(), "{good}");
        }
        for bad in ["", "soon", "5x", "-1s", "ms", "1..5s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        for good in
            ["now", "-1h", "now-1.5d", "1769860800", "2026-01-31T12:00:00Z", "2026-01-31", "2026-01-31T12:00:00+01:00"]
        {
            assert!(time(good).is_ok(), "{good}");
        }
        for bad in ["", "yesterday", "-5", "1h", "12:00", "-", "now-"] {
            assert!(time(bad).is_err(), "{bad}");
        }
        for (text, good) in [("warn", true), ("24", true), ("25", false), ("0", false), ("loud", false), ("", false)] {
            assert_eq!(severity(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn a_refusal_names_the_flag() {
        assert_eq!(refused("parameter resource_attr==1: a condition"), "--resource-attr =1: a condition");
        assert_eq!(refused("parameter end must be later than start"), "--end must be later than start");
        assert_eq!(refused("something else"), "something else");
    }
}
