#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use arrow::array::ListBuilder;
use arrow::array::{Float64Builder, Int32Array, StringDictionaryBuilder};
use hopline_model::{Table, schema};
use proptest::prelude::*;

use super::*;

/// Numbers that follow from a seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    fn nulls(&mut self, len: usize, nullable: bool) -> Option<NullBuffer> {
        // Often none at all, sometimes nothing but nulls.
        match self.below(4) {
            0 if nullable => Some((0..len).map(|_| self.below(3) > 0).collect()),
            1 if nullable => Some(NullBuffer::new_null(len)),
            _ => None,
        }
    }

    fn offsets(&mut self, len: usize) -> OffsetBuffer<i32> {
        OffsetBuffer::from_lengths((0..len).map(|_| self.below(4)))
    }

    fn word(&mut self) -> &'static str {
        ["", "a", "é", "GET /cart", "a rather long word, longer than sixteen bytes"][self.below(5)]
    }

    fn array(&mut self, kind: &DataType, len: usize, nullable: bool) -> ArrayRef {
        // Arrays are sometimes windows of longer ones.
        let (before, after) = if self.below(3) == 0 { (self.below(9), self.below(3)) } else { (0, 0) };
        let all = before + len + after;
        let whole = match kind {
            DataType::Dictionary(..) => self.dictionary(all, nullable),
            DataType::Utf8 => {
                let words: Vec<_> = (0..all).map(|_| self.word()).collect();
                let (offsets, bytes, _) = StringArray::from(words).into_parts();
                Arc::new(StringArray::new(offsets, bytes, self.nulls(all, nullable)))
            }
            DataType::List(item) => {
                let offsets = self.offsets(all);
                let items = self.array(item.data_type(), offsets[all] as usize, item.is_nullable());
                Arc::new(ListArray::new(item.clone(), offsets, items, self.nulls(all, nullable)))
            }
            DataType::Map(field, _) => {
                let offsets = self.offsets(all);
                let entries = self.array(field.data_type(), offsets[all] as usize, false);
                let entries = entries.as_struct().clone();
                Arc::new(MapArray::new(field.clone(), offsets, entries, self.nulls(all, nullable), false))
            }
            DataType::Struct(fields) => {
                let columns = fields.iter().map(|f| self.array(f.data_type(), all, f.is_nullable())).collect();
                Arc::new(StructArray::new(fields.clone(), columns, self.nulls(all, nullable)))
            }
            DataType::FixedSizeBinary(width) => {
                let bytes: Vec<u8> = (0..all * *width as usize).map(|_| self.below(256) as u8).collect();
                Arc::new(FixedSizeBinaryArray::new(*width, bytes.into(), self.nulls(all, nullable)))
            }
            DataType::Boolean => {
                let bits = (0..all).map(|_| self.below(2) == 1).collect();
                Arc::new(BooleanArray::new(bits, self.nulls(all, nullable)))
            }
            _ => {
                let numbers: Vec<i32> = (0..all).map(|_| self.below(1000) as i32).collect();
                let numbers = Int32Array::new(numbers.into(), self.nulls(all, nullable));
                arrow::compute::cast(&numbers, kind).unwrap()
            }
        };
        whole.slice(before, len)
    }

    fn dictionary(&mut self, len: usize, nullable: bool) -> ArrayRef {
        let words: Vec<Option<&str>> = (0..6).map(|i| (i < 5 || !nullable).then(|| self.word())).collect();
        let keys: Vec<i32> = (0..len).map(|_| self.below(6) as i32).collect();
        let keys = Int32Array::new(keys.into(), self.nulls(len, nullable));
        Arc::new(DictionaryArray::new(keys, Arc::new(StringArray::from(words))))
    }

    fn batch(&mut self, schema: &SchemaRef, rows: usize) -> RecordBatch {
        let columns = schema.fields().iter().map(|f| self.array(f.data_type(), rows, f.is_nullable())).collect();
        RecordBatch::try_new(schema.clone(), columns).unwrap()
    }
}

/// Without its dictionary: arrays with other keys, or a null in another place, may hold the same rows.
fn plain(array: &ArrayRef) -> ArrayRef {
    let is_dictionary = matches!(array.data_type(), DataType::Dictionary(..));
    if is_dictionary { arrow::compute::cast(array, &DataType::Utf8).unwrap() } else { array.clone() }
}

fn schemas() -> impl Strategy<Value = SchemaRef> {
    let tables = Table::ALL.map(schema::of);
    // A kind that no table has takes the general way.
    let other = arrow::datatypes::Field::new("other", DataType::UInt8, true);
    let other: SchemaRef = Arc::new(arrow::datatypes::Schema::new(vec![other]));
    prop::sample::select(tables.into_iter().chain([other]).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Arrow's own kernel gives the same rows, one at a time.
    #[test]
    fn gathers_what_interleave_gathers(
        schema in schemas(),
        seed in 1u64..,
        sizes in prop::collection::vec(0usize..40, 1..5),
        picks in prop::collection::vec((0usize..4, 0usize..40, 1usize..6), 0..30),
    ) {
        let mut random = Random(seed);
        let batches: Vec<_> = sizes.iter().map(|rows| random.batch(&schema, *rows)).collect();
        let batches: Vec<_> = batches.iter().collect();
        let runs = picks.into_iter().flat_map(|(batch, row, len)| (row..row + len).map(move |row| (batch, row)));
        let rows: Vec<RowIndex> = runs.filter(|(b, row)| sizes.get(*b).is_some_and(|rows| row < rows)).collect();

        let found = gather(&schema, &batches, &rows).unwrap();
        prop_assert_eq!(found.num_rows(), rows.len());
        for (i, column) in found.columns().iter().enumerate() {
            let arrays: Vec<&dyn Array> = batches.iter().map(|b| b.column(i).as_ref()).collect();
            let expected = interleave(&arrays, &rows).unwrap();
            prop_assert_eq!(&plain(column), &plain(&expected), "{}", schema.field(i).name());
            column.to_data().validate_full().unwrap();
        }
    }

    #[test]
    fn concat_is_all_rows_in_order(seed in 1u64.., sizes in prop::collection::vec(0usize..40, 0..5)) {
        let schema = schema::of(Table::Spans);
        let mut random = Random(seed);
        let batches: Vec<_> = sizes.iter().map(|rows| random.batch(&schema, *rows)).collect();
        let batches: Vec<_> = batches.iter().collect();
        let found = concat(&schema, &batches).unwrap();
        let expected = arrow::compute::concat_batches(&schema, batches.iter().copied()).unwrap();
        for (found, expected) in found.columns().iter().zip(expected.columns()) {
            prop_assert_eq!(&plain(found), &plain(expected));
        }
    }
}

#[test]
fn a_dictionary_holds_each_used_value_once() {
    let mut a = StringDictionaryBuilder::<Int32Type>::new();
    a.extend([Some("x"), Some("unused"), Some("y"), Some("x")]);
    let mut b = StringDictionaryBuilder::<Int32Type>::new();
    b.extend([Some("y"), None, Some("x"), Some("z")]);
    let (a, b) = (a.finish(), b.finish());
    let mut runs = Runs::default();
    [(0, 0), (0, 2), (0, 3), (1, 0), (1, 1), (1, 3)]
        .iter()
        .for_each(|&(array, start)| runs.push(Run { array, start, len: 1 }));
    assert_eq!(runs.runs.len(), 4, "neighbours are one run");
    let merged = column(a.data_type(), &[&a, &b], &runs).unwrap();
    let merged = merged.as_dictionary::<Int32Type>();
    let values: Vec<_> = merged.values().as_string::<i32>().iter().flatten().collect();
    assert_eq!(values, ["x", "y", "z"]);
    let rows: Vec<_> = merged.downcast_dict::<StringArray>().unwrap().into_iter().collect();
    assert_eq!(rows, [Some("x"), Some("y"), Some("x"), Some("y"), None, Some("z")]);
}

#[test]
fn a_row_that_is_not_there_is_an_error() {
    let schema = schema::of(Table::Logs);
    let batch = Random(7).batch(&schema, 3);
    for row in [(0, 3), (1, 0)] {
        let error = gather(&schema, &[&batch], &[row]).unwrap_err();
        assert!(error.to_string().contains("out of range"), "{error}");
    }
    let other = Random(7).batch(&schema::of(Table::Spans), 3);
    assert!(gather(&schema, &[&other], &[(0, 0)]).is_err());
}

/// What 32-bit offsets cannot hold is an error and not a wrong array.
#[test]
fn more_than_an_array_can_hold_is_an_error() {
    let mut lists = ListBuilder::new(Float64Builder::new());
    lists.values().append_slice(&vec![0.0; 1 << 20]);
    lists.append(true);
    let lists = lists.finish();
    let times = (i32::MAX as usize >> 20) + 1;
    let runs = Runs { runs: vec![Run { array: 0, start: 0, len: 1 }; times], len: times };
    let error = offsets(&[lists.value_offsets()], &runs).unwrap_err();
    assert!(matches!(error, ArrowError::OffsetOverflowError(_)), "{error}");
}
