//! The commands that read: whom they ask, and what they make of the answers.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::client::{self, Grpc, TRACES};
use crate::otlp::{hex, span_bytes, span_json, trace_id};
use crate::server::{Server, binary, start, start_with};

fn hopline(args: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(args).env_remove("HOPLINE_SERVER").env_remove("HOPLINE_CONFIG").current_dir(std::env::temp_dir());
    command.output().unwrap()
}

fn on(data: &Path, args: &[&str]) -> Output {
    hopline(&[args, &["--data", data.to_str().unwrap()]].concat())
}

fn at(server: &Server, args: &[&str]) -> Output {
    hopline(&[args, &["--server", &format!("http://{}", server.api)]].concat())
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{}", err(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn send(server: &Server, traces: std::ops::Range<u64>) {
    let grpc = Grpc::connect(&server.grpc).await;
    for n in traces {
        assert_eq!(grpc.call(TRACES, span_bytes(n, 1), "gzip").await.code, 0);
    }
}

async fn send_json(server: &Server, body: String) {
    let url = format!("http://{}/v1/traces", server.http);
    let answer = client::post(&url, &[("content-type", "application/json")], body.into_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn spans(data: &Path) -> String {
    out(&on(data, &["sql", "--format", "csv", "SELECT count(*) AS n FROM spans"])).replace("\r\n", " ")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.as_ref().unwrap().path(), to.join(entry.as_ref().unwrap().file_name()));
        if entry.is_dir() {
            copy(&entry, &to);
        } else {
            std::fs::copy(entry, to).unwrap();
        }
    }
}

#[tokio::test]
async fn a_folder_is_never_answered_for_by_the_server_of_another() {
    let (dead, _first) = start().await;
    send(&dead, 0..2).await;
    let stale = dead.dir.clone();
    dead.kill();
    let (live, dir) = start().await;
    send(&live, 10..13).await;
    assert_eq!(spans(&stale), "n 2 ", "its server is gone");
    // As if the next server had taken the same ports.
    std::fs::copy(live.dir.join("server.json"), stale.join("server.json")).unwrap();
    assert_eq!(spans(&stale), "n 2 ", "what stands in server.json is the server of another folder");
    let copied = dir.path().join("copied");
    copy(&live.dir, &copied);
    send(&live, 20..24).await;
    assert_eq!(spans(&copied), "n 3 ", "a copy of a live folder is a folder of its own");
    assert_eq!(spans(&live.dir), "n 7 ", "a live folder's own server is asked");
}

#[tokio::test]
async fn a_server_must_show_that_it_is_the_one_of_the_folder() {
    let (server, _dir) = start().await;
    let path = server.dir.join("server.json");
    let mut file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let instance = file["instance"].as_str().unwrap().to_owned();
    for path in ["/healthz", "/api/v1/status", "/nothing"] {
        assert_eq!(server.get(path).await.header("hopline-instance"), instance, "{path}");
    }
    // The folder is held, but not by the server that the file names.
    file["instance"] = json!("another");
    std::fs::write(&path, file.to_string()).unwrap();
    let output = on(&server.dir, &["sql", "SELECT 1"]);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(err(&output).contains("another server answers") && err(&output).contains("in use by"), "{}", err(&output));
    // Each start has a name of its own.
    let server = server.kill_and_restart().await;
    assert_ne!(server.get("/healthz").await.header("hopline-instance"), instance);
    assert!(on(&server.dir, &["sql", "SELECT 1"]).status.success());
}

#[tokio::test]
async fn attributes_may_be_as_deep_as_the_server_takes_them() {
    let (server, _dir) = start().await;
    // Each level of OTLP is three of JSON.
    let levels = 250;
    let value = format!(
        "{}{{\"stringValue\":\"inmost\"}}{}",
        "{\"arrayValue\":{\"values\":[".repeat(levels),
        "]}}".repeat(levels)
    );
    let deep =
        format!(r#""attributes":[{{"key":"deep","value":{value}}},{{"key":"flat","value":{{"intValue":"1"}}}}]"#);
    send_json(&server, span_json(1, &deep)).await;
    let trace = hex(&trace_id(1));
    let check = |ask: &dyn Fn(&[&str]) -> Output| {
        assert!(out(&ask(&["trace", &trace])).contains("1 span · 1 service"));
        let json = out(&ask(&["trace", &trace, "--json"]));
        assert_eq!((json.matches("\"arrayValue\": {").count(), json.matches("inmost").count()), (levels, 1));
        assert!(json.contains("\n  \"complete\": true") && json.ends_with("\n}\n"), "{json}");
        assert!(out(&ask(&["search"])).contains("(1 span)"));
        assert!(out(&ask(&["search", "--json"])).contains("inmost"));
    };
    check(&|args| at(&server, args));
    let data = server.dir.clone();
    server.kill();
    check(&|args| on(&data, args));
}

#[tokio::test]
async fn a_csv_answer_that_is_cut_says_so_once() {
    let limit = "[query]\nrows_max = 10\n";
    let (server, dir) = start_with(limit).await;
    let query = ["sql", "--format", "csv", "SELECT value FROM generate_series(1, 100)"];
    let check = |output: Output, says: &str| {
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 11, "what came is printed");
        let said = err(&output);
        assert_eq!((said.matches("error:").count(), said.matches("not complete").count()), (1, 1), "{said}");
        assert_eq!(said.matches(says).count(), 1, "{said}");
        assert!(!said.contains("chunk"), "{said}");
    };
    check(at(&server, &query), "LIMIT");
    let (data, config) = (server.dir.clone(), dir.path().join("data.toml"));
    server.kill();
    check(on(&data, &[&query[..], &["--config", config.to_str().unwrap()]].concat()), "the first 10 rows");
}

#[tokio::test]
async fn a_waterfall_in_a_pipe_is_not_cut() {
    let (server, _dir) = start().await;
    let message = format!("{}end", "m".repeat(300));
    send_json(&server, span_json(1, &format!(r#""status":{{"code":2,"message":"{message}"}}"#))).await;
    let text = out(&at(&server, &["trace", &hex(&trace_id(1))]));
    assert!(text.contains(&message) && !text.contains('…'), "{text}");
}

#[tokio::test]
async fn sql_that_is_wrong_is_shown_where() {
    let (server, dir) = start().await;
    let output = at(&server, &["sql", "SELECT 1 +\n FROM WHERE"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("line 2, column "), "{}", err(&output));
    // In a file it is the file's line.
    let file = dir.path().join("report.sql");
    std::fs::write(&file, "SELECT 1;\n\n  SELECT 2;\nSELECT 1 +\n FROM WHERE;\n").unwrap();
    let output = at(&server, &["sql", "-f", file.to_str().unwrap()]);
    assert!(err(&output).contains("line 5, column "), "{}", err(&output));
}

#[tokio::test]
async fn a_timeout_that_the_server_refuses_is_a_wrong_flag() {
    let (server, _dir) = start_with("[query]\ntimeout_max_ms = 60000\n").await;
    let output = at(&server, &["sql", "--timeout", "61", "SELECT 1"]);
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
    assert!(err(&output).contains("--timeout 61: at most 60 seconds"), "{}", err(&output));
    assert!(at(&server, &["sql", "--timeout", "60", "SELECT 1"]).status.success());
}

#[tokio::test]
async fn a_search_goes_on_with_its_cursor() {
    let (mut server, _dir) = start().await;
    send(&server, 0..5).await;
    let find = |more: &[&str]| -> Value {
        serde_json::from_str(&out(&at(&server, &[&["search", "--json", "-n", "3"], more].concat()))).unwrap()
    };
    let first = find(&[]);
    assert_eq!((first["spans"].as_array().unwrap().len(), &first["complete"]), (3, &json!(false)));
    let rest = find(&["--cursor", first["cursor"].as_str().unwrap()]);
    assert_eq!((rest["spans"].as_array().unwrap().len(), &rest["complete"]), (2, &json!(true)));
    assert!(rest.get("cursor").is_none(), "{rest}");
    let bad = at(&server, &["search", "--cursor", "nonsense"]);
    assert!(bad.status.code() == Some(2) && err(&bad).contains("--cursor"), "{}", err(&bad));
    // Nothing can be followed in a folder.
    assert!(server.stop().await.success());
    let output = on(&server.dir, &["tail"]);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(err(&output).contains("no server runs on"), "{}", err(&output));
}
