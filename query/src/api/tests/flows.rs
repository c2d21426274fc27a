//! `/flows`.

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

#[tokio::test]
async fn rows_stand_in_order_with_the_hops_between() {
    ingested_everywhere(&story(ORDER), &[], async |api| {
        let flow = flow(api, "cost").await;
        assert_eq!(
            rows(&flow),
            lines(
                "-1 0 0+2 api.s
                 0 1 0.5+0.5 api.p
                 1 2 0.6+0.3 api.q
                 1 2 1+4.1 ⇢ orders
                 3 3 5+4 work.s 4
                 4 4 5.1+0.1 work.c
                 4 4 6+1 work.i
                 6 5 6+0.2 ⇢ pricing
                 7 6 6.2+0.6 cost.s 1
                 4 4 7.5+0.5 work.n
                 9 5 8+1 ⇢ priced
                 10 6 9+1 tell.s"
            )
        );
        assert_eq!(flow["rows_count"], json!(12));
        let numbers = |name: &str| -> Vec<u64> {
            flow["rows"].as_array().unwrap().iter().map(|row| row[name].as_u64().unwrap()).collect()
        };
        assert_eq!(numbers("children"), [1, 2, 0, 1, 3, 0, 1, 1, 0, 1, 1, 0]);
        assert_eq!(numbers("descendants"), [11, 10, 0, 8, 7, 0, 2, 1, 0, 2, 1, 0]);
        // A call does not count for the caller, a wait counts for the hop.
        let own: Vec<f64> = flow["rows"].as_array().unwrap().iter().map(|row| seconds(&row["self_time"])).collect();
        assert_eq!(own, [1.5, 0.2, 0.3, 4.1, 2.4, 0.1, 0.2, 0.2, 0.6, 0.5, 1.0, 1.0]);
        let hop = &flow["rows"][7];
        assert_eq!(
            (&hop["hop"], &hop["certainty"], &hop["attempt"], &hop["service"], &hop["function"], &hop["kind"]),
            (&json!("lambda.invoke"), &json!("exact"), &json!(1), &json!("worker"), &json!("worker"), &Value::Null)
        );
        assert_eq!((&hop["trace_id"], &hop["span_id"]), (&json!(trace_id("cost")), &json!(span_id("s"))));
    })
    .await;
}

#[tokio::test]
async fn both_formats_say_the_same() {
    ingested_everywhere(&story(ORDER), &[], async |api| {
        for query in ["", "?limit=5", "?max_traces=2"] {
            let path = format!("/api/v1/flows/{}{query}", trace_id("work"));
            let mut expected = api.get(&path).await;
            let rows = expected.as_object_mut().unwrap().remove("rows").unwrap();
            let rows = rows.as_array().unwrap();
            let (flow, batches) = arrow(api, &path).await;
            assert_eq!(flow, expected, "{path}");
            assert_eq!(batches.len(), 1);
            let batch = &batches[0];
            assert_eq!(batch.num_rows(), rows.len());
            for (number, row) in rows.iter().enumerate() {
                let described = row.as_object().unwrap();
                for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                    let value = described.get(field.name()).cloned().unwrap_or(Value::Null);
                    assert_eq!(cell(column, number), value, "{path} {number} {}", field.name());
                    assert!(field.is_nullable() || !value.is_null(), "{}", field.name());
                }
                let is_column = |name: &String| batch.schema().column_with_name(name).is_some();
                assert!(described.keys().all(is_column), "{row}");
            }
        }
    })
    .await;
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
async fn a_limit_leaves_the_upper_levels() {
    let api = Api::new();
    api.ingest(&story(ORDER), &[]);
    let path = format!("/api/v1/flows/{}?limit=5", trace_id("api"));
    let flow = api.get(&path).await;
    assert_eq!(
        rows(&flow),
        lines("-1 0 0+2 api.s\n0 1 0.5+0.5 api.p\n1 2 0.6+0.3 api.q\n1 2 1+4.1 ⇢ orders\n3 3 5+4 work.s 4")
    );
    assert_eq!((&flow["rows_count"], &flow["complete"]), (&json!(12), &json!(false)));
    assert_eq!(flow["reason"], json!("the limit of rows was reached"));
    assert_eq!((&flow["rows"][4]["children"], &flow["rows"][4]["descendants"]), (&json!(3), &json!(7)));
    // What stands above the rows is of the whole flow.
    assert_eq!(flow["edges"].as_array().unwrap().len(), 3);
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
async fn within_a_trace_a_hop_stands_where_a_message_waited() {
    let script = "
        t s - server   shop          0  9
        t p s producer shop          1  2  publish=priced:n1
        t r p server   notify/notify 5  6  inv=r1
        t c s client   shop          7  8
        t u c server   users         7.2 7.8
    ";
    let api = Api::new();
    api.ingest(&story(script), &[]);
    let flow = flow(&api, "t").await;
    assert_eq!(
        rows(&flow),
        lines(
            "-1 0 0+9 t.s
             0 1 1+1 t.p
             1 2 2+3 ⇢ priced
             2 3 5+1 t.r
             0 1 7+1 t.c
             4 2 7.2+0.6 t.u"
        )
    );
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

#[tokio::test]
async fn a_tenant_sees_only_its_own() {
    let mut spans = story(
        "a s - server   shop          0 1
         a p s producer shop          0 1 send=orders:m1
         b c - consumer worker/worker 2 3 receive=orders:m1
         a x - server   spy           0 1 tenant=acme
         z p - producer spy           0 1 send=orders:m1 tenant=acme
         y c - consumer spy/spy       2 3 receive=orders:m1 tenant=acme
         y p c producer spy/spy       2 3 send=orders:m2 tenant=acme",
    );
    let expected = {
        let api = Api::new();
        api.ingest(&spans[..3], &[]);
        flow(&api, "a").await
    };
    assert_eq!(traces(&expected), "a b");
    // In turn, so that rows of both are in each batch.
    spans.swap(1, 5);
    spans.swap(2, 3);
    ingested_everywhere(&spans, &[], async |api| {
        for seed in ["a", "b"] {
            assert_eq!(flow(api, seed).await, expected, "{seed}");
        }
        assert_eq!(api.get("/api/v1/flows?message_id=m1").await, expected);
        api.refused("/api/v1/flows?message_id=m2", 404, "no span is known with the message id m2").await;
        api.refused(&format!("/api/v1/flows/{}", trace_id("y")), 404, "there is no trace").await;
        let spy = format!("/api/v1/flows/{}?span_id={}", trace_id("a"), span_id("x"));
        api.refused(&spy, 404, "there is no span").await;
    })
    .await;
}

#[tokio::test]
async fn messages_of_all_kinds_are_found_by_their_id() {
    let id = "dd3f25a2-55c8-4586-ba3d-e8286f0633f7";
    let keys =
        ["eb:ID", "gps:shop:ID", "mq:rabbitmq|orders|ID", "mq:activemq|orders|ID", "asq:ID", "s3.req:ID", "apigw:ID"];
    for key in keys {
        let key = key.replace("ID", id);
        let api = Api::new();
        api.ingest(&story(&format!("a p - producer shop 0 1 out={key}\nb c - consumer worker 2 3 in={key}")), &[]);
        let flow = api.get(&format!("/api/v1/flows?message_id={id}")).await;
        assert_eq!(traces(&flow), "a b", "{key}: {flow:#}");
        assert_eq!(api.get(&format!("/api/v1/flows?key={}", key.replace('|', "%7C"))).await, flow, "{key}");
    }
}

#[tokio::test]
async fn what_is_no_flow() {
    let api = Api::new();
    api.ingest(&story(ORDER), &[]);
    let trace = trace_id("api");
    for (path, status, expected) in [
        ("/02020202020202020202020202020202".to_owned(), 404, "there is no trace 0202"),
        (format!("/{trace}?span_id=0909090909090909"), 404, "there is no span 0909090909090909 in trace"),
        (format!("/{}?span_id={}", trace_id("nobody"), span_id("s")), 404, "there is no span"),
        ("/xyz".to_owned(), 400, "parameter trace_id=xyz"),
        ("/0102".to_owned(), 400, "32 hexadecimal digits"),
        (format!("/{trace}?span_id=1"), 400, "parameter span_id=1"),
        (format!("/{trace}?spam_id=1"), 400, "did you mean span_id?"),
        (format!("/{trace}?message_id=m1"), 400, "there is no parameter message_id"),
        (format!("/{trace}?limit=0"), 400, "a number from 1 to 1000000"),
        (format!("/{trace}?limit=1000001"), 400, "a number from 1 to 1000000"),
        (format!("/{trace}?max_traces=0"), 400, "a number from 1 to 1000"),
        (format!("/{trace}?max_traces=1001"), 400, "a number from 1 to 1000"),
        (format!("/{trace}?limit=1&limit=2"), 400, "limit is given more than once"),
        (String::new(), 400, "one of invocation_id, message_id and key is needed"),
        ("?key=".to_owned(), 400, "one of invocation_id, message_id and key is needed"),
        ("?key=sqs:m1&message_id=m1".to_owned(), 400, "only one of invocation_id, message_id and key"),
        ("?invocation_id=r2&message_id=m1".to_owned(), 400, "only one of invocation_id, message_id and key"),
        ("?key=nothing:m1".to_owned(), 400, "the part before the first colon"),
        ("?key=sqs:".to_owned(), 400, "1 to 2048 are allowed"),
        (format!("?key=link:{trace}"), 400, "names one message"),
        ("?key=dest:sqs%7Corders%7C1".to_owned(), 400, "names one message"),
        ("?key=sqs:nobody".to_owned(), 404, "no span is known with the key sqs:nobody"),
        ("?invocation_id=nobody".to_owned(), 404, "no span is known with the invocation id nobody"),
        ("?message_id=nobody".to_owned(), 404, "no span is known with the message id nobody"),
        ("?span_id=0101010101010101".to_owned(), 400, "there is no parameter span_id"),
    ] {
        api.refused(&format!("/api/v1/flows{path}"), status, expected).await;
    }
    for path in [format!("/api/v1/flows/{trace}"), "/api/v1/flows?message_id=m1".to_owned()] {
        let (status, ..) = api.ask(&path, Some("text/html")).await;
        assert_eq!(status, StatusCode::NOT_ACCEPTABLE, "{path}");
    }
}

/// A function that was called, wrote something and then ran out of time; and one that a message set off and that crashed.
const LOST: &str = "
    a s - server   shop          0    9
    a c s client   shop          1    8   call=orders:i1
    a p s producer shop          8    8.5 send=bills:m1
    b w x client   shop/orders   2    3   on=e/1 publish=priced:n1
    b v w internal shop/orders   2.5  3   on=e/1
    c r x consumer mail/notify   10   11  on=e/2 receive=bills:m1
    d s - server   tell          5    6   notified=priced:n1
";

const LOST_RECORDS: &str = "
    orders e/1 1.5 platform.start START RequestId: i1 Version: 3
    orders e/1 7.5 platform.report REPORT RequestId: i1 Duration: 6000.00 ms Billed Duration: 6000 ms Memory Size: 512 MB Max Memory Used: 128 MB Status: timeout
    notify e/2 9 platform.start START RequestId: i2 Version: 1
    notify e/2 12 platform.report REPORT RequestId: i2 Duration: 3000.00 ms Billed Duration: 3000 ms Memory Size: 512 MB Max Memory Used: 128 MB Status: failure Error Type: Runtime.ExitError
    orders e/1 100 platform.start START RequestId: i3 Version: 3
";

#[tokio::test]
async fn invocations_whose_span_never_came_have_the_reason_of_the_platform() {
    ingested_everywhere(&story(LOST), &platform(LOST_RECORDS), async |api| {
        let got = flow(api, "a").await;
        assert_eq!(traces(&got), "a b d c");
        let place = |trace: &str, span: &str| json!({"trace_id": trace_id(trace), "span_id": span_id(span)});
        assert_eq!(
            got["unfinished"],
            json!([
                {
                    "invocation_id": "i1", "attempt": 1, "function": "orders", "outcome": "timeout",
                    "start_time": "2026-11-21T10:00:01.500000000Z", "duration_ns": 6 * SECOND,
                    "cause": "timed out after 6.00 s", "spans": [place("b", "w")], "caller": place("a", "c"),
                },
                {
                    "invocation_id": "i2", "attempt": 1, "function": "notify", "outcome": "crash",
                    "start_time": "2026-11-21T10:00:09.000000000Z", "duration_ns": 3 * SECOND,
                    "cause": "the process ended", "spans": [place("c", "r")],
                },
            ])
        );
        assert_eq!(
            rows(&got),
            lines(
                "-1 0 0+9 a.s
                 0 1 1+7 a.c
                 1 2 1.5+6 orders 513
                 2 3 2+1 b.w
                 3 4 2.5+0.5 b.v
                 3 4 3+2 ⇢ priced
                 5 5 5+1 d.s
                 0 1 8+0.5 a.p
                 7 2 8.5+1.5 ⇢ bills
                 8 3 9+3 notify 513
                 9 4 10+1 c.r"
            )
        );
        assert_eq!(pick(&got["rows"], "row")[2], "invocation");
        assert_eq!(got["rows"][2]["cause"], json!("timed out after 6.00 s"));
        // The flow ends when the last of them does.
        assert_eq!(got["duration_ns"], json!(12 * SECOND));
        assert_eq!(
            path(&got),
            "0+1 a.s, 1+0.5 a.c, 1.5+0.5 b.w of i1, 2+0.5 b.w, 2.5+0.5 b.v, 3+4.5 b.w of i1, 7.5+0.5 a.c, 8+0.5 a.p, 8.5+0.5 c.r wait, \
             9+1 c.r of i2, 10+1 c.r, 11+1 c.r of i2"
        );
        assert_eq!(got["missing"]["parents"], json!(2));
        // It is one story, whatever it is asked for by: also by what one of them left, which no id leads to.
        for path in ["/api/v1/flows?invocation_id=i1", "/api/v1/flows?invocation_id=i2"] {
            assert_eq!(api.get(path).await, got, "{path}");
        }
        for seed in ["b", "c", "d"] {
            assert_eq!(flow(api, seed).await, got, "{seed}");
        }
        let (_, batches) = arrow(api, &format!("/api/v1/flows/{}", trace_id("d"))).await;
        assert_eq!(cell(batches[0].column_by_name("cause").unwrap(), 2), json!("timed out after 6.00 s"));
    })
    .await;
}

/// A notification that a function received twice: the first time it ran out of time before it sent its span.
const TRIED_AGAIN: &str = "
    a s - server   shop          0    1
    a p s producer shop          0.5  0.6 publish=photos:n1
    b x q client   images/thumbs 2    3   on=e/1
    c s - server   images/thumbs 9    10  on=e/2 inv=r1 notified=photos:n1
";

const TRIED_AGAIN_RECORDS: &str = "
    thumbs e/1 1.5 platform.start START RequestId: r1 Version: 1
    thumbs e/1 4 platform.report REPORT RequestId: r1 Duration: 2500.00 ms Billed Duration: 2500 ms Memory Size: 512 MB Max Memory Used: 128 MB Status: timeout
    thumbs e/2 9 platform.start START RequestId: r1 Version: 1
    thumbs e/2 10 platform.report REPORT RequestId: r1 Duration: 1000.00 ms Billed Duration: 1000 ms Memory Size: 512 MB Max Memory Used: 128 MB Status: success
";

#[tokio::test]
async fn a_try_that_was_lost_is_of_the_story_of_the_next() {
    ingested_everywhere(&story(TRIED_AGAIN), &platform(TRIED_AGAIN_RECORDS), async |api| {
        for seed in ["a", "b", "c"] {
            let got = flow(api, seed).await;
            assert_eq!(traces(&got), "a b c", "{seed}");
            let edge = &got["edges"][0];
            assert_eq!((&edge["attempt"], &edge["retry"]), (&json!(2), &json!(true)), "{seed}");
            assert!(got["shapes"].as_array().unwrap().contains(&json!("retries")), "{seed}");
            let lost = &got["unfinished"][0];
            assert_eq!((&lost["invocation_id"], &lost["attempt"]), (&json!("r1"), &json!(1)), "{seed}");
            assert_eq!(lost["spans"], json!([{"trace_id": trace_id("b"), "span_id": span_id("x")}]), "{seed}");
            assert_eq!(lost["caller"], json!({"trace_id": trace_id("a"), "span_id": span_id("p")}), "{seed}");
            assert_eq!(got["unfinished"].as_array().unwrap().len(), 1, "{seed}");
        }
        let found = api.get("/api/v1/flows?invocation_id=r1").await;
        assert_eq!(traces(&found), "a b c");
    })
    .await;
}

#[tokio::test]
async fn tries_in_one_trace_are_told_apart() {
    let spans = "
        a s - server shop          0   1
        a c s client shop          0.2 0.3 call=orders:r1
        a x c server orders/orders 2   3   on=e/1 inv=r1 error
        a y c server orders/orders 63  64  on=e/1 inv=r1
    ";
    ingested_everywhere(&story(spans), &[], async |api| {
        let got = flow(api, "a").await;
        let tries: Vec<(&Value, &Value)> =
            got["edges"].as_array().unwrap().iter().map(|e| (&e["to"]["span_id"], &e["attempt"])).collect();
        assert_eq!(tries, [(&json!(span_id("x")), &json!(1)), (&json!(span_id("y")), &json!(2))]);
    })
    .await;
}
