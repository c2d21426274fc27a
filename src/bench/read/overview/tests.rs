#![allow(clippy::unwrap_used)]
use serde_json::json;

use super::*;

/// One invocation in each minute of a day, the first of each hour an error.
fn sent() -> Sent {
    let plan = Plan { seed: 1, functions: 1, each: 1_440, from: DAY, to: 2 * DAY };
    let all = plan.invocations();
    let errors: Vec<Invocation> = all.iter().copied().step_by(60).collect();
    Sent { invocations: Starts::of(&all, |_| true), errors: Starts::of(&errors, |_| true) }
}

fn answer() -> Value {
    json!({
        "functions": [
            {"function": "a", "invocations": 100, "errors": 1, "before": {"invocations": 0, "errors": 0}},
            {"function": "b", "invocations": 20, "errors": 1, "before": {"invocations": 120, "errors": 2}},
        ],
        "start": "1970-01-02T02:00:00Z",
        "end": "1970-01-02T04:00:00Z",
        "complete": true,
    })
}

#[test]
fn an_answer_is_held_against_what_was_sent() {
    sent().check(&answer()).unwrap();
    let wrong = [
        ("/complete", json!(false), "it is not complete: null"),
        ("/functions/0/invocations", json!(99), "it counts 119 invocations in its range, 120 were sent"),
        ("/functions/0/errors", json!(2), "it counts 3 errors in its range, 2 were sent"),
        ("/functions/1/before/invocations", json!(121), "it counts 121 invocations in the range before, 120 were sent"),
        ("/functions/1/before/errors", json!("2"), "it has no errors of the range before"),
        ("/end", json!("1970-01-02T03:59:00Z"), "it counts 120 invocations in its range, 119 were sent"),
        ("/end", json!(7), "it has no end"),
    ];
    for (place, value, expected) in wrong {
        let mut answer = answer();
        *answer.pointer_mut(place).unwrap() = value;
        assert_eq!(sent().check(&answer).unwrap_err().to_string(), expected, "{place}");
    }
}

#[test]
fn the_answer_of_one_function_is_read_too() {
    let answer = json!({"invocations": 5, "before": {"invocations": 7}});
    assert_eq!(sum(&answer, "", "invocations"), Some(5));
    assert_eq!(sum(&answer, "before", "invocations"), Some(7));
    assert_eq!(sum(&answer, "before", "errors"), None);
}
