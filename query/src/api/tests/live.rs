//! `/tail`.

use std::time::Duration;

use super::*;

struct Live {
    sender: broadcast::Sender<(Table, Arc<RecordBatch>)>,
    router: Router,
    _kept: Kept,
}

impl Live {
    fn new() -> Self {
        let kept = Kept::new();
        let (sender, _) = broadcast::channel(2);
        let source = sender.clone();
        let tail: Tail = Arc::new(move || source.subscribe());
        let router = crate::router_with(ApiState { engine: engine(&kept), tail: Some(tail), started: Instant::now() });
        Self { sender, router, _kept: kept }
    }

    async fn follow(&self, path: &str, accept: &str) -> Body {
        let request = Request::get(path).header(header::ACCEPT, accept).header(header::ACCEPT_ENCODING, "gzip");
        let answer = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.into_body()
    }

    fn store(&self, table: Table, rows: &[Value]) {
        self.sender.send((table, Arc::new(batch(table, rows)))).unwrap();
    }
}

async fn next(body: &mut Body) -> String {
    let frame = tokio::time::timeout(Duration::from_secs(10), body.frame()).await.expect("in time");
    String::from_utf8(frame.unwrap().unwrap().into_data().unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn spans_are_followed_as_events() {
    let live = Live::new();
    let mut body = live.follow("/api/v1/tail?service=shop&min_duration=2", "text/event-stream").await;
    assert_eq!(next(&mut body).await, ": nothing yet\n\n");
    live.store(Table::Logs, &[json!({"time": 1, "service": "shop"})]);
    live.store(
        Table::Spans,
        &[
            span(1, "db", "no", 0, 5),
            span(2, "shop", "too fast", 0, 1),
            with(span(3, "shop", "secret", 0, 5), json!({"tenant": "acme"})),
            span(4, "shop", "yes", 0, 5),
        ],
    );
    let event = next(&mut body).await;
    let data = event.strip_prefix("event: spans\ndata: ").unwrap().strip_suffix("\n\n").unwrap();
    assert_eq!(serde_json::from_str::<Value>(data).unwrap()["name"], json!("yes"));
}

#[tokio::test]
async fn logs_and_points_are_followed_as_lines_and_what_is_missed_is_said() {
    let live = Live::new();
    let path = "/api/v1/tail?table=logs&severity_min=WARN&text=OUT";
    let mut body = live.follow(path, "application/x-ndjson").await;
    assert_eq!(next(&mut body).await, "\n");
    for at in 0..5 {
        let log = json!({"time": at, "service": "s", "severity_number": 17, "body": "Timed out"});
        live.store(Table::Logs, &[json!({"time": at, "severity_number": 1, "body": "out"}), log]);
    }
    let line: Value = serde_json::from_str(&next(&mut body).await).unwrap();
    assert_eq!(line, json!({"table": "missed", "row": {"batches": 3}}));
    let line: Value = serde_json::from_str(&next(&mut body).await).unwrap();
    assert_eq!((&line["table"], &line["row"]["time_unix_nano"]), (&json!("logs"), &json!("3")));

    let mut body = live.follow("/api/v1/tail?table=metrics&name=g", "application/x-ndjson").await;
    next(&mut body).await;
    live.store(Table::Metrics, &[json!({"time": 1, "name": "g", "type": "gauge", "value": 1.5})]);
    let line: Value = serde_json::from_str(&next(&mut body).await).unwrap();
    assert_eq!(line["row"]["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["name"], json!("g"));
}

#[tokio::test]
async fn it_ends_with_the_server_and_refuses_what_does_not_fit() {
    let live = Live::new();
    let mut body = live.follow("/api/v1/tail", "").await;
    next(&mut body).await;
    let Live { sender, router, _kept } = live;
    drop((sender, router));
    assert!(tokio::time::timeout(Duration::from_secs(10), body.frame()).await.expect("in time").is_none());
    let api = Api::new();
    api.refused("/api/v1/tail", 404, "stores nothing").await;
    api.refused("/api/v1/tail?table=logs&kind=SERVER", 400, "parameter kind is not for table logs").await;
    api.refused("/api/v1/tail?table=spans&text=x", 400, "parameter text is not for table spans").await;
}
