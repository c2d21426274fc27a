use super::*;

fn point(name: &str, series: u8, at: i64, members: Value) -> Value {
    let row = json!({
        "name": name, "series_id": format!("{series:02x}").repeat(8), "time": T0 + at * SECOND, "service": "shop",
        "unit": "1", "description": format!("about {name}"),
    });
    with(row, members)
}

fn points() -> Vec<Value> {
    let counter = |series, at, value: f64| {
        let route = if series == 1 { "/a" } else { "/b" };
        point(
            "requests",
            series,
            at,
            json!({
                "type": "sum", "temporality": "cumulative", "is_monotonic": true, "start_time": T0 - 3_600 * SECOND, "value": value,
                "attributes": [["http.route", "s", route]],
            }),
        )
    };
    let delta = |at, value: i64| {
        point(
            "cold_starts",
            3,
            at,
            json!({
                "type": "sum", "temporality": "delta", "is_monotonic": true, "value": value as f64, "value_int": value,
                "service": "fn",
            }),
        )
    };
    let histogram = |at, counts: [u64; 3]| {
        point(
            "latency",
            4,
            at,
            json!({
                "type": "histogram", "temporality": "delta", "count": counts.iter().sum::<u64>(), "sum": 9.0, "unit": "ms",
                "bucket_counts": counts, "explicit_bounds": [10.0, 20.0],
            }),
        )
    };
    vec![
        counter(1, -10, 100.0),
        counter(1, 5, 110.0),
        counter(1, 65, 130.0),
        counter(2, -10, 7.0),
        counter(2, 6, 8.0),
        // A reset.
        counter(2, 66, 3.0),
        delta(1, 2),
        delta(30, 3),
        delta(61, 4),
        histogram(10, [2, 1, 0]),
        histogram(20, [0, 3, 0]),
        point("heap", 5, 10, json!({"type": "gauge", "value": 5.0})),
        point("heap", 6, 11, json!({"type": "gauge", "value": 7.0, "service": "fn"})),
        point("heap", 5, 12, json!({"type": "gauge"})),
    ]
}

const RANGE: &str = "start=2026-11-21T10:00:00Z&end=2026-11-21T10:02:00Z&step=1m";

#[tokio::test]
async fn names_of_metrics() {
    everywhere(Table::Metrics, &points(), async |api| {
        let got = api.get("/api/v1/metrics").await;
        assert_eq!(pick(&got["metrics"], "name"), ["cold_starts", "heap", "latency", "requests"]);
        assert_eq!(
            got["metrics"][3],
            json!({
                "name": "requests", "type": "sum", "unit": "1", "temporality": "cumulative", "is_monotonic": true,
                "description": "about requests", "services": ["shop"],
            })
        );
        assert_eq!(got["metrics"][1]["services"], json!(["fn", "shop"]));
        assert_eq!(pick(&api.get("/api/v1/metrics?prefix=l&service=shop").await["metrics"], "name"), ["latency"]);
        assert_eq!(api.get("/api/v1/metrics?limit=1").await["complete"], json!(false));
    })
    .await;
}

#[tokio::test]
async fn values_of_metrics() {
    let (first, second) = (T0 / 1_000_000, T0 / 1_000_000 + 60_000);
    everywhere(Table::Metrics, &points(), async |api| {
        for (query, expected) in [
            ("name=requests&agg=sum", json!([[{}, [[first, 11.0], [second, 23.0]]]])),
            (
                "name=requests&agg=sum&by=http.route",
                json!([
                    [{"http.route": "/a"}, [[first, 10.0], [second, 20.0]]],
                    [{"http.route": "/b"}, [[first, 1.0], [second, 3.0]]],
                ]),
            ),
            ("name=requests&agg=sum&attr=http.route=/a", json!([[{}, [[first, 10.0], [second, 20.0]]]])),
            ("name=cold_starts&agg=sum", json!([[{}, [[first, 5.0], [second, 4.0]]]])),
            ("name=cold_starts&agg=count", json!([[{}, [[first, 2.0], [second, 1.0]]]])),
            (
                "name=cold_starts&agg=rate&by=service,function",
                json!([
                    [{"service": "fn", "function": null}, [[first, 5.0 / 60.0], [second, 4.0 / 60.0]]],
                ]),
            ),
            ("name=latency&agg=p50", json!([[{}, [[first, 12.5]]]])),
            ("name=latency&agg=count", json!([[{}, [[first, 6.0]]]])),
            ("name=latency&agg=avg", json!([[{}, [[first, 3.0]]]])),
            ("name=heap", json!([[{}, [[first, 6.0]]]])),
            ("name=heap&agg=sum", json!([[{}, [[first, 12.0]]]])),
            (
                "name=heap&agg=max&by=service",
                json!([
                    [{"service": "fn"}, [[first, 7.0]]], [{"service": "shop"}, [[first, 5.0]]],
                ]),
            ),
            ("name=heap&service=nobody", json!([])),
            ("name=nothing", json!([])),
        ] {
            let got = api.get(&format!("/api/v1/metrics/query?{query}&{RANGE}")).await;
            let series: Vec<Value> =
                got["series"].as_array().unwrap().iter().map(|s| json!([s["labels"], s["points"]])).collect();
            assert_eq!(Value::from(series), expected, "{query}");
            assert_eq!(got["complete"], json!(true));
        }
        let got = api.get(&format!("/api/v1/metrics/query?name=latency&agg=p99.9&{RANGE}")).await;
        assert_eq!((&got["agg"], &got["step_ns"]), (&json!("p99.9"), &json!(60 * SECOND)));
    })
    .await;
}

#[tokio::test]
async fn bad_questions_about_metrics() {
    let api = Api::with(Table::Metrics, &points());
    for (query, expected) in [
        ("", "parameter name is needed"),
        ("name=heap&agg=median", "avg, sum, min, max, count, rate or a quantile"),
        ("name=heap&agg=p101", "a quantile such as p99"),
        (&format!("name=heap&agg=rate&{RANGE}"), "cannot be rate"),
        (&format!("name=heap&agg=p50&{RANGE}"), "cannot be a quantile"),
        ("name=heap&step=0s", "step must be longer than nothing"),
        ("name=heap&step=1ms", "step is too short"),
        ("name=heap&start=2100-01-01T00:00:00Z", "start must be earlier than the end"),
        ("name=heap&label=x", "there is no parameter label"),
    ] {
        api.refused(&format!("/api/v1/metrics/query?{query}"), 400, expected).await;
    }
}

#[tokio::test]
async fn one_name_with_two_types() {
    let points = [
        point("load", 1, 10, json!({"type": "gauge", "value": 5.0})),
        point("load", 2, 20, json!({"type": "sum", "temporality": "delta", "is_monotonic": true, "value": 60.0})),
    ];
    everywhere(Table::Metrics, &points, async |api| {
        let url = format!("/api/v1/metrics/query?name=load&{RANGE}");
        api.refused(&url, 400, "is sent as gauge and as sum: choose with type=gauge or type=sum").await;
        for (kind, agg, value) in [("gauge", "avg", 5.0), ("SUM", "rate", 1.0)] {
            let got = api.get(&format!("{url}&type={kind}")).await;
            assert_eq!((&got["agg"], &got["series"][0]["points"][0][1]), (&json!(agg), &json!(value)), "{kind}");
        }
        assert_eq!(api.get(&format!("{url}&type=summary")).await["series"], json!([]));
        api.refused(&format!("{url}&type=counter"), 400, "one of gauge, sum, histogram").await;
    })
    .await;
}

#[tokio::test]
async fn quantiles_of_summaries() {
    let summary = |name: &str, series, at, p50: f64| {
        let quantiles = json!([{"quantile": 0.5, "value": p50}, {"quantile": 0.99, "value": 10.0 * p50}]);
        let count = 10 * at;
        point(name, series, at, json!({"type": "summary", "count": count, "sum": 1.0, "quantiles": quantiles}))
    };
    let mut points: Vec<Value> = (1..=5).map(|i| summary("five", 1, i, i as f64)).collect();
    points.push(summary("one", 2, 10, 7.0));
    let first = T0 / 1_000_000;
    everywhere(Table::Metrics, &points, async |api| {
        for (query, expected) in [
            ("name=five&agg=p50", json!([[first, 3.0]])),
            ("name=five&agg=p99", json!([[first, 30.0]])),
            // Of a count it is not known when it came about.
            ("name=five&agg=count", json!([[first, 40.0]])),
            ("name=one", json!([[first, 7.0]])),
        ] {
            let got = api.get(&format!("/api/v1/metrics/query?{query}&{RANGE}")).await;
            assert_eq!(got["series"][0]["points"], expected, "{query}");
        }
        assert_eq!(api.get(&format!("/api/v1/metrics/query?name=one&agg=count&{RANGE}")).await["series"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn values_that_are_no_numbers() {
    let api = Api::with(Table::Metrics, &[point("odd", 1, 10, json!({"type": "gauge"}))]);
    let sql = "SELECT 'NaN'::double, 'Infinity'::double, '-Infinity'::double".replace(' ', "%20");
    let got = api.get(&format!("/api/v1/sql?query={sql}")).await;
    assert_eq!(got["rows"], json!([["NaN", "Infinity", "-Infinity"]]));
    assert_eq!(api.get(&format!("/api/v1/metrics/query?name=odd&{RANGE}")).await["series"], json!([]));
}
