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

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, RecordBatch, StringArray};
    use arrow::datatypes::DataType;
    use std::sync::Arc;
    use viewfeed_change::{Column, RelationKind, RelationName, SourceId, Table};

    const ID: RelationId = RelationId(1);

    fn relations(key: &[usize]) -> Relations {
        let table = Table {
            source: SourceId::new("embedded"),
            checks: Vec::new(),
            indexes: Vec::new(),
        };
        let mut relations = Relations::starting_at(1);
        let relation = Relation {
            id: ID,
            name: RelationName::new("public", "t"),
            columns: vec![
                Column::new(1, "id", DataType::Int64, false),
                Column::new(2, "text", DataType::Utf8, false),
            ],
            key: key.to_vec(),
            kind: RelationKind::Table(table),
            schema_version: 1,
        };
        relations.put(relation).unwrap();
        relations
    }

    /// What a transaction of one delta per slice becomes: `+1a`, `-1a`, `1a>1b`.
    fn told(key: &[usize], deltas: &[&[(i64, &str, i64)]]) -> Vec<String> {
        let relations = relations(key);
        let schema = relations.get(ID).unwrap().schema();
        let delta = |rows: &&[(i64, &str, i64)]| {
            let ids: Int64Array = rows.iter().map(|row| Some(row.0)).collect();
            let texts: StringArray = rows.iter().map(|row| Some(row.1)).collect();
            let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(ids), Arc::new(texts)]).unwrap();
            let weights = rows.iter().map(|row| row.2).collect();
            Delta {
                relation: ID,
                batch: Batch::new(batch, weights).unwrap(),
            }
        };
        let deltas: Vec<Delta> = deltas.iter().map(delta).collect();
        let changes = pair(&deltas, &relations).unwrap();
        changes.iter().map(text).collect()
    }

    fn text(change: &Change) -> String {
        let row = |row: &v1::Row| {
            let value = |value: &v1::Value| match value.kind.as_ref().unwrap() {
                v1::value::Kind::Int(int) => int.to_string(),
                v1::value::Kind::Text(text) => text.clone(),
                other => panic!("{other:?}"),
            };
            row.values.iter().map(value).collect::<String>()
        };
        match (&change.before, &change.after) {
            (None, Some(after)) => format!("+{}", row(after)),
            (Some(before), None) => format!("-{}", row(before)),
            (Some(before), Some(after)) => format!("{}>{}", row(before), row(after)),
            (None, None) => panic!("a change of nothing"),
        }
    }

    #[test]
    fn rows_of_the_same_key_are_an_update_in_whatever_order_they_come() {
        assert_eq!(told(&[0], &[&[(1, "a", -1), (1, "b", 1)]]), ["1a>1b"]);
        assert_eq!(told(&[0], &[&[(1, "b", 1), (1, "a", -1)]]), ["1a>1b"]);
        assert_eq!(
            told(&[0], &[&[(1, "a", -1)], &[(1, "b", 1)]]),
            ["1a>1b"],
            "over statements too"
        );
    }

    #[test]
    fn rows_of_other_keys_stay_apart_and_in_order() {
        assert_eq!(told(&[0], &[&[(1, "a", -1), (2, "b", 1)]]), ["-1a", "+2b"]);
    }

    #[test]
    fn every_update_of_a_row_is_told() {
        let twice: &[(i64, &str, i64)] = &[(1, "a", -1), (1, "b", 1), (1, "b", -1), (1, "c", 1)];
        assert_eq!(told(&[0], &[twice]), ["1a>1b", "1b>1c"]);
    }

    #[test]
    fn a_row_that_came_and_went_is_an_insert_and_a_delete() {
        assert_eq!(told(&[0], &[&[(1, "a", 1)], &[(1, "a", -1)]]), ["+1a", "-1a"]);
        let and_back: &[&[(i64, &str, i64)]] = &[&[(1, "a", 1)], &[(1, "a", -1), (1, "b", 1)]];
        assert_eq!(told(&[0], and_back), ["+1a", "1a>1b"]);
    }

    #[test]
    fn rows_without_a_key_are_never_an_update() {
        assert_eq!(told(&[], &[&[(1, "a", -1), (1, "b", 2)]]), ["-1a", "+1b", "+1b"]);
    }
}
