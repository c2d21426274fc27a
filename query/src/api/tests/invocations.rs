//! `/invocations`.

use super::*;

/// The hour of the tests.
const RANGE: &str = "start=2026-11-21T10:00:00Z&end=2026-11-21T11:00:00Z";

pub(super) const SPANS: &str = "
    t1 s - server shop/orders 1   1.12 inv=i1 on=e/1 region=eu-central-1 trigger=http version=3
    t2 s - server shop/orders 10  10.5 inv=i2 on=e/1 region=eu-central-1 trigger=http version=3 error=KeyError:no_price
    t3 s - server mail/notify 20  20.2 inv=i3 on=e/2 region=us-east-1 trigger=pubsub version=1 cold
    t6 s - server mail/notify 90  90.3 inv=i3 on=e/2 region=us-east-1 trigger=pubsub version=1
    t7 s - server mail/notify 95  95.1 on=e/2 region=us-east-1
    t4 w x client shop/orders 31  32   on=e/1
";

/// The first was reported, and so was its environment's beginning. The fourth ran out of time, the fifth out of memory:
/// their spans never came.
pub(super) const RECORDS: &str = "
    orders e/1 0.2   platform.initStart INIT_START Runtime Version: python:3.14.v9 Runtime Version ARN: arn:aws:x
    orders e/1 0.9   platform.initReport INIT_REPORT Initialization Type: on-demand Phase: init Status: success Duration: 700.00 ms
    orders e/1 1     platform.start START RequestId: i1 Version: 3
    orders e/1 1.12  platform.runtimeDone END RequestId: i1 Version: 3
    orders e/1 1.2   platform.report REPORT RequestId: i1 Duration: 150.00 ms Billed Duration: 200 ms Memory Size: 512 MB Max Memory Used: 96 MB Init Duration: 700.00 ms
    orders e/1 30    platform.start START RequestId: i4 Version: 3
    orders e/1 33    platform.report REPORT RequestId: i4 Duration: 3000.00 ms Billed Duration: 3000 ms Memory Size: 512 MB Max Memory Used: 128 MB Status: timeout
    orders e/1 40    platform.start START RequestId: i5 Version: 3
    orders e/1 41    platform.report REPORT RequestId: i5 Duration: 1000.00 ms Billed Duration: 1000 ms Memory Size: 512 MB Max Memory Used: 512 MB Status: error Error Type: Runtime.OutOfMemory
    orders e/1 50    platform.logsDropped LOGS_DROPPED DroppedRecords: 12 DroppedBytes: 3456 Reason: too many
";

/// Ids of an answer, those of several tries with the try.
fn ids(answer: &Value) -> String {
    let id = |i: &Value| match i["attempt"].as_u64().unwrap() {
        1 => i["id"].as_str().unwrap().to_owned(),
        attempt => format!("{}#{attempt}", i["id"].as_str().unwrap()),
    };
    answer["invocations"].as_array().unwrap().iter().map(id).collect::<Vec<_>>().join(" ")
}

async fn ask(api: &Api, query: &str) -> Value {
    api.get(&format!("/api/v1/invocations?{RANGE}{query}")).await
}

#[tokio::test]
async fn every_condition_of_invocations() {
    // The one without a request id is called after its span.
    let s = span_id("s");
    ingested_everywhere(&story(SPANS), &platform(RECORDS), async |api| {
        let fingerprint =
            ask(api, "&outcome=error").await["invocations"][0]["fingerprint"].as_str().unwrap().to_owned();
        for (query, expected) in [
            ("", format!("{s} i3#2 i5 i4 i3 i2 i1")),
            ("&order=newest", format!("{s} i3#2 i5 i4 i3 i2 i1")),
            ("&order=oldest", format!("i1 i2 i3 i4 i5 i3#2 {s}")),
            ("&order=slowest", format!("i4 i5 i2 i3#2 i3 i1 {s}")),
            ("&order=costliest&limit=3", "i4 i5 i1".to_owned()),
            ("&function=orders", "i5 i4 i2 i1".to_owned()),
            ("&function=nobody", String::new()),
            ("&outcome=ok", format!("{s} i3#2 i3 i1")),
            ("&outcome=error", "i2".to_owned()),
            ("&outcome=TIMEOUT", "i4".to_owned()),
            ("&outcome=oom", "i5".to_owned()),
            ("&outcome=failed", "i5 i4 i2".to_owned()),
            ("&outcome=unknown", String::new()),
            ("&start_type=cold", "i3 i1".to_owned()),
            ("&start_type=warm", format!("{s} i3#2 i5 i4 i2")),
            ("&start_type=unknown", String::new()),
            ("&trigger=http", "i2 i1".to_owned()),
            ("&trigger=PubSub", "i3#2 i3".to_owned()),
            ("&version=3", "i5 i4 i2 i1".to_owned()),
            ("&region=us-east-1", format!("{s} i3#2 i3")),
            ("&instance=e/1", "i5 i4 i2 i1".to_owned()),
            (&format!("&fingerprint={fingerprint}"), "i2".to_owned()),
            ("&fingerprint=0000000000000000", String::new()),
            ("&min_duration=300ms", "i3#2 i5 i4 i2".to_owned()),
            ("&function=orders&outcome=failed&min_duration=1s", "i5 i4".to_owned()),
            ("&limit=2", format!("{s} i3#2")),
        ] {
            assert_eq!(ids(&ask(api, query).await), expected, "{query}");
        }
        let within = "/api/v1/invocations?start=2026-11-21T10:00:10Z&end=2026-11-21T10:00:30Z";
        assert_eq!(ids(&api.get(within).await), "i3 i2");
    })
    .await;
}

#[tokio::test]
async fn what_all_sources_tell_is_one_invocation() {
    // Also if all of it came twice.
    let twice = |rows: Vec<Value>| -> Vec<Value> { rows.iter().chain(&rows).cloned().collect() };
    ingested_everywhere(&twice(story(SPANS)), &twice(platform(RECORDS)), async |api| {
        let got = ask(api, "&function=orders").await;
        assert_eq!((&got["count"], &got["complete"], &got["dropped_records"]), (&json!(4), &json!(true), &json!(12)));
        let mut first = got["invocations"][3].clone();
        let cost = first.as_object_mut().unwrap().remove("cost").unwrap();
        assert_eq!(
            first,
            json!({
                "id": "i1", "attempt": 1, "function": "orders", "version": "3", "instance": "e/1",
                "region": "eu-central-1", "provider": "aws", "trigger": "http",
                "start_time": "2026-11-21T10:00:01.000000000Z", "duration_ns": 150_000_000, "runtime_ns": 120_000_000,
                "billed_ns": 200_000_000, "init_ns": 700_000_000, "memory_size_bytes": 512 << 20,
                "memory_used_bytes": 96 << 20, "start_type": "cold",
                "start_evidence": "began 0.1 s after the initialisation ended", "reinit": false, "outcome": "ok",
                "out_of_memory": false, "trace_id": trace_id("t1"), "span_id": span_id("s"), "has_span": true,
                "has_report": true,
            })
        );
        assert_eq!((&cost["currency"], &cost["architecture_assumed"]), (&json!("USD"), &json!(true)));
        // 0.2 s of half a GB, and the request.
        let expected = 0.1 * 0.000_016_666_7 + 0.000_000_2;
        assert!((cost["amount"].as_f64().unwrap() - expected).abs() < expected * 0.2, "{cost}");
        assert!(!cost["price_table"].as_str().unwrap().is_empty());
        let second = &got["invocations"][2];
        assert_eq!(second["cause"], json!("KeyError: no_price"));
        assert_eq!((&second["error_type"], &second["error_message"]), (&json!("KeyError"), &json!("no_price")));
        assert_eq!((&second["has_report"], &second["cost"]), (&json!(false), &Value::Null));
    })
    .await;
}

#[tokio::test]
async fn a_time_out_that_never_sent_its_span_is_one_all_the_same() {
    let api = Api::new();
    api.ingest(&story(SPANS), &platform(RECORDS));
    let got = ask(&api, "&outcome=timeout").await;
    let one = &got["invocations"][0];
    let told = ["id", "cause", "has_span", "has_report", "trace_id", "start_type"].map(|name| one[name].clone());
    assert_eq!(json!(told), json!(["i4", "timed out after 3.00 s", false, true, null, "warm"]));
    let got = ask(&api, "&outcome=oom").await;
    assert_eq!(got["invocations"][0]["out_of_memory"], json!(true));
    assert_eq!(got["invocations"][0]["cause"], json!("out of memory: 512 of 512 MB used"));
    // Of what was dropped outside of the range nothing is told.
    let earlier = "/api/v1/invocations?start=2026-11-21T10:00:00Z&end=2026-11-21T10:00:50Z";
    assert_eq!(api.get(earlier).await["dropped_records"], json!(0));
}

#[tokio::test]
async fn pages_have_each_invocation_once() {
    let line = |n: u32| format!("t{n} s - server f/f {} {} inv=i{n:02}\n", n / 4, n / 4 + 1);
    let spans = story(&(0..20).map(line).collect::<String>());
    ingested_everywhere(&spans, &[], async |api| {
        for (order, limit) in [("newest", 3), ("oldest", 7), ("slowest", 1), ("costliest", 6)] {
            let (mut all, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
            loop {
                let got = ask(api, &format!("&order={order}&limit={limit}{cursor}")).await;
                all.extend(pick(&got["invocations"], "id"));
                assert_eq!(got["count"], json!(20));
                pages += 1;
                let Some(next) = got["cursor"].as_str() else {
                    assert_eq!((&got["complete"], &got["reason"]), (&json!(true), &Value::Null));
                    break;
                };
                assert_eq!(got["complete"], json!(false));
                assert!(got["reason"].as_str().unwrap().contains(&format!("limit of {limit}")));
                cursor = format!("&cursor={next}");
            }
            assert_eq!(pages, 20_usize.div_ceil(limit), "{order}");
            all.sort();
            let expected: Vec<String> = (0..20).map(|n| format!("i{n:02}")).collect();
            assert_eq!(all, expected, "{order}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_page_goes_on_where_the_last_one_ended() {
    let api = Api::new();
    api.ingest(&story("t1 s - server f/f 1 2 inv=i1\nt2 s - server f/f 2 3 inv=i2\nt3 s - server f/f 3 4 inv=i3"), &[]);
    let relative = "start=-3000d&limit=1";
    let first = api.get(&format!("/api/v1/invocations?{relative}")).await;
    assert_eq!(ids(&first), "i3");
    // What comes in between stands on the page before.
    api.ingest(&story("t4 s - server f/f 4 5 inv=i4"), &[]);
    let cursor = first["cursor"].as_str().unwrap();
    let second = api.get(&format!("/api/v1/invocations?{relative}&cursor={cursor}")).await;
    assert_eq!(ids(&second), "i2");
    api.refused(&format!("/api/v1/invocations?limit=1&cursor={cursor}"), 400, "other parameters").await;
    api.refused(&format!("/api/v1/invocations?{relative}&cursor={cursor}A"), 400, "parameter cursor").await;
}

#[tokio::test]
async fn one_invocation_with_its_tries() {
    ingested_everywhere(&story(SPANS), &platform(RECORDS), async |api| {
        let got = api.get("/api/v1/invocations/i3").await;
        assert_eq!((&got["complete"], &got["reason"]), (&json!(true), &Value::Null));
        assert_eq!(pick(&got["attempts"], "attempt"), ["1", "2"]);
        assert_eq!(pick(&got["attempts"], "start_type"), ["cold", "warm"]);
        assert_eq!(
            got["links"],
            json!({
                "flow": "/api/v1/flows?invocation_id=i3", "logs": "/api/v1/logs?invocation_id=i3",
                "trace": format!("/api/v1/traces/{}", trace_id("t3")),
                "function": "/api/v1/functions/notify?start=2026-11-21T09:30:20.000000000Z&end=2026-11-21T10:30:20.000000000Z",
            })
        );
        for link in got["links"].as_object().unwrap().values() {
            api.get(link.as_str().unwrap()).await;
        }
        // What is told does not depend on how it was asked for.
        let got = api.get("/api/v1/invocations/i1").await;
        assert_eq!(got["attempts"][0], ask(api, "&order=oldest").await["invocations"][0]);
        // Its span never came, and nobody's who called it; but what it left did.
        let lost = api.get("/api/v1/invocations/i4").await;
        assert_eq!(lost["attempts"][0]["outcome"], json!("timeout"));
        let links = lost["links"].as_object().unwrap();
        assert_eq!(links["trace"], json!(format!("/api/v1/traces/{}", trace_id("t4"))));
        let flow = api.get(links["flow"].as_str().unwrap()).await;
        assert_eq!(flow["unfinished"][0]["spans"][0]["trace_id"], json!(trace_id("t4")));
        // Of the fifth nothing came at all.
        let gone = api.get("/api/v1/invocations/i5").await;
        assert_eq!((&gone["links"]["flow"], &gone["links"]["trace"]), (&Value::Null, &Value::Null));
        // The one without a request id.
        let named = api.get(&format!("/api/v1/invocations/{}", span_id("s"))).await;
        assert_eq!(named["attempts"][0], ask(api, "").await["invocations"][0]);
        let flow = format!("/api/v1/flows/{}?span_id={}", trace_id("t7"), span_id("s"));
        assert_eq!(named["links"]["flow"], json!(flow));
        api.get(&flow).await;
        api.refused("/api/v1/invocations/nobody", 404, "nothing is known of an invocation nobody").await;
        api.refused("/api/v1/invocations/0909090909090909", 404, "nothing is known of an invocation").await;
        api.refused("/api/v1/invocations/i1?start=-1h", 400, "there is no parameter start").await;
    })
    .await;
}

#[tokio::test]
async fn a_caller_leads_to_the_flow_of_an_invocation_without_a_span() {
    let api = Api::new();
    api.ingest(&story("a s - server shop 29 40\na c s client shop 29 40 call=orders:i4"), &platform(RECORDS));
    let got = api.get("/api/v1/invocations/i4").await;
    let flow = api.get(got["links"]["flow"].as_str().unwrap()).await;
    assert_eq!(flow["traces"][0]["trace_id"], json!(trace_id("a")));
    let caller = json!({"trace_id": trace_id("a"), "span_id": span_id("c")});
    assert_eq!(flow["unfinished"][0]["caller"], caller);
    // Who received is known then.
    assert_eq!(flow["missing"]["sent"], json!([]));
}

#[tokio::test]
async fn one_id_in_two_functions() {
    let api = Api::new();
    api.ingest(&story("a s - server one/one 1 2 inv=same\nb s - server two/two 3 4 inv=same"), &[]);
    let got = api.get("/api/v1/invocations/same").await;
    assert_eq!(pick(&got["attempts"], "function"), ["one", "two"]);
}

#[tokio::test]
async fn invocations_of_one_tenant() {
    let spans = story(
        "a s - server f/f 1 2 inv=i1 on=e/1
         b s - server f/f 0 1 inv=i0 on=e/1 tenant=acme
         c s - server f/f 3 4 inv=i1 on=e/1 tenant=acme error
         d s - server f/f 5 6 inv=i2 on=e/1",
    );
    ingested_everywhere(&spans, &[], async |api| {
        assert_eq!(ids(&ask(api, "").await), "i2 i1");
        let got = api.get("/api/v1/invocations/i1").await;
        assert_eq!(pick(&got["attempts"], "outcome"), ["ok"]);
        api.refused("/api/v1/invocations/i0", 404, "nothing is known").await;
    })
    .await;
}

#[tokio::test]
async fn bad_parameters_of_invocations() {
    let api = Api::new();
    for (query, expected) in [
        ("functions=a", "did you mean function?"),
        ("outcome=bad", "one of ok, error, timeout, oom, crash, unknown, failed was expected"),
        ("start_type=hot", "one of cold, warm, preinit, restore, unknown was expected"),
        ("trigger=x", "one of datasource, http, pubsub, timer, other was expected"),
        ("fingerprint=12", "16 hexadecimal digits were expected"),
        ("min_duration=fast", "a duration such as 10ms"),
        ("order=fastest", "one of newest, oldest, slowest, costliest"),
        ("limit=0", "a number from 1 to 1000"),
        ("limit=1001", "a number from 1 to 1000"),
        ("start=-1h&end=-2h", "end must be later than start"),
        ("start=2100-01-01T00:00:00Z", "start must be earlier than now"),
        ("cursor=AAAA", "cursor is not one that this server gave"),
        ("function=a&function=b", "function is given more than once"),
    ] {
        api.refused(&format!("/api/v1/invocations?{query}"), 400, expected).await;
    }
    let nothing = api.get("/api/v1/invocations").await;
    assert_eq!(nothing, json!({"invocations": [], "count": 0, "dropped_records": 0, "complete": true}));
}

/// What set invocations off, and what one of each waited: `trace span parent kind service/function start end …`.
#[tokio::test]
async fn what_an_invocation_waited_for() {
    let spans = "
        a p - producer shop          0    1    send=orders:m1
        a q - producer shop          0    1.5  send=orders:m2
        b s - server   worker/worker 3    5    inv=i1
        b c s consumer worker/worker 3.1  4    receive=orders:m1
        b d s consumer worker/worker 3.2  4    receive=orders:m2
        b i c client   worker/worker 3.3  3.8  call=pricing:i2
        p s - server   pricing/pricing 3.4 3.7 inv=i2
        b j c client   worker/worker 3.8  3.9  call=mailer:i3
        m s - server   mailer/mailer 9.9  12   inv=i3
        n s - server   mailer/mailer 70   71   inv=i3
        l p - producer shop          0    1
        r s - server   reader/reader 4    5    inv=i5
        r c s consumer reader/reader 4.5  5    link=l.p
        k j - client   shop          25   26   call=orders:i4
        z s - server   alone/alone   0    1    inv=i6
    ";
    ingested_everywhere(&story(spans), &platform(RECORDS), async |api| {
        let waited = async |id: &str| api.get(&format!("/api/v1/invocations/{id}")).await["waited"].clone();
        // Two messages: the one that waited longest.
        assert_eq!(
            waited("i1").await,
            json!([{
                "attempt": 1, "wait_ns": 2_100_000_000_i64, "hop": "sqs", "destination": "orders", "key": "sqs:m1",
                "from": {"service": "shop"}, "trace_id": trace_id("a"), "span_id": span_id("p"), "messages": 2,
            }])
        );
        // A call that was waited for; nothing that is known.
        assert_eq!((waited("i2").await, waited("i6").await), (json!([]), json!([])));
        // Each try of a call that nobody waited for.
        let tries = waited("i3").await;
        let told: Vec<Value> =
            tries.as_array().unwrap().iter().map(|w| json!([w["attempt"], w["wait_ns"], w["hop"]])).collect();
        assert_eq!(
            told,
            [json!([1, 6_000_000_000_i64, "lambda.invoke"]), json!([2, 66_100_000_000_i64, "lambda.invoke"])]
        );
        assert_eq!(tries[0]["from"], json!({"service": "worker", "function": "worker"}));
        // By a link alone.
        let linked = waited("i5").await;
        assert_eq!((&linked[0]["wait_ns"], &linked[0]["from"]["service"]), (&json!(3_500_000_000_i64), &json!("shop")));
        // Its span never came, but the caller knows its request id.
        let lost = waited("i4").await;
        assert_eq!(
            (&lost[0]["wait_ns"], &lost[0]["key"]),
            (&json!(4_000_000_000_i64), &json!("lambda:i4")),
            "{lost:#}"
        );
    })
    .await;
}

/// Identities that are made of several attributes, some of which turn no rule on.
#[tokio::test]
async fn what_an_event_or_a_record_of_a_topic_waited() {
    let event = json!([["cloudevents.event_id", "s", "A1"], ["cloudevents.event_source", "s", "/shop"]]);
    let record = |operation: &str| {
        json!([
            ["messaging.system", "s", "kafka"],
            ["messaging.operation.type", "s", operation],
            ["messaging.destination.name", "s", "clicks"],
            ["messaging.destination.partition.id", "s", "2"],
            ["messaging.kafka.offset", "i", 4711],
        ])
    };
    let mut spans = story(
        "
        a p - producer shop          0   1
        b c - consumer worker/worker 3   4
        d p - producer shop          0   1
        e c - consumer reader/reader 6   7
    ",
    );
    for (span, attributes) in spans.iter_mut().zip([event.clone(), event, record("send"), record("process")]) {
        span["attributes"] = attributes;
    }
    for (at, id) in [(1, "i1"), (3, "i2")] {
        spans[at]["attributes"].as_array_mut().unwrap().push(json!(["faas.invocation_id", "s", id]));
    }
    ingested_everywhere(&spans, &[], async |api| {
        for (id, hop, wait) in [("i1", "cloudevents", 2), ("i2", "kafka", 5)] {
            let got = api.get(&format!("/api/v1/invocations/{id}")).await;
            let waited = json!([got["waited"][0]["hop"], got["waited"][0]["wait_ns"]]);
            assert_eq!(waited, json!([hop, wait * SECOND]), "{got:#}");
        }
    })
    .await;
}
