//! `/functions`.

use std::collections::BTreeSet;

use super::invocations::{RECORDS, SPANS};
use super::*;

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
