//! `/hops`.

use super::*;

/// The hour of the tests.
const RANGE: &str = "start=2026-11-21T10:00:00Z&end=2026-11-21T11:00:00Z";

/// Orders over a queue: one is tried three times and then lies among the dead letters, two nobody receives; and calls by
/// parent alone, one of them the same as one by a key.
const SHOP: &str = "
    a1 p - producer shop            0   1    send=orders:m1
    b1 c - consumer worker/worker   3   4    receive=orders:m1
    a2 p - producer shop            10  11   send=orders:m2
    a2 q p client   shop            10  11   send=orders:m2
    b2 c - consumer worker/worker   12  13   receive=orders:m2 error
    b3 c - consumer worker/worker   42  43   receive=orders:m2 error
    b4 c - consumer worker/worker   72  73   receive=orders:m2 error
    b5 c - consumer rescue/rescue   90  91   receive=orders-dlq:m2
    a3 p - producer shop            20  21   send=orders:m3
    a4 p - producer shop            25  26   send=orders:m4
    a5 p - producer shop            27  28   send=untold:m5
    c1 s - server   front           0   5
    c1 c s client   front           1   4
    c1 r c server   shop            2   3    error
    c1 i r client   shop            2.1 2.9  call=pricing:r1
    c1 f i server   pricing/pricing 2.2 2.8  inv=r1
    d1 s - server   front           0   5
    d1 c s client   front           1   4
    d1 r c server   shop            3   3.5
    e1 p - producer front           0   1
    e1 r p consumer audit           6   7
";

/// The hops of an answer, one a line.
fn hops(answer: &Value) -> Vec<String> {
    lines(&answer["hops"])
}

/// Hops, one a line.
pub(super) fn lines(hops: &Value) -> Vec<String> {
    let party = |party: &Value| match (party["service"].as_str(), party["function"].as_str()) {
        (None, _) => "nobody".to_owned(),
        (Some(service), None) => service.to_owned(),
        (Some(service), Some(function)) => format!("{service}/{function}"),
    };
    let line = |hop: &Value| {
        let number = |name: &str| hop[name].as_u64().unwrap();
        let mut line = format!("{} -> {} {}", party(&hop["from"]), party(&hop["to"]), hop["hop"].as_str().unwrap());
        line += &format!(" {} {}", hop["destination"].as_str().unwrap_or("-"), number("calls"));
        for (name, word) in [("errors", "errors"), ("retries", "retries"), ("dead_letters", "dead")] {
            if number(name) > 0 {
                line += &format!(" {word} {}", number(name));
            }
        }
        line +=
            hop["oldest_unconsumed"].as_str().map(|time| format!(" since {}", &time[11..19])).as_deref().unwrap_or("");
        line
    };
    hops.as_array().unwrap().iter().map(line).collect()
}

async fn ask(api: &Api, query: &str) -> Value {
    api.get(&format!("/api/v1/hops?{RANGE}{query}")).await
}

#[tokio::test]
async fn who_sends_to_whom() {
    ingested_everywhere(&story(SHOP), &[], async |api| {
        let got = ask(api, "").await;
        assert_eq!(
            hops(&got),
            [
                "shop -> worker/worker sqs orders 4 errors 3 retries 2",
                "front -> shop call - 2 errors 1",
                "shop -> nobody sqs orders 2 since 10:00:21",
                "front -> audit message - 1",
                "shop -> pricing/pricing lambda.invoke pricing 1",
                "shop -> rescue/rescue sqs orders-dlq 1 dead 1",
            ],
            "{got:#}"
        );
        assert_eq!((&got["complete"], &got["reason"]), (&json!(true), &Value::Null));
        assert_eq!(got["start"], json!("2026-11-21T10:00:00.000000000Z"));
        assert_eq!(got["end"], json!("2026-11-21T11:00:00.000000000Z"));
        assert_eq!(got["hops"][2]["to"], Value::Null);
    })
    .await;
}

#[tokio::test]
async fn what_is_stored_twice_counts_once() {
    let once = Api::new();
    once.ingest(&story(SHOP), &[]);
    let expected = ask(&once, "").await;
    let twice: Vec<Value> = story(SHOP).into_iter().chain(story(SHOP)).collect();
    ingested_everywhere(&twice, &[], async |api| assert_eq!(ask(api, "").await, expected)).await;
}

#[tokio::test]
async fn waiting_times() {
    let one = |n: u32| {
        let received = 1.0 + f64::from(n) * 0.01;
        format!(
            "a{n} p - producer shop 0 1 send=orders:m{n}\nb{n} c - consumer worker {received:.2} 5 receive=orders:m{n}\n"
        )
    };
    let api = Api::new();
    api.ingest(&story(&(1..=100).map(one).collect::<String>()), &[]);
    let got = ask(&api, "").await;
    let hop = &got["hops"][0];
    assert_eq!(hop["calls"], json!(100));
    let error = got["relative_error"].as_f64().unwrap();
    assert!(error > 0.0 && error < 0.05, "{error}");
    for (name, expected) in [("wait_p50_ns", 0.5), ("wait_p95_ns", 0.95), ("wait_p99_ns", 0.99)] {
        let wait = hop[name].as_f64().unwrap() / 1e9;
        // And a rank more or less.
        assert!((wait - expected).abs() <= expected * error + 0.011, "{name} {wait}");
    }
    // Nobody knows how long what nobody received will wait.
    api.ingest(&story("z p - producer shop 0 1 send=orders:m0"), &[]);
    let got = ask(&api, "").await;
    assert_eq!((&got["hops"][1]["to"], &got["hops"][1]["wait_p50_ns"]), (&Value::Null, &Value::Null));
    // A call waits from its start.
    let api = Api::new();
    api.ingest(&story(SHOP), &[]);
    let got = ask(&api, "&service=front").await;
    let waited: Vec<f64> =
        ["wait_p50_ns", "wait_p99_ns"].iter().map(|n| got["hops"][0][n].as_f64().unwrap() / 1e9).collect();
    assert!((waited[0] - 1.0).abs() < 0.05 && waited[1] >= waited[0] && waited[1] < 2.1, "{waited:?}");
}

#[tokio::test]
async fn messages_that_wait_for_days() {
    let spans = story(
        "a p - producer shop   -400000 -399999 send=orders:m1
         b c - consumer worker 2       3       receive=orders:m1
         c p - producer shop   4       5       send=orders:m2
         d c - consumer worker 400000  400001  receive=orders:m2
         e p - producer shop   6       7       send=orders:m3",
    );
    ingested_everywhere(&spans, &[], async |api| {
        let got = ask(api, "").await;
        assert_eq!(hops(&got), ["shop -> nobody sqs orders 1 since 10:00:07", "shop -> worker sqs orders 1"]);
        let waited = got["hops"][1]["wait_p50_ns"].as_f64().unwrap() / 1e9;
        assert!((waited - 400_001.0).abs() < 400_001.0 * 0.02, "{waited}");
    })
    .await;
}

#[tokio::test]
async fn hops_of_one_party() {
    let api = Api::new();
    api.ingest(&story(SHOP), &[]);
    for (query, expected) in [
        ("&function=pricing", vec!["shop -> pricing/pricing lambda.invoke pricing 1"]),
        ("&service=audit", vec!["front -> audit message - 1"]),
        ("&service=front", vec!["front -> shop call - 2 errors 1", "front -> audit message - 1"]),
        ("&service=worker&function=worker", vec!["shop -> worker/worker sqs orders 4 errors 3 retries 2"]),
        ("&service=shop&function=worker", vec![]),
        ("&service=nobody", vec![]),
    ] {
        assert_eq!(hops(&ask(&api, query).await), expected, "{query}");
    }
}

#[tokio::test]
async fn a_range_holds_what_was_received_in_it() {
    let api = Api::new();
    api.ingest(&story(SHOP), &[]);
    for (range, expected) in [
        // The send lies before.
        (
            "start=2026-11-21T10:00:02Z&end=2026-11-21T10:00:10Z&service=worker",
            vec!["shop -> worker/worker sqs orders 1"],
        ),
        // A retry is one, though the first try lies before.
        (
            "start=2026-11-21T10:00:40Z&end=2026-11-21T10:01:00Z&service=worker",
            vec!["shop -> worker/worker sqs orders 1 errors 1 retries 1"],
        ),
        // What is received later is not unconsumed.
        ("start=2026-11-21T10:00:00Z&end=2026-11-21T10:00:02Z&service=worker", vec![]),
        ("start=2026-11-20T10:00:00Z&end=2026-11-21T10:00:00Z", vec![]),
    ] {
        let got = api.get(&format!("/api/v1/hops?{range}")).await;
        assert_eq!(hops(&got), expected, "{range}");
    }
}

#[tokio::test]
async fn a_limit_of_hops_is_told() {
    let api = Api::new();
    api.ingest(&story(SHOP), &[]);
    let got = ask(&api, "&limit=2").await;
    assert_eq!(hops(&got), &hops(&ask(&api, "").await)[..2]);
    assert_eq!(got["complete"], json!(false));
    assert_eq!(got["reason"], json!("the limit of 2 edges was reached"));
}

#[tokio::test]
async fn parties_of_one_tenant() {
    let mut spans = story(
        "a p - producer shop          0 1 send=orders:m1
         b c - consumer worker/worker 2 3 receive=orders:m1",
    );
    let other = |row: &Value| with(row.clone(), json!({"tenant": "acme", "service": "spy"}));
    let others: Vec<Value> = spans.iter().map(other).collect();
    spans.extend(others);
    spans.extend(story("t s - client spy 0 5 tenant=acme\nt r s server spied 1 2 tenant=acme"));
    spans.swap(0, 2);
    ingested_everywhere(&spans, &[], async |api| {
        assert_eq!(hops(&ask(api, "").await), ["shop -> worker/worker sqs orders 1"]);
    })
    .await;
}

#[tokio::test]
async fn bad_parameters_of_hops() {
    let api = Api::new();
    for (query, expected) in [
        ("servise=a", "did you mean service?"),
        ("limit=0", "a number from 1 to 10000"),
        ("limit=10001", "a number from 1 to 10000"),
        ("start=yesterday", "a time such as"),
        ("start=-1h&end=-2h", "end must be later than start"),
        ("start=2100-01-01T00:00:00Z", "start must be earlier than now"),
        ("function=a&function=b", "function is given more than once"),
    ] {
        api.refused(&format!("/api/v1/hops?{query}"), 400, expected).await;
    }
    assert_eq!(api.get("/api/v1/hops").await["hops"], json!([]));
}

#[tokio::test]
async fn a_message_with_two_keys_is_one_delivery() {
    let id = "dd3f25a2-55c8-4586-ba3d-e8286f0633f7";
    let api = Api::new();
    api.ingest(
        &story(&format!(
            "a p - producer shop 0 1 out=mq:rabbitmq|orders|{id}\nb c - consumer worker 2 3 in=mq:rabbitmq|orders|{id}"
        )),
        &[],
    );
    assert_eq!(hops(&ask(&api, "").await), ["shop -> worker mq orders 1"]);
}

/// A topic of two regions: offsets are unique in one only.
#[tokio::test]
async fn hops_stay_in_their_region() {
    let spans = story(
        "a1 p - producer shop   0 1 out=kafka:c:t:0:1 region=eu-central-1
         a2 p - producer market 0 1 out=kafka:c:t:0:1 region=us-east-1
         b1 c - consumer worker 2 3 in=kafka:c:t:0:1  region=eu-central-1
         a3 p - producer far    0 1 out=kafka:c:t:0:2 region=us-east-1
         b3 c - consumer worker 2 3 in=kafka:c:t:0:2  region=eu-central-1",
    );
    ingested_everywhere(&spans, &[], async |api| {
        let got = ask(api, "").await;
        let received: Vec<String> = hops(&got).into_iter().filter(|hop| !hop.contains("nobody")).collect();
        assert_eq!(received, ["shop -> worker kafka t 1"], "{got:#}");
    })
    .await;
}

#[tokio::test]
async fn hops_of_one_party_are_those_of_all_that_are_its() {
    // What the last two send nobody receives: that others' messages are received there tells that it is known.
    let more = "
        x1 p - producer lone/lone 30 31 send=orders:m8
        x2 p - producer mute/mute 30 31 send=unheard:m9
        x3 p - producer early     -80000 -79999 send=orders:m10
        y3 c - consumer worker/worker 50 51 receive=orders:m10
    ";
    ingested_everywhere(&story(&format!("{SHOP}{more}")), &[], async |api| {
        let all = ask(api, "").await;
        let mut parties: Vec<(String, Option<String>)> = Vec::new();
        for hop in all["hops"].as_array().unwrap() {
            for party in [&hop["from"], &hop["to"]] {
                if let Some(service) = party["service"].as_str() {
                    parties.push((service.to_owned(), party["function"].as_str().map(str::to_owned)));
                }
            }
        }
        parties.extend([("mute".to_owned(), Some("mute".to_owned())), ("nobody".to_owned(), None)]);
        assert!(lines(&all["hops"]).contains(&"lone/lone -> nobody sqs orders 1 since 10:00:31".to_owned()), "{all:#}");
        for (service, function) in parties {
            let is_of = |party: &Value, name: &str, value: &str| party[name].as_str() == Some(value);
            let of = |name: &str, value: &str| -> Vec<Value> {
                let is_wanted = |hop: &&Value| is_of(&hop["from"], name, value) || is_of(&hop["to"], name, value);
                all["hops"].as_array().unwrap().iter().filter(is_wanted).cloned().collect()
            };
            let scoped = ask(api, &format!("&service={service}")).await;
            assert_eq!(scoped["hops"], json!(of("service", &service)), "{service}");
            if let Some(function) = function {
                let scoped = ask(api, &format!("&function={function}")).await;
                assert_eq!(scoped["hops"], json!(of("function", &function)), "{function}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_queue_that_only_a_span_within_names() {
    // The function's span knows the message, the consumer within it also the queue.
    let spans = story(
        "a1 p - producer shop          0   1   send=orders:m1
         b1 s - server   worker/worker 3   6   in=sqs:m1
         b1 c s consumer worker/worker 4   5   receive=orders:m1
         b2 s - server   rescue/rescue 13  16  in=sqs:m1
         b2 c s consumer rescue/rescue 14  15  receive=orders-dlq:m1",
    );
    ingested_everywhere(&spans, &[], async |api| {
        let got = ask(api, "").await;
        assert_eq!(
            hops(&got),
            ["shop -> rescue/rescue sqs orders-dlq 1 dead 1", "shop -> worker/worker sqs orders 1"],
            "{got:#}"
        );
    })
    .await;
}

#[tokio::test]
async fn activities_of_an_orchestration_are_no_retries() {
    let spans = story(
        "a  p - producer saga/saga     0 1 out=durable:i1#*
         b1 c - server   charge/charge 3 4 in=durable:i1#*
         b2 c - server   charge/charge 3 5 in=durable:i1#*",
    );
    ingested_everywhere(&spans, &[], async |api| {
        let got = ask(api, "").await;
        assert_eq!(hops(&got).iter().filter(|hop| hop.contains("retries")).count(), 0, "{got:#}");
        assert_eq!(got["hops"][0]["calls"], json!(2), "{got:#}");
    })
    .await;
}

#[tokio::test]
async fn of_too_many_messages_without_another_side_the_latest_are_looked_for() {
    // The first and the last of those that are sent are received days later.
    let mut script =
        "t p - producer shop 0 1 send=orders:told\nu c - consumer worker 2 3 receive=orders:told\n".to_owned();
    for n in 1..=2_001 {
        script += &format!("a{n} p - producer shop {n} {n}.5 send=orders:m{n}\n");
    }
    script += "f c - consumer worker 400000 400001 receive=orders:m1\nl c - consumer worker 400000 400001 receive=orders:m2001";
    let forwards = story(&script);
    let backwards: Vec<Value> = forwards.iter().rev().cloned().collect();
    for spans in [forwards, backwards] {
        let api = Api::new();
        api.ingest(&spans, &[]);
        let got = ask(&api, "").await;
        assert_eq!(hops(&got), ["shop -> nobody sqs orders 2000 since 10:00:01", "shop -> worker sqs orders 1"]);
        let reason = got["reason"].as_str().unwrap();
        assert!(reason.starts_with("more than 2000 messages have no other side"), "{reason}");
        assert_eq!(got["complete"], json!(false));
    }
}

#[tokio::test]
async fn what_links_tell_where_no_identity_does() {
    // Stock receivers link to the sender; some also know the message.
    let spans = story(
        "a1 p - producer shop   0  1  send=orders:m1
         b1 c - consumer worker 3  4  link=a1.p
         a2 p - producer shop   10 11 send=orders:m2
         b2 c - consumer worker 13 14 receive=orders:m2 link=a2.p
         a3 p - producer shop   20 21 send=orders:m3
         b3 s - server   pay/pay 23 26 link=a3.p error
         b3 c s consumer pay/pay 24 25 link=a3.p
         a4 p - producer shop   30 31 send=orders:m4
         a5 i - internal shop   40 41
         b5 c - consumer worker 43 44 link=a5.i
         b6 c - internal worker 45 46 link=a4.p",
    );
    let twice: Vec<Value> = spans.iter().chain(&spans).cloned().collect();
    for spans in [spans, twice] {
        ingested_everywhere(&spans, &[], async |api| {
            let (to_worker, to_pay) = ("shop -> worker sqs orders 2", "shop -> pay/pay sqs orders 1 errors 1");
            let nobody = "shop -> nobody sqs orders 1 since 10:00:31";
            for (query, expected) in [
                ("", vec![to_worker, nobody, to_pay]),
                ("&service=shop", vec![to_worker, nobody, to_pay]),
                ("&service=worker", vec![to_worker]),
                ("&function=pay", vec![to_pay]),
            ] {
                let got = ask(api, query).await;
                assert_eq!(hops(&got), expected, "{query} {got:#}");
            }
        })
        .await;
    }
}

/// Calls of a function that answers, one that runs out of time, one that crashes in the first of its tries, one that runs
/// still, one of which only a line of its own tells that it ran out of time; and of another, of which only the platform tells.
const CALLS: &str = "
    a1 c - client shop          0   1.5 call=price:r1
    b1 i - server money/price   0.5 1   inv=r1 on=e/1
    a2 c - client shop          10  14  call=price:r2
    b2 x p client money/price   11  12  on=e/1
    a3 c - client shop          20  20.5 call=price:r3
    b3 i - server money/price   80  81  inv=r3 on=e/3
    a4 c - client shop/cart     30  31  call=price:r4
    a5 c - client shop          40  41  call=mute:r5
    a6 c - client shop          50  51  call=price:6a1c0f9e-0d1f-4f43-9f0e-3f5d1e6a7b80
    a7 c - client early         -700 -699 call=price:r7
";

const CALLS_RECORDS: &str = "
    price e/1 0.5 platform.start START RequestId: r1 Version: 1
    price e/1 1 platform.report REPORT RequestId: r1 Duration: 500.00 ms Billed Duration: 500 ms Memory Size: 512 MB Max Memory Used: 128 MB Status: success
    price e/1 10.5 platform.start START RequestId: r2 Version: 1
    price e/1 13.5 platform.report REPORT RequestId: r2 Duration: 3000.00 ms Billed Duration: 3000 ms Memory Size: 512 MB Max Memory Used: 128 MB Status: timeout
    price e/2 21 platform.start START RequestId: r3 Version: 1
    price e/2 22 platform.report REPORT RequestId: r3 Duration: 1000.00 ms Billed Duration: 1000 ms Memory Size: 512 MB Max Memory Used: 128 MB Status: failure Error Type: Runtime.ExitError
    price e/3 80 platform.start START RequestId: r3 Version: 1
    price e/3 81 platform.report REPORT RequestId: r3 Duration: 1000.00 ms Billed Duration: 1000 ms Memory Size: 512 MB Max Memory Used: 128 MB Status: success
    price e/1 32 platform.start START RequestId: r4 Version: 1
    mute e/9 40.2 platform.start START RequestId: r5 Version: 1
    mute e/9 40.7 platform.report REPORT RequestId: r5 Duration: 500.00 ms Billed Duration: 500 ms Memory Size: 512 MB Max Memory Used: 512 MB Status: error Error Type: Runtime.OutOfMemory
    price e/1 5 platform.start START RequestId: r7 Version: 1
    price e/1 6 platform.report REPORT RequestId: r7 Duration: 1000.00 ms Billed Duration: 1000 ms Memory Size: 512 MB Max Memory Used: 128 MB Status: timeout
    price e/1 50 platform.start START RequestId: unknown Version: 1
    price e/4 53 function 2026-11-21T10:00:53.000Z 6a1c0f9e-0d1f-4f43-9f0e-3f5d1e6a7b80 Task timed out after 3.00 seconds
    price e/1 60 platform.report REPORT RequestId: unknown Duration: 1000.00 ms Billed Duration: 1000 ms Memory Size: 512 MB Max Memory Used: 128 MB Status: timeout
";

#[tokio::test]
async fn calls_of_which_only_the_platform_tells() {
    let (to_price, to_mute) = (
        "shop -> money/price lambda.invoke price 5 errors 3 retries 1",
        "shop -> mute/mute lambda.invoke mute 1 errors 1",
    );
    let (of_cart, of_early) =
        ("shop/cart -> money/price lambda.invoke price 1", "early -> money/price lambda.invoke price 1 errors 1");
    let twice = |rows: Vec<Value>| -> Vec<Value> { rows.iter().chain(&rows).cloned().collect() };
    for (spans, logs) in
        [(story(CALLS), platform(CALLS_RECORDS)), (twice(story(CALLS)), twice(platform(CALLS_RECORDS)))]
    {
        ingested_everywhere(&spans, &logs, async |api| {
            for (query, expected) in [
                ("", vec![to_price, of_early, to_mute, of_cart]),
                ("&service=shop", vec![to_price, to_mute, of_cart]),
                ("&function=price", vec![to_price, of_early, of_cart]),
                ("&service=money", vec![to_price, of_early, of_cart]),
                ("&function=cart", vec![of_cart]),
                ("&function=mute", vec![to_mute]),
                ("&function=nobody", vec![]),
            ] {
                let got = ask(api, query).await;
                assert_eq!(hops(&got), expected, "{query} {got:#}");
                assert_eq!(got["complete"], json!(true));
            }
            // A call of before the range whose first try is before it too: what is received in it is a retry.
            let range = "start=2026-11-21T10:01:00Z&end=2026-11-21T10:02:00Z";
            let got = api.get(&format!("/api/v1/hops?{range}")).await;
            assert_eq!(hops(&got), ["shop -> money/price lambda.invoke price 1 retries 1"], "{got:#}");
            // How long a function's events waited.
            let got = ask(api, "&function=mute").await;
            let waited = got["hops"][0]["wait_p50_ns"].as_f64().unwrap() / 1e9;
            assert!((waited - 0.2).abs() < 0.01, "{waited}");
        })
        .await;
    }
}

#[tokio::test]
async fn tries_without_records_do_not_hide_those_without_a_span() {
    // Of each call some tries have a record and no span, and others a span and no record.
    let spans = story(
        "a1 c - client shop        0   1   call=price:r1
         b1 i - server money/price 70  71  inv=r1 on=e/2
         a2 c - client shop        0   1   call=price:r2
         b2 i - server money/price 2   3   inv=r2 on=e/1 error
         b3 i - server money/price 270 271 inv=r2 on=e/4",
    );
    let report = |id: &str, instance: &str, at: i64| {
        let ended =
            "Duration: 3000.00 ms Billed Duration: 3000 ms Memory Size: 512 MB Max Memory Used: 128 MB Status: timeout";
        format!(
            "price {instance} {at} platform.start START RequestId: {id} Version: 1\n\
             price {instance} {} platform.report REPORT RequestId: {id} {ended}\n",
            at + 3
        )
    };
    let logs = platform(&[report("r1", "e/1", 2), report("r2", "e/3", 100)].concat());
    ingested_everywhere(&spans, &logs, async |api| {
        let got = ask(api, "").await;
        assert_eq!(hops(&got), ["shop -> money/price lambda.invoke price 5 errors 3 retries 3"], "{got:#}");
    })
    .await;
}

#[tokio::test]
async fn a_message_fails_with_the_invocation_that_received_it() {
    // The second invocation in a trace fails; what was received in the first did not. Links tell the same.
    let spans = story(
        "a1 p - producer shop    0  1  send=orders:m1
         b1 s - server   pay/pay 3  6  error
         b1 c s consumer pay/pay 4  5  receive=orders:m1
         a2 p - producer shop    10 11 send=orders:m2
         b2 s - server   pay/pay 13 16
         b2 c s consumer pay/pay 14 15 receive=orders:m2
         b2 t - server   pay/pay 20 23 error
         b2 d t consumer pay/pay 21 22 receive=orders:m1
         a3 p - producer shop    30 31 send=orders:m3
         b3 s - server   pay/pay 33 36 error
         b3 c s consumer pay/pay 34 35 link=a3.p
         b4 s - server   pay/pay 43 46
         b4 c s consumer pay/pay 44 45 link=a3.p",
    );
    ingested_everywhere(&spans, &[], async |api| {
        for query in ["", "&function=pay", "&service=shop"] {
            let got = ask(api, query).await;
            assert_eq!(hops(&got), ["shop -> pay/pay sqs orders 5 errors 3 retries 2"], "{query} {got:#}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_client_asked_a_broker_for_is_received() {
    let mut spans = story(
        "a1 p - producer shop   0 1 send=orders:m1
         b1 c - client   worker 3 4 link=a1.p
         a2 p - producer shop   5 6 send=orders:m2
         b2 c - client   other  7 8 link=a2.p",
    );
    let client = |spans: &mut Vec<Value>, service: &str| -> usize {
        spans.iter().position(|span| span["service"] == json!(service)).unwrap()
    };
    let (worker, other) = (client(&mut spans, "worker"), client(&mut spans, "other"));
    spans[worker]["attributes"] = json!([["messaging.operation.type", "s", "receive"]]);
    spans[worker]["dropped_links_count"] = json!(3);
    spans[other]["attributes"] = json!([["messaging.operation.type", "s", "send"]]);
    ingested_everywhere(&spans, &[], async |api| {
        let got = ask(api, "").await;
        assert_eq!(hops(&got), ["shop -> worker sqs orders 1"], "{got:#}");
        assert!(got["reason"].as_str().unwrap().starts_with("links that an SDK dropped (3 of 1 spans"), "{got:#}");
    })
    .await;
}

#[tokio::test]
async fn what_the_flow_of_a_half_seen_batch_lacks_is_told() {
    // More messages than an SDK keeps links, and than a span may have keys; from more senders than are listed.
    let mut spans = story("b s - server worker/worker 50 90\nb c s consumer worker/worker 51 52 in=sqs:x link=a0.p");
    let ids: Vec<String> = (0..300).map(|n| format!("sqs:m{n}")).collect();
    for n in 0..300 {
        spans.extend(story(&format!("a{n} p - producer shop 0 1 send=orders:m{n}")));
    }
    let consumer = spans.iter_mut().find(|span| span["span_id"] == json!(span_id("c"))).unwrap();
    consumer["dropped_links_count"] = json!(172);
    consumer["attributes"] = json!([["hopline.link.in", "o", json!(ids).to_string()]]);
    ingested_everywhere(&spans, &[], async |api| {
        let got = api.get(&format!("/api/v1/flows/{}", trace_id("b"))).await;
        assert_eq!(got["edges"].as_array().unwrap().len(), 100);
        assert_eq!(got["complete"], json!(false));
        let span = span_id("c");
        assert_eq!(
            got["reason"],
            json!(format!(
                "links that an SDK dropped (172 of span {span}): the senders of those messages are not known from them; \
                 keys beyond 264 on one side of a span (37 of span {span}): they were not looked for; \
                 edges of other stories in a batch beyond 100 of one trace (164 left out)"
            ))
        );
        let reason = "links that an SDK dropped (172 of 1 spans in this range): what only they tell is not counted";
        for (query, expected) in
            [("", json!(reason)), ("&function=worker", json!(reason)), ("&service=shop", Value::Null)]
        {
            let got = ask(api, query).await;
            assert_eq!((&got["reason"], &got["complete"]), (&expected, &json!(expected.is_null())), "{query}");
        }
    })
    .await;
}
