//! One story, hop by hop.

use super::super::testing::{World, check, check_all, text};

/// API → queue → worker → (call) pricing, → topic → notify; with a write that nobody reads.
pub(super) const ORDER: &str = "
    api   a  -  server   shop            0 2
    api   b  a  producer shop            0.5 1     out=sqs:m1@orders
    api   b2 b  client   shop            0.6 0.9   out=sqs:m1@orders,dest:sqs|orders
    work  s  -  server   worker/worker   5 9       inv=r2
    work  p  s  consumer worker/worker   5.1 5.2   in=sqs:m1@orders
    work  i  s  client   worker/worker   6 7       out=lambda:r3@pricing
    work  n  s  producer worker/worker   7.5 8     out=sns:n1@priced
    price s  -  server   pricing/pricing 6.2 6.8   inv=r3
    price w  s  client   pricing/pricing 6.3 6.4   out=s3.req:q1,s3.req:q1-extended
    tell  s  -  server   notify/notify   9 10      inv=r4 in=sns:n1@priced
";

#[test]
fn an_order_is_the_same_from_each_of_its_traces() {
    let expected = "
        api work price tell
        api.b -> work.p sqs sqs exact 4.1s
        work.i -> price.s lambda lambda exact 0.2s sync
        work.n -> tell.s sns sns exact 1s
    ";
    check_all(
        ORDER,
        &["api", "work", "price", "tell", "tell.s", "sqs:m1", "lambda:r3", "sns:nothing sns:n1"],
        expected,
    );
}

#[test]
fn one_after_the_other_is_a_chain() {
    check_all(
        "a s - server one 0 1
         a p s producer one 0 1 out=sqs:m1
         b s - server two 2 3 in=sqs:m1
         b p s producer two 2 3 out=sns:m2
         c s - server three 4 5 in=sns:m2",
        &["a", "b", "c"],
        "a b c
         a.p -> b.s sqs sqs exact 1s
         b.p -> c.s sns sns exact 1s
         shape Chain",
    );
}

#[test]
fn parents_and_keys_of_one_hop_are_one_edge() {
    // The callee's parent is the HTTP call inside the SDK's call; both know the request id of one of them.
    check(
        "t s - server   one 0 9
         t i s client   one 1 5 out=lambda:r2@two
         t h i client   one 1.1 4.9
         t r h server   two 2 4 inv=r2",
        "t",
        "t
         t.i -> t.r lambda parent exact 1s sync",
    );
    check(
        "t s - server   one 0 9
         t p s producer one 1 2
         t r p consumer two 3 4",
        "t",
        "t
         t.p -> t.r message parent exact 1s",
    );
}

#[test]
fn a_service_that_calls_itself_is_two_invocations() {
    check(
        "t s - server one 0 9
         t c s client one 1 5
         t r c server one 2 4",
        "t",
        "t
         t.c -> t.r call parent exact 1s sync",
    );
}

#[test]
fn links_lead_both_ways_and_name_the_hop() {
    let script = "
        a s - server   one 0 1
        a p s producer one 0 1
        b s - server   two 5 6
        b c s consumer two 5 6 link=a.p in=dest:sqs|orders
        c s - server   three 7 8 link=b.s";
    check_all(
        script,
        &["a", "b", "c"],
        "a b c
         a.p -> b.c dest link exact 4s
         b.s -> c.s link link exact 1s
         shape Chain",
    );
}

#[test]
fn a_link_and_a_key_of_one_message_are_one_edge() {
    check(
        "a s - server   one 0 1
         a p s producer one 0.2 1    out=sqs:m1
         a c p client   one 0.3 0.8  out=sqs:m1
         b s - server   two 5 6      in=sqs:m1
         b c s consumer two 5 6      link=a.c in=sqs:m1",
        "a",
        "a b
         a.p -> b.c sqs link exact 4s",
    );
}

#[test]
fn what_is_received_long_after_its_window_is_another_thing() {
    let hours = |n: u32| n * 3_600;
    let script = |at: u32| format!("a s - client one 0 1 out=apigw:r1\nb s - server two {at} {} in=apigw:r1", at + 1);
    check(&script(hours(1) - 1), "a", "a b\na.s -> b.s apigw apigw exact 3598s");
    check(&script(hours(1) + 2), "a", "a");
}

#[test]
fn a_sender_that_begins_after_the_receiver_ended_is_none() {
    check("a s - client one 100 101 out=ce:m1\nb s - server two 0 1 in=ce:m1", "b", "b");
    // Clocks differ by a little.
    check("a s - client one 5 6 out=ce:m1\nb s - server two 0 1 in=ce:m1", "b", "b a\na.s -> b.s ce ce exact 0s");
}

#[test]
fn what_is_handed_on_comes_from_the_last_who_had_it() {
    check_all(
        "a s - client  one   0 1 out=ce:x
         b s - server  two   2 5 in=ce:x
         b c s client  two   3 4 out=ce:x
         c s - server  three 6 7 in=ce:x",
        &["a", "b", "c"],
        "a b c
         a.s -> b.s ce ce exact 1s
         b.c -> c.s ce ce exact 2s
         shape Chain",
    );
}

#[test]
fn equal_keys_of_two_accounts_are_two_things() {
    check_all(
        "a s - producer one 0 1 acct=1 out=kinesis:eu:s:0:7
         b s - consumer two 2 3 acct=2 in=kinesis:eu:s:0:7
         c s - consumer two 2 3 acct=1 in=kinesis:eu:s:0:7",
        &["a", "c"],
        "a c
         a.s -> c.s kinesis kinesis exact 1s",
    );
    // Where nobody says which, it is not sure.
    check(
        "a s - producer one 0 1 out=kafka:-:t:0:7
         b s - producer one 1 2 out=kafka:-:t:0:7
         c s - consumer two 3 4 in=kafka:-:t:0:7",
        "c",
        "b c
         b.s -> c.s kafka kafka inferred 1s of 2",
    );
}

#[test]
fn retries_fan_out_and_dead_letters() {
    check_all(
        "a s - server   shop    0 1
         a p s producer shop    0 1   out=sqs:m1@orders
         b s - server   worker  2 3   error
         b c s consumer worker  2 3   in=sqs:m1@orders
         c s - server   worker  40 41 error
         c c s consumer worker  40 41 in=sqs:m1@orders
         d s - server   rescue  90 91
         d c s consumer rescue  90 91 in=sqs:m1@orders-dlq",
        &["a", "b", "c", "d"],
        "a b c d
         a.p -> b.c sqs sqs exact 1s
         a.p -> c.c sqs sqs exact 39s retry 2
         a.p -> d.c sqs sqs exact 89s dead-letter
         shape Retries DeadLetter",
    );
    check_all(
        "a p - producer shop   0 1 out=sns:m1@topic
         b s - server   one    2 3 in=sns:m1@topic error
         c s - server   two    2 3 in=sns:m1@topic
         d s - server   one    9 9 in=sns:m1@topic",
        &["a", "b", "c", "d"],
        "a b c d
         a.p -> b.s sns sns exact 1s fan-out
         a.p -> c.s sns sns exact 1s fan-out
         a.p -> d.s sns sns exact 8s retry 2 fan-out
         shape FanOut Retries",
    );
}

#[test]
fn retries_without_an_id_need_a_failure() {
    let script = |error: &str| {
        format!(
            "a p - producer shop 0 1
             b s - server worker 2 3 {error} link=a.p
             c s - server worker 9 9 link=a.p"
        )
    };
    check(
        &script("error"),
        "a",
        "a b c\na.p -> b.s link link exact 1s\na.p -> c.s link link exact 8s retry 2\nshape Retries",
    );
    check(&script(""), "a", "a b c\na.p -> b.s link link exact 1s\na.p -> c.s link link exact 8s\nshape FanOut");
    // Two batches of one sender that knows no ids, whose receivers know them.
    check(
        "a p - producer shop 0 1
         b s - server worker 2 3 link=a.p in=sqs:m1
         c s - server worker 9 9 link=a.p in=sqs:m1",
        "a",
        "a b c\na.p -> b.s sqs link exact 1s\na.p -> c.s sqs link exact 8s retry 2\nshape Retries",
    );
}

#[test]
fn asynchronous_invocations_are_tried_again() {
    check(
        "a c - client one 0 1   out=lambda:r1@two
         b s - server two/two 2 3   inv=r1 error
         c s - server two/two 60 61 inv=r1 error
         d s - server two/two 180 181 inv=r1",
        "c",
        "a b c d
         a.c -> b.s lambda lambda exact 1s
         a.c -> c.s lambda lambda exact 59s retry 2
         a.c -> d.s lambda lambda exact 179s retry 3
         shape Retries",
    );
}

#[test]
fn what_became_of_an_invocation_is_told_on() {
    check_all(
        "a s - server one/one 0 1 inv=r1 out=lambda.outcome:r1
         b s - server two/two 2 3 inv=r2 in=lambda.outcome:r1",
        &["a", "b"],
        "a b
         a.s -> b.s lambda.outcome lambda.outcome exact 1s",
    );
}

#[test]
fn writes_of_one_item_are_told_apart_by_order() {
    check(
        "a c - client one 0 1 out=ddb.item:i
         r s - server two 2 3 in=ddb.item:i",
        "r",
        "a r\na.c -> r.s ddb.item ddb.item exact 1s",
    );
    // Two writes before two reads: in order, and not sure.
    check(
        "a c - client one 0 1 out=ddb.item:i
         b c - client one 1 2 out=ddb.item:i
         q s - server two 5 6 in=ddb.item:i
         r s - server two 7 8 in=ddb.item:i",
        "q",
        "a q\na.c -> q.s ddb.item ddb.item inferred 4s of 2",
    );
    // A reader that does not see all writes: the last before it.
    check(
        "a c - client one 0 1 out=ddb.item:i
         b c - client one 1 2 out=ddb.item:i
         q s - server two 5 6 in=ddb.item:i",
        "q",
        "b q\nb.c -> q.s ddb.item ddb.item inferred 3s of 2",
    );
    // Another account's table of that name, and a write of the day before yesterday.
    check(
        "a c - client one -180000 -179999 acct=1 out=ddb.item:i
         b c - client one 1 2 acct=2 out=ddb.item:i
         c c - client one 1 2 acct=1 out=ddb.item:i
         q s - server two 5 6 acct=1 in=ddb.item:i",
        "q",
        "c q\nc.c -> q.s ddb.item ddb.item exact 3s",
    );
}

#[test]
fn halves_are_told_once() {
    check(
        "a s - server   one 0 9 inv=r1
         a p s producer one 1 2 out=sqs:m1@orders
         a c p client   one 1 2 out=sqs:m1@orders
         a w s client   one 3 4 out=s3.req:q,s3.req:q2
         b s - server   two 5 6 inv=r2 in=sns:m2@topic",
        "a",
        "a\nhalf out sqs:m1 a.p",
    );
    check("b s - server two 5 6 inv=r2 in=sns:m2@topic", "b", "b\nhalf in sns:m2 b.s");
    // A parent that never came is none.
    check("b s gone server two 5 6 inv=r2", "b", "b");
}

#[test]
fn steps_of_one_run_belong_together_even_if_nobody_started_it() {
    check_all(
        "a s - server reserve/reserve 0 1 inv=r1 in=sfn:run
         b s - server pay/pay         2 3 inv=r2 in=sfn:run error
         c s - server release/release 4 5 inv=r3 in=sfn:run",
        &["a", "b", "c"],
        "a b c
         a.s -> b.s sfn sfn exact 1s
         b.s -> c.s sfn sfn exact 1s
         half in sfn:run a.s
         shape Saga Orchestration",
    );
    check_all(
        "z c - client shop 0 0.5 out=sfn:run
         a s - server reserve/reserve 1 2 inv=r1 in=sfn:run
         b s - server pay/pay         2 3 inv=r2 in=sfn:run",
        &["a", "b", "z"],
        "z a b
         z.c -> a.s sfn sfn exact 0.5s
         a.s -> b.s sfn sfn exact 0s
         shape Orchestration",
    );
}

#[test]
fn ranges_match_what_the_story_sent() {
    check(
        "a s - producer one 0 1 out=kinesis:eu:s:0:99,kinesis:eu:s:0:120,kinesis:eu:s:0:201,sns:m1
         a t - producer one 0 1 out=kinesis:eu:s:0:20
         b s - server   two 2 3 in=sns:m1
         b c s consumer two 2.5 3 in=kinesis.range:eu:s:0:100..200
         b d s consumer two 2.5 3 in=kinesis.range:eu:s:1:100..200",
        "a",
        "a b
         a.s -> b.s sns sns exact 1s
         a.s -> b.c kinesis.range kinesis.range exact 1.5s
         half out kinesis:eu:s:0:20 a.t
         cut batch b.s 0:",
    );
}

#[test]
fn time_and_destination_leave_no_choice() {
    let story = "
        a p - producer one 50 51 out=dest:sns|topic
        b s - server   two 62 63 in=dest:sns|topic";
    check_all(story, &["a", "b"], "a b\na.p -> b.s dest inferred inferred 11s");
    // Two that may have sent it, or two that may have received it.
    for other in ["c p - producer three 40 41 out=dest:sns|topic", "c s - server two 70 71 in=dest:sns|topic"] {
        let script = format!("{story}\n{other}");
        check(&script, "a", "a");
        check(&script, "b", "b");
    }
    // One of the two is accounted for.
    let script = format!(
        "{story}\nc p - producer one 40 41 out=dest:sns|topic,sns:m1\nd s - server two 45 46 in=sns:m1,dest:sns|topic"
    );
    check_all(&script, &["a", "b"], "a b\na.p -> b.s dest inferred inferred 11s");
    // Too late, another account, or before it was sent.
    check("a p - producer one 50 51 out=dest:sns|topic\nb s - server two 320 321 in=dest:sns|topic", "a", "a");
    check(
        "a p - producer one 50 51 acct=1 out=dest:sns|topic\nb s - server two 55 56 acct=2 in=dest:sns|topic",
        "b",
        "b",
    );
    check("a p - producer one 50 59 out=dest:sns|topic\nb s - server two 55 56 in=dest:sns|topic", "b", "b");
}

/// Node's default: links and headers name X-Ray's segments, which are never stored.
pub(super) const XRAY: &str = "
    a s - server   api/api       0 2  inv=r1
    a p s producer api/api       1 2  out=dest:sqs|orders
    a q s producer api/api       1 2  out=dest:sqs|audits
    b s - server   worker/worker 5 6  inv=r2
    b c s consumer worker/worker 5 6  link=R1.P1 in=sqs:m9@orders
    xray R1 P1 r1 0
    xray R2 P2 r2 5
";

#[test]
fn segments_of_xray_name_the_invocation_that_sent() {
    check_all(
        XRAY,
        &["a", "b"],
        "a b
         a.p -> b.c sqs xray xray 3s",
    );
    // Where the destination does not tell, it was the invocation.
    let script = XRAY.replace("in=sqs:m9@orders", "in=sqs:m9@elsewhere");
    check(&script, "b", "a b\na.s -> b.c sqs xray xray 3s");
}

#[test]
fn a_root_of_two_invocations_ties_them() {
    let script = "
        R s gone1 server api/api 0 2 inv=r1
        Q s - server tell/tell 5 6 inv=r2 in=xray:R
        xray R P1 r1 0
        xray R P2 r2 5";
    check_all(script, &["R", "Q"], "R Q\nR.s -> Q.s xray xray xray 3s");
    // Of three, nobody knows who called whom.
    check(&format!("{script}\nxray R P3 r3 9"), "Q", "Q");
    // A root that a day shares.
    let many: String = (10..40).map(|n| format!("\nxray R P{n} r{n} 3")).collect();
    check(&format!("{script}{many}"), "Q", "Q\ncut xrayroot Q.s 32:");
}

#[test]
fn a_missing_parent_may_be_a_segment_of_another_invocation() {
    check_all(
        "R s P0 server   api/api   0 2 inv=r1
         R p s  producer api/api   1 2 out=dest:sns|topic
         R t P1 server   tell/tell 5 6 inv=r2
         xray R P1 r1 0
         xray R P2 r2 5
         xray R P3 r3 7",
        &["R"],
        "R\nR.s -> R.t xray xray xray 3s",
    );
}

#[test]
fn a_redriven_message_may_be_told_by_the_name_of_its_queue() {
    check(
        "a p - producer shop 0 1 out=dest:sqs|orders
         b s - server worker 2 3 error
         b c s consumer worker 2 3 link=a.p in=dest:sqs|orders
         c s - server rescue 9 10
         c c s consumer rescue 9 10 link=a.p in=dest:sqs|orders-dlq",
        "c",
        "a b c
         a.p -> b.c dest link exact 1s
         a.p -> c.c dest link exact 8s dead-letter
         shape DeadLetter",
    );
}

#[test]
fn a_sender_may_know_the_trace_that_it_sets_off() {
    let id = super::super::testing::trace("steps");
    check_all(
        &format!(
            "a     c  -  client shop   0 1 out=sfn:run,link:{id}
             steps s1 d1 server first  2 3
             steps s2 d2 server second 4 5"
        ),
        &["a", "steps"],
        "a steps
         a.c -> steps.s1 sfn link exact 1s
         a.c -> steps.s2 sfn link exact 3s
         shape FanOut",
    );
}

#[test]
fn spans_may_know_their_segments_themselves() {
    check_all(
        "a s - server   api    0 2
         a p s producer api    1 2 out=xray:R1:P1,xray:R1
         b s - server   worker 5 6 in=xray:R1:P1,xray:R1",
        &["a", "b"],
        "a b
         a.p -> b.s xray xray xray 3s",
    );
}

#[test]
fn a_step_follows_the_one_before_it_and_a_retry_what_the_first_try_followed() {
    check(
        "z c - client shop 0 0.5 out=sfn:run
         a s - server reserve/reserve 1 2 inv=r1 in=sfn:run#reserve#t1#0,sfn:run error
         b s - server reserve/reserve 3 4 inv=r2 in=sfn:run#reserve#t1#1,sfn:run
         c s - server pay/pay         5 6 inv=r3 in=sfn:run#pay#t2#0,sfn:run",
        "z",
        "z a b c
         z.c -> a.s sfn sfn exact 0.5s
         z.c -> b.s sfn sfn exact 2.5s retry 2
         b.s -> c.s sfn sfn exact 1s
         shape Retries Orchestration",
    );
}

#[test]
fn behind_steps_side_by_side_the_cause_is_inferred() {
    check(
        "z c - client shop 0 0.5 out=sfn:run
         a s - server first/first 1 2   inv=r1 in=sfn:run
         b s - server left/left   3 6   inv=r2 in=sfn:run
         c s - server right/right 3 5   inv=r3 in=sfn:run
         d s - server last/last   7 8   inv=r4 in=sfn:run",
        "z",
        "z a b c d
         z.c -> a.s sfn sfn exact 0.5s
         a.s -> b.s sfn sfn exact 1s
         a.s -> c.s sfn sfn exact 1s
         b.s -> d.s sfn sfn inferred 1s of 2
         shape Orchestration",
    );
}

#[test]
fn of_two_who_wrote_the_same_the_request_tells_who_it_was() {
    check(
        "a s - server one/one   0 1 out=s3.req:r1,s3.obj:b|k|e
         b s - server two/two   2 3 out=s3.req:r2,s3.obj:b|k|e
         c s - server read/read 6 7 inv=i1 in=s3.req:r1,s3.obj:b|k|e
         d s - server read/read 8 9 inv=i2 in=s3.req:r2,s3.obj:b|k|e",
        "a",
        "a c
         a.s -> c.s s3.req s3.req exact 5s",
    );
    // Without it, time does: but that is no proof.
    check(
        "a s - server one/one   0 1 out=s3.obj:b|k|e
         b s - server two/two   2 3 out=s3.obj:b|k|e
         c s - server read/read 6 7 inv=i1 in=s3.obj:b|k|e",
        "b",
        "b c
         b.s -> c.s s3.obj s3.obj inferred 3s of 2",
    );
}

#[test]
fn who_wrote_under_another_name_is_not_the_writer() {
    // Of the first only the request is known, as stock instrumentation tells it.
    for (name, content) in [("s3.req", "s3.obj"), ("s3.ver", "s3.ptr"), ("blob.req", "blob")] {
        let a = format!("a s - server one/one   0 1 out={name}:r1\n");
        let b = format!("b s - server two/two   2 3 out={name}:r2,{content}:b|k|e\n");
        let c = format!("c s - server read/read 6 7 inv=i1 in={name}:r1,{content}:b|k|e");
        check(&format!("{a}{b}{c}"), "c", &format!("a c\na.s -> c.s {name} {name} exact 5s"));
        // It is not stored.
        let flow = World::new(&format!("{b}{c}")).flow("c");
        assert_eq!(flow.edges.len(), 0, "{}", text(&flow));
        // Of who names no writing, nothing speaks against it.
        let nameless = b.replace(&format!("{name}:r2,"), "");
        let flow = World::new(&format!("{nameless}{c}")).flow("c");
        assert_eq!(flow.edges.len(), 1, "{}", text(&flow));
        assert_eq!(World::new(&format!("{a}{nameless}{c}")).flow("c").edges.len(), 1);
    }
    // Of two objects each has its writer.
    check(
        "a s - server one/one   0 1 out=s3.req:r1,s3.obj:b|k|1
         b s - server two/two   0 2 out=s3.req:r2
         x s - server not/not   0 3 out=s3.req:r3,s3.obj:b|k|2
         c s - server read/read 6 7 inv=i1 in=s3.req:r1,s3.obj:b|k|1,s3.req:r2,s3.obj:b|k|2",
        "a",
        "a c
         a.s -> c.s s3.req s3.req exact 5s
         b.s -> c.s s3.req s3.req exact 4s
         cut batch c.s 1: b",
    );
}

#[test]
fn an_object_is_written_from_any_region() {
    let script = "a s - server one/one   0 1 out=s3.obj:b|k|e
         b s - server two/two   2 3 out=s3.obj:b|k|e
         c s - server read/read 6 7 inv=i1 in=s3.obj:b|k|e";
    let mut world = World::new(script);
    let regions = ["eu", "us", "eu"];
    world.spans.iter_mut().zip(regions).for_each(|(span, region)| span.region = Some(region.to_owned()));
    assert_eq!(text(&world.flow("c")), "b c\nb.s -> c.s s3.obj s3.obj inferred 3s of 2");
}

#[test]
fn an_envelope_that_the_cloud_sent_is_not_missing() {
    check(
        "a p - producer one 0 1 out=sns:n1@topic
         b s - server two/two 2 3 inv=i1 in=sns:n1,sqs:m1",
        "a",
        "a b
         a.p -> b.s sns sns exact 1s",
    );
}

#[test]
fn the_queue_of_a_dead_letter_may_stand_on_the_span_below() {
    check(
        "a p - producer one   0 1 out=sqs:m1@orders
         b s - server two/two 2 3 inv=i1 in=sqs:m1
         b c s consumer two/two 2.1 2.9 in=dest:sqs|orders-dlq@orders-dlq",
        "a",
        "a b
         a.p -> b.s sqs sqs exact 1s dead-letter
         shape DeadLetter",
    );
}
