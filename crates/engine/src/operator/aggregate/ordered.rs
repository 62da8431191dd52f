//! Values in order, for min and max under any removal: one entry per group and value with the value's count, and the
//! extreme is the first of the group. A group remembers its extreme, so that it is looked for only when it is removed.

use super::accumulator::negative;
use super::bytes::{Cursor, write_unsigned};
use crate::operator::tally::Tally;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use viewfeed_change::{Error, Result};
use viewfeed_store::{Reader, Txn};

/// The values of one group of one call.
pub(super) struct OrderedValues<'a> {
    /// Where the group's entries start.
    pub(super) prefix: &'a [u8],
    /// The state before this step.
    pub(super) before: &'a Reader,
}

/// What a step changed in a group: value → weight, smallest first. Weights are not 0.
pub(super) type Changes<'a> = BTreeMap<&'a [u8], i64>;

impl OrderedValues<'_> {
    /// Stages the changed counts and gives the new extreme; `extreme` is the one before.
    pub(super) fn step(
        &self,
        extreme: Option<&[u8]>,
        changes: &Changes<'_>,
        txn: &mut Txn,
    ) -> Result<Option<Vec<u8>>> {
        let mut first_changed = None;
        let mut gone = Vec::new();
        for (value, weight) in changes {
            let key = [self.prefix, value].concat();
            let old = self.before.get(&key)?.map_or(Ok(0), |bytes| count_of(&bytes))?;
            match old.saturating_add(*weight) {
                ..0 => return Err(negative()),
                0 => {
                    txn.delete(key);
                    gone.push(*value);
                }
                count => {
                    txn.put(key, bytes_of(count));
                    first_changed = first_changed.or(Some(*value));
                }
            }
        }
        let first_unchanged = match extreme {
            Some(extreme) if gone.binary_search(&extreme).is_ok() => self.next_after(extreme, &gone)?,
            other => other.map(<[u8]>::to_vec),
        };
        let first_changed = first_changed.map(<[u8]>::to_vec);
        Ok(match (first_changed, first_unchanged) {
            (Some(changed), Some(unchanged)) => Some(changed.min(unchanged)),
            (changed, unchanged) => changed.or(unchanged),
        })
    }

    /// The first stored value after `value` that is not `gone` (sorted): reads one entry more than are gone.
    fn next_after(&self, value: &[u8], gone: &[&[u8]]) -> Result<Option<Vec<u8>>> {
        let mut found = None;
        let from = [self.prefix, value].concat();
        self.before.scan(self.prefix, &from, &mut |key, _| {
            let value = &key[self.prefix.len()..];
            if gone.binary_search(&value).is_ok() {
                return Ok(ControlFlow::Continue(()));
            }
            found = Some(value.to_vec());
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }
}

/// Splits the weights a call's delta gathered by group: `changes[place]` are those of the group at `place`.
pub(super) fn by_group(values: &Tally, groups: usize) -> Vec<Changes<'_>> {
    let mut changes = vec![Changes::new(); groups];
    for (entry, weight) in values.iter().filter(|(_, weight)| *weight != 0) {
        let (place, value) = entry
            .split_first_chunk()
            .expect("an entry starts with the place of its group");
        changes[u32::from_be_bytes(*place) as usize].insert(value, weight);
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
