//! What holds for every address: unknown ones, methods, escapes, compression.

use http::Method;

use super::*;

async fn send(api: &Api, request: http::request::Builder) -> http::Response<Body> {
    api.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

#[tokio::test]
async fn an_address_that_names_nothing() {
    let api = Api::new();
    for path in ["/api/v1/nothing", "/api/v1", "/api/v1/", "/api/v2/sql", "/api/v1/search/", "/api/v1/traces"] {
        api.refused(path, 404, "there is nothing at /api/v").await;
    }
    let answer = send(&api, Request::post("/api/v1/nothing")).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_method_that_is_not_there() {
    let api = Api::new();
    for (path, allowed) in [
        ("/api/v1/search", "GET,HEAD"),
        ("/api/v1/sql", "GET,HEAD,POST"),
        ("/api/v1/tail", "GET,HEAD"),
        ("/api/v1/flows", "GET,HEAD"),
        ("/api/v1/invocations/i1", "GET,HEAD"),
    ] {
        for method in [Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH] {
            let answer = send(&api, Request::builder().method(method.clone()).uri(path)).await;
            assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert_eq!(answer.headers()[header::ALLOW], allowed, "{method} {path}");
            assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json", "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_format_that_is_not_made() {
    let api = Api::with(Table::Spans, &[span(1, "s", "n", 0, 1)]);
    let paths = [
        "/api/v1/search",
        "/api/v1/logs",
        "/api/v1/metrics",
        "/api/v1/services",
        "/api/v1/status",
        "/api/v1/openapi.json",
        "/api/v1/hops",
        "/api/v1/functions",
        "/api/v1/invocations",
        &format!("/api/v1/flows/{TRACE}"),
        &format!("/api/v1/traces/{TRACE}"),
        &format!("/api/v1/traces/{TRACE}/spans/0101010101010101"),
        "/api/v1/sql?query=SELECT%201",
    ];
    for path in paths {
        for accept in ["application/xml", "text/html, application/json;q=0"] {
            let (status, content_type, body) = api.ask(path, Some(accept)).await;
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!((status.as_u16(), content_type.as_str()), (406, "application/problem+json"), "{path} {accept}");
            assert_eq!(body["kind"], json!("not_acceptable"), "{path}");
        }
        for accept in ["*/*", "application/json", "text/html, application/*;q=0.5", "application/xml, */*;q=0.1"] {
            assert_eq!(api.ask(path, Some(accept)).await.0, StatusCode::OK, "{path} {accept}");
        }
    }
}

#[tokio::test]
async fn an_address_that_is_escaped_wrongly() {
    let api = Api::new();
    for path in [
        "/api/v1/search?attr=%ff",
        "/api/v1/search?service=%C3",
        "/api/v1/sql?query=SELECT%20%27%ff%27",
        "/api/v1/attributes/%ff/values",
        "/api/v1/traces/%ff",
        "/api/v1/flows/%ff",
        "/api/v1/flows?key=sqs:%ff",
        "/api/v1/functions/%ff",
        "/api/v1/invocations/%ff",
    ] {
        api.refused(path, 400, "is not UTF-8 where it is escaped").await;
    }
    api.refused("/api/v1/logs?text=100%", 400, "the sign itself is written %25").await;
    assert_eq!(api.get("/api/v1/logs?text=100%25&service=%C3%BC").await["logs"], json!([]));
}

#[tokio::test]
async fn answers_are_compressed_for_clients_that_ask() {
    let rows: Vec<Value> = (0..100).map(|i| span(i, "shop", "GET /cart", i64::from(i), 1)).collect();
    let api = Api::with(Table::Spans, &rows);
    for path in
        ["/api/v1/search?limit=100", "/api/v1/sql?query=SELECT+*+FROM+spans", &format!("/api/v1/traces/{TRACE}")]
    {
        let plain = api.ask(path, None).await.2.len();
        for encoding in ["gzip", "zstd"] {
            let answer = send(&api, Request::get(path).header(header::ACCEPT_ENCODING, encoding)).await;
            assert_eq!(answer.headers()[header::CONTENT_ENCODING], encoding, "{path}");
            let packed = answer.into_body().collect().await.unwrap().to_bytes().len();
            assert!(packed * 3 < plain, "{path}: {packed} of {plain}");
        }
    }
}
