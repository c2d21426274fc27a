#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;

#[test]
fn every_byte_at_every_place_of_a_word() {
    for byte in 0..=255_u8 {
        let special = byte < 0x20 || byte == b'"' || byte == b'\\';
        for before in 0..17 {
            for filler in [b'a', b' ', b'!', b'#', 0x7f, 0x80, 0xff, b'[', b']'] {
                let mut bytes = vec![filler; 24];
                bytes[before] = byte;
                assert_eq!(plain_len(&bytes), if special { before } else { 24 }, "{byte} after {before} {filler}");
            }
        }
    }
    // With another special byte behind it, which must not hide it.
    assert_eq!(plain_len(b"abc\"\\\x00\x01d"), 3);
    assert_eq!(plain_len(b"\x1f\x20\x21\"...."), 0);
}

#[test]
fn bits_are_a_stack() {
    let mut bits = Bits::default();
    let bit = |i: u32| i.is_multiple_of(3) ^ i.is_multiple_of(7);
    for round in [1, 63, 64, 65, 128, 200] {
        (0..round).for_each(|i| bits.push(bit(i)));
        for i in (0..round).rev() {
            assert_eq!(bits.last(), Some(bit(i)));
            bits.pop();
        }
        assert_eq!(bits.last(), None);
    }
}

#[test]
fn numbers_end_where_their_grammar_ends() {
    for (text, len) in [
        ("0", 1),
        ("-0", 2),
        ("01", 1),
        ("12.50e-3,", 8),
        ("1E+5 ", 4),
        ("-", 0),
        ("1.", 0),
        ("1.e5", 0),
        ("1e", 0),
        ("1e+", 0),
        ("+1", 0),
        (".5", 0),
        ("", 0),
    ] {
        assert_eq!(number_len(text.as_bytes()), len, "{text}");
    }
}

#[test]
fn escapes_are_resolved() {
    let string = |text: &str| {
        let quoted = format!("\"{text}\"");
        let mut tokens = Tokens::new(quoted.as_bytes(), 0);
        let string = tokens.string().unwrap();
        assert_eq!(tokens.pos(), quoted.len());
        string.bytes().into_owned()
    };
    assert_eq!(string("plain"), b"plain");
    assert_eq!(string(r#"\"\\\/\b\f\n\r\t"#), b"\"\\/\x08\x0c\n\r\t");
    assert_eq!(string(r"\u0000\u00e9\u20AC\ud83d\ude00x"), "\0é€😀x".as_bytes());
    // Surrogates without a partner.
    assert_eq!(string(r"\ud83d"), b"\xff");
    assert_eq!(string(r"\ude00\ud83d"), b"\xff\xff");
    assert_eq!(
        string(r"\ud83d\ud83d\ude00"),
        "\u{1f600}".as_bytes().iter().fold(vec![0xff], |mut v, b| {
            v.push(*b);
            v
        })
    );
    assert_eq!(string(r"\ud83dx"), b"\xffx");
    assert_eq!(string(r"\ud83d\n"), b"\xff\n");
}

proptest! {
    #[test]
    fn skipping_takes_what_serde_takes(text in r#"[\[\]{}",:0-9a-c\\ eE.+nulltruefalse-]{0,24}"#) {
        let mut tokens = Tokens::new(text.as_bytes(), 0);
        let taken = tokens.skip().and_then(|()| tokens.finish()).is_ok();
        // Where serde_json refuses a number for its size alone, both are right.
        let serde = serde_json::from_str::<serde_json::Value>(&text);
        let range = serde.as_ref().is_err_and(|e| e.to_string().contains("out of range"));
        prop_assert!(range || taken == serde.is_ok(), "{:?}: {} {:?}", text, taken, serde);
    }
}
