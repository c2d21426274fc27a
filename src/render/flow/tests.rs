#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use serde_json::{Value, json};

use super::*;

/// A flow of these rows, one a line: `depth kind service start duration name words…`, times in milliseconds. A line
/// stands below the last one that is less deep. Words: `try=N`, `at=DESTINATION`, `x=CAUSE` (with `_` for blanks), and
/// marks of rows.
fn flow(script: &str) -> Value {
    let mut above: Vec<i64> = Vec::new();
    let mut rows = Vec::new();
    for (number, line) in script.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let depth: usize = words[0].parse().unwrap();
        let ms = |text: &str| (text.parse::<f64>().unwrap() * 1e6) as i64;
        above.truncate(depth);
        let (service, function) = words[2].split_once('/').unwrap_or((words[2], words[2]));
        let mut row = json!({
            "row": "span", "parent_row": above.last().copied().unwrap_or(-1), "depth": depth, "start": ms(words[3]),
            "duration": ms(words[4]), "service": service, "function": function, "name": words[5].replace('_', " "),
            "kind": words[1].to_uppercase(), "status": "UNSET", "flags": 0, "trace_id": format!("t{number}"),
            "span_id": format!("s{number}"),
        });
        let mut flags = 0;
        if words[1] == "hop" {
            (row["row"], row["hop"], row["certainty"]) = (json!("hop"), json!(words[5]), json!("exact"));
            row["kind"] = Value::Null;
        }
        for word in &words[6..] {
            match word.split_once('=').unwrap_or((word, "")) {
                ("error", _) => row["status"] = json!("ERROR"),
                ("cold", _) => flags |= COLD_START,
                ("orphan", _) => flags |= MISSING_PARENT,
                ("dead", _) => flags |= DEAD_LETTER,
                ("try", n) => (flags, row["attempt"]) = (flags | RETRY, json!(n.parse::<u32>().unwrap())),
                ("at", destination) => row["destination"] = json!(destination),
                ("x", cause) => {
                    (flags, row["row"], row["cause"]) =
                        (flags | UNFINISHED, json!("invocation"), json!(cause.replace('_', " ")));
                }
                (certainty, _) => row["certainty"] = json!(certainty),
            }
        }
        row["flags"] = json!(flags);
        above.push(number as i64);
        rows.push(row);
    }
    let end = |row: &Value| row["start"].as_i64().unwrap() + row["duration"].as_i64().unwrap();
    json!({
        "traces": [{"spans": rows.len(), "errors": 0}], "edges": [], "shapes": [], "start_time": "2026-11-21T10:00:00.5Z",
        "duration_ns": rows.iter().map(end).max().unwrap_or(0), "rows": rows,
    })
}

fn draw(flow: &Value, columns: usize) -> String {
    draw_with(flow, &[], columns)
}

fn draw_with(flow: &Value, messages: &[(usize, &str)], columns: usize) -> String {
    let place = |n: usize| (format!("t{n}"), format!("s{n}"));
    let messages = messages.iter().map(|(row, text)| (place(*row), (*text).to_owned())).collect();
    render(flow, &messages, Style::plain((columns > 0).then_some(columns)))
}

/// An order whose worker fails twice; one message of it nobody receives, and one function runs out of time.
const ORDER: &str = "
    0 client   web           0   40   POST
    1 server   api           5   30   api cold
    2 producer api           10  10   orders_send
    3 hop      api           20  100  sqs at=orders
    4 server   worker        120 50   worker error
    5 consumer worker        121 49   process_orders error
    3 hop      api           20  400  sqs at=orders try=2
    4 server   worker        420 30   worker
    5 producer worker        425 5    priced_send
    5 client   worker        432 5    Lambda.Invoke
    6 hop      worker        437 13   lambda.invoke inferred
    7 none     thumbs        450 550  thumbs error x=timed_out_after_0.55_s
    8 client   thumbs        455 20   S3.GetObject
    3 hop      api           20  680  sqs at=orders-dlq dead
    4 server   shop/rescue   700 10   handle
";

fn order() -> Value {
    let mut flow = flow(ORDER);
    let step = |row: usize, ms: i64, wait: bool| json!({"trace_id": format!("t{row}"), "span_id": format!("s{row}"), "duration_ns": ms * 1_000_000, "wait": wait});
    flow["traces"] = json!([{"spans": 6, "errors": 2}, {"spans": 5, "errors": 0}]);
    flow["edges"] = json!([{"hop": "lambda.invoke", "to": {"trace_id": "t10", "span_id": "s10"}, "candidates": 3}]);
    flow["shapes"] = json!(["retries", "dead_letter"]);
    let mut lost = step(11, 530, false);
    lost["invocation_id"] = json!("r9");
    flow["critical_path"] = json!([
        step(0, 5, false),
        step(1, 5, false),
        step(2, 10, false),
        step(7, 400, true),
        step(7, 12, false),
        step(9, 5, false),
        lost
    ]);
    flow["missing"] = json!({
        "sent": [{"hop": "sns", "destination": "priced", "key": "sns:n1", "end": {"trace_id": "t8", "span_id": "s8", "function": "worker"}}],
        "received": [], "parents": 1,
    });
    flow["unfinished"] = json!([{
        "invocation_id": "r9", "attempt": 1, "function": "thumbs", "outcome": "timeout", "cause": "timed out after 0.55 s",
        "spans": [{"trace_id": "t12", "span_id": "s12"}],
    }]);
    let cut = json!({"reason": "batch", "traces": ["ab"], "traces_count": 1});
    flow["cuts"] = json!([cut, cut]);
    flow
}

const DRAWN: &str = "\
flow of 2 traces · 11 spans · 1 edge · 1.00 s · retries, dead letter ·
 2 errors · 1 invocation never finished · from 2026-11-21 10:00:00 UTC
                                                                   0      1.00 s
┃POST                                     web             40.0 ms  █
┃└ api ❄                                  api             30.0 ms  ▏
┃  └ orders send →                        api             10.0 ms  ▏
     ├ ⇢ sqs orders                       waited           100 ms  ┄
     │ └ ✗ worker: ValueError: no         worker          50.0 ms   █
     │   └ ✗ process orders ←             worker          49.0 ms   █
┃    ├ ⇢ sqs orders, try 2                waited           400 ms  ┄┄┄┄┄
┃    │ └ worker                           worker          30.0 ms       ▏
     │   ├ priced send → ◌                worker          5.00 ms       ▏
┃    │   └ Lambda.Invoke                  worker          5.00 ms       ▏
┃    │     └ ≈ lambda.invoke, one of 3    waited          13.0 ms       ▏
┃    │       └ ✗ ◌ thumbs: timed out af…  thumbs           550 ms       ▒▒▒▒▒▒▒
     │         └ S3.GetObject             thumbs          20.0 ms       ▏
     └ ⇢ sqs orders-dlq, dead letter      waited           680 ms  ┄┄┄┄┄┄┄┄┄
       └ handle                           shop/rescue     10.0 ms           ▏
 where the time went, of 1.00 s:
        530 ms  53 %  thumbs
        400 ms  40 %  waiting: sqs orders, try 2
       33.0 ms   3 %  told by no span
       12.0 ms   1 %  worker
       10.0 ms   1 %  orders send of api
 ✗ worker: ValueError: no, trace t4
 ◌ thumbs: timed out after 0.55 s; its span never came, only 1 span below it
   did, invocation r9
 ◌ sns priced sns:n1 of worker: sent, and nobody was seen receiving it
 ✂ 1 trace not followed, the other messages of a batch are of other stories: ab
 ┃ where the time went  ✗ failed  ◌ something never came  ❄ cold start
 ⇢ a hop, and how long it waited  ≈ a hop inferred from time and place
";

#[test]
fn an_order_at_eighty_columns() {
    let drawn = draw_with(&order(), &[(4, "ValueError: no"), (5, "ValueError: no")], 80);
    assert_eq!(drawn, DRAWN, "\n{drawn}");
}

#[test]
fn a_narrow_terminal_has_no_column_of_services() {
    let drawn = draw(&order(), 60);
    let lines: Vec<&str> = drawn.lines().collect();
    let has = |start: &str| assert!(lines.iter().any(|line| line.starts_with(start)), "{start}\n{drawn}");
    // Where it runs stands where it changes, unless the name says it.
    has("┃POST (web)");
    has("┃└ api ❄ ");
    has("┃ └ orders send → ");
    has("    └ handle (shop/rescue)");
}

#[test]
fn nothing_is_cut_in_a_pipe() {
    let long = "x".repeat(300);
    let drawn = draw_with(&order(), &[(4, &long)], 0);
    assert!(
        !drawn.contains('…')
            && drawn.contains("orders-dlq, dead letter  ")
            && drawn.contains(&format!("   │  └─ ✗ worker: {long}  worker ")),
        "{drawn}"
    );
    assert!(drawn.contains("✗ ◌ thumbs: timed out after 0.55 s  "), "{drawn}");
}

#[test]
fn a_failure_is_told_once() {
    let failed = flow(
        "0 server a 0 9 a error
         1 client a 1 8 POST error
         2 server b 2 7 b error
         3 client b 3 6 PUT error
         1 client a 8 1 again error",
    );
    let told = |messages: &[(usize, &str)]| -> Vec<String> {
        let drawn = draw_with(&failed, messages, 100);
        drawn.lines().filter(|line| line.starts_with(" ✗") && line.contains(", trace t")).map(str::to_owned).collect()
    };
    // What is handed up is told where it is first met; who says nothing is told if nobody else says something.
    let messages = [(0, "no"), (1, "no"), (2, "db"), (4, "gone")];
    assert_eq!(told(&messages), [" ✗ a: no, trace t0", " ✗ b: db, trace t2", " ✗ again of a: gone, trace t4"]);
    assert_eq!(told(&[]), [" ✗ PUT of b failed, trace t3", " ✗ again of a failed, trace t4"]);
    let many: String = (0..14).map(|n| format!("0 server a {n} 1 f{} error\n", n % 12)).collect();
    let drawn = draw(&flow(&many), 80);
    assert!(
        drawn.contains(" ✗ f0 of a failed (2 times), trace t0\n") && drawn.contains(" ✗ 2 further failures\n"),
        "{drawn}"
    );
}

#[test]
fn what_is_missing_is_told() {
    let mut flow = flow("0 server a 0 9 a orphan\n0 server b 3 1 b xray");
    let half = |n: usize| json!({"hop": "sqs", "key": format!("sqs:{n}"), "end": {"trace_id": "t0", "span_id": "s0", "service": "a"}});
    flow["missing"] = json!({"sent": [], "received": (0..12).map(half).collect::<Vec<_>>()});
    let cut =
        |reason: &str, count: usize| json!({"reason": reason, "traces": ["a", "b", "c", "d"], "traces_count": count});
    flow["cuts"] = json!([cut("xray_root", 40), cut("depth", 4), cut("something_new", 4), {"reason": "time", "traces": [], "traces_count": 7}]);
    flow["unfinished"] = json!([{"invocation_id": "r7", "attempt": 2, "cause": "ran out of memory", "spans": []}]);
    let drawn = draw(&flow, 120);
    for note in [
        " ◌ sqs sqs:9 of a: received, sender unknown\n",
        " ◌ 2 more messages received, sender unknown\n",
        " ◌ 1 span whose parent has not arrived\n",
        " ◌ an invocation, try 2: ran out of memory; its span never came, invocation r7\n",
        " ✂ 40 traces not followed, too many invocations share an X-Ray root: a, b, c, …\n",
        " ✂ 4 traces not followed, it is too many hops away: a, b, c, …\n",
        " ✂ 4 traces not followed, a limit was reached: a, b, c, …\n",
        " ✂ 7 traces not followed, it is too long before or after\n",
    ] {
        assert!(drawn.contains(note), "{note}{drawn}");
    }
    assert!(drawn.contains("\n ◌ a ◌ ") && !drawn.contains("sqs:10"), "{drawn}");
}

/// Two messages that one invocation received together, and a third that another story sent.
#[test]
fn a_hop_names_a_receiver_that_stands_elsewhere() {
    let script = "
        0 server   web    0  9   web
        1 producer web    1  1   first
        2 hop      web    2  20  sqs at=orders
        3 server   bills/worker 22 10  process
        1 producer web    3  1   second
        2 hop      web    4  18  sqs at=orders try=2
        1 producer web    5  1   third
        2 hop      web    6  18  sns at=priced
        1 producer web    7  1   fourth
        2 hop      web    8  18  sqs at=late
    ";
    let mut flow = flow(script);
    // It receives what stands above it, and further down.
    for row in [2, 5] {
        (flow["rows"][row]["trace_id"], flow["rows"][row]["span_id"]) = (json!("t3"), json!("0123456789abcdef"));
    }
    flow["rows"][3]["span_id"] = json!("0123456789abcdef");
    (flow["rows"][9]["trace_id"], flow["rows"][9]["span_id"]) = (json!("t9"), json!("s9"));
    // A limit left out what stands below; and who received is in no row.
    flow["rows"][7]["children"] = json!(1);
    let end = |trace: &str, span: &str, function: &str| json!({"trace_id": trace, "span_id": span, "function": function, "service": "s"});
    flow["traces"] = json!([{"trace_id": "t0", "spans": 5}, {"trace_id": "t3", "spans": 1}]);
    flow["edges"] = json!([
        {"hop": "sqs", "from": end("t0", "s1", "web"), "to": end("t3", "0123456789abcdef", "worker")},
        {"hop": "sqs", "from": end("t0", "s4", "web"), "to": end("t3", "0123456789abcdef", "worker")},
        {"hop": "sqs", "from": end("other", "s4", "web"), "to": end("t3", "0123456789abcdef", "worker")},
        {"hop": "sqs", "from": end("t0", "s8", "web"), "to": end("t9", "s9", "rescue")},
    ]);
    let drawn = draw(&flow, 120);
    for line in [
        "flow of 2 traces · 6 spans · 3 edges · ",
        " ⇢ sqs orders  ",
        " ⇢ sqs orders, try 2, to worker (span 01234567) ",
        " ⇢ sns priced   ",
        " ⇢ sqs late, to rescue (span s9) ",
    ] {
        assert!(drawn.contains(line), "{line}\n{drawn}");
    }
    assert_eq!(drawn.matches(", to ").count(), 2, "{drawn}");
    // Nothing of it moves the cursor.
    flow["rows"][5]["span_id"] = json!("\u{1b}[2J");
    flow["edges"][0]["to"] = end("t3", "\u{1b}[2J", "a\u{1b}[2J");
    let drawn = draw(&flow, 0);
    assert!(!drawn.contains(|c| c != '\n' && super::super::is_control(c)), "{drawn:?}");
}

#[test]
fn each_certainty_has_its_mark() {
    for (certainty, mark) in [("exact", "⇢"), ("xray", "⌁"), ("inferred", "≈")] {
        let flow = flow(&format!("0 producer a 0 1 send\n1 hop a 1 5 sns {certainty} at=topic\n2 server b 6 1 b"));
        let drawn = draw(&flow, 80);
        assert!(drawn.contains(&format!(" └─ {mark} sns topic ")), "{drawn}");
        assert!(drawn.lines().last().unwrap().starts_with(&format!(" {mark} a hop")), "{drawn}");
    }
}

#[test]
fn a_deep_flow_stays_readable() {
    let deep: String = (0..60).map(|n| format!("{n} server f{n} {n} 100 f{n}\n")).collect();
    for columns in [40, 60, 80, 120, 200] {
        let drawn = draw(&flow(&deep), columns);
        for n in 0..60 {
            assert!(drawn.lines().any(|line| line.contains(&format!(" f{n} "))), "f{n} at {columns}\n{drawn}");
        }
        assert!(drawn.lines().all(|line| width(line) <= columns), "{columns}\n{drawn}");
    }
}

#[test]
fn nothing_in_a_flow_moves_the_cursor() {
    let mut flow = order();
    let bad = "a\u{1b}[2J\nb\u{202e}";
    for (pointer, text) in [
        ("/rows/0/name", bad),
        ("/rows/0/service", bad),
        ("/rows/3/destination", bad),
        ("/rows/3/hop", bad),
        ("/rows/11/cause", bad),
        ("/rows/4/trace_id", bad),
        ("/unfinished/0/cause", bad),
        ("/unfinished/0/function", bad),
        ("/unfinished/0/invocation_id", bad),
        ("/missing/sent/0/key", bad),
        ("/missing/sent/0/end/function", bad),
        ("/cuts/0/traces/0", bad),
        ("/start_time", bad),
        ("/shapes/0", bad),
    ] {
        *flow.pointer_mut(pointer).unwrap() = json!(text);
    }
    for columns in [0, 50, 80] {
        let drawn = draw_with(&flow, &[(5, bad)], columns);
        assert!(!drawn.contains(|c| c != '\n' && super::super::is_control(c)), "{drawn:?}");
    }
}

#[test]
fn what_is_no_flow_is_drawn_as_far_as_it_goes() {
    let head = "flow of 0 traces · 0 spans · 0 edges · 1 ns\n";
    for value in
        [json!(null), json!([]), json!({}), json!({"rows": [1, "x", null], "edges": 5, "missing": [], "cuts": {}})]
    {
        assert_eq!(draw(&value, 80), head, "{value}");
    }
    let odd = json!({"rows": [{"parent_row": 7}, {"parent_row": 1}, {"parent_row": -3, "duration": i64::MIN, "start": i64::MAX}], "duration_ns": -5});
    for columns in [0, 1, 20, 80] {
        assert!(draw(&odd, columns).lines().count() >= 4);
    }
}

proptest::proptest! {
    #[test]
    fn no_line_is_wider_than_the_terminal(
        shape in proptest::collection::vec((0..14_usize, 0..4_usize, "[a-z漢]{1,40}", 0..1_000_u32, 0..1_000_u32), 1..30),
        columns in 40..160_usize,
    ) {
        let mut depth = 0;
        let mut script = String::new();
        for (deeper, kind, name, start, long) in shape {
            depth = if script.is_empty() { 0 } else { deeper.min(depth + 1) };
            let kind = ["server", "hop", "producer", "client"][kind];
            script += &format!("{depth} {kind} {name} {start} {long} {name}\n");
        }
        let drawn = draw(&flow(&script), columns);
        proptest::prop_assert!(drawn.lines().all(|line| width(line) <= columns), "{}", drawn);
    }
}
