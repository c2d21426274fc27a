//! `/flows`: who caused whom. What all tests of flows share stands here, too.

mod find;
mod lost;
mod waterfall;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Int32Type, Int64Type, UInt16Type, UInt32Type};
use arrow::ipc::reader::StreamReader;

use super::*;

const ARROW: &str = "application/vnd.apache.arrow.stream";

/// API → queue → worker → (call) pricing, → topic → notify.
const ORDER: &str = "
    api  s  -  server   shop            0   2
    api  p  s  producer shop            0.5 1    send=orders:m1
    api  q  p  client   shop            0.6 0.9  send=orders:m1
    work s  -  server   worker/worker   5   9    inv=r2 cold
    work c  s  consumer worker/worker   5.1 5.2  receive=orders:m1
    work i  s  client   worker/worker   6   7    call=pricing:r3
    work n  s  producer worker/worker   7.5 8    publish=priced:n1
    cost s  -  server   pricing/pricing 6.2 6.8  inv=r3 error
    tell s  -  server   notify/notify   9   10   inv=r4 notified=priced:n1
";

/// The names of the traces of an answer.
fn traces(flow: &Value) -> String {
    pick(&flow["traces"], "trace_id").iter().map(|id| name_of(id)).collect::<Vec<_>>().join(" ")
}

fn seconds(ns: &Value) -> f64 {
    ns.as_i64().unwrap_or_else(|| panic!("{ns}")) as f64 / 1e9
}

/// The edges of an answer, one a line.
fn edges(flow: &Value) -> Vec<String> {
    let place = |end: &Value| {
        let names = ["trace_id", "span_id"].map(|name| name_of(end[name].as_str().unwrap()));
        names.join(".")
    };
    let line = |edge: &Value| {
        let word = |name: &str| edge[name].as_str().unwrap_or("-").to_owned();
        let mut line = format!("{} -> {} {} {}", place(&edge["from"]), place(&edge["to"]), word("hop"), word("rule"));
        line += &format!(" {} {} {}s", word("certainty"), word("destination"), seconds(&edge["wait_ns"]));
        for name in ["synchronous", "retry", "fan_out", "dead_letter"] {
            if edge[name] == json!(true) {
                line += &format!(" {name}");
            }
        }
        if edge["attempt"] != json!(1) {
            line += &format!(" {}", edge["attempt"]);
        }
        line
    };
    flow["edges"].as_array().unwrap().iter().map(line).collect()
}

/// The rows of an answer, one a line: parent's row, depth, start and duration in seconds, name, flags.
fn rows(flow: &Value) -> Vec<String> {
    let line = |row: &Value| {
        let mark = if row["row"] == json!("hop") { "⇢ " } else { "" };
        let times = format!("{}+{}", seconds(&row["start"]), seconds(&row["duration"]));
        let name = row["name"].as_str().unwrap();
        let flags = if row["flags"] == json!(0) { String::new() } else { format!(" {}", row["flags"]) };
        format!("{} {} {times} {mark}{name}{flags}", row["parent_row"], row["depth"])
    };
    flow["rows"].as_array().unwrap().iter().map(line).collect()
}

fn step(step: &Value) -> String {
    let names = ["trace_id", "span_id"].map(|name| name_of(step[name].as_str().unwrap())).join(".");
    let wait = if step["wait"] == json!(true) { " wait" } else { "" };
    let of = step["invocation_id"].as_str().map(|id| format!(" of {id}")).unwrap_or_default();
    format!("{}+{} {names}{wait}{of}", seconds(&step["start_ns"]), seconds(&step["duration_ns"]))
}

/// The critical path in words: from when, how many seconds, and whose time.
fn path(flow: &Value) -> String {
    flow["critical_path"].as_array().unwrap().iter().map(step).collect::<Vec<_>>().join(", ")
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The flow from a trace, or from `trace.span`.
async fn flow(api: &Api, seed: &str) -> Value {
    match seed.split_once('.') {
        Some((trace, span)) => api.get(&format!("/api/v1/flows/{}?span_id={}", trace_id(trace), span_id(span))).await,
        None => api.get(&format!("/api/v1/flows/{}", trace_id(seed))).await,
    }
}

/// From each of the seeds: the traces, the edges, the shapes.
async fn check(script: &str, seeds: &[&str], expected: &str) {
    let api = Api::new();
    api.ingest(&story(script), &[]);
    for seed in seeds {
        let flow = flow(&api, seed).await;
        let mut got = vec![traces(&flow)];
        got.extend(edges(&flow));
        got.extend(flow["shapes"].as_array().unwrap().iter().map(|shape| format!("shape {}", shape.as_str().unwrap())));
        assert_eq!(got, lines(expected), "{seed}: {flow:#}");
    }
}

async fn arrow(api: &Api, path: &str) -> (Value, Vec<RecordBatch>) {
    let (status, content_type, body) = api.ask(path, Some(ARROW)).await;
    assert_eq!((status, content_type.as_str()), (StatusCode::OK, ARROW), "{path}");
    let reader = StreamReader::try_new(body.as_slice(), None).unwrap();
    let flow = serde_json::from_str(&reader.schema().metadata()["flow"]).unwrap();
    (flow, reader.map(Result::unwrap).collect())
}

/// A cell as JSON.
fn cell(column: &dyn Array, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Int32 => json!(column.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => json!(column.as_primitive::<Int64Type>().value(row)),
        DataType::UInt32 => json!(column.as_primitive::<UInt32Type>().value(row)),
        DataType::UInt16 => json!(column.as_primitive::<UInt16Type>().value(row)),
        DataType::FixedSizeBinary(_) => {
            let bytes = column.as_fixed_size_binary().value(row);
            json!(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
        DataType::Dictionary(..) => {
            let words = column.as_dictionary::<Int32Type>();
            json!(words.values().as_string::<i32>().value(words.key(row).unwrap()))
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_order_is_the_same_from_all_that_it_is_asked_for_by() {
    ingested_everywhere(&story(ORDER), &[], async |api| {
        let expected = flow(api, "api").await;
        assert_eq!(traces(&expected), "api work cost tell");
        assert_eq!(
            edges(&expected),
            lines(
                "api.p -> work.c sqs sqs.receive exact orders 4.1s
                 work.i -> cost.s lambda.invoke lambda.invoked exact pricing 0.2s synchronous
                 work.n -> tell.s sns sns.receive exact priced 1s"
            )
        );
        for seed in ["work", "cost", "tell", "api.p", "work.c", "tell.s"] {
            assert_eq!(flow(api, seed).await, expected, "{seed}");
        }
        let ids = ["invocation_id=r2", "invocation_id=r3", "message_id=m1", "message_id=n1"];
        for query in ids.iter().chain(&["key=sqs:m1", "key=sns:n1", "key=lambda:r4"]) {
            assert_eq!(api.get(&format!("/api/v1/flows?{query}")).await, expected, "{query}");
        }
        assert_eq!(api.get(&format!("/api/v1/flows/{}", trace_id("api").to_uppercase())).await, expected);
    })
    .await;
}

#[tokio::test]
async fn what_is_told_of_a_flow() {
    let api = Api::new();
    api.ingest(&story(ORDER), &[]);
    let flow = flow(&api, "tell").await;
    let with_times = |name: &str| flow[name].as_str().unwrap().to_owned();
    assert_eq!(with_times("start_time"), "2026-11-21T10:00:00.000000000Z");
    assert_eq!(with_times("end_time"), "2026-11-21T10:00:10.000000000Z");
    assert_eq!(flow["duration_ns"], json!(10 * SECOND));
    assert_eq!((&flow["complete"], &flow["reason"], &flow["cuts"]), (&json!(true), &Value::Null, &json!([])));
    assert_eq!(flow["missing"], json!({"sent": [], "received": [], "parents": 0}));
    assert_eq!(
        flow["traces"][1],
        json!({
            "trace_id": trace_id("work"), "start_time": "2026-11-21T10:00:05.000000000Z", "duration_ns": 4 * SECOND,
            "spans": 4, "errors": 0, "missing_parents": 0, "service": "worker", "function": "worker", "name": "work.s",
        })
    );
    assert_eq!(flow["traces"][2]["errors"], json!(1));
    let edge = &flow["edges"][0];
    assert_eq!((&edge["key"], &edge["candidates"]), (&json!("sqs:m1"), &json!(1)));
    assert_eq!(
        edge["to"],
        json!({
            "trace_id": trace_id("work"), "span_id": span_id("c"), "root_span_id": span_id("s"), "service": "worker",
            "function": "worker", "invocation_id": "r2", "start_time": "2026-11-21T10:00:05.100000000Z",
            "duration_ns": SECOND / 10,
        })
    );
    // The path that took the time goes over the queue and the topic.
    let path: Vec<String> = flow["critical_path"].as_array().unwrap().iter().map(step).collect();
    assert_eq!(path.first().map(String::as_str), Some("0+0.5 api.s"));
    assert_eq!(path.last().map(String::as_str), Some("9+1 tell.s"));
    assert!(path.contains(&"8+1 tell.s wait".to_owned()), "{path:?}");
    let took: i64 = flow["critical_path"].as_array().unwrap().iter().map(|s| s["duration_ns"].as_i64().unwrap()).sum();
    assert_eq!(took, 10 * SECOND);
}

#[tokio::test]
async fn a_flow_of_more_traces_than_asked_for_says_so() {
    let api = Api::new();
    api.ingest(&story(ORDER), &[]);
    let flow = api.get(&format!("/api/v1/flows/{}?max_traces=2", trace_id("api"))).await;
    assert_eq!(flow["traces"].as_array().unwrap().len(), 2);
    assert_eq!(flow["complete"], json!(false));
    assert!(flow["reason"].as_str().unwrap().contains("the limit of traces was reached"), "{flow:#}");
    assert!(flow["cuts"].as_array().unwrap().iter().any(|cut| cut["reason"] == json!("traces")), "{flow:#}");
}

#[tokio::test]
async fn one_after_the_other_is_a_chain() {
    check(
        "a s - server   one/one     0 1
         a p s producer one/one     0 1 send=first:m1
         b s - server   two/two     2 3 inv=r1
         b c s consumer two/two     2 3 receive=first:m1
         b p c producer two/two     2 3 send=second:m2
         c s - server   three/three 4 5 inv=r2
         c c s consumer three/three 4 5 receive=second:m2",
        &["a", "b", "c"],
        "a b c
         a.p -> b.c sqs sqs.receive exact first 1s
         b.p -> c.c sqs sqs.receive exact second 1s
         shape chain",
    )
    .await;
}

#[tokio::test]
async fn a_link_leads_where_no_id_does() {
    check(
        "a s - server   one     0 1
         a p s producer one     0 1
         b s - server   two/two 2 3
         b c s consumer two/two 2 3 link=a.p",
        &["a", "b", "b.c"],
        "a b
         a.p -> b.c link link exact - 1s",
    )
    .await;
}

#[tokio::test]
async fn several_receivers_retries_and_dead_letters() {
    let script = "
        a p - producer shop     0  1    publish=topic:n1
        b s - server   one/one  2  3    inv=r1 notified=topic:n1
        c s - server   two/two  2  3    inv=r2 notified=topic:n1
    ";
    check(
        script,
        &["a", "b", "c"],
        "a b c
         a.p -> b.s sns sns.receive exact topic 1s fan_out
         a.p -> c.s sns sns.receive exact topic 1s fan_out
         shape fan_out",
    )
    .await;
    let script = "
        a p - producer shop          0  1     send=orders:m1
        b s - server   worker/worker 2  3     inv=r1 error
        b c s consumer worker/worker 2  3     receive=orders:m1
        c s - server   worker/worker 40 41    inv=r2 error
        c c s consumer worker/worker 40 41    receive=orders:m1
        d s - server   rescue/rescue 90 91    inv=r3
        d c s consumer rescue/rescue 90 91    receive=orders-dlq:m1
    ";
    check(
        script,
        &["a", "b", "c", "d"],
        "a b c d
         a.p -> b.c sqs sqs.receive exact orders 1s
         a.p -> c.c sqs sqs.receive exact orders 39s retry 2
         a.p -> d.c sqs sqs.receive exact orders-dlq 89s dead_letter
         shape retries
         shape dead_letter",
    )
    .await;
    let api = Api::new();
    api.ingest(&story(script), &[]);
    let flow = flow(&api, "b").await;
    assert_eq!(
        rows(&flow),
        lines(
            "-1 0 0+1 a.p
             0 1 1+1 ⇢ orders
             1 2 2+1 b.s 1
             2 3 2+1 b.c
             0 1 1+39 ⇢ orders 64
             4 2 40+1 c.s 1
             5 3 40+1 c.c
             0 1 1+89 ⇢ orders-dlq 256
             7 2 90+1 d.s
             8 3 90+1 d.c"
        )
    );
    assert_eq!(pick(&flow["rows"], "attempt"), ["null", "1", "null", "null", "2", "null", "null", "1", "null", "null"]);
}

/// Two orders in one batch: each message has its own span, and below it what it set off; and the invocation as a whole
/// sets off something.
const TWO_ORDERS: &str = "
    a  p  -  producer shop          0  1  send=orders:m1
    c  p  -  producer shop          0  1  send=orders:m2
    b  s  -  server   worker/worker 5  9  inv=r1
    b  m1 s  consumer worker/worker 5  6  receive=orders:m1
    b  m2 s  consumer worker/worker 7  8  receive=orders:m2
    b  x1 m1 producer worker/worker 5  6  publish=first:n1
    b  x2 m2 producer worker/worker 7  8  publish=second:n2
    b  x3 s  producer worker/worker 8  9  publish=third:n3
    n1 s  -  server   one           10 11 notified=first:n1
    n2 s  -  server   two           10 11 notified=second:n2
    n3 s  -  server   three         10 11 notified=third:n3
";

#[tokio::test]
async fn two_orders_in_one_batch_stay_two() {
    ingested_everywhere(&story(TWO_ORDERS), &[], async |api| {
        for (seeds, expected, other) in
            [(["a", "b.m1", "n1"], "a b n1 n3", "c"), (["c", "b.x2", "n2"], "c b n2 n3", "a")]
        {
            for seed in seeds {
                let flow = flow(api, seed).await;
                assert_eq!(traces(&flow), expected, "{seed}");
                let cut = json!({
                    "reason": "batch", "trace_id": trace_id("b"), "span_id": span_id("s"), "traces": [trace_id(other)],
                    "traces_count": 1,
                });
                // It is another story: nothing of this one is missing.
                assert_eq!((&flow["cuts"], &flow["complete"]), (&json!([cut]), &json!(true)), "{seed}");
                // What another story sent has an edge, and no row.
                assert!(edges(&flow).iter().any(|edge| edge.starts_with(&format!("{other}.p -> b."))), "{flow:#}");
                let hops = rows(&flow).into_iter().filter(|row| row.contains('⇢')).count();
                assert_eq!(hops, 3, "{seed}: {:#?}", rows(&flow));
            }
        }
        for (query, expected) in [("message_id=m1", "a b n1 n3"), ("key=sqs:m2", "c b n2 n3")] {
            assert_eq!(traces(&api.get(&format!("/api/v1/flows?{query}")).await), expected, "{query}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_only_one_side_tells_is_missing() {
    let script = "
        a s - server   shop          0  1
        a p s producer shop          0  1  send=orders:m1
        b s x server   worker/worker 2  3  inv=r1
        b c s consumer worker/worker 2  3  receive=others:m9
        b p c producer worker/worker 2  3  send=later:m3
    ";
    let half = |trace: &str, span: &str, root: &str, service: &str, at: i64| {
        json!({
            "trace_id": trace_id(trace), "span_id": span_id(span), "root_span_id": span_id(root), "service": service,
            "start_time": crate::api::answer::rfc3339(T0 + at * SECOND), "duration_ns": SECOND,
        })
    };
    ingested_everywhere(&story(script), &[], async |api| {
        let got = flow(api, "a").await;
        assert_eq!(
            got["missing"],
            json!({
                "sent": [{"hop": "sqs", "key": "sqs:m1", "destination": "orders", "end": half("a", "p", "s", "shop", 0)}],
                "received": [], "parents": 0,
            })
        );
        let got = flow(api, "b").await;
        let worker =
            |span: &str| with(half("b", span, "s", "worker", 2), json!({"function": "worker", "invocation_id": "r1"}));
        assert_eq!(
            got["missing"],
            json!({
                "sent": [{"hop": "sqs", "key": "sqs:m3", "destination": "later", "end": worker("p")}],
                "received": [{"hop": "sqs", "key": "sqs:m9", "destination": "others", "end": worker("c")}],
                "parents": 1,
            })
        );
        assert_eq!(got["traces"][0]["missing_parents"], json!(1));
        // That something is missing is told; all that is stored is in the answer.
        assert_eq!(got["complete"], json!(true));
        assert_eq!(rows(&got), lines("-1 0 0+1 b.s 2\n0 1 0+1 b.c\n1 2 0+1 b.p"));
    })
    .await;
}

#[tokio::test]
async fn traces_that_set_off_each_other_end() {
    let script = "
        a s - server   one 0 9 in=ce:shop|y
        a p s producer one 1 2 out=ce:shop|x
        b s - server   two 1 9 in=ce:shop|x
        b p s producer two 2 3 out=ce:shop|y
    ";
    let api = Api::new();
    api.ingest(&story(script), &[]);
    for seed in ["a", "b"] {
        let flow = flow(&api, seed).await;
        assert_eq!(traces(&flow), "a b");
        assert_eq!(
            rows(&flow),
            lines(
                "-1 0 0+9 a.s
                 0 1 1+1 a.p
                 1 2 1+0 ⇢ two
                 2 3 1+8 b.s
                 3 4 2+1 b.p
                 4 5 0+0 ⇢ one"
            ),
            "{flow:#}"
        );
    }
}

#[tokio::test]
async fn what_is_stored_twice_is_told_once() {
    let spans = story(ORDER);
    let once = Api::new();
    once.ingest(&spans, &[]);
    let twice: Vec<Value> = spans.iter().chain(&spans).cloned().collect();
    let expected = flow(&once, "api").await;
    ingested_everywhere(&twice, &[], async |api| assert_eq!(flow(api, "tell").await, expected)).await;
}
