//! The description against what is answered.

use std::collections::BTreeSet;

use super::*;

/// A request for each operation that must be answered well.
const REQUESTS: [(&str, &str); 22] = [
    ("/api/v1/sql", "/api/v1/sql?query=SELECT%20name%20FROM%20spans"),
    ("/api/v1/traces/{trace_id}", "/api/v1/traces/01010101010101010101010101010101"),
    (
        "/api/v1/traces/{trace_id}/spans/{span_id}",
        "/api/v1/traces/01010101010101010101010101010101/spans/0101010101010101",
    ),
    ("/api/v1/flows/{trace_id}", "/api/v1/flows/01010101010101010101010101010101"),
    ("/api/v1/flows", "/api/v1/flows?invocation_id=i1"),
    ("/api/v1/hops", "/api/v1/hops?start=2026-11-21T09:30:00Z&end=2026-11-21T10:30:00Z"),
    ("/api/v1/functions", "/api/v1/functions?start=2026-11-21T09:30:00Z&end=2026-11-21T10:30:00Z"),
    ("/api/v1/functions/{function}", "/api/v1/functions/orders?start=2026-11-21T09:30:00Z&end=2026-11-21T10:30:00Z"),
    ("/api/v1/invocations", "/api/v1/invocations?limit=1&start=2026-11-21T09:30:00Z&end=2026-11-21T10:30:00Z"),
    ("/api/v1/invocations/{invocation_id}", "/api/v1/invocations/i1"),
    ("/api/v1/search", "/api/v1/search?limit=1"),
    ("/api/v1/logs", "/api/v1/logs?limit=1"),
    ("/api/v1/metrics", "/api/v1/metrics?limit=1"),
    (
        "/api/v1/metrics/query",
        "/api/v1/metrics/query?name=m&by=service&start=2026-11-21T09:30:00Z&end=2026-11-21T10:30:00Z",
    ),
    ("/api/v1/services", "/api/v1/services?details=true"),
    ("/api/v1/operations", "/api/v1/operations"),
    ("/api/v1/attributes", "/api/v1/attributes"),
    ("/api/v1/attributes/{key}/values", "/api/v1/attributes/k/values"),
    ("/api/v1/attributes/{key}/values", "/api/v1/attributes/service.name/values?level=resource"),
    ("/api/v1/status", "/api/v1/status"),
    ("/api/v1/openapi.json", "/api/v1/openapi.json"),
    ("/api/v1/tail", ""),
];

/// What is described of one answer, wherever it stands.
fn response_of<'a>(document: &'a Value, path: &str, method: &str, status: &str) -> &'a Value {
    let response = &document["paths"][path][method]["responses"][status];
    match response["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Null),
        None => response,
    }
}

/// Asserts that the answer to `request`, good or bad, is described; its status.
async fn described(api: &Api, document: &Value, path: &str, request: &str, accept: Option<&str>) -> u16 {
    let (status, content_type, body) = api.ask(request, accept).await;
    let response = response_of(document, path, "get", status.as_str());
    let schema = &response["content"][&content_type]["schema"];
    assert!(schema.is_object(), "{request}: {status} {content_type} is not described");
    fits(&serde_json::from_slice(&body).unwrap(), schema, document, request);
    status.as_u16()
}

async fn filled() -> Api {
    let attributes = json!({"attributes": [["k", "s", "v"]]});
    let api = Api::with(
        Table::Spans,
        &[
            with(span(1, "s", "n", 0, 1), with(attributes.clone(), json!({"function": "f"}))),
            with(
                span(2, "s", "n", 0, 1),
                json!({
                    "parent_span_id": "0101010101010101",
                    "links": [{"trace_id": TRACE, "span_id": "0101010101010101", "attributes": "{}"}],
                }),
            ),
        ],
    );
    let log = |at: i64| {
        json!({"time": T0 + at, "body": "b", "trace_id": TRACE, "span_id": "0101010101010101",
        "observed_time": T0, "function": "f", "invocation_id": "i"})
    };
    api.add(Table::Logs, &[log(1), log(2)]);
    let point = |name: &str| json!({"time": T0, "name": name, "type": "sum", "temporality": "delta", "is_monotonic": true, "value": 1.0});
    api.add(Table::Metrics, &[point("m"), point("n")]);
    // A flow over a queue with all that may be told of one, and what became of its invocations.
    let order = "
        a p - producer shop        0 0.5 send=orders:m1
        t1 c - consumer shop/orders 1 1.1 receive=orders:m1
        t2 c - consumer shop/orders 9 9.5 receive=orders:m1
        a l - producer shop        0 0.5 send=orders:m2
        t1 m x consumer shop/orders 1 1.1 receive=orders:m3
        b m - producer shop        0 0.5 send=orders:m4
        t1 n - consumer shop/orders 1 1.1 receive=orders:m4
        c s - server front 0 5
        c r s server back 1 2
    ";
    api.ingest(&story(&format!("{}{order}", super::invocations::SPANS)), &platform(super::invocations::RECORDS));
    api.flush();
    api
}

/// The members of all the parts: one answer that has those of another among its own.
fn joined(parts: &[Value], document: &Value) -> Value {
    let mut joined = json!({"type": "object", "properties": {}, "required": []});
    for part in parts {
        let part = match part["$ref"].as_str() {
            Some(reference) => {
                document.pointer(reference.trim_start_matches('#')).unwrap_or_else(|| panic!("{reference}"))
            }
            None => part,
        };
        let part = match part["allOf"].as_array() {
            Some(parts) => self::joined(parts, document),
            None => part.clone(),
        };
        let properties = joined["properties"].as_object_mut().unwrap();
        properties.extend(part["properties"].as_object().unwrap_or_else(|| panic!("{part}")).clone());
        joined["required"].as_array_mut().unwrap().extend(part["required"].as_array().into_iter().flatten().cloned());
    }
    joined
}

/// Asserts that `value` is as `schema` says, members and all.
fn fits(value: &Value, schema: &Value, document: &Value, place: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#')).unwrap_or_else(|| panic!("{reference}"));
        return fits(value, target, document, place);
    }
    if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
        return fits(value, &joined(parts, document), document, place);
    }
    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
        let wanted = choices.iter().find(|c| (c["type"] == json!("null")) == value.is_null());
        return fits(value, wanted.unwrap_or_else(|| panic!("{place}: {value}")), document, place);
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => return,
    };
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    assert!(
        types.contains(&is) || (is == "integer" && types.contains(&"number")),
        "{place}: {is}, not {types:?}: {value}"
    );
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{place}: {value}");
    }
    if let Value::Array(items) = value {
        items.iter().for_each(|item| fits(item, &schema["items"], document, place));
    }
    if let (Value::Object(members), Some(properties)) = (value, schema["properties"].as_object()) {
        for (name, member) in members {
            let described = properties.get(name).unwrap_or_else(|| panic!("{place}: {name} is not described"));
            fits(member, described, document, &format!("{place}.{name}"));
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            assert!(members.contains_key(name.as_str().unwrap()), "{place}: {name} is missing");
        }
    }
}

#[tokio::test]
async fn every_operation_answers_as_it_is_described() {
    let api = filled().await;
    let document = api.get("/api/v1/openapi.json").await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let described: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(described, REQUESTS.iter().map(|(path, _)| *path).collect());
    for (path, request) in REQUESTS {
        let responses = &document["paths"][path]["get"]["responses"];
        assert!(responses.is_object(), "{path} is not described");
        if !request.is_empty() {
            let (status, content_type, body) = api.ask(request, None).await;
            let body: Value = serde_json::from_slice(&body).unwrap_or_else(|e| panic!("{request}: {e}"));
            let schema = &responses[status.as_str()]["content"][&content_type]["schema"];
            assert_eq!(status, StatusCode::OK, "{request}: {body}");
            assert!(schema.is_object(), "{request}: {content_type} is not described");
            fits(&body, schema, &document, request);
        }
        // Every answer that is described has a body that is.
        for (status, response) in responses.as_object().unwrap() {
            let content = response_of(&document, path, "get", status)["content"].clone();
            assert!(content.as_object().is_some_and(|c| !c.is_empty()), "{path} {status}: {response}");
        }
        // An unknown parameter.
        let query = if request.contains('?') { "&nonsense=1" } else { "?nonsense=1" };
        let bad = if request.is_empty() { format!("{path}{query}") } else { format!("{request}{query}") };
        let (status, content_type, body) = api.ask(&bad, None).await;
        assert_eq!((status.as_u16(), content_type.as_str()), (400, "application/problem+json"), "{bad}");
        let schema = &responses["400"]["content"][&content_type]["schema"];
        assert!(schema.is_object(), "{bad}: its refusal is not described");
        fits(&serde_json::from_slice(&body).unwrap(), schema, &document, &bad);
    }
}

#[tokio::test]
async fn every_format_that_is_described_is_given() {
    let api = filled().await;
    let document = api.get("/api/v1/openapi.json").await;
    for (path, request) in REQUESTS.iter().filter(|(_, request)| !request.is_empty()) {
        let formats = document["paths"][path]["get"]["responses"]["200"]["content"].as_object().unwrap();
        for format in formats.keys() {
            let (status, content_type, body) = api.ask(request, Some(format)).await;
            assert_eq!(status, StatusCode::OK, "{request} {format}");
            assert!(content_type.starts_with(format), "{request}: {content_type}, not {format}");
            assert!(!body.is_empty(), "{request} {format}");
        }
    }
    let (status, ..) = api.ask("/api/v1/traces/0202", Some("application/json")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn every_parameter_that_is_described_is_taken() {
    let api = filled().await;
    let document = api.get("/api/v1/openapi.json").await;
    for (path, request) in REQUESTS.iter().filter(|(path, _)| *path != "/api/v1/sql" && *path != "/api/v1/tail") {
        for parameter in document["paths"][path]["get"]["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["description"].is_string(), "{path}: {parameter} says nothing");
            let name = parameter["name"].as_str().unwrap();
            if parameter["in"] == json!("query") && !request.contains(&format!("{name}=")) {
                let separator = if request.contains('?') { '&' } else { '?' };
                let example = match &parameter["example"] {
                    Value::Array(several) => several[0].as_str().unwrap_or_default(),
                    other => other.as_str().unwrap_or_default(),
                };
                let with_it = format!("{request}{separator}{name}={example}");
                let (status, _, body) = api.ask(&with_it, None).await;
                // A value that does not fit the others is refused; the name is known.
                assert!(!String::from_utf8_lossy(&body).contains("there is no parameter"), "{with_it}: {status}");
            }
        }
    }
}

#[tokio::test]
async fn parameters_are_required_where_nothing_is_answered_without_them() {
    let api = filled().await;
    let document = api.get("/api/v1/openapi.json").await;
    // Of these one is required, which the description can only say in words.
    let is_told = |path: &str, request: &str| path != "/api/v1/flows" && !request.is_empty();
    for (path, request) in REQUESTS.iter().filter(|(path, request)| is_told(path, request)) {
        for parameter in document["paths"][path]["get"]["parameters"].as_array().into_iter().flatten() {
            let (name, place) = (parameter["name"].as_str().unwrap(), parameter["in"].as_str().unwrap());
            let required = parameter["required"] == json!(true);
            if place == "path" {
                assert!(required, "{path}: {name}");
                continue;
            }
            let (address, query) = request.split_once('?').unwrap_or((request, ""));
            let others: Vec<&str> = query.split('&').filter(|p| !p.starts_with(&format!("{name}="))).collect();
            let (status, ..) = api.ask(&format!("{address}?{}", others.join("&")), None).await;
            assert_eq!(status == StatusCode::BAD_REQUEST, required, "{path}: {name} {status}");
        }
    }
}

#[tokio::test]
async fn both_ways_to_send_sql_take_the_same() {
    let api = Api::new();
    let document = api.get("/api/v1/openapi.json").await;
    let names = |method: &str| {
        let parameters = document["paths"]["/api/v1/sql"][method]["parameters"].as_array().unwrap();
        parameters.iter().map(|p| p["name"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let in_body = ["query", "params"].map(str::to_owned);
    assert_eq!(names("get"), names("post").into_iter().chain(in_body.clone()).collect());
    let members = document["components"]["schemas"]["SqlRequest"]["properties"].as_object().unwrap();
    assert_eq!(names("get"), members.keys().cloned().collect());
    for status in ["406", "429", "500", "503", "504", "507"] {
        let content = &response_of(&document, "/api/v1/sql", "post", status)["content"];
        assert!(content["application/problem+json"].is_object(), "{status}");
    }
}

#[tokio::test]
async fn what_a_busy_or_damaged_server_answers_is_described() {
    let document = filled().await.get("/api/v1/openapi.json").await;
    let requests = || REQUESTS.into_iter().filter(|(_, request)| !request.is_empty());
    let mut seen = BTreeSet::new();

    let mut busy = filled().await;
    let config = crate::engine::Config { concurrent_max: 1, queue_ms: 1, ..Default::default() };
    let engine = crate::engine::tests::engine_with(&busy.kept, config);
    let endless = engine.session("default", engine.limits("test"));
    let held = endless.sql("SELECT * FROM generate_series(1, 1000000000000)", crate::Params::None).await.unwrap();
    busy.router = crate::router(engine);
    for (path, request) in requests() {
        seen.insert(described(&busy, &document, path, request, None).await);
        seen.insert(described(&busy, &document, path, request, Some("text/html")).await);
    }
    drop(held);

    let damaged = filled().await;
    super::damaged::every_file(&damaged.kept, |file| std::fs::remove_file(file).unwrap());
    for (path, request) in requests() {
        seen.insert(described(&damaged, &document, path, request, None).await);
    }
    assert_eq!(seen, BTreeSet::from([200, 406, 429, 503]));
}
