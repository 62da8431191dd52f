//! Whether two collections are the same rows: exactly, but for the last digits of floats.

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, SchemaRef};
use std::sync::Arc;
use viewfeed_change::Batch;
use viewfeed_change::row::RowCodec;

/// How far two floats may be apart, relative to the greater one.
const RELATIVE_MAX: f64 = 1e-9;

/// A row: its other columns encoded, its floats, how often it is there.
type Parts = (Vec<u8>, Vec<Option<f64>>, i64);

/// What is different, as text; None if nothing is.
pub(super) fn difference(schema: &SchemaRef, stored: &[Batch], wanted: &[Batch]) -> Option<String> {
    let sum = |batches: &[Batch]| Batch::concat(schema, batches).unwrap().consolidate().unwrap();
    let (stored, wanted) = (sum(stored), sum(wanted));
    let (left, right) = (parts(&stored), parts(&wanted));
    let same =
        left.len() == right.len() && left.iter().zip(&right).all(|(left, right)| is_close(left, right));
    (!same).then(|| format!("stored:\n{}\nwanted:\n{}", shown(&stored), shown(&wanted)))
}

/// The rows, ordered by what is exact, then by the floats.
fn parts(batch: &Batch) -> Vec<Parts> {
    let rows = batch.rows();
    let is_float = |place: &usize| *rows.column(*place).data_type() == DataType::Float64;
    let (floats, exact): (Vec<usize>, Vec<usize>) = (0..rows.num_columns()).partition(is_float);
    let exact = rows.project(&exact).unwrap();
    let encoded = RowCodec::for_schema(&exact.schema())
        .unwrap()
        .encode(&exact)
        .unwrap();
    let value = |column: &ArrayRef, row: usize| {
        column
            .is_valid(row)
            .then(|| column.as_primitive::<Float64Type>().value(row))
    };
    let part = |(row, weight): (usize, &i64)| {
        let floats = floats.iter().map(|place| value(rows.column(*place), row));
        (encoded.row(row).to_vec(), floats.collect(), *weight)
    };
    let mut parts: Vec<Parts> = batch.weights().iter().enumerate().map(part).collect();
    parts.sort_by(|left, right| (&left.0, &left.1).partial_cmp(&(&right.0, &right.1)).unwrap());
    parts
}

fn is_close(left: &Parts, right: &Parts) -> bool {
    let close = |(left, right): (&Option<f64>, &Option<f64>)| match (left, right) {
        (Some(left), Some(right)) => (left - right).abs() <= RELATIVE_MAX * left.abs().max(right.abs()),
        (None, None) => true,
        _ => false,
    };
    left.0 == right.0 && left.2 == right.2 && left.1.iter().zip(&right.1).all(close)
}

/// Whether there is a value that is not NULL.
pub(super) fn says_something(batches: &[RecordBatch]) -> bool {
    let has_value = |rows: &RecordBatch| {
        rows.columns()
            .iter()
            .any(|column| column.null_count() < rows.num_rows())
    };
    batches.iter().any(has_value)
}

fn shown(batch: &Batch) -> String {
    let table = arrow::util::pretty::pretty_format_batches(&[batch.rows().clone()]);
    format!("{}\nweights {:?}", table.unwrap(), batch.weights())
}

#[test]
fn other_rows_are_found_and_last_digits_are_not() {
    let batch = |rows: &[(i64, f64)], weight: i64| {
        let keys = rows.iter().map(|(key, _)| *key).collect::<Int64Array>();
        let floats = rows.iter().map(|(_, float)| *float).collect::<Float64Array>();
        let columns: [(&str, ArrayRef); 2] = [("key", Arc::new(keys)), ("float", Arc::new(floats))];
        Batch::new(
            RecordBatch::try_from_iter(columns).unwrap(),
            vec![weight; rows.len()],
        )
        .unwrap()
    };
    let wanted = batch(&[(1, 0.5), (1, 0.25), (2, 3.0)], 1);
    let differs = |rows: &[(i64, f64)], weight: i64| {
        let schema = wanted.schema();
        difference(&schema, &[batch(rows, weight)], std::slice::from_ref(&wanted)).is_some()
    };
    assert!(!differs(&[(2, 3.0 + 1e-12), (1, 0.25), (1, 0.5)], 1));
    assert!(differs(&[(2, 3.0001), (1, 0.25), (1, 0.5)], 1));
    assert!(differs(&[(2, 3.0), (2, 0.25), (1, 0.5)], 1));
    assert!(differs(&[(2, 3.0), (1, 0.25)], 1));
    assert!(differs(&[(2, 3.0), (1, 0.25), (1, 0.5)], 2));
}
