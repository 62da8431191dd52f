//! The rows at certain places of an order: LIMIT and OFFSET, of everything or of each group.
//!
//! The state is `operator prefix ‖ group ‖ sort key ‖ row → where the row starts, how often it is there`, so that the
//! rows of a group lie in their order; ties are broken by the row's own bytes, and without a sort key these alone are
//! the order. A row that is there three times takes three places.
//!
//! A step reads each touched group once from its first row on, up to its last place or until nothing can differ any
//! more, and counts the places before and after the change side by side: O(Δ log n + offset + k) whatever the group holds.

use super::aggregate::{bytes_of, count_of, negative};
use super::ordered_rows::{Change, Changes, RowOrder};
use super::{Collect, Emit, Operator, collected};
use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use std::ops::ControlFlow;
use viewfeed_change::row::{RowCodec, Rows};
use viewfeed_change::{Batch, Error, Result};
use viewfeed_store::keys::{self, StateId};
use viewfeed_store::{Prober, Txn};

/// Rows after which a batch of the output is handed over.
const OUTPUT_ROWS_MAX: usize = 8192;

/// Which rows are kept.
#[derive(Clone, Debug)]
pub(crate) struct TopKSpec {
    /// The columns of a group; none for one group of all rows.
    pub(crate) group: Vec<usize>,
    /// Whether 0.0 and −0.0 are one group, as for DISTINCT ON; PARTITION BY tells them apart.
    pub(crate) zeros_equal: bool,
    /// The columns rows are ordered by, and how.
    pub(crate) order: Vec<(usize, SortOptions)>,
    /// The places kept of each group.
    pub(crate) places: Places,
}

/// Places of an order, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// The first one.
    pub(crate) start: u64,
    /// The first one after them; `u64::MAX` for no end.
    pub(crate) end: u64,
}

impl Places {
    /// How many; None without an end.
    pub(crate) fn count(self) -> Option<u64> {
        (self.end != u64::MAX).then(|| self.end.saturating_sub(self.start))
    }

    /// Of `self`, the places at `inner`.
    pub(crate) fn narrowed(self, inner: Self) -> Self {
        let at = |place: u64| self.start.saturating_add(place).min(self.end);
        Self {
            start: at(inner.start),
            end: at(inner.end),
        }
    }

    /// How many of them `count` rows take that start at place `at`.
    fn taken(self, at: u64, count: u64) -> i64 {
        let (first, last) = (at.max(self.start), at.saturating_add(count).min(self.end));
        last.saturating_sub(first) as i64
    }
}

/// Keeps the rows at certain places.
pub(crate) struct TopK {
    spec: TopKSpec,
    rows: RowOrder,
    prefix: Vec<u8>,
}

/// Counts places before and after a step at the same time.
struct Walk<'a> {
    places: Places,
    before: u64,
    after: u64,
    output: &'a mut Output,
}

/// Rows that came or went.
#[derive(Default)]
struct Output {
    rows: Rows,
    weights: Vec<i64>,
}

impl TopK {
    /// Of rows with `schema`, with its state under `state`.
    pub(crate) fn new(schema: &SchemaRef, spec: TopKSpec, state: StateId) -> Result<Self> {
        Ok(Self {
            rows: RowOrder::new(schema, &spec.group, spec.zeros_equal, &spec.order)?,
            prefix: keys::operator_prefix(state),
            spec,
        })
    }

    /// Brings the state up to date and hands over the rows that came to and left the places.
    fn apply(&self, changes: &Changes, txn: &mut Txn, emit: &mut Emit<'_>) -> Result<()> {
        // Groups are visited in order, and so are the changes of each; both are read where the last one was.
        let before = txn.before();
        let (mut stored, mut groups) = (before.prober(), before.prober());
        let sorted = changes.sorted();
        let mut output = Output::default();
        for group in sorted.chunk_by(|a, b| a.group() == b.group()) {
            self.stage(group, &mut stored, txn)?;
            self.compare(group, &mut groups, &mut output)?;
            if output.weights.len() >= OUTPUT_ROWS_MAX {
                emit(txn, output.take(self.rows.codec())?)?;
            }
        }
        match output.weights.is_empty() {
            true => Ok(()),
            false => emit(txn, output.take(self.rows.codec())?),
        }
    }

    fn stage(&self, group: &[Change<'_>], before: &mut Prober, txn: &mut Txn) -> Result<()> {
        let mut key = self.prefix.clone();
        for change in group {
            key.truncate(self.prefix.len());
            key.extend_from_slice(change.entry);
            let stored = before.get(&key)?;
            let old = stored.map_or(Ok(0), |value| Ok::<i64, Error>(stored_parts(&value)?.1))?;
            match old.saturating_add(change.weight) {
                ..0 => return Err(negative()),
                0 => txn.write(&key, None),
                count => txn.write(&key, Some(&stored_value(change.cut.row_start, count))),
            }
        }
        Ok(())
    }

    /// Finds which rows come to the places of a group, and which leave, by its `changes` in order.
    fn compare(&self, changes: &[Change<'_>], before: &mut Prober, output: &mut Output) -> Result<()> {
        let mut walk = Walk {
            places: self.spec.places,
            before: 0,
            after: 0,
            output,
        };
        let Some(first) = changes.first() else {
            return Ok(());
        };
        let group = [&self.prefix, first.group()].concat();
        let mut changes = changes.iter().peekable();
        before.scan(&group, &[], &mut |key, value| {
            let entry = &key[self.prefix.len()..];
            while let Some(change) = changes.next_if(|change| change.entry < entry) {
                walk.pass(change.row(), 0, change.weight as u64);
            }
            let (row_start, old) = stored_parts(value)?;
            let change = changes.next_if(|change| change.entry == entry);
            let new = old.saturating_add(change.map_or(0, |change| change.weight));
            let row = entry.get(row_start..).ok_or_else(damaged)?;
            walk.pass(row, old as u64, new as u64);
            Ok(match walk.is_over(changes.peek().is_none()) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        })?;
        changes.for_each(|change| walk.pass_unread(change.row(), change.weight));
        Ok(())
    }
}

impl Walk<'_> {
    /// Goes past a row that was there `old` times and now is `new` times.
    fn pass(&mut self, row: &[u8], old: u64, new: u64) {
        let change = self.places.taken(self.after, new) - self.places.taken(self.before, old);
        self.before = self.before.saturating_add(old);
        self.after = self.after.saturating_add(new);
        self.output.push(row, change);
    }

    /// Whether every row from here on has the same places before and after, or none of them, or is in both whole.
    fn is_over(&self, is_last_change: bool) -> bool {
        let behind = self.before.min(self.after);
        behind >= self.places.end || self.is_open_from_here() || (is_last_change && self.before == self.after)
    }

    fn is_open_from_here(&self) -> bool {
        self.places.end == u64::MAX && self.before.min(self.after) >= self.places.start
    }

    /// Goes past a change after the last row that was read: of a new row at the end, or of one after all places that
    /// had to be counted.
    fn pass_unread(&mut self, row: &[u8], weight: i64) {
        if self.is_open_from_here() {
            self.output.push(row, weight);
        } else if self.before.min(self.after) < self.places.end {
            self.pass(row, 0, weight as u64);
        }
    }
}

impl Output {
    fn push(&mut self, row: &[u8], weight: i64) {
        if weight != 0 {
            self.rows.push(row);
            self.weights.push(weight);
        }
    }

    fn take(&mut self, codec: &RowCodec) -> Result<Batch> {
        let Self { rows, weights } = std::mem::take(self);
        Batch::new(codec.decode(rows.iter())?, weights)
    }
}

/// The value of an entry: where the row starts in its key, how often it is there.
fn stored_value(row_start: usize, count: i64) -> Vec<u8> {
    let mut value = (row_start as u32).to_be_bytes().to_vec();
    value.extend(bytes_of(count));
    value
}

fn stored_parts(value: &[u8]) -> Result<(usize, i64)> {
    let (row_start, count) = value.split_first_chunk().ok_or_else(damaged)?;
    Ok((u32::from_be_bytes(*row_start) as usize, count_of(count)?))
}

fn damaged() -> Error {
    Error::corrupt("the stored state of a limit is damaged")
}

impl Operator for TopK {
    fn step(&self, inputs: &[Option<&Batch>], txn: &mut Txn) -> Result<Option<Batch>> {
        let mut changes = Changes::default();
        for batch in inputs.iter().flatten() {
            self.rows.gather(batch, &mut changes)?;
        }
        collected(self.rows.codec().schema(), |emit| self.apply(&changes, txn, emit))
    }

    fn hydrate(&self, inputs: &[&Collect<'_>], txn: &mut Txn, output: &mut Emit<'_>) -> Result<()> {
        let mut changes = Changes::default();
        for input in inputs {
            input(txn, &mut |_, batch| self.rows.gather(&batch, &mut changes))?;
        }
        self.apply(&changes, txn, output)
    }
}

#[cfg(test)]
mod tests {
    use super::Places;

    #[test]
    fn places_within_places_are_counted_from_the_first() {
        let outer = Places { start: 2, end: 7 };
        assert_eq!(
            outer.narrowed(Places { start: 1, end: 3 }),
            Places { start: 3, end: 5 }
        );
        assert_eq!(
            outer.narrowed(Places {
                start: 4,
                end: u64::MAX
            }),
            Places { start: 6, end: 7 }
        );
        assert_eq!(outer.narrowed(Places { start: 9, end: 12 }).count(), Some(0));
    }

    #[test]
    fn rows_take_as_many_places_as_they_are_often_there() {
        let places = Places { start: 2, end: 4 };
        assert_eq!(places.taken(0, 2), 0);
        assert_eq!(places.taken(1, 9), 2);
        assert_eq!(places.taken(3, 1), 1);
        assert_eq!(places.taken(4, 1), 0);
    }
}
