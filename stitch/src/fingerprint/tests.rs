#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

type Error<'a> = (&'a str, &'a str, &'a str);

fn print((kind, message, stack): Error<'_>) -> u64 {
    of(kind, message, stack)
}

#[track_caller]
fn same(a: Error<'_>, b: Error<'_>) {
    assert_eq!(print(a), print(b), "{a:?} {b:?}");
}

#[track_caller]
fn differ(a: Error<'_>, b: Error<'_>) {
    assert_ne!(print(a), print(b), "{a:?} {b:?}");
}

#[test]
fn what_differs_from_case_to_case_does_not_count() {
    let message = |text| ("OrderError", text, "");
    same(message("order 17 has no stock"), message("order 4711 has no stock"));
    same(
        message("request 1f60b20c-8ed7-41ed-9945-08dcafcc74ee failed after 3.25 s"),
        message("request 00000000-8ed7-41ed-9945-0123456789ab failed after 12 s"),
    );
    same(message("object at 0x7f3a9c0011d0"), message("object at 0x55d2"));
    same(message("no such key deadbeef"), message("no such key cafebabe"));
    same(message("mail to ann@shop.example bounced"), message("mail to bob@shop.example bounced"));
    same(message("skus 1, 2, 3 are gone"), message("skus 9 are gone"));
    same(message("connect 10.0.0.7:5432 refused"), message("connect 10.20.1.9:5433 refused"));
    same(message("first line\nsecond 1"), message("first line\nother"));
}

#[test]
fn what_is_another_error_differs() {
    differ(("KeyError", "'sku'", ""), ("KeyError", "'price'", ""));
    differ(("KeyError", "'sku'", ""), ("ValueError", "'sku'", ""));
    differ(("E", "no stock", ""), ("E", "no payment", ""));
    differ(("E", "don't panic", ""), ("E", "do not panic", ""));
    differ(("E", "", ""), ("", "E", ""));
}

fn python(line: u32, function: &str, library_line: u32) -> String {
    format!(
        "Traceback (most recent call last):\n  File \"/var/runtime/bootstrap.py\", line {library_line}, in handle\n    x\n  File \"/var/task/app.py\", line {line}, in {function}\n    raise\n  File \"/var/task/lib/site-packages/boto3/client.py\", line {library_line}, in call\nValueError: no\n"
    )
}

#[test]
fn frames_in_python() {
    let [one, edited, other] = [python(41, "handler", 7), python(44, "handler", 9), python(41, "pay", 7)];
    same(("ValueError", "no", &one), ("ValueError", "no", &edited));
    differ(("ValueError", "no", &one), ("ValueError", "no", &other));
    assert_eq!(frames::of(&python(41, "handler", 7)), ["handler@app.py"]);
    let chained = format!(
        "{}\nDuring handling of the above exception, another exception occurred:\n\n{}",
        python(1, "inner", 1),
        python(2, "outer", 2)
    );
    assert_eq!(frames::of(&chained), ["outer@app.py"]);
}

#[test]
fn frames_in_node() {
    let stack = "TypeError: x\n    at pay (/var/task/pay.js:41:11)\n    at async Object.handler (file:///var/task/index.mjs:7:3)\n    at /var/task/other.js:1:2\n    at Runtime.handleOnce (file:///var/runtime/index.mjs:1306:29)\n    at process.processTicksAndRejections (node:internal/process/task_queues:95:5)\n    at next (/var/task/node_modules/x/y.js:1:1)";
    assert_eq!(frames::of(stack), ["pay@pay.js", "Object.handler@index.mjs", "@other.js"]);
    let foreign = "Error: x\n    at Runtime.handleOnce (file:///var/runtime/index.mjs:1306:29)";
    assert_eq!(frames::of(foreign), ["Runtime.handleOnce@index.mjs"]);
}

#[test]
fn frames_in_java() {
    let stack = "com.shop.NoStock: no\n\tat com.shop.Ledger.lambda$run$0(Ledger.java:28)\n\tat com.shop.Ledger.run(Ledger.java:21)\n\tat java.base/java.util.ArrayList.forEach(ArrayList.java:1596)\n\tat java.util.Optional.map(Optional.java:260)\nCaused by: java.io.IOException: x\n\tat com.shop.Other.read(Other.java:3)\n";
    let frames = frames::of(stack);
    assert_eq!(frames.first().map(String::as_str), Some("com.shop.Ledger.lambda$run$@Ledger.java"));
    assert!(!frames.iter().any(|f| f.contains("Other") || f.contains("Optional")), "{frames:?}");
}

#[test]
fn frames_in_dotnet() {
    let stack = "System.InvalidOperationException: no\n   at Shop.Ledger.Run(ServiceBusReceivedMessage message) in /src/Ledger.cs:line 28\n   at Shop.Ledger.<Run>d__5.MoveNext()\n   at System.Threading.Tasks.Task.Wait()\n--- End of stack trace from previous location ---";
    assert_eq!(frames::of(stack), ["Shop.Ledger.Run@Ledger.cs", "Shop.Ledger.<Run>d__.MoveNext@"]);
}

#[test]
fn frames_in_go() {
    let stack = "panic: no\n\ngoroutine 1 [running]:\nmain.pay(0xc000012345, 0x3)\n\t/src/pay.go:41 +0x1d\nmain.handler({0x0, 0x0})\n\t/src/main.go:12 +0x2f\ngithub.com/aws/aws-lambda-go/lambda.reflectHandler.func2()\n\t/root/go/pkg/mod/github.com/aws/aws-lambda-go@v1/lambda/handler.go:283 +0x4\n";
    assert_eq!(frames::of(stack), ["main.pay@pay.go", "main.handler@main.go"]);
}

#[test]
fn with_frames_what_is_quoted_does_not_count() {
    let stack = python(41, "handler", 7);
    same(("KeyError", "user 'ann' is not known", &stack), ("KeyError", "user 'bob' is not known", &stack));
    differ(("KeyError", "user 'ann' is not known", &stack), ("KeyError", "user 'ann' is locked", &stack));
}

#[test]
fn a_function_that_calls_itself_is_one_frame() {
    let deep = |times: usize| {
        format!(
            "RangeError: x\n{}    at handler (/var/task/index.js:1:1)\n",
            "    at walk (/var/task/tree.js:3:9)\n".repeat(times)
        )
    };
    same(("RangeError", "x", &deep(3)), ("RangeError", "x", &deep(400)));
}

#[test]
fn as_text() {
    let fingerprint = of("KeyError", "'sku'", "");
    assert_eq!(from_text(&to_text(fingerprint)), Some(fingerprint));
    assert_eq!([from_text(""), from_text("+123456789abcdef"), from_text("zzzzzzzzzzzzzzzz")], [None; 3]);
    // Stored: it must not change unless the version does.
    assert_eq!(to_text(of("ValueError", "no stock for 7", &python(41, "handler", 7))), "3f8c163c20e286a5");
}

proptest! {
    #[test]
    fn no_text_is_too_odd(kind in "\\PC{0,20}", message in "\\PC{0,300}", stack in "(\\PC{0,40}|    at |\t|File \"|\\(|:|\\.go:|\n){0,30}") {
        prop_assert_eq!(of(&kind, &message, &stack), of(&kind, &message, &stack));
    }

    #[test]
    fn numbers_never_count(a in any::<u64>(), b in any::<u64>()) {
        let message = |n: u64| format!("order {n} of customer c-{n:x}0 is not there");
        prop_assert_eq!(of("E", &message(a), ""), of("E", &message(b), ""));
    }
}
