#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use serde_json::{Value, json};

use super::table::Column;
use super::*;

#[test]
fn durations_have_three_digits() {
    for (ns, text) in [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_234, "1.23 µs"),
        (12_345_678, "12.3 ms"),
        (999_999_999, "1000 ms"),
        (1_500_000_000, "1.50 s"),
        (61_000_000_000, "1 min 1 s"),
        (3_661_000_000_000, "1 h 1 min"),
        (-5_000, "-5.00 µs"),
    ] {
        assert_eq!(duration(ns), text);
    }
}

#[test]
fn counts_and_bytes() {
    assert_eq!(count(0), "0");
    assert_eq!(count(999), "999");
    assert_eq!(count(1_234_567), "1,234,567");
    assert_eq!(bytes(1023), "1023 B");
    assert_eq!(bytes(1536), "1.5 KiB");
}

#[test]
fn nothing_from_telemetry_moves_the_cursor() {
    assert_eq!(clean("a\x1b[31mb\nc\u{202e}d"), "a␛[31mb↵c\u{fffd}d");
    assert_eq!(clean("plain é 漢"), "plain é 漢");
}

#[test]
fn cuts_by_columns_not_by_characters() {
    assert_eq!(cut("abcdef", 6), "abcdef");
    assert_eq!(cut("abcdef", 4), "abc…");
    assert_eq!(cut("漢字漢字", 5), "漢字…");
    assert_eq!(cut("漢字漢字", 4), "漢…");
    assert_eq!(cut("abc", 0), "");
}

fn columns() -> Vec<Column> {
    vec![Column::text("service"), Column::number("spans"), Column::text("note")]
}

fn rows() -> Vec<Vec<String>> {
    [["cart", "12", "ok"], ["漢字", "1234", "two\nlines and rather more than fits"]]
        .map(|row| row.map(str::to_owned).to_vec())
        .to_vec()
}

#[test]
fn a_table_takes_the_width_it_needs() {
    let expected = " service │ spans │ note
─────────┼───────┼──────────────────────────────────
 cart    │    12 │ ok
 漢字    │  1234 │ two↵lines and rather more than fits
";
    let table = table::render(&columns(), &rows(), Style::plain(None));
    // The rule is as long as the widest cell, whatever that is.
    let without_rule = |text: &str| text.lines().filter(|l| !l.starts_with('─')).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(without_rule(&table), without_rule(expected));
}

#[test]
fn the_widest_column_of_a_table_gives_way() {
    let table = table::render(&columns(), &rows(), Style::plain(Some(40)));
    assert!(table.lines().all(|l| width(l) <= 40), "{table}");
    assert!(table.contains("12 │ ok") && table.contains('…'), "{table}");
}

#[test]
fn a_row_of_too_many_columns_is_shown_downwards() {
    let columns: Vec<_> = (0..30).map(|i| Column::text(&format!("column_{i}"))).collect();
    let row: Vec<_> = (0..30).map(|i| format!("value {i} {}", "x".repeat(100))).collect();
    let table = table::render(&columns, &[row], Style::plain(Some(60)));
    assert!(table.starts_with("─[ row 1 ]─"), "{table}");
    assert!(table.contains(" column_29 │ value 29 x"), "{table}");
    assert!(table.lines().all(|l| width(l) <= 60), "{table}");
}

fn span(id: &str, parent: &str, name: &str, start_ms: u64, end_ms: u64) -> Value {
    json!({
        "spanId": id, "parentSpanId": parent, "name": name, "kind": 2,
        "startTimeUnixNano": (start_ms * 1_000_000).to_string(), "endTimeUnixNano": (end_ms * 1_000_000).to_string(),
    })
}

fn trace(spans: &[Value]) -> Value {
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]});
    json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]})
}

fn waterfall(spans: &[Value], columns: usize) -> String {
    waterfall::render(
        "0af7651916cd43dd8448eb211c80319c",
        &waterfall::from_otlp(&trace(spans)),
        Style::plain(Some(columns)),
    )
}

#[test]
fn a_waterfall_shows_tree_times_and_errors() {
    let mut failed = span("03", "01", "charge", 50, 100);
    failed["status"] = json!({"code": 2, "message": "card\ndeclined"});
    let picture = waterfall(&[failed, span("02", "01", "reserve", 0, 50), span("01", "", "POST /orders", 0, 100)], 80);
    let lines: Vec<_> = picture.lines().collect();
    assert!(lines[0].starts_with("trace 0af7651916cd43dd8448eb211c80319c · 3 spans · 1 service · 100 ms · 1 error"));
    assert!(lines[2].starts_with(" POST /orders") && lines[2].contains("100 ms"), "{picture}");
    assert!(lines[3].starts_with(" ├─ reserve") && lines[3].contains("50.0 ms"), "{picture}");
    assert!(lines[4].starts_with(" └─ ✗ charge: card↵declined"), "{picture}");
    let bars: Vec<usize> = lines[2..].iter().map(|l| l.matches('█').count()).collect();
    assert!(bars[1].abs_diff(bars[0] / 2) <= 1 && bars[2].abs_diff(bars[0] / 2) <= 1, "{picture}");
}

#[test]
fn a_missing_parent_is_said() {
    let picture = waterfall(&[span("03", "99", "b", 5, 9), span("02", "99", "a", 0, 4), span("01", "", "c", 1, 2)], 80);
    assert!(picture.contains("incomplete: 1 parent missing"), "{picture}");
    let lines: Vec<_> = picture.lines().skip(2).map(|l| l.split("  ").next().unwrap().trim_end()).collect();
    assert_eq!(lines, [" ◌ span 99 has not arrived", " ├─ a", " └─ b", " c"], "{picture}");
}

fn of_service(service: &str, spans: &[Value]) -> Value {
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": service}}]});
    json!({"resource": resource, "scopeSpans": [{"spans": spans}]})
}

#[test]
fn halves_of_a_span_with_one_id_are_both_shown() {
    let with_kind = |mut span: Value, kind: u8| {
        span["kind"] = json!(kind);
        span
    };
    // The server's clock is ahead.
    let mut server = span("02", "01", "server-side", 5, 80);
    server["status"] = json!({"code": 2, "message": "no"});
    let client = with_kind(span("02", "01", "client-call", 10, 90), 3);
    let front = [span("01", "", "root", 0, 100), client.clone(), client, span("04", "02", "after the call", 30, 31)];
    let back = [server.clone(), span("03", "02", "work", 20, 70), server];
    let other = [span("05", "02", "elsewhere", 40, 41)];
    let resources = [of_service("front", &front), of_service("back", &back), of_service("other", &other)];
    let spans = waterfall::from_otlp(&json!({ "resourceSpans": resources }));
    let picture = waterfall::render("07", &spans, Style::plain(Some(110)));
    assert!(picture.starts_with("trace 07 · 6 spans · 3 services · 100 ms · 1 error\n"), "{picture}");
    let lines: Vec<_> = picture.lines().skip(2).map(|l| l.split("  back").next().unwrap()).collect();
    let names = lines.iter().map(|l| l.split("  front").next().unwrap().split("  other").next().unwrap().trim_end());
    let expected = [
        " root",
        " └─ client-call",
        "    ├─ ✗ server-side: no",
        "    │  ├─ work",
        "    │  └─ elsewhere",
        "    └─ after the call",
    ];
    assert_eq!(names.collect::<Vec<_>>(), expected, "{picture}");
    // Two that are each other's parent, because the id is also that of the parent, are no reason to stop.
    let client = with_kind(span("02", "02", "client", 0, 5), 3);
    let picture = waterfall(&[client, span("02", "02", "server", 1, 2)], 110);
    assert!(picture.contains("client (its own ancestor)") && picture.contains(" └─ server"), "{picture}");
}

#[test]
fn nothing_is_cut_where_there_is_no_terminal() {
    let long = |what: &str| format!("{what} {}end", "x".repeat(500));
    let mut failed = span("0000000000000002", "00000000000000aa", &long("name"), 0, 5);
    failed["status"] = json!({"code": 2, "message": long("message")});
    let spans = [failed, span("01", "", "short", 0, 10)];
    let trace = json!({ "resourceSpans": [of_service(&long("service"), &spans)] });
    let picture = waterfall::render("07", &waterfall::from_otlp(&trace), Style::plain(None));
    for what in [long("name"), long("message"), long("service"), "◌ span 00000000000000aa has not arrived".to_owned()]
    {
        assert!(picture.contains(&what), "{picture}");
    }
    assert!(!picture.contains('…') && picture.contains("█"), "{picture}");
    let short = picture.lines().last().unwrap();
    assert!(width(short) > 500 && short.starts_with(" short   "), "what is long does not widen other lines: {short}");
}

#[test]
fn a_circle_and_a_span_that_is_its_own_parent_are_shown_once() {
    let picture =
        waterfall(&[span("01", "02", "a", 0, 1), span("02", "01", "b", 1, 2), span("03", "03", "c", 2, 3)], 110);
    assert_eq!(picture.lines().count(), 5, "{picture}");
    assert_eq!(picture.matches("its own ancestor").count(), 2, "{picture}");
}

#[test]
fn no_trace_is_too_deep_or_too_narrow() {
    let spans: Vec<_> =
        (1..20_000u64).map(|i| span(&format!("{i:x}"), &format!("{:x}", i - 1), "s", i, i + 5)).collect();
    for columns in [1, 20, 60, 200] {
        let picture = waterfall(&spans, columns);
        assert_eq!(picture.lines().filter(|l| l.contains("5.00 ms")).count(), 19_999);
    }
    assert!(waterfall(&[], 80).contains("0 spans"));
}

#[test]
fn times_are_rfc_3339() {
    let after = |ms| std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms);
    assert_eq!(utc(after(0)), "1970-01-01T00:00:00.000Z");
    assert_eq!(utc(after(951_782_400_001)), "2000-02-29T00:00:00.001Z");
    assert_eq!(utc(after(1_769_860_799_999)), "2026-01-31T11:59:59.999Z");
}
