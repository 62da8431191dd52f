//! A part of a plan that computes more than a change again, in a view that is being filled: to step it for every piece
//! of its inputs would cost their square. Until the inputs are complete it only keeps their rows; then it is computed
//! once. Meanwhile its output counts as empty.

use super::recompute::{Recompute, RecomputeInput};
use super::rescope::Rescope;
use super::{Collect, Emit, Operator};
use viewfeed_change::{Batch, Result, Timestamp};
use viewfeed_store::Txn;

/// What is computed at the end.
pub(crate) enum Deferred {
    Rescope(Box<Rescope>),
    Recompute(Box<Recompute>),
}

impl Deferred {
    fn inputs(&self) -> &[RecomputeInput] {
        match self {
            Self::Rescope(part) => std::slice::from_ref(part.input()),
            Self::Recompute(part) => &part.inputs,
        }
    }

    /// Keeps what the inputs begin with. Seals as it goes.
    pub(crate) fn begin(&self, inputs: &[&Collect<'_>], txn: &mut Txn) -> Result<()> {
        for (input, collect) in self.inputs().iter().zip(inputs).filter(|(input, _)| input.own) {
            collect(txn, &mut |txn, batch| {
                input.keep(&batch, txn)?;
                txn.seal();
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Keeps the changes of the inputs.
    pub(crate) fn step(&self, inputs: &[Option<&Batch>], txn: &mut Txn) -> Result<()> {
        for (input, change) in self.inputs().iter().zip(inputs) {
            if let Some(change) = change {
                input.keep(change, txn)?;
            }
        }
        Ok(())
    }

    /// Hands over the whole output. `inputs` gives what the inputs have besides what is kept. Seals as it goes.
    pub(crate) fn hydrate(
        &self,
        inputs: &[&Collect<'_>],
        now: Timestamp,
        txn: &mut Txn,
        output: &mut Emit<'_>,
    ) -> Result<()> {
        match self {
            Self::Rescope(part) => part.hydrate(inputs, txn, output),
            Self::Recompute(part) => part.hydrate(inputs, now, txn, output),
        }
    }
}
