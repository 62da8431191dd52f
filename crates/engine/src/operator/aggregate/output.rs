//! Changed rows of the output, gathered into batches.

use super::call::Call;
use super::value::Value;
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use viewfeed_change::row::RowCodec;
use viewfeed_change::{Batch, Result};

/// What to make rows of.
pub(super) struct Output<'a> {
    pub(super) calls: &'a [Call],
    pub(super) group_codec: &'a RowCodec,
    pub(super) schema: &'a SchemaRef,
}

/// Rows taken away and added, by group.
#[derive(Default)]
pub(super) struct ChangedRows<'a> {
    groups: Vec<&'a [u8]>,
    values: Vec<Vec<Value>>,
    weights: Vec<i64>,
}

impl<'a> ChangedRows<'a> {
    /// Replaces the row of `group`; nothing if both are the same.
    pub(super) fn replace(&mut self, group: &'a [u8], old: Option<Vec<Value>>, new: Option<Vec<Value>>) {
        if let (Some(old), Some(new)) = (&old, &new)
            && old.iter().zip(new).all(|(old, new)| old.is_same(new))
        {
            return;
        }
        for (values, weight) in [(old, -1), (new, 1)] {
            if let Some(values) = values {
                self.groups.push(group);
                self.values.push(values);
                self.weights.push(weight);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.weights.len()
    }

    /// The rows gathered so far, which are forgotten.
    pub(super) fn take(&mut self, output: &Output<'_>) -> Result<Batch> {
        let groups = output.group_codec.decode(self.groups.drain(..))?;
        let mut columns = groups.columns().to_vec();
        for (i, call) in output.calls.iter().enumerate() {
            let values: Vec<&Value> = self.values.iter().map(|values| &values[i]).collect();
            columns.push(call.column(&values)?);
        }
        self.values.clear();
        let weights = std::mem::take(&mut self.weights);
        let options = RecordBatchOptions::new().with_row_count(Some(weights.len()));
        let rows = RecordBatch::try_new_with_options(output.schema.clone(), columns, &options)?;
        Batch::new(rows, weights)
    }
}
