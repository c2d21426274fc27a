//! The query API of the running binary.

use std::time::Duration;

use http_body_util::BodyExt as _;
use serde_json::json;

use crate::client::{self, Grpc, TRACES};
use crate::otlp::*;
use crate::server::{Server, binary, start, start_with, until};

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

/// Reads what comes until the transfer ends: all of it, and whether it ended as it should.
async fn read_to_the_end(url: &str, headers: &[(&str, &str)], pace: Duration) -> (Vec<u8>, bool) {
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    let mut request = http::Request::get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = client.request(request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    let (mut body, mut got) = (response.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return (got, false) };
        got.extend_from_slice(frame.data_ref().unwrap());
        // A client that is slower than the server.
        tokio::time::sleep(pace).await;
    }
    (got, true)
}

#[tokio::test]
async fn a_csv_answer_that_is_cut_has_all_rows_before_the_cut() {
    let (server, _dir) = start().await;
    let url = |rows: usize, query: &str| {
        let query = query.replace(' ', "%20").replace('+', "%2B");
        format!("http://{}/api/v1/sql?max_rows={rows}&query={query}", server.api)
    };
    let numbers = "SELECT value, repeat('x', 100) FROM generate_series(1, 400000)";
    for (rows, pace) in [(5, 0), (20_000, 0), (100_000, 1)] {
        let (csv, whole) =
            read_to_the_end(&url(rows, numbers), &[("accept", "text/csv")], Duration::from_millis(pace)).await;
        assert_eq!(csv.iter().filter(|b| **b == b'\n').count(), rows + 1, "a header and {rows} rows");
        assert!(!whole, "it is broken off");
    }
    for encoding in ["gzip", "zstd"] {
        let headers = [("accept", "text/csv"), ("accept-encoding", encoding)];
        let (packed, whole) =
            read_to_the_end(&url(5, "SELECT value FROM generate_series(1, 10)"), &headers, Duration::ZERO).await;
        assert!(!whole);
        let mut csv = Vec::new();
        // Its end is missing, too.
        let _ = match encoding {
            "gzip" => std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut csv),
            _ => std::io::Read::read_to_end(&mut zstd::Decoder::new(&packed[..]).unwrap(), &mut csv),
        };
        assert_eq!(String::from_utf8(csv).unwrap(), "value\r\n1\r\n2\r\n3\r\n4\r\n5\r\n", "{encoding}");
    }
    // An error in the middle.
    let breaks = "SELECT 1 / (20000 - value) FROM generate_series(1, 30000)";
    let (csv, whole) = read_to_the_end(&url(1_000_000, breaks), &[("accept", "text/csv")], Duration::ZERO).await;
    assert!(!whole && csv.iter().filter(|b| **b == b'\n').count() > 8_000, "{}", csv.len());
    let (csv, whole) = read_to_the_end(&url(1_000_000, numbers), &[("accept", "text/csv")], Duration::ZERO).await;
    assert!(whole && csv.iter().filter(|b| **b == b'\n').count() == 400_001);
}

#[tokio::test]
async fn now_is_the_present() {
    let (server, _dir) = start().await;
    with_spans(&server, 1, 2).await;
    // They are of 2026-09-21.
    assert_eq!(server.number("SELECT count(*) FROM spans WHERE start_time < now() + interval '100 years'").await, 2);
    assert_eq!(server.number("SELECT count(*) FROM spans WHERE start_time > now() + interval '1 day'").await, 0);
    assert_eq!(server.number("SELECT CAST(current_date >= DATE '2026-01-01' AS int)").await, 1);
}

#[tokio::test]
async fn a_wrong_address_is_a_problem() {
    let (server, _dir) = start().await;
    for (path, status) in
        [("/api/v1/nothing", 404), ("/api/v1", 404), ("/api/v1/search?attr=%ff", 400), ("/api/v1/traces/%ff", 400)]
    {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (status, "application/problem+json"), "{path}");
    }
}

#[tokio::test]
async fn numbers_that_json_does_not_have() {
    let (server, _dir) = start().await;
    let point = |value: &str| json!({"timeUnixNano": "1790000000000000000", "asDouble": value});
    let points = ["NaN", "Infinity", "-Infinity"].map(point);
    let metric = json!({"name": "odd", "gauge": {"dataPoints": points}});
    let body = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}).to_string();
    let url = format!("http://{}/v1/metrics", server.http);
    assert_eq!(client::post(&url, &[("content-type", "application/json")], body.into_bytes()).await.status, 200);
    let rows = server.get("/api/v1/sql?query=SELECT%20value%20FROM%20metrics%20ORDER%20BY%20value").await.json();
    assert_eq!(rows["rows"], json!([["-Infinity"], ["Infinity"], ["NaN"]]));
    let range = "start=1789999999&end=1790000001&step=1s";
    let answer = server.get(&format!("/api/v1/metrics/query?name=odd&{range}")).await.json();
    assert_eq!(answer["series"][0]["points"], json!([[1_790_000_000_000_i64, null]]));
}

#[tokio::test]
async fn a_folder_is_asked_without_writing_to_it() {
    let (mut server, _dir) = start().await;
    with_spans(&server, 1, 2).await;
    assert!(server.stop().await.success());
    let spill = server.dir.join("tmp");
    std::fs::remove_dir_all(&spill).unwrap();
    let mut command = std::process::Command::new(binary());
    let output = command.args(["sql", "--format", "csv", "SELECT count(*) AS n FROM spans", "--data"]).arg(&server.dir);
    let output = output.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().collect::<Vec<_>>(), ["n", "2"]);
    assert!(!spill.exists(), "it is only read");
}
