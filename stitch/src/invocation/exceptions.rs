//! Lines of a function's log that tell how an invocation ended: a time-out, memory that
//! ran out, an error as Lambda's runtimes write it.

use serde_json::Value;

use super::words::Oom;

/// What runtimes print when memory runs out, in the order of the list: Go, Java, Node,
/// Ruby, .NET, Python.
const OUT_OF_MEMORY: [&str; 6] = [
    "fatal error: runtime: out of memory",
    "java.lang.OutOfMemoryError",
    "JavaScript heap out of memory",
    "failed to allocate memory (NoMemoryError)",
    "OutOfMemoryException",
    "MemoryError",
];

/// What Lambda prints when the runtime's process was killed from outside.
const KILLED: &str = "Runtime exited with error: signal: killed";

/// What Lambda prints when it stops an invocation, with the seconds after it.
const TIMED_OUT: &str = "Task timed out after ";

/// Types of errors that mean the same as those lines.
const OUT_OF_MEMORY_TYPES: [&str; 7] = [
    "MemoryError",
    "OutOfMemoryError",
    "java.lang.OutOfMemoryError",
    "OutOfMemoryException",
    "System.OutOfMemoryException",
    "NoMemoryError",
    "Runtime.OutOfMemory",
];

/// An error that a line tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) kind: String,
    pub(super) message: String,
    pub(super) stack: String,
}

/// Whether an error of this type means that memory ran out.
pub(super) fn is_out_of_memory(kind: &str) -> bool {
    OUT_OF_MEMORY_TYPES.contains(&kind)
}

/// Whether a line says that memory ran out. One search refuses nearly all lines.
pub(super) fn out_of_memory(line: &str) -> Option<Oom> {
    if line.contains("emory") && OUT_OF_MEMORY.iter().any(|text| line.contains(text)) {
        return Some(Oom::Log);
    }
    line.contains(KILLED).then_some(Oom::Killed)
}

/// The request id and the limit in nanoseconds, if the platform's line says that an
/// invocation ran out of time:
/// `<time> <request id> Task timed out after 3.00 seconds`, or
/// `RequestId: <request id> Error: Task timed out after 3.00 seconds`.
///
/// Without a request id before the words, the line is the function's own.
pub(super) fn time_out(line: &str) -> Option<(&str, Option<i64>)> {
    let (before, after) = line.split_once(TIMED_OUT)?;
    let before = before.trim_end();
    let before = before.strip_suffix("Error:").unwrap_or(before).trim_end();
    let id = before.rsplit(|c: char| !(c.is_ascii_hexdigit() || c == '-')).next().filter(|id| is_uuid(id))?;
    let seconds = after.split(' ').next().and_then(|text| text.parse::<f64>().ok());
    let limit = seconds.filter(|s| s.is_finite() && *s >= 0.0).map(|s| (s * 1e9).round() as i64);
    Some((id, limit))
}

/// The id after `RequestId: ` in a line of the platform.
pub(super) fn request_id(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("RequestId: ")?;
    rest.split(|c: char| !(c.is_ascii_hexdigit() || c == '-')).next().filter(|id| is_uuid(id))
}

fn is_uuid(text: &str) -> bool {
    let groups = [8, 4, 4, 4, 12];
    let mut parts = text.split('-');
    let fits = |part: Option<&str>, len: usize| {
        part.is_some_and(|p| p.len() == len && p.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    groups.iter().all(|len| fits(parts.next(), *len)) && parts.next().is_none()
}

/// Whether [`of_runtime`] may find something: cheap.
pub(super) fn may_be_of_runtime(line: &str) -> bool {
    line.starts_with("[ERROR] ") || line.contains("\"errorType\"")
}

/// The error in a line that a runtime of Lambda writes when a handler fails:
///
/// - Python: `[ERROR] KeyError: 'sku'`, then the traceback;
/// - Node: `… ERROR Invoke Error {"errorType":…,"errorMessage":…,"stack":[…]}`;
/// - with the log format JSON: `{"errorType":…,"errorMessage":…,"stackTrace":[…]}`.
pub(super) fn of_runtime(line: &str) -> Option<Told> {
    if let Some(rest) = line.strip_prefix("[ERROR] ") {
        let (head, stack) = rest.split_once("Traceback (most recent call last):")?;
        let (kind, message) = head.split_once(':').unwrap_or((head, ""));
        let kind = kind.trim();
        let is_type = !kind.is_empty() && kind.chars().all(|c| c.is_alphanumeric() || c == '.' || c == '_');
        let stack = format!("Traceback (most recent call last):{stack}");
        return is_type.then(|| Told { kind: kind.to_owned(), message: message.trim().to_owned(), stack });
    }
    let json = line.get(line.find('{')?..)?;
    // A line may go on after the value.
    let value = serde_json::Deserializer::from_str(json).into_iter::<Value>().next()?.ok()?;
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let kind = text("errorType");
    if kind.is_empty() {
        return None;
    }
    let stack = value.get("stack").or_else(|| value.get("stackTrace"));
    let lines: Vec<&str> = match stack {
        Some(Value::Array(lines)) => lines.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(text)) => vec![text.as_str()],
        _ => Vec::new(),
    };
    Some(Told { kind, message: text("errorMessage"), stack: lines.join("\n") })
}
