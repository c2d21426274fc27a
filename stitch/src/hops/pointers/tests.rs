#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use proptest::prelude::*;

use super::super::testing::Probe;
use super::*;
use crate::span::Value;
use crate::span::Value::{Json, Text};

/// Published with the rules, or computed anew from them.
const VECTORS: &[(&[&str], &str)] = &[
    (&["foo"], "2c26b46b68ffc68ff99b453c1d304134"),
    (&["foo", "bar"], "0fc7e25e075c7849f89b9729d1aeada1"),
    (&["some-bucket", "some-key.data", "ab12ef34"], "e721375466d4116ab551213fdea08413"),
    (&["some-bucket", "some-key.你好", "ab12ef34"], "d1333a04b9928ab462b5c6cadfa401f4"),
    (&["some-bucket", "some-key.data", "ab12ef34-5"], "2b90dffc37ebc7bc610152c3dc72af9f"),
    (&["test-bucket", "test/key", "0123456789abcdef0123456789abcdef"], "40df87dbfdf59f32253a2668c23e51b4"),
    (&["mybucket", "mykey", "123abc"], "8d49f5b0b742484159d4cd572bae1ce5"),
    (&["mybucket", "red flower.jpg", "123abc"], "59a7ed2269d917b09ce623c4eb416d2c"),
    (&["mybucket", "red+flower.jpg", "123abc"], "c99278931dfbfc73b3a5362c1450247b"),
];

#[test]
fn hashes_of_components() {
    for (components, hash) in VECTORS {
        let bytes: Vec<&[u8]> = components.iter().map(|c| c.as_bytes()).collect();
        assert_eq!(span_pointer_hash(&bytes), *hash, "{components:?}");
    }
}

#[test]
fn objects_are_found_however_their_key_is_written() {
    let raw = "59a7ed2269d917b09ce623c4eb416d2c";
    let encoded = "c99278931dfbfc73b3a5362c1450247b";
    let hashes = |key, side| s3_object_hashes("mybucket", key, "\"123abc\"", side);
    assert_eq!(hashes("red flower.jpg", Direction::Out), [raw, encoded]);
    assert_eq!(hashes("red+flower.jpg", Direction::In), [encoded, raw]);
    assert_eq!(hashes("red flower.jpg", Direction::In), [raw]);
    assert_eq!(hashes("mykey", Direction::Out), ["8d49f5b0b742484159d4cd572bae1ce5"]);
}

#[test]
fn items() {
    use KeyValue::{Base64, Binary, Number, Text};
    let check = |table, key: &[(&str, KeyValue<'_>)], expected: &str| {
        let hashes = dynamodb_item_hashes(table, key);
        assert_eq!(hashes.first().map(String::as_str), Some(expected), "{table} {key:?}");
    };
    check("TestTable", &[("id", Text("abc123"))], "69706c9e1e41a2f0cf8c0650f91cb0c2");
    let both = "2031d2d69b45adc3d5c27691924ddfcc";
    check("TestTable", &[("num_key", Number("42")), ("bin_key", Binary(b"Hello World"))], both);
    check("TestTable", &[("bin_key", Binary(b"Hello World")), ("num_key", Number("42"))], both);
    check("TestTable", &[("bin_key", Base64("SGVsbG8gV29ybGQ=")), ("num_key", Number("42"))], both);
    check("some-table", &[("some-key", Text("some-value"))], "7f1aee721472bcb48701d45c7c7f7821");
    check("some-table", &[("some-key", Text("some-other-value"))], "36b820424312a6069bd3f2185f1af584");
    assert!(dynamodb_item_hashes("t", &[]).is_empty());
}

#[test]
fn items_in_other_forms_have_a_hash_in_common() {
    use KeyValue::{Base64, Binary, Number};
    let meet = |a, b| {
        let (a, b) = (dynamodb_item_hashes("t", &[("k", a)]), dynamodb_item_hashes("t", &[("k", b)]));
        assert!(a.iter().any(|hash| b.contains(hash)));
    };
    meet(Number("1.0"), Number("1"));
    meet(Number("1e3"), Number("1000"));
    meet(Binary(b"\x00\xff"), Base64("AP8="));
}

#[test]
fn numbers_as_dynamodb_gives_them_back() {
    for (text, canonical) in [
        ("1", "1"),
        ("1.0", "1"),
        ("-1.50", "-1.5"),
        ("+007", "7"),
        ("0.0", "0"),
        ("-0", "0"),
        ("1e3", "1000"),
        ("1.25E-2", "0.0125"),
        ("12.5e1", "125"),
        ("0.00012", "0.00012"),
        ("100", "100"),
        (".5", "0.5"),
    ] {
        assert_eq!(canonical_number(text).as_deref(), Some(canonical), "{text}");
    }
    for text in ["", "-", "1e", "x", "1.2.3", "1e999999999999", "NaN", "1e-9223372036854775808"] {
        assert_eq!(canonical_number(text), None, "{text}");
    }
}

const HASH: &str = "7f1aee721472bcb48701d45c7c7f7821";

#[test]
fn datadogs_links() {
    fn link<'a>(kind: &'a str, dir: &'a str, hash: &'a str) -> [(&'static str, Value<'a>); 4] {
        [
            ("link.kind", Text("span-pointer")),
            ("ptr.kind", Text(kind)),
            ("ptr.dir", Text(dir)),
            ("ptr.hash", Text(hash)),
        ]
    }
    let check = |link: &[(&str, Value<'_>)], expected: &[&str]| Probe::server(&[]).links(&[(0, link)]).keys(expected);
    check(&link("aws.dynamodb.item", "u", HASH), &[&format!("pointer.read in ddb.item:{HASH}")]);
    check(&link("aws.dynamodb.item", "d", HASH), &[&format!("pointer.written out ddb.item:{HASH}")]);
    let upper = HASH.to_uppercase();
    check(&link("aws.s3.object", "u", &upper), &[&format!("pointer.read in s3.ptr:{HASH}")]);
    check(&link("azure.blob", "u", HASH), &[&format!("pointer.read in ptr:azure.blob|{HASH}")]);
    check(&link("aws.s3.object", "u", "HashingFailure0123456789abcdef01"), &[]);
    check(&link("aws.s3.object", "x", HASH), &[]);
    check(&[("link.kind", Text("other")), ("ptr.hash", Text(HASH)), ("ptr.kind", Text("k"))], &[]);
}

#[test]
fn datadogs_own_format() {
    let text = format!(
        r#"[{{"trace_id":"0","span_id":"0","attributes":{{"ptr.kind":"aws.s3.object","ptr.dir":"d","ptr.hash":"{HASH}"}}}}]"#
    );
    let expected = format!("pointer.written out s3.ptr:{HASH}");
    Probe::client(&[("_dd.span_links", Text(&text))]).keys(&[&expected]);
    Probe::client(&[("_dd.span_links", Text("[{\"attributes\":7}, 3"))]).keys(&[]);
}

#[test]
fn hoplines_attributes() {
    let kind = ("hopline.ptr.kind", Text("aws.dynamodb.item"));
    let one = [kind, ("hopline.ptr.hash", Text(HASH)), ("hopline.ptr.dir", Text("u"))];
    Probe::server(&one).keys(&[&format!("pointer.read in ddb.item:{HASH}")]);
    // Without a direction, the span's kind tells it.
    Probe::client(&one[..2]).keys(&[&format!("pointer.written out ddb.item:{HASH}")]);
    let other = "36b820424312a6069bd3f2185f1af584";
    let (hashes, kinds) = (format!("[\"{HASH}\",\"{other}\"]"), "[\"aws.dynamodb.item\",\"aws.s3.object\"]");
    let many = [("hopline.ptr.kind", Json(kinds)), ("hopline.ptr.hash", Json(&hashes)), ("hopline.ptr.dir", Text("d"))];
    let expected = [format!("pointer.written out ddb.item:{HASH}"), format!("pointer.written out s3.ptr:{other}")];
    Probe::client(&many).keys(&[&expected[0], &expected[1]]);
    let bad = [kind, ("hopline.ptr.hash", Text("HashingFailure"))];
    assert_eq!(Probe::client(&bad).found().refused, 1);
}

proptest! {
    #[test]
    fn keys_of_objects_there_and_back(key in "\\PC{0,40}") {
        let encoded = url_encoded(&key);
        prop_assert_eq!(url_decoded(&encoded), key.as_str());
    }

    #[test]
    fn base64_there_and_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        prop_assert_eq!(from_base64(&base64(&bytes)), Some(bytes));
    }

    #[test]
    fn a_canonical_number_stays(text in "-?[0-9]{0,5}(\\.[0-9]{0,5})?(e-?[0-9]{1,2})?") {
        if let Some(number) = canonical_number(&text) {
            prop_assert_eq!(canonical_number(&number), Some(number.clone()));
            let (a, b): (f64, f64) = (text.parse().unwrap(), number.parse().unwrap());
            prop_assert!((a - b).abs() <= a.abs() * 1e-9);
        }
    }
}
