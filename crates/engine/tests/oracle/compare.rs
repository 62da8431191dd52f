//! Collections as multisets of rows, and how two differ.

use super::world::{Failure, wrong};
use arrow::datatypes::SchemaRef;
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
    let codec = RowCodec::for_schema(schema).map_err(wrong)?;
    let mut sums = Weights::new();
    for batch in batches {
        let rows = codec.encode(batch.rows()).map_err(wrong)?;
        for (row, weight) in rows.iter().zip(batch.weights()) {
            *sums.entry(row.to_vec()).or_insert(0) += weight;
        }
    }
    sums.retain(|_, weight| *weight != 0);
    Ok(sums)
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
