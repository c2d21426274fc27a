#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod damaged;
mod http_rules;
mod live;
mod metrics;
mod names;
mod openapi;
mod rows;
mod traces;

use axum::body::Body;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::engine::tests::engine;
use crate::engine::tests::rows::{Kept, SECOND, T0};
use crate::otlp::testing::batch;

const TRACE: &str = "01010101010101010101010101010101";

/// The API over some rows.
struct Api {
    kept: Kept,
    router: Router,
}

impl Api {
    fn new() -> Self {
        let kept = Kept::new();
        let router = crate::router_with(ApiState { engine: engine(&kept), tail: None, started: Instant::now() });
        Self { kept, router }
    }

    fn with(table: Table, rows: &[Value]) -> Self {
        let api = Self::new();
        api.add(table, rows);
        api
    }

    fn add(&self, table: Table, rows: &[Value]) {
        self.kept.add_batch(table, batch(table, rows));
    }

    fn flush(&self) {
        self.kept.storage.flush().unwrap();
    }

    /// Status, content type and body of an answer.
    async fn ask(&self, path: &str, accept: Option<&str>) -> (StatusCode, String, Vec<u8>) {
        let mut request = Request::get(path.replace('<', "%3C").replace('>', "%3E"));
        if let Some(accept) = accept {
            request = request.header(header::ACCEPT, accept);
        }
        let answer = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = answer.status();
        let content_type = answer.headers().get(header::CONTENT_TYPE).map(|t| t.to_str().unwrap().to_owned());
        let body = answer.into_body().collect().await.unwrap().to_bytes().to_vec();
        (status, content_type.unwrap_or_default(), body)
    }

    /// The JSON of an answer that must be good.
    #[track_caller]
    fn get(&self, path: &str) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        async move {
            let (status, content_type, body) = self.ask(path, None).await;
            assert_eq!(status, StatusCode::OK, "{caller}: {path}: {}", String::from_utf8_lossy(&body));
            assert_eq!(content_type, "application/json", "{path}");
            serde_json::from_slice(&body).expect("JSON")
        }
    }

    /// Asserts that an answer is a problem whose detail contains `expected`.
    async fn refused(&self, path: &str, status: u16, expected: &str) {
        let (got, content_type, body) = self.ask(path, None).await;
        let text = String::from_utf8_lossy(&body);
        assert_eq!(got.as_u16(), status, "{path}: {text}");
        assert_eq!(content_type, "application/problem+json", "{path}");
        let problem: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(problem["status"], json!(status), "{path}");
        assert!(problem["detail"].as_str().unwrap().contains(expected), "{path}: {text}");
    }
}

/// A span, number `id`, `at` seconds after [`T0`].
fn span(id: u8, service: &str, name: &str, at: i64, duration: i64) -> Value {
    json!({
        "trace_id": TRACE, "span_id": format!("{id:02x}").repeat(8), "service": service, "name": name,
        "kind": "SERVER", "status_code": "UNSET", "start_time": T0 + at * SECOND, "duration": duration,
        "resource": format!(r#"{{"attributes":{{"service.name":"{service}","k8s.pod.name":"pod-{id}","cpus":4}}}}"#),
    })
}

/// `row` with other members.
fn with(mut row: Value, members: Value) -> Value {
    for (name, value) in members.as_object().unwrap() {
        row[name] = value.clone();
    }
    row
}

/// Runs a check over rows in memory, in a file, and half and half.
async fn everywhere(table: Table, rows: &[Value], check: impl AsyncFn(&Api)) {
    for cold in [0, rows.len(), rows.len() / 2] {
        let api = Api::new();
        if cold > 0 {
            api.add(table, &rows[..cold]);
            api.flush();
        }
        if cold < rows.len() {
            api.add(table, &rows[cold..]);
        }
        check(&api).await;
    }
}

/// The members `name` of a list of objects.
fn pick(list: &Value, name: &str) -> Vec<String> {
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    list.as_array().unwrap().iter().map(|item| text(&item[name])).collect()
}
