//! Collections as multisets of rows, and how two differ.

use super::plans::APPROXIMATE;
use super::world::{Failure, wrong};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, SchemaRef};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use viewfeed_change::row::RowCodec;
use viewfeed_change::{Batch, Relation};
use viewfeed_store::{Reader, arrange};

/// Encoded rows and how often each is there.
pub(super) type Weights = BTreeMap<Vec<u8>, i64>;

/// The rows of a view as they are stored.
pub(super) fn stored(reader: &Reader, view: &Relation) -> Result<Vec<Batch>, Failure> {
    let mut batches = Vec::new();
    let primary = arrange::primary(reader, view).map_err(wrong)?;
    let mut each = |batch| {
        batches.push(batch);
        Ok(ControlFlow::Continue(()))
    };
    primary.scan(reader, &[], 1000, &mut each).map_err(wrong)?;
    Ok(batches)
}

/// Encoded rows with the sum of their weights, those with 0 left out.
pub(super) fn weights(schema: &SchemaRef, batches: &[Batch]) -> Result<Weights, Failure> {
    let mut sums = Weights::new();
    batches
        .iter()
        .try_for_each(|batch| add(&mut sums, schema, batch))?;
    Ok(sums)
}

/// Adds the rows of `batch` to `sums`.
pub(super) fn add(sums: &mut Weights, schema: &SchemaRef, batch: &Batch) -> Result<(), Failure> {
    let codec = RowCodec::for_schema(schema).map_err(wrong)?;
    let rows = codec.encode(batch.rows()).map_err(wrong)?;
    for (row, weight) in rows.iter().zip(batch.weights()) {
        *sums.entry(row.to_vec()).or_insert(0) += weight;
    }
    sums.retain(|_, weight| *weight != 0);
    Ok(())
}

/// A row: the columns that must be equal, those that must be close, and how often it is there.
type Parts = (Vec<u8>, Vec<Option<f64>>, i64);

/// Whether both are the same rows, but for the last digits of the columns whose names say so.
pub(super) fn is_same(schema: &SchemaRef, left: &Weights, right: &Weights) -> bool {
    let is_approximate = |place: &usize| schema.field(*place).name().starts_with(APPROXIMATE);
    let (approximate, exact): (Vec<usize>, Vec<usize>) = (0..schema.fields().len()).partition(is_approximate);
    if left == right || approximate.is_empty() || left.len() != right.len() {
        return left == right;
    }
    let mut right = parts(schema, &approximate, &exact, right);
    let found = |left: Parts| {
        let place = right.iter().position(|right| is_close(&left, right));
        place.map(|place| right.swap_remove(place)).is_some()
    };
    parts(schema, &approximate, &exact, left).into_iter().all(found)
}

fn parts(schema: &SchemaRef, approximate: &[usize], exact: &[usize], rows: &Weights) -> Vec<Parts> {
    let codec = RowCodec::for_schema(schema).expect("the rows were just encoded");
    let decoded = codec
        .decode(rows.keys().map(Vec::as_slice))
        .expect("the rows were just encoded");
    let same = decoded.project(exact).expect("the columns are there");
    let same_codec = RowCodec::for_schema(&same.schema()).expect("the rows were just encoded");
    let same = same_codec.encode(&same).expect("the rows were just encoded");
    let close = |row: usize| {
        let columns = approximate
            .iter()
            .map(|place| decoded.column(*place).as_primitive::<Float64Type>());
        columns
            .map(|column| column.is_valid(row).then(|| column.value(row)))
            .collect()
    };
    let weights = rows.values().enumerate();
    weights
        .map(|(row, weight)| (same.row(row).to_vec(), close(row), *weight))
        .collect()
}

fn is_close(left: &Parts, right: &Parts) -> bool {
    let close = |(left, right): (&Option<f64>, &Option<f64>)| match (left, right) {
        (Some(left), Some(right)) => (left - right).abs() <= 1e-9 * left.abs().max(right.abs()).max(1.0),
        (None, None) => true,
        _ => false,
    };
    left.0 == right.0 && left.2 == right.2 && left.1.iter().zip(&right.1).all(close)
}

/// What is only on one side.
pub(super) fn different(
    view: &Relation,
    left_name: &str,
    left: &Weights,
    right_name: &str,
    right: &Weights,
) -> Failure {
    let codec = RowCodec::for_schema(&view.schema()).expect("the view's rows were just encoded");
    let only = |these: &Weights, those: &Weights| {
        let rows = these
            .iter()
            .filter(|(row, weight)| those.get(*row) != Some(weight));
        let (rows, weights): (Vec<&[u8]>, Vec<i64>) =
            rows.map(|(row, weight)| (row.as_slice(), *weight)).unzip();
        let decoded = codec
            .decode(rows.into_iter())
            .expect("the rows were just encoded");
        let table = arrow::util::pretty::pretty_format_batches(&[decoded]);
        format!(
            "{}\nweights {weights:?}",
            table.expect("plain types can be shown")
        )
    };
    Failure::Wrong(format!(
        "{} is wrong\n{left_name}:\n{}\n{right_name}:\n{}",
        view.name,
        only(left, right),
        only(right, left)
    ))
}
