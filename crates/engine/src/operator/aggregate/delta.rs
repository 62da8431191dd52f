//! What batches of changes mean per group, before any state is looked at: a hot group costs one access per step.

use super::accumulator::Accumulator;
use super::argument::Arguments;
use super::call::Call;
use super::function::Kind;
use crate::operator::tally::Tally;
use arrow::array::ArrayRef;
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
    /// Weights by the place of the group (big-endian u32) and the value in its ordered form.
    Values(Tally),
}

impl Delta {
    /// No change.
    pub(super) fn new(calls: &[Call]) -> Self {
        let column = |call: &Call| match call.kind() {
            Kind::Smallest | Kind::Largest => Column::Values(Tally::default()),
            _ => Column::Sums(Vec::new()),
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
            let weights = call.weights(batch, arguments.as_ref())?;
            match column {
                Column::Sums(sums) => {
                    sums.resize_with(self.groups.len(), || Accumulator::new(call.kind()));
                    let arguments = Arguments::new(call.kind(), arguments.as_ref())?;
                    for (row, (place, weight)) in places.iter().zip(weights.iter()).enumerate() {
                        if *weight != 0 {
                            sums[*place as usize].add(*weight, &arguments, row);
                        }
                    }
                }
                Column::Values(values) => {
                    let arguments = arguments.ok_or_else(|| Error::internal("min and max of nothing"))?;
                    add_values(values, call, &places, &weights, arguments)?;
                }
            }
        }
        Ok(())
    }
}

fn add_values(
    values: &mut Tally,
    call: &Call,
    places: &[u32],
    weights: &[i64],
    arguments: ArrayRef,
) -> Result<()> {
    let encoded = call.encode(arguments)?;
    let mut entry = Vec::new();
    for (i, (place, weight)) in places.iter().zip(weights).enumerate() {
        if *weight != 0 {
            entry.clear();
            entry.extend(place.to_be_bytes());
            call.write_ordered(encoded.row(i), &mut entry);
            values.add(&entry, *weight);
        }
    }
    Ok(())
}
