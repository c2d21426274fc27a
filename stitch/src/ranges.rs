//! Records of a stream by their numbers, where a receiver of many names only the first and the last.
//!
//! A record's key and a range of records have no hash in common. So a range is also kept as the parts of the shard's numbers
//! in which it lies: numbers are written in hexadecimal, and a part is all numbers that begin with the same digits. Of a
//! range that are the fewest digits' worth by which at most [`PARTS_MAX`] parts cover it. Who sent a record looks for the
//! parts of all sizes that its number is in, and then compares numbers.

use crate::key::{Key, Kind};

/// Most parts of a range: so many that no more than two in three lie beside it, so few that they cost little.
pub(crate) const PARTS_MAX: usize = 16;

/// Digits of a number: 192 bits. Sequence numbers of Kinesis have 186.
const DIGITS: usize = 48;

/// A record's number, in hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number([u8; DIGITS]);

impl Number {
    /// Reads a decimal number.
    pub(crate) fn parse(text: &str) -> Option<Number> {
        if text.is_empty() {
            return None;
        }
        // The lowest 32 bits first.
        let mut words = [0_u32; DIGITS / 8];
        for byte in text.bytes() {
            let mut carry = u64::from(byte.is_ascii_digit().then(|| byte - b'0')?);
            for word in &mut words {
                let value = u64::from(*word) * 10 + carry;
                *word = (value & u64::from(u32::MAX)) as u32;
                carry = value >> 32;
            }
            if carry > 0 {
                return None;
            }
        }
        let mut digits = [0; DIGITS];
        let nibbles = words.iter().flat_map(|word| (0..8).map(move |i| (word >> (4 * i) & 15) as u8));
        digits.iter_mut().rev().zip(nibbles).for_each(|(digit, nibble)| *digit = nibble);
        Some(Number(digits))
    }

    /// Its first digits as text.
    fn prefix(&self, level: usize) -> String {
        let digits = self.0.iter().take(level).skip_while(|digit| **digit == 0);
        digits.filter_map(|digit| char::from_digit(u32::from(*digit), 16)).collect()
    }

    /// The number with its first digits counted up by one.
    fn next(mut self, level: usize) -> Number {
        for digit in self.0.iter_mut().take(level).rev() {
            *digit = (*digit + 1) & 15;
            if *digit != 0 {
                break;
            }
        }
        self
    }
}

/// The kind of a range's records, and the kind of the ranges of such records.
const KINDS: &[(Kind, Kind)] = &[(Kind::Kinesis, Kind::KinesisRange), (Kind::Kafka, Kind::KafkaRange)];

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Record<'a> {
    /// The kind of ranges that it may be in.
    pub(crate) ranges: Kind,
    /// Everything before its number.
    pub(crate) shard: &'a str,
    pub(crate) number: Number,
}

impl<'a> Record<'a> {
    /// The record that a key `…:<shard>:<number>` names.
    pub(crate) fn of(key: &'a Key) -> Option<Record<'a>> {
        let (_, ranges) = KINDS.iter().find(|(kind, _)| *kind == key.kind)?;
        let (shard, number) = key.id.rsplit_once(':')?;
        Some(Record { ranges: *ranges, shard, number: Number::parse(number)? })
    }

    /// The parts that it is in, of all sizes.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Key> + '_ {
        (least_level(self.ranges)..=DIGITS).map(|level| part(self.ranges, self.shard, level, &self.number))
    }
}

/// All records of a shard from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range<'a> {
    kind: Kind,
    pub(crate) shard: &'a str,
    pub(crate) first: Number,
    pub(crate) last: Number,
}

impl<'a> Range<'a> {
    /// The range that a key `…:<shard>:<first>..<last>` names.
    pub(crate) fn of(key: &'a Key) -> Option<Range<'a>> {
        let (shard, range) = key.id.rsplit_once(':').filter(|_| key.kind.is_range())?;
        let (first, last) = range.split_once("..")?;
        let range = Range { kind: key.kind, shard, first: Number::parse(first)?, last: Number::parse(last)? };
        Some(range).filter(|range| range.first <= range.last)
    }

    pub(crate) fn holds(&self, record: &Record<'_>) -> bool {
        record.ranges == self.kind && record.shard == self.shard && (self.first..=self.last).contains(&record.number)
    }

    /// The parts in which it lies.
    pub(crate) fn parts(&self) -> Vec<Key> {
        let (mut level, mut more) = (0, 0_i64);
        for (first, last) in self.first.0.iter().zip(&self.last.0) {
            let next = more * 16 + i64::from(*last) - i64::from(*first);
            if next >= PARTS_MAX as i64 {
                break;
            }
            (level, more) = (level + 1, next);
        }
        let numbers = std::iter::successors(Some(self.first), |number| Some(number.next(level)));
        let numbers = numbers.take(usize::try_from(more).unwrap_or_default().saturating_add(1));
        numbers.map(|number| part(self.kind, self.shard, level, &number)).collect()
    }
}

/// Offsets of Kafka have 64 bits: their first digits tell nothing.
fn least_level(ranges: Kind) -> usize {
    if ranges == Kind::KafkaRange { DIGITS - 15 } else { 1 }
}

fn part(ranges: Kind, shard: &str, level: usize, number: &Number) -> Key {
    Key::new(Kind::RangePart, format!("{}:{shard}:{level}:{}", ranges.prefix(), number.prefix(level)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_compare_as_numbers() {
        let less = |a, b| Number::parse(a).unwrap() < Number::parse(b).unwrap();
        assert!(less("9", "10"));
        assert!(less("0009", "10"));
        assert!(less(
            "49590338271490256608559692538361571095921575989136588898",
            "149590338271490256608559692538361571095921575989136588898"
        ));
        assert!(!less("10", "010"));
        for text in ["1e5", "", "-1", "6277101735386680763835789423207666416102355444464034512896"] {
            assert_eq!(Number::parse(text), None, "{text}");
        }
        let most = Number::parse("6277101735386680763835789423207666416102355444464034512895");
        assert_eq!(most, Some(Number([15; DIGITS])));
    }

    fn range(first: u128, last: u128) -> Key {
        Key::new(Kind::KinesisRange, format!("eu:s:0:{first}..{last}"))
    }

    #[test]
    fn the_parts_of_a_range() {
        let parts = |first, last| -> Vec<String> {
            let key = range(first, last);
            Range::of(&key).unwrap().parts().iter().map(Key::to_string).collect()
        };
        let part = |level: usize, node: &str| format!("range:kinesis.range:eu:s:0:{level}:{node}");
        assert_eq!(parts(0x1234, 0x1234), [part(48, "1234")]);
        assert_eq!(parts(0x0fff, 0x1001), [part(48, "fff"), part(48, "1000"), part(48, "1001")]);
        assert_eq!(parts(0, 0x1f), [part(47, ""), part(47, "1")]);
        assert_eq!(parts(0x100, 0x1ff).len(), 16);
        assert_eq!(parts(0, u128::MAX).len(), 16);
        for id in ["eu:s:0:9..1", "eu:s:0:9", "9..10", "eu:s:0:x..9"] {
            assert_eq!(Range::of(&Key::new(Kind::KinesisRange, id)), None, "{id}");
        }
        assert_eq!(Range::of(&Key::new(Kind::Kinesis, "eu:s:0:1..9")), None);
    }

    proptest! {
        #[test]
        fn who_is_in_a_range_meets_one_of_its_parts(first in any::<u128>(), length in 0..100_000_000_u128, shift in 0..100_u32, at in 0.0..=1.0) {
            let (first, length) = (first >> shift, length << (shift % 64));
            let last = first.saturating_add(length);
            let number = (first + ((last - first) as f64 * at) as u128).min(last);
            for (kind, ranges) in KINDS {
                if *kind == Kind::Kafka && last > u128::from(u64::MAX) {
                    continue;
                }
                let (of_range, of_record) = (
                    Key::new(*ranges, format!("a:b:0:{first}..{last}")),
                    Key::new(*kind, format!("a:b:0:{number}")),
                );
                let (range, record) = (Range::of(&of_range).unwrap(), Record::of(&of_record).unwrap());
                let parts = range.parts();
                prop_assert!((1..=PARTS_MAX).contains(&parts.len()));
                prop_assert!(range.holds(&record));
                prop_assert_eq!(record.parts().filter(|part| parts.contains(part)).count(), 1);
            }
        }
    }
}
