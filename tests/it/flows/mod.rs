//! Stories over event hops, as the running binary tells them: whatever the order of arrival, and
//! whatever happens to the server in between.

mod accounts;
mod arbitrary;
mod halves;
mod invocations;
mod script;
mod sources;

use std::process::{Command, Output};

use serde_json::Value;

use crate::client;
use crate::server::{Server, binary, until};

/// Merging of files is not wanted where a test merges them itself.
const NO_MERGING: &str = "[storage]\ncompact = false\n";

/// Each row goes to a file at once, and files are merged as soon as there are two.
const RESTLESS: &str =
    "[storage]\nflush_rows = 1\nflush_age_s = 0\nflush_small_age_s = 0\ncompact_files_min = 2\nsegment_bytes = 8192\n";

/// Gives the JSON at a path of the API.
async fn get(server: &Server, path: &str) -> Value {
    let answer = server.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

async fn flow(server: &Server, trace: &str) -> Value {
    get(server, &format!("/api/v1/flows/{}", script::trace_id(trace))).await
}

/// Sends telemetry as OTLP/JSON.
async fn send(server: &Server, signal: &str, body: &Value) {
    let url = format!("http://{}/v1/{signal}", server.http);
    let answer = client::post(&url, &[("content-type", "application/json")], body.to_string().into_bytes()).await;
    assert_eq!((answer.status, answer.text().contains("partial")), (200, false), "{}", answer.text());
}

async fn send_spans(server: &Server, text: &str) {
    send(server, "traces", &script::spans(text)).await;
}

async fn send_records(server: &Server, text: &str) {
    send(server, "logs", &script::records(text)).await;
}

/// Waits until nothing is in memory alone.
async fn until_flushed(server: &Server) {
    until("all rows are in files", async || {
        let text = server.get("/metrics").await.text();
        let mut rows = text.lines().filter(|line| line.starts_with("hopline_hot_rows{")).peekable();
        rows.peek().is_some() && rows.all(|line| line.ends_with(" 0"))
    })
    .await;
}

async fn until_merged(server: &Server, table: &str) {
    let series = format!("hopline_compacted_files_total{{table=\"{table}\"}}");
    until("files were merged", async || server.metric(&series).await > 0.0).await;
}

/// Runs a command of the binary on the data folder of a server, or of one that was.
fn hopline(server: &Server, args: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(args).arg("--data").arg(&server.dir).env_remove("HOPLINE_SERVER").current_dir(std::env::temp_dir());
    command.output().unwrap()
}

/// What a command that works prints.
fn printed(server: &Server, args: &[&str]) -> String {
    let output = hopline(server, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The edges of a flow, one a line.
fn edges(flow: &Value) -> Vec<String> {
    let place = |end: &Value| {
        let part = |key: &str| script::name_of(end[key].as_str().unwrap());
        format!("{}.{}", part("trace_id"), part("span_id"))
    };
    let line = |edge: &Value| {
        let word = |key: &str| edge[key].as_str().unwrap_or("-");
        let mut line =
            format!("{} -> {} {} {}", place(&edge["from"]), place(&edge["to"]), word("hop"), word("certainty"));
        for flag in ["retry", "fan_out", "dead_letter"] {
            if edge[flag] == true {
                line += &format!(" {flag}");
            }
        }
        line
    };
    flow["edges"].as_array().unwrap().iter().map(line).collect()
}

/// The names of the traces of a flow.
fn traces(flow: &Value) -> Vec<String> {
    flow["traces"].as_array().unwrap().iter().map(|t| script::name_of(t["trace_id"].as_str().unwrap())).collect()
}
