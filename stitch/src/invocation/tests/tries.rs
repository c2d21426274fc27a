//! Tries of one request id in one environment, closer together than clocks can be trusted.

use super::merging::{check, lines};
use super::*;
use proptest::prelude::*;

#[test]
fn a_start_after_an_end_is_another_try() {
    let script = "0 start id=a
        50 runtime_done id=a took=50 status=error
        51 report id=a took=51
        60 start id=a
        160 runtime_done id=a took=100 status=ok
        161 report id=a took=101 status=ok";
    check(script, "a#1 0+51 error lost spanless\na#2 60+101 ok lost spanless");
    // Any one record of the end, or only the two starts, says so.
    check(
        "0 start id=a\n50 runtime_done id=a took=50 status=error\n60 start id=a",
        "a#1 0+50 error spanless\na#2 60 unknown spanless",
    );
    check(
        "0 start id=a\n51 report id=a took=51 status=timeout\n60 start id=a",
        "a#1 0+51 timeout late lost spanless\na#2 60 unknown spanless",
    );
    check(
        "50 runtime_done id=a took=50 status=error\n60 start id=a",
        "a#1 0+50 error spanless\na#2 60 unknown spanless",
    );
    check("0 start id=a\n60 start id=a", "a#1 0 unknown spanless\na#2 60 unknown spanless");
    // The lines END and REPORT, at the very millisecond of the next start.
    check(
        "0 start id=a\n60 runtime_done id=a\n60 report id=a took=60\n60 start id=a\n120 runtime_done id=a\n120 report id=a took=60",
        "a#1 0+60 unknown lost spanless\na#2 60+60 unknown lost spanless",
    );
}

#[test]
fn an_environment_may_have_two_names() {
    let platform =
        "0 start id=a in=x\n52 runtime_done id=a in=x took=52 status=ok\n53 report id=a in=x took=53 status=ok";
    check(&format!("{platform}\n1 span id=a in=y took=50 status=ok trace=1 span=1"), "a#1 0+53 ok");
    check(
        &format!("{platform}\n1 span id=a in=y took=50 status=ok trace=1 span=1\n20 log id=a in=y error=E"),
        "a#1 0+53 ok",
    );
    // What comes after it is another try, in whatever environment.
    check(
        &format!("{platform}\n100 span id=a in=y took=50 status=ok trace=1 span=1"),
        "a#1 0+53 ok lost spanless\na#2 100+50 ok",
    );
    // Two spans, and two records, name their environments in one way.
    check(
        "0 span id=a in=x took=50 status=ok trace=1 span=1\n2 span id=a in=y took=50 status=ok trace=2 span=2",
        "a#1 0+50 ok\na#2 2+50 ok",
    );
}

#[test]
fn tries_of_a_few_milliseconds() {
    let script =
        "0 start id=a\n5 runtime_done id=a took=5 status=crash\n6 start id=a\n11 runtime_done id=a took=5 status=crash
        12 start id=a\n18 runtime_done id=a took=6 status=ok";
    check(script, "a#1 0+5 crash spanless\na#2 6+5 crash spanless\na#3 12+6 ok spanless");
}

#[test]
fn spans_of_servers_that_do_not_overlap_are_two_tries() {
    let expected = "a#1 0+50 error\na#2 60+50 ok";
    check("0 span id=a took=50 status=error trace=1 span=1\n60 span id=a took=50 status=ok trace=2 span=2", expected);
    // X-Ray keeps the root over the tries.
    check("0 span id=a took=50 status=error trace=1 span=1\n60 span id=a took=50 status=ok trace=1 span=2", expected);
    // With the bills: each is the one of its own try.
    check(
        "0 span id=a took=50 status=error trace=1 span=1\n52 report id=a took=52\n60 span id=a took=50 status=ok trace=2 span=2\n112 report id=a took=52",
        "a#1 0+52 error\na#2 60+52 ok",
    );
    // A host's and a worker's span, or a span and its copy, overlap: one try.
    check("0 span id=a took=50 status=ok trace=1 span=1\n2 span id=a took=47 status=ok trace=1 span=2", "a#1 0+50 ok");
    check("0 span id=a took=50 status=ok trace=1 span=1\n2 span id=a took=90 status=ok trace=3 span=2", "a#1 0+50 ok");
}

#[test]
fn two_bills_are_two_tries() {
    check(
        "100 report id=a took=100 status=error\n230 report id=a took=100 status=ok",
        "a#1 0+100 error lost spanless\na#2 130+100 ok lost spanless",
    );
    check(
        "100 report id=a took=100 status=error\n115 report id=a took=14 status=ok",
        "a#1 0+100 error lost spanless\na#2 101+14 ok lost spanless",
    );
    check(
        "100 report id=a took=100 status=error\n200 runtime_done id=a took=90 status=ok",
        "a#1 0+100 error lost spanless\na#2 110+90 ok spanless",
    );
}

#[test]
fn one_try_told_twice_is_one() {
    // As a record and as a line, some milliseconds apart.
    let script = "0 start id=a\n3 start id=a
        100 runtime_done id=a took=100 status=error\n103 runtime_done id=a
        102 report id=a took=102.004 status=error\n105 report id=a took=102";
    check(script, "a#1 0+102.004 error lost spanless");
    // The function's clock is not the platform's: 200 ms late, or early.
    check("0 start id=a\n100 report id=a took=100\n200 span id=a took=99 status=ok", "a#1 0+100 ok");
    check("200 start id=a\n300 report id=a took=100\n0 span id=a took=99 status=ok", "a#1 200+100 ok");
}

#[test]
fn what_is_said_belongs_to_the_try_that_ran_then() {
    let script = "0 start id=a\n50 runtime_done id=a took=50 status=error\n60 start id=a\n160 runtime_done id=a took=100 status=error
        49 log id=a error=KeyError\n65 log id=a error=ValueError\n52 log id=a oom=killed status=crash";
    let merged = merged(script);
    assert_eq!(lines(&merged), "a#1 0+50 oom oom spanless\na#2 60+100 error spanless");
    let types: Vec<_> = merged.invocations.iter().map(|i| i.error_type.as_deref()).collect();
    assert_eq!(types, [Some("KeyError"), Some("ValueError")]);
    // By the trace, where clocks differ.
    let script = "0 span id=a took=50 status=error trace=1 span=1\n60 span id=a took=50 status=error trace=2 span=2
        61 log id=a error=KeyError trace=1";
    let merged = super::merged(script);
    let types: Vec<_> = merged.invocations.iter().map(|i| i.error_type.as_deref()).collect();
    assert_eq!(types, [Some("KeyError"), None]);
}

#[test]
fn one_id_for_everything_is_not_looked_at_by_pairs() {
    let script: String = (0..20_000).map(|i| format!("{} span id=1 took=5 span={i}\n", i * 3)).collect();
    let all = facts(&script);
    assert!(!merge(&all, &Rules::default()).invocations.is_empty());
}

proptest! {
    #[test]
    fn tries_one_after_the_other_are_counted_right(
        tries in prop::collection::vec((25i64..400, 1i64..700, any::<[bool; 3]>()), 1..6),
        by_spans in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let (mut lines, mut expected, mut at) = (Vec::new(), Vec::new(), 0);
        for (number, (took, idle, [done, report, more])) in (1..).zip(&tries) {
            at += idle;
            let end = at + took;
            // What tells tries apart is there for each of them: its start, or its span.
            if by_spans || *more {
                lines.push(format!("{} span id=a took={} status=error trace={number} span={number}", at + 1, took - 2));
            }
            if !by_spans || *more {
                lines.push(format!("{at} start id=a"));
            }
            if *done {
                lines.push(format!("{end} runtime_done id=a took={took} status=error"));
            }
            if *report {
                lines.push(format!("{end} report id=a took={took} billed={number}"));
            }
            lines.push(format!("{} log id=a error=E{number}", at + took / 2));
            expected.push((number, report.then_some(i64::from(number) * MS), format!("E{number}")));
            at = end;
        }
        let mut state = seed | 1;
        for at in (1..lines.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            lines.swap(at, (state >> 33) as usize % (at + 1));
        }
        let merged = merged(&lines.join("\n"));
        let errors = facts(&lines.join("\n"));
        let found: Vec<_> = merged.invocations.iter().map(|i| (i.attempt, i.billed_ns, i.error_type.clone())).collect();
        prop_assert_eq!(errors.len(), lines.len());
        prop_assert_eq!(found.len(), expected.len(), "{:?}", &lines);
        for ((attempt, billed, kind), (number, bill, error)) in found.into_iter().zip(expected) {
            prop_assert_eq!((attempt, billed), (number, bill), "{:?}", &lines);
            // An end that nobody tells of is no failure, and has no error.
            prop_assert!(kind.is_none_or(|kind| kind == error), "{:?}", &lines);
        }
    }
}
