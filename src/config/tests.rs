#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::known::{self, Kind};
use super::*;

/// Loads `toml`, then `env` (one NAME=VALUE a line), then flags.
fn outcome(toml: &str, env: &str, flags: &[(&'static str, &'static str, &str)]) -> Result<Loaded, Problems> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hopline.toml");
    std::fs::write(&file, toml).unwrap();
    let env = env.lines().map(|l| l.trim().split_once('=').unwrap()).map(|(n, v)| (n.to_owned(), v.to_owned()));
    let mut sources = Sources { file: Some(file), env: env.collect(), flags: Vec::new() };
    for (key, name, value) in flags {
        sources = sources.flag(key, name, Some(value));
    }
    load(&sources)
}

/// The errors of [`outcome`], without the folder of the file.
#[track_caller]
fn errors(toml: &str, env: &str) -> Vec<String> {
    let problems = outcome(toml, env, &[]).err().unwrap().0;
    let short = |text: String| match text.split_once("hopline.toml:") {
        Some((_, rest)) => format!("hopline.toml:{rest}"),
        None => text,
    };
    problems.iter().map(|p| short(p.to_string())).collect()
}

#[test]
fn without_anything_all_are_defaults() {
    let loaded = outcome("", "HOPLINE_BIN=/x", &[]).unwrap();
    assert_eq!(loaded.config.data, "./hopline-data");
    assert_eq!(loaded.config.api.addr.port(), 4320);
    assert_eq!(loaded.config.collector, hopline_collector::Config::default());
    assert!(loaded.origins.is_empty());
}

#[test]
fn the_later_source_wins() {
    let toml = "data = 'a'\n[collector]\ngrpc_addr = '127.0.0.1:1'\nhttp_addr = '127.0.0.1:2'\n[log]\nlevel = 'debug'";
    let env =
        "HOPLINE_COLLECTOR__GRPC_ADDR=127.0.0.1:3\nHOPLINE_COLLECTOR__HTTP_ADDR=127.0.0.1:4\nHOPLINE_LOG__FORMAT=json";
    let loaded = outcome(toml, env, &[("collector.http_addr", "--otlp-http", "127.0.0.1:5")]).unwrap();
    let Config { data, collector, log, .. } = &loaded.config;
    assert_eq!(data, "a");
    assert_eq!((collector.grpc_addr.port(), collector.http_addr.port()), (3, 5));
    assert_eq!((log.format, log.level.as_str()), (LogFormat::Json, "debug"));
    assert!(matches!(&loaded.origins["log.level"], Origin::File(_, 6)));
    assert_eq!(loaded.origins["collector.grpc_addr"].to_string(), "HOPLINE_COLLECTOR__GRPC_ADDR");
    assert_eq!(loaded.origins["collector.http_addr"].to_string(), "--otlp-http");
}

#[test]
fn a_bad_value_that_is_overruled_does_not_matter() {
    let loaded = outcome("[api]\naddr = 5", "HOPLINE_API__ADDR=127.0.0.1:7", &[]).unwrap();
    assert_eq!(loaded.config.api.addr.port(), 7);
}

#[test]
fn unknown_keys_are_refused_with_place_and_nearest_key() {
    let found =
        errors("dat = 'x'\n\n[collector]\ngrcp_addr = '127.0.0.1:1'\n[colector]\nx = 1\n[log]\nhttp_addr = 1", "");
    assert_eq!(
        found,
        [
            "hopline.toml:5: unknown key \"colector\"; the nearest known key is \"collector\"",
            "hopline.toml:4: unknown key \"collector.grcp_addr\"; the nearest known key is \"collector.grpc_addr\"",
            "hopline.toml:1: unknown key \"dat\"; the nearest known key is \"data\"",
            "hopline.toml:8: unknown key \"log.http_addr\"; the nearest known key is \"collector.http_addr\"",
        ]
    );
}

#[test]
fn unknown_variables_are_refused_too_but_not_those_of_kubernetes() {
    let env = "HOPLINE_SERVICE_HOST=10.0.0.1\nHOPLINE_SERVICE_PORT_OTLP=4317\nHOPLINE_PORT=tcp://10.0.0.1:4317
        HOPLINE_PORT_4317_TCP_ADDR=10.0.0.1\nHOPLINE_COLLECTOR__GRPC_ADR=x\nHOPLINE_LOG=x\nHOPLINE_DATA=";
    let found = errors("", env);
    assert_eq!(
        found,
        [
            "HOPLINE_COLLECTOR__GRPC_ADR: unknown variable; the nearest known one is HOPLINE_COLLECTOR__GRPC_ADDR",
            "HOPLINE_LOG: log is a section: set HOPLINE_LOG__KEY",
        ]
    );
}

#[test]
fn all_errors_are_found_at_once_each_with_its_place() {
    let found =
        errors("[api]\naddr = 'nowhere'\n[collector]\nmax_connections = -1", "HOPLINE_COLLECTOR__RETRY_AFTER_MS=soon");
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("hopline.toml:2: api.addr = \"nowhere\": "), "{found:?}");
    assert!(found[1].starts_with("hopline.toml:4: collector.max_connections = -1: "), "{found:?}");
    assert!(
        found[2].starts_with("HOPLINE_COLLECTOR__RETRY_AFTER_MS: collector.retry_after_ms = \"soon\": "),
        "{found:?}"
    );
}

#[test]
fn what_types_cannot_check_is_checked() {
    let toml = "data = 's3://bucket/x'\n[collector]\nmax_connections = 0\n[log]\nlevel = 'verbose'\n[telemetry]\notlp_endpoint = 'here'";
    let found = errors(toml, "");
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(
        found[0].starts_with("hopline.toml:1: ") && found[0].contains("only local folders are supported"),
        "{found:?}"
    );
    assert!(found[1].starts_with("hopline.toml:3: collector.max_connections = 0: must be at least 1"), "{found:?}");
    assert!(found[2].starts_with("hopline.toml:5: log.level"), "{found:?}");
    assert!(found[3].starts_with("hopline.toml:7: telemetry.otlp_endpoint"), "{found:?}");
}

#[test]
fn all_range_errors_of_all_sections_are_found_at_once() {
    let toml = "[collector]\nmax_connections = 0\nidle_timeout_ms = 0\n[storage]\nsegment_bytes = 1\nzstd_level = 99
        [query]\nrows_max = 0\nconcurrent_max = 0\n[log]\nlevel = 5";
    let found = errors(toml, "");
    let keys = ["log.level", "collector.idle_timeout_ms", "collector.max_connections", "storage.segment_bytes"];
    let keys = keys.into_iter().chain(["storage.zstd_level", "query.concurrent_max", "query.rows_max"]);
    for (problem, key) in found.iter().zip(keys.clone()) {
        assert!(problem.contains(&format!(": {key} = ")), "{found:?}");
    }
    assert_eq!(found.len(), keys.count(), "{found:?}");
    // The limit of the second follows from the first, which is too large itself: that is one thing, not two.
    let found = errors("[collector]\nmax_request_bytes = 999999999", "");
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn a_folder_is_no_file_with_settings() {
    let dir = tempfile::tempdir().unwrap();
    let error = load(&Sources { file: Some(dir.path().into()), ..Sources::default() }).err().unwrap().to_string();
    assert!(error.ends_with("is a folder, not a file with settings"), "{error}");
}

#[test]
fn what_is_no_toml_is_refused_with_its_line() {
    let found = errors("data = 'x'\n[log\n", "");
    assert!(found[0].starts_with("hopline.toml:2: "), "{found:?}");
    let missing =
        load(&Sources { file: Some("/nowhere/h.toml".into()), ..Sources::default() }).err().unwrap().to_string();
    assert!(missing.contains("read /nowhere/h.toml"), "{missing}");
    assert!(errors("log = 3", "")[0].contains("log is a section"));
}

#[test]
fn what_is_shown_can_be_read_back() {
    let loaded =
        outcome("[storage]\ncompact = false", "HOPLINE_LOG__LEVEL=warn", &[("data", "--data", "/d \"x\"")]).unwrap();
    let shown = loaded.to_toml().unwrap();
    let line = |key: &str| shown.lines().find(|l| l.starts_with(&format!("{key} ="))).unwrap().to_owned();
    assert!(line("data").ends_with("# --data"), "{shown}");
    assert!(
        line("level").starts_with("level = \"warn\"") && line("level").ends_with("# HOPLINE_LOG__LEVEL"),
        "{shown}"
    );
    assert!(line("compact").contains("hopline.toml:2"), "{shown}");
    assert!(line("grpc_addr").ends_with("# default; HOPLINE_COLLECTOR__GRPC_ADDR"), "{shown}");
    let again = outcome(&shown, "", &[]).unwrap();
    assert_eq!(format!("{:?}", again.config), format!("{:?}", loaded.config));
}

#[test]
fn every_key_is_known_with_its_type_and_can_be_set_by_a_variable() {
    let keys = known::keys::<Config>();
    let kind = |path: &str| keys.iter().find(|k| k.path == path).map(|k| k.kind);
    assert_eq!(kind("data"), Some(Kind::Text));
    assert_eq!(kind("collector.grpc_addr"), Some(Kind::Text));
    assert_eq!(kind("collector.max_connections"), Some(Kind::Int));
    assert_eq!(kind("storage.compact"), Some(Kind::Bool));
    assert_eq!(kind("log.format"), Some(Kind::Text));
    assert!(matches!(kind("log"), Some(Kind::Section(_))));
    let defaults = toml::Table::try_from(Config::default()).unwrap();
    for (section, values) in defaults.iter().filter_map(|(name, v)| Some((name, v.as_table()?))) {
        for (key, value) in values {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let env = format!("{}={text}", sources::variable_name(&format!("{section}.{key}")));
            let loaded = outcome("", &env, &[]).unwrap_or_else(|e| panic!("{env}: {e}"));
            assert_eq!(format!("{:?}", loaded.config), format!("{:?}", Config::default()), "{env}");
        }
    }
}

/// `docs/configuration.md` lists every key with its default.
#[test]
fn the_documentation_lists_every_key() {
    let docs = include_str!("../../docs/configuration.md");
    let defaults = toml::Table::try_from(Config::default()).unwrap();
    for key in known::keys::<Config>().iter().filter(|k| !matches!(k.kind, Kind::Section(_))) {
        let (section, name) = key.path.split_once('.').unwrap_or(("", &key.path));
        let value = if section.is_empty() { defaults.get(name) } else { defaults[section].get(name) };
        let value = value.map_or_else(|| "not set".to_owned(), |v| format!("`{v}`"));
        let row = format!("| `{}` | {value} |", key.path);
        assert!(docs.contains(&row), "docs/configuration.md lacks the row: {row}");
    }
}
