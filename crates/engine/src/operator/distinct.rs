//! DISTINCT: a row is in the output once while it is in the input at all.
//!
//! The state is `operator prefix ‖ row → how often it is in the input`; rows that are not have no entry.

use super::aggregate::{bytes_of, count_of, negative};
use super::tally::Tally;
use super::{Collect, Emit, Operator, collected};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::common::utils::normalize_float_zero;
use viewfeed_change::row::{self, RowCodec};
use viewfeed_change::{Batch, Result};
use viewfeed_store::Txn;
use viewfeed_store::keys::{self, StateId};

/// Rows after which a batch of the output is handed over.
const OUTPUT_ROWS_MAX: usize = 8192;

/// Keeps how often each row is in the input.
pub(crate) struct Distinct {
    codec: RowCodec,
    prefix: Vec<u8>,
}

impl Distinct {
    /// Of rows with `schema`, with its state under `state`.
    pub(crate) fn new(schema: SchemaRef, state: StateId) -> Result<Self> {
        Ok(Self {
            codec: RowCodec::for_schema(&schema)?,
            prefix: keys::operator_prefix(state),
        })
    }

    /// Adds a batch to what changed per row. 0.0 and −0.0 are one value, as in DataFusion.
    fn gather(&self, batch: &Batch, delta: &mut Tally) -> Result<()> {
        let rows = row::conform(batch.rows(), self.codec.schema())?;
        let columns = rows.columns().iter().map(normalize_float_zero).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let rows = RecordBatch::try_new_with_options(rows.schema(), columns, &options)?;
        for (row, weight) in self.codec.encode(&rows)?.iter().zip(batch.weights()) {
            delta.add(row, *weight);
        }
        Ok(())
    }

    /// Brings the counts up to date and hands over the rows that came and went.
    fn apply(&self, delta: &Tally, txn: &mut Txn, emit: &mut Emit<'_>) -> Result<()> {
        let mut before = txn.before().prober();
        let (mut rows, mut weights) = (Vec::new(), Vec::new());
        let mut key = self.prefix.clone();
        for place in delta.sorted() {
            let (row, weight) = (delta.entry(place), delta.weight(place));
            if weight == 0 {
                continue;
            }
            key.truncate(self.prefix.len());
            key.extend_from_slice(row);
            let old = before.get(&key)?.map_or(Ok(0), |bytes| count_of(&bytes))?;
            let new = old.saturating_add(weight);
            match new {
                ..0 => return Err(negative()),
                0 => txn.write(&key, None),
                count => txn.write(&key, Some(&bytes_of(count))),
            }
            if (old == 0) != (new == 0) {
                rows.push(row);
                weights.push(if new == 0 { -1 } else { 1 });
            }
            if rows.len() >= OUTPUT_ROWS_MAX {
                let decoded = self.codec.decode(rows.drain(..))?;
                emit(txn, Batch::new(decoded, std::mem::take(&mut weights))?)?;
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let decoded = self.codec.decode(rows.into_iter())?;
        emit(txn, Batch::new(decoded, weights)?)
    }
}

impl Operator for Distinct {
    fn step(&self, inputs: &[Option<&Batch>], txn: &mut Txn) -> Result<Option<Batch>> {
        let mut delta = Tally::default();
        for batch in inputs.iter().flatten() {
            self.gather(batch, &mut delta)?;
        }
        collected(self.codec.schema(), |emit| self.apply(&delta, txn, emit))
    }

    fn hydrate(&self, inputs: &[&Collect<'_>], txn: &mut Txn, output: &mut Emit<'_>) -> Result<()> {
        let mut delta = Tally::default();
        for input in inputs {
            input(txn, &mut |_, batch| self.gather(&batch, &mut delta))?;
        }
        self.apply(&delta, txn, output)
    }
}
