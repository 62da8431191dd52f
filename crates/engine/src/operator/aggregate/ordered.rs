//! Values in order, for firsts and lists under any removal: one entry per group and value with the value's count. A
//! group remembers its first, so that it is looked for only when it is removed.

use super::accumulator::negative;
use super::bytes::{Cursor, write_unsigned};
use super::call::Call;
use super::delta::split;
use super::value::Value;
use crate::operator::tally::Tally;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use viewfeed_change::{Error, Result};
use viewfeed_store::{Prober, Reader, Txn};

/// The values of one group of one call.
pub(super) struct OrderedValues<'a> {
    /// Where the group's entries start.
    pub(super) prefix: &'a [u8],
    /// The state they are read from.
    pub(super) reader: &'a Reader,
}

/// What a step changed in a group: entry → weight, smallest first. Weights are not 0.
pub(super) type Changes<'a> = BTreeMap<&'a [u8], i64>;

/// What staging changes has shown.
pub(super) struct Staged<'a> {
    /// The first of the changed values that is there now.
    first: Option<&'a [u8]>,
    /// The values that are not there any more, smallest first.
    gone: Vec<&'a [u8]>,
}

impl OrderedValues<'_> {
    /// Stages the changed counts over those of the state before, which `stored` reads.
    pub(super) fn stage<'a>(
        &self,
        changes: &Changes<'a>,
        stored: &mut Prober,
        txn: &mut Txn,
    ) -> Result<Staged<'a>> {
        let mut staged = Staged {
            first: None,
            gone: Vec::new(),
        };
        for (value, weight) in changes {
            let key = [self.prefix, value].concat();
            let old = stored.get(&key)?.map_or(Ok(0), |bytes| count_of(&bytes))?;
            match old.saturating_add(*weight) {
                ..0 => return Err(negative()),
                0 => {
                    txn.delete(key);
                    staged.gone.push(*value);
                }
                count => {
                    txn.put(key, bytes_of(count));
                    staged.first = staged.first.or(Some(*value));
                }
            }
        }
        Ok(staged)
    }

    /// The first value after what was staged; `first` is the one before.
    pub(super) fn first_after(&self, first: Option<&[u8]>, staged: &Staged<'_>) -> Result<Option<Vec<u8>>> {
        let unchanged = match first {
            Some(first) if staged.gone.binary_search(&first).is_ok() => {
                self.next_after(first, &staged.gone)?
            }
            other => other.map(<[u8]>::to_vec),
        };
        let changed = staged.first.map(<[u8]>::to_vec);
        Ok(match (changed, unchanged) {
            (Some(changed), Some(unchanged)) => Some(changed.min(unchanged)),
            (changed, unchanged) => changed.or(unchanged),
        })
    }

    /// The first stored value after `value` that is not `gone` (sorted): reads one entry more than are gone.
    fn next_after(&self, value: &[u8], gone: &[&[u8]]) -> Result<Option<Vec<u8>>> {
        let mut found = None;
        let from = [self.prefix, value].concat();
        self.reader.scan(self.prefix, &from, &mut |key, _| {
            let value = &key[self.prefix.len()..];
            if gone.binary_search(&value).is_ok() {
                return Ok(ControlFlow::Continue(()));
            }
            found = Some(value.to_vec());
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// All values in order, with how often each is in the result of `call`: O(group).
    pub(super) fn list(&self, call: &Call) -> Result<Value> {
        let mut entries = Vec::new();
        self.reader.scan(self.prefix, self.prefix, &mut |key, count| {
            let value = call.form()?.value_of(&key[self.prefix.len()..])?;
            let count = if call.is_distinct() { 1 } else { count_of(count)? };
            entries.push((value, count));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(Value::List(entries))
    }
}

/// Splits the weights a call's delta gathered by group: `changes[place]` are those of the group at `place`.
pub(super) fn by_group(values: &Tally, groups: usize) -> Vec<Changes<'_>> {
    let mut changes = vec![Changes::new(); groups];
    for (entry, weight) in values.iter().filter(|(_, weight)| *weight != 0) {
        let (place, value) = split(entry);
        changes[place as usize].insert(value, weight);
    }
    changes
}

/// The stored form of a count.
pub(in crate::operator) fn bytes_of(count: i64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1);
    write_unsigned(count as u64, &mut bytes);
    bytes
}

/// The count in its stored form.
pub(in crate::operator) fn count_of(bytes: &[u8]) -> Result<i64> {
    let mut input = Cursor(bytes);
    let count = input.unsigned()?;
    input.end()?;
    i64::try_from(count).map_err(|_| Error::corrupt("a stored count is out of range"))
}
