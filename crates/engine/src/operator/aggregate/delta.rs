//! What batches of changes mean per group, before any state is looked at: a hot group costs one access per step.

use super::accumulator::Accumulator;
use super::argument::Arguments;
use super::call::Call;
use super::kind::Entries;
use crate::operator::tally::Tally;
use viewfeed_change::row::Rows;
use viewfeed_change::{Batch, Result};

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

    /// Adds a batch whose rows belong to these groups.
    pub(super) fn add(&mut self, batch: &Batch, groups: &Rows, calls: &[Call]) -> Result<()> {
        let weighted = groups.iter().zip(batch.weights());
        let places: Vec<u32> = weighted
            .map(|(group, weight)| self.groups.add(group, *weight))
            .collect();
        for (call, column) in calls.iter().zip(&mut self.columns) {
            let arguments = call.arguments(batch.rows())?;
            let weights = call.weights(batch, &arguments)?;
            let counted = places.iter().zip(weights.iter()).enumerate();
            let counted = counted.filter(|(_, (_, weight))| **weight != 0);
            match column {
                Column::Sums(sums) => {
                    sums.resize_with(self.groups.len(), || Accumulator::new(call.kind()));
                    let arguments = Arguments::new(call.kind(), &arguments)?;
                    for (row, (place, weight)) in counted {
                        sums[*place as usize].add(*weight, &arguments, row);
                    }
                }
                Column::Values(values) => {
                    let encoded = call.encode(&arguments, batch.rows())?;
                    let mut entry = Vec::new();
                    for (row, (place, weight)) in counted {
                        entry.clear();
                        entry.extend(place.to_be_bytes());
                        call.form()?.write(&encoded, row, &mut entry);
                        values.add(&entry, *weight);
                    }
                }
            }
        }
        Ok(())
    }
}

/// The place of the group and the value's entry.
pub(super) fn split(entry: &[u8]) -> (u32, &[u8]) {
    let (place, value) = entry
        .split_first_chunk()
        .expect("an entry starts with the place of its group");
    (u32::from_be_bytes(*place), value)
}
