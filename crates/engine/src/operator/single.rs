//! The rows of a scalar subquery: handed on as they come, if there is at most one; more are an error, as in DataFusion.
//!
//! The state is `operator prefix → how many rows there are`, nothing if none.

use super::aggregate::{bytes_of, count_of, negative};
use super::{Collect, Emit, Operator};
use viewfeed_change::{Batch, Error, Result};
use viewfeed_store::Txn;
use viewfeed_store::keys::{self, StateId};

/// Counts rows.
pub(crate) struct Single {
    prefix: Vec<u8>,
}

impl Single {
    /// With its count under `state`.
    pub(crate) fn new(state: StateId) -> Self {
        Self {
            prefix: keys::operator_prefix(state),
        }
    }

    fn add(&self, change: i64, txn: &mut Txn) -> Result<()> {
        let stored = txn.before().get(&self.prefix)?;
        let count = stored.map_or(Ok(0), |bytes| count_of(&bytes))?;
        match count.saturating_add(change) {
            ..0 => Err(negative()),
            0 => {
                txn.delete(self.prefix.clone());
                Ok(())
            }
            1 => {
                txn.put(self.prefix.clone(), bytes_of(1));
                Ok(())
            }
            _ => Err(Error::invalid(
                "EVALUATION",
                "a subquery that stands for a value gave more than one row",
            )
            .hint("let it give one row, for example with max() or a narrower WHERE")),
        }
    }
}

impl Operator for Single {
    fn step(&self, inputs: &[Option<&Batch>], txn: &mut Txn) -> Result<Option<Batch>> {
        let [Some(batch)] = inputs else {
            return Ok(None);
        };
        self.add(batch.weights().iter().sum(), txn)?;
        Ok(Some((*batch).clone()))
    }

    fn hydrate(&self, inputs: &[&Collect<'_>], txn: &mut Txn, output: &mut Emit<'_>) -> Result<()> {
        let (mut count, mut rows) = (0, Vec::new());
        for input in inputs {
            input(txn, &mut |_, batch| {
                count += batch.weights().iter().sum::<i64>();
                rows.push(batch);
                Ok(())
            })?;
        }
        self.add(count, txn)?;
        rows.into_iter().try_for_each(|batch| output(txn, batch))
    }
}
