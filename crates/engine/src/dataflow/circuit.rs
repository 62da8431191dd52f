//! Operators in a row, inputs before outputs; the last one gives what comes out. Runs them: for a change, for what is there
//! already, and for what a recursion feeds back.

use super::recursion::Recursion;
use crate::operator::clock_filter::ClockFilter;
use crate::operator::deferred::Deferred;
use crate::operator::recompute::Recompute;
use crate::operator::{CHUNK_ROWS, Collect, Emit, Operator, collected};
use arrow::datatypes::SchemaRef;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use viewfeed_change::{Batch, Relation, RelationId, Result, Timestamp};
use viewfeed_store::{Txn, arrange};

/// Operators, wired.
pub(super) struct Circuit {
    steps: Vec<Step>,
    /// Whether it sees only the rows up to a position of each relation: none at first.
    is_filling: bool,
}

struct Step {
    work: Work,
    /// The places of its inputs among the steps.
    inputs: Vec<usize>,
    schema: SchemaRef,
}

/// What a step does.
pub(super) enum Work {
    Source(Arc<Relation>),
    Operator(Box<dyn Operator>),
    Clock(Box<ClockFilter>),
    Recompute(Box<Recompute>),
    Deferred(Deferred),
    Recursion(Box<Recursion>),
    /// What the recursion around it feeds back.
    Reference,
}

/// What a run follows from.
pub(super) enum Pass<'a> {
    /// Changes of relations, and the time.
    Step(&'a BTreeMap<RelationId, Batch>),
    /// The rows of all relations are there: what was put off is computed.
    Finish,
    /// Rows of a step of the recursion.
    Feed(Batch),
}

impl Work {
    pub(super) fn operator(operator: impl Operator + 'static) -> Self {
        Self::Operator(Box::new(operator))
    }
}

impl Circuit {
    pub(super) fn new(is_filling: bool) -> Self {
        Self {
            steps: Vec::new(),
            is_filling,
        }
    }

    /// Adds work over the steps at `inputs`; gives its place.
    pub(super) fn push(&mut self, work: Work, inputs: Vec<usize>, schema: &SchemaRef) -> usize {
        let schema = schema.clone();
        self.steps.push(Step { work, inputs, schema });
        self.steps.len() - 1
    }

    /// Whether it must be run as time passes, also if nothing changed.
    pub(super) fn follows_clock(&self) -> bool {
        self.steps.iter().any(|step| match &step.work {
            Work::Clock(_) => true,
            Work::Recompute(part) => part.clock.is_some(),
            Work::Recursion(part) => part.body.follows_clock(),
            Work::Source(_) | Work::Operator(_) | Work::Deferred(_) | Work::Reference => false,
        })
    }

    /// Whether something is put off until the rows of all relations are there.
    pub(super) fn has_deferred(&self) -> bool {
        self.steps.iter().any(|step| match &step.work {
            Work::Deferred(_) => true,
            Work::Recursion(part) => part.body.has_deferred(),
            _ => false,
        })
    }

    /// The change of what comes out; not consolidated.
    pub(super) fn run(&self, pass: &Pass<'_>, now: Timestamp, txn: &mut Txn) -> Result<Option<Batch>> {
        let mut changes: Vec<Option<Batch>> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let inputs: Vec<Option<&Batch>> = step.inputs.iter().map(|i| changes[*i].as_ref()).collect();
            let change = step.run(&inputs, pass, now, txn)?;
            changes.push(change.filter(|batch| !batch.is_empty()));
        }
        Ok(changes.pop().flatten())
    }

    /// Fills the states, which must be empty, from what relations hold in `txn.before()`, and hands over what comes out.
    /// Seals as it goes.
    pub(super) fn collect(&self, now: Timestamp, txn: &mut Txn, output: &mut Emit<'_>) -> Result<()> {
        self.collect_at(self.steps.len() - 1, now, txn, output)
    }

    fn collect_at(&self, place: usize, now: Timestamp, txn: &mut Txn, output: &mut Emit<'_>) -> Result<()> {
        let step = &self.steps[place];
        let inputs: Vec<Box<Collect<'_>>> = step
            .inputs
            .iter()
            .map(|input| -> Box<Collect<'_>> {
                Box::new(move |txn, output| self.collect_at(*input, now, txn, output))
            })
            .collect();
        let inputs: Vec<&Collect<'_>> = inputs.iter().map(AsRef::as_ref).collect();
        match &step.work {
            Work::Source(_) if self.is_filling => Ok(()),
            Work::Source(relation) => content(relation, txn, output),
            Work::Reference => Ok(()),
            Work::Deferred(part) => part.begin(&inputs, txn),
            Work::Operator(operator) => operator.hydrate(&inputs, txn, output),
            Work::Clock(filter) => filter.hydrate(&inputs, now, txn, output),
            Work::Recompute(part) => part.hydrate(&inputs, now, txn, output),
            Work::Recursion(part) => part.hydrate(&inputs, now, txn, output),
        }
    }
}

impl Step {
    fn run(
        &self,
        inputs: &[Option<&Batch>],
        pass: &Pass<'_>,
        now: Timestamp,
        txn: &mut Txn,
    ) -> Result<Option<Batch>> {
        let touched = inputs.iter().any(Option::is_some);
        let follows_clock = matches!(pass, Pass::Step(_));
        match (&self.work, pass) {
            (Work::Source(relation), Pass::Step(deltas)) => Ok(deltas.get(&relation.id).cloned()),
            (Work::Reference, Pass::Feed(batch)) => Ok(Some(batch.clone())),
            (Work::Operator(operator), _) if touched => operator.step(inputs, txn),
            (Work::Clock(filter), _) if touched || follows_clock && filter.is_due(now, txn)? => {
                filter.step(inputs, now, txn)
            }
            (Work::Recompute(part), Pass::Step(_)) if touched || part.is_due(now, txn)? => {
                part.step(inputs, now, txn)
            }
            (Work::Recursion(part), Pass::Step(_) | Pass::Finish) => part.step(inputs, pass, now, txn),
            (Work::Deferred(part), Pass::Step(_)) => {
                part.step(inputs, txn)?;
                Ok(None)
            }
            (Work::Deferred(part), Pass::Finish) => self.finish(part, inputs, now, txn),
            _ => Ok(None),
        }
    }

    /// Computes what was put off. Seals as it goes.
    fn finish(
        &self,
        part: &Deferred,
        inputs: &[Option<&Batch>],
        now: Timestamp,
        txn: &mut Txn,
    ) -> Result<Option<Batch>> {
        let inputs: Vec<Box<Collect<'_>>> = inputs.iter().copied().map(given).collect();
        let inputs: Vec<&Collect<'_>> = inputs.iter().map(AsRef::as_ref).collect();
        let change = collected(&self.schema, |output| part.hydrate(&inputs, now, txn, output))?;
        txn.seal();
        Ok(change)
    }
}

/// An input that is only this change.
fn given(change: Option<&Batch>) -> Box<Collect<'_>> {
    Box::new(move |txn, output| match change {
        Some(change) => output(txn, change.clone()),
        None => Ok(()),
    })
}

/// Hands over the rows of `relation` in `txn.before()`, also of a view that is not complete.
pub(crate) fn content(relation: &Relation, txn: &mut Txn, output: &mut Emit<'_>) -> Result<()> {
    let before = txn.before();
    arrange::unfinished(&before, relation)?.scan(&before, &[], CHUNK_ROWS, &mut |batch| {
        output(txn, batch)?;
        Ok(ControlFlow::Continue(()))
    })
}
