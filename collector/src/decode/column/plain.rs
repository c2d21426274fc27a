//! Columns of bits, numbers, times, ids and text.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, FixedSizeBinaryArray, PrimitiveArray, StringArray, TimestampNanosecondArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::error::ArrowError;
use hopline_proto::wire;

use super::{Values, boolean_array, offset, take};

/// A list of bits. Invariant: the bits of the last byte beyond `len` are zero.
#[derive(Debug, Default)]
pub(in crate::decode) struct Bits {
    bytes: Vec<u8>,
    len: usize,
    ones: usize,
}

impl Bits {
    #[inline]
    pub(in crate::decode) fn len(&self) -> usize {
        self.len
    }

    /// How many bits are set.
    pub(super) fn ones(&self) -> usize {
        self.ones
    }

    #[inline]
    pub(in crate::decode) fn push(&mut self, bit: bool) {
        let shift = self.len & 7;
        if shift == 0 {
            self.bytes.push(u8::from(bit));
        } else if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << shift;
        }
        self.len += 1;
        self.ones += usize::from(bit);
    }

    #[inline]
    pub(super) fn zeros_to(&mut self, len: usize) {
        if len > self.len {
            self.bytes.resize(len.div_ceil(8), 0);
            self.len = len;
        }
    }

    pub(super) fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        self.bytes.truncate(len.div_ceil(8));
        if let (1.., Some(last)) = (len & 7, self.bytes.last_mut()) {
            *last &= (1 << (len & 7)) - 1;
        }
        self.len = len;
        self.ones = self.bytes.iter().map(|b| b.count_ones() as usize).sum();
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn finish(&mut self) -> BooleanBuffer {
        let len = std::mem::take(&mut self.len);
        self.ones = 0;
        BooleanBuffer::new(Buffer::from_vec(take(&mut self.bytes)), 0, len)
    }
}

/// A column of true and false.
#[derive(Debug, Default)]
pub(in crate::decode) struct Bools(Bits);

impl Bools {
    #[inline]
    pub(in crate::decode) fn push(&mut self, value: bool) {
        self.0.push(value);
    }
}

impl Values for Bools {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn pad(&mut self, len: usize) {
        self.0.zeros_to(len);
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    fn bytes(&self) -> usize {
        self.0.bytes()
    }

    fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
        Ok(boolean_array(&mut self.0, nulls))
    }
}

/// A column of numbers.
#[derive(Debug)]
pub(in crate::decode) struct Numbers<T: ArrowPrimitiveType>(Vec<T::Native>);

impl<T: ArrowPrimitiveType> Default for Numbers<T> {
    fn default() -> Self {
        Numbers(Vec::new())
    }
}

impl<T: ArrowPrimitiveType> Numbers<T> {
    #[inline]
    pub(in crate::decode) fn push(&mut self, value: T::Native) {
        self.0.push(value);
    }
}

impl<T: ArrowPrimitiveType> Values for Numbers<T> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn pad(&mut self, len: usize) {
        self.0.resize(len, T::Native::default());
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    fn bytes(&self) -> usize {
        self.0.len() * size_of::<T::Native>()
    }

    fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(PrimitiveArray::<T>::try_new(ScalarBuffer::from(take(&mut self.0)), nulls)?))
    }
}

/// A column of times: OTLP's unsigned nanoseconds, bit by bit.
#[derive(Debug, Default)]
pub(in crate::decode) struct Times(Vec<i64>);

impl Times {
    #[inline]
    pub(in crate::decode) fn push(&mut self, unix_ns: u64) {
        self.0.push(unix_ns as i64);
    }
}

impl Values for Times {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn pad(&mut self, len: usize) {
        self.0.resize(len, 0);
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    fn bytes(&self) -> usize {
        self.0.len() * size_of::<i64>()
    }

    fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
        static UTC: LazyLock<Arc<str>> = LazyLock::new(|| hopline_model::schema::UTC.into());
        let array = TimestampNanosecondArray::try_new(ScalarBuffer::from(take(&mut self.0)), nulls)?;
        Ok(Arc::new(array.with_timezone(UTC.clone())))
    }
}

/// A column of ids of `N` bytes.
#[derive(Debug, Default)]
pub(in crate::decode) struct Ids<const N: usize>(Vec<u8>);

impl<const N: usize> Ids<N> {
    #[inline]
    pub(in crate::decode) fn push(&mut self, id: &[u8; N]) {
        self.0.extend_from_slice(id);
    }
}

impl<const N: usize> Values for Ids<N> {
    fn len(&self) -> usize {
        self.0.len() / N
    }

    fn pad(&mut self, len: usize) {
        self.0.resize(len * N, 0);
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len * N);
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }

    fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
        let bytes = Buffer::from_vec(take(&mut self.0));
        Ok(Arc::new(FixedSizeBinaryArray::try_new(N as i32, bytes, nulls)?))
    }
}

/// A column of UTF-8 text. Invariants: each value is UTF-8; `offsets` is empty or has
/// one element more than there are values; `bytes` has at most `i32::MAX` bytes.
#[derive(Debug, Default)]
pub(in crate::decode) struct Text {
    offsets: Vec<i32>,
    bytes: Vec<u8>,
    full: bool,
}

impl Text {
    /// Appends `value`, with U+FFFD in place of what is not UTF-8.
    #[inline]
    pub(in crate::decode) fn push(&mut self, value: &[u8]) {
        if value.is_ascii() {
            self.push_valid(value);
        } else {
            self.push_checked(value);
        }
    }

    /// Appends `value`.
    #[inline]
    pub(in crate::decode) fn push_str(&mut self, value: &str) {
        self.push_valid(value.as_bytes());
    }

    #[inline(never)]
    fn push_checked(&mut self, value: &[u8]) {
        self.push_valid(wire::text(value).0.as_bytes());
    }

    #[inline]
    fn push_valid(&mut self, value: &[u8]) {
        if self.offsets.is_empty() {
            self.offsets.push(0);
        }
        if self.bytes.len() + value.len() > i32::MAX as usize {
            self.full = true;
        } else {
            self.bytes.extend_from_slice(value);
        }
        self.offsets.push(offset(self.bytes.len()));
    }

    /// The bytes of value `index`, empty if there is none.
    #[inline]
    pub(in crate::decode) fn get(&self, index: usize) -> &[u8] {
        let (Some(&start), Some(&end)) = (self.offsets.get(index), self.offsets.get(index + 1)) else {
            return &[];
        };
        self.bytes.get(start as usize..end as usize).unwrap_or_default()
    }
}

impl Values for Text {
    #[inline]
    fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    fn pad(&mut self, len: usize) {
        if self.offsets.len() <= len {
            self.offsets.resize(len + 1, offset(self.bytes.len()));
        }
    }

    fn truncate(&mut self, len: usize) {
        self.offsets.truncate(len + 1);
        self.bytes.truncate(self.offsets.last().map_or(0, |end| *end as usize));
        self.full = false;
    }

    fn bytes(&self) -> usize {
        self.bytes.len() + self.offsets.len() * size_of::<i32>()
    }

    fn full(&self) -> bool {
        self.full
    }

    fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
        self.pad(0);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(take(&mut self.offsets)));
        let bytes = Buffer::from_vec(take(&mut self.bytes));
        Ok(Arc::new(StringArray::try_new(offsets, bytes, nulls)?))
    }
}
