//! A recursion: the operators of its recursive term, and the rows that are fed back to them. Every row of a recursion has a
//! step; what changed is fed back step by step, the lowest first, until nothing is left. So a change costs what follows
//! from it, in whichever steps that is. (This is Differential Dataflow's iteration with the two times, epoch and step,
//! taken apart: the operators keep the rows of all steps side by side, told apart by a column.)

use super::Builder;
use super::circuit::{Circuit, Pass, Work};
use crate::operator::recursion::{Fed, Feedback, Pending};
use crate::operator::{Collect, Emit, collected};
use crate::plan::{Node, RecursionPlan, state_names};
use viewfeed_change::{Batch, Error, Result, Timestamp};
use viewfeed_query::RecursionBudget;
use viewfeed_store::{Txn, keys};

/// A recursion of a view.
pub(super) struct Recursion {
    /// The recursive term, over a reference.
    pub(super) body: Circuit,
    feedback: Feedback,
}

impl Recursion {
    /// The change of its rows that follows from the change of where it begins and from what its term reads.
    pub(super) fn step(
        &self,
        inputs: &[Option<&Batch>],
        pass: &Pass<'_>,
        now: Timestamp,
        txn: &mut Txn,
    ) -> Result<Option<Batch>> {
        let mut pending = Pending::default();
        for batch in inputs.iter().flatten() {
            self.feedback.begin_with(batch, &mut pending)?;
        }
        // What the term makes of its rows before this step, which `before` shows to it now only.
        if let Some(derived) = self.body.run(pass, now, txn)? {
            self.feedback.derive(&derived, &mut pending)?;
        }
        if pending.is_empty() {
            return Ok(None);
        }
        txn.begin_rounds();
        let changed = collected(self.feedback.schema(), |output| {
            self.iterate(pending, now, txn, output)
        });
        txn.end_rounds();
        changed
    }

    /// Fills the state and hands over all rows. Seals as it goes.
    pub(super) fn hydrate(
        &self,
        inputs: &[&Collect<'_>],
        now: Timestamp,
        txn: &mut Txn,
        output: &mut Emit<'_>,
    ) -> Result<()> {
        let mut pending = Pending::default();
        for input in inputs {
            input(txn, &mut |_, batch| {
                self.feedback.begin_with(&batch, &mut pending)
            })?;
        }
        self.body.collect(now, txn, &mut |_, batch| {
            self.feedback.derive(&batch, &mut pending)
        })?;
        self.iterate(pending, now, txn, output)
    }

    /// Feeds back until nothing is left; hands over the changes of the rows. Seals as it goes.
    fn iterate(
        &self,
        mut pending: Pending,
        now: Timestamp,
        txn: &mut Txn,
        output: &mut Emit<'_>,
    ) -> Result<()> {
        let mut budget = RecursionBudget::default();
        txn.seal();
        while let Some((step, derived)) = pending.pop_first() {
            for Fed { rows, stepped } in self.feedback.apply(step, &derived, &mut pending, txn)? {
                let added = rows.weights().iter().filter(|weight| **weight > 0).sum::<i64>();
                if added > 0 {
                    budget.spend(usize::try_from(added).unwrap_or(usize::MAX))?;
                }
                output(txn, rows)?;
                txn.seal();
                if let Some(derived) = self.body.run(&Pass::Feed(stepped), now, txn)? {
                    self.feedback.derive(&derived, &mut pending)?;
                }
            }
            txn.seal();
        }
        Ok(())
    }
}

impl Builder<'_> {
    /// Adds the recursion `node`, which stands at `path`; gives its place.
    pub(super) fn add_recursion(&mut self, path: &str, node: &Node, plan: &RecursionPlan) -> Result<usize> {
        let [start, body] = node.inputs.as_slice() else {
            return Err(Error::internal("a recursion has two inputs"));
        };
        let start = self.add(&format!("{path}.0"), start)?;
        let outside = std::mem::replace(&mut self.circuit, Circuit::new(self.is_filling));
        self.add(&format!("{path}.1"), body)?;
        let body_circuit = std::mem::replace(&mut self.circuit, outside);
        let mut state = None;
        if plan.is_distinct {
            let names = state_names(self.view, path, node);
            let name = names
                .first()
                .ok_or_else(|| Error::internal("a state without a name"))?;
            state = Some(keys::allocate(self.txn, name)?.0);
        }
        let recursion = Recursion {
            body: body_circuit,
            feedback: Feedback::new(&node.schema, &body.schema, state)?,
        };
        let work = Work::Recursion(Box::new(recursion));
        Ok(self.circuit.push(work, vec![start], &node.schema))
    }
}
