//! What a log record says: a record of the platform, a line of a cloud's host, or a line
//! that tells how an invocation ended.

use super::clouds;
use super::exceptions::{self, Told};
use super::of_span::identify;
use super::platform;
use super::words::{Oom, Source, Status};
use super::{Exception, Fact, LogView, shortened};
use crate::span::Attributes;

/// OpenTelemetry's severity number from which on a record is an error.
const ERROR: i32 = 17;

impl Fact {
    /// What a log record says of an invocation or an environment; nothing for most.
    ///
    /// Taken are the records of the Telemetry API, as lines of text or as the record
    /// itself, what the hosts of Azure and Google write, and of a function's own lines
    /// those that tell of a time-out, of memory that ran out, or of an error with its type.
    pub fn of_log(log: &LogView<'_>) -> Option<Fact> {
        if log.event_type == Some("extension") {
            return None;
        }
        if let Some(mut fact) = platform::read(log) {
            // What is to be known of a platform's record stands in it and in its resource.
            complete(&mut fact, log, &());
            return Some(fact);
        }
        if log.event_type.is_some_and(|event| event != "function") {
            return None;
        }
        let of_host = clouds::read(log);
        let is_known = || log.function.is_some() || log.invocation_id.is_some();
        let mut fact = match of_host {
            // A host's line may name the invocation itself.
            Some(fact) if fact.invocation_id.is_some() || is_known() => fact,
            _ if is_known() => of_line(log)?,
            _ => return None,
        };
        complete(&mut fact, log, log.attributes);
        Some(fact)
    }
}

/// What a line of the function's own log says.
fn of_line(log: &LogView<'_>) -> Option<Fact> {
    let time_out = exceptions::time_out(log.body);
    let oom = exceptions::out_of_memory(log.body);
    let kind = log.attributes.first_text(&["exception.type", "error.type"]);
    let is_error = log.severity_number >= ERROR || kind.is_some();
    let told = if is_error || exceptions::may_be_of_runtime(log.body) { error(log, kind) } else { None };
    if time_out.is_none() && oom.is_none() && told.is_none() {
        return None;
    }
    let mut fact = Fact::new(Source::Log, log.time_ns);
    if let Some(told) = &told {
        let Told { kind, message, stack } = told;
        fact = fact.with_exception(&Exception { kind, message, stack });
    }
    if let Some(oom) = oom {
        fact.oom = Some(oom);
        fact.error_message.get_or_insert_with(|| shortened(log.body.trim()));
        // A killed process said nothing of itself.
        if oom == Oom::Killed {
            fact.status = Some(Status::Crash);
        }
        fact.invocation_id = exceptions::request_id(log.body).map(str::to_owned);
    }
    if let Some((id, limit_ns)) = time_out {
        fact.invocation_id = Some(id.to_owned());
        fact.limit_ns = limit_ns;
        fact.status = Some(Status::Timeout);
    }
    Some(fact)
}

/// The error of a record: by the attributes of the conventions, else as Lambda's runtimes
/// write it.
fn error(log: &LogView<'_>, kind: Option<&str>) -> Option<Told> {
    let attribute = |key: &str| log.attributes.text(key).unwrap_or_default().to_owned();
    match kind {
        Some(kind) => Some(Told {
            kind: kind.to_owned(),
            message: attribute("exception.message"),
            stack: attribute("exception.stacktrace"),
        }),
        None => exceptions::of_runtime(log.body),
    }
}

/// Adds what the record's columns and resource say, where the record itself says nothing.
fn complete(fact: &mut Fact, log: &LogView<'_>, attributes: &dyn Attributes) {
    identify(fact, log.function, attributes, log.resource);
    if fact.invocation_id.is_none() {
        let id = log.invocation_id.or_else(|| clouds::invocation_id(attributes));
        fact.invocation_id = id.map(str::to_owned);
    }
    if fact.source == Source::Log {
        fact.trace_id = log.trace_id;
        fact.span_id = log.span_id;
    }
}
