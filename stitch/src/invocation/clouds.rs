//! What the hosts of Azure and Google write of invocations, in lines of text.
//!
//! | line | of | what it tells |
//! |---|---|---|
//! | `Executing 'Functions.resize' (Reason='…', Id=<id>)` | Azure Functions host | the start |
//! | `Executed 'Functions.resize' (Succeeded, Id=<id>, Duration=596ms)`, or `Failed` | Azure Functions host | the end |
//! | `Timeout value of 00:05:00 exceeded by function 'Functions.resize' (Id: '<id>').` | Azure Functions host | a time-out |
//! | `Function execution started` | Cloud Functions, first generation | the start |
//! | `Function execution took 341 ms, finished with status: 'ok'`, or `status code: 200` | Cloud Functions, first generation | the end |
//! | `Memory limit of 256 MiB exceeded with 260 MiB used.` | Cloud Run and Cloud Functions | memory that ran out |
//! | `The request has been terminated because it has reached the maximum request timeout.` | Cloud Run and Cloud Functions | a time-out |
//!
//! Azure's lines name the invocation; Google's have its id as a label (`execution_id`) or
//! stand in its trace. A line of an end is no bill: that its span never came is not taken
//! for lost, as some triggers have none (Azure's blobs).

use super::of_span::MIB;
use super::words::{Oom, Provider, Source, Status};
use super::{Fact, LogView};
use crate::span::Attributes;

/// Where logs of Google and Azure have the invocation's id besides `faas.invocation_id`.
const INVOCATION_IDS: [&str; 4] =
    ["execution_id", "labels.execution_id", "AzureFunctions_InvocationId", "azurefunctions.invocation_id"];

/// What the line of a host says, if it is one.
pub(super) fn read(log: &LogView<'_>) -> Option<Fact> {
    let line = log.body.trim();
    // The first letter refuses nearly all lines.
    match line.as_bytes().first()? {
        b'E' => azure(log, line),
        b'T' => azure_time_out(log, line).or_else(|| google_time_out(log, line)),
        b'F' => google(log, line),
        b'M' => google_memory(log, line),
        _ => None,
    }
}

/// The id of the invocation that a record names in an attribute of its cloud.
pub(super) fn invocation_id(attributes: &dyn Attributes) -> Option<&str> {
    attributes.first_text(&INVOCATION_IDS)
}

fn fact(log: &LogView<'_>, source: Source, provider: Provider) -> Fact {
    // Google writes a request's records into its trace.
    let (trace_id, span_id) = (log.trace_id, log.span_id);
    Fact { provider: Some(provider), trace_id, span_id, ..Fact::new(source, log.time_ns) }
}

/// The function that a line of Azure's host names. The resource's name, where there is one,
/// is that of the spans.
fn function(log: &LogView<'_>, quoted: &str) -> Option<String> {
    let name = quoted.strip_prefix("Functions.").unwrap_or(quoted);
    (log.function.is_none() && !name.is_empty()).then(|| name.to_owned())
}

fn azure(log: &LogView<'_>, line: &str) -> Option<Fact> {
    let (source, rest) = match line.strip_prefix("Executing '") {
        Some(rest) => (Source::Start, rest),
        None => (Source::RuntimeDone, line.strip_prefix("Executed '")?),
    };
    let (name, rest) = rest.split_once("' (")?;
    let rest = rest.strip_suffix(')')?;
    // The reason may have anything in it.
    let (before, id) = rest.rsplit_once("Id=")?;
    let (id, took) = match id.split_once(", Duration=") {
        Some((id, took)) => (id, took.strip_suffix("ms").and_then(|ms| ms.parse::<f64>().ok())),
        None => (id, None),
    };
    let mut fact = fact(log, source, Provider::Azure);
    fact.function = function(log, name);
    fact.invocation_id = Some(id.trim().to_owned()).filter(|id| !id.is_empty());
    if source == Source::RuntimeDone {
        fact.duration_ns = took.and_then(nanos);
        fact.status = Some(if before.starts_with("Succeeded") { Status::Ok } else { Status::Error });
    }
    Some(fact)
}

fn azure_time_out(log: &LogView<'_>, line: &str) -> Option<Fact> {
    let (limit, rest) = line.strip_prefix("Timeout value of ")?.split_once(" exceeded by function '")?;
    let (name, rest) = rest.split_once('\'')?;
    let id = rest.split_once("(Id: '").and_then(|(_, id)| id.split('\'').next());
    let mut fact = fact(log, Source::Log, Provider::Azure);
    fact.function = function(log, name);
    fact.invocation_id = id.filter(|id| !id.is_empty()).map(str::to_owned);
    fact.status = Some(Status::Timeout);
    fact.limit_ns = time_span(limit);
    Some(fact)
}

fn google(log: &LogView<'_>, line: &str) -> Option<Fact> {
    if line == "Function execution started" {
        return Some(fact(log, Source::Start, Provider::Gcp));
    }
    let (took, end) = line.strip_prefix("Function execution took ")?.split_once(" ms, finished with status")?;
    let mut fact = fact(log, Source::RuntimeDone, Provider::Gcp);
    fact.duration_ns = took.parse().ok().and_then(nanos);
    if let Some(code) = end.strip_prefix(" code: ") {
        fact.http_status = code.trim().parse().ok();
        // An answer is one, also where it says that something is wrong with the request.
        fact.status = fact.http_status.map(|code| if code >= 500 { Status::Error } else { Status::Ok });
        return Some(fact);
    }
    let word = end.strip_prefix(':')?.trim().trim_matches('\'');
    match word {
        "ok" => fact.status = Some(Status::Ok),
        "timeout" | "load timeout" => fact.status = Some(Status::Timeout),
        "crash" => fact.status = Some(Status::Crash),
        "out of memory" => (fact.status, fact.oom) = (Some(Status::Crash), Some(Oom::Record)),
        "error" => fact.status = Some(Status::Error),
        other => {
            fact.status = Some(Status::Error);
            fact.error_type = Some(other.to_owned());
        }
    }
    fact.limit_ns = fact.duration_ns.filter(|_| word == "timeout");
    Some(fact)
}

fn google_time_out(log: &LogView<'_>, line: &str) -> Option<Fact> {
    let said = "The request has been terminated because it has reached the maximum request timeout";
    let fact = line.starts_with(said).then(|| fact(log, Source::Log, Provider::Gcp))?;
    Some(Fact { status: Some(Status::Timeout), ..fact })
}

fn google_memory(log: &LogView<'_>, line: &str) -> Option<Fact> {
    let (size, rest) = line.strip_prefix("Memory limit of ")?.split_once(" exceeded with ")?;
    let (used, _) = rest.split_once(" used")?;
    let mut fact = fact(log, Source::Log, Provider::Gcp);
    (fact.memory_size, fact.memory_used) = (bytes(size), bytes(used));
    (fact.oom, fact.status) = (Some(Oom::Record), Some(Status::Crash));
    Some(fact)
}

/// Bytes of `256 MiB`, `256M` or `1 GiB`.
fn bytes(text: &str) -> Option<i64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = match unit.trim() {
        "M" | "MB" | "MiB" => MIB,
        "G" | "GB" | "GiB" => 1_024 * MIB,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(unit)
}

/// Nanoseconds of .NET's way to write a time span, `[days.]hh:mm:ss[.fraction]`.
fn time_span(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    let (days, hours) = hours.split_once('.').unwrap_or(("0", hours));
    let number = |text: &str| text.parse::<u32>().ok().map(f64::from);
    let seconds = seconds.parse::<f64>().ok().filter(|s| (0.0..60.0).contains(s))?;
    let all = ((number(days)? * 24.0 + number(hours)?) * 60.0 + number(minutes)?) * 60.0 + seconds;
    nanos(all * 1e3)
}

/// Nanoseconds of milliseconds, if they are a duration.
fn nanos(ms: f64) -> Option<i64> {
    (0.0..1e12).contains(&ms).then(|| (ms * 1e6).round() as i64)
}
