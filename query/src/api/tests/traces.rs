use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type, UInt16Type, UInt32Type};
use arrow::ipc::reader::StreamReader;

use super::*;

fn parent(id: u8) -> Value {
    json!({ "parent_span_id": format!("{id:02x}").repeat(8) })
}

fn trace() -> Vec<Value> {
    vec![
        with(span(1, "api", "GET /", 0, 10 * SECOND), json!({"attributes": [["http.route", "s", "/"], ["n", "i", 7]]})),
        with(with(span(3, "fn", "run", 2, SECOND), parent(1)), json!({"status_code": "ERROR", "function": "f"})),
        with(
            with(span(2, "fn", "start", 1, 3 * SECOND), parent(1)),
            json!({
                "faas_coldstart": true,
                "links": [{"trace_id": TRACE, "span_id": "0101010101010101", "attributes": "{}"}],
                "events": [{"time": 1, "name": "e", "attributes": "{}"}],
            }),
        ),
        with(span(4, "db", "query", 3, 1), parent(3)),
        with(span(5, "lost", "late", 9, 1), parent(99)),
        // Stored twice.
        with(span(4, "db", "query", 3, 1), parent(3)),
    ]
}

#[tokio::test]
async fn a_trace_as_otlp() {
    everywhere(Table::Spans, &trace(), async |api| {
        let got = api.get(&format!("/api/v1/traces/{}", TRACE.to_uppercase())).await;
        assert_eq!(got["complete"], json!(false));
        assert_eq!(got["partial"], json!({"missing_parents": 1, "roots": 1}));
        let mut names = Vec::new();
        for resource in got["resourceSpans"].as_array().unwrap() {
            for scope in resource["scopeSpans"].as_array().unwrap() {
                names.extend(pick(&scope["spans"], "name"));
            }
        }
        assert_eq!(names, ["GET /", "start", "run", "query", "late"]);
        let first = &got["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(first["attributes"][0], json!({"key": "http.route", "value": {"stringValue": "/"}}));
        assert_eq!(first["attributes"][1], json!({"key": "n", "value": {"intValue": "7"}}));
    })
    .await;
}

#[tokio::test]
async fn a_whole_trace_says_so() {
    let api = Api::with(Table::Spans, &trace()[..4]);
    let got = api.get(&format!("/api/v1/traces/{TRACE}?start=-1h")).await;
    assert_eq!((&got["complete"], &got["partial"]["roots"]), (&json!(true), &json!(1)));
}

#[tokio::test]
async fn both_formats_count_the_spans_of_a_shared_id() {
    let rows = [
        with(span(1, "client", "GET", 0, 10), json!({"kind": "CLIENT"})),
        span(1, "server", "GET", 0, 5),
        with(span(2, "fn", "run", 1, 1), parent(77)),
        with(span(2, "fn", "run again", 1, 1), parent(77)),
        // Stored twice.
        span(1, "server", "GET", 0, 5),
    ];
    everywhere(Table::Spans, &rows, async |api| {
        let path = format!("/api/v1/traces/{TRACE}");
        assert_eq!(api.get(&path).await["partial"], json!({"missing_parents": 2, "roots": 2}));
        let (_, _, body) = api.ask(&path, Some("application/vnd.apache.arrow.stream")).await;
        let metadata = StreamReader::try_new(body.as_slice(), None).unwrap().schema().metadata().clone();
        assert_eq!((metadata["missing_parents"].as_str(), metadata["roots"].as_str()), ("2", "2"));
    })
    .await;
}

#[tokio::test]
async fn a_large_trace_comes_in_pieces() {
    let rows: Vec<Value> = (0..4_000u32)
        .map(|i| {
            with(
                span(1, "api", "GET /", 0, 1),
                json!({
                    "span_id": format!("{:016x}", i + 1), "attributes": [["text", "s", "x".repeat(300)]],
                }),
            )
        })
        .collect();
    let api = Api::with(Table::Spans, &rows);
    let got = api.get(&format!("/api/v1/traces/{TRACE}")).await;
    assert_eq!(got["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().len(), 4_000);
}

#[tokio::test]
async fn a_trace_as_arrow() {
    everywhere(Table::Spans, &trace(), async |api| {
        let path = format!("/api/v1/traces/{TRACE}");
        let (status, content_type, body) = api.ask(&path, Some("application/vnd.apache.arrow.stream")).await;
        assert_eq!((status, content_type.as_str()), (StatusCode::OK, "application/vnd.apache.arrow.stream"));
        let reader = StreamReader::try_new(body.as_slice(), None).unwrap();
        let metadata = reader.schema().metadata().clone();
        let expected = [
            ("trace_id", TRACE),
            ("start_time_unix_nano", &T0.to_string()),
            ("spans", "5"),
            ("rows", "5"),
            ("complete", "false"),
            ("missing_parents", "1"),
            ("roots", "1"),
            ("duration_ns", "10000000000"),
        ];
        for (name, value) in expected {
            assert_eq!(metadata.get(name).map(String::as_str), Some(value), "{name}");
        }
        let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
        let rows = &batches[0];
        let text = |column: &str| {
            let array = rows[column].as_dictionary::<Int32Type>();
            let words = array.values().as_string::<i32>();
            array.keys().iter().map(|k| k.map_or("-", |k| words.value(k as usize)).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(text("name"), ["GET /", "start", "run", "query", "late"]);
        assert_eq!(text("service"), ["api", "fn", "fn", "db", "lost"]);
        assert_eq!(text("function"), ["-", "-", "f", "-", "-"]);
        assert_eq!(text("status")[2], "ERROR");
        assert_eq!(rows["parent_row"].as_primitive::<Int32Type>().values(), &[-1, 0, 0, 2, -1]);
        assert_eq!(rows["depth"].as_primitive::<UInt32Type>().values(), &[0, 1, 1, 2, 0]);
        assert_eq!(rows["children"].as_primitive::<UInt32Type>().values(), &[2, 0, 1, 0, 0]);
        assert_eq!(rows["descendants"].as_primitive::<UInt32Type>().values(), &[3, 0, 1, 0, 0]);
        let seconds = [0, 1, 2, 3, 9].map(|s| s * SECOND);
        assert_eq!(rows["start"].as_primitive::<Int64Type>().values(), &seconds);
        assert_eq!(rows["self_time"].as_primitive::<Int64Type>().value(0), 7 * SECOND);
        // Cold start, links and events; error; parent missing.
        assert_eq!(rows["flags"].as_primitive::<UInt16Type>().values(), &[0, 4 | 8 | 16, 1, 0, 2]);
        assert_eq!(rows["span_id"].as_fixed_size_binary().value(1), [2; 8]);
    })
    .await;
}

#[tokio::test]
async fn the_first_batch_of_a_waterfall_is_small() {
    let rows: Vec<Value> = (0..1_000u32)
        .map(|i| with(span(1, "api", "GET /", 0, 1), json!({"span_id": format!("{:016x}", i + 1)})))
        .collect();
    let api = Api::with(Table::Spans, &rows);
    let arrow = Some("application/json;q=0.5, application/vnd.apache.arrow.stream");
    let sizes = async |path: String| {
        let (_, _, body) = api.ask(&path, arrow).await;
        let reader = StreamReader::try_new(body.as_slice(), None).unwrap();
        let metadata = reader.schema().metadata().clone();
        (metadata, reader.map(|b| b.unwrap().num_rows()).collect::<Vec<_>>())
    };
    assert_eq!(sizes(format!("/api/v1/traces/{TRACE}")).await.1, [256, 744]);
    let (metadata, cut) = sizes(format!("/api/v1/traces/{TRACE}?limit=10")).await;
    assert_eq!(cut, [10]);
    assert_eq!((metadata["spans"].as_str(), metadata["rows"].as_str()), ("1000", "10"));
    assert_eq!(metadata["complete"], "false");
}

#[tokio::test]
async fn what_is_no_trace() {
    let api = Api::with(Table::Spans, &trace());
    api.refused("/api/v1/traces/02020202020202020202020202020202", 404, "there is no trace 0202").await;
    api.refused("/api/v1/traces/xyz", 400, "parameter trace_id=xyz").await;
    api.refused("/api/v1/traces/0102", 400, "32 hexadecimal digits").await;
    api.refused(&format!("/api/v1/traces/{TRACE}?strat=1"), 400, "did you mean start?").await;
    api.refused(&format!("/api/v1/traces/{TRACE}/spans/0909090909090909"), 404, "there is no span 0909").await;
    api.refused(&format!("/api/v1/traces/{TRACE}/spans/1"), 400, "parameter span_id=1").await;
    let (status, _, _) = api.ask(&format!("/api/v1/traces/{TRACE}"), Some("text/html")).await;
    assert_eq!(status, StatusCode::NOT_ACCEPTABLE);
}

#[tokio::test]
async fn a_span_with_its_links_both_ways() {
    everywhere(Table::Spans, &trace(), async |api| {
        let got = api.get(&format!("/api/v1/traces/{TRACE}/spans/0101010101010101")).await;
        let span = &got["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(span["name"], json!("GET /"));
        assert_eq!(pick(&got["links_in"]["spans"], "name"), ["start"]);
        assert_eq!(got["links_in"]["searched_from"], json!("2026-11-21T09:00:00.000000000Z"));
        assert_eq!(got["complete"], json!(true));
        let got = api.get(&format!("/api/v1/traces/{TRACE}/spans/0202020202020202")).await;
        let span = &got["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(span["links"], json!([{"traceId": TRACE, "spanId": "0101010101010101"}]));
        assert_eq!(got["links_in"]["spans"], json!([]));
    })
    .await;
}
