//! The query API of the running binary.

use serde_json::json;

use crate::client::{self, Grpc, TRACES};
use crate::otlp::*;
use crate::server::{Server, start, start_with, until};

async fn with_spans(server: &Server, traces: u64, spans: u64) {
    let grpc = Grpc::connect(&server.grpc).await;
    for n in 0..traces {
        assert_eq!(grpc.call(TRACES, span_bytes(n, spans), "gzip").await.code, 0);
    }
}

#[tokio::test]
async fn sql_in_every_format() {
    let (server, _dir) = start().await;
    with_spans(&server, 1, 2).await;
    let url = format!("http://{}/api/v1/sql", server.api);
    let query = "SELECT span_id, start_time, duration, name FROM spans ORDER BY span_id";
    let ask = async |accept: &str| {
        client::post(&url, &[("content-type", "text/plain"), ("accept", accept)], query.as_bytes().to_vec()).await
    };
    let answer = ask("application/json").await.json();
    assert_eq!(answer["columns"][0]["name"], "span_id");
    assert_eq!(answer["rows"][0], json!(["0000000000000001", "2026-09-21T14:13:20.000000000Z", 1_000_000, "op"]));
    assert_eq!(answer["complete"], true);
    let lines = ask("application/x-ndjson").await.text();
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((&first["span_id"], lines.lines().count()), (&json!("0000000000000001"), 2));
    let csv = ask("text/csv").await.text();
    assert_eq!(csv.lines().next(), Some("span_id,start_time,duration,name"));
    assert_eq!(csv.lines().nth(1), Some("0000000000000001,2026-09-21T14:13:20.000000000Z,1000000,op"));
    let arrow = ask("application/vnd.apache.arrow.stream").await;
    let reader = arrow::ipc::reader::StreamReader::try_new(&arrow.body[..], None).unwrap();
    assert_eq!(reader.map(|b| b.unwrap().num_rows()).sum::<usize>(), 2);
    assert_eq!(ask("image/png").await.status, 406);
    let body = json!({"query": "SELECT count(*) FROM spans WHERE name = $1", "params": ["op"]}).to_string();
    let answer = client::post(&url, &[("content-type", "application/json")], body.into_bytes()).await;
    assert_eq!(answer.json()["rows"], json!([[2]]));
}

#[tokio::test]
async fn only_reading_is_allowed() {
    let (mut server, dir) = start().await;
    with_spans(&server, 1, 1).await;
    let secret = dir.path().join("secret.csv");
    std::fs::write(&secret, "a\n1\n").unwrap();
    let path = secret.display();
    let out = dir.path().join("out");
    let queries = [
        format!("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '{path}'"),
        format!("COPY (SELECT 1) TO '{}' STORED AS PARQUET", out.display()),
        format!("SELECT * FROM '{path}'"),
        format!("SELECT * FROM read_csv('{path}')"),
        "CREATE TABLE x AS SELECT 1".into(),
        "CREATE VIEW x AS SELECT 1".into(),
        "DROP TABLE spans".into(),
        "DELETE FROM spans".into(),
        "UPDATE spans SET name = 'x'".into(),
        "INSERT INTO spans SELECT * FROM spans".into(),
        "SET datafusion.execution.batch_size = 1".into(),
        "SELECT 1; SELECT 2".into(),
    ];
    for query in queries {
        let answer = server.try_sql(&query).await;
        assert!([400, 403].contains(&answer.status), "{query}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/problem+json", "{query}");
        assert!(answer.json()["detail"].as_str().is_some_and(|d| !d.is_empty()), "{query}");
    }
    assert!(!out.exists());
    assert_eq!(server.number("SELECT count(*) FROM spans").await, 1);
    assert!(server.stop().await.success());
}

#[tokio::test]
async fn a_query_ends_at_its_deadline_and_when_its_client_leaves() {
    let (server, _dir) = start().await;
    with_spans(&server, 30, 100).await;
    let cross = "SELECT count(*) FROM spans a, spans b, spans c WHERE a.duration + b.duration * c.duration = 7";
    let body = json!({"query": cross, "timeout_ms": 300}).to_string();
    let url = format!("http://{}/api/v1/sql", server.api);
    let answer = client::post(&url, &[("content-type", "application/json")], body.into_bytes()).await;
    assert!([408, 504].contains(&answer.status), "{}", answer.text());
    assert!(answer.json()["detail"].as_str().unwrap().contains("300"), "{}", answer.text());
    // A client that leaves: the running query is gone from the gauge soon, long before its deadline.
    let mut stream = tokio::net::TcpStream::connect(&server.api).await.unwrap();
    let head = format!(
        "POST /api/v1/sql HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{cross}",
        cross.len()
    );
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
    until("it runs", async || server.metric("hopline_queries_running").await > 0.0).await;
    drop(stream);
    until("it was cancelled", async || server.metric("hopline_queries_running").await == 0.0).await;
}

#[tokio::test]
async fn memory_has_a_limit_and_a_clear_error() {
    let (server, _dir) = start_with("[query]\nmemory_bytes = 16777216\nspill_bytes = 1048576\n").await;
    with_spans(&server, 100, 100).await;
    let huge = "SELECT a.trace_id, b.span_id, b.start_time FROM spans a, spans b ORDER BY b.start_time, a.trace_id";
    let answer = server.try_sql(huge).await;
    assert!(answer.status >= 400, "{}", answer.status);
    let detail = answer.json()["detail"].as_str().unwrap().to_lowercase();
    assert!(detail.contains("memory") || detail.contains("spill"), "{detail}");
    assert_eq!(server.number("SELECT count(*) FROM spans").await, 10_000, "and the server goes on");
}

#[tokio::test]
async fn partial_traces_are_normal_and_marked() {
    let (server, _dir) = start().await;
    let orphan = opentelemetry_proto::tonic::trace::v1::Span { parent_span_id: span_id(77), ..span(1, 0) };
    let child = opentelemetry_proto::tonic::trace::v1::Span { parent_span_id: span_id(0), ..span(1, 1) };
    let body = prost::Message::encode_to_vec(&traces("it", vec![orphan, child]));
    assert_eq!(Grpc::connect(&server.grpc).await.call(TRACES, body, "gzip").await.code, 0);
    let path = format!("/api/v1/traces/{}", hex(&trace_id(1)));
    let answer = server.get(&path).await.json();
    assert_eq!(answer["partial"]["missing_parents"], 1, "{answer}");
    let url = format!("http://{}{path}", server.api);
    let arrow = client::try_get(&url, &[("accept", "application/vnd.apache.arrow.stream")]).await.unwrap();
    let reader = arrow::ipc::reader::StreamReader::try_new(&arrow.body[..], None).unwrap();
    assert_eq!(reader.schema().metadata()["spans"], "2", "{:?}", reader.schema().metadata());
    assert_eq!(reader.map(|b| b.unwrap().num_rows()).sum::<usize>(), 2);
    assert_eq!(server.get("/api/v1/traces/00000000000000000000000000000001").await.status, 404);
    assert_eq!(server.get("/api/v1/traces/xyz").await.status, 400);
}

#[tokio::test]
async fn search_pages_through_everything_in_order() {
    let (server, _dir) = start().await;
    with_spans(&server, 7, 5).await;
    for (order, limit) in [("newest", 4), ("slowest", 3)] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let path =
                format!("/api/v1/search?service=it&start=2026-01-01T00:00:00Z&order={order}&limit={limit}{cursor}");
            let answer = server.get(&path).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let answer = answer.json();
            for span in answer["spans"].as_array().unwrap() {
                seen.push((span["start_time"].to_string(), span["trace_id"].to_string(), span["span_id"].to_string()));
            }
            match answer["cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen.len(), 35, "{order}");
        if order == "newest" {
            assert!(seen.windows(2).all(|w| w[0].0 >= w[1].0), "{seen:?}");
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 35, "{order}: each once");
    }
    assert_eq!(server.get("/api/v1/search?servce=x").await.status, 400);
}

#[tokio::test]
async fn names_are_known_at_once() {
    let (server, _dir) = start().await;
    with_spans(&server, 1, 1).await;
    assert!(server.get("/api/v1/services").await.text().contains("\"it\""));
    assert!(server.get("/api/v1/operations?service=it").await.text().contains("\"op\""));
    for path in ["/healthz", "/readyz", "/metrics", "/api/v1/openapi.json", "/api/v1/status", "/api/v1/attributes"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
}
