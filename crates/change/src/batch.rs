//! A Z-set in columns: rows and how often each is added or removed.

use crate::row::{self, RowCodec};
use crate::{Error, Result};
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow_schema::SchemaRef;

/// Rows with weights. A weight of +1 adds a row, −1 removes it; identity is the whole row, so weights of equal
/// rows may be summed in any order (DBSP's Z-set). Columns are of the plain types of [`crate::row`].
#[derive(Clone, Debug)]
pub struct Batch {
    rows: RecordBatch,
    weights: Vec<i64>,
}

impl Batch {
    /// Rows with their weights. Fails if there are not as many weights as rows.
    pub fn new(rows: RecordBatch, weights: Vec<i64>) -> Result<Self> {
        if rows.num_rows() != weights.len() {
            return Err(Error::internal(format!(
                "{} rows with {} weights",
                rows.num_rows(),
                weights.len()
            )));
        }
        Ok(Self { rows, weights })
    }

    /// Every row once.
    pub fn inserts(rows: RecordBatch) -> Self {
        let weights = vec![1; rows.num_rows()];
        Self { rows, weights }
    }

    /// Every row taken away once.
    pub fn deletes(rows: RecordBatch) -> Self {
        let weights = vec![-1; rows.num_rows()];
        Self { rows, weights }
    }

    /// No row.
    pub fn empty(schema: SchemaRef) -> Self {
        Self {
            rows: RecordBatch::new_empty(schema),
            weights: Vec::new(),
        }
    }

    /// The rows.
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// The weights, one per row.
    pub fn weights(&self) -> &[i64] {
        &self.weights
    }

    /// The schema of the rows.
    pub fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    /// How many entries it has (not the sum of weights).
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    /// Whether it has no entry.
    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// The parts.
    pub fn into_parts(self) -> (RecordBatch, Vec<i64>) {
        (self.rows, self.weights)
    }

    /// The same rows with opposite weights: applied after the original it undoes it.
    #[must_use]
    pub fn negate(mut self) -> Self {
        self.weights.iter_mut().for_each(|weight| *weight = -*weight);
        self
    }

    /// The entries at `indices`, in that order.
    pub fn take(&self, indices: &[u32]) -> Result<Self> {
        let rows = take_record_batch(&self.rows, &UInt32Array::from(indices.to_vec()))?;
        Ok(Self {
            rows,
            weights: indices.iter().map(|i| self.weights[*i as usize]).collect(),
        })
    }

    /// All entries of `batches` one after another; `schema` is that of the result.
    pub fn concat(schema: &SchemaRef, batches: &[Self]) -> Result<Self> {
        let rows = concat_batches(schema, batches.iter().map(|batch| &batch.rows))?;
        Ok(Self {
            rows,
            weights: batches
                .iter()
                .flat_map(|batch| batch.weights.iter().copied())
                .collect(),
        })
    }

    /// One entry per distinct row, weights summed, zeros dropped, in row-encoding order. The canonical form: two
    /// batches that mean the same consolidate to the same entries in the same order.
    pub fn consolidate(&self) -> Result<Self> {
        if self.is_empty() {
            return Ok(self.clone());
        }
        let encoded = RowCodec::for_schema(&self.rows.schema())?.encode(&self.rows)?;
        let order = row::sorted(&encoded);
        let (mut indices, mut weights) = (Vec::with_capacity(order.len()), Vec::with_capacity(order.len()));
        let mut at = 0;
        while at < order.len() {
            let (first, mut weight) = (order[at], 0);
            while at < order.len() && encoded.row(order[at] as usize) == encoded.row(first as usize) {
                weight += self.weights[order[at] as usize];
                at += 1;
            }
            if weight != 0 {
                indices.push(first);
                weights.push(weight);
            }
        }
        Ok(Self {
            rows: take_record_batch(&self.rows, &UInt32Array::from(indices))?,
            weights,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int32Array, StringArray};
    use std::sync::Arc;

    fn batch(rows: &[(i32, &str, i64)]) -> Batch {
        let ids: Int32Array = rows.iter().map(|row| Some(row.0)).collect();
        let names: StringArray = rows.iter().map(|row| Some(row.1)).collect();
        let rows_ =
            RecordBatch::try_from_iter([("id", Arc::new(ids) as _), ("name", Arc::new(names) as _)]).unwrap();
        Batch::new(rows_, rows.iter().map(|row| row.2).collect()).unwrap()
    }

    #[test]
    fn consolidation_sums_weights_and_drops_zeros() {
        let got = batch(&[(2, "b", 1), (1, "a", 1), (2, "b", 1), (3, "c", 1), (3, "c", -1)])
            .consolidate()
            .unwrap();
        let want = batch(&[(1, "a", 1), (2, "b", 2)]);
        assert_eq!(got.rows(), want.rows());
        assert_eq!(got.weights(), want.weights());
    }

    #[test]
    fn a_batch_and_its_negation_are_nothing() {
        let one = batch(&[(2, "b", 1), (1, "a", 3)]);
        let sum = Batch::concat(&one.schema(), &[one.clone(), one.clone().negate()]).unwrap();
        assert!(sum.consolidate().unwrap().is_empty());
    }
}
