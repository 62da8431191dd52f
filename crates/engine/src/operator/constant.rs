//! Rows that are written in the query: handed over once, when the view is filled, and never changed. No state.

use super::{Collect, Emit, Operator};
use viewfeed_change::{Batch, Result};
use viewfeed_store::Txn;

/// Rows that never change.
pub(crate) struct Constant {
    rows: Batch,
}

impl Constant {
    /// These rows.
    pub(crate) fn new(rows: Batch) -> Self {
        Self { rows }
    }
}

impl Operator for Constant {
    fn step(&self, _inputs: &[Option<&Batch>], _txn: &mut Txn) -> Result<Option<Batch>> {
        Ok(None)
    }

    fn hydrate(&self, _inputs: &[&Collect<'_>], txn: &mut Txn, output: &mut Emit<'_>) -> Result<()> {
        match self.rows.is_empty() {
            true => Ok(()),
            false => output(txn, self.rows.clone()),
        }
    }
}
