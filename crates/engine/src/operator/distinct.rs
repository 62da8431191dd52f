//! DISTINCT: a row is in the output once while it is in the input at all.

use super::{Collect, Emit, Operator};
use arrow::datatypes::SchemaRef;
use viewfeed_change::{Batch, Result};
use viewfeed_store::Txn;
use viewfeed_store::keys::StateId;

/// Keeps how often each row is in the input.
pub(crate) struct Distinct {
    schema: SchemaRef,
    state: StateId,
}

impl Distinct {
    /// Of rows with `schema`, with its state under `state`.
    pub(crate) fn new(schema: SchemaRef, state: StateId) -> Result<Self> {
        Ok(Self { schema, state })
    }
}

impl Operator for Distinct {
    fn step(&self, _inputs: &[Option<&Batch>], _txn: &mut Txn) -> Result<Option<Batch>> {
        let _ = (&self.schema, self.state);
        todo!()
    }

    fn hydrate(&self, _inputs: &[&Collect<'_>], _txn: &mut Txn, _output: &mut Emit<'_>) -> Result<()> {
        todo!()
    }
}
