//! UNION ALL: the changes of every input, one after another. No state, O(Δ).

use super::filter_project::shaped;
use super::{Collect, Emit, Operator};
use arrow::datatypes::SchemaRef;
use viewfeed_change::{Batch, Result};
use viewfeed_store::Txn;

/// Inputs with the same types of columns.
pub(crate) struct Union {
    schema: SchemaRef,
}

impl Union {
    /// With the output's columns.
    pub(crate) fn new(schema: SchemaRef) -> Self {
        Self { schema }
    }

    fn renamed(&self, batch: &Batch) -> Result<Batch> {
        Batch::new(shaped(batch.rows(), &self.schema)?, batch.weights().to_vec())
    }
}

impl Operator for Union {
    fn step(&self, inputs: &[Option<&Batch>], _txn: &mut Txn) -> Result<Option<Batch>> {
        let changed = inputs.iter().flatten().map(|batch| self.renamed(batch));
        let mut changed = changed.collect::<Result<Vec<_>>>()?;
        match changed.len() {
            0 | 1 => Ok(changed.pop()),
            _ => Batch::concat(&self.schema, &changed).map(Some),
        }
    }

    fn hydrate(&self, inputs: &[&Collect<'_>], txn: &mut Txn, output: &mut Emit<'_>) -> Result<()> {
        inputs
            .iter()
            .try_for_each(|input| input(txn, &mut |txn, batch| output(txn, self.renamed(&batch)?)))
    }
}
