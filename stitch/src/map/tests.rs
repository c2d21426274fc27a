#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::key::Key;

const S: i64 = 1_000_000_000;

/// Reads rows, one a line: `out|in key hop@destination party trace start end [error] [main] [account=…]`, times in seconds.
fn rows(script: &str) -> Vec<MapRow> {
    let row = |(number, line): (usize, &str)| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let key: Key = words[1].parse().unwrap();
        let (hop, destination) = words[2].split_once('@').unwrap_or((words[2], ""));
        let account = words.iter().find_map(|w| w.strip_prefix("account="));
        let trace: u128 = words[4].parse().unwrap();
        MapRow {
            hash: key.hash(),
            kind: key.kind,
            direction: Direction::from_name(words[0]).unwrap(),
            hop: hop.into(),
            destination: (!destination.is_empty()).then(|| destination.into()),
            span: (TraceId(trace.to_be_bytes()), SpanId((number as u64 + 1).to_be_bytes())),
            is_main: words.contains(&"main"),
            is_error: words.contains(&"error"),
            start_ns: words[5].parse::<i64>().unwrap() * S,
            end_ns: words[6].parse::<i64>().unwrap() * S,
            party: Party { service: words[3].into(), function: None },
            account: account.map(Into::into),
        }
    };
    script.lines().map(str::trim).filter(|l| !l.is_empty()).enumerate().map(row).collect()
}

#[track_caller]
fn check(script: &str, expected: &[&str]) {
    let mut rows = rows(script);
    for _ in 0..2 {
        let map = hop_map(rows.clone(), (0, 1_000 * S));
        let lines: Vec<String> = map
            .edges
            .iter()
            .map(|(key, t)| {
                let to = key.to.as_ref().map_or("nobody", |to| &to.service);
                let wait = t.wait.quantile(0.5).map_or(0.0, |w| w / 1e9).round();
                format!(
                    "{} -> {to} {}@{}: {} calls, {} errors, {} retries, {} dead, wait {wait}, oldest {:?}",
                    key.from.service,
                    key.hop,
                    key.destination.as_deref().unwrap_or("-"),
                    t.calls,
                    t.errors,
                    t.retries,
                    t.dead_letters,
                    t.oldest_ns.map(|ns| ns / S)
                )
            })
            .collect();
        assert_eq!(lines, expected);
        // The order of the rows does not matter.
        rows.reverse();
    }
}

#[test]
fn a_message_waits() {
    check(
        "out sqs:1 sqs@orders api 1 10 11\n in sqs:1 sqs@orders worker 2 15 16",
        &["api -> worker sqs@orders: 1 calls, 0 errors, 0 retries, 0 dead, wait 4, oldest None"],
    );
}

#[test]
fn nested_spans_are_one_send_and_one_receipt() {
    check(
        "out sqs:1 sqs@orders api 1 10 13 main\n out sqs:1 sqs@orders api 1 11 12
         in sqs:1 sqs@orders worker 2 15 18 main\n in sqs:1 sqs@orders worker 2 16 17",
        &["api -> worker sqs@orders: 1 calls, 0 errors, 0 retries, 0 dead, wait 2, oldest None"],
    );
}

#[test]
fn a_poison_message_is_tried_again_and_dies() {
    check(
        "out sqs:1 sqs@orders api 1 10 11\n in sqs:1 sqs@orders worker 2 15 16 error
         in sqs:1 sqs@orders worker 3 25 26 error\n in sqs:1 sqs@orders-dlq undertaker 4 35 36",
        &[
            "api -> undertaker sqs@orders: 1 calls, 0 errors, 0 retries, 1 dead, wait 24, oldest None",
            "api -> worker sqs@orders: 2 calls, 2 errors, 1 retries, 0 dead, wait 4, oldest None",
        ],
    );
}

#[test]
fn each_read_of_an_item_has_the_write_before_it() {
    check(
        "out ddb.item:a dynamodb.stream@t one 1 10 11\n in ddb.item:a dynamodb.stream@t reader 2 15 16
         out ddb.item:a dynamodb.stream@t two 3 20 21\n in ddb.item:a dynamodb.stream@t reader 4 25 26",
        &[
            "one -> reader dynamodb.stream@t: 1 calls, 0 errors, 0 retries, 0 dead, wait 4, oldest None",
            "two -> reader dynamodb.stream@t: 1 calls, 0 errors, 1 retries, 0 dead, wait 4, oldest None",
        ],
    );
}

#[test]
fn what_nobody_received_is_told_only_where_receivers_tell() {
    let lost = "out sqs:2 sqs@orders api 5 20 21\n out sqs:3 sqs@orders api 6 30 31";
    check(lost, &[]);
    check(
        &format!("{lost}\n out sqs:1 sqs@orders api 1 10 11\n in sqs:1 sqs@orders worker 2 15 16"),
        &[
            "api -> nobody sqs@orders: 2 calls, 0 errors, 0 retries, 0 dead, wait 0, oldest Some(21)",
            "api -> worker sqs@orders: 1 calls, 0 errors, 0 retries, 0 dead, wait 4, oldest None",
        ],
    );
}

#[test]
fn equal_keys_of_two_accounts_are_two_things() {
    check("out kafka:-:t:0:1 kafka@t api 1 10 11 account=1\n in kafka:-:t:0:1 kafka@t worker 2 15 16 account=2", &[]);
}

#[test]
fn a_receiver_outside_of_the_range_only_tells_that_it_was_received() {
    check("out sqs:1 sqs@orders api 1 10 11\n in sqs:1 sqs@orders worker 2 1500 1600", &[]);
}
