#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use super::*;

const DAY: i64 = NANOS_PER_DAY;
/// 2026-01-01
const NOW: i64 = 20_454 * DAY;

fn usage() -> Usage<'static> {
    Usage {
        provider: Some(Provider::Aws),
        region: Some("us-east-1"),
        architecture: Some(Architecture::X86_64),
        init_type: None,
        start_ns: NOW,
        billed_ns: Some(1_000_000_000),
        memory_size: Some(1 << 30),
        memory_used: Some(100 << 20),
    }
}

#[track_caller]
fn check(usage: &Usage<'_>, expected: Option<f64>) {
    assert_eq!(PriceTable::builtin().cost(usage).map(|cost| cost.usd), expected, "{usage:?}");
}

#[test]
fn the_builtin_table() {
    let table = PriceTable::parse(BUILTIN).unwrap();
    assert_eq!((table.version(), table.currency(), table.entries.len()), ("2026-01", "USD", 4));
    check(&usage(), Some(0.0000168667));
    check(&Usage { architecture: Some(Architecture::Arm64), ..usage() }, Some(0.0000135334));
    check(&Usage { region: Some("eu-central-1"), ..usage() }, Some(0.0000168667));
    check(&Usage { memory_size: Some(128 << 20), billed_ns: Some(3_000_000), ..usage() }, Some(0.00000020625));
    check(&Usage { init_type: Some(InitType::Provisioned), ..usage() }, Some(0.0000099222));
    check(&Usage { init_type: Some(InitType::SnapStart), ..usage() }, Some(0.0000168667));
}

#[test]
fn no_figure_is_better_than_a_wrong_one() {
    check(&Usage { region: Some("xx-west-9"), ..usage() }, None);
    check(&Usage { region: None, ..usage() }, None);
    check(&Usage { provider: Some(Provider::Azure), ..usage() }, None);
    check(&Usage { provider: None, ..usage() }, None);
    check(&Usage { billed_ns: None, ..usage() }, None);
    check(&Usage { memory_size: None, ..usage() }, None);
    check(&Usage { start_ns: 0, ..usage() }, None);
    check(&Usage { init_type: Some(InitType::Managed), ..usage() }, None);
    // Its price for provisioned environments is not in the table.
    check(&Usage { region: Some("eu-central-1"), init_type: Some(InitType::Provisioned), ..usage() }, None);
    let assumed = |usage: &Usage<'_>| PriceTable::builtin().cost(usage).unwrap().is_architecture_assumed;
    assert!(assumed(&Usage { architecture: None, ..usage() }));
    assert!(!assumed(&usage()));
}

#[test]
fn prices_count_from_their_first_day() {
    let on = |day: i64, architecture: Architecture| {
        let usage = Usage { start_ns: day * DAY, architecture: Some(architecture), ..usage() };
        PriceTable::builtin().cost(&usage).map(|cost| cost.usd)
    };
    // 2020-12-01: billed by the millisecond since then. 2021-09-29: ARM.
    assert_eq!([on(18_596, Architecture::X86_64), on(18_597, Architecture::X86_64)], [None, Some(0.0000168667)]);
    assert_eq!([on(18_898, Architecture::Arm64), on(18_899, Architecture::Arm64)], [None, Some(0.0000135334)]);
}

#[test]
fn figures_worked_by_hand() {
    let cost = |usage: Usage<'_>| PriceTable::builtin().cost(&usage).unwrap().usd;
    let of = |ms: i64, mb: i64| Usage { billed_ns: Some(ms * 1_000_000), memory_size: Some(mb << 20), ..usage() };
    // 1 ms, the least that is billed, × 0.125 GB.
    assert_eq!(cost(of(1, 128)), 0.000000202083);
    // 15 minutes × 10 GB = 9000 GB-s.
    assert_eq!(cost(of(900_000, 10_240)), 0.1500005);
    // 250 ms × 0.5 GB on ARM, provisioned: 0.125 GB-s × 7.7778e-6.
    let arm = Usage { architecture: Some(Architecture::Arm64), init_type: Some(InitType::Provisioned), ..of(250, 512) };
    assert_eq!(cost(arm), 0.000001172225);
}

const OWN: &str = r#"{"version": "ours", "currency": "EUR", "prices": [
    {"provider": "aws", "regions": ["*"], "from": "2020-01-01", "request": 1, "gb_second": [{"price": 1}]},
    {"provider": "aws", "regions": ["*"], "from": "2026-01-01", "request": 2, "gb_second": [{"price": 1}]},
    {"provider": "aws", "regions": ["us-east-1"], "architecture": "arm64", "from": "2020-01-01", "request": 3, "gb_second": [{"price": 1}]},
    {"provider": "azure", "regions": ["*"], "from": "2020-01-01", "request": 0, "gb_second": [{"price": 8}],
     "minimum_ms": 100, "step_ms": 100, "memory": "used", "memory_step_mb": 128}]}"#;

#[test]
fn an_own_table() {
    let table = PriceTable::parse(OWN).unwrap();
    let check = |usage: &Usage<'_>, expected: Option<f64>| {
        let cost = table.cost(usage);
        assert_eq!(cost.as_ref().map(|cost| cost.usd), expected, "{usage:?}");
        assert!(cost.is_none_or(|cost| &*cost.table == "ours"));
    };
    // By the day: the evening before and the day itself.
    check(&Usage { start_ns: NOW - 1, ..usage() }, Some(2.0));
    check(&usage(), Some(3.0));
    check(&Usage { region: None, ..usage() }, Some(3.0));
    // The region's own entry, for the architecture it is for.
    check(&Usage { architecture: Some(Architecture::Arm64), ..usage() }, Some(4.0));
    // 1 GB-second in steps of 100 ms and 128 MB used.
    let azure = Usage { provider: Some(Provider::Azure), billed_ns: Some(101_000_000), ..usage() };
    check(&azure, Some(0.2));
    check(&Usage { billed_ns: Some(1), ..azure }, Some(0.1));
    check(&Usage { memory_used: None, ..azure }, None);
}

#[test]
fn errors_name_the_entry() {
    let check = |from: &str, to: &str, expected: &str| {
        let json = OWN.replacen(from, to, 1);
        assert_ne!(json, OWN, "{from}");
        let error = PriceTable::parse(&json).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    };
    let first = "prices[0] (aws * 2020-01-01): ";
    check(
        r#""aws""#,
        r#""aws2""#,
        r#"prices[0] (aws2 * 2020-01-01): provider "aws2" is none of aws, azure, gcp, other"#,
    );
    check("2020-01-01", "2020-02-30", r#"prices[0] (aws * 2020-02-30): from "2020-02-30" is not a date as 2026-01-31"#);
    check("2020-01-01", "2026-01-01", "prices[1] (aws * 2026-01-01): another entry has the same day for *");
    check(r#""request": 1"#, r#""request": -1"#, &format!("{first}request is negative"));
    check(r#""request": 1"#, r#""requests": 1"#, &format!("{first}unknown field `requests`"));
    check(r#"[{"price": 1}]"#, "[]", &format!("{first}gb_second has no price"));
    check(r#"[{"price": 1}]"#, r#"[{"price": 1}, {"price": 2}]"#, &format!("{first}gb_second is not in the order"));
    check(r#"["*"]"#, "[]", "prices[0] (aws 2020-01-01): regions names none");
    check("arm64", "mips", r#"prices[2] (aws us-east-1 mips 2020-01-01): architecture "mips" is none"#);
    check(r#""ours""#, r#""""#, "the price table is not valid: version is empty");
    assert!(PriceTable::parse("{").unwrap_err().to_string().starts_with("the price table is not valid: EOF"));
    assert!(
        PriceTable::parse(r#"{"version":"1","currency":"USD","prices":[7]}"#)
            .unwrap_err()
            .to_string()
            .starts_with("prices[0] (without a name): ")
    );
}

#[test]
fn days() {
    let check = |text: &str, expected: Option<i64>| assert_eq!(days_of_date(text), expected, "{text}");
    check("1970-01-01", Some(0));
    check("1970-03-01", Some(59));
    check("2000-02-29", Some(11_016));
    check("2026-01-01", Some(20_454));
    check("1969-12-31", Some(-1));
    for text in ["", "2026-1-01", "2026-13-01", "1900-02-29", "2026-00-01", "2026-01-00", "2026-01-01-", "2026-01"] {
        check(text, None);
    }
}
