//! AWS Step Functions: executions and their steps, by the execution's ARN.
//!
//! Stock instrumentation has the state machine only; the ARN is in the answer of StartExecution, and in a step's event if
//! the state machine passes it on. Datadog's libraries give all steps of an execution one trace, whose id they compute from
//! the ARN; so whoever knows the ARN also knows that trace.

use hopline_model::{SpanId, TraceId};
use sha2::{Digest, Sha256};

use super::aws_call::{AwsCall, Service};
use super::{HopKeys, Rule, short_name};
use crate::key::{Direction, Key, Kind};
use crate::span::Span;

const EXECUTIONS: &[&str] = &[
    "aws.step_functions.execution.arn",
    "aws.stepfunctions.execution.arn",
    "aws.step_functions.execution_arn",
    "aws.stepfunctions.execution_arn",
];

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "stepfunctions.start",
        hop: "stepfunctions",
        direction: Direction::Out,
        reads: EXECUTIONS,
        on_links: false,
        find: |rule, span, found| {
            if is_start(span) {
                execution(rule, span, found)
            }
        },
    },
    Rule {
        name: "stepfunctions.step",
        hop: "stepfunctions",
        direction: Direction::In,
        reads: EXECUTIONS,
        on_links: false,
        find: |rule, span, found| {
            if span.kind.is_in() {
                execution(rule, span, found)
            }
        },
    },
];

/// Whether the span starts an execution.
pub(super) fn is_start(span: &Span<'_>) -> bool {
    let operation = AwsCall::operation_of(span, Service::StepFunctions);
    span.kind.is_out() && operation.is_some_and(|o| matches!(o, "StartExecution" | "StartSyncExecution"))
}

/// The state machine that the span names.
pub(super) fn machine<'a>(span: &Span<'a>) -> Option<&'a str> {
    let arns = ["aws.step_functions.state_machine.arn", "aws.stepfunctions.state_machine.arn"];
    span.attributes.first_text(&arns).map(short_name)
}

fn execution(rule: &Rule, span: &Span<'_>, found: &mut HopKeys) {
    if let Some(arn) = span.attributes.first_text(EXECUTIONS) {
        for key in forms(arn, rule.direction, span.trace_id) {
            found.push(rule, key, machine(span).or_else(|| machine_of(arn)));
        }
    }
}

/// The name of the state machine in an execution's ARN.
pub(super) fn machine_of(execution: &str) -> Option<&str> {
    // arn:aws:states:region:account:execution:machine:name, or express:machine:name:id
    execution.split(':').nth(6).filter(|name| !name.is_empty())
}

/// The keys of an identity `<ARN>[#<state>#<entered>[#<retry>]]`. A step is also one of its execution, and the execution's
/// trace by [`sfn_trace_id`] is a trace of both sides, unless the span is in it.
pub(super) fn forms(id: &str, side: Direction, own: TraceId) -> Vec<Key> {
    let arn = id.split('#').next().unwrap_or(id);
    let mut keys = vec![Key::new(Kind::StepFunctions, id)];
    // A step that somebody sends is that step and no other.
    if arn != id && side == Direction::Out {
        return keys;
    }
    keys.extend((arn != id).then(|| Key::new(Kind::StepFunctions, arn)));
    let trace = sfn_trace_id(arn);
    keys.extend((arn.starts_with("arn:") && trace != own).then(|| Key::new(Kind::Link, trace.to_string())));
    keys
}

/// The trace that Datadog's libraries give the steps of an execution (`datadog-lambda-extension`, `step_function_event.rs`):
/// SHA-256 of the ARN of the execution, or of the outermost one, as two positive numbers of 63 bits.
pub fn sfn_trace_id(execution_arn: &str) -> TraceId {
    let hash = Sha256::digest(execution_arn.as_bytes());
    let mut id = [0; 16];
    let (high, low) = id.split_at_mut(8);
    high.copy_from_slice(&positive(hash.iter().copied()));
    low.copy_from_slice(&positive(hash.iter().skip(8).copied()));
    TraceId(id)
}

/// The span under which Datadog's libraries put a step: the state, when it was entered, as text, and which try it is.
pub fn sfn_parent_span_id(execution_arn: &str, state: &str, entered: &str, retry: u32, redrive: u32) -> SpanId {
    let mut text = format!("{execution_arn}#{state}#{entered}");
    if retry > 0 || redrive > 0 {
        text.push_str(&format!("#{retry}#{redrive}"));
    }
    SpanId(positive(Sha256::digest(text.as_bytes()).iter().copied()))
}

/// The first eight bytes as a number without its highest bit, and not 0.
fn positive(bytes: impl Iterator<Item = u8>) -> [u8; 8] {
    let number = bytes.take(8).fold(0_u64, |number, byte| number << 8 | u64::from(byte));
    (number & (u64::MAX >> 1)).max(1).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::testing::Probe;
    use super::*;
    use crate::span::Value::Text;

    const ARN: &str =
        "arn:aws:states:us-east-1:425362996713:execution:agocsTestSF:bc9f281c-3daa-4e5a-9a60-471a3810bf44";

    #[test]
    fn ids_that_follow_from_the_arn() {
        let check = |arn, high: u64, low: u64| {
            let expected = u128::from(high) << 64 | u128::from(low);
            assert_eq!(sfn_trace_id(arn), TraceId(expected.to_be_bytes()), "{arn}");
        };
        let machine = "arn:aws:states:sa-east-1:425362996713:stateMachine:MyStateMachine-b276uka1j";
        check(machine, 6984552746569958392, 1680583253837593461);
        check(ARN, 1807349139850867390, 5744042798732701615);
        let express = "arn:aws:states:sa-east-1:601427271234:express:DatadogStateMachine:acaf1a67-336a-e854-1599-2a627eb2dd8a:c8baf081-31f1-464d-971f-70cb17d01111";
        let parent =
            |retry, redrive| sfn_parent_span_id(express, "step-one", "2022-12-08T21:08:19.224Z", retry, redrive);
        assert_eq!(parent(0, 0), SpanId(4340734536022949921_u64.to_be_bytes()));
        assert!(parent(1, 0) != parent(0, 0) && parent(1, 0) != parent(0, 1));
    }

    #[test]
    fn executions() {
        let trace = sfn_trace_id(ARN);
        let arn = ("aws.step_functions.execution.arn", Text(ARN));
        Probe::client(&[arn, ("rpc.service", Text("SFN")), ("rpc.method", Text("StartExecution"))]).keys(&[
            &format!("stepfunctions.start out sfn:{ARN} @agocsTestSF"),
            &format!("stepfunctions.start out link:{trace} @agocsTestSF"),
        ]);
        Probe::client(&[arn, ("rpc.service", Text("SFN")), ("rpc.method", Text("DescribeExecution"))]).keys(&[]);
        Probe::server(&[arn]).keys(&[
            &format!("stepfunctions.step in sfn:{ARN} @agocsTestSF"),
            &format!("stepfunctions.step in link:{trace} @agocsTestSF"),
        ]);
    }

    #[test]
    fn steps() {
        let step = format!("{ARN}#reserve#2026-11-21T10:00:00.000Z#1");
        let keys = |side, own| -> Vec<String> { forms(&step, side, own).iter().map(Key::to_string).collect() };
        let of_trace = format!("link:{}", sfn_trace_id(ARN));
        let other = TraceId([1; 16]);
        assert_eq!(keys(Direction::Out, other), [format!("sfn:{step}")]);
        assert_eq!(keys(Direction::In, other), [format!("sfn:{step}"), format!("sfn:{ARN}"), of_trace]);
        assert_eq!(keys(Direction::In, sfn_trace_id(ARN)), [format!("sfn:{step}"), format!("sfn:{ARN}")]);
    }
}
