//! Which rows of a kept side have a partner.
//!
//! ```text
//! operator prefix ‖ 00 ‖ entry → count     operator prefix ‖ 01 ‖ 00 or 01 → see `nulls`
//! ```
//! Without a condition besides the key an entry is a key, its count that of the other side's rows with it: one read says
//! whether the kept rows with that key have a partner. With one, an entry is a kept row, its count the sum of the weights
//! of its pairs: that of its partners times its own. Such a sum follows from the change of the pairs alone, is more than
//! 0 if and only if the row is there and has a partner, and vanishes with the row. (RisingWave's degree, weighted, so that
//! it is linear.) A step gives the change of every kept row it adds or takes away, and of those it turns.

use super::super::aggregate::{bytes_of, count_of, negative};
use super::super::tally::Tally;
use super::super::{CHUNK_ROWS, filter_project::shaped};
use super::form::Shown;
use super::nulls::{Concerned, Others};
use super::pairs::Pairs;
use super::side::{Probe, Side};
use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::{Field, Schema, SchemaRef};
use std::ops::ControlFlow;
use std::sync::Arc;
use viewfeed_change::row::{RowCodec, Rows};
use viewfeed_change::{Batch, Result};
use viewfeed_store::keys::{self, StateId};
use viewfeed_store::{Prober, Reader, Txn};

/// The counts of a kept side.
pub(crate) struct Partners {
    prefix: Vec<u8>,
    by_row: bool,
    null_aware: bool,
}

/// What a step changes in the counts of a kept side.
#[derive(Default)]
pub(super) struct Changes {
    counts: Tally,
    /// By entry, of a row: its weight before the step if it was read, and the change of its weight.
    rows: Vec<(Option<i64>, i64)>,
}

/// A count before and after the step.
type Turn = (i64, i64);

/// What is known about the other side before and after the step, if that matters.
type OthersTurn = [Option<Others>; 2];

impl Changes {
    /// The other side's rows with these keys changed.
    pub(super) fn add_others(&mut self, probe: &Probe) {
        for (key, weight) in probe.keys.iter().zip(probe.batch.weights()) {
            self.counts.add(key, *weight);
        }
    }

    /// These pairs came or went. `side` is the kept one; `was_read`: its rows are as they were before the step.
    pub(super) fn add_pairs(
        &mut self,
        pairs: &Pairs<'_>,
        (side, codec): (usize, &RowCodec),
        was_read: bool,
    ) -> Result<()> {
        if pairs.is_empty() {
            return Ok(());
        }
        let kept = pairs.sides[side];
        let entries = codec.encode(kept.rows())?;
        for (row, weight) in pairs.rows[side].iter().zip(pairs.weights()) {
            let place = self.place(entries.row(*row as usize), weight);
            if was_read {
                self.rows[place].0 = Some(kept.weights()[*row as usize]);
            }
        }
        Ok(())
    }

    /// The kept rows themselves changed; gives the place of each.
    fn add_kept(&mut self, entries: &Rows, weights: &[i64]) -> Vec<usize> {
        let change = |(entry, weight): (&[u8], &i64)| {
            let place = self.place(entry, 0);
            self.rows[place].1 += weight;
            place
        };
        entries.iter().zip(weights).map(change).collect()
    }

    fn place(&mut self, entry: &[u8], weight: i64) -> usize {
        let place = self.counts.add(entry, weight) as usize;
        self.rows.resize(self.counts.len(), (None, 0));
        place
    }

    /// The weight before the step of the row at a place whose count turned. If it was not read, its partners stayed as
    /// they were, so it turned because it came or went itself.
    fn weight_before(&self, place: usize, (old, _): Turn) -> i64 {
        match self.rows[place] {
            (Some(weight), _) => weight,
            (None, change) if old > 0 => -change,
            (None, _) => 0,
        }
    }
}

impl Partners {
    /// Kept under `state`; `by_row`: there is a condition besides the key; `null_aware`: as NOT IN has it.
    pub(crate) fn new(state: StateId, by_row: bool, null_aware: bool) -> Self {
        Self {
            prefix: keys::operator_prefix(state),
            by_row,
            null_aware,
        }
    }

    /// Whether the counts are of pairs; else of the other side's rows.
    pub(super) fn is_by_row(&self) -> bool {
        self.by_row
    }

    /// Whether the other side's rows must be counted, whatever pairs they make.
    pub(super) fn counts_others(&self) -> bool {
        self.null_aware || !self.by_row
    }

    /// Notes how many rows the other side has.
    pub(super) fn step_others(
        &self,
        other: &Side,
        change: Option<&Batch>,
        txn: &mut Txn,
    ) -> Result<OthersTurn> {
        if !self.null_aware {
            return Ok([None, None]);
        }
        let before = Others::read(&self.prefix, &txn.before())?;
        let after = match change {
            Some(batch) => before.add(&self.prefix, other, batch, txn)?,
            None => before,
        };
        Ok([Some(before), Some(after)])
    }

    /// Brings the counts up to date; gives how the kept rows, changed by `kept`, stand now.
    pub(super) fn step(
        &self,
        side: &Side,
        kept: Option<&Batch>,
        mut changes: Changes,
        others: OthersTurn,
        txn: &mut Txn,
    ) -> Result<Vec<Shown>> {
        let places = match kept {
            Some(batch) => changes.add_kept(&self.entries(side, batch.rows())?, batch.weights()),
            None => Vec::new(),
        };
        let turns = self.apply(&changes, txn)?;
        let mut shown = Vec::new();
        if let Some(batch) = kept {
            let counts = places.iter().map(|place| turns[*place].1);
            shown.push(Shown {
                matched: self.matched(side, batch.rows(), counts, others[1]),
                batch: batch.clone(),
            });
        }
        self.turned(side, &changes, &turns, others, txn, &mut shown)?;
        Ok(shown)
    }

    /// Adds what changed to the stored counts.
    pub(super) fn apply(&self, changes: &Changes, txn: &mut Txn) -> Result<Vec<Turn>> {
        let mut before = txn.before().prober();
        let mut turns = vec![(0, 0); changes.counts.len()];
        for place in changes.counts.sorted() {
            let (entry, change) = (changes.counts.entry(place), changes.counts.weight(place));
            let old = self.count(&mut before, entry)?;
            let new = old.saturating_add(change);
            turns[place as usize] = (old, new);
            match new {
                _ if change == 0 => {}
                ..0 => return Err(negative()),
                0 => txn.delete(self.entry_key(entry)),
                count => txn.put(self.entry_key(entry), bytes_of(count)),
            }
        }
        Ok(turns)
    }

    /// Whether each of the kept rows `rows` has a partner, as of `reader`.
    pub(super) fn matched_as_of(
        &self,
        side: &Side,
        rows: &RecordBatch,
        others: Option<Others>,
        reader: &Reader,
    ) -> Result<Vec<bool>> {
        let entries = self.entries(side, rows)?;
        let mut prober = reader.prober();
        let counts: Vec<i64> = entries
            .iter()
            .map(|entry| self.count(&mut prober, entry))
            .collect::<Result<_>>()?;
        Ok(self.matched(side, rows, counts.into_iter(), others))
    }

    /// What is known about the other side as of `reader`, if that matters.
    pub(super) fn others_as_of(&self, reader: &Reader) -> Result<Option<Others>> {
        let others = self.null_aware.then(|| Others::read(&self.prefix, reader));
        others.transpose()
    }

    /// The kept rows from before the step that have a partner now and had none, or the other way round.
    fn turned(
        &self,
        side: &Side,
        changes: &Changes,
        turns: &[Turn],
        others: OthersTurn,
        txn: &Txn,
        shown: &mut Vec<Shown>,
    ) -> Result<()> {
        let concerned = match others {
            [Some(before), Some(after)] => after.concerned(before),
            _ => Concerned::None,
        };
        if concerned == Concerned::All {
            return self.all_turned(side, others, txn, shown);
        }
        let is_matched = |place: usize| {
            let (old, new) = turns[place];
            let of = |others: Option<Others>, count| match others {
                Some(others) => others.is_matched(false, count),
                None => count > 0,
            };
            (of(others[0], old), of(others[1], new))
        };
        let places = (0..turns.len()).filter(|place| {
            let (was, is) = is_matched(*place);
            was != is && (!self.by_row || changes.weight_before(*place, turns[*place]) != 0)
        });
        let places: Vec<usize> = places.collect();
        if self.by_row {
            let rows = rows_at(side, changes, turns, &places)?;
            let (was, is): (Vec<bool>, Vec<bool>) = places.iter().map(|place| is_matched(*place)).unzip();
            shown.extend(Shown::turned(&rows, &was, &is)?);
        } else {
            let mut keys = Rows::default();
            places
                .iter()
                .for_each(|place| keys.push(changes.counts.entry(*place as u32)));
            self.keys_turned(side, &keys, &|key| is_matched(places[key]), txn, shown)?;
        }
        match concerned {
            Concerned::NullKeys => self.null_keys_turned(side, others, txn, shown),
            _ => Ok(()),
        }
    }

    /// The same of those with a NULL key: the other side got its first row, or lost its last one.
    fn null_keys_turned(
        &self,
        side: &Side,
        others: OthersTurn,
        txn: &Txn,
        shown: &mut Vec<Shown>,
    ) -> Result<()> {
        let null_key = side.key_codec().encode(&null_row(side.schema())?)?;
        let of = |others: Option<Others>| others.is_some_and(|others| others.is_matched(true, 0));
        self.keys_turned(side, &null_key, &|_| (of(others[0]), of(others[1])), txn, shown)
    }

    /// The kept rows with these keys, which had (`turn.0`) and have (`turn.1`) a partner or not.
    fn keys_turned(
        &self,
        side: &Side,
        keys: &Rows,
        turn: &dyn Fn(usize) -> (bool, bool),
        txn: &Txn,
        shown: &mut Vec<Shown>,
    ) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let found = side.arrangement()?.lookup(&txn.before(), keys)?;
        let turns = found.probe.iter().map(|key| turn(*key as usize));
        let (was, is): (Vec<bool>, Vec<bool>) = turns.unzip();
        shown.extend(Shown::turned(&found.batch, &was, &is)?);
        Ok(())
    }

    /// The same of all kept rows: a NULL came to the other side, or its last one went.
    fn all_turned(&self, side: &Side, others: OthersTurn, txn: &Txn, shown: &mut Vec<Shown>) -> Result<()> {
        let (before, now) = (txn.before(), txn.now());
        side.arrangement()?.scan(&before, &[], CHUNK_ROWS, &mut |batch| {
            let was = self.matched_as_of(side, batch.rows(), others[0], &before)?;
            let is = self.matched_as_of(side, batch.rows(), others[1], &now)?;
            shown.extend(Shown::turned(&batch, &was, &is)?);
            Ok(ControlFlow::Continue(()))
        })
    }

    fn matched(
        &self,
        side: &Side,
        rows: &RecordBatch,
        counts: impl Iterator<Item = i64>,
        others: Option<Others>,
    ) -> Vec<bool> {
        let Some(others) = others else {
            return counts.map(|count| count > 0).collect();
        };
        let whole = side.whole_keys(rows);
        let is_null = |row: usize| whole.as_ref().is_some_and(|whole| !whole.value(row));
        counts
            .enumerate()
            .map(|(row, count)| others.is_matched(is_null(row), count))
            .collect()
    }

    /// What the kept rows are counted by. No row of the other side is counted under a key that joins nothing.
    fn entries(&self, side: &Side, rows: &RecordBatch) -> Result<Rows> {
        match self.by_row {
            true => side.row_codec().encode(rows),
            false => side.key_codec().encode(rows),
        }
    }

    fn count(&self, prober: &mut Prober, entry: &[u8]) -> Result<i64> {
        let stored = prober.get(&self.entry_key(entry))?;
        stored.map_or(Ok(0), |bytes| count_of(&bytes))
    }

    fn entry_key(&self, entry: &[u8]) -> Vec<u8> {
        [&self.prefix, &[0][..], entry].concat()
    }
}

/// A row of nothing but NULLs.
fn null_row(schema: &SchemaRef) -> Result<RecordBatch> {
    let fields = schema.fields().iter();
    let nullable: Vec<Field> = fields
        .map(|field| field.as_ref().clone().with_nullable(true))
        .collect();
    let nulls = nullable.iter().map(|field| new_null_array(field.data_type(), 1));
    let columns: Vec<ArrayRef> = nulls.collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(nullable)), columns)?)
}

/// The kept rows at these places with their weights before the step.
fn rows_at(side: &Side, changes: &Changes, turns: &[Turn], places: &[usize]) -> Result<Batch> {
    let entries = places.iter().map(|place| changes.counts.entry(*place as u32));
    let rows = shaped(&side.row_codec().decode(entries)?, side.schema())?;
    let weights = places
        .iter()
        .map(|place| changes.weight_before(*place, turns[*place]));
    Batch::new(rows, weights.collect())
}
