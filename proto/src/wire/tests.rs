#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;

/// Reads all fields of `message`, or the first error.
fn read(message: &[u8]) -> Result<Vec<(u32, Value<'_>)>, WireError> {
    let mut reader = Reader::new(message);
    let mut fields = Vec::new();
    while let Some(field) = reader.next()? {
        fields.push(field);
    }
    Ok(fields)
}

#[track_caller]
fn check_error(message: &[u8], kind: WireErrorKind, offset: usize, field: u32) {
    assert_eq!(read(message), Err(WireError { kind, offset, field }));
}

#[test]
fn every_kind_of_field_there_and_back() {
    let mut out = Vec::new();
    put_varint_field(&mut out, 1, u64::MAX);
    put_fixed64(&mut out, 2, 0x0102_0304_0506_0708);
    put_double(&mut out, 3, -0.0);
    put_fixed32(&mut out, 16, 77);
    put_bytes(&mut out, 536_870_911, b"xyz");
    put_varint_field(&mut out, 2047, 300);
    assert_eq!(
        read(&out).unwrap(),
        [
            (1, Value::Varint(u64::MAX)),
            (2, Value::Fixed64(0x0102_0304_0506_0708)),
            (3, Value::Fixed64((-0.0_f64).to_bits())),
            (16, Value::Fixed32(77)),
            (536_870_911, Value::Bytes(b"xyz")),
            (2047, Value::Varint(300)),
        ]
    );
}

#[test]
fn damaged_messages_are_errors() {
    check_error(&[0x00], WireErrorKind::FieldNumber, 1, 0);
    check_error(&[0x02, 0x00], WireErrorKind::FieldNumber, 1, 0);
    // A tag of more than 32 bits.
    check_error(&[0x88, 0x80, 0x80, 0x80, 0x10, 0x00], WireErrorKind::FieldNumber, 5, 0);
    check_error(&[0x0e], WireErrorKind::WireType, 1, 1);
    check_error(&[0x0f], WireErrorKind::WireType, 1, 1);
    check_error(&[0x80], WireErrorKind::Truncated, 0, 0);
    check_error(&[0x08], WireErrorKind::Truncated, 1, 1);
    check_error(&[0x08, 0x80], WireErrorKind::Truncated, 1, 1);
    check_error(&[0x09, 1, 2, 3], WireErrorKind::Truncated, 1, 1);
    check_error(&[0x0d, 1, 2, 3], WireErrorKind::Truncated, 1, 1);
    check_error(&[0x12, 0x02, 0xff], WireErrorKind::Truncated, 2, 2);
    // A length of 2^63.
    let long = [0x12, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01];
    check_error(&long, WireErrorKind::Truncated, 11, 2);
    // Ten bytes with a 65th bit, and eleven bytes.
    let beyond = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
    check_error(&beyond, WireErrorKind::Varint, 1, 1);
    let eleven = [0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00];
    check_error(&eleven, WireErrorKind::Varint, 1, 1);
    let text = read(&[0x12, 0x02, 0xff]).unwrap_err().to_string();
    assert_eq!(text, "value is cut short at byte 2 of the message, field 2");
}

#[test]
fn groups_are_skipped_and_bounded() {
    // Field 1 is a group with a varint, bytes, both fixed widths and a group in it.
    let mut message = vec![0x0b, 0x10, 0x05, 0x1a, 0x01, 0xff, 0x21, 1, 2, 3, 4, 5, 6, 7, 8, 0x2d, 1, 2, 3, 4];
    message.extend([0x33, 0x34, 0x0c, 0x10, 0x2a]);
    assert_eq!(read(&message).unwrap(), [(2, Value::Varint(42))]);
    check_error(&[0x0b, 0x14], WireErrorKind::Group, 2, 2);
    check_error(&[0x0c], WireErrorKind::Group, 1, 1);
    check_error(&[0x0b, 0x10, 0x01], WireErrorKind::Truncated, 3, 1);
    check_error(&[0x0b, 0x16], WireErrorKind::WireType, 2, 2);
    check_error(&[0x0b, 0x00], WireErrorKind::FieldNumber, 2, 1);
    check_error(&[0x0b; 100_000], WireErrorKind::Group, GROUP_DEPTH_MAX + 1, 1);
}

#[test]
fn packed_lists() {
    let mut packed = Vec::new();
    for value in [0, 127, 128, u64::MAX] {
        put_varint(&mut packed, value);
    }
    assert_eq!(varints(&packed).collect::<Result<Vec<_>, _>>().unwrap(), [0, 127, 128, u64::MAX]);
    packed.push(0x80);
    assert_eq!(varints(&packed).last().unwrap().unwrap_err().kind, WireErrorKind::Truncated);
    assert_eq!(varints(&packed).count(), 5);
    let doubles: Vec<u8> = [1.5_f64, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let read: Vec<f64> = fixed64s(&doubles).unwrap().map(f64::from_bits).collect();
    assert_eq!(read, [1.5, -2.0]);
    assert_eq!(fixed64s(&doubles[1..]).err().unwrap().kind, WireErrorKind::Packed);
}

#[test]
fn text_is_repaired_only_where_it_must() {
    assert_eq!(text("grüße".as_bytes()), (Cow::Borrowed("grüße"), false));
    assert_eq!(text(b"a\xffb"), (Cow::Owned("a\u{fffd}b".to_owned()), true));
    assert_eq!(text(b""), (Cow::Borrowed(""), false));
}

#[test]
fn a_message_in_place_of_any_size_in_any_room() {
    for len in [0, 1, 127, 128, 300, 16_383, 16_384, 70_000] {
        for room in 0..=5 {
            let mut out = b"\x08\x01".to_vec();
            let outer = begin(&mut out, 7, room);
            let inner = begin(&mut out, 1, room);
            out.resize(out.len() + len, b'x');
            end(&mut out, inner);
            put_varint_field(&mut out, 2, 5);
            end(&mut out, outer);
            put_varint_field(&mut out, 3, 9);

            let mut content = Vec::new();
            put_bytes(&mut content, 1, &vec![b'x'; len]);
            put_varint_field(&mut content, 2, 5);
            let mut expected = b"\x08\x01".to_vec();
            put_bytes(&mut expected, 7, &content);
            put_varint_field(&mut expected, 3, 9);
            assert_eq!(out, expected, "{len} bytes in room {room}");
        }
    }
}

#[test]
fn deep_messages_are_padded_and_readable() {
    let mut out = Vec::new();
    let opens: Vec<_> = (0..20).map(|depth| begin_nested(&mut out, 1, depth)).collect();
    put_varint_field(&mut out, 2, 1);
    opens.into_iter().rev().for_each(|open| end(&mut out, open));
    let mut rest = &out[..];
    for _ in 0..20 {
        let fields = read(rest).unwrap();
        let [(1, Value::Bytes(inner))] = fields[..] else { panic!("{fields:?}") };
        rest = inner;
    }
    assert_eq!(read(rest).unwrap(), [(2, Value::Varint(1))]);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
        let _ = varints(&bytes).count();
    }

    #[test]
    fn any_varint_there_and_back(value: u64) {
        let mut out = Vec::new();
        put_varint_field(&mut out, 1, value);
        prop_assert_eq!(read(&out).unwrap(), vec![(1, Value::Varint(value))]);
        prop_assert_eq!(out.len() - 1, varint_len(value));
        prop_assert_eq!(zigzag_encode(zigzag_decode(value)), value);
    }
}
