//! Removed and added rows of a transaction as inserts, updates and deletes.

use std::collections::HashMap;
use viewfeed_catalog::rows_to_wire;
use viewfeed_change::row::RowCodec;
use viewfeed_change::{Batch, Delta, Relation, RelationId, Relations, Result};
use viewfeed_wire::v1;

/// One changed row.
#[derive(Debug, PartialEq)]
pub(super) struct Change {
    pub(super) relation: RelationId,
    pub(super) before: Option<v1::Row>,
    pub(super) after: Option<v1::Row>,
}

/// The changes of a transaction in the order of its statements: a row removed and a row added with the same key are one
/// update. Rows without a key are never paired.
pub(super) fn pair(deltas: &[Delta], relations: &Relations) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    let mut open = HashMap::new();
    for delta in deltas {
        let rows = rows_to_wire(delta.batch.rows())?;
        let keys = match relations.get(delta.relation) {
            Some(relation) => keys(relation, &delta.batch)?,
            None => None,
        };
        for (place, (row, weight)) in rows.into_iter().zip(delta.batch.weights()).enumerate() {
            for _ in 0..weight.unsigned_abs() {
                let key = keys.as_ref().map(|keys| (delta.relation, keys[place].clone()));
                add(
                    &mut changes,
                    &mut open,
                    delta.relation,
                    key,
                    row.clone(),
                    *weight > 0,
                );
            }
        }
    }
    Ok(changes)
}

/// The keys of a batch's rows; None if its relation has none.
fn keys(relation: &Relation, batch: &Batch) -> Result<Option<Vec<Vec<u8>>>> {
    if relation.key.is_empty() {
        return Ok(None);
    }
    let codec = RowCodec::for_paths(&batch.schema(), &relation.key_paths())?;
    let encoded = codec.encode(batch.rows())?;
    Ok(Some(encoded.iter().map(<[u8]>::to_vec).collect()))
}

type Open = HashMap<(RelationId, Vec<u8>), usize>;

/// Adds one removed or added row. `open` holds, by key, the change that may still be half of an update.
fn add(
    changes: &mut Vec<Change>,
    open: &mut Open,
    relation: RelationId,
    key: Option<(RelationId, Vec<u8>)>,
    row: v1::Row,
    added: bool,
) {
    let half = key.as_ref().and_then(|key| open.remove(key));
    if let Some(half) = half.map(|place| &mut changes[place]) {
        if added && half.after.is_none() {
            half.after = Some(row);
            return;
        }
        // Within a statement the added row may come first; the same row is one that came and went.
        if !added && half.before.is_none() && half.after.as_ref() != Some(&row) {
            half.before = Some(row);
            return;
        }
    }
    if let Some(key) = key {
        open.insert(key, changes.len());
    }
    let (before, after) = if added {
        (None, Some(row))
    } else {
        (Some(row), None)
    };
    changes.push(Change {
        relation,
        before,
        after,
    });
}
