//! Tables without a key: rows may repeat, and an old row is sent whole.

use super::columns::{Place, gather};
use super::diverged;
use crate::postgres::{OldImage, RowChange, RowChanges};
use viewfeed_change::{Batch, Relation, Result};

/// As [`super::deltas`]; nothing is looked up.
pub(super) fn deltas(table: &Relation, changes: &[(usize, &RowChanges)]) -> Result<Vec<(usize, Batch)>> {
    let mut parts: Vec<(usize, Vec<Batch>)> = Vec::new();
    for (transaction, changes) in changes {
        let batch = one(table, changes)?;
        match parts.last_mut() {
            Some((last, batches)) if last == transaction => batches.push(batch),
            _ => parts.push((*transaction, vec![batch])),
        }
    }
    let mut deltas = Vec::with_capacity(parts.len());
    for (transaction, batches) in parts {
        let batch = Batch::concat(&table.schema(), &batches)?.consolidate()?;
        if !batch.is_empty() {
            deltas.push((transaction, batch));
        }
    }
    Ok(deltas)
}

fn one(table: &Relation, changes: &RowChanges) -> Result<Batch> {
    let (mut old, mut new) = (0, 0);
    let mut rows: Vec<(Place, i64)> = Vec::with_capacity(changes.operations.len());
    // The old row of each new one.
    let mut bases = Vec::with_capacity(changes.new.num_rows());
    let mut take_old = |image: OldImage| match image {
        OldImage::Full => {
            old += 1;
            Ok(Place::Old(old - 1))
        }
        OldImage::Key | OldImage::None => Err(diverged(table, "an old row was not sent whole")),
    };
    let mut take_new = || {
        new += 1;
        Place::New(new - 1)
    };
    for operation in &changes.operations {
        match operation {
            RowChange::Insert => {
                bases.push(None);
                rows.push((take_new(), 1));
            }
            RowChange::Update(image) => {
                let gone = take_old(*image)?;
                bases.push(Some(gone));
                rows.extend([(gone, -1), (take_new(), 1)]);
            }
            RowChange::Delete(image) => rows.push((take_old(*image)?, -1)),
        }
    }
    let batch = gather(table, &changes.old, &changes.new, |column| {
        let place = |(place, _): &(Place, i64)| match *place {
            Place::New(row) if is_unchanged(changes, row, column) => bases[row as usize].unwrap_or(*place),
            place => place,
        };
        rows.iter().map(place).collect()
    })?;
    Batch::new(batch, rows.iter().map(|(_, weight)| *weight).collect())
}

fn is_unchanged(changes: &RowChanges, row: u32, column: usize) -> bool {
    let unchanged = changes.unchanged.get(&row);
    unchanged.is_some_and(|columns| columns.iter().any(|other| usize::from(*other) == column))
}
