//! Batches do not make one story of several.

use super::super::Limits;
use super::super::testing::{World, check, check_all, text};

/// Two orders in one batch: each message has its own span, and below it what it set off; and the invocation as a whole
/// sets off something.
pub(super) const TWO_ORDERS: &str = "
    a  p  -  producer shop   0 1 out=sqs:m1
    c  p  -  producer shop   0 1 out=sqs:m2
    b  s  -  server   worker 5 9 inv=r1
    b  m1 s  consumer worker 5 6 in=sqs:m1
    b  m2 s  consumer worker 7 8 in=sqs:m2
    b  x1 m1 producer worker 5 6 out=sns:n1
    b  x2 m2 producer worker 7 8 out=sns:n2
    b  x3 s  producer worker 8 9 out=sns:n3
    n1 s  -  server   one    10 11 in=sns:n1
    n2 s  -  server   two    10 11 in=sns:n2
    n3 s  -  server   three  10 11 in=sns:n3
";

#[test]
fn two_orders_in_one_batch_stay_two() {
    let of_a = "
        a b n1 n3
        c.p -> b.m2 sqs sqs exact 6s
        a.p -> b.m1 sqs sqs exact 4s
        b.x1 -> n1.s sns sns exact 4s
        b.x3 -> n3.s sns sns exact 1s
        cut batch b.s 1: c
        shape FanOut";
    let in_order = |text: &str| {
        let mut lines: Vec<&str> = text.lines().map(str::trim).collect();
        let at = lines.iter().position(|l| l.starts_with("c.p")).unwrap();
        lines.swap(at, at + 1);
        lines.join("\n")
    };
    // From the order, from its message in the batch, and from what only it set off.
    check_all(TWO_ORDERS, &["a", "b.m1", "b.x1", "n1", "sqs:m1"], &in_order(of_a));
    check_all(
        TWO_ORDERS,
        &["c", "b.m2", "b.x2", "n2", "sqs:m2"],
        "c b n2 n3
         a.p -> b.m1 sqs sqs exact 4s
         c.p -> b.m2 sqs sqs exact 6s
         b.x2 -> n2.s sns sns exact 2s
         b.x3 -> n3.s sns sns exact 1s
         cut batch b.s 1: a
         shape FanOut",
    );
}

#[test]
fn from_the_batch_itself_only_what_it_set_off_is_followed() {
    check_all(
        TWO_ORDERS,
        &["b", "n3"],
        "b n1 n2 n3
         a.p -> b.m1 sqs sqs exact 4s
         c.p -> b.m2 sqs sqs exact 6s
         b.x1 -> n1.s sns sns exact 4s
         b.x2 -> n2.s sns sns exact 2s
         b.x3 -> n3.s sns sns exact 1s
         cut batch b.s 2: a c
         shape FanOut",
    );
}

#[test]
fn messages_of_one_story_come_together_again() {
    let script = "
        r  s -  server   start 0 1
        r  p s  producer start 0 1 out=sns:n1
        a  s -  server   left  2 3 in=sns:n1
        a  p s  producer left  2 3 out=sqs:m1
        c  s -  server   right 2 3 in=sns:n1
        c  p s  producer right 2 3 out=sqs:m2
        b  s -  server   join  5 9
        b  m1 s consumer join  5 6 in=sqs:m1
        b  m2 s consumer join  7 8 in=sqs:m2
    ";
    check_all(
        script,
        &["r", "a", "c", "b", "b.m1", "sqs:m2"],
        "r a c b
         r.p -> a.s sns sns exact 1s fan-out
         r.p -> c.s sns sns exact 1s fan-out
         a.p -> b.m1 sqs sqs exact 2s
         c.p -> b.m2 sqs sqs exact 4s
         shape FanOut FanIn",
    );
}

#[test]
fn a_message_of_unknown_sender_is_not_of_this_story() {
    // The second order's sender has not arrived.
    let script: String =
        TWO_ORDERS.lines().filter(|line| !line.trim().starts_with("c ")).collect::<Vec<_>>().join("\n");
    check(
        &script,
        "n2",
        "b n2 n3
         a.p -> b.m1 sqs sqs exact 4s
         b.x2 -> n2.s sns sns exact 2s
         b.x3 -> n3.s sns sns exact 1s
         half in sqs:m2 b.m2
         cut batch b.s 1: a
         shape FanOut",
    );
}

/// `count` orders in one batch of a stream.
fn stream(count: usize) -> String {
    let mut script = String::from(
        "b s - server worker 50 90\nb x s producer worker 80 81 out=sns:all\nend s - server sum 95 96 in=sns:all\n",
    );
    for n in 0..count {
        script += &format!("a{n} p - producer shop 0 1 out=kinesis:eu:s:0:{n}\n");
        script += &format!("b m{n} s consumer worker 51 52 in=kinesis:eu:s:0:{n}\n");
        script += &format!("b x{n} m{n} producer worker 51 52 out=sqs:q{n}\n");
        script += &format!("n{n} s - server next 60 61 in=sqs:q{n}\n");
    }
    script
}

#[test]
fn a_batch_of_a_hundred_does_not_swallow() {
    let world = World::new(&stream(100));
    for seed in ["a7", "b.m7", "n7"] {
        let (flow, read) = world.assemble(seed, Limits::default());
        let lines = text(&flow);
        assert!(lines.starts_with("a7 b n7\n"), "{seed}: {lines}");
        let cut = flow.cuts.iter().find(|cut| cut.traces_count == 99);
        assert!(cut.is_some_and(|cut| cut.traces.len() == 99), "{seed}: {lines}");
        assert!(read.len() < 20, "{seed}: {} traces were read", read.len());
    }
    let (flow, read) = world.assemble("b", Limits::default());
    assert_eq!((flow.traces.len(), flow.cuts.len(), flow.cuts[0].traces_count), (1, 1, 100), "{}", text(&flow));
    assert!(read.len() < 20, "{} traces were read", read.len());
    let (flow, _) = world.assemble("end", Limits::default());
    assert!(text(&flow).starts_with("b end\n"), "{}", text(&flow));
}

#[test]
fn links_of_a_batch_are_its_messages() {
    let script = |count: usize| {
        let mut script = String::new();
        let mut links = Vec::new();
        for n in 0..count {
            script += &format!("a{n} p - producer shop 0 1\n");
            links.push(format!("a{n}.p"));
        }
        format!("{script}b s - server worker 5 6\nb c s consumer worker 5 6 link={}", links.join(","))
    };
    check(
        &script(2),
        "a1",
        "a1 b
         a0.p -> b.c link link exact 4s
         a1.p -> b.c link link exact 4s
         cut batch b.s 1: a0",
    );
    let (flow, read) = World::new(&script(100)).assemble("a7", Limits::default());
    assert_eq!((flow.traces.len(), flow.edges.len(), flow.cuts[0].traces_count), (2, 100, 99), "{}", text(&flow));
    assert_eq!(read.len(), 101);
    // Who sent the others is told of a hundred, so no more are read.
    let (flow, read) = World::new(&script(300)).assemble("a7", Limits::default());
    assert_eq!((flow.edges.len(), flow.foreign_left, flow.cuts[0].traces_count), (101, 199, 299), "{}", text(&flow));
    assert!(read.len() <= 103, "{} traces were read", read.len());
}

#[test]
fn a_parent_and_a_foreign_link_are_two_stories() {
    check(
        "a p - producer shop 0 1
         a s p consumer worker 5 6 link=c.p
         c p - producer shop 0 1",
        "a",
        "a
         a.p -> a.s message parent exact 4s
         c.p -> a.s link link exact 4s
         cut batch a.s 1: c",
    );
}

/// A trace of X-Ray that `count` invocations share: each of them received one message and sent one.
fn shared_root(count: usize) -> String {
    let mut script = String::new();
    for n in 0..count {
        script += &format!("a{n} p - producer shop 0 1 out=sqs:m{n}\n");
        script += &format!("R s{n} g{n} server worker 5 6 in=sqs:m{n}\n");
        script += &format!("R p{n} s{n} producer worker 5 6 out=sns:x{n}\n");
        script += &format!("n{n} s - server next 7 8 in=sns:x{n}\n");
    }
    script
}

#[test]
fn a_trace_that_only_a_root_holds_together_does_not_swallow() {
    let script = shared_root(30);
    for seed in ["a7", "R.p7", "n7", "sns:x7"] {
        check(
            &script,
            seed,
            "a7 R n7
             a7.p -> R.s7 sqs sqs exact 4s
             R.p7 -> n7.s sns sns exact 1s
             cut xrayroot R 30:
             shape Chain",
        );
        assert_eq!(World::new(&script).flow(seed).spans.len(), 4);
    }
    let (flow, _) = World::new(&script).assemble("R", Limits::default());
    assert_eq!((flow.traces.len(), flow.spans.len()), (31, 90), "{}", text(&flow));
    // As long as they are few, trace context is context.
    let (flow, _) = World::new(&shared_root(3)).assemble("a1", Limits::default());
    assert_eq!(flow.traces.len(), 5, "{}", text(&flow));
}

#[test]
fn one_span_for_all_messages_of_a_large_batch_is_a_batch_too() {
    let script = |count: usize| {
        let keys: Vec<String> = (0..count).map(|n| format!("sqs:m{n}")).collect();
        let senders: String = (0..count).map(|n| format!("a{n:02} p - producer shop 0 1 out=sqs:m{n}\n")).collect();
        format!(
            "{senders}b s - server worker 5 6\nb c s consumer worker 5 6 in={}\nb x c producer worker 5 6 out=sns:n1
             n s - server next 7 8 in=sns:n1",
            keys.join(",")
        )
    };
    let traces = |count: usize, seed: &str| World::new(&script(count)).flow(seed).traces.len();
    assert_eq!((traces(5, "a03"), traces(40, "a03")), (3, 2));
    assert_eq!((traces(5, "n"), traces(40, "n")), (2, 2));
}
