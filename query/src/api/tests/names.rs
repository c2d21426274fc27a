//! Services, operations, attributes and their values, status.

use super::*;

fn spans() -> Vec<Value> {
    vec![
        with(
            span(1, "shop", "GET /cart", 0, 1),
            json!({
                "attributes": [["http.route", "s", "/cart"], ["n", "i", 1], ["http.response.status_code", "i", 200]],
            }),
        ),
        with(
            span(2, "shop", "GET /pay", 10, 1),
            json!({
                "status_code": "ERROR", "function": "pay",
                "attributes": [["http.route", "s", "/pay"], ["n", "i", 1], ["http.response.status_code", "s", "200"]],
            }),
        ),
        with(
            span(3, "db", "SELECT", 20, 1),
            json!({"kind": "CLIENT", "attributes": [["n", "s", "one"], ["n", "i", 2]]}),
        ),
        with(span(4, "secret", "x", 20, 1), json!({"tenant": "acme", "attributes": [["hidden", "s", "one"]]})),
    ]
}

#[tokio::test]
async fn names_of_one_tenant_hot_and_cold() {
    everywhere(Table::Spans, &spans(), async |api| {
        let services = api.get("/api/v1/services").await;
        assert_eq!(services, json!({"services": [{"name": "db"}, {"name": "shop"}], "complete": true}));
        for path in ["services?limit=1", "services?details=true&limit=1", "operations?limit=2"] {
            let got = api.get(&format!("/api/v1/{path}")).await;
            assert_eq!(got["complete"], json!(false), "{path}");
            assert!(got["reason"].as_str().unwrap().starts_with("the limit of "), "{got}");
        }
        assert_eq!(api.get("/api/v1/operations?limit=3").await["complete"], json!(true));
        let detailed = api.get("/api/v1/services?details=true").await;
        assert_eq!(
            detailed["services"],
            json!([
                {"name": "db", "functions": [], "rows": 1, "errors": 0},
                {"name": "shop", "functions": ["pay"], "rows": 2, "errors": 1},
            ])
        );
        let operations = api.get("/api/v1/operations?service=shop").await;
        assert_eq!(
            operations["operations"],
            json!([
                {"service": "shop", "name": "GET /cart", "kind": "SERVER"},
                {"service": "shop", "name": "GET /pay", "kind": "SERVER"},
            ])
        );
        assert_eq!(api.get("/api/v1/operations").await["operations"].as_array().unwrap().len(), 3);
        let attributes = api.get("/api/v1/attributes").await;
        assert_eq!(
            attributes["attributes"],
            json!([
                {"key": "cpus", "level": "resource", "types": ["int"]},
                {"key": "http.response.status_code", "level": "span", "types": ["int", "string"]},
                {"key": "http.route", "level": "span", "types": ["string"]},
                {"key": "k8s.pod.name", "level": "resource", "types": ["string"]},
                {"key": "n", "level": "span", "types": ["int", "string"]},
                {"key": "service.name", "level": "resource", "types": ["string"]},
            ])
        );
        let cut = api.get("/api/v1/attributes?prefix=http.&limit=1").await;
        assert_eq!((cut["attributes"].as_array().unwrap().len(), &cut["complete"]), (1, &json!(false)));
    })
    .await;
}

#[tokio::test]
async fn names_of_one_tenant_alone() {
    // No other tenant, so that nothing is scanned.
    everywhere(Table::Spans, &spans()[..3], async |api| {
        assert_eq!(pick(&api.get("/api/v1/services").await["services"], "name"), ["db", "shop"]);
        let operations = api.get("/api/v1/operations?service=db").await;
        assert_eq!(operations["operations"], json!([{"service": "db", "name": "SELECT", "kind": "CLIENT"}]));
        assert_eq!(pick(&api.get("/api/v1/attributes?prefix=h").await["attributes"], "key").len(), 2);
        assert_eq!(api.get("/api/v1/services?table=logs").await["services"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn values_of_attributes() {
    everywhere(Table::Spans, &spans(), async |api| {
        for (path, expected) in [
            ("http.route/values", json!([["/cart", "string", 1], ["/pay", "string", 1]])),
            ("http.route/values?prefix=/p", json!([["/pay", "string", 1]])),
            ("http.route/values?service=db", json!([])),
            ("n/values", json!([["1", "int", 2], ["one", "string", 1]])),
            ("http.response.status_code/values", json!([["200", "int", 1], ["200", "string", 1]])),
            ("hidden/values", json!([])),
            (
                "k8s.pod.name/values?level=resource&prefix=pod-",
                json!([["pod-1", "string", 1], ["pod-2", "string", 1], ["pod-3", "string", 1]]),
            ),
            ("cpus/values?level=resource", json!([["4", "int", 3]])),
            ("service.name/values?level=resource&start=2026-11-21T10:00:15Z", json!([["db", "string", 1]])),
            ("a%2Fb%20%27c/values", json!([])),
        ] {
            let got = api.get(&format!("/api/v1/attributes/{path}")).await;
            let values: Vec<Value> =
                got["values"].as_array().unwrap().iter().map(|v| json!([v["value"], v["type"], v["count"]])).collect();
            assert_eq!(Value::from(values), expected, "{path}");
            assert_eq!(got["complete"], json!(true), "{path}");
        }
        let cut = api.get("/api/v1/attributes/n/values?limit=1").await;
        assert_eq!((cut["values"].as_array().unwrap().len(), &cut["complete"]), (1, &json!(false)));
    })
    .await;
}

#[tokio::test]
async fn the_status_counts_hot_and_cold() {
    let api = Api::with(Table::Spans, &spans());
    api.flush();
    api.add(Table::Spans, &spans()[..1]);
    let got = api.get("/api/v1/status").await;
    let table = &got["tables"][0];
    assert_eq!((&table["name"], &table["rows"], &table["hot_rows"]), (&json!("spans"), &json!(5), &json!(1)));
    assert_eq!(table["files"], json!(1));
    assert_eq!(table["min_time"], json!("2026-11-21T10:00:00.000000000Z"));
    assert_eq!(got["tables"][1]["rows"], json!(0));
    assert!(got["uptime_seconds"].as_f64().unwrap() >= 0.0);
}

#[tokio::test]
async fn bad_parameters_of_names() {
    let api = Api::new();
    for (path, expected) in [
        ("services?table=traces", "one of spans, logs, metrics"),
        ("services?details=1", "one of true, false"),
        ("operations?servic=x", "did you mean service?"),
        ("attributes?limit=x", "a number from 1 to 10000"),
        ("attributes/k/values?level=span", "one of row, resource"),
        ("status?x=1", "there is no parameter x: this takes none"),
        ("openapi.json?x=1", "there is no parameter x"),
        ("metrics?end=never", "parameter end=never"),
    ] {
        api.refused(&format!("/api/v1/{path}"), 400, expected).await;
    }
    let request = Request::post("/api/v1/services").body(Body::empty()).unwrap();
    let answer = api.router.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
}
