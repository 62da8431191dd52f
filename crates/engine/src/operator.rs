//! The operators: one file each, all with the same inner shape.

pub(crate) mod aggregate;
pub(crate) mod clock_filter;
pub(crate) mod constant;
pub(crate) mod deferred;
pub(crate) mod distinct;
pub(crate) mod evaluate;
pub(crate) mod expand;
pub(crate) mod filter_project;
pub(crate) mod isolate;
pub(crate) mod join;
mod ordered_rows;
pub(crate) mod recompute;
pub(crate) mod recursion;
pub(crate) mod rescope;
pub(crate) mod single;
pub(crate) mod tally;
pub(crate) mod top_k;
pub(crate) mod union;
pub(crate) mod unnest;
pub(crate) mod window;

use arrow::datatypes::SchemaRef;
use viewfeed_change::{Batch, Result};
use viewfeed_store::Txn;

/// The most rows of a batch when a whole collection is read.
pub(crate) const CHUNK_ROWS: usize = 8192;

/// A node that turns changes of its inputs into changes of its output.
///
/// The state it reads is the one its inputs' deltas start from ([`Txn::before`]); what it stages becomes readable with
/// the next seal. It is called only when an input changed, exactly once per step, inputs before outputs. It holds no
/// state that changes with the epoch: all of that is in the transaction, so that a discarded transaction leaves no
/// trace in it.
pub(crate) trait Operator: Send + Sync {
    /// The change of the output that follows from the changes of the inputs (None: unchanged). Input batches are not
    /// necessarily consolidated; neither is the result.
    fn step(&self, inputs: &[Option<&Batch>], txn: &mut Txn) -> Result<Option<Batch>>;

    /// Builds the state for inputs that are not empty, and hands over the whole output in batches. `inputs[i]` gives the
    /// whole of input `i` in batches and must be called once, as it may fill states below. The operator's own state is
    /// empty before.
    fn hydrate(&self, inputs: &[&Collect<'_>], txn: &mut Txn, output: &mut Emit<'_>) -> Result<()>;
}

/// What `apply` hands over, as one batch with `schema`: for a step of an operator that fills in batches as well.
pub(crate) fn collected(
    schema: &SchemaRef,
    apply: impl FnOnce(&mut Emit<'_>) -> Result<()>,
) -> Result<Option<Batch>> {
    let mut changed = Vec::new();
    apply(&mut |_, batch| {
        changed.push(batch);
        Ok(())
    })?;
    match changed.len() {
        0 | 1 => Ok(changed.pop()),
        _ => Batch::concat(schema, &changed).map(Some),
    }
}

/// Gives the whole of a collection, batch by batch.
pub(crate) type Collect<'a> = dyn Fn(&mut Txn, &mut Emit<'_>) -> Result<()> + 'a;

/// Takes a batch.
pub(crate) type Emit<'a> = dyn FnMut(&mut Txn, Batch) -> Result<()> + 'a;
