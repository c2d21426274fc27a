//! Reads the file, the variables and the flags into one table, and remembers who said what.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::known::{self, Kind, Known};
use super::nearest::nearest;
use super::{Config, Loaded, Origin, Problem};

/// The file that is read when it is there and no other is named.
const DEFAULT_FILE: &str = "hopline.toml";

/// What every variable of ours begins with.
const PREFIX: &str = "HOPLINE_";

/// Variables that are ours without being settings of the server: defaults of flags, and what test set-ups use.
const NOT_SETTINGS: [&str; 3] = ["HOPLINE_CONFIG", "HOPLINE_SERVER", "HOPLINE_BIN"];

/// Where settings are looked for.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// The file named on the command line.
    pub(crate) file: Option<PathBuf>,
    /// The variables of the environment.
    pub(crate) env: Vec<(String, String)>,
    /// Flags that were given.
    pub(crate) flags: Vec<Flag>,
}

/// A flag that stands for a key.
#[derive(Debug, Clone)]
pub(crate) struct Flag {
    /// The key.
    pub(crate) key: &'static str,
    /// What the flag is called.
    pub(crate) name: &'static str,
    /// Its value.
    pub(crate) value: String,
}

impl Sources {
    /// The process's environment, and this file.
    pub(crate) fn new(file: Option<PathBuf>) -> Sources {
        let env = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
            .filter(|(name, _)| name.starts_with(PREFIX))
            .collect();
        Sources { file, env, flags: Vec::new() }
    }

    /// Adds a flag if it was given.
    pub(crate) fn flag(mut self, key: &'static str, name: &'static str, value: Option<impl ToString>) -> Sources {
        self.flags.extend(value.map(|v| Flag { key, name, value: v.to_string() }));
        self
    }
}

/// One value that was set.
struct Setting {
    key: String,
    value: Value,
    origin: Origin,
}

/// Reads all sources. Gives the outcome of what can be read, and everything that is wrong with
/// keys and types.
pub(super) fn read(sources: &Sources) -> (Loaded, Vec<Problem>) {
    let known = known::keys::<Config>();
    let mut reader = Reader { known: &known, settings: Vec::new(), problems: Vec::new() };
    let file = reader.file(sources.file.as_deref());
    for (name, value) in &sources.env {
        reader.variable(name, value);
    }
    for flag in &sources.flags {
        let kind = reader.kind(flag.key).unwrap_or(Kind::Text);
        reader.set(flag.key, parse_text(&flag.value, kind), Origin::Flag(flag.name));
    }
    let Reader { settings, mut problems, .. } = reader;

    let mut table = Table::new();
    let mut origins = BTreeMap::new();
    for Setting { key, value, origin } in settings {
        match check_type(&key, &value) {
            Ok(()) => {
                insert(&mut table, &key, value);
                origins.insert(key, origin);
            }
            Err(message) => problems.push(Problem { place: Some(origin), message }),
        }
    }
    let config = Config::deserialize(table).unwrap_or_else(|error| {
        problems.push(Problem { place: None, message: error.message().to_owned() });
        Config::default()
    });
    (Loaded { config, origins, file }, problems)
}

struct Reader<'a> {
    known: &'a [Known],
    settings: Vec<Setting>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn kind(&self, key: &str) -> Option<Kind> {
        self.known.iter().find(|k| k.path == key).map(|k| k.kind)
    }

    /// A later source wins, and so is the only one that is checked.
    fn set(&mut self, key: &str, value: Value, origin: Origin) {
        self.settings.retain(|s| s.key != key);
        self.settings.push(Setting { key: key.to_owned(), value, origin });
    }

    fn refuse(&mut self, place: Option<Origin>, message: String) {
        self.problems.push(Problem { place, message });
    }

    /// Reads the file that was named, or the usual one if it is there.
    fn file(&mut self, named: Option<&Path>) -> Option<PathBuf> {
        let path = match named {
            Some(path) => path.to_path_buf(),
            None if Path::new(DEFAULT_FILE).exists() => PathBuf::from(DEFAULT_FILE),
            None => return None,
        };
        if path.is_dir() {
            self.refuse(None, format!("{} is a folder, not a file with settings", path.display()));
            return None;
        }
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                self.refuse(None, format!("read {}: {error}", path.display()));
                return None;
            }
        };
        let file = File { path: &path, text: &text };
        match (DeTable::parse(&text), text.parse::<Table>()) {
            (Ok(spans), Ok(values)) => self.section(&file, "", spans.get_ref(), &values),
            (Err(error), _) | (_, Err(error)) => {
                let at = error.span().map_or(0, |span| span.start);
                self.refuse(Some(file.origin(at)), error.message().to_owned());
            }
        }
        Some(path)
    }

    fn section(&mut self, file: &File<'_>, prefix: &str, spans: &DeTable<'_>, values: &Table) {
        for (name, span) in spans {
            let key = format!("{prefix}{}", name.get_ref());
            let origin = file.origin(name.span().start);
            match (self.kind(&key), span.get_ref(), values.get(name.get_ref().as_ref())) {
                (Some(Kind::Section(_)), DeValue::Table(spans), Some(Value::Table(values))) => {
                    self.section(file, &format!("{key}."), spans, values);
                }
                (Some(Kind::Section(_)), ..) => self.refuse(Some(origin), format!("{key} is a section: [{key}]")),
                (Some(_), _, Some(value)) => self.set(&key, value.clone(), origin),
                _ => {
                    let meant = nearest(&key, self.known.iter().map(|k| k.path.as_str())).unwrap_or_default();
                    self.refuse(Some(origin), format!("unknown key {key:?}; the nearest known key is {meant:?}"));
                }
            }
        }
    }

    /// `HOPLINE_COLLECTOR__GRPC_ADDR` is `collector.grpc_addr`.
    fn variable(&mut self, name: &str, value: &str) {
        let Some(rest) = name.strip_prefix(PREFIX) else { return };
        if NOT_SETTINGS.contains(&name) {
            return;
        }
        let key = rest.to_lowercase().replace("__", ".");
        let origin = Origin::Env(name.to_owned());
        match self.kind(&key) {
            Some(Kind::Section(_)) => self.refuse(Some(origin), format!("{key} is a section: set {name}__KEY")),
            // `HOPLINE_X=` in a compose file or a unit means "not set".
            Some(_) if value.is_empty() => {}
            Some(kind) => self.set(&key, parse_text(value, kind), origin),
            None if is_service_link(rest) => {}
            None => {
                let keys = self.known.iter().filter(|k| !matches!(k.kind, Kind::Section(_)));
                let names: Vec<String> = keys.map(|k| variable_name(&k.path)).collect();
                let meant = nearest(name, names.iter().map(String::as_str)).unwrap_or_default().to_owned();
                self.refuse(Some(origin), format!("unknown variable; the nearest known one is {meant}"));
            }
        }
    }
}

/// The variable that sets `key`.
pub(super) fn variable_name(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// Kubernetes and Docker tell every container of a service called `hopline` about it in variables
/// such as `HOPLINE_SERVICE_HOST` and `HOPLINE_PORT_4317_TCP_ADDR`. Those are not meant for us.
fn is_service_link(rest: &str) -> bool {
    let rest = format!("_{rest}");
    rest.ends_with("_SERVICE_HOST")
        || rest.contains("_SERVICE_PORT")
        || rest.ends_with("_PORT")
        || rest.split("_PORT_").nth(1).is_some_and(|port| port.starts_with(|c: char| c.is_ascii_digit()))
}

/// A file that is being read.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn origin(&self, at: usize) -> Origin {
        let before = self.text.as_bytes().iter().take(at);
        Origin::File(self.path.to_path_buf(), 1 + before.filter(|b| **b == b'\n').count())
    }
}

/// A variable or a flag is text: what it says depends on what the key wants. What cannot be
/// read stays text, and is refused with the type that was wanted.
fn parse_text(text: &str, kind: Kind) -> Value {
    let as_toml = || format!("v = {text}").parse::<Table>().ok().and_then(|mut t| t.remove("v"));
    let parsed = match kind {
        Kind::Text | Kind::Section(_) => None,
        Kind::Bool => text.to_lowercase().parse().ok().map(Value::Boolean),
        Kind::Int => text.replace('_', "").parse().ok().map(Value::Integer),
        Kind::Float => text.parse().ok().map(Value::Float),
        Kind::List if text.trim_start().starts_with('[') => as_toml(),
        Kind::List => Some(Value::Array(text.split(',').map(|item| Value::String(item.trim().to_owned())).collect())),
        Kind::Any => as_toml(),
    };
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Whether the settings take `value` for `key`, all others being defaults.
fn check_type(key: &str, value: &Value) -> Result<(), String> {
    let mut alone = Table::new();
    insert(&mut alone, key, value.clone());
    match Config::deserialize(alone) {
        Ok(_) => Ok(()),
        // The text begins with the reason; lines after it only repeat the path.
        Err(error) => Err(format!("{key} = {value}: {}", error.message().lines().next().unwrap_or_default())),
    }
}

fn insert(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((section, rest)) => {
            let inner = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}
