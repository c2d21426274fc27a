//! The columns by themselves.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int32Type, Int64Type};

use crate::decode::column::{Blanks, Dict, Lists, Map, Numbers, Optional, Text, Values};

#[test]
fn a_column_that_is_seldom_written_is_padded() {
    let mut column = Optional::<Numbers<Int64Type>>::default();
    for row in [3, 4, 9, 20] {
        assert!(!column.has(row));
        column.at(row).push(row as i64);
        assert!(column.has(row));
    }
    column.truncate(15);
    column.at(17).push(17);
    let array = column.finish(19, &mut Blanks::default()).unwrap();
    let array = array.as_primitive::<Int64Type>();
    let seen: Vec<_> = array.iter().enumerate().filter_map(|(row, v)| Some((row, v?))).collect();
    assert_eq!(seen, [(3, 3), (4, 4), (9, 9), (17, 17)]);
    assert_eq!(array.len(), 19);
    // Empty again, and full without a null.
    assert_eq!(column.finish(2, &mut Blanks::default()).unwrap().null_count(), 2);
    column.at(0).push(1);
    assert_eq!(column.finish(1, &mut Blanks::default()).unwrap().null_count(), 0);
}

#[test]
fn truncation_cuts_bits_within_a_byte() {
    for cut in 0..20 {
        let mut column = Optional::<Text>::default();
        (0..20).for_each(|row| column.at(row).push_str("x"));
        column.truncate(cut);
        column.at(25).push_str("y");
        let array = column.finish(30, &mut Blanks::default()).unwrap();
        assert_eq!(30 - array.null_count(), cut + 1, "{cut}");
    }
}

#[test]
fn words_are_kept_once_and_repaired_ones_too() {
    let mut column = Dict::default();
    for word in [&b"a"[..], b"", b"a", b"\xFF", b"b", b"\xFF", "\u{FFFD}".as_bytes(), b""] {
        column.push(word);
    }
    let array = column.finish(None).unwrap();
    let array = array.as_dictionary::<Int32Type>();
    assert_eq!(array.keys().values()[..], [0, 1, 0, 2, 3, 2, 2, 1]);
    let words: Vec<_> = array.values().as_string::<i32>().iter().flatten().collect();
    assert_eq!(words, ["a", "", "\u{FFFD}", "b"]);
    // The next batch begins anew.
    column.push(b"b");
    assert_eq!(column.finish(None).unwrap().as_dictionary::<Int32Type>().values().len(), 1);
}

#[test]
fn lists_and_maps_are_cut_with_their_items() {
    let mut lists = Optional::<Lists<Numbers<Int64Type>>>::default();
    for row in [1, 3] {
        let items = lists.at(row).open();
        (0..row as i64).for_each(|i| items.push(i));
    }
    lists.truncate(3);
    lists.at(4).open().push(7);
    let array = lists.finish(5, &mut Blanks::default()).unwrap();
    let lens: Vec<_> = array.as_list::<i32>().iter().map(|list| list.map(|l| l.len())).collect();
    assert_eq!(lens, [None, Some(1), None, None, Some(1)]);

    let mut map = Map::<Text>::default();
    map.entry(1, "a").push_str("1");
    map.entry(1, "b").push_str("2");
    map.entry(2, "c").push_str("3");
    map.truncate(2);
    map.entry(3, "d").push_str("4");
    let array = map.finish(4, &mut Blanks::default()).unwrap();
    let array = array.as_map();
    let lens: Vec<_> = (0..4).map(|row| array.value(row).len()).collect();
    assert_eq!(lens, [0, 2, 0, 1]);
    assert_eq!(array.keys().as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["a", "b", "d"]);
}
