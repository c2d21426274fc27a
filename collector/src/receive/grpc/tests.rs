#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;

#[test]
fn t14_content_types_of_grpc() {
    for yes in ["application/grpc", "Application/GRPC", "application/grpc+proto", "application/grpc; x=y"] {
        assert!(is_grpc(yes.as_bytes()), "{yes}");
    }
    for no in ["", "application/json", "application/grpc-web", "application/grpc-web+proto", "application/x-protobuf"] {
        assert!(!is_grpc(no.as_bytes()), "{no}");
    }
}

#[test]
fn timeouts() {
    let check = |text: &'static str, expected: Option<Duration>| {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", HeaderValue::from_static(text));
        assert_eq!(timeout_of(&headers).ok(), Some(expected).filter(Option::is_some), "{text}");
    };
    check("10S", Some(Duration::from_secs(10)));
    check("250m", Some(Duration::from_millis(250)));
    check("99999999H", Some(Duration::from_secs(99_999_999 * 3600)));
    check("1u", Some(Duration::from_micros(1)));
    check("7n", Some(Duration::from_nanos(7)));
    for bad in ["", "S", "10", "10x", "-1S", "123456789S", "1 S"] {
        check(bad, None);
    }
    assert_eq!(timeout_of(&HeaderMap::new()), Ok(None));
}

#[test]
fn messages_are_percent_encoded() {
    assert_eq!(percent_encode("100% sure\n"), "100%25 sure%0A");
    assert_eq!(percent_encode("Grüße"), "Gr%C3%BC%C3%9Fe");
}
