//! What batches of changes mean per group, before any state is looked at: a hot group costs one access per step.

use super::accumulator::Accumulator;
use super::argument::Arguments;
use super::call::Call;
use super::entry::EncodedRows;
use super::kind::Entries;
use crate::operator::tally::Tally;
use arrow::array::ArrayRef;
use std::borrow::Cow;
use viewfeed_change::row::Rows;
use viewfeed_change::{Batch, Error, Result};

/// The groups that changed, in the order they were first seen, and what changed in them.
pub(super) struct Delta {
    /// The encoded groups with the sums of their rows' weights.
    pub(super) groups: Tally,
    /// One per call.
    pub(super) columns: Vec<Column>,
}

/// What changed for one call.
pub(super) enum Column {
    /// By the place of the group.
    Sums(Vec<Accumulator>),
    /// Weights by the place of the group (big-endian u32) and the value's entry.
    Values(Tally),
}

impl Delta {
    /// No change.
    pub(super) fn new(calls: &[Call]) -> Self {
        let column = |call: &Call| match call.entries() {
            Entries::None => Column::Sums(Vec::new()),
            Entries::Presence | Entries::Order => Column::Values(Tally::default()),
        };
        Self {
            groups: Tally::default(),
            columns: calls.iter().map(column).collect(),
        }
    }

    /// Adds a batch whose rows belong to these groups. What may fail on a row comes first: then nothing is added.
    pub(super) fn add(&mut self, batch: &Batch, groups: &Rows, calls: &[Call]) -> Result<()> {
        let values = calls.iter().map(|call| Values::of(call, batch));
        let values: Vec<Values<'_>> = values.collect::<Result<_>>()?;
        let weighted = groups.iter().zip(batch.weights());
        let places: Vec<u32> = weighted
            .map(|(group, weight)| self.groups.add(group, *weight))
            .collect();
        for ((call, column), values) in calls.iter().zip(&mut self.columns).zip(&values) {
            let counted = places.iter().zip(values.weights.iter()).enumerate();
            let counted = counted.filter(|(_, (_, weight))| **weight != 0);
            match column {
                Column::Sums(sums) => {
                    sums.resize_with(self.groups.len(), || Accumulator::new(call.kind()));
                    let arguments = Arguments::new(call.kind(), &values.arguments)?;
                    for (row, (place, weight)) in counted {
                        sums[*place as usize].add(*weight, &arguments, row);
                    }
                }
                Column::Values(tally) => {
                    let encoded = values.entries.as_ref();
                    let encoded = encoded.ok_or_else(|| Error::internal("values that were not encoded"))?;
                    let mut entry = Vec::new();
                    for (row, (place, weight)) in counted {
                        entry.clear();
                        entry.extend(place.to_be_bytes());
                        call.form()?.write(encoded, row, &mut entry);
                        tally.add(&entry, *weight);
                    }
                }
            }
        }
        Ok(())
    }
}

/// What a call takes of a batch.
struct Values<'a> {
    arguments: Vec<ArrayRef>,
    weights: Cow<'a, [i64]>,
    /// What its entries are made of, if it has any.
    entries: Option<EncodedRows>,
}

impl<'a> Values<'a> {
    fn of(call: &Call, batch: &'a Batch) -> Result<Self> {
        let arguments = call.arguments(batch.rows())?;
        let entries = match call.entries() {
            Entries::None => None,
            Entries::Presence | Entries::Order => Some(call.encode(&arguments, batch.rows())?),
        };
        Ok(Self {
            weights: call.weights(batch, &arguments)?,
            arguments,
            entries,
        })
    }
}

/// The place of the group and the value's entry.
pub(super) fn split(entry: &[u8]) -> (u32, &[u8]) {
    let (place, value) = entry
        .split_first_chunk()
        .expect("an entry starts with the place of its group");
    (u32::from_be_bytes(*place), value)
}
