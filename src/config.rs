//! What can be set, and where each value comes from.
//!
//! Defaults, then `hopline.toml`, then `HOPLINE_*` variables, then flags: the later wins.
//! Every key has a default that works on a laptop. A key that does not exist, and a value
//! that cannot be used, is an error that names its place; all errors are found at once.
//!
//! - [`known`]: which keys there are, asked of the types themselves.
//! - [`nearest`]: which key a mistyped one was meant to be.
//! - [`sources`]: reads the file, the variables and the flags.
//! - [`show`]: prints the outcome.

mod known;
mod nearest;
mod show;
mod sources;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(crate) use sources::Sources;

/// Everything that can be set.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Folder with all data.
    pub(crate) data: String,
    /// The API and what operators look at.
    pub(crate) api: Api,
    /// Receivers and the log's group commit.
    pub(crate) collector: hopline_collector::Config,
    /// Log, hot tier, files, compaction, retention.
    pub(crate) storage: hopline_storage::Config,
    /// Limits of queries.
    pub(crate) query: hopline_query::Config,
    /// The server's own log.
    pub(crate) log: Log,
    /// The server's own spans.
    pub(crate) telemetry: Telemetry,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data: "./hopline-data".to_owned(),
            api: Api::default(),
            collector: hopline_collector::Config::default(),
            storage: hopline_storage::Config::default(),
            query: hopline_query::Config::default(),
            log: Log::default(),
            telemetry: Telemetry::default(),
        }
    }
}

/// Settings under `[api]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Api {
    /// Where the API, `/metrics`, `/healthz` and `/readyz` are served. Port 0 takes a free one.
    pub(crate) addr: SocketAddr,
}

impl Default for Api {
    fn default() -> Self {
        Api { addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 4320)) }
    }
}

/// Settings under `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// `text` or `json`.
    pub(crate) format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`, also a part at a time: `info,hopline_storage=debug`.
    pub(crate) level: String,
}

impl Default for Log {
    fn default() -> Self {
        Log { format: LogFormat::Text, level: "info".to_owned() }
    }
}

/// How a line of the server's own log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Settings under `[telemetry]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Telemetry {
    /// Where the server's own spans are sent over OTLP/gRPC, such as `http://127.0.0.1:4317`.
    /// Empty: nowhere. It may be this server itself.
    pub(crate) otlp_endpoint: String,
}

/// The outcome of all sources.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The values.
    pub(crate) config: Config,
    /// Where the values that are not defaults come from, by key.
    pub(crate) origins: BTreeMap<String, Origin>,
    /// The file that was read, if any.
    pub(crate) file: Option<PathBuf>,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A line of a file.
    File(PathBuf, usize),
    /// An environment variable.
    Env(String),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
            Origin::Env(name) => f.write_str(name),
            Origin::Flag(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Where it stands; nothing for a default.
    pub(crate) place: Option<Origin>,
    /// What is wrong.
    pub(crate) message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// All that is wrong with the settings: at least one thing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => write!(f, "configuration: {one}"),
            many => {
                write!(f, "configuration: {} errors", many.len())?;
                many.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for Problems {}

/// Reads all sources and checks the outcome.
pub(crate) fn load(sources: &Sources) -> Result<Loaded, Problems> {
    let (loaded, mut problems) = sources::read(sources);
    problems.extend(loaded.check());
    if problems.is_empty() { Ok(loaded) } else { Err(Problems(problems)) }
}

impl Loaded {
    /// The settings as TOML, each with its origin.
    pub(crate) fn to_toml(&self) -> anyhow::Result<String> {
        show::to_toml(&self.config, &self.origins)
    }

    /// The data folder.
    pub(crate) fn data_dir(&self) -> &Path {
        Path::new(&self.config.data)
    }

    /// Checks what types cannot.
    fn check(&self) -> Vec<Problem> {
        let Config { data, collector, storage, query, log, telemetry, .. } = &self.config;
        let mut found = Vec::new();
        found.extend(check_data(data).err());
        found.extend(all_problems(collector, |c| c.validate().map_err(|e| (e.key, e.to_string()))));
        found.extend(storage.problems().iter().map(ToString::to_string));
        found.extend(all_problems(query, |c| c.validate().map_err(|e| (e.key, e.to_string()))));
        found.extend(check_level(&log.level).err());
        found.extend(check_endpoint(&telemetry.otlp_endpoint).err());
        found.into_iter().map(|message| self.locate(message)).collect()
    }

    /// Adds the place of the key with which `message` begins.
    fn locate(&self, message: String) -> Problem {
        let key = message.split([' ', '=']).next().unwrap_or_default();
        Problem { place: self.origins.get(key).cloned(), message }
    }
}

/// Everything that is wrong with a section whose check stops at the first thing: what it has
/// named is set to its default, and the rest is checked again.
fn all_problems<T>(section: &T, check: impl Fn(&T) -> Result<(), (&'static str, String)>) -> Vec<String>
where
    T: Default + Serialize + serde::de::DeserializeOwned,
{
    let (table, defaults) = (toml::Table::try_from(section), toml::Table::try_from(T::default()));
    let mut named = Vec::new();
    let mut found = Vec::new();
    let (Ok(mut table), Ok(defaults)) = (table, defaults) else {
        return check(section).err().map(|(_, message)| message).into_iter().collect();
    };
    // The limit of one may depend on another: a key that is named again ends the search.
    while let Ok(section) = T::deserialize(table.clone())
        && let Err((key, message)) = check(&section)
        && !named.contains(&key)
    {
        let name = key.rsplit('.').next().unwrap_or(key);
        match defaults.get(name) {
            Some(default) => drop(table.insert(name.to_owned(), default.clone())),
            None => drop(table.remove(name)),
        }
        named.push(key);
        found.push(message);
    }
    found
}

/// A folder that this version can use.
fn check_data(data: &str) -> Result<(), String> {
    if data.is_empty() {
        return Err("data is empty: give a folder".to_owned());
    }
    if data.contains("://") {
        return Err(format!("data = {data:?}: only local folders are supported by this version, not URLs"));
    }
    Ok(())
}

/// A word alone must be a level: the filter would take any other for the name of a part, and log
/// nothing else.
fn check_level(level: &str) -> Result<(), String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let mut words = level.split(',').map(str::trim).filter(|word| !word.contains(['=', '[']));
    if let Some(word) = words.find(|word| !LEVELS.iter().any(|l| l.eq_ignore_ascii_case(word))) {
        return Err(format!("log.level = {level:?}: {word:?} is none of {}", LEVELS.join(", ")));
    }
    let parsed = tracing_subscriber::EnvFilter::builder().parse(level);
    parsed.map(|_| ()).map_err(|error| format!("log.level = {level:?}: {error}"))
}

fn check_endpoint(endpoint: &str) -> Result<(), String> {
    if endpoint.is_empty() {
        return Ok(());
    }
    let refuse = |reason: &str| Err(format!("telemetry.otlp_endpoint = {endpoint:?}: {reason}"));
    match endpoint.parse::<http::Uri>() {
        Ok(uri) if uri.scheme_str() == Some("http") && uri.host().is_some() => Ok(()),
        Ok(uri) if uri.scheme_str() == Some("https") => refuse("TLS is not supported by this version: use http://"),
        _ => refuse("must be a URL like http://127.0.0.1:4317"),
    }
}
