//! Functions that run from the first row of a partition on: numbers, ranks, and frames from UNBOUNDED PRECEDING to the
//! row or to the last of its peers.
//!
//! ```text
//! operator prefix ‖ 00 ‖ group ‖ sort key ‖ row   → see `entry`: with what the functions remember of the units before
//! operator prefix ‖ 01 ‖ group                    → what they remember of all; nothing if that is nothing
//! ```
//! A unit is a row, or all rows that are equal in the order if a function wants to know. A change starts at its unit,
//! where it finds what was before, and goes on side by side, as it was and as it is, until both remember the same: a
//! row at the end costs itself, one in the middle all that follow it as long as their results change.

use super::entry::{self, Entry};
use super::fold::{Arguments, Fold, State};
use super::outcome::{Outcome, difference};
use super::{RunningCall, RunningFunction, WindowSpec};
use crate::operator::aggregate::{Cursor, Value};
use crate::operator::ordered_rows::{Change, Changes, RowOrder};
use crate::operator::{CHUNK_ROWS, Collect, Emit, Operator, collected};
use arrow::datatypes::SchemaRef;
use std::ops::ControlFlow;
use viewfeed_change::{Batch, Result};
use viewfeed_store::keys::{self, StateId};
use viewfeed_store::{Reader, Txn};

/// Rows of a stretch that are read before it is looked whether anything still differs: so many first …
const STRETCH_ROWS_FIRST: usize = 16;
/// … then four times as many each time, up to this.
const STRETCH_ROWS_MAX: usize = 2048;

/// Computes functions of a row and all before it.
pub(crate) struct Running {
    spec: WindowSpec,
    rows: RowOrder,
    folds: Vec<Fold>,
    /// Whether rows that are equal in the order are a unit.
    by_peers: bool,
    prefix: Vec<u8>,
}

/// Whole units of a partition one after another.
struct Stretch {
    group: Vec<u8>,
    entries: Vec<Entry>,
    /// What the functions remember, as it was and as it is: before the stretch, and after it once it was passed.
    states: [Vec<State>; 2],
    /// Whether no row of the partition comes after it.
    is_end: bool,
}

/// A stretch on its way, and where its results go.
struct Walk<'a, 'b, 'c> {
    running: &'a Running,
    stretch: Stretch,
    rows_max: usize,
    txn: &'b mut Txn,
    emit: &'b mut Emit<'c>,
}

impl Running {
    /// Over rows with `schema`, with its state under `state`.
    pub(crate) fn new(
        schema: &SchemaRef,
        spec: WindowSpec,
        calls: &[RunningCall],
        state: StateId,
    ) -> Result<Self> {
        let ranks =
            |call: &RunningCall| matches!(call.function, RunningFunction::Rank | RunningFunction::DenseRank);
        Ok(Self {
            folds: calls
                .iter()
                .map(|call| Fold::new(call, schema))
                .collect::<Result<_>>()?,
            by_peers: calls.iter().any(|call| call.by_peers || ranks(call)),
            rows: RowOrder::new(schema, &spec.partition, false, &spec.order)?,
            prefix: keys::operator_prefix(state),
            spec,
        })
    }

    /// Brings the state up to date and hands over what changed in the results.
    fn apply(&self, changes: &Changes, txn: &mut Txn, emit: &mut Emit<'_>) -> Result<()> {
        let before = txn.before();
        let sorted = changes.sorted();
        let (mut ends, mut held) = (Vec::new(), 0);
        for group in sorted.chunk_by(|a, b| a.group() == b.group()) {
            let mut rest = group;
            while let Some(end) = self.walk(&mut rest, &before, txn, emit)? {
                held += end.entries.len();
                ends.push(end);
                if held >= CHUNK_ROWS {
                    self.pass(&mut ends, txn, emit)?;
                    (held, ends) = (0, Vec::new());
                }
            }
        }
        self.pass(&mut ends, txn, emit)
    }

    /// Goes from the first of `changes`, which it takes as it meets them, until nothing differs any more or the
    /// partition ends: then its last stretch is left to be passed with those of other partitions. None without changes.
    fn walk(
        &self,
        changes: &mut &[Change<'_>],
        before: &Reader,
        txn: &mut Txn,
        emit: &mut Emit<'_>,
    ) -> Result<Option<Stretch>> {
        while let Some(first) = changes.first() {
            let partition = self.key(0, first.group());
            let from = self.key(0, self.unit(first.entry, first.cut.row_start));
            let mut walk = Walk {
                running: self,
                stretch: self.stretch_at(first.group(), &from, before)?,
                rows_max: STRETCH_ROWS_FIRST,
                txn,
                emit,
            };
            let mut is_end = true;
            before.scan(&partition, &from, &mut |key, value| {
                let key = &key[self.prefix.len() + 1..];
                while let Some(change) = changes.first().filter(|change| change.entry < key) {
                    walk.push(Entry::new(change)?)?;
                    *changes = &changes[1..];
                }
                let change = changes.first().filter(|change| change.entry == key);
                let entry = Entry::stored(key, value, change)?;
                if change.is_none() && walk.is_full(&entry) && walk.pass()? {
                    is_end = false;
                    return Ok(ControlFlow::Break(()));
                }
                *changes = &changes[usize::from(change.is_some())..];
                walk.push(entry)?;
                Ok(ControlFlow::Continue(()))
            })?;
            if is_end {
                for change in std::mem::take(changes) {
                    walk.push(Entry::new(change)?)?;
                }
                walk.stretch.is_end = true;
                return Ok(Some(walk.stretch));
            }
        }
        Ok(None)
    }

    /// An empty stretch that starts at `from`, with what the functions remember there.
    fn stretch_at(&self, group: &[u8], from: &[u8], before: &Reader) -> Result<Stretch> {
        let mut stored = None;
        before.scan(&self.key(0, group), from, &mut |key, value| {
            let key = &key[self.prefix.len() + 1..];
            stored = Some(Entry::stored(key, value, None)?.stored);
            Ok(ControlFlow::Break(()))
        })?;
        let stored = match stored {
            Some(stored) => Some(stored),
            None => before.get(&self.key(1, group))?,
        };
        let state = match stored {
            Some(bytes) => self.decode(&bytes)?,
            None => self.folds.iter().map(Fold::start).collect(),
        };
        Ok(Stretch {
            group: group.to_vec(),
            entries: Vec::new(),
            states: [state.clone(), state],
            is_end: false,
        })
    }

    fn key(&self, part: u8, rest: &[u8]) -> Vec<u8> {
        [&self.prefix, &[part][..], rest].concat()
    }

    /// The start of an entry that all of its unit have.
    fn unit<'a>(&self, entry: &'a [u8], row_start: usize) -> &'a [u8] {
        match self.by_peers {
            true => &entry[..row_start],
            false => entry,
        }
    }

    fn is_same_unit(&self, left: &Entry, right: &Entry) -> bool {
        self.unit(&left.key, left.row_start) == self.unit(&right.key, right.row_start)
    }

    /// Computes the results of stretches as they were and as they are, stores what changed and hands over what differs.
    fn pass(&self, stretches: &mut [Stretch], txn: &mut Txn, emit: &mut Emit<'_>) -> Result<()> {
        let entries = stretches.iter().flat_map(|stretch| &stretch.entries);
        let rows = entry::rows(entries, self.rows.codec())?;
        let arguments = self.folds.iter().map(|fold| fold.arguments(&rows));
        let arguments = arguments.collect::<Result<Vec<_>>>()?;
        let mut outcomes = [Outcome::of(self.folds.len()), Outcome::of(self.folds.len())];
        let mut first = 0;
        for stretch in stretches {
            for (side, outcome) in outcomes.iter_mut().enumerate() {
                let remembered = self.fold(stretch, side, first, &arguments, outcome)?;
                if side == 1 {
                    self.stage(stretch, &remembered, txn);
                }
            }
            first += stretch.entries.len();
        }
        let column = |call: usize, values: &[&Value]| self.folds[call].column(values);
        match difference(&rows, [&outcomes[0], &outcomes[1]], &self.spec, &column)? {
            Some(batch) => emit(txn, batch),
            None => Ok(()),
        }
    }

    /// Goes over a stretch, whose entries are the rows from `first` on, as it was (0) or is (1). Gives what was
    /// remembered before each unit.
    fn fold(
        &self,
        stretch: &mut Stretch,
        side: usize,
        first: usize,
        arguments: &[Arguments],
        outcome: &mut Outcome,
    ) -> Result<Vec<Vec<u8>>> {
        let (mut row, mut remembered) = (first, Vec::new());
        let states = &mut stretch.states[side];
        for unit in stretch.entries.chunk_by(|a, b| self.is_same_unit(a, b)) {
            remembered.push(encode(states));
            let rows = unit
                .iter()
                .zip(row..)
                .map(|(entry, row)| (row, entry.counts[side]));
            let rows: Vec<(usize, u64)> = rows.filter(|(_, count)| *count > 0).collect();
            row += unit.len();
            if rows.is_empty() {
                continue;
            }
            for (row, count) in &rows {
                outcome
                    .rows
                    .extend(std::iter::repeat_n(*row as u32, *count as usize));
            }
            for (i, fold) in self.folds.iter().enumerate() {
                fold.pass(&rows, &arguments[i], &mut states[i], &mut outcome.values[i])?;
            }
        }
        Ok(remembered)
    }

    /// Stores the entries that changed, or before which something else is remembered now.
    fn stage(&self, stretch: &Stretch, remembered: &[Vec<u8>], txn: &mut Txn) {
        let units = stretch.entries.chunk_by(|a, b| self.is_same_unit(a, b));
        for (unit, remembered) in units.zip(remembered) {
            for entry in unit {
                let key = self.key(0, &entry.key);
                if entry.counts[1] == 0 {
                    txn.delete(key);
                } else if entry.is_changed() || entry.stored != *remembered {
                    txn.put(key, entry.value(remembered));
                }
            }
        }
        if stretch.is_end {
            let start: Vec<State> = self.folds.iter().map(Fold::start).collect();
            let (key, end) = (self.key(1, &stretch.group), encode(&stretch.states[1]));
            match end == encode(&start) {
                true => txn.delete(key),
                false => txn.put(key, end),
            }
        }
    }

    fn decode(&self, bytes: &[u8]) -> Result<Vec<State>> {
        let mut input = Cursor(bytes);
        let states = self.folds.iter().map(|fold| fold.decode(&mut input));
        let states = states.collect::<Result<Vec<_>>>()?;
        input.end()?;
        Ok(states)
    }
}

impl Walk<'_, '_, '_> {
    /// Whether the stretch is long enough to be passed before `next`.
    fn is_full(&self, next: &Entry) -> bool {
        let is_whole = |last: &Entry| !self.running.is_same_unit(last, next);
        self.stretch.entries.len() >= self.rows_max && self.stretch.entries.last().is_some_and(is_whole)
    }

    fn push(&mut self, entry: Entry) -> Result<()> {
        if self.is_full(&entry) {
            self.pass()?;
        }
        self.stretch.entries.push(entry);
        Ok(())
    }

    /// Passes the stretch; whether the same is remembered after it as before the step. The next one starts there.
    fn pass(&mut self) -> Result<bool> {
        let stretch = std::slice::from_mut(&mut self.stretch);
        self.running.pass(stretch, self.txn, self.emit)?;
        self.stretch.entries.clear();
        self.rows_max = (self.rows_max * 4).min(STRETCH_ROWS_MAX);
        let [old, new] = &self.stretch.states;
        Ok(encode(old) == encode(new))
    }
}

fn encode(states: &[State]) -> Vec<u8> {
    let mut bytes = Vec::new();
    states.iter().for_each(|state| state.encode(&mut bytes));
    bytes
}

impl Operator for Running {
    fn step(&self, inputs: &[Option<&Batch>], txn: &mut Txn) -> Result<Option<Batch>> {
        let mut changes = Changes::default();
        for batch in inputs.iter().flatten() {
            self.rows.gather(batch, &mut changes)?;
        }
        collected(&self.spec.output_schema, |emit| self.apply(&changes, txn, emit))
    }

    fn hydrate(&self, inputs: &[&Collect<'_>], txn: &mut Txn, output: &mut Emit<'_>) -> Result<()> {
        let mut changes = Changes::default();
        for input in inputs {
            input(txn, &mut |_, batch| self.rows.gather(&batch, &mut changes))?;
        }
        self.apply(&changes, txn, output)
    }
}
