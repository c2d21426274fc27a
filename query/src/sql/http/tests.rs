#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use axum::body::Body;
use hopline_model::Table;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::json;
use tower::ServiceExt;

use super::*;
use crate::engine::Config;
use crate::engine::tests::rows::{Kept, Row, V};
use crate::engine::tests::{engine, engine_with};

struct Got {
    status: StatusCode,
    headers: HeaderMap,
    /// `Err` is a transfer that was broken off.
    body: Result<Vec<u8>, String>,
}

impl Got {
    fn text(&self) -> String {
        String::from_utf8(self.body.clone().unwrap()).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text()).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }
}

async fn send(engine: &Engine, request: Request<Body>) -> Got {
    let response = router(engine.clone()).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map(|b| b.to_bytes().to_vec()).map_err(|e| e.to_string());
    Got { status: parts.status, headers: parts.headers, body }
}

async fn post(engine: &Engine, content_type: &str, accept: &str, body: impl Into<Body>) -> Got {
    let request = Request::post("/api/v1/sql").header("content-type", content_type).header("accept", accept);
    send(engine, request.body(body.into()).unwrap()).await
}

fn kept() -> Kept {
    let kept = Kept::new();
    kept.add(
        Table::Spans,
        &[
            Row::span(1, 1, "shop", "say \"hi\", please", 0, 5_000).attr("app.n", V::I(1)).attr("app.s", V::S("a,b")),
            Row::span(1, 2, "shop", "load", 1, 9_007_199_254_740_993).id("parent_span_id", 8, 1),
        ],
    );
    kept
}

const QUERY: &str =
    "SELECT trace_id, parent_span_id, name, start_time, duration, attributes_int FROM spans ORDER BY span_id";

#[tokio::test]
async fn json_answers() {
    let kept = kept();
    let got = post(&engine(&kept), "application/sql", "application/json", QUERY).await;
    assert_eq!((got.status, got.headers["content-type"].to_str().unwrap()), (StatusCode::OK, "application/json"));
    assert_eq!(
        got.json(),
        json!({
            "columns": [
                {"name": "trace_id", "type": "binary(16)"},
                {"name": "parent_span_id", "type": "binary(8)"},
                {"name": "name", "type": "string"},
                {"name": "start_time", "type": "timestamp"},
                {"name": "duration", "type": "int64"},
                {"name": "attributes_int", "type": "map<string, int64>"},
            ],
            "rows": [
                ["01010101010101010101010101010101", null, "say \"hi\", please", "2026-11-21T10:00:00.000000000Z", 5000, {"app.n": 1}],
                ["01010101010101010101010101010101", "0101010101010101", "load", "2026-11-21T10:00:01.000000000Z", 9_007_199_254_740_993_i64, null],
            ],
            "complete": true,
        })
    );
    let got = post(&engine(&kept), "application/sql", "application/json;int64=string", QUERY).await;
    assert_eq!(got.json()["rows"][1][4], json!("9007199254740993"));
    let body = json!({"query": QUERY, "int64_as_string": true}).to_string();
    let got = post(&engine(&kept), "application/json", "*/*", body).await;
    assert_eq!(got.json()["rows"][1][4], json!("9007199254740993"));
    let got = post(&engine(&kept), "text/plain; charset=utf-8", "*/*", "SELECT 1 AS a WHERE false").await;
    assert_eq!(got.json(), json!({"columns": [{"name": "a", "type": "int64"}], "rows": [], "complete": true}));
}

#[tokio::test]
async fn ndjson_answers() {
    let kept = kept();
    let query = "SELECT a.name, b.name, a.duration FROM spans a, spans b WHERE a.duration < b.duration";
    let got = post(&engine(&kept), "application/sql", "application/x-ndjson", query).await;
    assert_eq!(got.headers["content-type"], "application/x-ndjson");
    assert_eq!(got.text(), "{\"name\":\"say \\\"hi\\\", please\",\"name_2\":\"load\",\"duration\":5000}\n");
}

#[tokio::test]
async fn csv_answers() {
    let kept = kept();
    let query =
        "SELECT name, parent_span_id, '' AS \"em,pty\", start_time, attributes_string FROM spans ORDER BY span_id";
    let got = post(&engine(&kept), "application/sql", "text/csv", query).await;
    assert_eq!(got.headers["content-type"], "text/csv; charset=utf-8; header=present");
    assert_eq!(
        got.text(),
        "name,parent_span_id,\"em,pty\",start_time,attributes_string\r\n\
         \"say \"\"hi\"\", please\",,\"\",2026-11-21T10:00:00.000000000Z,\"{\"\"app.s\"\":\"\"a,b\"\"}\"\r\n\
         load,0101010101010101,\"\",2026-11-21T10:00:01.000000000Z,\r\n"
    );
    let got = post(&engine(&kept), "application/sql", "text/csv", "SELECT 1 AS a WHERE false").await;
    assert_eq!(got.text(), "a\r\n");
}

#[tokio::test]
async fn arrow_answers() {
    let kept = kept();
    let got = post(&engine(&kept), "application/sql", "application/vnd.apache.arrow.stream", QUERY).await;
    assert_eq!(got.headers["content-type"], "application/vnd.apache.arrow.stream");
    let reader = arrow::ipc::reader::StreamReader::try_new(std::io::Cursor::new(got.body.unwrap()), None).unwrap();
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    let durations: Vec<i64> =
        batches.iter().flat_map(|b| b["duration"].as_primitive::<Int64Type>().values().to_vec()).collect();
    assert_eq!(durations, [5_000, 9_007_199_254_740_993]);
    assert_eq!(batches[0]["trace_id"].as_fixed_size_binary().value(0), [1; 16]);
}

#[tokio::test]
async fn parameters() {
    let kept = kept();
    let engine = engine(&kept);
    let ask = async |body: Value| post(&engine, "application/json", "*/*", body.to_string()).await;
    let query = "SELECT name FROM spans WHERE duration > $1 AND name = $2 AND trace_id = $3";
    let params = json!([5_000, "load", "01010101010101010101010101010101"]);
    assert_eq!(ask(json!({"query": query, "params": params})).await.json()["rows"], json!([["load"]]));
    let query = "SELECT $a, $b, $c, $d, $e";
    let params =
        json!({"a": null, "b": true, "c": -2.5, "d": "it's; DROP TABLE spans --", "e": -9_223_372_036_854_775_808_i64});
    assert_eq!(
        ask(json!({"query": query, "params": params})).await.json()["rows"],
        json!([[null, true, -2.5, "it's; DROP TABLE spans --", -9_223_372_036_854_775_808_i64]])
    );
    assert_eq!(ask(json!({"query": "SELECT 2 LIMIT $1", "params": [1]})).await.json()["rows"], json!([[2]]));
    for wrong in [
        json!({"query": "SELECT $2", "params": [1]}),
        json!({"query": "SELECT $1", "params": [[1]]}),
        json!({"query": "SELECT 1", "params": 1}),
        json!({"query": "SELECT 1", "parms": [1]}),
        json!({"query": "SELECT 1", "timeout_ms": 0}),
        json!({"query": "SELECT 1", "timeout_ms": 1_000_000_000}),
        json!({"params": [1]}),
        json!(["SELECT 1"]),
    ] {
        assert_eq!(ask(wrong.clone()).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[tokio::test]
async fn queries_in_the_url() {
    let kept = kept();
    let engine = engine(&kept);
    let get = async |query: &str| {
        let uri = format!("/api/v1/sql?{query}");
        send(&engine, Request::get(uri).body(Body::empty()).unwrap()).await
    };
    assert_eq!(get("query=SELECT+%241%2B1&params=%5B1%5D").await.json()["rows"], json!([[2]]));
    assert_eq!(get("query=SELECT%201%20AS%20a&format=csv").await.text(), "a\r\n1\r\n");
    for wrong in ["", "query=", "query=SELECT+1&x=1", "query=SELECT+1&format=xml", "query=SELECT+1&params=x"] {
        assert_eq!(get(wrong).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    let request = Request::builder().method(Method::PUT).uri("/api/v1/sql").body(Body::empty()).unwrap();
    assert_eq!(send(&engine, request).await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn problems() {
    let kept = kept();
    let engine = engine(&kept);
    for (content_type, accept, body, status) in [
        ("application/json", "*/*", "{", 400),
        ("application/sql", "*/*", "SELEC", 400),
        ("application/sql", "*/*", "DROP TABLE spans", 403),
        ("application/sql", "*/*", "COPY spans TO '/tmp/x'", 403),
        ("application/sql", "text/html", "SELECT 1", 406),
        ("application/x-www-form-urlencoded", "*/*", "SELECT 1", 415),
        ("application/sql", "*/*", &"(".repeat(100_000), 413),
        ("application/sql", "*/*", &" ".repeat(8 << 20), 413),
    ] {
        let got = post(&engine, content_type, accept, body.to_owned()).await;
        assert_eq!(got.status.as_u16(), status, "{body:.40}");
        assert_eq!(got.headers["content-type"], "application/problem+json");
        assert_eq!(got.json()["status"], json!(status));
    }
    let got = post(
        &engine,
        "application/json",
        "*/*",
        json!({
            "query": "SELECT count(*) FROM generate_series(1, 100000000000)", "timeout_ms": 100,
        })
        .to_string(),
    )
    .await;
    assert_eq!(got.status, StatusCode::GATEWAY_TIMEOUT);
}

/// Rows come, and then one that divides by zero.
const BREAKS: &str = "SELECT 1 / (20000 - value) AS x FROM generate_series(1, 30000)";

#[tokio::test]
async fn what_goes_wrong_later_is_told_at_the_end() {
    let kept = kept();
    let engine = engine(&kept);
    let got = post(&engine, "application/sql", "application/json", BREAKS).await;
    assert_eq!(got.status, StatusCode::OK);
    let answer = got.json();
    assert_eq!((&answer["complete"], &answer["error"]["detail"]), (&json!(false), &json!("division by zero")));
    assert!(!answer["rows"].as_array().unwrap().is_empty());
    let got = post(&engine, "application/sql", "application/x-ndjson", BREAKS).await;
    let last: Value = serde_json::from_str(got.text().lines().last().unwrap()).unwrap();
    assert_eq!(last["error"]["detail"], json!("division by zero"));
    for format in ["text/csv", "application/vnd.apache.arrow.stream"] {
        let got = post(&engine, "application/sql", format, BREAKS).await;
        assert_eq!(got.status, StatusCode::OK);
        assert!(got.body.unwrap_err().contains("division by zero"));
    }
}

#[tokio::test]
async fn answers_that_are_cut_say_so() {
    let kept = kept();
    let engine = engine(&kept);
    let query = "SELECT value FROM generate_series(1, 100)";
    let ask = async |accept: &str| {
        let request = Request::post("/api/v1/sql?max_rows=10").header("accept", accept);
        send(&engine, request.body(Body::from(query)).unwrap()).await
    };
    let answer = ask("*/*").await.json();
    assert_eq!((answer["rows"].as_array().unwrap().len(), &answer["complete"]), (10, &json!(false)));
    assert!(answer["reason"].as_str().unwrap().contains("10 rows"));
    let got = ask("application/x-ndjson").await.text();
    assert_eq!(got.lines().count(), 11);
    assert!(got.lines().last().unwrap().starts_with("{\"complete\":false,\"reason\":"));
    assert!(ask("text/csv").await.body.is_err());
}

#[tokio::test]
async fn too_many_at_once() {
    let kept = kept();
    let engine = engine_with(&kept, Config { concurrent_max: 1, queue_ms: 20, ..Config::default() });
    let endless = json!({"query": "SELECT value FROM generate_series(1, 100000000000)"}).to_string();
    let request = Request::post("/api/v1/sql").header("content-type", "application/json").body(Body::from(endless));
    let running = router(engine.clone()).oneshot(request.unwrap()).await.unwrap();
    assert_eq!(running.status(), StatusCode::OK);
    let got = post(&engine, "application/sql", "*/*", "SELECT 1").await;
    assert_eq!((got.status, got.headers["retry-after"].to_str().unwrap()), (StatusCode::TOO_MANY_REQUESTS, "2"));
    // The client leaves: its query ends.
    drop(running);
    let mut status = StatusCode::TOO_MANY_REQUESTS;
    for _ in 0..200 {
        status = post(&engine, "application/sql", "*/*", "SELECT 1").await.status;
        if status == StatusCode::OK {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(status, StatusCode::OK);
}
