//! Invocations, told by spans and by the platform's records in any order; and what is counted of them and of hops.

use serde_json::{Value, json};

use super::{
    NO_MERGING, RESTLESS, get, hopline, printed, script, send_records, send_spans, until_flushed, until_merged,
};
use crate::server::{Server, start_with};

/// One that went well, and one that ran out of time: of that only a call that it made came.
const SPANS: &str = "
    well s - server orders 10 10.5 inv=i1 on=e/1 cold
    well c s client orders 10.1 10.4 on=e/1
    lost d x client orders 31 32 on=e/1
";

const RECORDS: [&str; 4] = [
    "orders e/1 9.2 platform.initStart INIT_START Runtime Version: python:3.14.v9 Runtime Version ARN: arn:aws:x
     orders e/1 9.9 platform.initReport INIT_REPORT Initialization Type: on-demand Phase: init Status: success Duration: 700.00 ms
     orders e/1 10 platform.start START RequestId: i1 Version: 3",
    "orders e/1 10.6 platform.report REPORT RequestId: i1 Duration: 510.00 ms Billed Duration: 1300 ms Memory Size: 512 MB Max Memory Used: 96 MB Init Duration: 700.00 ms",
    "orders e/1 30 platform.start START RequestId: i2 Version: 3",
    "orders e/1 33 platform.report REPORT RequestId: i2 Duration: 3000.00 ms Billed Duration: 3000 ms Memory Size: 512 MB Max Memory Used: 128 MB Status: timeout",
];

const RANGE: &str = "start=2026-09-21T14:00:00Z&end=2026-09-21T15:00:00Z";

async fn send_part(server: &Server, part: usize) {
    match part {
        0 => send_spans(server, &script::of_trace(SPANS, "well")).await,
        1 => send_spans(server, &script::of_trace(SPANS, "lost")).await,
        part => send_records(server, RECORDS[part - 2]).await,
    }
}

/// What is told of both invocations.
async fn told(server: &Server) -> Value {
    let one = get(server, "/api/v1/invocations/i1").await;
    let lost = get(server, "/api/v1/invocations/i2").await;
    let all = get(server, &format!("/api/v1/invocations?{RANGE}")).await;
    assert_eq!(all["count"], 2, "{all:#}");
    json!([one, lost, all, super::flow(server, "lost").await])
}

#[tokio::test]
async fn an_invocation_is_the_same_whoever_tells_of_it_first() {
    let mut expected: Option<Value> = None;
    for (config, order) in [
        (NO_MERGING, [0, 1, 2, 3, 4, 5]),
        (NO_MERGING, [5, 3, 4, 2, 1, 0]),
        (NO_MERGING, [3, 0, 5, 1, 2, 4]),
        (RESTLESS, [2, 4, 0, 5, 3, 1]),
    ] {
        let (mut server, _dir) = start_with(config).await;
        for (i, part) in order.into_iter().enumerate() {
            send_part(&server, part).await;
            if config == RESTLESS {
                until_flushed(&server).await;
            } else if i % 2 == 0 {
                server = server.kill_and_restart().await;
            } else {
                assert!(server.stop().await.success());
                server = server.again().await;
            }
        }
        if config == RESTLESS {
            until_merged(&server, "invocations").await;
        }
        let got = told(&server).await;
        match &expected {
            None => expected = Some(got),
            Some(expected) => assert_eq!(&got, expected, "{order:?}"),
        }
    }
    let Value::Array(told) = expected.unwrap() else { panic!() };
    let well = &told[0]["attempts"][0];
    let words = ["outcome", "start_type", "function", "version"].map(|key| well[key].as_str().unwrap());
    assert_eq!(words, ["ok", "cold", "orders", "3"]);
    assert_eq!(
        (&well["has_span"], &well["has_report"], &well["billed_ns"]),
        (&true.into(), &true.into(), &1_300_000_000_u64.into())
    );
    let lost = &told[1]["attempts"][0];
    assert_eq!(
        (&lost["outcome"], &lost["has_span"], &lost["start_type"]),
        (&"timeout".into(), &false.into(), &"warm".into())
    );
}

#[tokio::test]
async fn a_time_out_without_a_span_is_shown_above_what_it_left() {
    let (server, _dir) = start_with(NO_MERGING).await;
    for part in 0..6 {
        send_part(&server, part).await;
    }
    let flow = super::flow(&server, "lost").await;
    let unfinished = &flow["unfinished"][0];
    assert_eq!((&unfinished["invocation_id"], &unfinished["outcome"]), (&"i2".into(), &"timeout".into()));
    let rows = flow["rows"].as_array().unwrap();
    assert_eq!(
        (&rows[0]["row"], &rows[1]["name"], &rows[1]["parent_row"]),
        (&"invocation".into(), &"lost.d".into(), &0.into())
    );
    let drawn = printed(&server, &["flow", &script::trace_id("lost")]);
    assert!(drawn.contains("1 invocation never finished"), "{drawn}");
    assert!(drawn.contains("✗ ◌ orders: timed out after 3.00 s") && drawn.contains("└─ lost.d"), "{drawn}");
    assert!(drawn.contains("its span never came, only 1 span below it did, invocation i2"), "{drawn}");
    // One that left nothing has no flow, but is known.
    send_records(&server, "orders e/2 40 platform.start START RequestId: i3 Version: 3").await;
    let report = "orders e/2 41 platform.report REPORT RequestId: i3 Duration: 3000.00 ms Billed Duration: 3000 ms Memory Size: 512 MB Max Memory Used: 1 MB Status: timeout";
    send_records(&server, report).await;
    let output = hopline(&server, &["flow", "i3"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("no span of the invocation \"i3\" is known") && said.contains("timed out"), "{said}");
}

#[tokio::test]
async fn what_is_counted_is_the_same_after_a_restart() {
    let hops = "
        a1 p - producer shop   0  1  send=orders:m1
        b1 s - server   worker 3  4  inv=w1 receive=orders:m1
        a2 p - producer shop   10 11 send=orders:m2
        b2 s - server   worker 12 13 inv=w2 receive=orders:m2 error=no
        b3 s - server   worker 42 43 inv=w3 receive=orders:m2
        a3 p - producer shop   20 21 send=orders:m3
    ";
    for config in [NO_MERGING, RESTLESS] {
        let (mut server, _dir) = start_with(config).await;
        // The receivers first.
        for trace in ["b3", "b1", "b2", "a3", "a2", "a1"] {
            send_spans(&server, &script::of_trace(hops, trace)).await;
        }
        for part in 0..6 {
            send_part(&server, part).await;
        }
        let ask = async |server: &Server| {
            let paths = ["hops", "functions", "functions/worker", "functions/orders", "invocations"];
            let mut answers = Vec::new();
            for path in paths {
                answers.push(get(server, &format!("/api/v1/{path}?{RANGE}")).await);
            }
            answers
        };
        let before = ask(&server).await;
        let to = |i: usize| before[0]["hops"][i]["to"]["function"].as_str().unwrap_or("nobody").to_owned();
        assert_eq!(
            (to(0), &before[0]["hops"][0]["calls"], &before[0]["hops"][0]["retries"]),
            ("worker".into(), &3.into(), &1.into())
        );
        assert_eq!(
            (to(1), &before[0]["hops"][1]["oldest_unconsumed"]),
            ("nobody".into(), &"2026-09-21T14:13:41.000000000Z".into())
        );
        let names = before[1]["functions"].as_array().unwrap().iter().map(|f| f["function"].as_str().unwrap());
        assert_eq!(names.collect::<Vec<_>>(), ["orders", "worker"]);
        server = server.kill_and_restart().await;
        assert_eq!(ask(&server).await, before, "killed, {config}");
        assert!(server.stop().await.success());
        if config == NO_MERGING {
            printed(&server, &["compact"]);
        }
        server = server.again().await;
        assert_eq!(ask(&server).await, before, "stopped, {config}");
    }
}
