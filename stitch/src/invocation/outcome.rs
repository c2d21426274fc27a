//! How an invocation ended, from all that is said of it.
//!
//! 1. A time-out that anyone tells of is a time-out: the platform stopped it, whatever a
//!    span that was sent before says.
//! 2. What the platform calls a success is one, though its span has the status ERROR: a
//!    handler may answer with a status of 500 on purpose.
//! 3. Memory that ran out is told by any of three signals and counted once: a line that
//!    runtimes print then, `Runtime.OutOfMemory` in a record, a report of all memory
//!    used. The last counts only where the invocation did not succeed: a success at the
//!    limit is no failure.
//! 4. A process that ended is a crash, any other error an error.
//! 5. Without a word of the platform, the span's status decides. A line `REPORT` without
//!    a status says neither (the stock extension never writes one): with a span that is
//!    fine it is fine, else nobody knows.

use super::Fact;
use super::words::{Oom, Outcome, Source, Status};

/// What is known of the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) outcome: Outcome,
    pub(super) timed_out: bool,
    pub(super) out_of_memory: bool,
}

/// How the invocation with these facts ended.
pub(super) fn of(facts: &[&Fact]) -> End {
    let says = |status: Status| facts.iter().any(|f| f.status == Some(status));
    let platform = |status: Status| {
        facts.iter().any(|f| f.status == Some(status) && matches!(f.source, Source::RuntimeDone | Source::Report))
    };
    let timed_out = says(Status::Timeout);
    let succeeded = platform(Status::Ok) && !platform(Status::Crash) && !platform(Status::Error);
    let failed = says(Status::Error) || says(Status::Crash);
    let by = |oom: Oom| facts.iter().any(|f| f.oom == Some(oom));
    let killed = by(Oom::Killed) && !timed_out;
    let at_limit = by(Oom::Report) && !succeeded && (failed || timed_out || !says(Status::Ok));
    let out_of_memory = by(Oom::Log) || by(Oom::Record) || killed || at_limit;
    let exited = facts.iter().any(|f| f.error_type.as_deref() == Some("Runtime.ExitError"));
    let outcome = if timed_out {
        Outcome::Timeout
    } else if succeeded {
        Outcome::Ok
    } else if out_of_memory && (failed || !says(Status::Ok)) {
        Outcome::Oom
    } else if says(Status::Crash) || exited {
        Outcome::Crash
    } else if failed {
        Outcome::Error
    } else if says(Status::Ok) {
        Outcome::Ok
    } else {
        Outcome::Unknown
    };
    End { outcome, timed_out, out_of_memory }
}

/// The best that is known of the error: the span's own exception, else the log's, else
/// the platform's word.
pub(super) fn error<'a>(facts: &[&'a Fact]) -> Option<&'a Fact> {
    let rank = |fact: &Fact| match fact.source {
        Source::Span if fact.fingerprint.is_some() && fact.is_server => 0,
        Source::Span if fact.fingerprint.is_some() => 1,
        // A line without a type is a line, not an error.
        Source::Log if fact.error_type.is_some() => 2,
        Source::RuntimeDone => 3,
        Source::Report => 4,
        Source::Log => 5,
        _ => 6,
    };
    let tells = |fact: &&&'a Fact| fact.error_type.is_some() || fact.error_message.is_some();
    facts.iter().filter(tells).min_by_key(|fact| (rank(fact), **fact)).copied()
}

/// What an outcome is called where no error says more: the type that errors are grouped by.
pub(super) fn kind_of(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Timeout => Some("Timeout"),
        Outcome::Oom => Some("OutOfMemory"),
        Outcome::Crash => Some("Crash"),
        _ => None,
    }
}
