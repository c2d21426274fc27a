//! Deadlines, memory, size of answers, clients that leave, queries at once.

use std::time::{Duration, Instant};

use arrow::array::{Array, FixedSizeBinaryArray, Int64Array};
use futures::StreamExt;

use super::*;

/// `count` spans, each in a trace of its own.
fn many(count: usize) -> RecordBatch {
    let few: Vec<Row> = (0..100).map(|i| Row::span(i, 1, "shop", "n", i64::from(i), i64::from(i))).collect();
    let few = rows::batch(Table::Spans, &few);
    let indices = arrow::array::UInt32Array::from_iter_values((0..count as u32).map(|i| i % 100));
    let mut columns: Vec<_> = few.columns().iter().map(|c| arrow::compute::take(c, &indices, None).unwrap()).collect();
    let index = |name| few.schema().index_of(name).unwrap();
    let ids = (0..count as u128).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)).to_be_bytes());
    columns[index("trace_id")] = Arc::new(FixedSizeBinaryArray::try_from_iter(ids).unwrap());
    columns[index("duration")] =
        Arc::new(Int64Array::from_iter_values((0..count as i64).map(|i| i * 7919 % 1_000_003)));
    RecordBatch::try_new(few.schema(), columns).unwrap()
}

fn kept(count: usize) -> Kept {
    let kept = Kept::new();
    kept.add_batch(Table::Spans, many(count));
    kept
}

async fn until(mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(20), "it never came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn running(engine: &Engine) -> usize {
    engine.config().concurrent_max - engine.inner.running.available_permits()
}

#[tokio::test]
async fn a_cross_join_of_everything_ends_at_its_deadline() {
    let kept = kept(20_000);
    let engine = engine(&kept);
    let limits = Limits { timeout: Duration::from_millis(300), ..engine.limits("test") };
    let session = engine.session("default", limits);
    let began = Instant::now();
    let query = "SELECT count(*) FROM spans a, spans b, spans c WHERE a.duration + b.duration < c.duration";
    let error = session.collect(query, Params::None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
    until(|| running(&engine) == 0).await;
}

#[tokio::test]
async fn a_huge_sort_spills_and_is_right() {
    let kept = kept(300_000);
    let small = Config { memory_bytes: 24 << 20, threads: 2, ..Config::default() };
    let engine = engine_with(&kept, small);
    let limits = Limits { timeout: Duration::from_secs(120), ..engine.limits("test") };
    let session = engine.session("default", limits);
    let query = "SELECT trace_id, span_id, duration, start_time, name, service FROM spans ORDER BY trace_id, duration";
    let mut answer = session.sql(query, Params::None).await.unwrap();
    let (mut rows, mut last) = (0, Vec::new());
    while let Some(batch) = answer.stream.next().await {
        let batch = batch.unwrap();
        rows += batch.num_rows();
        let ids = batch.column(0).as_any().downcast_ref::<FixedSizeBinaryArray>().unwrap();
        for i in 0..ids.len() {
            assert!(last.as_slice() <= ids.value(i));
            last = ids.value(i).to_vec();
        }
    }
    assert_eq!(rows, 300_000);
    drop(answer);
    until(|| running(&engine) == 0).await;
    assert_eq!(engine.inner.state.runtime_env().memory_pool.reserved(), 0);
}

#[tokio::test]
async fn what_needs_more_memory_and_disk_than_there_is_ends_with_an_error() {
    let kept = kept(300_000);
    let small = Config { memory_bytes: 16 << 20, spill_bytes: 1 << 20, threads: 2, ..Config::default() };
    let engine = engine_with(&kept, small);
    let limits = Limits { timeout: Duration::from_secs(120), ..engine.limits("test") };
    let session = engine.session("default", limits);
    for query in [
        "SELECT * FROM spans ORDER BY trace_id, duration",
        "SELECT trace_id, duration, array_agg(name), array_agg(trace_id) FROM spans GROUP BY 1, 2",
    ] {
        let error = session.collect(query, Params::None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Memory, "{query}: {error:?}");
    }
    // The engine is as it was.
    assert_eq!(ask(&engine, "SELECT count(*) FROM spans", Params::None).await.unwrap(), ["300000"]);
}

#[tokio::test]
async fn functions_that_make_much_of_little_are_bounded() {
    let kept = Kept::new();
    let engine = engine(&kept);
    for query in [
        "SELECT repeat('x', 1000000000)",
        "SELECT lpad('x', 1000000000)",
        "SELECT rpad('x', 1000000000, 'y')",
        "SELECT range(0, 10000000000)",
        "SELECT generate_series(0, 10000000000)",
        "SELECT array_repeat('xxxxxxxxxxxxxxx', 1000000000)",
        "SELECT list_repeat(1, 1000000000)",
        "SELECT array_resize([1], 1000000000)",
        "SELECT repeat(repeat('x', 10000), 10000)",
        "SELECT range(DATE '1900-01-01', DATE '2900-01-01', INTERVAL '1 day')",
    ] {
        let error = ask(&engine, query, Params::None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{query}: {error:?}");
    }
    // Up to the bound they do as they are told.
    for (query, expected) in [
        ("SELECT length(repeat('x', 33554432))", "33554432"),
        ("SELECT length(repeat('x', 700000)) FROM generate_series(1, 3)", "700000"),
        ("SELECT length(lpad('x', 33554432))", "33554432"),
        ("SELECT array_length(array_repeat(1, 4194304))", "4194304"),
        ("SELECT array_length(array_repeat('abcd', 1000000))", "1000000"),
        ("SELECT array_length(range(5000000000, 5000000005))", "5"),
        ("SELECT array_length(range(0, 4000000))", "4000000"),
    ] {
        assert_eq!(ask(&engine, query, Params::None).await.unwrap()[0], expected, "{query}");
    }
    for query in [
        "SELECT repeat('x', 33554433)",
        "SELECT array_repeat(1, 4194305)",
        "SELECT array_resize([1], 4194305)",
        "SELECT array_resize(['x'], 1000000, repeat('y', 1000))",
        "SELECT array_repeat([1, 2, 3, 4], 2000000)",
        "SELECT length(repeat('x', CAST(value AS int))) FROM generate_series(8000, 16000)",
    ] {
        let error = ask(&engine, query, Params::None).await.unwrap_err().to_string();
        assert!(error.contains("is asked for more than 33554432 bytes at once"), "{query}: {error}");
    }
    assert_eq!(ask(&engine, "SELECT repeat('ab', 3), lpad('1', 3, '0')", Params::None).await.unwrap(), ["ababab|001"]);
    assert_eq!(ask(&engine, "SELECT count(*) FROM generate_series(1, 1000)", Params::None).await.unwrap(), ["1000"]);
}

#[tokio::test]
async fn endless_statements_end() {
    let kept = Kept::new();
    let engine = engine(&kept);
    let limits = Limits { timeout: Duration::from_millis(300), ..engine.limits("test") };
    let session = engine.session("default", limits);
    for query in [
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t",
        "SELECT count(*), sum(value) FROM generate_series(1, 100000000000)",
    ] {
        let error = session.collect(query, Params::None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{query}: {error:?}");
    }
    until(|| running(&engine) == 0).await;
}

#[tokio::test]
async fn an_answer_that_is_dropped_ends_its_query() {
    let kept = kept(20_000);
    let engine = engine(&kept);
    let session = engine.session("default", engine.limits("test"));
    let mut answer = session.sql("SELECT a.name FROM spans a, spans b", Params::None).await.unwrap();
    assert!(answer.stream.next().await.unwrap().is_ok());
    assert_eq!(running(&engine), 1);
    drop(answer);
    until(|| running(&engine) == 0).await;
    // Neither does a query that nobody waits for go on.
    let query = "SELECT count(*) FROM spans a, spans b, spans c WHERE a.duration + b.duration < c.duration";
    let asked = tokio::time::timeout(Duration::from_millis(100), session.collect(query, Params::None)).await;
    assert!(asked.is_err());
    until(|| running(&engine) == 0).await;
}

#[tokio::test]
async fn queries_beyond_the_limit_are_told_to_come_again() {
    let kept = kept(20_000);
    let engine = engine_with(&kept, Config { concurrent_max: 1, queue_ms: 50, ..Config::default() });
    let session = engine.session("default", engine.limits("test"));
    let first = session.sql("SELECT a.name FROM spans a, spans b", Params::None).await.unwrap();
    let error = session.collect("SELECT 1", Params::None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    drop(first);
    assert_eq!(session.collect("SELECT 1", Params::None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_large_answer_is_cut_and_says_so() {
    let kept = kept(20_000);
    let engine = engine(&kept);
    let session = engine.session("default", Limits { rows_max: 10_000, ..engine.limits("test") });
    let (batches, incomplete) =
        session.sql("SELECT name FROM spans", Params::None).await.unwrap().collect().await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 10_000);
    assert!(incomplete.unwrap().contains("10000 rows"));
    let exact = session.sql("SELECT name FROM spans LIMIT 10000", Params::None).await.unwrap().collect().await.unwrap();
    assert_eq!(exact.1, None);
    let error = session.collect("SELECT name FROM spans", Params::None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Memory);
    let session = engine.session("default", Limits { bytes_max: 100_000, ..engine.limits("test") });
    let (batches, incomplete) =
        session.sql("SELECT trace_id FROM spans", Params::None).await.unwrap().collect().await.unwrap();
    assert!(batches.iter().map(RecordBatch::num_rows).sum::<usize>() < 20_000);
    assert!(incomplete.is_some());
}

#[tokio::test]
async fn statements_as_deep_as_allowed_are_planned() {
    let kept = Kept::new();
    kept.add(Table::Spans, &spans());
    let engine = engine(&kept);
    let session = engine.session("default", Limits { timeout: Duration::from_secs(120), ..engine.limits("test") });
    for query in [
        format!("SELECT count(*) FROM spans WHERE duration > 0{}", " + duration".repeat(240)),
        format!("SELECT count(*) FROM spans WHERE name = 'x'{}", " OR duration = 5000".repeat(490)),
        format!("SELECT {}1{}", "(".repeat(40), ")".repeat(40)),
        format!("SELECT count(*) FROM (SELECT 1{})", " UNION ALL SELECT 1".repeat(120)),
    ] {
        let rows = session.collect(&query, Params::None).await.unwrap();
        assert_eq!(text(&rows).len(), 1, "{query:.60}");
    }
}

#[tokio::test]
async fn a_folder_that_is_only_read_is_not_written_to() {
    let Kept { storage, _dir: dir } = kept(100_000);
    storage.close().unwrap();
    drop(storage);
    let list = || {
        let mut names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = list();
    let mode = hopline_storage::Mode::ReadOnly;
    let clock = Arc::new(hopline_storage::SystemClock);
    let (storage, _) = Storage::open(dir.path(), Default::default(), mode, clock, &Registry::new()).unwrap();
    let small = Config { memory_bytes: 16 << 20, threads: 2, ..Config::default() };
    let engine = Engine::new(storage, small, &Registry::new()).unwrap();
    let query = "SELECT trace_id, span_id, name, duration, start_time FROM spans ORDER BY trace_id";
    assert_eq!(ask(&engine, query, Params::None).await.unwrap().len(), 100_000, "spilled elsewhere");
    assert_eq!(list(), before);
}

#[test]
fn rows_spilled_by_a_server_that_was_killed_are_removed() {
    let kept = Kept::new();
    let left = kept.storage.dir().join("tmp/datafusion-left");
    std::fs::create_dir_all(left.join("spill")).unwrap();
    drop(engine(&kept));
    assert!(!left.exists());
}
