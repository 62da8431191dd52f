//! Two relations compared: what turns the content of one into that of the other.

use super::{Position, next, passed, unfinished};
use crate::Reader;
use viewfeed_change::{Batch, Relation, Result};

/// Rows of both contents that are compared at a time.
const COMPARED_ROWS: usize = 8192;

/// What must be added to the content of `old` to make it that of `new`, which has the same columns and key: both are read
/// in the same order, and only what differs is kept.
pub fn difference(reader: &Reader, old: &Relation, new: &Relation) -> Result<Batch> {
    let (new_rows, old_rows) = (unfinished(reader, new)?, unfinished(reader, old)?);
    let mut at = Position::Start;
    let mut parts = Vec::new();
    while at != Position::End {
        let (batch, reached) = next(new_rows.as_ref(), reader, &at, COMPARED_ROWS)?;
        let mut part: Vec<Batch> = batch.into_iter().collect();
        let mut behind = at.clone();
        // The old rows of the same stretch, which may be many more.
        while behind < reached {
            let (batch, to) = next(old_rows.as_ref(), reader, &behind, COMPARED_ROWS)?;
            if let Some(batch) = batch {
                part.push(passed(old_rows.as_ref(), &batch, &reached)?.negate());
            }
            behind = to;
        }
        let part = Batch::concat(&new.schema(), &part)?.consolidate()?;
        if !part.is_empty() {
            parts.push(part);
        }
        at = reached;
    }
    Batch::concat(&new.schema(), &parts)
}
