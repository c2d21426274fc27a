//! Frames of stack traces, as five languages write them.

/// Frames of the function's own code that count.
const OWN_MAX: usize = 5;

/// Frames that count where none is the function's own.
const FOREIGN_MAX: usize = 3;

/// Longest stack trace that is read.
const LINES_MAX: usize = 2_000;

/// Parts of paths and names of code that is not the function's own.
const FOREIGN_PATHS: [&str; 12] = [
    "/site-packages/",
    "/dist-packages/",
    "/lib/python",
    "/var/runtime/",
    "/var/lang/",
    "/opt/python",
    "/node_modules/",
    "node:",
    "internal/",
    "<frozen",
    "/usr/local/go/",
    "/pkg/mod/",
];

const FOREIGN_NAMES: [&str; 20] = [
    "java.",
    "javax.",
    "jakarta.",
    "jdk.",
    "sun.",
    "com.sun.",
    "com.amazonaws.services.lambda.runtime.",
    "lambdainternal.",
    "kotlin.",
    "kotlinx.",
    "scala.",
    "org.springframework.",
    "io.opentelemetry.",
    "System.",
    "Microsoft.",
    "Amazon.Lambda.",
    "OpenTelemetry.",
    "lambda_method",
    "runtime.",
    "github.com/aws/aws-lambda-go/",
];

/// One frame: the function, the file's name, and whether the code is the function's own.
struct Frame {
    text: String,
    is_own: bool,
}

/// The innermost frames that count, the innermost first, as `function@file`.
pub(super) fn of(stack: &str) -> Vec<String> {
    let mut frames = read(stack);
    // One function that calls itself is one frame, however deep it was.
    frames.dedup_by(|a, b| a.text == b.text);
    let own: Vec<String> = frames.iter().filter(|f| f.is_own).take(OWN_MAX).map(|f| f.text.clone()).collect();
    if !own.is_empty() {
        return own;
    }
    frames.into_iter().take(FOREIGN_MAX).map(|f| f.text).collect()
}

fn read(stack: &str) -> Vec<Frame> {
    // Python writes the innermost call last, and the error that counts after its causes.
    if let Some(at) = stack.rfind("Traceback (most recent call last)") {
        let traceback = stack.get(at..).unwrap_or_default();
        let mut frames: Vec<Frame> = traceback.lines().take(LINES_MAX).filter_map(python).collect();
        frames.reverse();
        return frames;
    }
    let mut frames = Vec::new();
    let mut before = "";
    for line in stack.lines().take(LINES_MAX) {
        // What follows in Java is the cause of the error, not its place.
        if line.starts_with("Caused by:") {
            break;
        }
        let trimmed = line.trim_start();
        if let Some(call) = trimmed.strip_prefix("at ") {
            frames.extend(call_at(call));
        } else if line.starts_with('\t') && trimmed.contains(".go:") {
            frames.extend(go(before, trimmed));
        }
        before = line;
    }
    frames
}

/// `  File "/var/task/app.py", line 41, in handler`
fn python(line: &str) -> Option<Frame> {
    let (path, rest) = line.trim_start().strip_prefix("File \"")?.split_once('"')?;
    let (_, function) = rest.rsplit_once(" in ")?;
    Some(frame(function, path))
}

/// What stands behind `at`: Node, Java or .NET.
fn call_at(call: &str) -> Option<Frame> {
    let call = call.trim_end();
    // .NET: `Shop.Ledger.Run(Message message) in /src/Ledger.cs:line 28`
    if let Some((function, place)) = call.split_once(") in ") {
        let name = function.split('(').next().unwrap_or(function);
        let path = place.rsplit_once(":line ").map_or(place, |(path, _)| path);
        return Some(frame(name, path));
    }
    let call = call.strip_prefix("async ").unwrap_or(call);
    let Some((function, place)) = call.split_once('(') else {
        // Node, without a name: `/var/task/index.js:41:11`
        let path = without_lines(call);
        return (path.len() < call.len()).then(|| frame("", path));
    };
    let place = place.trim_end_matches(')');
    let path = without_lines(place);
    // Node has a space before the place, Java has none; .NET has arguments there.
    if function.ends_with(' ') || place.contains(".java:") || place.contains(".kt:") || place.contains(".scala:") {
        return Some(frame(function.trim_end(), path));
    }
    Some(frame(function, ""))
}

/// Go: `main.handler(0xc000012345, …)`, and in the next line `/var/task/main.go:41 +0x1d`.
fn go(call: &str, place: &str) -> Option<Frame> {
    let function = call.trim_start_matches("created by ").rsplit_once('(').map_or(call, |(name, _)| name);
    let path = place.split(".go:").next()?;
    (!function.is_empty()).then(|| frame(function, &format!("{path}.go")))
}

fn frame(function: &str, path: &str) -> Frame {
    let is_foreign = FOREIGN_PATHS.iter().any(|part| path.contains(part))
        || FOREIGN_NAMES.iter().any(|start| function.starts_with(start))
        || matches!(function, "panic" | "<module>");
    let file = path.rsplit(['/', '\\']).next().unwrap_or(path);
    // What compilers number differs from build to build: lambdas, closures, state machines.
    let mut text = String::with_capacity(function.len() + file.len() + 1);
    text.extend(function.trim().chars().filter(|c| !c.is_ascii_digit()));
    text.push('@');
    text.push_str(file);
    Frame { text, is_own: !is_foreign }
}

/// A place without its line and column.
fn without_lines(place: &str) -> &str {
    let mut path = place;
    while let Some((before, number)) = path.rsplit_once(':') {
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            break;
        }
        path = before;
    }
    path
}
