//! `/functions`.

use std::collections::BTreeSet;

use hopline_stitch::facts;
use hopline_stitch::invocation::{Fact, Invocation, Oom, Source, Status};

use super::hops::lines;
use super::invocations::{RECORDS, SPANS};
use super::*;
use crate::api::invocations::read::{Which, failed, known};
use crate::api::params::TimeRange;

/// The hour of the tests.
const RANGE: &str = "start=2026-11-21T10:00:00Z&end=2026-11-21T11:00:00Z";

async fn ask(api: &Api, path: &str) -> Value {
    let separator = if path.contains('?') { '&' } else { '?' };
    api.get(&format!("/api/v1/functions{path}{separator}{RANGE}")).await
}

/// The hour before: a function that rests now, and one that ran then too.
const EARLIER: &str = "
    o1 s - server shop/orders -1800 -1799 inv=o1 version=2 region=eu-central-1
    o2 s - server mail/rested -1800 -1799 inv=o2 error=ValueError:bad
";

fn all_spans() -> Vec<Value> {
    story(&format!("{EARLIER}{SPANS}"))
}

#[tokio::test]
async fn figures_as_counted_by_hand() {
    ingested_everywhere(&all_spans(), &platform(RECORDS), async |api| {
        let got = ask(api, "").await;
        assert_eq!(pick(&got["functions"], "function"), ["notify", "orders", "rested"]);
        assert_eq!((&got["complete"], &got["currency"]), (&json!(true), &json!("USD")));
        assert_eq!(got["start"], json!("2026-11-21T10:00:00.000000000Z"));
        let error = got["relative_error"].as_f64().unwrap();
        let orders = &got["functions"][1];
        let exact = json!({
            "invocations": 4, "errors": 3, "error_rate": 0.75, "timeouts": 1, "out_of_memory": 1,
            "start_types": {"cold": 1, "warm": 3, "preinit": 0, "restore": 0, "unknown": 0}, "cold_rate": 0.25,
            "cold_rate_coverage": 1.0, "memory_size_bytes": 512 << 20, "memory_used_bytes": 512 << 20,
            "billed_ns": 4_200_000_000_i64, "costed": 3, "retries": 0, "reported": 3, "lost": 2, "versions": ["3"],
            "regions": ["eu-central-1"], "last_seen": "2026-11-21T10:00:40.000000000Z",
        });
        for (name, expected) in exact.as_object().unwrap() {
            assert_eq!(&orders[name], expected, "{name}");
        }
        // 0.15, 0.5, 1 and 3 s: of four, the ranks stand far apart.
        for (name, least, most) in [
            ("init_p50_ns", 0.7, 0.7),
            ("init_p95_ns", 0.7, 0.7),
            ("duration_p50_ns", 0.5, 1.0),
            ("duration_p95_ns", 1.0, 3.0),
            ("duration_p99_ns", 1.0, 3.0),
        ] {
            let value = orders[name].as_f64().unwrap() / 1e9;
            assert!(value >= least * (1.0 - error) && value <= most * (1.0 + error), "{name}: {value}");
        }
        let before = &orders["before"];
        assert_eq!(
            (&before["invocations"], &before["errors"], &before["error_rate"]),
            (&json!(1), &json!(0), &json!(0.0))
        );
        let notify = &got["functions"][0];
        assert_eq!((&notify["invocations"], &notify["retries"], &notify["cost"]), (&json!(3), &json!(1), &Value::Null));
        assert_eq!((&notify["memory_size_bytes"], &notify["lost"]), (&Value::Null, &json!(0)));
    })
    .await;
}

#[tokio::test]
async fn costs_add_up() {
    let api = Api::new();
    api.ingest(&all_spans(), &platform(RECORDS));
    let one_by_one = api.get(&format!("/api/v1/invocations?function=orders&{RANGE}")).await;
    let costs = one_by_one["invocations"].as_array().unwrap().iter().filter_map(|i| i["cost"]["amount"].as_f64());
    let sum: f64 = costs.sum();
    let got = ask(&api, "").await;
    assert!(sum > 0.0 && (got["functions"][1]["cost"].as_f64().unwrap() - sum).abs() < 1e-11, "{sum}");
    assert_eq!(got["price_table"], one_by_one["invocations"][0]["cost"]["price_table"]);
}

#[tokio::test]
async fn where_there_is_nothing_to_divide_by_a_rate_is_null() {
    let api = Api::new();
    api.ingest(&all_spans(), &[]);
    let got = ask(&api, "").await;
    let rested = &got["functions"][2];
    assert_eq!((&rested["invocations"], &rested["before"]["invocations"]), (&json!(0), &json!(1)));
    let names = [
        "error_rate",
        "cold_rate",
        "cold_rate_coverage",
        "init_p50_ns",
        "duration_p50_ns",
        "duration_p99_ns",
        "memory_size_bytes",
        "memory_used_bytes",
        "cost",
    ];
    for name in names {
        assert_eq!(rested[name], Value::Null, "{name}");
    }
    assert_eq!(rested["last_seen"], json!("2026-11-21T09:30:00.000000000Z"));
    // Nobody says how it started: the share of cold starts is not known, and that is known.
    assert_eq!((&rested["before"]["cold_rate"], &rested["before"]["cold_rate_coverage"]), (&Value::Null, &json!(0.0)));
    assert_eq!(rested["before"]["error_rate"], json!(1.0));
    // In full, too.
    let one = ask(&api, "/rested").await;
    assert_eq!((&one["invocations"], &one["error_rate"], &one["series"]), (&json!(0), &Value::Null, &json!([])));
}

#[tokio::test]
async fn one_function_in_full() {
    ingested_everywhere(&all_spans(), &platform(RECORDS), async |api| {
        let got = ask(api, "/orders").await;
        let glance = &ask(api, "").await["functions"][1];
        for (name, value) in glance.as_object().unwrap() {
            assert_eq!(&got[name], value, "{name}");
        }
        let groups = |name: &str| -> Vec<String> {
            let group = |g: &Value| format!("{}:{}", g["value"].as_str().unwrap(), g["invocations"]);
            got[name].as_array().unwrap().iter().map(group).collect()
        };
        assert_eq!(groups("by_version"), ["3:4"]);
        assert_eq!(groups("by_trigger"), [":2", "http:2"]);
        assert_eq!(groups("by_region"), ["eu-central-1:4"]);
        assert_eq!(groups("by_start_type"), ["cold:1", "warm:3"]);
        assert_eq!(pick(&got["insights"], "kind"), ["out_of_memory", "timed_out", "near_memory"]);
        assert_eq!(got["insights"][1]["text"], json!("1 of 4 invocations ran out of time"));
        assert_eq!(got["insights"][1]["evidence"], json!({"timed_out": 1.0, "invocations": 4.0}));
        assert_eq!((&got["complete"], &got["reason"]), (&json!(true), &Value::Null));
        assert_eq!(got["step_ns"], json!(60 * SECOND));
        assert_eq!(pick(&got["series"], "time"), ["2026-11-21T10:00:00.000000000Z"]);
        assert_eq!(got["series"][0]["invocations"], json!(4));
    })
    .await;
}

#[tokio::test]
async fn series_go_by_whole_minutes() {
    let line = |(n, second): (usize, i64)| format!("t{n} s - server f/f {second} {} inv=i{n}\n", second + 1);
    let spans: String = [10, 40, 70, 130, 250, 275].into_iter().enumerate().map(line).collect();
    let api = Api::new();
    api.ingest(&story(&spans), &[]);
    let series = async |query: &str| -> Vec<String> {
        let got = api.get(&format!("/api/v1/functions/f?{query}")).await;
        let steps = got["series"].as_array().unwrap();
        let sum: u64 = steps.iter().map(|step| step["invocations"].as_u64().unwrap()).sum();
        assert_eq!(json!(sum), got["invocations"], "{query}");
        let ends = ["start", "end"].map(|name| got[name].as_str().unwrap().to_owned());
        assert!(ends.iter().all(|time| time.ends_with(":00.000000000Z")), "{ends:?}");
        let step = |s: &Value| format!("{} {}", &s["time"].as_str().unwrap()[11..19], s["invocations"]);
        steps.iter().map(step).collect()
    };
    let range = "start=2026-11-21T10:00:30Z&end=2026-11-21T10:04:30Z";
    assert_eq!(series(range).await, ["10:00:00 2", "10:01:00 1", "10:02:00 1", "10:04:00 2"]);
    assert_eq!(series(&format!("{range}&step=2m")).await, ["10:00:00 3", "10:02:00 1", "10:04:00 2"]);
    let day = "start=2026-11-21T00:00:00Z&end=2026-11-22T00:00:00Z";
    // A hundredth of a day, in whole minutes: fourteen.
    assert_eq!(series(day).await, ["09:48:00 3", "10:02:00 3"]);
}

#[tokio::test]
async fn errors_by_kind_say_whether_they_are_new() {
    let spans = "
        a1 s - server shop/orders -1800 -1799 inv=a1 error=KeyError:no_price
        b1 s - server shop/orders 10 11 inv=b1 error=KeyError:no_price
        b2 s - server shop/orders 20 21 inv=b2 error=KeyError:no_price
        b3 s - server shop/orders 30 31 inv=b3 error=ValueError:bad
        b4 s - server mail/notify 40 41 inv=b4 error=OSError:gone
    ";
    let report = |id: &str, at: i64, status: &str| {
        format!(
            "orders e/1 {at} platform.report REPORT RequestId: {id} Duration: 3000.00 ms Billed Duration: 3000 ms Memory Size: 512 MB Max Memory Used: 128 MB Status: {status}\n"
        )
    };
    let records = report("t0", -1200, "timeout") + &report("t1", 50, "timeout") + &report("c1", 60, "failure");
    ingested_everywhere(&story(spans), &platform(&records), async |api| {
        let got = ask(api, "/orders").await;
        let kind = |e: &Value| {
            let word = |name: &str| e[name].as_str().unwrap_or("-").to_owned();
            let new = if e["is_new"] == json!(true) { " new" } else { "" };
            let (first, last) = (&word("first_seen")[11..19], &word("last_seen")[11..19]);
            format!(
                "{} {} {} {first} {last} {}{new}",
                word("outcome"),
                word("error_type"),
                e["count"],
                word("invocation_id")
            )
        };
        let kinds: BTreeSet<String> = got["errors_by_kind"].as_array().unwrap().iter().map(kind).collect();
        let expected = [
            "crash - 1 10:00:57 10:00:57 c1 new",
            "error KeyError 2 09:30:00 10:00:20 b2",
            "error ValueError 1 10:00:30 10:00:30 b3 new",
            "timeout - 1 09:40:00 10:00:47 t1",
        ];
        assert_eq!(kinds, expected.map(str::to_owned).into(), "{got:#}");
        // The most frequent first.
        assert_eq!(got["errors_by_kind"][0]["message"], json!("no_price"));
        assert_eq!(got["errors_by_kind"][0]["trace_id"], json!(trace_id("b2")));
        // The fingerprint finds the invocations.
        let fingerprint = got["errors_by_kind"][0]["fingerprint"].as_str().unwrap();
        let found = api.get(&format!("/api/v1/invocations?fingerprint={fingerprint}&{RANGE}")).await;
        assert_eq!(pick(&found["invocations"], "id"), ["b2", "b1"]);
    })
    .await;
}

#[tokio::test]
async fn more_kinds_of_errors_than_are_given_are_told() {
    let line = |n: usize| {
        let kind: String = format!("{n:03}").bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
        format!("t{n} s - server f/f 1 2 inv=i{n} error={kind}Error:bad\n")
    };
    let api = Api::new();
    api.ingest(&story(&(0..101).map(line).collect::<String>()), &[]);
    let got = ask(&api, "/f").await;
    assert_eq!(got["errors_by_kind"].as_array().unwrap().len(), 100);
    assert_eq!(
        (&got["complete"], &got["reason"]),
        (&json!(false), &json!("the limit of 100 kinds of errors was reached"))
    );
}

#[tokio::test]
async fn functions_of_one_tenant() {
    let spans = story(
        "a s - server f/f 1 2 inv=i1
         b s - server f/f 1 2 inv=i2 tenant=acme error=KeyError:x
         c s - server g/g 1 2 inv=i3 tenant=acme",
    );
    ingested_everywhere(&spans, &[], async |api| {
        let got = ask(api, "").await;
        assert_eq!(pick(&got["functions"], "function"), ["f"]);
        assert_eq!((&got["functions"][0]["invocations"], &got["functions"][0]["errors"]), (&json!(1), &json!(0)));
        assert_eq!(ask(api, "/f").await["errors_by_kind"], json!([]));
        api.refused("/api/v1/functions/g", 404, "no function").await;
    })
    .await;
}

#[tokio::test]
async fn names_may_have_any_characters() {
    let mut spans = story("a s - server f/f 1 2 inv=i1");
    spans[0]["function"] = json!("my app/größe");
    let api = Api::new();
    api.ingest(&spans, &[]);
    let got = ask(&api, "/my%20app%2Fgr%C3%B6%C3%9Fe").await;
    assert_eq!((&got["function"], &got["invocations"]), (&json!("my app/größe"), &json!(1)));
}

#[tokio::test]
async fn bad_parameters_of_functions() {
    let api = Api::new();
    api.ingest(&all_spans(), &[]);
    for (path, status, expected) in [
        ("?strat=-1h", 400, "did you mean start?"),
        ("?limit=0", 400, "a number from 1 to 10000"),
        ("?limit=10001", 400, "a number from 1 to 10000"),
        ("?start=-1h&end=-2h", 400, "end must be later than start"),
        ("?start=2100-01-01T00:00:00Z", 400, "start must be earlier than now"),
        ("/orders?start=2100-01-01T00:00:00Z", 400, "start must be earlier than now"),
        ("/orders?limit=1", 400, "there is no parameter limit"),
        ("/orders?step=30s", 400, "step must be one minute or several"),
        ("/orders?step=90s", 400, "step must be one minute or several"),
        ("/orders?step=0", 400, "step must be one minute or several"),
        ("/orders?step=1m&start=-30d", 400, "step is too short: there would be"),
        ("/nobody", 404, "no function \"nobody\" is known"),
    ] {
        api.refused(&format!("/api/v1/functions{path}"), status, expected).await;
    }
    let got = ask(&api, "?limit=2").await;
    assert_eq!(pick(&got["functions"], "function"), ["notify", "orders"]);
    assert_eq!((&got["complete"], &got["reason"]), (&json!(false), &json!("the limit of 2 functions was reached")));
}

/// A message to a worker that waits 2.1 s; what the worker calls and sends; records of a stream, of which the second waits
/// for a minute; a queue whose last message nobody takes.
const NEIGHBOURS: &str = "
    a p - producer shop            0    1    send=orders:m1
    b s - server   worker/worker   3    5    inv=i1
    b c s consumer worker/worker   3.1  4    receive=orders:m1
    b i c client   worker/worker   3.2  3.8  call=pricing:r1
    p s - server   pricing/pricing 3.3  3.7  inv=r1
    b j c client   worker/worker   3.8  3.9  call=mailer:r2
    m s - server   mailer/mailer   9.9  12   inv=r2
    b q c producer worker/worker   3.5  3.6  send=done:m2
    d c - consumer audit           10   11   receive=done:m2
    e q - producer worker/worker   20   21   send=done:m3
    f p - producer shop            0    1    out=kinesis:eu-central-1:clicks:shard-0:1
    g p - producer shop            0    1    out=kinesis:eu-central-1:clicks:shard-0:2
    h s - server   reader/reader   11   12   inv=i2 in=kinesis:eu-central-1:clicks:shard-0:1
    i s - server   reader/reader   61   62   inv=i3 in=kinesis:eu-central-1:clicks:shard-0:2
    w r - server   front           0    2.2
    w c r client   front           0    2
    w s c server   web/web         0.1  1.9  inv=i4 trigger=http
";

#[tokio::test]
async fn hops_of_both_sides() {
    ingested_everywhere(&story(NEIGHBOURS), &[], async |api| {
        let got = ask(api, "/worker").await;
        assert_eq!(lines(&got["hops"]["incoming"]), ["shop -> worker/worker sqs orders 1"]);
        let mut outgoing = lines(&got["hops"]["outgoing"]);
        outgoing.sort();
        assert_eq!(
            outgoing,
            [
                "worker/worker -> audit sqs done 1",
                "worker/worker -> mailer/mailer lambda.invoke mailer 1",
                "worker/worker -> nobody sqs done 1 since 10:00:21",
                "worker/worker -> pricing/pricing lambda.invoke pricing 1",
            ],
            "{got:#}"
        );
        assert_eq!(got["hops"]["start"], json!("2026-11-21T10:00:00.000000000Z"));
        // They are those of /hops.
        for function in ["worker", "reader", "web", "mailer"] {
            let got = ask(api, &format!("/{function}")).await;
            let all = api.get(&format!("/api/v1/hops?function={function}&{RANGE}")).await;
            let sides = ["incoming", "outgoing"].map(|side| got["hops"][side].as_array().unwrap().clone()).concat();
            let same = all["hops"].as_array().unwrap();
            assert!(sides.len() == same.len() && same.iter().all(|hop| sides.contains(hop)), "{got:#} {all:#}");
            assert_eq!((&got["complete"], &all["complete"]), (&json!(true), &json!(true)));
        }
    })
    .await;
}

#[tokio::test]
async fn how_long_what_set_it_off_had_waited() {
    ingested_everywhere(&story(NEIGHBOURS), &[], async |api| {
        let wait = async |function: &str| ask(api, &format!("/{function}")).await["waited"].clone();
        let exactly = |ns: i64| json!({"count": 1, "p50_ns": ns, "p95_ns": ns, "p99_ns": ns, "max_ns": ns});
        assert_eq!(wait("worker").await, exactly(2_100_000_000));
        // Called, and not waited for.
        assert_eq!(wait("mailer").await, exactly(6_000_000_000));
        // Called, and waited for: by its request id, and by its parent.
        assert_eq!((wait("pricing").await, wait("web").await), (Value::Null, Value::Null));
        let records = wait("reader").await;
        assert_eq!((&records["count"], &records["max_ns"]), (&json!(2), &json!(60_000_000_000_i64)));
        let reader = ask(api, "/reader").await;
        assert_eq!(reader["iterator_age"], json!({"metric": null, "hops": records}));
        assert_eq!(ask(api, "/worker").await["iterator_age"], Value::Null);
    })
    .await;
}

/// A point of CloudWatch's metrics of Lambda, of the minute that begins `minute` minutes after [`T0`].
fn metric(name: &str, minute: i64, attributes: Value, members: Value) -> Value {
    let start = T0 + minute * 60 * SECOND;
    let series = attributes.to_string().bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let row = json!({
        "name": format!("amazonaws.com/AWS/Lambda/{name}"), "type": "summary", "unit": "{Count}", "start_time": start,
        "time": start + 60 * SECOND, "series_id": format!("{series:016x}"), "attributes": attributes,
    });
    with(row, members)
}

fn throttles(function: &str, minute: i64, sum: f64) -> Value {
    let attributes = json!([["MetricName", "s", "Throttles"], ["FunctionName", "s", function]]);
    metric("Throttles", minute, attributes, json!({"count": 9, "sum": sum}))
}

#[tokio::test]
async fn throttles_by_metric() {
    let dimensions = |text: &str| json!([["MetricName", "s", "Throttles"], ["Dimensions", "o", text]]);
    let gauge = |stat: &str| {
        let attributes = json!([["FunctionName", "s", "gauged"], ["stat", "s", stat]]);
        metric("Throttles", 1, attributes, json!({"type": "gauge", "value": 4.0, "start_time": null}))
    };
    let total = |minute: i64, value: f64| {
        let members = json!({
            "type": "sum", "temporality": "cumulative", "is_monotonic": true, "value": value,
            "start_time": T0 - 600 * SECOND,
        });
        metric("Throttles", minute, json!([["FunctionName", "s", "summed"]]), members)
    };
    let points = [
        throttles("orders", 1, 3.0),
        throttles("orders", 2, 0.0),
        throttles("orders", 30, 2.0),
        // The same point came twice.
        throttles("orders", 30, 2.0),
        // Once more for a version, and for all functions.
        metric(
            "Throttles",
            1,
            json!([["FunctionName", "s", "orders"], ["Resource", "s", "orders:3"]]),
            json!({"count": 1, "sum": 3.0}),
        ),
        metric("Throttles", 1, dimensions(r#"{"FunctionName":"orders","Resource":"orders"}"#), json!({"sum": 3.0})),
        metric("Throttles", 1, json!([["MetricName", "s", "Throttles"]]), json!({"count": 1, "sum": 5.0})),
        metric("Throttles", 59, dimensions(r#"{"FunctionName":"refused"}"#), json!({"count": 1, "sum": 7.0})),
        throttles("rested", 20, 0.0),
        throttles("notify", -30, 8.0),
        gauge("Sum"),
        gauge("Average"),
        total(-2, 10.0),
        total(1, 12.0),
        total(2, 12.0),
        // It began anew.
        total(3, 1.0),
    ];
    for is_in_files in [false, true] {
        let api = Api::new();
        api.ingest(&all_spans(), &platform(RECORDS));
        api.add(Table::Metrics, &points);
        if is_in_files {
            api.flush();
        }
        let got = ask(&api, "").await;
        let line = |f: &Value| {
            let throttles = |name: &str| match f[name]["count"].as_u64() {
                Some(count) => format!("{count} {}", f[name]["source"].as_str().unwrap()),
                None => "-".to_owned(),
            };
            format!(
                "{}: {}, {}",
                f["function"].as_str().unwrap(),
                throttles("throttles"),
                throttles("throttles_before")
            )
        };
        let lines: Vec<String> = got["functions"].as_array().unwrap().iter().map(line).collect();
        let expected = [
            "gauged: 4 metric, -",
            "notify: -, 8 metric",
            "orders: 5 metric, -",
            // It never ran: all calls were refused.
            "refused: 7 metric, -",
            "rested: 0 metric, -",
            "summed: 3 metric, 10 metric",
        ];
        assert_eq!(lines, expected, "{got:#}");
        assert_eq!(got["functions"][3]["invocations"], json!(0));
        let one = ask(&api, "/orders").await;
        assert_eq!((&one["throttles"], &one["complete"]), (&json!({"count": 5, "source": "metric"}), &json!(true)));
        assert_eq!(ask(&api, "/refused").await["throttles"]["count"], json!(7));
    }
}

#[tokio::test]
async fn throttles_by_spans_of_callers() {
    let call = |line: &str, members: Value| {
        let mut row = story(line).remove(0);
        row["status_code"] = json!("ERROR");
        with(row, members)
    };
    let status = |code: i64| json!({"http_response_status_code": code});
    let arn = "arn:aws:lambda:eu-central-1:123456789012:function:mailer:live";
    let spans = [
        call("a c - client shop 1 2 call=orders:r1", status(429)),
        // The same request, and the same span again.
        call("a d c client shop 1 2 call=orders:r1", status(429)),
        call("a e - client shop 1 2", with(status(429), json!({"faas_invoked_name": "orders"}))),
        call("a e - client shop 1 2", with(status(429), json!({"faas_invoked_name": "orders"}))),
        call("b c - client shop 3 4", json!({"faas_invoked_name": arn, "error_type": "TooManyRequestsException"})),
        call(
            "b d - client shop 3 4",
            json!({"faas_invoked_name": "mailer", "status_message": "TooManyRequestsException: Rate Exceeded"}),
        ),
        call("b e - client shop -60 -59", with(status(429), json!({"faas_invoked_name": "mailer"}))),
        // Other failures, and a call of something else.
        call("c c - client shop 5 6 call=orders:r3", status(500)),
        call("c d - client shop 5 6", status(429)),
        call("c e - client shop 5 6 call=counted:r4", status(429)),
    ];
    let layout = |row: &Value| with(row.clone(), json!({"attributes": [["x", "s", "y"]]}));
    let mut spans: Vec<Value> = spans.iter().map(layout).collect();
    // As at ingest, the layout names the attribute.
    for span in &mut spans {
        if let Some(name) = span.as_object_mut().unwrap().remove("faas_invoked_name") {
            span["attributes"].as_array_mut().unwrap().push(json!(["faas.invoked_name", "s", name]));
        }
    }
    let spans_with: Vec<Value> = ["orders:r1", "orders:r1", "orders:r3", "counted:r4"]
        .into_iter()
        .zip([0, 1, 7, 9])
        .fold(spans, |mut spans, (call, at)| {
            let (name, id) = call.split_once(':').unwrap();
            let attributes = spans[at]["attributes"].as_array_mut().unwrap();
            attributes.push(json!(["faas.invoked_name", "s", name]));
            attributes.push(json!(["aws.request_id", "s", id]));
            spans
        });
    for is_in_files in [false, true] {
        let api = Api::new();
        api.add(Table::Spans, &spans_with);
        // Of this one the platform tells.
        api.add(Table::Metrics, &[throttles("counted", 0, 3.0)]);
        if is_in_files {
            api.flush();
        }
        let got = ask(&api, "").await;
        let found =
            |of: &str| -> Vec<Value> { got["functions"].as_array().unwrap().iter().map(|f| f[of].clone()).collect() };
        assert_eq!(pick(&got["functions"], "function"), ["counted", "mailer", "orders"], "{got:#}");
        let spans = |count: u64| json!({"count": count, "source": "spans"});
        assert_eq!(found("throttles"), [json!({"count": 3, "source": "metric"}), spans(2), spans(2)]);
        assert_eq!(found("throttles_before"), [Value::Null, spans(1), Value::Null]);
    }
    // Nobody tells anything.
    let api = Api::new();
    api.ingest(&all_spans(), &platform(RECORDS));
    let got = ask(&api, "").await;
    assert!(got["functions"].as_array().unwrap().iter().all(|f| f["throttles"].is_null()), "{got:#}");
}

#[tokio::test]
async fn the_age_of_a_streams_records() {
    let api = Api::new();
    api.ingest(&story(NEIGHBOURS), &[]);
    let age = |function: &str, minute: i64, max: f64| {
        let quantiles = json!([{"quantile": 0.0, "value": 1.0}, {"quantile": 1.0, "value": max}]);
        let attributes = json!([["Dimensions", "o", format!(r#"{{"FunctionName":"{function}"}}"#)]]);
        metric(
            "IteratorAge",
            minute,
            attributes,
            json!({"unit": "ms", "count": 2, "sum": max + 1.0, "quantiles": quantiles}),
        )
    };
    api.add(
        Table::Metrics,
        &[
            age("reader", -1, 99_000.0),
            age("reader", 0, 5_000.0),
            age("reader", 1, 61_500.0),
            age("reader", 60, 99_000.0),
            age("other", 1, 99_000.0),
        ],
    );
    for _ in 0..2 {
        let got = ask(&api, "/reader").await;
        let metric = json!({"name": "amazonaws.com/AWS/Lambda/IteratorAge", "max_ns": 61_500_000_000_i64});
        assert_eq!(got["iterator_age"]["metric"], metric, "{got:#}");
        assert_eq!(got["iterator_age"]["hops"]["max_ns"], json!(60_000_000_000_i64));
        assert_eq!(ask(&api, "/worker").await["iterator_age"], Value::Null);
        api.flush();
    }
}

/// A small random number generator: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

/// What is told of an invocation, of which one in six has no request id in part of it.
fn told(random: &mut Random, number: u64) -> Vec<Fact> {
    let start = T0 + random.below(7_200) as i64 * SECOND / 2 - 600 * SECOND;
    let took = 1_000_000 + random.below(3_000) as i64 * 1_000_000;
    let mut span = Fact::new(Source::Span, start);
    span.function = Some("f".to_owned());
    span.instance = (!random.one_in(5)).then(|| format!("e/{}", random.below(9)));
    span.invocation_id = (!random.one_in(6)).then(|| format!("i{number}"));
    (span.start_ns, span.end_ns, span.duration_ns) = (Some(start), Some(start + took), Some(took));
    span.span_id = Some(hopline_model::SpanId(number.to_be_bytes()));
    span.trace_id = Some(hopline_model::TraceId(u128::from(number + 1).to_be_bytes()));
    span.is_server = true;
    let is_error = random.one_in(6);
    span.status = Some(if is_error { Status::Error } else { Status::Ok });
    if is_error {
        (span.error_type, span.fingerprint) = (Some("KeyError".to_owned()), Some(random.below(5)));
    }
    let mut facts = Vec::new();
    let platform = |source, at| {
        let mut fact = Fact::new(source, at);
        (fact.function, fact.instance) = (span.function.clone(), span.instance.clone());
        fact.invocation_id = Some(format!("i{number}"));
        fact
    };
    if !random.one_in(3) {
        let mut report = platform(Source::Report, start + took);
        report.duration_ns = Some(took);
        let words =
            [None, Some(Status::Ok), Some(Status::Ok), Some(Status::Error), Some(Status::Timeout), Some(Status::Crash)];
        report.status = words[random.below(6) as usize];
        report.oom = random.one_in(9).then_some(Oom::Report);
        report.limit_ns = (report.status == Some(Status::Timeout)).then_some(took);
        facts.push(platform(Source::Start, start));
        facts.push(report);
    }
    if random.one_in(6) {
        let mut line = platform(Source::Log, start + took / 2);
        line.invocation_id = line.invocation_id.filter(|_| random.one_in(2));
        (line.error_type, line.fingerprint) = (Some("OSError".to_owned()), Some(5 + random.below(5)));
        facts.push(line);
    }
    if !random.one_in(8) {
        facts.push(span);
    }
    facts
}

#[tokio::test]
async fn failures_are_those_of_all_that_is_told() {
    for seed in 1..=8 {
        let mut random = Random(seed);
        let facts: Vec<Fact> = (0..300).flat_map(|number| told(&mut random, number)).collect();
        let api = Api::new();
        let half = facts.len() / 2;
        let add = |facts: &[Fact]| {
            let rows = facts::batch("default", "s", facts).unwrap().unwrap();
            api.publish(Signal::Logs, vec![(Table::Invocations, rows)]);
        };
        add(&facts[..half]);
        api.flush();
        add(&facts[half..]);
        let engine = engine(&api.kept);
        let session = engine.session("default", engine.limits("test"));
        let range = TimeRange { start: Some(T0), end: Some(T0 + 2_400 * SECOND) };
        let which = Which { functions: vec!["f".to_owned()], range };
        let all = known(&session, &which).await.unwrap();
        let some = failed(&session, &which, 1_000_000).await.unwrap();
        let line =
            |i: &Invocation| (i.id.clone(), i.start_ns, i.outcome, i.error_type.clone(), i.fingerprint, i.limit_ns);
        let expected: Vec<_> = all.within(range).filter(|i| i.outcome.is_failed()).map(line).collect();
        assert!(expected.len() > 30, "seed {seed}: {}", expected.len());
        assert_eq!(some.invocations.iter().map(line).collect::<Vec<_>>(), expected, "seed {seed}");
        assert_eq!(some.reason, None);
        // Only what failed is bounded: what went well is not read.
        let bounded = failed(&session, &which, facts.len() * 2 / 3).await.unwrap();
        assert_eq!((bounded.reason, bounded.invocations), (None, some.invocations), "seed {seed}");
        let cut = failed(&session, &which, 20).await.unwrap();
        assert!(
            cut.reason.unwrap().starts_with("more than 20 facts are known of invocations that failed"),
            "seed {seed}"
        );
    }
}

#[tokio::test]
async fn advice_on_memory_comes_without_reading_what_went_well() {
    let mut records = String::new();
    for n in 0..120 {
        let (at, size) = (60 + n * 5_200, if n < 20 { 2_048 } else { 1_024 });
        let took = if n < 20 { 80 } else { 100 };
        records += &format!(
            "orders e/1 {at} platform.report REPORT RequestId: i{n} Duration: {took}.00 ms Billed Duration: {took} ms Memory Size: {size} MB Max Memory Used: 96 MB\n"
        );
    }
    let api = Api::new();
    api.ingest(&[], &platform(&records));
    let got = api.get("/api/v1/functions/orders?start=2026-11-21T10:00:00Z&end=2026-11-29T10:00:00Z").await;
    let advice = got["insights"].as_array().unwrap().iter().find(|i| i["kind"] == json!("over_provisioned"));
    let evidence = &advice.unwrap_or_else(|| panic!("{got:#}"))["evidence"];
    let mib = f64::from(1 << 20);
    for (name, expected) in [
        ("memory_size_bytes", 1_024.0 * mib),
        ("memory_used_max_bytes", 96.0 * mib),
        ("memory_proposed_bytes", 128.0 * mib),
        ("invocations", 120.0),
        ("other_size_bytes", 2_048.0 * mib),
        ("other_size_duration_p50_ns", 80e6),
    ] {
        assert_eq!(evidence[name].as_f64(), Some(expected), "{name}: {evidence:#}");
    }
    assert!(evidence["saving_in_range_usd"].as_f64().is_some_and(|saved| saved > 0.0), "{evidence:#}");
}
