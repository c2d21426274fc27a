use super::*;
use crate::span::Value;
use proptest::prelude::*;

const ID: &str = "1f60b20c-8ed7-41ed-9945-08dcafcc74ee";
const ROOT: &str = "5759e988bd862e3fe1be46a994272793";

pub(super) struct Record<'a> {
    pub(super) body: &'a str,
    pub(super) event: Option<&'a str>,
    pub(super) id: Option<&'a str>,
    pub(super) trace: Option<TraceId>,
    pub(super) severity: i32,
    pub(super) function: Option<&'a str>,
    pub(super) attributes: &'a [(&'a str, Value<'a>)],
    pub(super) resource: &'a [(&'a str, Value<'a>)],
}

impl Default for Record<'_> {
    fn default() -> Self {
        let (event, id, trace, function) = (None, None, None, Some("f"));
        Record { body: "", event, id, trace, severity: 9, function, attributes: &[], resource: &[] }
    }
}

pub(super) fn read(record: &Record<'_>) -> Option<Fact> {
    Fact::of_log(&LogView {
        time_ns: 5_000 * MS,
        body: record.body,
        body_is_json: record.body.starts_with('{'),
        event_type: record.event,
        invocation_id: record.id,
        trace_id: record.trace,
        span_id: None,
        severity_number: record.severity,
        service: "f",
        function: record.function,
        attributes: &record.attributes,
        resource: &record.resource,
    })
}

/// The trait is on slices, a trait object needs a sized one.
impl Attributes for &[(&str, Value<'_>)] {
    fn get(&self, key: &str) -> Option<Value<'_>> {
        self.iter().find(|(k, _)| *k == key).map(|(_, value)| *value)
    }
}

#[track_caller]
fn check(event: Option<&str>, body: &str, expected: &str) {
    let found = read(&Record { body, event, ..Record::default() });
    assert_eq!(
        found.as_ref().map(told).unwrap_or_default(),
        expected.replace("ID", ID).replace("ROOT", ROOT),
        "{body}"
    );
}

#[test]
fn lines_of_the_stock_extension() {
    check(
        Some("platform.start"),
        &format!("START RequestId: {ID} Version: $LATEST"),
        "start id=ID fn=f version=$LATEST",
    );
    check(
        Some("platform.runtimeDone"),
        &format!("END RequestId: {ID} Version: $LATEST"),
        "runtime_done id=ID fn=f version=$LATEST",
    );
    check(
        Some("platform.report"),
        &format!(
            "REPORT RequestId: {ID} Duration: 12.34 ms Billed Duration: 513 ms Memory Size: 512 MB Max Memory Used: 96 MB Init Duration: 500.12 ms"
        ),
        "report id=ID fn=f init=500.12 took=12.34 billed=513 size=512 used=96",
    );
    check(
        Some("platform.report"),
        &format!(
            "REPORT RequestId: {ID} Duration: 2.00 ms Billed Duration: 3 ms Memory Size: 128 MB Max Memory Used: 128 MB Status: failure Error Type: Runtime.OutOfMemory"
        ),
        "report id=ID fn=f took=2 billed=3 size=128 used=128 status=crash oom=record error=Runtime.OutOfMemory",
    );
    check(
        Some("platform.initStart"),
        "INIT_START Runtime Version: python:3.14.v9 Runtime Version ARN: arn:aws:lambda:eu-west-1::runtime:c41",
        "init_start fn=f",
    );
    check(
        Some("platform.initReport"),
        "INIT_REPORT Initialization Type: on-demand Phase: init Status: success Duration: 217.50 ms",
        "init_report fn=f type=on-demand phase=init init=217.5 status=ok",
    );
    // What the record lacked stands there as nothing.
    check(
        Some("platform.initReport"),
        "INIT_REPORT Initialization Type:  Phase: invoke Status:  Duration: 10.00 ms",
        "init_report fn=f phase=invoke init=10",
    );
    check(
        Some("platform.restoreStart"),
        "RESTORE_START Runtime Version: java:21.v1 Runtime Version ARN: arn:x",
        "restore_start fn=f type=snap-start",
    );
    check(
        Some("platform.restoreReport"),
        "RESTORE_REPORT Status: success Duration: 310.00 ms",
        "restore_report fn=f type=snap-start restore=310 status=ok",
    );
    check(
        Some("platform.logsDropped"),
        "LOGS_DROPPED DroppedRecords: 12 DroppedBytes: 3456 Reason: Some logs were dropped",
        "logs_dropped fn=f dropped=12",
    );
    check(Some("platform.extension"), "EXTENSION Name: otel State: Ready Events: [INVOKE]", "");
    check(Some("extension"), "REPORT RequestId: of somebody else", "");
}

#[test]
fn lines_of_the_log_group() {
    check(
        None,
        &format!(
            "REPORT RequestId: {ID}\tDuration: 3000.00 ms\tBilled Duration: 3403 ms\tMemory Size: 128 MB\tMax Memory Used: 73 MB\tInit Duration: 402.04 ms\tStatus: timeout\t\nXRAY TraceId: 1-5759e988-bd862e3fe1be46a994272793\tSegmentId: 53995c3f42cd8ad8\tSampled: true\t\n"
        ),
        "report id=ID fn=f init=402.04 took=3000 billed=3403 size=128 used=73 status=timeout root=ROOT segment=53995c3f42cd8ad8",
    );
    check(
        None,
        &format!(
            "REPORT RequestId: {ID}\tDuration: 49.80 ms\tBilled Duration: 50 ms\tMemory Size: 128 MB\tMax Memory Used: 9 MB\tStatus: error\tError Type: Runtime.ExitError\n"
        ),
        "report id=ID fn=f took=49.8 billed=50 size=128 used=9 status=error error=Runtime.ExitError",
    );
    check(
        None,
        &format!(
            "REPORT RequestId: {ID}\tDuration: 3000.00 ms\tBilled Duration: 3000 ms\tMemory Size: 128 MB\tMax Memory Used: 9 MB\tStatus: error\tError Type: Sandbox.Timedout\n"
        ),
        "report id=ID fn=f took=3000 billed=3000 size=128 used=9 status=timeout error=Sandbox.Timedout",
    );
    check(
        None,
        &format!(
            "REPORT RequestId: {ID}\tDuration: 12.34 ms\tBilled Duration: 320 ms\tMemory Size: 1024 MB\tMax Memory Used: 1024 MB\tRestore Duration: 271.58 ms\tBilled Restore Duration: 307 ms\n"
        ),
        "report id=ID fn=f restore=271.58 took=12.34 billed=320 size=1024 used=1024 oom=report",
    );
    check(
        None,
        "INIT_REPORT Init Duration: 150.79 ms\tPhase: init\tStatus: error\tError Type: Runtime.UserCodeSyntaxError\n",
        "init_report fn=f phase=init init=150.79 status=error error=Runtime.UserCodeSyntaxError",
    );
    check(None, &format!("START RequestId: {ID} Version: 7\n"), "start id=ID fn=f version=7");
}

#[test]
fn records_as_json() {
    let tracing = r#""tracing":{"spanId":"53995c3f42cd8ad8","type":"X-Amzn-Trace-Id","value":"Root=1-5759e988-bd862e3fe1be46a994272793;Parent=0000000000000001;Sampled=0"}"#;
    let report = format!(
        r#"{{"requestId":"{ID}","status":"success","metrics":{{"durationMs":12.34,"billedDurationMs":13,"memorySizeMB":512,"maxMemoryUsedMB":96,"restoreDurationMs":71.5}},{tracing}}}"#
    );
    let expected = "report id=ID fn=f restore=71.5 took=12.34 billed=13 size=512 used=96 status=ok root=ROOT segment=53995c3f42cd8ad8";
    check(Some("platform.report"), &report, expected);
    // The whole event, whatever carried it here.
    let event = format!(r#"{{"time":"2026-11-21T10:00:00.123Z","type":"platform.report","record":{report}}}"#);
    check(None, &event, expected);
    check(Some("function"), &event, expected);
    let fact = read(&Record { body: &event, ..Record::default() }).unwrap();
    assert_eq!(fact.time_ns, 1_795_255_200_123_000_000);
    check(
        Some("platform.start"),
        &format!(r#"{{"requestId":"{ID}","version":"7",{tracing}}}"#),
        "start id=ID fn=f version=7 root=ROOT segment=53995c3f42cd8ad8",
    );
    check(
        Some("platform.runtimeDone"),
        &format!(
            r#"{{"requestId":"{ID}","status":"failure","errorType":"Runtime.OutOfMemory","metrics":{{"durationMs":40.0,"producedBytes":64}}}}"#
        ),
        "runtime_done id=ID fn=f took=40 status=crash oom=record error=Runtime.OutOfMemory",
    );
    check(
        Some("platform.initStart"),
        r#"{"initializationType":"provisioned-concurrency","phase":"init","runtimeVersion":"nodejs:24.v7","functionName":"g","functionVersion":"7"}"#,
        "init_start fn=f version=7 type=provisioned-concurrency phase=init",
    );
    check(
        Some("platform.logsDropped"),
        r#"{"reason":"Consumer seems to have fallen behind","droppedRecords":123,"droppedBytes":12345}"#,
        "logs_dropped fn=f dropped=123",
    );
    check(Some("platform.telemetrySubscription"), r#"{"name":"otel","state":"Subscribed"}"#, "");
    check(Some("platform.report"), r#"{"requestId":"#, "");
}

#[test]
fn lines_of_the_functions_own() {
    check(Some("function"), "order 17 was paid", "");
    check(None, "the memory of a goldfish", "");
    check(
        Some("function"),
        &format!("2026-11-21T10:00:03.003Z {ID} Task timed out after 3.00 seconds\n"),
        "log id=ID fn=f status=timeout limit=3000",
    );
    check(
        Some("function"),
        &format!(r#"{{"message":"{ID} Task timed out after 2.00 seconds"}}"#),
        "log id=ID fn=f status=timeout limit=2000",
    );
    check(
        Some("function"),
        &format!("RequestId: {ID} Error: Task timed out after 15.00 seconds"),
        "log id=ID fn=f status=timeout limit=15000",
    );
    // Somebody's own words.
    check(Some("function"), "Task timed out after 3 seconds, trying again", "");
    for line in [
        "fatal error: runtime: out of memory",
        "Exception in thread \"main\" java.lang.OutOfMemoryError: Java heap space",
        "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
        "MemoryError",
        "[FATAL] failed to allocate memory (NoMemoryError)",
        "Unhandled exception. System.OutOfMemoryException: Array dimensions exceeded",
    ] {
        check(Some("function"), line, &format!("log fn=f oom=log message={line:?}"));
    }
    let killed = format!("RequestId: {ID} Error: Runtime exited with error: signal: killed");
    check(None, &killed, &format!("log id=ID fn=f status=crash oom=killed message={killed:?}"));
}

#[test]
fn errors_as_runtimes_write_them() {
    check(
        Some("function"),
        "[ERROR] KeyError: 'sku'\nTraceback (most recent call last):\n  File \"/var/task/app.py\", line 41, in handler\n",
        "log fn=f error=KeyError message=\"'sku'\"",
    );
    check(
        Some("function"),
        &format!(
            "2026-11-21T10:00:00.000Z\t{ID}\tERROR\tInvoke Error \t{{\"errorType\":\"TypeError\",\"errorMessage\":\"x is not a function\",\"stack\":[\"TypeError: x is not a function\",\"    at handler (/var/task/index.js:41:11)\"]}}\n"
        ),
        "log fn=f error=TypeError message=\"x is not a function\"",
    );
    check(
        Some("function"),
        r#"{"level":"ERROR","errorType":"ValueError","errorMessage":"no","stackTrace":["  File \"/var/task/app.py\", line 3, in handler"]}"#,
        "log fn=f error=ValueError message=\"no\"",
    );
    check(Some("function"), "[ERROR] something", "");
    check(Some("function"), "the \"errorType\" of it", "");
    let attributes = [
        ("exception.type", Value::Text("ValueError")),
        ("exception.message", Value::Text("no stock")),
        ("exception.stacktrace", Value::Text("Traceback (most recent call last):\n")),
    ];
    let fact = read(&Record { id: Some(ID), severity: 17, attributes: &attributes, ..Record::default() }).unwrap();
    assert_eq!(told(&fact), format!("log id={ID} fn=f error=ValueError message=\"no stock\""));
    assert!(fact.fingerprint.is_some());
    // No function, no invocation.
    assert_eq!(read(&Record { function: None, severity: 17, attributes: &attributes, ..Record::default() }), None);
}

#[test]
fn the_resource_says_the_rest() {
    let resource = [
        ("faas.name", Value::Text("orders")),
        ("faas.version", Value::Text("7")),
        ("faas.instance", Value::Text("2026/11/21/[7]ab")),
        ("faas.max_memory", Value::Text("128")),
        ("faas.invoked_provider", Value::Text("aws")),
        ("faas.invoked_region", Value::Text("eu-central-1")),
        ("host.arch", Value::Text("arm64")),
    ];
    let body = format!("START RequestId: {ID} Version: $LATEST");
    let record = Record { body: &body, event: Some("platform.start"), resource: &resource, ..Record::default() };
    assert_eq!(
        told(&read(&record).unwrap()),
        format!(
            "start id={ID} fn=f version=$LATEST in=2026/11/21/[7]ab region=eu-central-1 provider=aws size=128 arch=arm64"
        )
    );
}

proptest! {
    #[test]
    fn no_text_is_too_odd(
        body in "\\PC*|(REPORT RequestId: |INIT_REPORT |\\{\"type\":\"platform.report\",\"record\":)[ -~\\n\\t]{0,80}|[A-Za-z: ]{0,40}(Task timed out after|Duration|Status|emory|Phase:)[^a]{0,40}",
        event in prop::option::of(prop::sample::select(vec!["platform.report", "platform.initReport", "function", "x"])),
    ) {
        let _ = read(&Record { body: &body, event, severity: 17, ..Record::default() });
    }
}
