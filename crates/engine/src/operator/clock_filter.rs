//! A comparison of a column with a bound that follows the clock: rows that come, or go, once the bound reaches their value.
//!
//! ```text
//! operator prefix ‖ 00                            → the last bound, encoded
//! operator prefix ‖ 01 ‖ value ‖ rest of the row  → how often the row is there
//! ```
//! The state holds the rows that are not reached yet, in the order in which they will be. When the bound moves, the range
//! between the old one and the new one is what comes or goes; whoever is reached needs no state any more, because the
//! bound never moves back. (Temporal filters, in Materialize; the dynamic filter of RisingWave with a clock for its right
//! side.) Rows whose value is NULL never pass.

use super::aggregate::{bytes_of, count_of, negative};
use super::evaluate::evaluate;
use super::filter_project::shaped;
use super::tally::Tally;
use super::{CHUNK_ROWS, Collect, Emit};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::physical_expr::PhysicalExpr;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use viewfeed_change::row::RowCodec;
use viewfeed_change::{Batch, ColumnPath, Error, Result, Timestamp};
use viewfeed_store::keys::{self, StateId};
use viewfeed_store::{EachPair, Txn};

/// What rows are compared with.
#[derive(Clone, Debug)]
pub(crate) struct ClockCondition {
    /// The column whose value is compared.
    pub(crate) value: usize,
    /// A boolean column: rows for which it is true pass at any time.
    pub(crate) always: Option<usize>,
    /// The bound, over the column of [`clock_schema`]: it never falls as that grows. Of the type of the value.
    pub(crate) bound: Arc<dyn PhysicalExpr>,
    /// Whether a row goes when it is reached (`>`, `>=`); else it comes (`<`, `<=`).
    pub(crate) is_leaving: bool,
    /// Whether a value equal to the bound is reached (`<=`, `>`).
    pub(crate) reached_if_equal: bool,
}

impl fmt::Display for ClockCondition {
    /// The same for conditions that are the same; no column names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = (self.value, self.always, self.is_leaving, self.reached_if_equal);
        write!(f, "clock {kind:?} {}", self.bound)
    }
}

/// Keeps the rows that are not reached yet.
pub(crate) struct ClockFilter {
    condition: ClockCondition,
    schema: SchemaRef,
    /// The value, then the other columns.
    codec: RowCodec,
    /// Where each column of a row is among those of the codec.
    places: Vec<usize>,
    value_codec: RowCodec,
    prefix: Vec<u8>,
}

/// The column bounds are computed from: the time as `now()` gives it.
pub(crate) fn clock_schema() -> SchemaRef {
    let data_type = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![Field::new("now", data_type, false)]))
}

impl ClockFilter {
    /// Of rows with `schema`, with its state under `state`.
    pub(crate) fn new(condition: ClockCondition, schema: SchemaRef, state: StateId) -> Result<Self> {
        let others = (0..schema.fields().len()).filter(|column| *column != condition.value);
        let order: Vec<usize> = std::iter::once(condition.value).chain(others).collect();
        let paths: Vec<ColumnPath> = order.iter().copied().map(ColumnPath::from).collect();
        let mut places = vec![0; order.len()];
        for (place, column) in order.into_iter().enumerate() {
            places[column] = place;
        }
        Ok(Self {
            codec: RowCodec::for_paths(&schema, &paths)?,
            value_codec: RowCodec::for_paths(&schema, &paths[..1])?,
            places,
            condition,
            schema,
            prefix: keys::operator_prefix(state),
        })
    }

    /// Whether time alone makes a row come or go. One look at the first row that is not reached.
    pub(crate) fn is_due(&self, now: Timestamp, txn: &Txn) -> Result<bool> {
        let (last, bound) = self.bounds(now, txn)?;
        let mut is_due = false;
        if last.as_ref() != Some(&bound) {
            self.unreached(last.as_deref(), txn, &mut |entry, _| {
                is_due = self.is_reached(entry, &bound);
                Ok(ControlFlow::Break(()))
            })?;
        }
        Ok(is_due)
    }

    /// The change of the output that follows from the change of the input and from the time.
    pub(crate) fn step(
        &self,
        inputs: &[Option<&Batch>],
        now: Timestamp,
        txn: &mut Txn,
    ) -> Result<Option<Batch>> {
        let (last, bound) = self.bounds(now, txn)?;
        let mut parts = Vec::new();
        if last.as_ref() != Some(&bound) {
            parts = self.reach(last.as_deref(), &bound, txn)?;
            txn.put(self.bound_key(), bound.clone());
        }
        let mut unreached = Tally::default();
        for batch in inputs.iter().flatten() {
            parts.push(self.pass(batch, &bound, &mut unreached)?);
        }
        self.apply(&unreached, txn)?;
        let change = match parts.len() {
            1 => parts.remove(0),
            _ => Batch::concat(&self.schema, &parts)?,
        };
        Ok((!change.is_empty()).then_some(change))
    }

    /// Fills the state and hands over the rows that pass now.
    pub(crate) fn hydrate(
        &self,
        inputs: &[&Collect<'_>],
        now: Timestamp,
        txn: &mut Txn,
        output: &mut Emit<'_>,
    ) -> Result<()> {
        let (_, bound) = self.bounds(now, txn)?;
        let mut unreached = Tally::default();
        for input in inputs {
            input(txn, &mut |txn, batch| {
                let passing = self.pass(&batch, &bound, &mut unreached)?;
                match passing.is_empty() {
                    true => Ok(()),
                    false => output(txn, passing),
                }
            })?;
        }
        self.apply(&unreached, txn)?;
        txn.put(self.bound_key(), bound);
        Ok(())
    }

    /// The last bound, encoded, and the present one, which is never less.
    fn bounds(&self, now: Timestamp, txn: &Txn) -> Result<(Option<Vec<u8>>, Vec<u8>)> {
        let last = txn.before().get(&self.bound_key())?;
        let now = self.bound_at(now)?;
        let bound = match &last {
            Some(last) if *last > now => last.clone(),
            _ => now,
        };
        Ok((last, bound))
    }

    fn bound_at(&self, now: Timestamp) -> Result<Vec<u8>> {
        let out_of_range = || Error::invalid("EVALUATION", "the time is out of the range of now()");
        let nanoseconds = now.0.checked_mul(1000).ok_or_else(out_of_range)?;
        let now = TimestampNanosecondArray::from(vec![nanoseconds]).with_timezone("UTC");
        let clock = RecordBatch::try_new(clock_schema(), vec![Arc::new(now)])?;
        let bound = evaluate(&self.condition.bound, &clock)?;
        if bound.is_null(0) {
            return Err(out_of_range());
        }
        let row = RecordBatch::try_new(self.value_codec.schema().clone(), vec![bound])?;
        let codec = RowCodec::for_schema(self.value_codec.schema())?;
        Ok(codec.encode(&row)?.row(0).to_vec())
    }

    /// Whether the bound has reached a row, given as its entry. Values are of fixed length, so that an entry with the
    /// bound's value starts with it.
    fn is_reached(&self, entry: &[u8], bound: &[u8]) -> bool {
        match entry.starts_with(bound) {
            true => self.condition.reached_if_equal,
            false => entry < bound,
        }
    }

    /// The entries of rows that were not reached before the step, which are none before the last bound.
    fn unreached(&self, last: Option<&[u8]>, txn: &Txn, each: &mut EachPair<'_>) -> Result<()> {
        let prefix = self.entry_key(&[]);
        let from = self.entry_key(last.unwrap_or_default());
        txn.before().scan(&prefix, &from, &mut |key, count| {
            each(&key[prefix.len()..], count)
        })
    }

    /// Takes the rows that `bound` reaches out of the state; gives how the output changes by that.
    fn reach(&self, last: Option<&[u8]>, bound: &[u8], txn: &mut Txn) -> Result<Vec<Batch>> {
        let (mut entries, mut weights) = (Vec::new(), Vec::new());
        self.unreached(last, txn, &mut |entry, count| {
            if !self.is_reached(entry, bound) {
                return Ok(ControlFlow::Break(()));
            }
            let count = count_of(count)?;
            weights.push(if self.condition.is_leaving { -count } else { count });
            entries.push(entry.to_vec());
            Ok(ControlFlow::Continue(()))
        })?;
        let chunks = entries.chunks(CHUNK_ROWS).zip(weights.chunks(CHUNK_ROWS));
        let parts = chunks.map(|(entries, weights)| Batch::new(self.rows(entries)?, weights.to_vec()));
        let parts = parts.collect();
        entries.iter().for_each(|entry| txn.delete(self.entry_key(entry)));
        parts
    }

    /// The rows with these entries.
    fn rows(&self, entries: &[Vec<u8>]) -> Result<RecordBatch> {
        let decoded = self.codec.decode(entries.iter().map(Vec::as_slice))?;
        let columns = self.places.iter().map(|place| decoded.column(*place).clone());
        Ok(RecordBatch::try_new(
            self.schema.clone(),
            columns.collect::<Vec<ArrayRef>>(),
        )?)
    }

    /// The rows of `batch` that pass; those that are not reached are added to `unreached`.
    fn pass(&self, batch: &Batch, bound: &[u8], unreached: &mut Tally) -> Result<Batch> {
        let rows = shaped(batch.rows(), &self.schema)?;
        let value = rows.column(self.condition.value);
        let always = self
            .condition
            .always
            .map(|column| rows.column(column).as_boolean());
        let always = |row: usize| always.is_some_and(|always| always.is_valid(row) && always.value(row));
        let entries = self.codec.encode(&rows)?;
        let mut passing = Vec::with_capacity(batch.len());
        for (row, weight) in batch.weights().iter().enumerate() {
            if always(row) {
                passing.push(row as u32);
            } else if value.is_valid(row) {
                let is_reached = self.is_reached(entries.row(row), bound);
                if !is_reached {
                    unreached.add(entries.row(row), *weight);
                }
                if is_reached != self.condition.is_leaving {
                    passing.push(row as u32);
                }
            }
        }
        Batch::new(rows, batch.weights().to_vec())?.take(&passing)
    }

    fn apply(&self, unreached: &Tally, txn: &mut Txn) -> Result<()> {
        let before = txn.before();
        for (entry, weight) in unreached.iter().filter(|(_, weight)| *weight != 0) {
            let key = self.entry_key(entry);
            let old = before.get(&key)?.map_or(Ok(0), |bytes| count_of(&bytes))?;
            match old.saturating_add(weight) {
                ..0 => return Err(negative()),
                0 => txn.delete(key),
                count => txn.put(key, bytes_of(count)),
            }
        }
        Ok(())
    }

    fn bound_key(&self) -> Vec<u8> {
        [&self.prefix, &[0][..]].concat()
    }

    fn entry_key(&self, entry: &[u8]) -> Vec<u8> {
        [&self.prefix, &[1][..], entry].concat()
    }
}
