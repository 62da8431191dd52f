//! What a recursion feeds back: the rows that came in a step, as they follow from what was derived in it.
//!
//! UNION ALL: a row is in a step as often as it is derived from the step before. Nothing needs to be kept.
//!
//! UNION: a row is in one step only. The state is `operator prefix ‖ row ‖ 0 → its step` and
//! `operator prefix ‖ row ‖ 1 ‖ step → how often it is derived in that step`, that is, from rows of the step before (in step
//! 0: by the term the recursion begins with). A row stays where it is while it is derived in its own step or an earlier
//! one; so every row follows from rows of earlier steps, at last from the beginning, and rows that only follow from each
//! other, as in a cycle that has been cut off, have no such step. A row that is derived in an earlier step than its own does
//! not move, so new rows never disturb old ones. One that is not derived early enough any more goes, and comes again in the
//! first later step in which it still is.
//!
//! That is exact: steps are done in ascending order, a row goes in its step only, and what is derived in a step depends on
//! the rows of the step before alone. (DRed deletes everything that might depend on what went and looks for other
//! derivations afterwards; here the step says what does not depend on it. Differential Dataflow counts per iteration too,
//! but moves a row to the first iteration it can come in, and with it everything that follows.)

use super::CHUNK_ROWS;
use super::aggregate::{bytes_of, count_of, negative};
use super::filter_project::shaped;
use super::tally::Tally;
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};
use datafusion::common::utils::normalize_float_zero;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use viewfeed_change::row::RowCodec;
use viewfeed_change::{Batch, Error, Result};
use viewfeed_store::keys::{self, StateId};
use viewfeed_store::{Reader, Txn};

/// What comes after a row in the key of its step.
const STEP: u8 = 0;
/// What comes after a row in the keys of how often it is derived, before the step.
const DERIVED: u8 = 1;

/// The rows of a recursion and their steps.
pub(crate) struct Feedback {
    codec: RowCodec,
    /// Of the rows with their step.
    stepped: SchemaRef,
    /// Where the steps of rows are kept, if a row is in one only.
    prefix: Option<Vec<u8>>,
}

/// What is derived in which step, of the steps that are not done.
#[derive(Default)]
pub(crate) struct Pending(BTreeMap<i64, Tally>);

/// The change of the rows of a step, or a part of it.
pub(crate) struct Fed {
    /// As they come out.
    pub(crate) rows: Batch,
    /// With the step as last column.
    pub(crate) stepped: Batch,
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The lowest step, and what changed of what is derived in it.
    pub(crate) fn pop_first(&mut self) -> Option<(i64, Tally)> {
        self.0.pop_first()
    }

    fn add(&mut self, step: i64, row: &[u8], weight: i64) {
        self.0.entry(step).or_default().add(row, weight);
    }
}

impl Feedback {
    /// Of rows with `schema`, which is `stepped` without its last column. With a state for it, a row is in one step.
    pub(crate) fn new(schema: &SchemaRef, stepped: &SchemaRef, state: Option<StateId>) -> Result<Self> {
        Ok(Self {
            codec: RowCodec::for_schema(schema)?,
            stepped: stepped.clone(),
            prefix: state.map(keys::operator_prefix),
        })
    }

    /// The columns that come out.
    pub(crate) fn schema(&self) -> &SchemaRef {
        self.codec.schema()
    }

    /// Notes a change of the rows the recursion begins with.
    pub(crate) fn begin_with(&self, batch: &Batch, pending: &mut Pending) -> Result<()> {
        let steps = Int64Array::from_value(0, batch.len());
        self.note(batch.rows().columns(), &steps, batch.weights(), pending)
    }

    /// Notes a change of what follows from rows, whose step is the last column.
    pub(crate) fn derive(&self, batch: &Batch, pending: &mut Pending) -> Result<()> {
        let missing = || Error::internal("rows of a recursion without a step");
        let (steps, columns) = batch.rows().columns().split_last().ok_or_else(missing)?;
        let steps = steps.as_primitive_opt::<Int64Type>().ok_or_else(missing)?;
        let next = steps.unary(|step: i64| step.saturating_add(1));
        self.note(columns, &next, batch.weights(), pending)
    }

    /// A row that is in one step only has one zero, as in DataFusion.
    fn note(
        &self,
        columns: &[ArrayRef],
        steps: &Int64Array,
        weights: &[i64],
        pending: &mut Pending,
    ) -> Result<()> {
        let columns = match self.prefix {
            Some(_) => columns.iter().map(normalize_float_zero).collect(),
            None => columns.to_vec(),
        };
        let rows = RecordBatch::try_new(self.schema().clone(), columns)?;
        for ((row, step), weight) in self.codec.encode(&rows)?.iter().zip(steps.values()).zip(weights) {
            pending.add(*step, row, *weight);
        }
        Ok(())
    }

    /// The change of the rows of `step`, which follows from what is derived in it; what it means for later ones is noted.
    pub(crate) fn apply(
        &self,
        step: i64,
        derived: &Tally,
        pending: &mut Pending,
        txn: &mut Txn,
    ) -> Result<Vec<Fed>> {
        let mut changed: Vec<(&[u8], i64)> = Vec::new();
        match &self.prefix {
            Some(prefix) => {
                let before = txn.before();
                for (row, weight) in derived.iter() {
                    let entry = Entry::new(prefix, row);
                    let change = entry.apply(step, weight, pending, &before, txn)?;
                    changed.extend((change != 0).then_some((row, change)));
                }
            }
            None => changed.extend(derived.iter().filter(|(_, weight)| *weight != 0)),
        }
        changed
            .chunks(CHUNK_ROWS)
            .map(|chunk| self.fed(step, chunk))
            .collect()
    }

    fn fed(&self, step: i64, changed: &[(&[u8], i64)]) -> Result<Fed> {
        let rows = self.codec.decode(changed.iter().map(|(row, _)| *row))?;
        let weights: Vec<i64> = changed.iter().map(|(_, weight)| *weight).collect();
        let mut columns = rows.columns().to_vec();
        columns.push(Arc::new(Int64Array::from_value(step, changed.len())));
        let stepped = RecordBatch::try_new(self.stepped.clone(), columns)?;
        Ok(Fed {
            rows: Batch::new(shaped(&rows, self.schema())?, weights.clone())?,
            stepped: Batch::new(stepped, weights)?,
        })
    }
}

/// What is kept of a row.
struct Entry<'a> {
    row: &'a [u8],
    /// Operator prefix and row.
    key: Vec<u8>,
}

impl<'a> Entry<'a> {
    fn new(prefix: &[u8], row: &'a [u8]) -> Self {
        let key = [prefix, row].concat();
        Self { row, key }
    }

    /// Adds `weight` to how often the row is derived in `step`. Gives 1 if the row comes in it, −1 if it goes; notes in
    /// `pending` if it must be looked at again in a later step.
    fn apply(
        &self,
        step: i64,
        weight: i64,
        pending: &mut Pending,
        before: &Reader,
        txn: &mut Txn,
    ) -> Result<i64> {
        let times = self.derive(step, weight, before, txn)?;
        let stored = before.get(&self.key_of_step())?;
        let own = stored.map(|bytes| step_of(&bytes)).transpose()?;
        match own {
            Some(own) if own < step => return Ok(0),
            Some(_) if times > 0 => return Ok(0),
            None if times > 0 => {
                txn.put(self.key_of_step(), step.to_be_bytes().to_vec());
                return Ok(1);
            }
            _ => {}
        }
        let first = self.first_derived(step, before)?;
        let stays = |own: i64| first.is_some_and(|first| first <= own);
        match own {
            Some(own) if stays(own) && first < Some(step) => Ok(0),
            // It is known only later whether it is still derived in time.
            Some(own) if own > step => {
                pending.add(first.map_or(own, |first| first.min(own)), self.row, 0);
                Ok(0)
            }
            _ => {
                if let Some(later) = first {
                    pending.add(later, self.row, 0);
                }
                if own.is_some() {
                    txn.delete(self.key_of_step());
                }
                Ok(if own.is_some() { -1 } else { 0 })
            }
        }
    }

    /// Adds `weight` to how often the row is derived in `step`; gives how often that is.
    fn derive(&self, step: i64, weight: i64, before: &Reader, txn: &mut Txn) -> Result<i64> {
        let key = [self.key.as_slice(), &[DERIVED], &step.to_be_bytes()].concat();
        let old = before.get(&key)?.map_or(Ok(0), |bytes| count_of(&bytes))?;
        let new = old.saturating_add(weight);
        match new {
            ..0 => return Err(negative()),
            _ if weight == 0 => {}
            0 => txn.delete(key),
            _ => txn.put(key, bytes_of(new)),
        }
        Ok(new)
    }

    /// The first step in which the row is derived, other than `gone`.
    fn first_derived(&self, gone: i64, before: &Reader) -> Result<Option<i64>> {
        let prefix = [self.key.as_slice(), &[DERIVED]].concat();
        let mut first = None;
        before.scan(&prefix, &prefix, &mut |key, _| {
            let step = step_of(&key[prefix.len()..])?;
            if step == gone {
                return Ok(ControlFlow::Continue(()));
            }
            first = Some(step);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(first)
    }

    fn key_of_step(&self) -> Vec<u8> {
        [self.key.as_slice(), &[STEP]].concat()
    }
}

/// A step in its stored form.
fn step_of(bytes: &[u8]) -> Result<i64> {
    let bytes = bytes
        .try_into()
        .map_err(|_| Error::corrupt("a stored step has another length"))?;
    Ok(i64::from_be_bytes(bytes))
}
