//! `/search` and `/logs`.

use super::*;

fn spans() -> Vec<Value> {
    vec![
        with(
            span(1, "shop", "GET /cart", 0, 5_000),
            json!({
                "attributes": [["http.route", "s", "/cart"], ["app.items", "i", 3], ["user", "s", "ann"]],
            }),
        ),
        with(
            span(2, "shop", "GET /pay", 10, 900_000_000),
            json!({
                "status_code": "ERROR", "status_message": "no money", "function": "pay",
                "attributes": [["http.route", "s", "/pay"], ["app.items", "i", 10], ["ratio", "d", 0.5], ["user", "s", "7"]],
            }),
        ),
        with(
            span(3, "db", "SELECT", 20, 2_000_000),
            json!({"kind": "CLIENT", "attributes": [["app.items", "s", "ten"], ["ok", "b", true]]}),
        ),
        // Two at the same time.
        span(5, "queue", "send", 30, 7),
        span(4, "queue", "send", 30, 7),
    ]
}

#[track_caller]
fn ids(answer: &Value) -> String {
    pick(&answer["spans"], "span_id").iter().map(|id| id[1..2].to_owned()).collect()
}

#[tokio::test]
async fn every_condition_of_a_search() {
    everywhere(Table::Spans, &spans(), async |api| {
        for (query, expected) in [
            ("", "45321"),
            ("service=shop", "21"),
            ("service=shop&service=db", "321"),
            ("operation=send", "45"),
            ("function=pay", "2"),
            ("kind=client", "3"),
            ("status=error", "2"),
            ("min_duration=1ms", "32"),
            ("min_duration=1ms&max_duration=10ms", "3"),
            ("max_duration=7", "45"),
            ("attr=http.route=/pay", "2"),
            ("attr=app.items>5", "2"),
            ("attr=app.items", "321"),
            ("attr=app.items!=3", "32"),
            ("attr=app.items=ten", "3"),
            ("attr=user=7", "2"),
            ("attr=user=ann", "1"),
            ("attr=ratio=0.5", "2"),
            ("attr=ok=true", "3"),
            ("attr=!user&service=shop", ""),
            ("attr=!app.items", "45"),
            ("attr=http.route!=/pay", "1"),
            ("attr=app.items>1&attr=user<z", "21"),
            ("attr=nobody.sent.this=1", ""),
            ("attr=it%27s=%27%20OR%201%3D1", ""),
            ("resource_attr=k8s.pod.name=pod-3", "3"),
            ("resource_attr=cpus>3&service=db", "3"),
            ("resource_attr=!k8s.pod.name", ""),
            ("start=2026-11-21T10:00:20Z", "453"),
            ("end=2026-11-21T10:00:20Z", "21"),
            ("order=slowest&limit=3", "231"),
            ("limit=2", "45"),
        ] {
            let got = api.get(&format!("/api/v1/search?{query}")).await;
            assert_eq!(ids(&got), expected, "{query}");
        }
    })
    .await;
}

#[tokio::test]
async fn numbers_that_doubles_cannot_tell_apart() {
    let resource = |n: i64| json!({"resource": format!(r#"{{"attributes":{{"n.int":{n}}}}}"#)});
    let rows = [
        with(
            span(1, "a", "n", 1, 1),
            with(resource(9_007_199_254_740_993), json!({"attributes": [["id", "i", 1_234_567_890_123_456_789_i64]]})),
        ),
        with(span(2, "a", "n", 2, 1), json!({"attributes": [["id", "i", 1_234_567_890_123_456_790_i64]]})),
        with(span(3, "a", "n", 3, 1), json!({"attributes": [["id", "d", 5.0]]})),
        with(span(4, "a", "n", 4, 1), json!({"attributes": [["id", "s", "-Infinity"]]})),
    ];
    everywhere(Table::Spans, &rows, async |api| {
        for (query, expected) in [
            ("attr=id=1234567890123456789", "1"),
            ("attr=id!=1234567890123456789", "432"),
            ("attr=id>1234567890123456789", "2"),
            ("attr=id>=1234567890123456790", "2"),
            ("attr=id<1234567890123456790", "431"),
            ("attr=id<=1234567890123456789&attr=id>5.5", "1"),
            ("attr=id=5", "3"),
            ("attr=id=-inf", "4"),
            ("attr=id!=Infinity", "4321"),
            ("attr=id=-Infinity", "4"),
            ("resource_attr=n.int>9007199254740992", "1"),
            ("resource_attr=n.int=9007199254740992", ""),
            ("resource_attr=n.int<9007199254740993", ""),
        ] {
            let got = api.get(&format!("/api/v1/search?{query}")).await;
            assert_eq!(ids(&got), expected, "{query}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_found_span() {
    let api = Api::with(Table::Spans, &spans());
    let got = api.get("/api/v1/search?status=ERROR").await;
    assert_eq!(
        got,
        json!({
            "spans": [{
                "trace_id": TRACE, "span_id": "0202020202020202", "service": "shop", "function": "pay", "name": "GET /pay",
                "kind": "SERVER", "start_time": "2026-11-21T10:00:10.000000000Z",
                "start_time_unix_nano": (T0 + 10 * SECOND).to_string(), "duration_ns": 900_000_000,
                "status": "ERROR", "status_message": "no money", "error": true,
                "attributes": {"http.route": "/pay", "app.items": 10, "ratio": 0.5, "user": "7"},
            }],
            "complete": true,
        })
    );
}

#[tokio::test]
async fn pages_of_a_search_have_each_span_once() {
    // Of one time and one duration, so that only the ids order them; the first stored twice.
    let mut rows: Vec<Value> = (1..=20).map(|id| span(id, "s", "n", 0, 1)).collect();
    rows.push(span(1, "s", "n", 0, 1));
    everywhere(Table::Spans, &rows, async |api| {
        for order in ["newest", "slowest"] {
            let (mut all, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
            loop {
                let got = api.get(&format!("/api/v1/search?order={order}&limit=3&start=-3000d{cursor}")).await;
                all.extend(pick(&got["spans"], "span_id"));
                pages += 1;
                match got["cursor"].as_str() {
                    Some(next) => {
                        assert_eq!(got["complete"], json!(false));
                        assert!(got["reason"].as_str().unwrap().contains("limit of 3"));
                        cursor = format!("&cursor={next}");
                    }
                    None => {
                        assert_eq!(got["complete"], json!(true));
                        break;
                    }
                }
            }
            let expected: Vec<String> = (1..=20).map(|id| format!("{id:02x}").repeat(8)).collect();
            assert_eq!(all, expected, "{order}");
            assert_eq!(pages, 7);
        }
    })
    .await;
}

/// As where a client's span and the server's share their ids.
#[tokio::test]
async fn different_spans_that_share_ids_and_time_are_all_found() {
    let mut rows: Vec<Value> = (1..=5).map(|id| span(id, "front", "call", 0, 1)).collect();
    rows.extend((1..=5).map(|id| span(id, "back", "serve", 0, 1)));
    rows.extend((1..=5).map(|id| span(id, "front", "call", 0, 1)));
    everywhere(Table::Spans, &rows, async |api| {
        for (order, limit) in [("newest", 3), ("slowest", 2), ("newest", 1)] {
            let (mut all, mut cursor) = (Vec::new(), Some(String::new()));
            while let Some(at) = cursor {
                let got = api.get(&format!("/api/v1/search?order={order}&limit={limit}&start=-3000d{at}")).await;
                let ids = pick(&got["spans"], "span_id");
                all.extend(ids.into_iter().zip(pick(&got["spans"], "service")));
                cursor = got["cursor"].as_str().map(|next| format!("&cursor={next}"));
            }
            all.sort();
            let expected: Vec<_> = (1..=5)
                .flat_map(|id| ["back", "front"].map(|s| (format!("{id:02x}").repeat(8), s.to_owned())))
                .collect();
            assert_eq!(all, expected, "{order} {limit}");
        }
    })
    .await;
}

#[tokio::test]
async fn bad_parameters_of_a_search() {
    let api = Api::with(Table::Spans, &spans());
    for (query, expected) in [
        ("servise=a", "there is no parameter servise: did you mean service?"),
        ("kind=SERVE", "parameter kind=SERVE: one of UNSPECIFIED, INTERNAL, SERVER"),
        ("status=bad", "one of UNSET, OK, ERROR"),
        ("min_duration=fast", "parameter min_duration=fast: a duration such as 10ms"),
        ("min_duration=2s&max_duration=1s", "max_duration must not be less"),
        ("attr==x", "parameter attr==x: key=value"),
        ("start=yesterday", "parameter start=yesterday: a time such as"),
        ("start=-1h&end=-2h", "end must be later than start"),
        ("order=oldest", "one of newest, slowest"),
        ("limit=0", "a number from 1 to 1000"),
        ("limit=1001", "a number from 1 to 1000"),
        ("limit=1&limit=2", "limit is given more than once"),
        ("cursor=AAAA", "cursor is not one that this server gave"),
    ] {
        api.refused(&format!("/api/v1/search?{query}"), 400, expected).await;
    }
    let cursor = api.get("/api/v1/search?limit=1").await["cursor"].as_str().unwrap().to_owned();
    api.refused(&format!("/api/v1/search?service=db&cursor={cursor}"), 400, "other parameters").await;
    api.refused(&format!("/api/v1/logs?cursor={cursor}x"), 400, "parameter cursor").await;
    // A cursor that was changed leads nowhere.
    for at in 0..cursor.len() {
        let mut changed = cursor.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        api.refused(&format!("/api/v1/search?limit=1&cursor={changed}"), 400, "parameter cursor").await;
    }
}

fn log(at: i64, body: &str, members: Value) -> Value {
    let row = json!({
        "time": T0 + at * SECOND, "service": "shop", "severity_number": 9, "severity_text": "INFO", "body": body,
        "scope_name": "lib",
    });
    with(row, members)
}

fn logs() -> Vec<Value> {
    vec![
        log(0, "Started", json!({"invocation_id": "i-1", "attributes": [["k", "s", "v"]]})),
        log(1, "Größe ÄNDERN", json!({"trace_id": TRACE, "span_id": "0101010101010101", "function": "f"})),
        log(
            2,
            r#"{"level":"error","n":[1,2.5]}"#,
            json!({"body_is_json": true, "severity_number": 17, "service": "db"}),
        ),
        log(3, "a", json!({"severity_number": 0})),
        log(3, "b", json!({})),
        log(3, "c", json!({"observed_time": T0})),
    ]
}

#[tokio::test]
async fn every_condition_of_logs() {
    everywhere(Table::Logs, &logs(), async |api| {
        for (query, expected) in [
            ("", "3 3 3 2 1 0"),
            ("order=oldest", "0 1 2 3 3 3"),
            ("service=db", "2"),
            ("function=f", "1"),
            ("severity_min=warn", "2"),
            ("severity_min=9", "3 3 2 1 0"),
            ("text=gr%C3%B6sse", ""),
            ("text=GR%C3%96%C3%9FE", "1"),
            ("text=%C3%A4ndern", "1"),
            ("text=LEVEL", "2"),
            ("text=100%25", ""),
            (&format!("trace_id={TRACE}"), "1"),
            (&format!("trace_id={TRACE}&span_id=0202020202020202"), ""),
            ("invocation_id=i-1", "0"),
            ("attr=k=v", "0"),
            ("attr=k>a&start=2026-11-21T10:00:00Z&end=2026-11-21T10:00:01Z", "0"),
        ] {
            let got = api.get(&format!("/api/v1/logs?{query}")).await;
            let times: Vec<String> = pick(&got["logs"], "time_unix_nano")
                .iter()
                .map(|t| ((t.parse::<i64>().unwrap() - T0) / SECOND).to_string())
                .collect();
            assert_eq!(times.join(" "), expected, "{query}");
        }
        let structured = api.get("/api/v1/logs?service=db").await;
        assert_eq!(structured["logs"][0]["body"], json!({"level": "error", "n": [1, 2.5]}));
    })
    .await;
}

#[tokio::test]
async fn pages_of_logs_have_each_record_once() {
    let mut rows: Vec<Value> = (0..10).map(|i| log(5, &format!("{i}"), json!({}))).collect();
    rows.extend((0..5).map(|i| log(6, &format!("x{i}"), json!({}))));
    everywhere(Table::Logs, &rows, async |api| {
        for (order, limit) in [("newest", 2), ("oldest", 4), ("newest", 7)] {
            let (mut all, mut cursor) = (Vec::new(), String::new());
            loop {
                let got = api.get(&format!("/api/v1/logs?order={order}&limit={limit}{cursor}")).await;
                all.extend(pick(&got["logs"], "body"));
                match got["cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            let mut expected: Vec<Vec<String>> =
                vec![(0..10).map(|i| i.to_string()).collect(), (0..5).map(|i| format!("x{i}")).collect()];
            if order == "newest" {
                expected.reverse();
            }
            assert_eq!(all, expected.concat(), "{order} {limit}");
        }
    })
    .await;
}
