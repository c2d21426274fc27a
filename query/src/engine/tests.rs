#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod errors;
mod limits;
mod numbers;
pub(crate) mod rows;

use arrow::util::display::array_value_to_string;
use hopline_model::Table;
use rows::{Kept, Row, SECOND, T0, V};

use super::*;
use crate::error::ErrorKind;
use crate::sql::params::Param;

pub(crate) fn engine(kept: &Kept) -> Engine {
    engine_with(kept, Config::default())
}

pub(crate) fn engine_with(kept: &Kept, config: Config) -> Engine {
    Engine::new(kept.storage.clone(), config, &Registry::new()).unwrap()
}

/// The rows of an answer as text: values divided by `|`, nothing as `-`, ids as hex.
pub(crate) fn text(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let value = |c: &arrow::array::ArrayRef| {
                if c.is_null(row) { "-".to_owned() } else { array_value_to_string(c, row).unwrap() }
            };
            rows.push(batch.columns().iter().map(value).collect::<Vec<_>>().join("|"));
        }
    }
    rows
}

async fn ask(engine: &Engine, query: &str, params: impl Into<Params>) -> Result<Vec<String>, Error> {
    let session = engine.session("default", engine.limits("test"));
    Ok(text(&session.collect(query, params).await?))
}

/// Twelve spans of three services and two tenants, four logs.
fn spans() -> Vec<Row> {
    vec![
        Row::span(1, 1, "shop", "GET /cart", 0, 5_000)
            .attr("http.route", V::S("/cart"))
            .attr("http.response.status_code", V::I(200))
            .attr("app.items", V::I(3))
            .attr("app.mixed", V::S("7")),
        Row::span(1, 2, "shop", "load", 1, 3_000).attr("app.ratio", V::D(0.5)).attr("app.mixed", V::I(12)),
        Row::span(1, 3, "db", "SELECT", 2, 2_000)
            .attr("db.system.name", V::S("postgresql"))
            .attr("app.cached", V::B(true))
            .attr("app.mixed", V::D(1.5)),
        Row::span(2, 1, "shop", "GET /pay", 60, 900_000)
            .attr("http.route", V::S("/pay"))
            .attr("http.response.status_code", V::S("503"))
            .text("status_code", "ERROR")
            .attr("app.items", V::I(10)),
        Row::span(2, 2, "queue", "send", 61, 100).attr("app.list", V::O("[1,2]")),
        Row::span(3, 1, "other", "secret", 62, 1).text("tenant", "acme").attr("only.acme", V::S("x")),
    ]
    .into_iter()
    .map(|row| row.text("resource", r#"{"attributes":{"service.name":"x","k8s.pod.name":"pod-1","cpus":4}}"#))
    .collect()
}

/// Runs the same checks over rows in memory, in files, and in both.
async fn everywhere(check: impl AsyncFn(&Engine)) {
    for split in [spans().len(), 0, 2] {
        let kept = Kept::new();
        let (cold, hot) = (spans()[split..].to_vec(), spans()[..split].to_vec());
        if !cold.is_empty() {
            kept.add(Table::Spans, &cold);
            kept.storage.flush().unwrap();
        }
        if !hot.is_empty() {
            kept.add(Table::Spans, &hot);
        }
        check(&engine(&kept)).await;
    }
}

/// Asserts what a query answers, wherever the rows are.
async fn check(query: &str, expected: &[&str]) {
    everywhere(async |engine| {
        let got = ask(engine, query, Params::None).await;
        assert_eq!(got.unwrap_or_else(|e| panic!("{query}: {e:?}")), expected, "{query}");
    })
    .await;
}

#[tokio::test]
async fn rows_of_one_tenant_hot_and_cold() {
    check("SELECT count(*), min(duration), max(start_time) = '2026-11-21T10:01:01Z' FROM spans", &["5|100|true"]).await;
    check("SELECT DISTINCT tenant FROM spans", &["default"]).await;
    check("SELECT count(*) FROM spans WHERE tenant = 'acme' OR tenant <> 'default' OR true", &["5"]).await;
    check("SELECT name FROM spans WHERE service = 'other'", &[]).await;
    check("SELECT service, count(*) FROM spans GROUP BY 1 ORDER BY 2 DESC, 1", &["shop|3", "db|1", "queue|1"]).await;
    check("SELECT name FROM spans ORDER BY start_time DESC LIMIT 2", &["send", "GET /pay"]).await;
    check("SELECT name FROM spans ORDER BY duration DESC LIMIT 1", &["GET /pay"]).await;
    let joined = "SELECT count(*) FROM spans a JOIN spans b ON a.trace_id = b.trace_id AND a.span_id < b.span_id";
    check(joined, &["4"]).await;
}

#[tokio::test]
async fn another_tenant() {
    everywhere(async |engine| {
        for (tenant, expected) in [("acme", "1"), ("default", "5"), ("nobody", "0"), ("' OR 1=1 --", "0")] {
            let session = engine.session(tenant, engine.limits("test"));
            let got = session.collect("SELECT count(*) FROM spans", Params::None).await.unwrap();
            assert_eq!(text(&got), [expected], "{tenant}");
        }
    })
    .await;
}

#[tokio::test]
async fn times() {
    check("SELECT count(*) FROM spans WHERE start_time >= '2026-11-21T10:01:00Z'", &["2"]).await;
    check("SELECT count(*) FROM spans WHERE start_time < timestamp '2026-11-21 10:00:02'", &["2"]).await;
    check("SELECT count(*) FROM spans WHERE start_time < now() - interval '1 hour' OR true", &["5"]).await;
    let minutes = "SELECT date_bin(interval '1 minute', start_time) m, count(*) FROM spans GROUP BY m ORDER BY m";
    check(minutes, &["2026-11-21T10:00:00Z|3", "2026-11-21T10:01:00Z|2"]).await;
    check("SELECT count(DISTINCT date_trunc('minute', start_time)) FROM spans", &["2"]).await;
    everywhere(async |engine| {
        let until = Params::from([Param::Time(T0 + 60 * SECOND)]);
        assert_eq!(ask(engine, "SELECT count(*) FROM spans WHERE start_time < $1", until).await.unwrap(), ["3"]);
    })
    .await;
}

#[tokio::test]
async fn ids() {
    let one = "01010101010101010101010101010101";
    let two = "02020202020202020202020202020202";
    check(&format!("SELECT count(*) FROM spans WHERE trace_id = '{one}'"), &["3"]).await;
    check(&format!("SELECT count(*) FROM spans WHERE '{one}' = trace_id AND span_id = '0202020202020202'"), &["1"])
        .await;
    check(&format!("SELECT count(*) FROM spans WHERE trace_id = X'{one}'"), &["3"]).await;
    check(&format!("SELECT count(*) FROM spans WHERE trace_id <> '{one}'"), &["2"]).await;
    check(&format!("SELECT count(*) FROM spans WHERE trace_id IN ('{one}', '{}')", two.to_uppercase()), &["5"]).await;
    check(&format!("SELECT count(*) FROM spans WHERE trace_id NOT IN ('{one}')"), &["2"]).await;
    check(&format!("SELECT count(*) FROM spans WHERE trace_id BETWEEN '{one}' AND '{one}'"), &["3"]).await;
    check(&format!("SELECT count(*) FROM spans WHERE trace_id = trace_id('{two}')"), &["2"]).await;
    check("SELECT count(*) FROM spans WHERE span_id = span_id('0101010101010101')", &["2"]).await;
    check(&format!("SELECT DISTINCT trace_id FROM spans WHERE hex(trace_id) = '{two}'"), &[two]).await;
    check("SELECT count(*) FROM spans WHERE trace_id = '09090909090909090909090909090909'", &["0"]).await;
    check(&format!("SELECT trace_id = '{one}' FROM spans WHERE name = 'load'"), &["true"]).await;
    everywhere(async |engine| {
        let named = Params::Named([("id".to_owned(), Param::from(two))].into());
        assert_eq!(ask(engine, "SELECT count(*) FROM spans WHERE trace_id = $id", named).await.unwrap(), ["2"]);
        let bytes = Params::from([Param::Bytes(vec![2; 16])]);
        assert_eq!(ask(engine, "SELECT count(*) FROM spans WHERE trace_id = $1", bytes).await.unwrap(), ["2"]);
        for wrong in ["abc", "01010101", "zz010101010101010101010101010101"] {
            for condition in [format!("trace_id = '{wrong}'"), format!("trace_id IN ('{wrong}')")] {
                let error = ask(engine, &format!("SELECT 1 FROM spans WHERE {condition}"), Params::None).await;
                let error = error.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Invalid);
                assert!(error.to_string().contains("32 hexadecimal digits"), "{error}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn attributes() {
    check("SELECT attr('http.route') FROM spans WHERE attr('http.route') = '/pay'", &["/pay"]).await;
    check("SELECT name FROM spans WHERE attr('app.items') > 5", &["GET /pay"]).await;
    check("SELECT name FROM spans WHERE 5 < attr('app.items')", &["GET /pay"]).await;
    check("SELECT name FROM spans WHERE attr('app.items') BETWEEN 1 AND 5", &["GET /cart"]).await;
    check("SELECT name FROM spans WHERE attr('app.items') IN (10, 11)", &["GET /pay"]).await;
    check("SELECT attr('app.items') + 1 FROM spans WHERE name = 'GET /cart'", &["4"]).await;
    check("SELECT sum(attr('app.items')), avg(attr('app.items')), max(attr('app.items')) FROM spans", &["13|6.5|10"])
        .await;
    check("SELECT attr('app.ratio'), attr_double('app.ratio') FROM spans WHERE name = 'load'", &["0.5|0.5"]).await;
    check("SELECT name FROM spans WHERE attr_bool('app.cached')", &["SELECT"]).await;
    check("SELECT attr('app.list') FROM spans WHERE attr('app.list') IS NOT NULL", &["[1,2]"]).await;
    check(
        "SELECT attr('app.mixed'), attr_int('app.mixed'), attr_double('app.mixed') FROM spans ORDER BY start_time",
        &["7|7|7.0", "12|12|12.0", "1.5|-|1.5", "-|-|-", "-|-|-"],
    )
    .await;
    check("SELECT count(attr('nobody.sent.it')), count(attr('only.acme')) FROM spans", &["0|0"]).await;
    check("SELECT attr('http.method') FROM spans WHERE name = 'load'", &["-"]).await;
    // Sent as an integer and as text.
    check(
        "SELECT attr('http.response.status_code') FROM spans WHERE attr('http.response.status_code') >= 200 ORDER BY 1",
        &["200", "503"],
    )
    .await;
    check(
        "SELECT name FROM spans ORDER BY attr_double('app.items') DESC NULLS LAST LIMIT 2",
        &["GET /pay", "GET /cart"],
    )
    .await;
    let grouped = "SELECT attr('http.route'), count(*) FROM spans GROUP BY attr('http.route') ORDER BY 1";
    check(grouped, &["/cart|1", "/pay|1", "-|3"]).await;
    let grouped = "SELECT attr('app.mixed') m, count(*) FROM spans GROUP BY m HAVING count(*) = 1 ORDER BY m";
    check(grouped, &["1.5|1", "12|1", "7|1"]).await;
    check("SELECT count(*) FROM (SELECT * FROM spans WHERE attr('app.items') = 3)", &["1"]).await;
}

#[tokio::test]
async fn attributes_of_resources() {
    check("SELECT DISTINCT resource_attr('k8s.pod.name') FROM spans", &["pod-1"]).await;
    check("SELECT count(*) FROM spans WHERE resource_attr('cpus') = 4", &["5"]).await;
    check(
        "SELECT DISTINCT resource_attr_int('cpus'), resource_attr('nothing'), scope_attr('x') FROM spans",
        &["4|-|-"],
    )
    .await;
}

#[tokio::test]
async fn attributes_of_several_tables() {
    let join = "FROM spans a JOIN spans b ON a.trace_id = b.trace_id AND a.span_id < b.span_id";
    check(&format!("SELECT attr(a, 'app.items'), attr(b, 'app.ratio') {join} WHERE b.name = 'load'"), &["3|0.5"]).await;
    check(&format!("SELECT attr(a, 'http.route') {join} WHERE b.name = 'load'"), &["/cart"]).await;
    everywhere(async |engine| {
        let error = ask(engine, &format!("SELECT attr('app.items') {join}"), Params::None).await.unwrap_err();
        assert!(error.to_string().contains("attr(a, 'app.items')"), "{error}");
        let error = ask(engine, "SELECT attr('app.items') FROM (SELECT name FROM spans)", Params::None).await;
        assert!(error.unwrap_err().to_string().contains("subquery"));
        let error = ask(engine, "SELECT attr(name) FROM spans", Params::None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    })
    .await;
}

#[tokio::test]
async fn names_of_columns() {
    let kept = Kept::new();
    kept.add(Table::Spans, &spans());
    let engine = engine(&kept);
    let session = engine.session("default", engine.limits("test"));
    let query = "SELECT attr('app.items'), attr(s, 'app.mixed'), p95(duration) OVER () FROM spans s";
    let answer = session.sql(query, Params::None).await.unwrap();
    let names: Vec<&str> = answer.schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names[..2], ["attr('app.items')", "attr(s, 'app.mixed')"]);
}

#[tokio::test]
async fn percentiles() {
    check("SELECT p50(duration), p99(duration) FROM spans WHERE service = 'shop'", &["5000.0|900000.0"]).await;
    check("SELECT approx_percentile_cont(duration, 0.5) FROM spans WHERE service = 'shop'", &["5000.0"]).await;
}

#[tokio::test]
async fn logs_and_spans_together() {
    let kept = Kept::new();
    kept.add(Table::Spans, &spans());
    kept.add(Table::Logs, &[Row::log(2, "shop", "no money", 60).attr("app.items", V::S("ten"))]);
    let query = "SELECT s.name, l.body, attr(l, 'app.items') FROM spans s JOIN logs l USING (trace_id) ORDER BY 1";
    for _ in 0..2 {
        assert_eq!(
            ask(&engine(&kept), query, Params::None).await.unwrap(),
            ["GET /pay|no money|ten", "send|no money|ten"]
        );
        kept.storage.flush().unwrap();
    }
    let query = "SELECT count(*) FROM metrics";
    assert_eq!(ask(&engine(&kept), query, Params::None).await.unwrap(), ["0"]);
}

#[tokio::test]
async fn tables_are_described() {
    let kept = Kept::new();
    let engine = engine(&kept);
    let tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1";
    assert_eq!(
        ask(&engine, tables, Params::None).await.unwrap(),
        ["function_minutes", "hop_keys", "invocations", "logs", "metrics", "spans"]
    );
    assert_eq!(ask(&engine, "DESCRIBE spans", Params::None).await.unwrap()[0], "tenant|Dictionary(Int32, Utf8)|NO");
    assert!(ask(&engine, "SHOW TABLES", Params::None).await.unwrap().iter().any(|row| row.contains("metrics")));
    assert!(ask(&engine, "SHOW COLUMNS FROM logs", Params::None).await.unwrap().len() > 20);
    assert!(!ask(&engine, "EXPLAIN SELECT * FROM spans", Params::None).await.unwrap().is_empty());
}

#[tokio::test]
async fn files_that_cannot_match_are_not_opened() {
    let kept = Kept::new();
    for row in spans() {
        kept.add(Table::Spans, &[row]);
        kept.storage.flush().unwrap();
    }
    let engine = engine(&kept);
    let files = async |condition: &str| {
        let plan = ask(&engine, &format!("EXPLAIN SELECT name FROM spans WHERE {condition}"), Params::None).await;
        plan.unwrap().join("\n").matches(".parquet").count()
    };
    assert_eq!(files("true").await, 5, "the other tenant's file is left out");
    assert_eq!(files("service = 'db'").await, 1);
    assert_eq!(files("service IN ('db', 'queue') AND kind = 'SERVER'").await, 2);
    assert_eq!(files("name = 'load'").await, 1);
    assert_eq!(files("start_time >= '2026-11-21T10:01:00Z'").await, 2);
    assert_eq!(files("trace_id = '01010101010101010101010101010101'").await, 3);
    assert_eq!(files("trace_id = '05050505050505050505050505050505'").await, 0);
    assert_eq!(files("attr('app.items') > 5").await, 2);
    assert_eq!(files("attr('app.list') IS NOT NULL").await, 1);
    assert_eq!(files("kind = 'CLIENT'").await, 0);
}

#[tokio::test]
async fn now_is_one_instant_and_leaves_old_files_out() {
    let kept = Kept::new();
    let since_t0 = (crate::api::params::now_ns() - T0) / SECOND;
    for ago in [10, 3_600, 86_400] {
        kept.add(Table::Spans, &[Row::span(1, 1, "shop", "n", since_t0 - ago, 1)]);
        kept.storage.flush().unwrap();
    }
    let engine = engine(&kept);
    let lately = "FROM spans WHERE start_time > now() - interval '15 minutes'";
    assert_eq!(ask(&engine, &format!("SELECT count(*) {lately}"), Params::None).await.unwrap(), ["1"]);
    let plan = ask(&engine, &format!("EXPLAIN SELECT name {lately}"), Params::None).await.unwrap().join("\n");
    assert_eq!(plan.matches(".parquet").count(), 1, "{plan}");
    for query in [
        "SELECT now() = now() AND current_timestamp = now() AND now() > '2026-01-01'",
        "SELECT current_date = CAST(now() AS date) AND today() = current_date",
        "SELECT current_time IS NOT NULL",
        "SELECT count(DISTINCT now()) = 1 FROM spans",
    ] {
        assert_eq!(ask(&engine, query, Params::None).await.unwrap(), ["true"], "{query}");
    }
}

#[tokio::test]
async fn a_promoted_attribute_is_its_column() {
    let kept = Kept::new();
    kept.add(Table::Spans, &spans());
    kept.storage.flush().unwrap();
    let engine = engine(&kept);
    let plan =
        ask(&engine, "EXPLAIN SELECT name FROM spans WHERE attr('http.route') = '/x'", Params::None).await.unwrap();
    let plan = plan.join("\n");
    assert!(plan.contains("predicate=") && plan.contains("http_route"), "{plan}");
    assert!(!plan.contains("attributes_string"), "{plan}");
}

#[tokio::test]
async fn newest_first_passes_its_bound_to_the_files() {
    let kept = Kept::new();
    for hour in 0..6 {
        let rows: Vec<Row> = (0..50).map(|i| Row::span(i, 1, "shop", "n", hour * 3_600 + i64::from(i), 1)).collect();
        kept.add(Table::Spans, &rows);
        kept.storage.flush().unwrap();
    }
    kept.add(Table::Spans, &spans());
    let engine = engine_with(&kept, Config { threads: 1, ..Config::default() });
    let query = "SELECT name, start_time, trace_id FROM spans WHERE service = 'shop' ORDER BY start_time DESC LIMIT 5";
    let plan = ask(&engine, &format!("EXPLAIN {query}"), Params::None).await.unwrap().join("\n");
    assert!(plan.contains("DynamicFilter") && plan.contains("dynamic_rg_pruning=eligible"), "{plan}");
    let run = ask(&engine, &format!("EXPLAIN ANALYZE {query}"), Params::None).await.unwrap().join("\n");
    assert!(run.contains("files_ranges_pruned_statistics=6 total → 1 matched"), "{run}");
    let newest = ask(&engine, query, Params::None).await.unwrap();
    assert!(newest[0].starts_with("n|2026-11-21T15:00:49Z|"), "{newest:?}");
}

#[tokio::test]
async fn a_session_sees_one_snapshot() {
    let kept = Kept::new();
    kept.add(Table::Spans, &spans());
    let engine = engine(&kept);
    let session = engine.session("default", engine.limits("test"));
    let count = async || text(&session.collect("SELECT count(*) FROM spans", Params::None).await.unwrap());
    assert_eq!(count().await, ["5"]);
    kept.add(Table::Spans, &spans());
    kept.storage.flush().unwrap();
    assert_eq!(count().await, ["5"]);
    assert_eq!(ask(&engine, "SELECT count(*) FROM spans", Params::None).await.unwrap(), ["10"]);
}
