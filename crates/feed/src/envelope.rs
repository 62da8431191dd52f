//! From changes to the rows of frames. Everything starts from the sum of the weights: who adds up what happened since
//! the last delivery gets the net change, in whatever order it happened.

use crate::{Envelope, Rows};
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use std::sync::atomic::{AtomicU64, Ordering};
use viewfeed_change::row::{self, RowCodec};
use viewfeed_change::{Batch, ColumnPath, Error, Result};

/// How a subscriber wants changes told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) envelope: Envelope,
    /// The key columns; empty unless UPSERT.
    pub(crate) key: Vec<usize>,
    /// Whether the relation guarantees that at most one row has a key.
    pub(crate) unique: bool,
}

/// Changes as they are told, in parts that fit a frame each.
pub(crate) struct Shaped {
    pub(crate) parts: Vec<Part>,
    /// By how many rows the result grows.
    pub(crate) growth: i64,
}

/// The rows of one frame.
pub(crate) struct Part {
    /// Unique among all parts of the process.
    pub(crate) id: u64,
    pub(crate) rows: Rows,
}

impl Shape {
    /// Tells `changes`; no part if they cancel out.
    pub(crate) fn tell(&self, changes: &Batch, part_rows_max: usize) -> Result<Shaped> {
        let net = changes.consolidate()?;
        let growth = net.weights().iter().sum();
        let rows = match self.envelope {
            Envelope::Upsert => {
                let (puts, deletes) = upsert(&self.key, &net)?;
                split_upsert(&puts, &deletes, part_rows_max)
            }
            Envelope::Diff => split_diff(&net, part_rows_max)?,
            Envelope::State => return Err(Error::internal("a STATE feed is not told in changes")),
        };
        let parts = rows
            .into_iter()
            .map(|rows| Part { id: next_id(), rows })
            .collect();
        Ok(Shaped { parts, growth })
    }

    /// Rows of a snapshot, in one part.
    pub(crate) fn tell_snapshot(&self, rows: Batch) -> Result<Rows> {
        Ok(match self.envelope {
            Envelope::Diff => Rows::Diff(rows),
            Envelope::State => Rows::State(repeat(&rows)?),
            Envelope::Upsert if self.unique && rows.weights().iter().all(|weight| *weight > 0) => {
                let (puts, _) = rows.into_parts();
                let deletes = RecordBatch::new_empty(puts.project(&self.key)?.schema());
                Rows::Upsert { puts, deletes }
            }
            Envelope::Upsert => {
                let (puts, deletes) = upsert(&self.key, &rows.consolidate()?)?;
                let deletes = deletes.slice(0, 0);
                Rows::Upsert { puts, deletes }
            }
        })
    }
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Per key of `net` (consolidated) one put or one delete, in key order.
fn upsert(key: &[usize], net: &Batch) -> Result<(RecordBatch, RecordBatch)> {
    let paths: Vec<ColumnPath> = key.iter().map(|column| ColumnPath::from(*column)).collect();
    let keys = RowCodec::for_paths(&net.schema(), &paths)?.encode(net.rows())?;
    // Sorting is stable, so rows of one key stay in row-encoding order.
    let order = row::sorted(&keys);
    let (mut puts, mut deletes): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
    for rows in order.chunk_by(|a, b| keys.row(*a as usize) == keys.row(*b as usize)) {
        match rows.iter().rfind(|row| net.weights()[**row as usize] > 0) {
            Some(row) => puts.push(*row),
            None => deletes.extend(rows.first()),
        }
    }
    let puts = take_record_batch(net.rows(), &UInt32Array::from(puts))?;
    let deletes = take_record_batch(&net.rows().project(key)?, &UInt32Array::from(deletes))?;
    Ok((puts, deletes))
}

fn split_upsert(puts: &RecordBatch, deletes: &RecordBatch, rows_max: usize) -> Vec<Rows> {
    let total = puts.num_rows() + deletes.num_rows();
    let window = |rows: &RecordBatch, from: usize, to: usize| {
        let from = from.min(rows.num_rows());
        rows.slice(from, to.min(rows.num_rows()) - from)
    };
    let part = |from: usize| {
        let to = from + rows_max;
        Rows::Upsert {
            puts: window(puts, from, to),
            deletes: window(
                deletes,
                from.saturating_sub(puts.num_rows()),
                to.saturating_sub(puts.num_rows()),
            ),
        }
    };
    (0..total).step_by(rows_max).map(part).collect()
}

fn split_diff(net: &Batch, rows_max: usize) -> Result<Vec<Rows>> {
    let part = |from: usize| {
        let count = rows_max.min(net.len() - from);
        let weights = net.weights()[from..from + count].to_vec();
        Batch::new(net.rows().slice(from, count), weights).map(Rows::Diff)
    };
    (0..net.len()).step_by(rows_max).map(part).collect()
}

/// Every row as often as it weighs; not at all below 1.
fn repeat(rows: &Batch) -> Result<RecordBatch> {
    let times = |weight: i64| usize::try_from(weight).unwrap_or(0);
    let indices: Vec<u32> = (0..rows.len() as u32)
        .flat_map(|row| std::iter::repeat_n(row, times(rows.weights()[row as usize])))
        .collect();
    Ok(take_record_batch(rows.rows(), &UInt32Array::from(indices))?)
}
