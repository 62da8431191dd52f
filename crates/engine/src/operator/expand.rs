//! Grouping sets: every row once per set, with NULL for what the set leaves out, and the set's number. No state,
//! O(Δ · sets).

use super::{Collect, Emit, Operator};
use arrow::array::{RecordBatch, new_null_array};
use arrow::datatypes::SchemaRef;
use datafusion::scalar::ScalarValue;
use viewfeed_change::{Batch, Error, Result};
use viewfeed_store::Txn;

/// One of the sets that rows are grouped by.
#[derive(Clone, Debug)]
pub(crate) struct GroupingSet {
    /// By column that is grouped by in any set: whether this one leaves it out.
    pub(crate) leaves_out: Vec<bool>,
    /// What DataFusion calls the set: `__grouping_id`.
    pub(crate) id: ScalarValue,
}

/// Puts the columns that are grouped by first, then the set's number, then the others.
pub(crate) struct Expand {
    sets: Vec<GroupingSet>,
    schema: SchemaRef,
}

impl Expand {
    /// `schema` has the output's columns; the input's are the same without the set's number.
    pub(crate) fn new(sets: Vec<GroupingSet>, schema: SchemaRef) -> Self {
        Self { sets, schema }
    }

    fn apply(&self, batch: &Batch) -> Result<Batch> {
        let sets = self.sets.iter().map(|set| self.rows_of(set, batch));
        Batch::concat(&self.schema, &sets.collect::<Result<Vec<_>>>()?)
    }

    fn rows_of(&self, set: &GroupingSet, batch: &Batch) -> Result<Batch> {
        let rows = batch.rows();
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for (column, is_left_out) in rows.columns().iter().zip(&set.leaves_out) {
            columns.push(match is_left_out {
                true => new_null_array(column.data_type(), rows.num_rows()),
                false => column.clone(),
            });
        }
        let id = set.id.to_array_of_size(rows.num_rows());
        columns.push(id.map_err(|error| Error::internal("a grouping set without a number").because(error))?);
        columns.extend(rows.columns()[set.leaves_out.len()..].iter().cloned());
        let rows = RecordBatch::try_new(self.schema.clone(), columns)?;
        Batch::new(rows, batch.weights().to_vec())
    }
}

impl Operator for Expand {
    fn step(&self, inputs: &[Option<&Batch>], _txn: &mut Txn) -> Result<Option<Batch>> {
        match inputs {
            [Some(batch)] => self.apply(batch).map(Some),
            _ => Ok(None),
        }
    }

    fn hydrate(&self, inputs: &[&Collect<'_>], txn: &mut Txn, output: &mut Emit<'_>) -> Result<()> {
        let [input] = inputs else {
            return Err(Error::internal("grouping sets have one input"));
        };
        input(txn, &mut |txn, batch| output(txn, self.apply(&batch)?))
    }
}
