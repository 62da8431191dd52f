//! The inner join of three or more collections without any state between: a change of one of them is followed through
//! the others, one lookup after another, along a path of its own.
//!
//! Inputs are read as of before the step, those before the changed one with their own change added:
//! Δ(A⋈B⋈C) = ΔA⋈B⋈C + A'⋈ΔB⋈C + A'⋈B'⋈ΔC. That is DBSP's rule for two, applied again (McSherry's "delta query" in
//! Differential Dataflow); it holds for bags and for a relation that is joined with itself.

use super::super::isolate::{ErrorLog, LeftOut};
use super::super::{Collect, Emit, Operator};
use super::pairs::{Pairs, Residual, meetings};
use super::side::{Probe, Side};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use viewfeed_change::{Batch, Error, Result};
use viewfeed_store::{Reader, Txn};

/// Three or more inputs, joined by equal columns.
pub(crate) struct DeltaJoin {
    /// The sides of each input: one for each key it is looked up by.
    pub(crate) inputs: Vec<Vec<Side>>,
    /// How a change of each input is followed.
    pub(crate) paths: Vec<DeltaPath>,
    pub(crate) output: SchemaRef,
    pub(crate) errors: ErrorLog,
}

/// The lookups that follow from a change of one input, and what they end in.
pub(crate) struct DeltaPath {
    pub(crate) hops: Vec<DeltaHop>,
    /// Where the columns of the output are among those collected by the last hop.
    pub(crate) output: Vec<usize>,
}

/// One lookup.
pub(crate) struct DeltaHop {
    /// By which of the columns collected so far; has no arrangement.
    pub(crate) from: Side,
    /// Which input is looked into.
    pub(crate) input: usize,
    /// By which of its sides.
    pub(crate) side: usize,
    /// What must be true besides, over the columns collected so far and those of the input.
    pub(crate) conditions: Vec<Residual>,
    /// The places of the columns that go on, among the same.
    pub(crate) kept: Vec<usize>,
    /// These columns.
    pub(crate) collected: SchemaRef,
}

impl DeltaJoin {
    /// The rows that follow from `change` of input `start`. `changes` are those of all inputs: of the inputs before
    /// `start` they are there already.
    fn follow(
        &self,
        start: usize,
        change: &Batch,
        changes: &[Option<&Batch>],
        before: &Reader,
        left_out: &mut LeftOut,
    ) -> Result<Option<Batch>> {
        let path = &self.paths[start];
        let mut collected = change.clone();
        for hop in &path.hops {
            let probe = hop.from.probe(&collected, false)?;
            if probe.batch.is_empty() {
                return Ok(None);
            }
            let there = changes.get(hop.input).filter(|_| hop.input < start);
            collected = self.hop(hop, &probe, there.copied().flatten(), before, left_out)?;
        }
        let columns = path
            .output
            .iter()
            .map(|place| collected.rows().column(*place).clone());
        let rows = RecordBatch::try_new(self.output.clone(), columns.collect())?;
        Batch::new(rows, collected.weights().to_vec()).map(Some)
    }

    /// The pairs of a probe's rows with the rows of the input, of which `added` is a part that is not arranged yet.
    fn hop(
        &self,
        hop: &DeltaHop,
        probe: &Probe,
        added: Option<&Batch>,
        before: &Reader,
        left_out: &mut LeftOut,
    ) -> Result<Batch> {
        let side = &self.inputs[hop.input][hop.side];
        let found = side.arrangement()?.lookup(before, &probe.keys)?;
        let rows = [found.probe, (0..found.batch.len() as u32).collect()];
        let sides = [&probe.batch, &found.batch];
        let mut batches = vec![hop.passing(Pairs { sides, rows }, left_out)?];
        if let Some(added) = added {
            let theirs = side.probe(added, false)?;
            let rows = meetings(&probe.keys, &theirs.keys);
            let sides = [&probe.batch, &theirs.batch];
            batches.push(hop.passing(Pairs { sides, rows }, left_out)?);
        }
        match batches.len() {
            1 => Ok(batches.remove(0)),
            _ => Batch::concat(&hop.collected, &batches),
        }
    }

    /// Brings the own arrangements of an input up to date.
    fn stage(&self, input: usize, batch: &Batch, txn: &mut Txn) -> Result<()> {
        self.inputs[input]
            .iter()
            .try_for_each(|side| side.stage(batch, txn))
    }
}

impl DeltaHop {
    fn passing(&self, mut pairs: Pairs<'_>, left_out: &mut LeftOut) -> Result<Batch> {
        for condition in &self.conditions {
            if !pairs.is_empty() {
                pairs = pairs.filter(condition, left_out)?;
            }
        }
        pairs.chosen(&self.kept, &self.collected)
    }
}

impl Operator for DeltaJoin {
    fn step(&self, inputs: &[Option<&Batch>], txn: &mut Txn) -> Result<Option<Batch>> {
        let before = txn.before();
        let (mut batches, mut left_out) = (Vec::new(), LeftOut::default());
        for (start, change) in inputs.iter().enumerate() {
            if let Some(change) = change {
                batches.extend(self.follow(start, change, inputs, &before, &mut left_out)?);
            }
        }
        self.errors.stage(&left_out, txn)?;
        for (input, change) in inputs.iter().enumerate() {
            if let Some(change) = change {
                self.stage(input, change, txn)?;
            }
        }
        match batches.len() {
            0 | 1 => Ok(batches.pop()),
            _ => Batch::concat(&self.output, &batches).map(Some),
        }
    }

    /// Fills what is kept of the other inputs, then follows the whole of the first one.
    fn hydrate(&self, inputs: &[&Collect<'_>], txn: &mut Txn, output: &mut Emit<'_>) -> Result<()> {
        let (first, others) = inputs
            .split_first()
            .ok_or_else(|| Error::internal("a join has inputs"))?;
        for (place, input) in others.iter().enumerate() {
            let place = place + 1;
            if self.inputs[place].iter().any(Side::is_own) {
                input(txn, &mut |txn, batch| self.stage(place, &batch, txn))?;
            }
        }
        txn.seal();
        first(txn, &mut |txn, batch| {
            self.stage(0, &batch, txn)?;
            let mut left_out = LeftOut::default();
            let rows = self.follow(0, &batch, &[], &txn.before(), &mut left_out)?;
            self.errors.stage(&left_out, txn)?;
            match rows {
                Some(rows) => output(txn, rows),
                None => Ok(()),
            }
        })
    }
}
