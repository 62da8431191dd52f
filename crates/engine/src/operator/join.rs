//! Joins of two collections, of every form. Pairs: ΔA⋈B + A⋈ΔB + ΔA⋈ΔB, where A and B are the collections before the
//! step. The rows of a side that come out by whether they have a partner (outer, semi, anti, mark) follow from counts,
//! see `partners`. A side that is a relation is read from the relation's own arrangement, which others keep; any other
//! side is kept here, or only counted, if that is all that is asked. A pair on which the condition fails is no pair.
//!
//! Three and more collections are joined by `delta`. `side` finds rows by key, `band` by an inequality, `pairs` makes pairs and holds the condition besides the key, `form`
//! shapes what comes out.

mod band;
mod delta;
mod form;
mod nulls;
mod pairs;
mod partners;
mod side;

pub(crate) use band::Band;
pub(crate) use delta::{DeltaHop, DeltaJoin, DeltaPath};
pub(crate) use form::JoinForm;
pub(crate) use pairs::Residual;
pub(crate) use partners::Partners;
pub(crate) use side::Side;

use super::isolate::{ErrorLog, LeftOut};
use super::{CHUNK_ROWS, Collect, Emit, Operator};
use arrow::datatypes::SchemaRef;
use form::Shown;
use pairs::{Pairs, meetings};
use partners::Changes;
use side::Probe;
use std::ops::ControlFlow;
use viewfeed_change::{Batch, Error, Result};
use viewfeed_store::{Reader, Txn};

/// Two sides joined.
pub(crate) struct Join {
    pub(crate) sides: [Side; 2],
    pub(crate) form: JoinForm,
    /// Whether NULL joins NULL.
    pub(crate) null_equal: bool,
    /// The condition besides the key.
    pub(crate) residual: Option<Residual>,
    /// By what inequality the sides are arranged, if there is no key.
    pub(crate) band: Option<Band>,
    /// Which rows of a side have a partner, of the sides that the form keeps.
    pub(crate) partners: [Option<Partners>; 2],
    /// The columns that come out.
    pub(crate) output: SchemaRef,
    pub(crate) errors: ErrorLog,
}

/// What a step makes.
#[derive(Default)]
struct Made {
    batches: Vec<Batch>,
    changes: [Changes; 2],
    left_out: LeftOut,
}

impl Join {
    /// Whether it must be known which pairs there are.
    fn makes_pairs(&self) -> bool {
        self.form.has_pairs() || self.residual.is_some()
    }

    /// Makes pairs of the rows of a probe of `side` with the rows of the other side as of `reader`.
    fn with_arranged(&self, side: usize, probe: &Probe, reader: &Reader, made: &mut Made) -> Result<()> {
        if probe.batch.is_empty() {
            return Ok(());
        }
        let (read, other) = (Some(1 - side), self.sides[1 - side].arrangement()?);
        if let Some(band) = &self.band {
            let other = (other.as_ref(), reader);
            return band.meetings(side, &probe.batch, other, &mut |mine, theirs| {
                Pairs::every(ordered(side, mine, theirs), &mut |pairs| {
                    self.take_pairs(pairs, read, made)
                })
            });
        }
        if !self.sides[side].has_key() {
            return other.scan(reader, &[], CHUNK_ROWS, &mut |theirs| {
                Pairs::every(ordered(side, &probe.batch, &theirs), &mut |pairs| {
                    self.take_pairs(pairs, read, made)
                })?;
                Ok(ControlFlow::Continue(()))
            });
        }
        let found = other.lookup(reader, &probe.keys)?;
        let (mine, theirs) = (found.probe, (0..found.batch.len() as u32).collect());
        let rows = ordered(side, mine, theirs);
        let sides = ordered(side, &probe.batch, &found.batch);
        self.take_pairs(Pairs { sides, rows }, read, made)
    }

    /// Makes pairs of the rows of two probes.
    fn with_each_other(&self, left: &Probe, right: &Probe, made: &mut Made) -> Result<()> {
        let sides = [&left.batch, &right.batch];
        if !self.sides[0].has_key() {
            return Pairs::every(sides, &mut |pairs| self.take_pairs(pairs, None, made));
        }
        let rows = meetings(&left.keys, &right.keys);
        self.take_pairs(Pairs { sides, rows }, None, made)
    }

    /// Notes pairs of which the rows of side `read` are as they were before the step.
    fn take_pairs(&self, mut pairs: Pairs<'_>, read: Option<usize>, made: &mut Made) -> Result<()> {
        if let Some(residual) = &self.residual
            && !pairs.is_empty()
        {
            pairs = pairs.filter(residual, &mut made.left_out)?;
        }
        if pairs.is_empty() {
            return Ok(());
        }
        if self.form.has_pairs() {
            made.batches.push(pairs.batch(&self.output)?);
        }
        for (side, partners) in self.partners.iter().enumerate() {
            if partners.as_ref().is_some_and(Partners::is_by_row) {
                let kept = (side, self.sides[side].row_codec());
                made.changes[side].add_pairs(&pairs, kept, read == Some(side))?;
            }
        }
        Ok(())
    }

    /// Notes a change of `side` in what the other side, if kept, counts by key.
    fn take_others(&self, side: usize, probe: &Probe, made: &mut Made) {
        let partners = &self.partners[1 - side];
        if partners.as_ref().is_some_and(|partners| !partners.is_by_row()) {
            made.changes[1 - side].add_others(probe);
        }
    }

    /// What comes out of kept rows.
    fn show(&self, side: usize, shown: Vec<Shown>) -> Result<Vec<Batch>> {
        let Some(keep) = self.form.keep(side) else {
            return Ok(Vec::new());
        };
        let shaped = shown.into_iter().map(|rows| keep.shape(rows, side, &self.output));
        shaped.filter_map(Result::transpose).collect()
    }

    /// Makes the pairs of a step.
    fn step_pairs(&self, probes: &[Option<Probe>; 2], txn: &Txn, made: &mut Made) -> Result<()> {
        let before = txn.before();
        for (side, probe) in probes.iter().enumerate() {
            if let Some(probe) = probe {
                self.with_arranged(side, probe, &before, made)?;
            }
        }
        match probes {
            [Some(left), Some(right)] => self.with_each_other(left, right, made),
            _ => Ok(()),
        }
    }

    /// Fills the state with a batch of `side`, the right side first; makes the pairs of the left one.
    fn fill(&self, side: usize, batch: &Batch, txn: &mut Txn) -> Result<Vec<Batch>> {
        let probe = self.sides[side].probe(batch, self.null_equal)?;
        let mut made = Made::default();
        self.take_others(side, &probe, &mut made);
        self.sides[side].stage(batch, txn)?;
        if let Some(partners) = &self.partners[1 - side] {
            partners.step_others(&self.sides[side], Some(batch), txn)?;
        }
        if side == 0 && self.makes_pairs() {
            self.with_arranged(side, &probe, &txn.before(), &mut made)?;
        }
        self.errors.stage(&made.left_out, txn)?;
        for (partners, changes) in self.partners.iter().zip(&made.changes) {
            if let Some(partners) = partners {
                partners.apply(changes, txn)?;
            }
        }
        txn.seal();
        Ok(made.batches)
    }

    /// Whether filling needs the rows of `side`; those of a relation may be arranged already.
    fn fills_from(&self, side: usize) -> bool {
        let counted = self.partners[1 - side].as_ref();
        self.sides[side].is_own()
            || counted.is_some_and(Partners::counts_others)
            || side == 0 && self.makes_pairs()
    }

    /// Hands over all kept rows of `side`, whose counts are complete.
    fn hydrate_kept(&self, side: usize, txn: &mut Txn, output: &mut Emit<'_>) -> Result<()> {
        let (Some(partners), kept) = (&self.partners[side], &self.sides[side]) else {
            return Ok(());
        };
        let before = txn.before();
        let others = partners.others_as_of(&before)?;
        kept.arrangement()?.scan(&before, &[], CHUNK_ROWS, &mut |batch| {
            let matched = partners.matched_as_of(kept, batch.rows(), others, &before)?;
            for batch in self.show(side, vec![Shown { batch, matched }])? {
                output(txn, batch)?;
            }
            Ok(ControlFlow::Continue(()))
        })
    }
}

/// What is of `side` and what is of the other one, the left one first.
fn ordered<T>(side: usize, mine: T, theirs: T) -> [T; 2] {
    match side {
        0 => [mine, theirs],
        _ => [theirs, mine],
    }
}

impl Operator for Join {
    fn step(&self, inputs: &[Option<&Batch>], txn: &mut Txn) -> Result<Option<Batch>> {
        let [left, right] = inputs else {
            return Err(Error::internal("a join has two inputs"));
        };
        let (inputs, mut made) = ([*left, *right], Made::default());
        let mut probes = [None, None];
        for (side, input) in inputs.iter().enumerate() {
            if let Some(batch) = input {
                let probe = self.sides[side].probe(batch, self.null_equal)?;
                self.take_others(side, &probe, &mut made);
                probes[side] = Some(probe);
            }
        }
        if self.makes_pairs() {
            self.step_pairs(&probes, txn, &mut made)?;
        }
        let Made {
            mut batches,
            changes,
            left_out,
        } = made;
        self.errors.stage(&left_out, txn)?;
        for ((side, partners), changes) in self.partners.iter().enumerate().zip(changes) {
            if let Some(partners) = partners {
                let others = partners.step_others(&self.sides[1 - side], inputs[1 - side], txn)?;
                let shown = partners.step(&self.sides[side], inputs[side], changes, others, txn)?;
                batches.extend(self.show(side, shown)?);
            }
        }
        for (side, input) in self.sides.iter().zip(inputs) {
            if let Some(batch) = input {
                side.stage(batch, txn)?;
            }
        }
        match batches.len() {
            0 | 1 => Ok(batches.pop()),
            _ => Batch::concat(&self.output, &batches).map(Some),
        }
    }

    fn hydrate(&self, inputs: &[&Collect<'_>], txn: &mut Txn, output: &mut Emit<'_>) -> Result<()> {
        for (side, input) in inputs.iter().enumerate().rev() {
            if self.fills_from(side) {
                input(txn, &mut |txn, batch| {
                    let made = self.fill(side, &batch, txn)?;
                    made.into_iter().try_for_each(|batch| output(txn, batch))
                })?;
            }
        }
        (0..2).try_for_each(|side| self.hydrate_kept(side, txn, output))
    }
}
