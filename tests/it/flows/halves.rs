//! The halves of a hop, in separate exports: in any order, days apart, with the server killed,
//! stopped, flushing and merging in between, and sent twice.

use serde_json::Value;
use tempfile::TempDir;

use super::{NO_MERGING, RESTLESS, edges, flow, printed, script, send_spans, traces, until_flushed, until_merged};
use crate::server::{Server, start_with};

/// Shop → queue → (three days later) worker, which calls pricing → topic → (two days later) notify and audit. The sender's
/// nested spans have one message id; the worker's link leads nowhere, and has only the id.
const CHAIN: &str = "
    shop  c -  client   shop     0        1
    shop  s c  server   orders   0.1      0.9      inv=r1
    shop  p s  producer orders   0.2      0.8      send=orders:m1
    shop  q p  client   orders   0.3      0.7      send=orders:m1
    work  s -  server   worker   259200   259209   inv=r2
    work  c s  consumer worker   259200.1 259200.2 queue=orders link=m1
    work  i s  client   worker   259201   259202   call=pricing:r3
    work  n s  producer worker   259203   259204   out=sns:n1
    price s -  server   pricing  259201.2 259201.8 inv=r3
    tell  s -  server   notify   432000   432001   inv=r4 in=sns:n1
    audit s -  server   audit    432000   432001   inv=r5 in=sns:n1
";

/// The exports: one of each function's trace.
const PARTS: [&str; 5] = ["shop", "work", "price", "tell", "audit"];

const EDGES: [&str; 5] = [
    "shop.c -> shop.s call exact",
    "shop.p -> work.c sqs exact",
    "work.i -> price.s lambda.invoke exact",
    "work.n -> audit.s sns exact fan_out",
    "work.n -> tell.s sns exact fan_out",
];

/// What happens to the server between two exports.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Between {
    Nothing,
    /// `kill -9`, and a new start.
    Kill,
    /// SIGTERM, which writes out what is in memory, and a new start.
    Stop,
    /// Each export is in a file before the next one comes; files are merged when they like.
    Flush,
    /// SIGTERM, and the stopped folder is compacted.
    Compact,
}

impl Between {
    async fn happens(self, mut server: Server) -> Server {
        match self {
            Between::Nothing => server,
            Between::Kill => server.kill_and_restart().await,
            Between::Flush => {
                until_flushed(&server).await;
                server
            }
            Between::Stop | Between::Compact => {
                assert!(server.stop().await.success(), "{}", server.log());
                if self == Between::Compact {
                    printed(&server, &["compact"]);
                }
                server.again().await
            }
        }
    }
}

/// All that is asked of the chain: the flow from each of its traces, from ids, and as the command draws it.
async fn told(server: &Server) -> (Value, String) {
    let expected = flow(server, "shop").await;
    for trace in PARTS {
        assert_eq!(flow(server, trace).await, expected, "{trace}");
    }
    for query in ["message_id=m1", "message_id=n1", "invocation_id=r3", "key=sns:n1"] {
        assert_eq!(super::get(server, &format!("/api/v1/flows?{query}")).await, expected, "{query}");
    }
    let drawn = printed(server, &["flow", &script::trace_id("work")]);
    assert_eq!(printed(server, &["flow", "m1"]), drawn);
    (expected, drawn)
}

async fn play(order: [usize; 5], between: Between, copies: usize) -> (Value, String, Server, TempDir) {
    let config = if between == Between::Flush { RESTLESS } else { NO_MERGING };
    let (mut server, dir) = start_with(config).await;
    for (i, part) in order.iter().enumerate() {
        if i > 0 {
            server = between.happens(server).await;
        }
        let lines = script::of_trace(CHAIN, PARTS[*part]);
        // As another request each time: the same bytes would be known for a retry.
        for copy in 0..copies {
            send_spans(&server, &format!("{lines}copy s - server copy{i}{copy} 0 1")).await;
        }
    }
    let (flow, drawn) = told(&server).await;
    (flow, drawn, server, dir)
}

/// The reference: in order, with nothing in between.
async fn reference() -> (Value, String) {
    let (flow, drawn, ..) = play([0, 1, 2, 3, 4], Between::Nothing, 1).await;
    assert_eq!(traces(&flow), ["shop", "work", "price", "audit", "tell"]);
    let mut found = edges(&flow);
    found.sort();
    assert_eq!(found, EDGES, "{flow:#}");
    assert_eq!(flow["missing"], serde_json::json!({"sent": [], "received": [], "parents": 0}));
    assert_eq!(flow["complete"], true);
    let waits = flow["edges"].as_array().unwrap().iter().filter(|edge| edge["hop"] == "sqs");
    // From the end of sending, 0.8 s, to the start of receiving.
    assert_eq!(waits.map(|edge| edge["wait_ns"].as_i64().unwrap()).collect::<Vec<_>>(), [259_199_300_000_000]);
    (flow, drawn)
}

/// In three orders, with the same happening after each export.
async fn it_is_the_same_story(between: Between) {
    let (expected, drawn) = reference().await;
    for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [1, 4, 0, 3, 2]] {
        let (flow, text, server, _dir) = play(order, between, 1).await;
        assert_eq!(flow, expected, "{order:?}");
        assert_eq!(text, drawn, "{order:?}");
        if between == Between::Flush {
            until_merged(&server, "hop_keys").await;
            until_merged(&server, "spans").await;
            assert_eq!(told(&server).await.0, expected, "merged, {order:?}");
            let server = server.kill_and_restart().await;
            assert_eq!(told(&server).await.0, expected, "merged and killed, {order:?}");
        }
    }
}

#[tokio::test]
async fn whichever_half_comes_first() {
    it_is_the_same_story(Between::Nothing).await;
}

#[tokio::test]
async fn the_server_is_killed_between_the_halves() {
    it_is_the_same_story(Between::Kill).await;
}

#[tokio::test]
async fn the_server_is_stopped_between_the_halves() {
    it_is_the_same_story(Between::Stop).await;
}

#[tokio::test]
async fn the_halves_are_flushed_apart_and_merged() {
    it_is_the_same_story(Between::Flush).await;
}

#[tokio::test]
async fn the_folder_is_compacted_between_the_halves() {
    it_is_the_same_story(Between::Compact).await;
}

#[tokio::test]
async fn what_comes_twice_counts_once() {
    let (expected, drawn) = reference().await;
    for between in [Between::Nothing, Between::Kill, Between::Compact] {
        let (flow, text, ..) = play([3, 1, 0, 4, 2], between, 2).await;
        assert_eq!(flow, expected, "{between:?}");
        assert_eq!(text, drawn, "{between:?}");
    }
}

#[tokio::test]
async fn a_half_is_told_until_the_other_one_comes() {
    let (server, _dir) = start_with(NO_MERGING).await;
    send_spans(&server, &script::of_trace(CHAIN, "work")).await;
    let missing = |flow: &Value, side: &str| -> Vec<String> {
        flow["missing"][side].as_array().unwrap().iter().map(|half| half["key"].as_str().unwrap().to_owned()).collect()
    };
    let alone = flow(&server, "work").await;
    assert_eq!(
        (missing(&alone, "received"), missing(&alone, "sent")),
        (vec!["sqs:m1".into()], vec!["lambda:r3".into(), "sns:n1".into()])
    );
    let drawn = printed(&server, &["flow", "r2"]);
    assert!(drawn.contains("sqs:m1 of worker: received, sender unknown"), "{drawn}");
    assert!(drawn.contains("sns:n1 of worker: sent, and nobody was seen receiving it"), "{drawn}");
    let server = Between::Kill.happens(server).await;
    send_spans(&server, &script::of_trace(CHAIN, "shop")).await;
    let joined = flow(&server, "work").await;
    assert_eq!(
        (traces(&joined), missing(&joined, "received")),
        (vec!["shop".into(), "work".into()], Vec::<String>::new())
    );
    assert_eq!(missing(&joined, "sent"), ["lambda:r3", "sns:n1"]);
    let of_span = printed(&server, &["flow", &script::trace_id("work"), "--span", &script::span_id("c")]);
    assert!(of_span.starts_with("flow of 2 traces"), "{of_span}");
    // The folder of a stopped server tells the same as the server.
    let mut server = server;
    let drawn = printed(&server, &["flow", "m1"]);
    assert!(server.stop().await.success());
    assert_eq!(printed(&server, &["flow", "m1"]), drawn);
}

#[tokio::test]
async fn orders_that_one_batch_took_together_stay_apart() {
    let script = "
        ann s - server   orders 0  1  inv=r1
        ann p s producer orders 0  1  send=orders:m1
        bob s - server   orders 0  1  inv=r2
        bob p s producer orders 0  1  send=orders:m2
        lot s - server   worker 5  9  inv=r3
        lot c s consumer worker 5  9  queue=orders link=m1 link=m2
        lot p c producer worker 6  7  out=sns:n1
        end s - server   notify 8  9  inv=r4 in=sns:n1
    ";
    for order in [["ann", "bob", "lot", "end"], ["end", "lot", "bob", "ann"]] {
        let (mut server, _dir) = start_with(NO_MERGING).await;
        for part in order {
            send_spans(&server, &script::of_trace(script, part)).await;
            server = Between::Kill.happens(server).await;
        }
        for (own, other) in [("ann", "bob"), ("bob", "ann")] {
            let flow = flow(&server, own).await;
            assert_eq!(traces(&flow), [own, "lot", "end"], "{order:?}");
            let expected = [
                format!("{own}.p -> lot.c sqs exact"),
                format!("{other}.p -> lot.c sqs exact"),
                "lot.p -> end.s sns exact".into(),
            ];
            let mut found = edges(&flow);
            // Who else sent into the batch is told; that story is another one.
            found.sort_by_key(|edge| (!edge.contains("lot.c"), !edge.starts_with(own)));
            assert_eq!(found, expected, "{order:?}");
            assert!(flow["rows"].as_array().unwrap().iter().all(|row| row["trace_id"] != *script::trace_id(other)));
            let cut = &flow["cuts"][0];
            assert_eq!((&cut["reason"], &cut["traces"][0]), (&"batch".into(), &script::trace_id(other).into()));
            let drawn = printed(&server, &["flow", &script::trace_id(own)]);
            assert!(drawn.contains(&format!("of other stories: {}", script::trace_id(other))), "{drawn}");
        }
    }
}
