//! Value text keeps every value exactly.

use crate::generate::Gen;
use hopline_proto::json::{Message, transcode};
use hopline_proto::value::{
    DEPTH_MAX, ToTextError, ValueRef, any_value_to_text, attributes_text_to_otlp_json, attributes_text_to_wire,
    attributes_to_text, elements, lookup, members, resource_text_to_otlp_json, resource_text_to_wire, resource_to_text,
    schema_url, scope_text_to_otlp_json, scope_text_to_wire, scope_to_text, text_to_otlp_json, text_to_wire, unquote,
};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::resource::v1::Resource;
use proptest::prelude::*;
use prost::Message as _;

fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn kv(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(any(value)), ..Default::default() }
}

fn text_of(value: &AnyValue) -> String {
    let mut text = String::new();
    assert_eq!(any_value_to_text(&value.encode_to_vec(), &mut text, 0), Ok(0));
    text
}

/// A missing value is an empty one.
fn normalise(value: &mut AnyValue) {
    match &mut value.value {
        Some(Value::ArrayValue(array)) => array.values.iter_mut().for_each(normalise),
        Some(Value::KvlistValue(list)) => normalise_all(&mut list.values),
        _ => {}
    }
}

fn normalise_all(attributes: &mut [KeyValue]) {
    attributes.iter_mut().for_each(|kv| normalise(kv.value.get_or_insert_default()));
}

/// `value` has this text, and comes back from it.
#[track_caller]
fn check(value: &AnyValue, text: &str) {
    assert_eq!(text_of(value), text);
    check_back(value, text);
}

#[track_caller]
fn check_back(value: &AnyValue, text: &str) {
    let mut value = value.clone();
    normalise(&mut value);
    let mut wire = Vec::new();
    text_to_wire(text, &mut wire).unwrap();
    assert_eq!(AnyValue::decode(&wire[..]).unwrap().encode_to_vec(), value.encode_to_vec(), "{text}");
    // As OTLP/JSON it is the body of a log record.
    let mut json = String::from(r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":"#);
    text_to_otlp_json(text, &mut json).unwrap();
    json.push_str("}]}]}]}");
    serde_json::from_str::<serde_json::Value>(&json).unwrap();
    let mut bytes = Vec::new();
    assert_eq!(transcode(Message::Logs, json.as_bytes(), &mut bytes).unwrap().items, 0, "{json}");
    let request = ExportLogsServiceRequest::decode(&bytes[..]).unwrap();
    let body = request.resource_logs[0].scope_logs[0].log_records[0].body.clone().unwrap();
    assert_eq!(body.encode_to_vec(), value.encode_to_vec(), "{json}");
    // And valid JSON itself.
    serde_json::from_str::<serde_json::Value>(text).unwrap();
}

#[test]
fn each_type_has_its_text() {
    check(&AnyValue { value: None }, "null");
    check(&any(Value::StringValue("a\"b\\\n\u{1}é".into())), "\"a\\\"b\\\\\\n\\u0001é\"");
    check(&any(Value::StringValue(String::new())), "\"\"");
    check(&any(Value::IntValue(i64::MIN)), "-9223372036854775808");
    check(&any(Value::IntValue(0)), "0");
    check(&any(Value::DoubleValue(1.0)), "1.0");
    check(&any(Value::DoubleValue(-0.0)), "-0.0");
    check(&any(Value::DoubleValue(1e300)), "1e300");
    check(&any(Value::DoubleValue(f64::NAN)), r#"{"$double":"NaN"}"#);
    check(&any(Value::DoubleValue(f64::INFINITY)), r#"{"$double":"Infinity"}"#);
    check(&any(Value::DoubleValue(f64::NEG_INFINITY)), r#"{"$double":"-Infinity"}"#);
    check(&any(Value::BoolValue(true)), "true");
    check(&any(Value::BoolValue(false)), "false");
    check(&any(Value::BytesValue(vec![0xfb, 0xff])), r#"{"$bytes":"+/8="}"#);
    check(&any(Value::BytesValue(vec![])), r#"{"$bytes":""}"#);
    check(&any(Value::ArrayValue(ArrayValue::default())), "[]");
    check(&any(Value::KvlistValue(KeyValueList::default())), "{}");
}

#[test]
fn lists_and_maps_keep_order_and_duplicates() {
    let values = vec![any(Value::IntValue(1)), AnyValue { value: None }, any(Value::StringValue("[".into()))];
    check(&any(Value::ArrayValue(ArrayValue { values })), r#"[1,null,"["]"#);
    let values = vec![kv("b", Value::IntValue(1)), kv("{", Value::BoolValue(true)), kv("b", Value::DoubleValue(2.0))];
    check(&any(Value::KvlistValue(KeyValueList { values })), r#"{"b":1,"{":true,"b":2.0}"#);
}

#[test]
fn maps_that_look_like_escapes_are_wrapped() {
    let bytes = |key: &str| KeyValueList { values: vec![kv(key, Value::StringValue("AA==".into()))] };
    check(&any(Value::KvlistValue(bytes("$bytes"))), r#"{"$map":{"$bytes":"AA=="}}"#);
    check(&any(Value::KvlistValue(bytes("$"))), r#"{"$map":{"$":"AA=="}}"#);
    let nested = KeyValueList { values: vec![kv("$map", Value::KvlistValue(bytes("$map")))] };
    check(&any(Value::KvlistValue(nested)), r#"{"$map":{"$map":{"$map":{"$map":"AA=="}}}}"#);
    let later = KeyValueList { values: vec![kv("a", Value::IntValue(1)), kv("$map", Value::IntValue(2))] };
    check(&any(Value::KvlistValue(later)), r#"{"a":1,"$map":2}"#);
}

#[test]
fn invalid_utf8_is_repaired_and_counted() {
    let mut text = String::new();
    assert_eq!(any_value_to_text(b"\x0a\x03a\xffb", &mut text, 0), Ok(1));
    assert_eq!(text, "\"a\u{fffd}b\"");
    let kv: &[u8] = b"\x0a\x01\xff\x12\x03\x0a\x01\xfe";
    let mut text = String::new();
    assert_eq!(attributes_to_text([kv, kv], &mut text), Ok(4));
    assert_eq!(text, "{\"\u{fffd}\":\"\u{fffd}\",\"\u{fffd}\":\"\u{fffd}\"}");
}

#[test]
fn depth_is_bounded() {
    let nest = |levels: usize| {
        let mut bytes = AnyValue { value: None }.encode_to_vec();
        for level in 1..levels {
            let mut outer = Vec::new();
            // Arrays and maps in turn.
            if level % 2 == 0 {
                hopline_proto::wire::put_bytes(&mut outer, 1, &bytes);
            } else {
                let mut kv = Vec::new();
                hopline_proto::wire::put_bytes(&mut kv, 2, &bytes);
                hopline_proto::wire::put_bytes(&mut outer, 1, &kv);
            }
            bytes.clear();
            hopline_proto::wire::put_bytes(&mut bytes, if level % 2 == 0 { 5 } else { 6 }, &outer);
        }
        bytes
    };
    let work = move || {
        let mut text = String::new();
        assert_eq!(any_value_to_text(&nest(DEPTH_MAX), &mut text, 0), Ok(0));
        let (mut wire, mut json) = (Vec::new(), String::new());
        text_to_wire(&text, &mut wire).unwrap();
        text_to_otlp_json(&text, &mut json).unwrap();
        let mut again = String::new();
        assert_eq!(any_value_to_text(&wire, &mut again, 0), Ok(0));
        assert_eq!(again, text);
        assert_eq!(any_value_to_text(&nest(DEPTH_MAX + 1), &mut String::new(), 0), Err(ToTextError::TooDeep));
        assert_eq!(any_value_to_text(&nest(20_000), &mut String::new(), 0), Err(ToTextError::TooDeep));
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(text_to_wire(&deep, &mut Vec::new()).is_err());
        assert!(matches!(ValueRef::parse(&deep), Ok(ValueRef::Array(_))));
    };
    // Half of what a thread of the server has, without optimisation.
    std::thread::Builder::new().stack_size(1 << 20).spawn(work).unwrap().join().unwrap();
}

#[test]
fn texts_can_be_looked_into() {
    let text = r#"{"a":1,"b":{"c":"x\ny","c":2},"a":true,"é":[1,[2],{"$bytes":"AQ=="}]}"#;
    assert_eq!(lookup(text, "a"), Some("1"));
    assert_eq!(lookup(text, "b").and_then(|b| lookup(b, "c")).and_then(unquote).unwrap(), "x\ny");
    assert_eq!(lookup(text, "nothing"), None);
    assert_eq!(lookup("[]", "a"), None);
    let all: Vec<_> = elements(lookup(text, "é").unwrap()).map(Result::unwrap).collect();
    assert_eq!(all, ["1", "[2]", r#"{"$bytes":"AQ=="}"#]);
    assert_eq!(ValueRef::parse(all[2]), Ok(ValueRef::Bytes(vec![1])));
    assert_eq!(ValueRef::parse(" 5 "), Ok(ValueRef::Int(5)));
    assert_eq!(ValueRef::parse("5.0"), Ok(ValueRef::Double(5.0)));
    assert_eq!(ValueRef::parse("null"), Ok(ValueRef::Empty));
    assert_eq!(ValueRef::parse("\"\\u00e9\""), Ok(ValueRef::String("é".into())));
    assert_eq!(ValueRef::parse(r#"{"$map":{"$a":1}}"#), Ok(ValueRef::Map(r#"{"$a":1}"#)));
    assert_eq!(ValueRef::parse(r#"{"a":1}"#), Ok(ValueRef::Map(r#"{"a":1}"#)));
    assert_eq!(members(text).map(|m| m.unwrap().0.into_owned()).collect::<Vec<_>>(), ["a", "b", "a", "é"]);
    assert_eq!(unquote("5"), None);
    assert_eq!(unquote("\"a\" "), Some("a".into()));
}

#[test]
fn damaged_texts_are_errors() {
    for text in [
        "",
        "{",
        "[1",
        "tru",
        "1 2",
        "\"a",
        "{\"a\"}",
        "99999999999999999999",
        "1e999",
        r#"{"$bytes":"?"}"#,
        r#"{"$bytes":"AA==","b":1}"#,
        r#"{"$double":"nan"}"#,
        r#"{"$else":1}"#,
        r#"{"$map":1}"#,
        r#"{"$map":{}"#,
    ] {
        assert!(text_to_wire(text, &mut Vec::new()).is_err(), "{text}");
        assert!(text_to_otlp_json(text, &mut String::new()).is_err(), "{text}");
        assert!(ValueRef::parse(text).is_err(), "{text}");
    }
    for text in ["[]", "1", "{\"a\":1", "{\"a\":}", "", "{}x"] {
        assert!(attributes_text_to_wire(text, 1, &mut Vec::new()).is_err(), "{text}");
        assert!(attributes_text_to_otlp_json(text, &mut String::new()).is_err(), "{text}");
        assert!(members(text).any(|m| m.is_err()), "{text}");
        assert!(resource_text_to_wire(text, &mut Vec::new()).is_err(), "{text}");
        assert!(scope_text_to_otlp_json(text, "", "", &mut String::new()).is_err(), "{text}");
    }
    assert!(resource_text_to_wire(r#"{"dropped_attributes_count":-1}"#, &mut Vec::new()).is_err());
    assert_eq!(elements("[1,2").map(|e| e.is_ok()).collect::<Vec<_>>(), [true, true, false]);
    assert!(any_value_to_text(b"\x0a\x05a", &mut String::new(), 0).is_err());
}

#[test]
fn resources_and_scopes_have_short_texts() {
    let mut text = String::new();
    resource_to_text(&[], b"", &mut text).unwrap();
    assert_eq!(text, "{}");
    let resource = Resource {
        attributes: vec![kv("$service.name", Value::StringValue("shop".into()))],
        dropped_attributes_count: 2,
        entity_refs: vec![
            opentelemetry_proto::tonic::common::v1::EntityRef {
                r#type: "service".into(),
                id_keys: vec!["a".into(), "b".into()],
                ..Default::default()
            },
            Default::default(),
        ],
    };
    let mut text = String::new();
    resource_to_text(&resource.encode_to_vec(), b"https://x", &mut text).unwrap();
    assert_eq!(
        text,
        concat!(
            r#"{"attributes":{"$service.name":"shop"},"dropped_attributes_count":2,"schema_url":"https://x","#,
            r#""entity_refs":[{"type":"service","id_keys":["a","b"]},{}]}"#
        )
    );
    assert_eq!(schema_url(&text), "https://x");
    assert_eq!(schema_url("{}"), "");
    let attributes = lookup(&text, "attributes").unwrap();
    assert_eq!(lookup(attributes, "$service.name").and_then(unquote).unwrap(), "shop");
    let mut json = String::new();
    resource_text_to_otlp_json(&text, &mut json).unwrap();
    assert_eq!(
        json,
        concat!(
            r#"{"attributes":[{"key":"$service.name","value":{"stringValue":"shop"}}],"droppedAttributesCount":2,"#,
            r#""entityRefs":[{"type":"service","idKeys":["a","b"]},{}]}"#
        )
    );
    let mut json = String::new();
    scope_text_to_otlp_json("{}", "lib", "", &mut json).unwrap();
    assert_eq!(json, r#"{"name":"lib"}"#);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn any_value_there_and_back(seed: u64) {
        let value = Gen(seed).any_value(6);
        check_back(&value, &text_of(&value));
    }

    #[test]
    fn any_resource_and_scope_there_and_back(seed: u64) {
        let mut generator = Gen(seed);
        let mut resource = generator.resource();
        let url = generator.string();
        let mut text = String::new();
        prop_assert_eq!(resource_to_text(&resource.encode_to_vec(), url.as_bytes(), &mut text), Ok(0));
        let mut wire = Vec::new();
        resource_text_to_wire(&text, &mut wire).unwrap();
        normalise_all(&mut resource.attributes);
        prop_assert_eq!(Resource::decode(&wire[..]).unwrap().encode_to_vec(), resource.encode_to_vec());
        prop_assert_eq!(schema_url(&text), url);

        let mut scope = generator.scope();
        let mut text = String::new();
        prop_assert_eq!(scope_to_text(&scope.encode_to_vec(), b"u", &mut text), Ok(0));
        let mut wire = Vec::new();
        scope_text_to_wire(&text, &scope.name, &scope.version, &mut wire).unwrap();
        normalise_all(&mut scope.attributes);
        prop_assert_eq!(InstrumentationScope::decode(&wire[..]).unwrap().encode_to_vec(), scope.encode_to_vec());

        let (mut json, mut scope_json) = (String::new(), String::new());
        let mut text = String::new();
        resource_to_text(&resource.encode_to_vec(), b"", &mut text).unwrap();
        resource_text_to_otlp_json(&text, &mut json).unwrap();
        let mut text = String::new();
        scope_to_text(&scope.encode_to_vec(), b"", &mut text).unwrap();
        scope_text_to_otlp_json(&text, &scope.name, &scope.version, &mut scope_json).unwrap();
        let request = format!(r#"{{"resourceLogs":[{{"resource":{json},"scopeLogs":[{{"scope":{scope_json}}}]}}]}}"#);
        let mut bytes = Vec::new();
        transcode(Message::Logs, request.as_bytes(), &mut bytes).unwrap();
        let read = ExportLogsServiceRequest::decode(&bytes[..]).unwrap().resource_logs.remove(0);
        prop_assert_eq!(read.resource.unwrap().encode_to_vec(), resource.encode_to_vec());
        prop_assert_eq!(read.scope_logs[0].scope.clone().unwrap().encode_to_vec(), scope.encode_to_vec());
    }
}
