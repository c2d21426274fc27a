//! Prints the settings as TOML, each with where it comes from.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Context as _;
use toml::{Table, Value};

use super::known::{self, Kind};
use super::{Config, Origin, sources};

/// The settings as a `hopline.toml` that would have the same outcome.
pub(super) fn to_toml(config: &Config, origins: &BTreeMap<String, Origin>) -> anyhow::Result<String> {
    let table = Table::try_from(config).context("write the settings as TOML")?;
    let known = known::keys::<Config>();
    let is_section = |kind: Kind| matches!(kind, Kind::Section(_));
    let mut lines = Vec::new();
    let mut sections = vec![String::new()];
    sections.extend(known.iter().filter(|k| is_section(k.kind)).map(|k| k.path.clone()));
    // Keys that stand outside a section must come first in TOML.
    for section in sections {
        let keys = known.iter().filter(|k| !is_section(k.kind) && parent(&k.path) == section);
        let mut keys = keys.peekable();
        if keys.peek().is_some() && !section.is_empty() {
            lines.push((String::new(), None));
            lines.push((format!("[{section}]"), None));
        }
        for key in keys {
            let name = key.path.rsplit('.').next().unwrap_or_default();
            let line = match get(&table, &key.path) {
                Some(value) => format!("{name} = {value}"),
                None => format!("# {name} is not set"),
            };
            lines.push((line, Some(key.path.as_str())));
        }
    }
    let width = lines.iter().filter(|(_, key)| key.is_some()).map(|(line, _)| line.chars().count()).max();
    let width = width.unwrap_or(0).min(60);
    let mut text = String::new();
    for (line, key) in lines {
        match key {
            None => writeln!(text, "{line}")?,
            Some(key) => {
                let origin = match origins.get(key) {
                    Some(origin) => origin.to_string(),
                    None => format!("default; {}", sources::variable_name(key)),
                };
                writeln!(text, "{line:width$}  # {origin}")?;
            }
        }
    }
    Ok(text)
}

fn parent(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(parent, _)| parent)
}

fn get<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        None => table.get(path),
        Some((section, rest)) => get(table.get(section)?.as_table()?, rest),
    }
}
