//! What the hosts of Azure and Google write.

use super::logs::{Record, read};
use super::merging::lines;
use super::*;
use crate::span::Value;

const ID: &str = "684ff9b9-43cd-4390-893d-5ffbc23bc4b5";

#[track_caller]
fn check(body: &str, expected: &str) {
    let found = read(&Record { body: &body.replace("ID", ID), function: None, id: Some("x1"), ..Record::default() });
    assert_eq!(found.as_ref().map(told).unwrap_or_default().replace(ID, "ID"), expected, "{body}");
}

#[test]
fn lines_of_the_azure_host() {
    check(
        "Executing 'Functions.resize' (Reason='New queue message detected on 'orders'.', Id=ID)",
        "start id=ID fn=resize provider=azure",
    );
    check(
        "Executed 'Functions.resize' (Succeeded, Id=ID, Duration=596ms)",
        "runtime_done id=ID fn=resize provider=azure took=596 status=ok",
    );
    check(
        "Executed 'Functions.resize' (Failed, Id=ID, Duration=12ms)",
        "runtime_done id=ID fn=resize provider=azure took=12 status=error",
    );
    // Before 2020 there was no duration.
    check("Executed 'resize' (Succeeded, Id=ID)", "runtime_done id=ID fn=resize provider=azure status=ok");
    check(
        "Timeout value of 00:05:00 exceeded by function 'Functions.resize' (Id: 'ID'). Initiating cancellation.",
        "log id=ID fn=resize provider=azure status=timeout limit=300000",
    );
    check(
        "Timeout value of 1.00:00:00.5000000 exceeded by function 'Functions.resize' (Id: 'ID').",
        "log id=ID fn=resize provider=azure status=timeout limit=86400500",
    );
    check("Executing 'the plan'", "");
    check("Executed 'Functions.resize'", "");
    check("Timeout value of something", "");
    // The resource's name is that of the spans.
    let body = format!("Executed 'Functions.resize' (Succeeded, Id={ID}, Duration=5ms)");
    let fact = read(&Record { body: &body, function: Some("shop/resize"), ..Record::default() }).unwrap();
    assert_eq!(fact.function.as_deref(), Some("shop/resize"));
    // And a record of the worker that names the invocation by a scope's name.
    let attributes =
        [("AzureFunctions_InvocationId", Value::Text(ID)), ("exception.type", Value::Text("System.ArgumentException"))];
    let fact = read(&Record { body: "no", severity: 17, attributes: &attributes, ..Record::default() }).unwrap();
    assert_eq!(told(&fact), format!("log id={ID} fn=f error=System.ArgumentException"));
}

#[test]
fn lines_of_google_functions() {
    check("Function execution started", "start id=x1 provider=gcp");
    check(
        "Function execution took 341 ms, finished with status code: 200",
        "runtime_done id=x1 provider=gcp took=341 status=ok http=200",
    );
    check(
        "Function execution took 3 ms, finished with status code: 404",
        "runtime_done id=x1 provider=gcp took=3 status=ok http=404",
    );
    check(
        "Function execution took 3 ms, finished with status code: 503",
        "runtime_done id=x1 provider=gcp took=3 status=error http=503",
    );
    for (word, expected) in [
        ("ok", "status=ok"),
        ("error", "status=error"),
        ("crash", "status=crash"),
        ("out of memory", "status=crash oom=record"),
        ("timeout", "status=timeout limit=540001"),
        ("connection error", "status=error error=connection error"),
    ] {
        let line = format!("Function execution took 540001 ms, finished with status: '{word}'");
        check(&line, &format!("runtime_done id=x1 provider=gcp took=540001 {expected}"));
    }
    check(
        "Memory limit of 256 MiB exceeded with 260 MiB used. Consider increasing the memory limit.",
        "log id=x1 provider=gcp size=256 used=260 status=crash oom=record",
    );
    check(
        "The request has been terminated because it has reached the maximum request timeout. To change this limit, see …",
        "log id=x1 provider=gcp status=timeout",
    );
    check("Function execution took long", "");
    check("Memory limit of the mind exceeded", "");
    check("The request has been served", "");
    // The id as a label, and somebody's own words where nothing says that it is a function.
    let attributes = [("execution_id", Value::Text("z8gu6up9lfet"))];
    let body = "Function execution started";
    let fact = read(&Record { body, attributes: &attributes, ..Record::default() }).unwrap();
    assert_eq!(told(&fact), "start id=z8gu6up9lfet fn=f provider=gcp");
    assert_eq!(read(&Record { body, function: None, ..Record::default() }), None);
}

#[test]
fn a_trigger_without_spans_is_an_invocation() {
    let record = |body: &str, time_ns: i64| {
        let body = body.replace("ID", ID);
        Fact { time_ns, ..read(&Record { body: &body, function: None, ..Record::default() }).unwrap() }
    };
    let facts = [
        record("Executing 'Functions.thumbs' (Reason='New blob detected', Id=ID)", 0),
        record("Executed 'Functions.thumbs' (Failed, Id=ID, Duration=250ms)", 251 * MS),
    ];
    let merged = merge(&facts, &Rules::default());
    let expected = format!("{ID}#1 0+250 error spanless");
    assert_eq!(lines(&merged), expected);
    // Not lost: there is no bill.
    assert_eq!(merged.invocations[0].provider, Some(Provider::Azure));
    // A time-out is one, whatever the host says of the end.
    let late = record("Timeout value of 00:00:10 exceeded by function 'Functions.thumbs' (Id: 'ID').", 250 * MS);
    let merged = merge(facts.iter().chain([&late]), &Rules::default());
    assert_eq!(lines(&merged), format!("{ID}#1 0+250 timeout late spanless"));
    assert_eq!(merged.invocations[0].cause.as_deref(), Some("timed out after 10.00 s"));
}

#[test]
fn a_record_of_cloud_run_finds_its_invocation_by_the_trace() {
    let trace = Some(TraceId(7u128.to_be_bytes()));
    let mut all = facts("0 span took=900 status=ok trace=7 span=1 in=i\n5 span took=900 status=ok trace=8 span=2 in=i");
    let body = "Memory limit of 512 MiB exceeded with 518 MiB used.";
    let oom = read(&Record { body, trace, ..Record::default() }).unwrap();
    all.push(Fact { time_ns: 800 * MS, ..oom });
    for fact in &mut all {
        fact.status = fact.status.filter(|s| *s != Status::Ok || fact.trace_id != trace);
    }
    let merged = merge(&all, &Rules::default());
    assert_eq!(lines(&merged), "0000000000000001#1 0+900 oom oom\n0000000000000002#1 5+900 ok");
    assert_eq!(
        (merged.invocations[0].memory_size, merged.invocations[0].memory_used),
        (Some(512 << 20), Some(518 << 20))
    );
    assert_eq!(merged.unplaced, 0);
}
