//! What real systems do to a story: tries, batches, envelopes, fan-out, moves between queues, equal names.

use super::super::Limits;
use super::super::testing::{World, check, check_all, text};

/// Each try in a trace of its own, and what became of the third.
pub(super) const TRIES: &str = "
    a c - client one 0 1 out=lambda:r1@two
    b s - server two/two 2 3     inv=r1 out=lambda.outcome:r1 error
    c s - server two/two 62 63   inv=r1 out=lambda.outcome:r1 error
    d s - server two/two 182 183 inv=r1 out=lambda.outcome:r1 error
    e s - server end/end 184 185 inv=r2 in=lambda.outcome:r1";

#[test]
fn an_outcome_is_that_of_the_last_try() {
    let script = TRIES;
    let expected = |b: &str, c: &str, d: &str, traces: &str| {
        format!(
            "{traces}
             a.c -> {b} lambda lambda exact 1s
             a.c -> {c} lambda lambda exact 61s retry 2
             a.c -> {d} lambda lambda exact 181s retry 3
             {d} -> e.s lambda.outcome lambda.outcome exact 1s
             shape Retries"
        )
    };
    check_all(script, &["a", "b", "c", "d", "e", "lambda:r1"], &expected("b.s", "c.s", "d.s", "a b c d e"));
    // All tries in one trace, which may not have been read when the receiver asks.
    let script = script.replace("b s -", "t b -").replace("c s -", "t c -").replace("d s -", "t d -");
    check_all(&script, &["a", "t", "e", "t.d"], &expected("t.b", "t.c", "t.d", "a t e"));
    // All of it in the caller's trace.
    let script = script.replace("t b -", "a b c").replace("t c -", "a f c").replace("t d -", "a g c");
    check_all(
        &script,
        &["a", "e"],
        "a e
         a.c -> a.b lambda parent exact 1s
         a.c -> a.f lambda parent exact 61s retry 2
         a.c -> a.g lambda parent exact 181s retry 3
         a.g -> e.s lambda.outcome lambda.outcome exact 1s
         shape Retries",
    );
}

#[test]
fn a_try_whose_span_never_came_is_counted() {
    let mut flow = World::new(
        "a p - client one 0 1 out=s3.req:q1@files
         b s - server two/two 7 8 inv=r1 in=s3.req:q1",
    )
    .flow("a");
    flow.note_tries(|end| (end.invocation_id.as_deref() == Some("r1")).then_some(2));
    assert_eq!(text(&flow), "a b\na.p -> b.s s3.req s3.req exact 6s retry 2\nshape Retries");
    flow.note_tries(|_| Some(1));
    assert_eq!(flow.edges[0].attempt, 2);
}

#[test]
fn equal_ids_in_two_accounts_stay_in_theirs() {
    for key in ["sqs:x", "sns:x", "s3.obj:b|k|e", "s3.req:x", "eb:x", "ce:/s|x", "lambda.outcome:x"] {
        let script = format!(
            "a p - client one 0 1 acct=1 out={key}
             b p - client one 0 1 acct=2 out={key}
             c s - server two 2 3 acct=1 in={key}
             d s - server two 2 3 acct=2 in={key}"
        );
        for (from, to) in [("a", "c"), ("b", "d")] {
            for seed in [from, to] {
                let flow = World::new(&script).flow(seed);
                assert!(text(&flow).starts_with(&format!("{from} {to}\n{from}.p -> {to}.s ")), "{}", text(&flow));
                // Who wrote an object need not be of its reader's account.
                let certainty = if key.starts_with("s3.obj") { "inferred" } else { "exact" };
                assert!(text(&flow).contains(&format!(" {certainty} 1s")), "{}", text(&flow));
            }
        }
        // One sender only: another account may receive what is unique in the world.
        let one: Vec<&str> = script.lines().filter(|line| !line.trim().starts_with("a ")).collect();
        let flow = World::new(&one.join("\n")).flow("c");
        assert_eq!(flow.edges.len(), 2, "{}", text(&flow));
    }
}

#[test]
fn an_outcome_by_a_queue_has_no_other_sender() {
    check(
        "a s - server one/one 0 1 inv=r1 out=lambda.outcome:r1
         b s - server two/two 2 3 inv=r2 in=lambda.outcome:r1,sqs:m1
         c s - server two/two 4 5 inv=r3 in=lambda.outcome:r1,eb:e1",
        "a",
        "a b c
         a.s -> b.s lambda.outcome lambda.outcome exact 1s
         a.s -> c.s lambda.outcome lambda.outcome exact 3s retry 2
         shape Retries",
    );
}

/// A batch of more records than the receiver names.
pub(super) const LARGE_BATCH: &str = "
    a s - server   shop 0 2
    a p s producer shop 0 1 out=kinesis:eu:s:0:49590338271490256608559692538361571095921575989136588899
    z p - producer shop 0 1 out=kinesis:eu:s:0:49590338271490256608559692538361571095921575989136589950
    y p - producer shop 0 1 out=kinesis:eu:s:0:49590338271490256608559692538361571095921575989136589951
    x p - producer shop 0 1 out=kinesis:us:s:0:49590338271490256608559692538361571095921575989136588899
    b s - server worker/worker 9 20 inv=r1 in=kinesis.range:eu:s:0:49590338271490256608559692538361571095921575989136588000..49590338271490256608559692538361571095921575989136589950
    b x s producer worker/worker 19 20 out=sns:all
    n s - server next/next 21 22 inv=r2 in=sns:all";

#[test]
fn a_large_batch_is_found_by_each_who_sent_into_it() {
    let script = LARGE_BATCH;
    let edge = |from: &str| format!("{from}.p -> b.s kinesis.range kinesis.range exact 8s");
    for from in ["a", "z"] {
        let expected = format!("{from} b\n{}\ncut batch b.s 0:", edge(from));
        check(script, from, &expected);
    }
    for from in ["x", "y"] {
        let flow = World::new(script).flow(from);
        assert_eq!((flow.traces.len(), flow.edges.len()), (1, 0), "{}", text(&flow));
    }
    // From behind the batch, it is where the story begins.
    check(script, "n", "b n\nb.x -> n.s sns sns exact 1s\ncut batch b.s 0:");
    // Another account's stream of that name.
    let script =
        script.replace("inv=r1", "inv=r1 acct=2").replace("a p s producer shop 0 1", "a p s producer shop 0 1 acct=1");
    let flow = World::new(&script).flow("a");
    assert_eq!((flow.traces.len(), flow.edges.len()), (1, 0), "{}", text(&flow));
}

#[test]
fn a_large_batch_of_kafka_is_found_by_offset() {
    check(
        "a p - producer shop   0 1 out=kafka:-:t:0:4711
         b s - server   worker 9 20 in=kafka.range:-:t:0:4000..5000
         c s - server   worker 9 20 in=kafka.range:-:t:1:4000..5000",
        "a",
        "a b
         a.p -> b.s kafka.range kafka.range exact 8s
         cut batch b.s 0:",
    );
}

#[test]
fn a_writer_of_hundreds_of_records_asks_for_few() {
    let records: Vec<String> = (0..500).map(|n| format!("kinesis:eu:s:0:{}", 1_000 + n * 7)).collect();
    let batches: String = (0..3)
        .map(|n| {
            format!(
                "b{n} s - server worker 9 20 in=kinesis.range:eu:s:0:{}..{}\n",
                1_000 + n * 1_200,
                2_199 + n * 1_200
            )
        })
        .collect();
    let script = format!("a p - producer shop 0 1 out={}\n{batches}", records.join(","));
    let (flow, _) = World::new(&script).assemble("a", Limits { keys_max: 4_000, ..Limits::default() });
    assert_eq!(flow.traces.len(), 4, "{}", text(&flow));
    assert!(flow.cuts.iter().all(|cut| cut.reason == super::super::CutReason::Batch), "{}", text(&flow));
}

#[test]
fn dead_letters_go_back_to_the_queue_they_came_from() {
    // The move gives a new id. Only trace context in the message's attributes stays.
    check_all(
        "a p - producer shop   0 1    out=sqs:m1@orders
         b s - server   worker 2 3    error
         b c s consumer worker 2 3    in=sqs:m1@orders link=a.p
         c s - server   rescue 9 10
         c c s consumer rescue 9 10   in=sqs:m1@orders-dlq link=a.p
         d s - server   worker 99 100
         d c s consumer worker 99 100 in=sqs:m2@orders link=a.p",
        &["a", "b", "c", "d"],
        "a b c d
         a.p -> b.c sqs link exact 1s
         a.p -> c.c sqs link exact 8s dead-letter
         a.p -> d.c sqs link exact 98s
         shape FanOut DeadLetter",
    );
}

/// Two orders; the message of the second fails and comes again, alone.
pub(super) const PARTIAL: &str = "
    a p - producer shop   0 1   out=sqs:m1@orders
    c p - producer shop   0 1   out=sqs:m2@orders
    b s - server   worker/worker 2 3 inv=r1 error
    b m s consumer worker/worker 2 3 in=sqs:m1@orders
    b n s consumer worker/worker 2 3 in=sqs:m2@orders error
    d s - server   worker/worker 40 41 inv=r2
    d n s consumer worker/worker 40 41 in=sqs:m2@orders
    d x n producer worker/worker 40 41 out=sns:n2
    e s - server   next 42 43 in=sns:n2";

#[test]
fn of_a_batch_that_failed_in_part_one_message_comes_again() {
    check(
        PARTIAL,
        "a",
        "a b
         a.p -> b.m sqs sqs exact 1s
         c.p -> b.n sqs sqs exact 1s
         cut batch b.s 1: c",
    );
    check_all(
        PARTIAL,
        &["c", "d", "e"],
        "c b d e
         a.p -> b.m sqs sqs exact 1s
         c.p -> b.n sqs sqs exact 1s
         c.p -> d.n sqs sqs exact 39s retry 2
         d.x -> e.s sns sns exact 1s
         cut batch b.s 1: a
         shape Retries",
    );
}

#[test]
fn a_topic_fans_out_to_functions_and_queues() {
    // To a function, to a queue as an envelope, and raw to a queue: there only trace context is left.
    check_all(
        "a p - producer shop  0 1 out=sns:n1@priced
         b s - server   one/one   2 3 inv=r1 in=sns:n1
         c s - server   two/two   2 3 inv=r2 in=sns:n1,sqs:m1
         d s - server   three/three 2 3 inv=r3
         d c s consumer three/three 2 3 in=sqs:m2@raw link=a.p",
        &["a", "b", "c", "d"],
        "a b c d
         a.p -> b.s sns sns exact 1s fan-out
         a.p -> c.s sns sns exact 1s fan-out
         a.p -> d.c sqs link exact 1s
         shape FanOut",
    );
}

#[test]
fn an_event_goes_by_a_bus_and_a_queue_to_a_function() {
    check_all(
        "a p - client shop 0 1 out=eb:e1@bus
         b s - server one/one 2 3 inv=r1 in=eb:e1,sqs:m1
         c s - server two/two 2 3 inv=r2 in=eb:e1",
        &["a", "b", "c"],
        "a b c
         a.p -> b.s eb eb exact 1s fan-out
         a.p -> c.s eb eb exact 1s fan-out
         shape FanOut",
    );
}

#[test]
fn an_object_goes_by_a_topic_and_a_queue() {
    check_all(
        "a p - client shop 0 1 out=s3.req:q1@files,s3.obj:files|k|e@files
         b s - server one/one 2 3 inv=r1 in=s3.req:q1,s3.obj:files|k|e@files,sns:n1,sqs:m1
         c s - server two/two 2 3 inv=r2 in=s3.req:q1,s3.obj:files|k|e@files",
        &["a", "b", "c"],
        "a b c
         a.p -> b.s s3.req s3.req exact 1s fan-out
         a.p -> c.s s3.req s3.req exact 1s fan-out
         shape FanOut",
    );
    // Several objects in one event.
    check(
        "a p - client shop 0 1 out=s3.req:q1@files
         a q - client shop 0 1.5 out=s3.req:q2@files
         b s - server one/one 2 3 inv=r1 in=s3.req:q1,s3.req:q2",
        "a",
        "a b
         a.p -> b.s s3.req s3.req exact 1s
         a.q -> b.s s3.req s3.req exact 0.5s
         shape FanIn",
    );
}

#[test]
fn an_item_that_is_written_three_times_is_read_in_order() {
    // One batch of a stream has two of the changes.
    let script = "
        a c - client one 0 1 out=ddb.item:i
        b c - client one 1 2 out=ddb.item:i
        c c - client one 2 3 out=ddb.item:i
        q s - server two 5 6 in=ddb.item:i
        r s - server two 7 8 in=ddb.item:i
        s s - server two 9 10 in=ddb.item:i";
    for (write, read, wait) in [("a", "q", 4), ("b", "r", 5), ("c", "s", 6)] {
        let expected = format!("{write} {read}\n{write}.c -> {read}.s ddb.item ddb.item inferred {wait}s of 3");
        check_all(script, &[write, read], &expected);
    }
    // Two tables of one name, in regions that are told.
    check(
        "a c - client one 0 1 acct=1 out=ddb.item:i
         b c - client one 1 2 acct=2 out=ddb.item:i
         q s - server two 5 6 acct=1 in=ddb.item:i",
        "q",
        "a q\na.c -> q.s ddb.item ddb.item exact 4s",
    );
}

#[test]
fn batches_of_azure_and_google_are_batches() {
    for (one, two) in [
        ("asb:shop/payments:1", "asb:shop/payments:2"),
        ("aeh:shop/clicks:0:1", "aeh:shop/clicks:0:2"),
        ("gps:shop:1", "gps:shop:2"),
        ("kafka:-:t:0:1", "kafka:-:t:0:2"),
        ("asq:1", "asq:2"),
    ] {
        let script = format!(
            "a p - producer shop 0 1 out={one}
             c p - producer shop 0 1 out={two}
             b s - server   worker 5 9
             b m s consumer worker 5 6 in={one}
             b n s consumer worker 7 8 in={two}
             b x m producer worker 5 6 out=ce:x
             b y n producer worker 7 8 out=ce:y
             d s - server   one 10 11 in=ce:x
             e s - server   two 10 11 in=ce:y"
        );
        let flow = World::new(&script).flow("a");
        assert!(text(&flow).starts_with("a b d\n"), "{one}: {}", text(&flow));
        let flow = World::new(&script).flow("e");
        assert!(text(&flow).starts_with("c b e\n"), "{one}: {}", text(&flow));
    }
}

#[test]
fn an_event_that_travels_by_something_else_is_one_hop() {
    check_all(
        "a p - producer shop   0 1 out=kafka:-:t:0:7@t,ce:/shop|A1
         b c - consumer worker 2 3 in=kafka:-:t:0:7@t,ce:/shop|A1",
        &["a", "b"],
        "a b\na.p -> b.c kafka kafka exact 1s",
    );
    // Of an event, only one side knows what it travelled by.
    check_all(
        "a p - producer shop   0 1 out=gps:-:7
         b c - server   worker 2 3 in=gps:-:7,ce://pubsub|7",
        &["a", "b"],
        "a b\na.p -> b.c gps gps exact 1s",
    );
}

#[test]
fn halves_name_each_message_once() {
    check(
        "a p - producer shop 0 1 out=kafka:c:t:0:7,kafka:-:t:0:7,kafka:c:t:0:8,kafka:-:t:0:8
         b c - consumer worker 2 3 in=kafka:-:t:0:8",
        "a",
        "a b
         a.p -> b.c kafka kafka exact 1s
         half out kafka:c:t:0:7 a.p",
    );
}

#[test]
fn a_call_that_is_tried_again_by_the_caller_is_two_calls() {
    // The SDK's own tries have other request ids.
    check(
        "a s - server one 0 9
         a c s client one 1 2 out=lambda:r1@two error
         a d s client one 3 5 out=lambda:r2@two
         b s - server two/two 1.2 1.8 inv=r1 error
         c s - server two/two 3.2 4.8 inv=r2",
        "a",
        "a b c
         a.c -> b.s lambda lambda exact 0.2s sync
         a.d -> c.s lambda lambda exact 0.2s sync",
    );
}

#[test]
fn two_regions_with_equal_names_are_two_things() {
    let mut world = World::new(
        "a p - producer one 0 1 out=kafka:-:t:0:7
         b p - producer one 0 1 out=kafka:-:t:0:7
         c c - consumer two 2 3 in=kafka:-:t:0:7",
    );
    for (span, region) in world.spans.iter_mut().zip(["eu", "us", "eu"]) {
        span.region = Some(region.to_owned());
    }
    assert_eq!(text(&world.flow("c")), "a c\na.p -> c.c kafka kafka exact 1s");
    assert_eq!(text(&world.flow("b")), "b");
}

/// Three items side by side, one of them tried twice, then a step behind all of them.
pub(super) const WORKFLOW: &str = "
    z c - client shop 0 0.5 out=sfn:run
    a s - server split/split 1 2 inv=r1 in=sfn:run#split#t1,sfn:run
    b s - server item/item   3 4 inv=r2 in=sfn:run#item#t2,sfn:run
    c s - server item/item   3 5 inv=r3 in=sfn:run#item#t3,sfn:run error
    d s - server item/item   3 6 inv=r4 in=sfn:run#item#t4,sfn:run
    e s - server item/item   7 8 inv=r5 in=sfn:run#item#t3#1,sfn:run
    f s - server sum/sum     9 10 inv=r6 in=sfn:run#sum#t5,sfn:run";

#[test]
fn a_map_of_a_workflow_runs_its_steps_side_by_side() {
    let script = WORKFLOW;
    check_all(
        script,
        &["z", "c", "f"],
        "z a b c d e f
         z.c -> a.s sfn sfn exact 0.5s
         a.s -> b.s sfn sfn exact 1s
         a.s -> c.s sfn sfn exact 1s
         a.s -> d.s sfn sfn exact 1s
         a.s -> e.s sfn sfn exact 5s retry 2
         e.s -> f.s sfn sfn exact 1s
         shape Retries Orchestration",
    );
}

#[test]
fn a_workflow_in_a_workflow_is_told_with_it() {
    check_all(
        "z c - client shop 0 0.5 out=sfn:outer
         a s - server first/first 1 2 inv=r1 in=sfn:outer
         a c s client first/first 1.2 1.4 out=sfn:inner
         b s - server deep/deep   3 4 inv=r2 in=sfn:inner
         d s - server last/last   5 6 inv=r3 in=sfn:outer",
        &["z", "b", "d"],
        "z a b d
         z.c -> a.s sfn sfn exact 0.5s
         a.c -> b.s sfn sfn exact 1.6s
         a.s -> d.s sfn sfn exact 3s
         shape Orchestration",
    );
}
