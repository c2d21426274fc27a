//! Invocations whose span never came, and tries.

use std::collections::BTreeSet;

use hopline_stitch::facts::facts;
use hopline_stitch::invocation::Fact;

use super::*;
use crate::api::invocations::by_id::told_of;
use crate::api::params::TimeRange;
use crate::engine::Session;
use crate::sql::params::Params;

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

/// A function that ran out of time twice, be it called by somebody or not, and left a span in a trace of its own each time.
#[tokio::test]
async fn all_lost_tries_are_of_the_story_of_each() {
    let ended =
        "Duration: 3000.00 ms Billed Duration: 3000 ms Memory Size: 512 MB Max Memory Used: 128 MB Status: timeout";
    let report = |id: &str, at: i64| {
        let start = format!("price e/{id} {at} platform.start START RequestId: {id} Version: 1\n");
        format!("{start}price e/{id} {} platform.report REPORT RequestId: {id} {ended}\n", at + 3)
    };
    let logs = platform(&[report("r1", 2), report("r1", 72), report("r2", 302), report("r2", 372)].concat());
    let spans = story(
        "a1 c - client shop        0   1   call=price:r1
         x1 d q client money/price 3   4   on=e/r1
         x2 d q client money/price 73  74  on=e/r1
         y1 d q client money/price 303 304 on=e/r2
         y2 d q client money/price 373 374 on=e/r2",
    );
    ingested_everywhere(&spans, &logs, async |api| {
        for (id, seeds) in [("r1", &["a1", "x1", "x2"][..]), ("r2", &["y1", "y2"])] {
            let mut paths: Vec<String> = seeds.iter().map(|seed| format!("/{}", trace_id(seed))).collect();
            paths.push(format!("?invocation_id={id}"));
            for path in paths {
                let got = api.get(&format!("/api/v1/flows{path}")).await;
                let mut traces: Vec<String> = seeds.iter().map(|seed| trace_id(seed).to_string()).collect();
                let mut found = pick(&got["traces"], "trace_id");
                traces.sort();
                found.sort_unstable();
                assert_eq!(found, traces, "{path} {got:#}");
                assert_eq!(got["unfinished"].as_array().unwrap().len(), 2, "{path} {got:#}");
            }
        }
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

/// All that is told of invocations, in order.
async fn told(session: &Session) -> Vec<Fact> {
    let batches = session.collect("SELECT * FROM invocations", Params::default()).await.unwrap();
    let mut told: Vec<Fact> = batches.iter().flat_map(|batch| facts(batch).unwrap()).collect();
    told.sort();
    told
}

#[tokio::test]
async fn by_ids_is_found_what_is_told_of_them() {
    // Ids that begin like others; one id in two functions; the same ids of another tenant; no id at all.
    let spans = "
        a s - server shop/orders   1   2   on=e/1 inv=r1
        b s - server mail/notify   5   6   on=e/2 inv=r1
        c s - server shop/orders   7   8   on=e/1 inv=r10
        d s - server shop/orders   9   9.5 on=e/1
        e s - server shop/orders   1   2   on=e/1 inv=r1 tenant=acme
        f s - server shop/orders   3   4   on=e/1 inv=r2 tenant=acme
    ";
    let records = format!(
        "{LOST_RECORDS}
        orders e/1 1 platform.start START RequestId: r1 Version: 3
        orders e/1 2 platform.report REPORT RequestId: r1 Duration: 1000.00 ms Billed Duration: 1000 ms Memory Size: 512 MB Max Memory Used: 128 MB
        orders e/1 50 platform.logsDropped LOGS_DROPPED DroppedRecords: 12 DroppedBytes: 3456 Reason: too many"
    );
    ingested_everywhere(&story(spans), &platform(&records), async |api| {
        let engine = engine(&api.kept);
        let session = engine.session("default", engine.limits("test"));
        let told = told(&session).await;
        assert_eq!(told.len(), 12);
        for (ids, functions, start, end, expected) in [
            (&["r1"][..], &[][..], None, None, 4),
            (&["r1"], &["orders"], None, None, 3),
            (&["r1"], &["orders", "notify", "nobody"], None, None, 4),
            (&["r1"], &["nobody"], None, None, 0),
            (&["r1", "r10", "r2", "i1"], &[], None, None, 7),
            (&["r", "r100", "r2", ""], &[], None, None, 0),
            (&[], &[], None, None, 0),
            (&["r1"], &[], Some("1"), Some("2"), 2),
            (&["r1"], &[], Some("1.001"), Some("5"), 1),
            (&["r1"], &[], Some("5"), None, 1),
            (&["r1"], &[], Some("1000"), None, 0),
            (&["r1"], &[], None, Some("1"), 0),
        ] {
            let range = TimeRange { start: start.map(at), end: end.map(at) };
            let functions: BTreeSet<&str> = functions.iter().copied().collect();
            let is_wanted = |fact: &&Fact| {
                fact.invocation_id.as_deref().is_some_and(|id| ids.contains(&id))
                    && (functions.is_empty() || functions.contains(fact.function.as_deref().unwrap_or_default()))
                    && range.start.is_none_or(|start| fact.time_ns >= start)
                    && range.end.is_none_or(|end| fact.time_ns < end)
            };
            let wanted: Vec<Fact> = told.iter().filter(is_wanted).cloned().collect();
            let mut found = told_of(&session, ids.iter().copied(), &functions, range, 100).await.unwrap();
            found.sort();
            assert_eq!(found, wanted, "{ids:?} {functions:?} {range:?}");
            assert_eq!(found.len(), expected, "{ids:?} {functions:?} {range:?}");
        }
        // That there are more shows.
        for (facts_max, expected) in [(0, 1), (2, 3), (3, 4), (4, 4)] {
            let ids = std::iter::once("r1");
            let found = told_of(&session, ids, &BTreeSet::new(), TimeRange::default(), facts_max).await.unwrap();
            assert_eq!(found.len(), expected, "of at most {facts_max}");
        }
    })
    .await;
}
