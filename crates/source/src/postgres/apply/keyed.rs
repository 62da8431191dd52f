//! Tables with a key: a row is found by it, in our own state.

use super::columns::{Place, gather};
use super::{Base, diverged};
use crate::postgres::{RowChange, RowChanges};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use std::collections::HashMap;
use std::ops::ControlFlow;
use viewfeed_change::row::{RowCodec, Rows};
use viewfeed_change::{Batch, Relation, Result};
use viewfeed_store::{Reader, arrange};

/// Fewer keys are always looked up one by one.
const RANGE_KEYS_MIN: usize = 16;
/// Rows of a range that are read at a time.
const RANGE_CHUNK_ROWS: usize = 1024;

/// As [`super::deltas`].
pub(super) fn deltas(
    reader: &Reader,
    table: &Relation,
    changes: &[(usize, &RowChanges)],
    base: Base,
) -> Result<Vec<(usize, Batch)>> {
    let Some((_, first)) = changes.first() else {
        return Ok(Vec::new());
    };
    let new = concat_batches(
        &first.new.schema(),
        changes.iter().map(|(_, changes)| &changes.new),
    )?;
    let old = concat_batches(
        &first.old.schema(),
        changes.iter().map(|(_, changes)| &changes.old),
    )?;
    let codec = RowCodec::for_paths(&table.schema(), &table.key_paths())?;
    let (new_keys, old_keys) = (codec.encode(&new)?, codec.encode(&old)?);
    let (steps, keys) = steps(&table.key, changes, &new_keys, &old_keys);
    let (stored, present) = look_up(reader, table, &codec, &keys)?;
    let mut follow = Follow::new(table, changes, base, &present);
    for step in &steps {
        follow.step(step)?;
    }
    follow.end_transaction();
    follow.batches(&stored, &new)
}

/// One operation, with rows as numbers among all that were sent and keys as numbers among all that are spoken of.
struct Step {
    transaction: usize,
    operation: RowChange,
    /// The key the row had before, unless it came.
    from: Option<u32>,
    /// The row it becomes and that row's key, unless it went.
    to: Option<(u32, u32)>,
}

fn steps(
    key: &[usize],
    changes: &[(usize, &RowChanges)],
    new_keys: &Rows,
    old_keys: &Rows,
) -> (Vec<Step>, Rows) {
    let (mut numbers, mut keys) = (HashMap::new(), Rows::default());
    let (mut next_old, mut next_new) = (0usize, 0u32);
    let operations = changes.iter().map(|(_, changes)| changes.operations.len()).sum();
    let mut steps = Vec::with_capacity(operations);
    let mut number = |key| {
        *numbers.entry(key).or_insert_with(|| {
            keys.push(key);
            keys.len() as u32 - 1
        })
    };
    for (transaction, changes) in changes {
        let first = next_new;
        for operation in &changes.operations {
            let old_key = operation.has_old().then(|| {
                next_old += 1;
                number(old_keys.row(next_old - 1))
            });
            let to = operation.has_new().then(|| {
                let row = next_new;
                next_new += 1;
                // A large key that did not change is not sent again, but the old one is.
                match old_key.filter(|_| lacks_key(key, changes, row - first)) {
                    Some(old_key) => (row, old_key),
                    None => (row, number(new_keys.row(row as usize))),
                }
            });
            let from = match operation {
                RowChange::Insert => None,
                RowChange::Update(_) | RowChange::Delete(_) => old_key.or(to.map(|(_, key)| key)),
            };
            steps.push(Step {
                transaction: *transaction,
                operation: *operation,
                from,
                to,
            });
        }
    }
    (steps, keys)
}

/// Whether a row was sent without a column of the key.
fn lacks_key(key: &[usize], changes: &RowChanges, row: u32) -> bool {
    let unchanged = changes.unchanged.get(&row);
    unchanged.is_some_and(|columns| columns.iter().any(|column| key.contains(&usize::from(*column))))
}

/// Stored rows, and for each key the number of its row.
type Stored = (RecordBatch, Vec<Option<u32>>);

/// The stored rows with one of `keys`, which are distinct, and maybe others. Keys of new rows mostly follow each other, and few
/// rows or none lie between them: then one range is read, else each key is looked up.
fn look_up(reader: &Reader, table: &Relation, codec: &RowCodec, keys: &Rows) -> Result<Stored> {
    if keys.len() >= RANGE_KEYS_MIN
        && let Some(stored) = read_range(reader, table, codec, keys)?
    {
        return Ok(stored);
    }
    let matches = arrange::unfinished(reader, table)?.lookup(reader, keys)?;
    let mut present = vec![None; keys.len()];
    for (row, key) in matches.probe.iter().enumerate() {
        if matches.batch.weights()[row] > 0 {
            present[*key as usize] = Some(row as u32);
        }
    }
    Ok((matches.batch.into_parts().0, present))
}

/// The stored rows from the least of `keys` to the greatest; None if there are more rows than keys.
fn read_range(reader: &Reader, table: &Relation, codec: &RowCodec, keys: &Rows) -> Result<Option<Stored>> {
    let (Some(first), last) = (keys.iter().min(), keys.iter().max()) else {
        return Ok(None);
    };
    let (mut batches, mut rows) = (Vec::new(), 0);
    let arrangement = arrange::unfinished(reader, table)?;
    arrangement.scan_range(reader, first, last, RANGE_CHUNK_ROWS, &mut |batch| {
        rows += batch.len();
        batches.push(batch);
        match rows > keys.len() {
            true => Ok(ControlFlow::Break(())),
            false => Ok(ControlFlow::Continue(())),
        }
    })?;
    if rows > keys.len() {
        return Ok(None);
    }
    let (stored, weights) = Batch::concat(&table.schema(), &batches)?.into_parts();
    let mut present = vec![None; keys.len()];
    if !weights.is_empty() {
        let numbers: HashMap<&[u8], usize> = keys.iter().zip(0..).collect();
        let stored_keys = codec.encode(&stored)?;
        for (row, key) in stored_keys.iter().enumerate() {
            if let Some(number) = numbers.get(key).filter(|_| weights[row] > 0) {
                present[*number] = Some(row as u32);
            }
        }
    }
    Ok(Some((stored, present)))
}

/// The rows as they are after the steps so far.
struct Follow<'a> {
    table: &'a Relation,
    base: Base,
    /// The row of each key.
    current: Vec<Option<Place>>,
    /// Of rows that were sent without some columns: these, and the row that has them.
    incomplete: HashMap<u32, (&'a [u16], Place)>,
    unchanged: HashMap<u32, &'a [u16]>,
    transaction: usize,
    /// Keys the present transaction has touched, with their rows before it.
    touched: Vec<(u32, Option<Place>)>,
    /// The transaction that touched a key last, plus one.
    touched_by: Vec<usize>,
    /// Rows that go and come, and where each transaction's end.
    changed: Vec<(Place, i64)>,
    ends: Vec<(usize, usize)>,
}

impl<'a> Follow<'a> {
    fn new(
        table: &'a Relation,
        changes: &[(usize, &'a RowChanges)],
        base: Base,
        present: &[Option<u32>],
    ) -> Self {
        let mut unchanged = HashMap::new();
        let mut first = 0;
        for (_, changes) in changes {
            let rows = changes.unchanged.iter();
            unchanged.extend(rows.map(|(row, columns)| (first + row, columns.as_slice())));
            first += changes.new.num_rows() as u32;
        }
        Self {
            table,
            base,
            current: present.iter().map(|row| row.map(Place::Old)).collect(),
            incomplete: HashMap::new(),
            unchanged,
            transaction: 0,
            touched: Vec::new(),
            touched_by: vec![0; present.len()],
            changed: Vec::new(),
            ends: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        if step.transaction != self.transaction {
            self.end_transaction();
            self.transaction = step.transaction;
        }
        let is_exact = self.base == Base::Exact;
        let before = match (step.operation, step.from) {
            (RowChange::Insert, _) => None,
            (_, Some(key)) => {
                self.touch(key);
                self.current[key as usize].take()
            }
            (_, None) => return Err(diverged(self.table, "a deleted row was sent without its key")),
        };
        if is_exact && before.is_none() && step.operation != RowChange::Insert {
            return Err(diverged(self.table, "a row that changed is not there"));
        }
        let Some((row, key)) = step.to else {
            return Ok(());
        };
        self.touch(key);
        if is_exact && self.current[key as usize].is_some() {
            return Err(diverged(self.table, "a row that came is there already"));
        }
        if let Some(columns) = self.unchanged.get(&row) {
            // Where rows may be later ones, that of the old key may be another one by now.
            let before = before.filter(|_| is_exact || step.from == Some(key));
            let before = before.ok_or_else(|| diverged(self.table, "a row came without all its values"))?;
            self.incomplete.insert(row, (columns, before));
        }
        self.current[key as usize] = Some(Place::New(row));
        Ok(())
    }

    /// Remembers the row of `key` before the present transaction.
    fn touch(&mut self, key: u32) {
        let by = &mut self.touched_by[key as usize];
        if *by != self.transaction + 1 {
            *by = self.transaction + 1;
            self.touched.push((key, self.current[key as usize]));
        }
    }

    /// Adds up what the present transaction did.
    fn end_transaction(&mut self) {
        let before = self.changed.len();
        for (key, was) in self.touched.drain(..) {
            let is = self.current[key as usize];
            if was != is {
                self.changed.extend(was.map(|row| (row, -1)));
                self.changed.extend(is.map(|row| (row, 1)));
            }
        }
        if self.changed.len() > before {
            self.ends.push((self.transaction, self.changed.len()));
        }
    }

    fn batches(&self, stored: &RecordBatch, new: &RecordBatch) -> Result<Vec<(usize, Batch)>> {
        let rows = gather(self.table, stored, new, |column| {
            let place = |(place, _): &(Place, i64)| self.value(*place, column);
            self.changed.iter().map(place).collect()
        })?;
        let weights: Vec<i64> = self.changed.iter().map(|(_, weight)| *weight).collect();
        let mut batches = Vec::with_capacity(self.ends.len());
        let mut start = 0;
        for (transaction, end) in &self.ends {
            let mut batch = Batch::new(rows.slice(start, end - start), weights[start..*end].to_vec())?;
            // A row that was changed to what it was is no change.
            if weights[start..*end].contains(&-1) && weights[start..*end].contains(&1) {
                batch = batch.consolidate()?;
            }
            if !batch.is_empty() {
                batches.push((*transaction, batch));
            }
            start = *end;
        }
        Ok(batches)
    }

    /// Where the value of a row is that may have been sent without it.
    fn value(&self, mut place: Place, column: usize) -> Place {
        while let Place::New(row) = place {
            match self.incomplete.get(&row) {
                Some((columns, base)) if columns.iter().any(|other| usize::from(*other) == column) => {
                    place = *base;
                }
                _ => break,
            }
        }
        place
    }
}
