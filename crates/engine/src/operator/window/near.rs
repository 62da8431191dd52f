//! Functions of the rows around a row: `lag`, `lead`, and frames of so many ROWS before and after.
//!
//! ```text
//! operator prefix ‖ 00 ‖ group ‖ sort key ‖ row               → see `entry`
//! operator prefix ‖ 01 ‖ group ‖ sort key ‖ row, inverted     → how often it is there: to be read backwards
//! ```
//! A result comes from a row's places up to `before` back and `after` on. So a change means something to the rows up to
//! `after` places before it and `before` places after it; those are computed as they were and as they are, from a
//! stretch of the partition that reaches further by the same numbers: O(Δ · reach · log n). Changes that are close
//! share a stretch.

use super::entry::{self, Entry};
use super::frame::{Arguments, NearFunction, Sequence};
use super::outcome::{Outcome, difference};
use super::{NearCall, WindowSpec};
use crate::operator::aggregate::{Value, bytes_of, count_of};
use crate::operator::ordered_rows::{Change, Changes, RowOrder};
use crate::operator::{CHUNK_ROWS, Collect, Emit, Operator, collected};
use arrow::datatypes::SchemaRef;
use std::iter::repeat_n;
use std::ops::ControlFlow;
use viewfeed_change::{Batch, Result};
use viewfeed_store::keys::{self, StateId};
use viewfeed_store::{Reader, Txn};

/// Computes functions of the rows around a row.
pub(crate) struct Near {
    spec: WindowSpec,
    rows: RowOrder,
    functions: Vec<NearFunction>,
    /// How many places back and on a result may come from.
    before: u64,
    after: u64,
    prefix: Vec<u8>,
}

/// Rows of a partition one after another, around changes.
#[derive(Default)]
struct Stretch {
    entries: Vec<Entry>,
    /// Whether the partition has no row before it, and none after it.
    is_start: bool,
    is_end: bool,
}

/// Where a stretch starts: the first entry's key, if it is not the partition's first one.
type Start = Option<Vec<u8>>;

impl Near {
    /// Over rows with `schema`, with its state under `state`.
    pub(crate) fn new(
        schema: &SchemaRef,
        spec: WindowSpec,
        calls: &[NearCall],
        state: StateId,
    ) -> Result<Self> {
        let functions = calls.iter().map(|call| NearFunction::new(call, schema));
        let functions = functions.collect::<Result<Vec<_>>>()?;
        let reaches = || functions.iter().map(NearFunction::reach);
        Ok(Self {
            before: reaches().map(|(before, _)| before).max().unwrap_or(0),
            after: reaches().map(|(_, after)| after).max().unwrap_or(0),
            rows: RowOrder::new(schema, &spec.partition, false, &spec.order)?,
            prefix: keys::operator_prefix(state),
            functions,
            spec,
        })
    }

    /// Brings the state up to date and hands over what changed in the results.
    fn apply(&self, changes: &Changes, txn: &mut Txn, emit: &mut Emit<'_>) -> Result<()> {
        let before = txn.before();
        let sorted = changes.sorted();
        let mut stretches = Vec::new();
        let mut held = 0;
        for group in sorted.chunk_by(|a, b| a.group() == b.group()) {
            self.stage(group, &before, txn)?;
            let mut rest = group;
            while !rest.is_empty() {
                let stretch = self.read(&mut rest, &before)?;
                held += stretch.entries.len();
                stretches.push(stretch);
                if held >= CHUNK_ROWS {
                    self.compare(&stretches, txn, emit)?;
                    (held, stretches) = (0, Vec::new());
                }
            }
        }
        self.compare(&stretches, txn, emit)
    }

    fn stage(&self, group: &[Change<'_>], before: &Reader, txn: &mut Txn) -> Result<()> {
        for change in group {
            let key = self.forward(change.entry);
            let stored = before.get(&key)?;
            let old = stored.map_or(Ok(0), |value| entry::count(&value))?;
            let backward = self.backward(change.entry, change.cut.group_end);
            match entry::changed(old, change.weight)? {
                0 => {
                    txn.delete(key);
                    txn.delete(backward);
                }
                count => {
                    txn.put(key, entry::value(change.cut.row_start, count, &[]));
                    txn.put(backward, bytes_of(count as i64));
                }
            }
        }
        Ok(())
    }

    fn forward(&self, entry: &[u8]) -> Vec<u8> {
        [&self.prefix, &[0][..], entry].concat()
    }

    fn backward(&self, entry: &[u8], group_end: usize) -> Vec<u8> {
        let mut key = [&self.prefix, &[1][..], entry].concat();
        let inverted = self.prefix.len() + 1 + group_end;
        key[inverted..].iter_mut().for_each(|byte| *byte = !*byte);
        key
    }

    /// How many places of a stretch lie before its first change, and after its last one, if there are as many.
    fn reach(&self) -> u64 {
        self.before.saturating_add(self.after)
    }

    /// Reads the stretch around the first of `changes`, and takes those that lie in it.
    fn read(&self, changes: &mut &[Change<'_>], before: &Reader) -> Result<Stretch> {
        let Some(first) = changes.first() else {
            return Ok(Stretch::default());
        };
        let start = self.start(first, before)?;
        let partition = self.forward(first.group());
        let mut stretch = Stretch {
            is_start: start.is_none(),
            is_end: true,
            ..Stretch::default()
        };
        // the places since the last change; none before the first one
        let mut places_since: Option<u64> = None;
        before.scan(&partition, &start.unwrap_or_default(), &mut |key, value| {
            let key = &key[self.prefix.len() + 1..];
            while let Some(change) = changes.first().filter(|change| change.entry < key) {
                stretch.entries.push(Entry::new(change)?);
                *changes = &changes[1..];
                places_since = Some(0);
            }
            let change = changes.first().filter(|change| change.entry == key);
            let entry = Entry::stored(key, value, change)?;
            places_since = match change {
                Some(_) => Some(0),
                None => places_since.map(|places| places.saturating_add(entry.counts[0])),
            };
            *changes = &changes[usize::from(change.is_some())..];
            stretch.entries.push(entry);
            let is_over = places_since.is_some_and(|places| places >= self.reach());
            stretch.is_end = !is_over;
            Ok(match is_over {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        })?;
        if stretch.is_end {
            let left = changes.iter().map(Entry::new);
            stretch.entries.extend(left.collect::<Result<Vec<_>>>()?);
            *changes = &[];
        }
        Ok(stretch)
    }

    /// Goes back from a change by the reach; None at the partition's first row.
    fn start(&self, change: &Change<'_>, before: &Reader) -> Result<Start> {
        let group_end = change.cut.group_end;
        let partition = self.prefix.len() + 1 + group_end;
        let from = self.backward(change.entry, group_end);
        let (mut start, mut places) = (change.entry.to_vec(), 0_u64);
        let mut is_first = true;
        before.scan(&from[..partition], &from, &mut |key, value| {
            if places >= self.reach() {
                is_first = false;
                return Ok(ControlFlow::Break(()));
            }
            if key != from {
                start.truncate(group_end);
                start.extend(key[partition..].iter().map(|byte| !byte));
                places = places.saturating_add(count_of(value)?.unsigned_abs());
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((!is_first).then(|| self.forward(&start)))
    }

    /// Computes the results of the stretches before and after the step, and hands over what differs.
    fn compare(&self, stretches: &[Stretch], txn: &mut Txn, emit: &mut Emit<'_>) -> Result<()> {
        let entries = stretches.iter().flat_map(|stretch| &stretch.entries);
        let rows = entry::rows(entries, self.rows.codec())?;
        let arguments = self.functions.iter().map(|function| function.arguments(&rows));
        let arguments = arguments.collect::<Result<Vec<_>>>()?;
        let outcomes = [
            self.outcome(stretches, 0, &arguments)?,
            self.outcome(stretches, 1, &arguments)?,
        ];
        let column = |call: usize, values: &[&Value]| self.functions[call].column(values);
        match difference(&rows, [&outcomes[0], &outcomes[1]], &self.spec, &column)? {
            Some(batch) => emit(txn, batch),
            None => Ok(()),
        }
    }

    /// The results before (0) or after (1) the step.
    fn outcome(&self, stretches: &[Stretch], side: usize, arguments: &[Arguments]) -> Result<Outcome> {
        let mut outcome = Outcome::of(self.functions.len());
        let mut first = 0;
        for stretch in stretches {
            let places = stretch.entries.iter().zip(first..);
            let places = places.flat_map(|(entry, row)| repeat_n(row, entry.counts[side] as usize));
            let places: Vec<u32> = places.collect();
            first += stretch.entries.len() as u32;
            let sequence = Sequence {
                wanted: self.wanted(stretch, places.len()),
                rows: &places,
            };
            outcome.rows.extend(&places[sequence.wanted.clone()]);
            for (i, function) in self.functions.iter().enumerate() {
                outcome.values[i].append(&mut function.results(&arguments[i], &sequence)?);
            }
        }
        Ok(outcome)
    }

    /// The places of a stretch that have all of their reach in it.
    fn wanted(&self, stretch: &Stretch, count: usize) -> std::ops::Range<usize> {
        let cut = |is_edge: bool, reach: u64| match is_edge {
            true => 0,
            false => usize::try_from(reach).unwrap_or(usize::MAX),
        };
        let end = count.saturating_sub(cut(stretch.is_end, self.after));
        cut(stretch.is_start, self.before).min(end)..end
    }
}

impl Operator for Near {
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
