//! The path that took the time.

use super::super::testing::{World, path, same};

#[track_caller]
fn check(script: &str, expected: &str) {
    let world = World::new(script);
    let seed = script.split_whitespace().next().unwrap();
    same(&path(&world.flow(seed)), expected);
}

#[test]
fn within_a_trace_the_last_to_end_counts() {
    check(
        "t s  - server   one 0 100
         t c1 s client   one 0 50
         t c2 s client   one 20 80
         t r2 c2 server  two 30 70",
        "0..20 t.s
         20..30 t.c2
         30..70 t.r2
         70..80 t.c2
         80..100 t.s",
    );
}

#[test]
fn a_message_waits() {
    check(
        "a s - server   one 0 3
         a p s producer one 1 2 out=sqs:m1
         b s - server   two 10 15 in=sqs:m1
         b c s client   two 11 12",
        "0..1 a.s
         1..2 a.p
         2..10 wait for b.s
         10..11 b.s
         11..12 b.c
         12..15 b.s",
    );
}

#[test]
fn an_awaited_call_into_another_trace_is_part_of_it() {
    check(
        "a s - server one 0 10
         a c s client one 1 6 out=lambda:r1
         b s - server two/two 2 5 inv=r1",
        "0..1 a.s
         1..2 a.c
         2..5 b.s
         5..6 a.c
         6..10 a.s",
    );
}

#[test]
fn a_child_may_outlive_its_parent() {
    check(
        "a s - server   one 0 3
         a p s producer one 1 2
         a r p consumer two 5 9",
        "0..1 a.s
         1..2 a.p
         2..5 wait for a.r
         5..9 a.r",
    );
    // Clocks that differ by milliseconds.
    check(
        "a c - client one 0 3
         a r c server two 1 3.005",
        "0..1 a.c
         1..3.005 a.r",
    );
}

#[test]
fn of_several_causes_the_last_counts() {
    check(
        "r p - producer start 0 1 out=sns:n1
         a p - producer left  2 3 in=sns:n1 out=sqs:m1
         c p - producer right 2 6 in=sns:n1 out=sqs:m2
         b s - server   join  8 9 in=sqs:m1,sqs:m2",
        "0..1 r.p
         1..2 wait for c.p
         2..6 c.p
         6..8 wait for b.s
         8..9 b.s",
    );
}

#[test]
fn what_an_invocation_did_whose_span_never_came() {
    use super::super::Lost;
    use super::super::testing::{path_text, span, time, trace};
    let flow = World::new(
        "a c  -    client one     0 4
         b q  gone client two/two 2 3
         b r  gone client two/two 5 6",
    );
    let lost = |caller| Lost {
        trace_id: trace("b"),
        span_id: span("gone"),
        start_ns: time("1"),
        end_ns: time("9"),
        spans: vec![(trace("b"), span("q")), (trace("b"), span("r"))],
        caller,
    };
    same(
        &path_text(&flow.flow("b").path_with(&[lost(None)])),
        "1..2 b.gone
         2..3 b.q
         3..5 b.gone
         5..6 b.r
         6..9 b.gone",
    );
    // Its caller is not in this story; of its own story, the call comes first.
    assert_eq!(flow.flow("b").path_with(&[lost(Some((trace("a"), span("c"))))]).len(), 5);
    let called = Lost { spans: Vec::new(), ..lost(Some((trace("a"), span("c")))) };
    same(&path_text(&flow.flow("a").path_with(&[called])), "0..1 a.c\n1..9 b.gone");
}

#[test]
fn no_time_and_circles_end() {
    check("a s - server one 1 1\na c s client one 1 1", "");
    check(
        "a s - server one 0 9 in=ce:y
         a p s producer one 1 2 out=ce:x
         b s - server two 1 9 in=ce:x
         b p s producer two 2 3 out=ce:y",
        "0..1 a.s
         1..2 a.p
         2..9 a.s",
    );
}
