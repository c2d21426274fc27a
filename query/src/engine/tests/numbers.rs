//! Numbers that doubles cannot tell apart, and those that are none.

use super::*;

const BIG: i64 = 1_234_567_890_123_456_789;

fn rows() -> Vec<Row> {
    let resource = |n: i64| format!(r#"{{"attributes":{{"n.int":{n},"n.double":5.0}}}}"#);
    vec![
        Row::span(1, 1, "a", "one", 0, 1).attr("id", V::I(BIG)).attr("max", V::I(i64::MAX)),
        Row::span(1, 2, "a", "two", 1, 1).attr("id", V::I(BIG + 1)).attr("f", V::D(f64::NEG_INFINITY)),
        // In one storage, so the key occurs with every type.
        Row::span(1, 3, "a", "five", 2, 1).attr("id", V::D(5.0)).attr("f", V::D(f64::INFINITY)),
        Row::span(1, 4, "a", "half", 3, 1).attr("id", V::D(5.5)).attr("f", V::D(f64::NAN)),
        Row::span(1, 5, "a", "text", 4, 1).attr("id", V::S("1234567890123456791")).attr("f", V::S("1.5")),
        Row::span(1, 6, "a", "word", 5, 1).attr("id", V::S("x")).attr("http.response.status_code", V::I(i64::MAX)),
        Row::span(1, 7, "a", "none", 6, 1),
    ]
    .into_iter()
    .map(|row| row.text("resource", &resource(9_007_199_254_740_993)))
    .collect()
}

async fn names(condition: &str, expected: &[&str]) {
    for cold in [0, 3, 7] {
        let kept = Kept::new();
        if cold > 0 {
            kept.add(Table::Spans, &rows()[..cold]);
            kept.storage.flush().unwrap();
        }
        if cold < 7 {
            kept.add(Table::Spans, &rows()[cold..]);
        }
        let query = format!("SELECT name FROM spans WHERE {condition} ORDER BY start_time");
        assert_eq!(ask(&engine(&kept), &query, Params::None).await.unwrap(), expected, "{condition}");
    }
}

#[tokio::test]
async fn integers_are_compared_exactly() {
    names("attr('id') = 1234567890123456789", &["one"]).await;
    names("1234567890123456790 = attr('id')", &["two"]).await;
    names("attr('id') <> 1234567890123456789", &["two", "five", "half", "text"]).await;
    names("attr('id') IN (1234567890123456789, 1234567890123456791, 5)", &["one", "five", "text"]).await;
    names("attr('id') NOT IN (1234567890123456789, 5)", &["two", "half", "text"]).await;
    names("attr('id') > 1234567890123456789", &["two", "text"]).await;
    names("1234567890123456790 > attr('id')", &["one", "five", "half"]).await;
    names("attr('id') BETWEEN 1234567890123456790 AND 1234567890123456791", &["two", "text"]).await;
    names("attr('id') NOT BETWEEN 5 AND 1234567890123456790", &["text"]).await;
    names("attr('max') BETWEEN 9223372036854775000 AND 9223372036854775500", &[]).await;
    names("attr('max') < 9223372036854775808", &["one"]).await;
    names("NOT (attr('id') > 5)", &["five"]).await;
    names("attr('id') > 5 AND attr('id') < 5.75", &["half"]).await;
    names("attr('id') > -5.5 AND attr('id') <= 5.0", &["five"]).await;
    names("resource_attr('n.int') = 9007199254740992 AND name = 'one'", &[]).await;
    names("resource_attr('n.int') > 9007199254740992.5 AND name = 'one'", &["one"]).await;
    names("resource_attr('n.double') = 5 AND name = 'one'", &["one"]).await;
    names("resource_attr('n.int') IN (1, 9007199254740993) AND name = 'one'", &["one"]).await;
    // A promoted column.
    names("attr('http.response.status_code') = 9223372036854775806", &[]).await;
    names("attr('http.response.status_code') >= 9223372036854775807.0", &[]).await;
    names("attr('http.response.status_code') IN (1.5, 9223372036854775807)", &["word"]).await;
    names("attr('http.response.status_code') BETWEEN 1.5 AND 1e300", &["word"]).await;
}

#[tokio::test]
async fn parameters_are_compared_exactly() {
    let kept = Kept::new();
    kept.add(Table::Spans, &rows());
    let query = "SELECT name FROM spans WHERE attr('id') > $1 AND attr('id') < $2";
    let got = ask(&engine(&kept), query, Params::from([Param::Int(BIG), Param::UInt(u64::MAX)])).await.unwrap();
    assert_eq!(got, ["two", "text"]);
    let sums = "SELECT sum(attr_int('id')) FROM spans WHERE attr('id') IN (5, 1234567890123456789)";
    assert_eq!(ask(&engine(&kept), sums, Params::None).await.unwrap(), [(BIG + 5).to_string()]);
    let named = "SELECT attr('id') = 5 AS five, attr('id') > 5 FROM spans WHERE name = 'five'";
    let session = engine(&kept).session("default", engine(&kept).limits("test"));
    let answer = session.collect(named, Params::None).await.unwrap();
    assert_eq!(answer[0].schema().field(1).name(), "attr('id') > 5");
    assert_eq!(text(&answer), ["true|false"]);
}

#[tokio::test]
async fn nan_and_the_infinities_have_the_names_of_json() {
    names("attr('f') = 'Infinity'", &["five"]).await;
    names("attr('f') IN ('-Infinity', 'NaN')", &["two", "half"]).await;
    names("attr('f') > 1", &["five", "half", "text"]).await;
    names("attr('f') < 1e308", &["two", "text"]).await;
    names("attr_double('f') = CAST('Infinity' AS DOUBLE)", &["five"]).await;
}
