//! The rows of a table that a planned UPDATE or DELETE found, each as often as it is stored.
//!
//! With FROM or USING a row may be found several times. Postgres then takes one of the matches, whichever it meets first;
//! here it is the first in the order of the encoded values, so that the same statement always does the same.

use super::Context;
use super::rules::Rules;
use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use std::collections::HashMap;
use std::ops::ControlFlow;
use viewfeed_change::row::{RowCodec, conform, sorted};
use viewfeed_change::{Relation, Result};
use viewfeed_store::{Reader, arrange};

/// Rows handed over at once when a table is read.
const SCAN_ROWS: usize = 8_192;

/// Splits `found` (all columns of the table, then others) into rows of the table and the other columns.
pub(super) fn rows(
    found: &RecordBatch,
    joined: bool,
    rules: &Rules,
    context: &Context<'_>,
) -> Result<(RecordBatch, Vec<ArrayRef>)> {
    let found = match joined {
        true => once_each(found, rules, context)?,
        false => found.clone(),
    };
    let width = rules.relation.columns.len();
    let places: Vec<usize> = (0..width).collect();
    let rows = conform(&found.project(&places)?, &rules.schema)?;
    Ok((rows, found.columns()[width..].to_vec()))
}

/// The first match of each stored row.
fn once_each(found: &RecordBatch, rules: &Rules, context: &Context<'_>) -> Result<RecordBatch> {
    let places: Vec<usize> = (0..rules.relation.columns.len()).collect();
    let rows = conform(&found.project(&places)?, &rules.schema)?;
    let rows = RowCodec::for_schema(&rules.schema)?.encode(&rows)?;
    let matches = RowCodec::for_schema(&found.schema())?.encode(found)?;
    let stored = match rules.relation.key.is_empty() {
        true => Some(multiplicities(&rules.relation, &context.txn.now())?),
        false => None,
    };
    let mut kept = Vec::new();
    let mut last: Option<&[u8]> = None;
    for place in sorted(&matches) {
        let row = rows.row(place as usize);
        if last == Some(row) {
            continue;
        }
        last = Some(row);
        let copies = stored
            .as_ref()
            .map_or(1, |stored| stored.get(row).copied().unwrap_or(0));
        kept.extend((0..copies).map(|_| place));
    }
    Ok(take_record_batch(found, &UInt32Array::from(kept))?)
}

/// How often each row of a table without a key is stored.
fn multiplicities(relation: &Relation, reader: &Reader) -> Result<HashMap<Vec<u8>, i64>> {
    let codec = RowCodec::for_schema(&relation.schema())?;
    let mut stored = HashMap::new();
    arrange::primary(reader, relation)?.scan(reader, &[], SCAN_ROWS, &mut |batch| {
        let rows = codec.encode(batch.rows())?;
        for (row, weight) in rows.iter().zip(batch.weights()) {
            *stored.entry(row.to_vec()).or_insert(0) += weight;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(stored)
}

/// Every row of a table, each as often as it is stored.
pub(super) fn all(relation: &Relation, reader: &Reader) -> Result<RecordBatch> {
    let schema = relation.schema();
    let mut parts = Vec::new();
    arrange::primary(reader, relation)?.scan(reader, &[], SCAN_ROWS, &mut |batch| {
        let (rows, weights) = batch.into_parts();
        parts.push(match weights.iter().all(|weight| *weight == 1) {
            true => rows,
            false => take_record_batch(&rows, &UInt32Array::from(repeated(&weights)))?,
        });
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(arrow::compute::concat_batches(&schema, &parts)?)
}

/// Each place as often as its weight says.
fn repeated(weights: &[i64]) -> Vec<u32> {
    let copies =
        |(place, weight): (usize, &i64)| std::iter::repeat_n(place as u32, (*weight).max(0) as usize);
    weights.iter().enumerate().flat_map(copies).collect()
}
