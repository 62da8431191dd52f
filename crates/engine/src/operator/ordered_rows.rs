//! Rows in the order of their group and a sort key, as bytes: what the operators over an order gather of a delta.
//!
//! An entry is `group ‖ sort key ‖ row`: entries of a group lie in their order, ties are broken by the row's own bytes.
//! No entry is the start of another one of the same order.

use super::tally::Tally;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use datafusion::common::utils::normalize_float_zero;
use std::sync::Arc;
use viewfeed_change::row::{self, RowCodec, Rows, encode_ordered};
use viewfeed_change::{Batch, Result};

/// How rows are grouped and ordered.
pub(super) struct RowOrder {
    group: Vec<usize>,
    zeros_equal: bool,
    order: Vec<(usize, SortOptions)>,
    codec: RowCodec,
    group_codec: RowCodec,
}

/// What a step changed: entries with the sums of their weights.
#[derive(Default)]
pub(super) struct Changes {
    entries: Tally,
    cuts: Vec<Cut>,
}

/// Where the parts of an entry meet.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    pub(super) group_end: usize,
    pub(super) row_start: usize,
}

/// One change of a row.
pub(super) struct Change<'a> {
    pub(super) entry: &'a [u8],
    pub(super) cut: Cut,
    pub(super) weight: i64,
}

impl RowOrder {
    /// Of rows with `schema`, by the columns `group` and then `order`. `zeros_equal`: 0.0 and −0.0 are one group.
    pub(super) fn new(
        schema: &SchemaRef,
        group: &[usize],
        zeros_equal: bool,
        order: &[(usize, SortOptions)],
    ) -> Result<Self> {
        Ok(Self {
            codec: RowCodec::for_schema(schema)?,
            group_codec: RowCodec::for_schema(&Arc::new(schema.project(group)?))?,
            group: group.to_vec(),
            zeros_equal,
            order: order.to_vec(),
        })
    }

    /// The codec of the rows at the ends of entries.
    pub(super) fn codec(&self) -> &RowCodec {
        &self.codec
    }

    /// Adds a batch to what changed.
    pub(super) fn gather(&self, batch: &Batch, changes: &mut Changes) -> Result<()> {
        let rows = row::conform(batch.rows(), self.codec.schema())?;
        let groups = self.groups_of(&rows)?;
        let (columns, options): (Vec<ArrayRef>, Vec<SortOptions>) = self
            .order
            .iter()
            .map(|(column, options)| (rows.column(*column).clone(), *options))
            .unzip();
        let sort_keys = encode_ordered(&columns, &options, rows.num_rows())?;
        let encoded = self.codec.encode(&rows)?;
        let mut entry = Vec::new();
        for (i, weight) in batch.weights().iter().enumerate() {
            entry.clear();
            entry.extend_from_slice(groups.row(i));
            let group_end = entry.len();
            entry.extend_from_slice(sort_keys.row(i));
            let row_start = entry.len();
            entry.extend_from_slice(encoded.row(i));
            changes.add(&entry, Cut { group_end, row_start }, *weight);
        }
        Ok(())
    }

    fn groups_of(&self, rows: &RecordBatch) -> Result<Rows> {
        let column = |column: &usize| match self.zeros_equal {
            true => normalize_float_zero(rows.column(*column)),
            false => rows.column(*column).clone(),
        };
        let columns = self.group.iter().map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let schema = self.group_codec.schema().clone();
        self.group_codec
            .encode(&RecordBatch::try_new_with_options(schema, columns, &options)?)
    }
}

impl Changes {
    fn add(&mut self, entry: &[u8], cut: Cut, weight: i64) {
        let place = self.entries.add(entry, weight) as usize;
        if place == self.cuts.len() {
            self.cuts.push(cut);
        }
    }

    /// What changed at all, by group and in the order of the rows.
    pub(super) fn sorted(&self) -> Vec<Change<'_>> {
        let entries = self.entries.iter().zip(&self.cuts);
        let changed = entries.filter(|((_, weight), _)| *weight != 0);
        let mut changes: Vec<Change<'_>> = changed
            .map(|((entry, weight), cut)| Change {
                entry,
                cut: *cut,
                weight,
            })
            .collect();
        changes.sort_unstable_by_key(|change| change.entry);
        changes
    }
}

impl<'a> Change<'a> {
    /// The encoded group.
    pub(super) fn group(&self) -> &'a [u8] {
        &self.entry[..self.cut.group_end]
    }

    /// The encoded row.
    pub(super) fn row(&self) -> &'a [u8] {
        &self.entry[self.cut.row_start..]
    }
}
