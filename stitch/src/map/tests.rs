#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;
use crate::flow::testing::{World, text};
use crate::flow::{Limits, Seed};
use crate::key::Key;
use crate::span::SpanKind;

const S: i64 = 1_000_000_000;

/// Reads rows, one a line: `out|in key hop@destination party trace start end [error] [main] [account=…] [region=…] [span=…]`, times in seconds.
fn rows(script: &str) -> Vec<MapRow> {
    let row = |(number, line): (usize, &str)| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let key: Key = words[1].parse().unwrap();
        let (hop, destination) = words[2].split_once('@').unwrap_or((words[2], ""));
        let account = words.iter().find_map(|w| w.strip_prefix("account="));
        let region = words.iter().find_map(|w| w.strip_prefix("region="));
        let trace: u128 = words[4].parse().unwrap();
        let span =
            words.iter().find_map(|w| w.strip_prefix("span=")).map_or(number as u64 + 1, |id| id.parse().unwrap());
        MapRow {
            hash: key.hash(),
            kind: key.kind,
            direction: Direction::from_name(words[0]).unwrap(),
            hop: hop.into(),
            destination: (!destination.is_empty()).then(|| destination.into()),
            span: (TraceId(trace.to_be_bytes()), SpanId(span.to_be_bytes())),
            is_main: words.contains(&"main"),
            is_error: words.contains(&"error"),
            start_ns: words[5].parse::<i64>().unwrap() * S,
            end_ns: words[6].parse::<i64>().unwrap() * S,
            party: Party { service: words[3].into(), function: None },
            account: account.map(Into::into),
            region: region.map(Into::into),
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
            "api -> undertaker sqs@orders-dlq: 1 calls, 0 errors, 0 retries, 1 dead, wait 24, oldest None",
            "api -> worker sqs@orders: 2 calls, 2 errors, 1 retries, 0 dead, wait 4, oldest None",
        ],
    );
}

#[test]
fn a_span_that_names_no_queue_has_that_of_the_span_within_it() {
    let one = |to: &str, dead: u8, wait: u8| {
        format!("api -> {to}: 1 calls, 0 errors, 0 retries, {dead} dead, wait {wait}, oldest None")
    };
    let sent = "out sqs:1 sqs@orders api 1 10 11";
    for (received, expected) in [
        // The function's span has the message, its consumer also the queue.
        (
            "in sqs:1 sqs rescue 2 15 18 main\n in sqs:1 sqs@orders-dlq rescue 2 16 17",
            one("rescue sqs@orders-dlq", 1, 4),
        ),
        ("in sqs:1 sqs worker 2 15 18 main\n in sqs:1 sqs@orders worker 2 16 17", one("worker sqs@orders", 0, 4)),
        ("in sqs:1 sqs worker 2 15 18 main", one("worker sqs@orders", 0, 4)),
        // It says for itself where it has it from.
        ("in sqs:1 sqs@orders worker 2 15 18 main\n in sqs:1 sqs@more worker 2 16 17", one("worker sqs@orders", 0, 4)),
        // Of two within it the first.
        (
            "in sqs:1 sqs rescue 2 15 19 main\n in sqs:1 sqs@b-dlq rescue 2 16 17\n in sqs:1 sqs@a-dlq rescue 2 17 18",
            one("rescue sqs@b-dlq", 1, 4),
        ),
    ] {
        check(&format!("{sent}\n{received}"), &[&expected]);
    }
    // The sender too.
    let sent = "out sqs:1 sqs api 1 10 13 main\n out sqs:1 sqs@orders api 1 11 12";
    check(&format!("{sent}\n in sqs:1 sqs@orders-dlq rescue 2 15 16"), &[&one("rescue sqs@orders-dlq", 1, 2)]);
    // What another party has in the same trace, or the same one at another time, is another delivery.
    check(
        "out sqs:1 sqs@orders api 1 10 11\n in sqs:1 sqs worker 2 15 18 main\n in sqs:1 sqs@orders-dlq rescue 2 16 17
         in sqs:1 sqs@orders-dlq worker 2 20 21",
        &[
            "api -> rescue sqs@orders-dlq: 1 calls, 0 errors, 0 retries, 1 dead, wait 5, oldest None",
            "api -> worker sqs@orders: 1 calls, 0 errors, 0 retries, 0 dead, wait 4, oldest None",
            "api -> worker sqs@orders-dlq: 1 calls, 0 errors, 1 retries, 1 dead, wait 9, oldest None",
        ],
    );
}

#[test]
fn links_tell_what_no_identity_told() {
    let one = "api -> worker sqs@orders: 1 calls, 0 errors, 0 retries, 0 dead, wait 4, oldest None";
    let sent = "out link:s sqs@orders api 1 10 11 span=1";
    for (more, expected) in [
        ("in link:s sqs worker 2 15 16", vec![one]),
        // Once an invocation.
        ("in link:s sqs worker 2 15 18 main\n in link:s sqs worker 2 16 17", vec![one]),
        // What an identity told is not told again, also of a nested span.
        (
            "out sqs:1 sqs@orders api 1 10 11 span=2\n in sqs:1 sqs worker 2 15 18\n in link:s sqs worker 2 16 17",
            vec![one],
        ),
        // A message of several that went out together is no retry, nor is it one that nobody received.
        (
            "in link:s sqs worker 2 15 16\n in link:s sqs worker 3 15 16\n out sqs:1 sqs@orders api 1 10 11 span=1
             out sqs:2 sqs@orders api 4 10 11\n in sqs:2 sqs worker 5 15 16\n out sqs:3 sqs@orders api 6 10 11",
            vec![
                "api -> nobody sqs@orders: 1 calls, 0 errors, 0 retries, 0 dead, wait 0, oldest Some(11)",
                "api -> worker sqs@orders: 3 calls, 0 errors, 0 retries, 0 dead, wait 4, oldest None",
            ],
        ),
        (
            "in link:s sqs worker 2 15 16 error\n in link:s sqs worker 3 15 16",
            vec!["api -> worker sqs@orders: 2 calls, 1 errors, 1 retries, 0 dead, wait 4, oldest None"],
        ),
        // Links alone do not tell what nobody received.
        ("in link:s sqs worker 2 15 16\n out sqs:3 sqs@orders api 6 10 11", vec![one]),
        ("in link:other sqs worker 2 15 16", vec![]),
    ] {
        check(&format!("{sent}\n{more}"), &expected);
    }
}

#[test]
fn steps_of_a_workflow_are_no_retries() {
    for (key, retries) in [("durable:i#*", 0), ("durable:i", 0), ("sfn:arn:e", 0), ("sqs:1", 1), ("lambda:r", 1)] {
        let expected = format!("api -> step x@-: 2 calls, 0 errors, {retries} retries, 0 dead, wait 4, oldest None");
        check(&format!("out {key} x api 1 10 11\n in {key} x step 2 15 16\n in {key} x step 3 15 17"), &[&expected]);
    }
}

#[test]
fn each_read_of_an_item_has_the_write_before_it() {
    check(
        "out ddb.item:a dynamodb.stream@t one 1 10 11\n in ddb.item:a dynamodb.stream@t reader 2 15 16
         out ddb.item:a dynamodb.stream@t two 3 20 21\n in ddb.item:a dynamodb.stream@t reader 4 25 26",
        &[
            "one -> reader dynamodb.stream@t: 1 calls, 0 errors, 0 retries, 0 dead, wait 4, oldest None",
            // It may be the change that the first wrote: how long it waited is not told.
            "two -> reader dynamodb.stream@t: 1 calls, 0 errors, 0 retries, 0 dead, wait 0, oldest None",
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
fn equal_keys_of_two_regions_are_two_things() {
    let of = |sender: &str, receiver: &str| {
        format!("out kafka:-:t:0:1 kafka@t api 1 10 11 {sender}\n in kafka:-:t:0:1 kafka@t worker 2 15 16 {receiver}")
    };
    let one = ["api -> worker kafka@t: 1 calls, 0 errors, 0 retries, 0 dead, wait 4, oldest None"];
    check(&of("region=eu", "region=us"), &[]);
    check(&of("account=1 region=eu", "account=1 region=us"), &[]);
    check(&of("account=1 region=eu", "account=2 region=eu"), &[]);
    check(&of("account=1 region=eu", "account=1 region=eu"), &one);
    check(&of("account=1 region=eu", "account=1"), &one);
    check(&of("region=eu", "account=1"), &one);
    // What is unique in the world crosses regions, unless one's own has it too.
    let of_world = of("region=eu", "region=us").replace("kafka:-:t:0:1", "sqs:1");
    check(&of_world, &one);
    let more = format!("{of_world}\n out sqs:1 kafka@t near 3 9 10 region=us");
    check(&more, &["near -> worker kafka@t: 1 calls, 0 errors, 0 retries, 0 dead, wait 5, oldest None"]);
}

#[test]
fn a_receiver_outside_of_the_range_only_tells_that_it_was_received() {
    check("out sqs:1 sqs@orders api 1 10 11\n in sqs:1 sqs@orders worker 2 1500 1600", &[]);
}

#[test]
fn several_names_of_a_message_are_one_delivery() {
    check(
        "out mq:rabbitmq|orders|1 rabbitmq@orders api 1 10 11 span=91\n out mq:rabbitmq|-|1 rabbitmq@orders api 1 10 11 span=91
         in mq:rabbitmq|orders|1 rabbitmq@orders worker 2 15 16 span=92\n in mq:rabbitmq|-|1 rabbitmq@orders worker 2 15 16 span=92",
        &["api -> worker rabbitmq@orders: 1 calls, 0 errors, 0 retries, 0 dead, wait 4, oldest None"],
    );
}

#[test]
fn an_outcome_is_that_of_the_last_try() {
    check(
        "out lambda.outcome:r lambda.destination@one one 1 10 11\n out lambda.outcome:r lambda.destination@one one 1 70 71
         in lambda.outcome:r lambda.destination@end end 2 75 76",
        &["one -> end lambda.destination@end: 1 calls, 0 errors, 0 retries, 0 dead, wait 4, oldest None"],
    );
}

#[test]
fn of_two_who_wrote_the_same_the_request_tells_who_it_was() {
    check(
        "out s3.req:1 s3@b one 1 10 11 span=1\n out s3.obj:b|k|e s3@b one 1 10 11 span=1
         out s3.req:2 s3@b two 2 20 21 span=2\n out s3.obj:b|k|e s3@b two 2 20 21 span=2
         in s3.req:1 s3@b reader 3 30 31 span=3\n in s3.obj:b|k|e s3@b reader 3 30 31 span=3",
        &["one -> reader s3@b: 1 calls, 0 errors, 0 retries, 0 dead, wait 19, oldest None"],
    );
}

#[test]
fn who_wrote_under_another_name_is_not_the_writer() {
    let read = "in s3.req:1 s3@b reader 3 30 31 span=3\n in s3.obj:b|k|e s3@b reader 3 30 31 span=3";
    let other = "out s3.req:2 s3@b two 2 20 21 span=2\n out s3.obj:b|k|e s3@b two 2 20 21 span=2";
    let one = "one -> reader s3@b: 1 calls, 0 errors, 0 retries, 0 dead, wait 19, oldest None";
    check(&format!("out s3.req:1 s3@b one 1 10 11 span=1\n{other}\n{read}"), &[one]);
    check(&format!("{other}\n{read}"), &[]);
}

#[test]
fn where_receivers_name_ranges_nobody_knows_what_was_not_received() {
    check(
        "out kinesis:eu:s:0:1 kinesis@s api 1 10 11\n in kinesis:eu:s:0:1 kinesis@s worker 2 15 16
         out kinesis:eu:s:0:2 kinesis@s api 3 10 11\n in kinesis.range:eu:s:0:2..900 kinesis@s worker 4 15 16",
        &["api -> worker kinesis@s: 1 calls, 0 errors, 0 retries, 0 dead, wait 4, oldest None"],
    );
}

#[test]
fn what_a_function_sets_off_is_not_its_cause() {
    check("in ce:x cloudevents worker 1 10 20\n out ce:x cloudevents worker 1 15 16", &[]);
}

/// The rows that the spans of a world have.
fn rows_of(world: &World) -> Vec<MapRow> {
    let name = |text: &str| -> Arc<str> { text.into() };
    let mut rows = Vec::new();
    for span in &world.spans {
        rows.extend(span.keys.iter().map(|key| MapRow {
            hash: key.key.hash(),
            kind: key.key.kind,
            direction: key.direction,
            hop: name(key.hop),
            destination: key.destination.as_deref().map(name),
            span: (span.trace_id, span.span_id),
            is_main: matches!(span.kind, SpanKind::Producer | SpanKind::Server),
            is_error: span.is_error,
            start_ns: span.start_ns,
            end_ns: span.end_ns,
            party: Party { service: name(&span.service), function: span.function.as_deref().map(name) },
            account: span.account.as_deref().map(name),
            region: span.region.as_deref().map(name),
        }));
    }
    rows
}

/// Of each sender, receiver, hop and destination: deliveries, retries, dead letters.
type Counts = BTreeMap<String, (u64, u64, u64)>;

fn of_map(rows: Vec<MapRow>) -> Counts {
    let map = hop_map(rows, (i64::MIN, i64::MAX));
    let known = map.edges.into_iter().filter(|(key, _)| key.to.is_some());
    known
        .map(|(key, t)| {
            let to = key.to.unwrap().service;
            let destination = key.destination.as_deref().unwrap_or("-");
            let name = format!("{} -> {to} {}@{destination}", key.from.service, key.hop);
            (name, (t.calls, t.retries, t.dead_letters))
        })
        .collect()
}

/// What all flows of a world say, each edge once.
fn of_flows(world: &World) -> Counts {
    let mut edges = BTreeMap::new();
    let traces: BTreeSet<TraceId> = world.spans.iter().map(|s| s.trace_id).collect();
    for trace in traces {
        let flow = world.assemble_by(Seed::Trace(trace), Limits::default()).0;
        for edge in flow.edges.into_iter().filter(|e| e.key.is_some() && !e.from.service.is_empty()) {
            let ids = |end: &crate::flow::End| (end.trace_id, end.span_id);
            let place = (ids(&edge.from), ids(&edge.to));
            // A flow that was cut knows fewer of the other deliveries.
            let known = edges.entry(place).or_insert_with(|| edge.clone());
            if edge.attempt > known.attempt {
                *known = edge;
            }
        }
    }
    let mut counts = Counts::new();
    for e in edges.into_values() {
        let destination = e.destination.as_deref().unwrap_or("-");
        let count =
            counts.entry(format!("{} -> {} {}@{destination}", e.from.service, e.to.service, e.hop)).or_default();
        count.0 += 1;
        count.1 += u64::from(e.is_retry);
        count.2 += u64::from(e.is_dead_letter);
    }
    counts
}

/// A message: how, by whom, whether told by nested spans, of which account and region, and to whom, when, how, in which
/// region.
type Message = (u8, u8, bool, (u8, u8), Vec<(u8, u8, u8, u8)>);

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let delivery = (0..3_u8, 1..40_u8, 0..4_u8, 0..3_u8);
    proptest::collection::vec(
        (0..9_u8, 0..3_u8, any::<bool>(), (0..3_u8, 0..3_u8), proptest::collection::vec(delivery, 0..3)),
        1..7,
    )
}

/// The world of these messages. Scripts know no regions: they stand behind the account.
fn world(messages: &[Message]) -> World {
    let mut world = World::new(&script(messages));
    for span in &mut world.spans {
        let place = span.account.take().unwrap_or_default();
        let (account, region) = place.split_once('/').unwrap_or((&place, ""));
        let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        (span.account, span.region) = (known(account), known(region));
    }
    world
}

/// The story of these messages.
fn script(messages: &[Message]) -> String {
    let mut lines = Vec::new();
    for (i, (by, sender, is_nested, (account, region), deliveries)) in messages.iter().enumerate() {
        let (start, same) = (i * 7, i % 2);
        let place = |region: u8| match (*account, region) {
            (0, 0) => String::new(),
            (0, region) => format!("acct=/{region}"),
            (account, 0) => format!("acct={account}"),
            (account, region) => format!("acct={account}/{region}"),
        };
        let account = place(*region);
        let keys = match by {
            0 => format!("sqs:m{i}@q"),
            1 => format!("sns:m{i}@t"),
            2 => format!("lambda:r{i}"),
            3 => format!("s3.req:r{i}@b,s3.obj:b|k|e{same}@b"),
            // Of the writing only the request is noted.
            8 => format!("s3.req:r{i}@b"),
            4 => format!("ddb.item:i{same}"),
            5 => format!("kafka:-:t:0:{same}@t"),
            6 => format!("mq:rabbitmq|x|m{i}@x,mq:rabbitmq|-|m{i}@x"),
            _ => format!("lambda.outcome:r{i}"),
        };
        let kind = if *by == 7 { "server" } else { "producer" };
        lines.push(format!("s{i} p - {kind} f{sender} {start} {} {account} out={keys}", start + 2));
        if *is_nested && *by != 7 {
            lines.push(format!("s{i} c p client f{sender} {start}.5 {} {account} out={keys}", start + 1));
        }
        for (j, (receiver, wait, how, region)) in deliveries.iter().enumerate() {
            // Of names that are unique in one region only, a flow tells a sender in another as long as it has not read its trace.
            let account = if matches!(by, 4..=6) { account.clone() } else { place(*region) };
            let at = start + 2 + usize::from(*wait) * 3 + j;
            let keys = match (by, how) {
                (0, 3) => format!("sqs:m{i}@q-dlq"),
                (6, 1..) => format!("mq:rabbitmq|-|m{i}"),
                (8, _) => format!("s3.req:r{i}@b,s3.obj:b|k|e{same}@b"),
                _ => keys.clone(),
            };
            // In a trace of its own, told by one span or by two; or further on in the sender's.
            let (trace, parent) = if *how == 2 { (format!("s{i}"), "p") } else { (format!("d{i}{j}"), "-") };
            let span = format!("x{j}");
            let receiver = format!("g{receiver}");
            if *how == 1 {
                lines.push(format!("{trace} {span} {parent} server {receiver} {at} {}.9 {account}", at));
                lines.push(format!("{trace} y{j} {span} consumer {receiver} {at}.1 {at}.8 {account} in={keys}"));
            } else {
                lines.push(format!("{trace} {span} {parent} server {receiver} {at} {at}.9 {account} in={keys}"));
            }
        }
    }
    lines.join("\n")
}

proptest! {
    /// The map counts the edges that flows tell.
    #[test]
    fn flows_and_the_map_agree(messages in messages()) {
        let world = world(&messages);
        let (map, flows) = (of_map(rows_of(&world)), of_flows(&world));
        let told: Vec<String> = ["s0", "s1", "s2"].iter().map(|seed| text(&world.flow(seed))).collect();
        prop_assert_eq!(map, flows, "\n{}\n\n{}\n", script(&messages), told.join("\n"));
    }

    /// Rows come in any order, and twice.
    #[test]
    fn the_order_of_rows_does_not_matter(messages in messages(), order in Just((0..200usize).collect::<Vec<_>>()).prop_shuffle()) {
        let rows = rows_of(&world(&messages));
        let whole = of_map(rows.clone());
        let twice: Vec<MapRow> = rows.iter().cloned().chain(rows.iter().step_by(2).cloned()).collect();
        let mut mixed: Vec<(usize, MapRow)> = order.iter().copied().zip(twice).collect();
        mixed.sort_by_key(|(place, _)| *place);
        prop_assume!(mixed.len() <= 200);
        prop_assert_eq!(of_map(mixed.into_iter().map(|(_, row)| row).collect()), whole);
    }
}
