//! The relations at rest: stored with the epoch that changes them, read when the program starts.

use std::ops::ControlFlow;
use std::sync::Arc;
use uuid::Uuid;
use viewfeed_change::{Error, Relation, Relations, Result, Timestamp};
use viewfeed_engine::view_errors_relation;
use viewfeed_store::{EpochRecord, Reader, Store, Txn, arrange, keys};

const RELATION: &str = "relation/";
const NEXT_RELATION: &str = "next_relation";
const INCARNATION: &str = "incarnation";

/// The relations as of `reader`.
pub(crate) fn catalog(reader: &Reader) -> Result<Relations> {
    let next = reader.get(&keys::catalog(NEXT_RELATION))?;
    let mut relations = Relations::starting_at(next.as_deref().map(from_json).transpose()?.unwrap_or(1));
    let prefix = keys::catalog(RELATION);
    let mut found: Vec<Relation> = Vec::new();
    reader.scan(&prefix, &prefix, &mut |_, value| {
        found.push(from_json(value)?);
        Ok(ControlFlow::Continue(()))
    })?;
    for relation in found {
        relations.put(relation)?;
    }
    Ok(relations)
}

/// Stores what differs between `old` and `new`.
pub(super) fn store_relations(txn: &mut Txn, old: &Arc<Relations>, new: &Arc<Relations>) -> Result<()> {
    if Arc::ptr_eq(old, new) {
        return Ok(());
    }
    for relation in new.iter() {
        if !old
            .get(relation.id)
            .is_some_and(|before| Arc::ptr_eq(before, relation))
        {
            txn.put(
                keys::catalog(&format!("{RELATION}{}", relation.id.0)),
                to_json(relation.as_ref())?,
            );
        }
    }
    for relation in old.iter().filter(|relation| new.get(relation.id).is_none()) {
        txn.delete(keys::catalog(&format!("{RELATION}{}", relation.id.0)));
    }
    txn.put(keys::catalog(NEXT_RELATION), to_json(&new.next_id())?);
    Ok(())
}

/// Makes what every database has, on first use: its name for ever, so that a token of another one is recognised, which is
/// given; and `viewfeed.view_errors`.
pub(crate) fn prepare(store: &Store, now: Timestamp) -> Result<u64> {
    let reader = store.reader();
    let stored = reader.get(&keys::catalog(INCARNATION))?;
    let known: Option<u64> = stored.as_deref().map(from_json).transpose()?;
    let incarnation = known.unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0);
    let (before, errors) = (Arc::new(catalog(&reader)?), view_errors_relation());
    if known.is_some() && before.get(errors.id).is_some() {
        return Ok(incarnation);
    }
    let (mut txn, mut after) = (store.begin()?, before.as_ref().clone());
    txn.put(keys::catalog(INCARNATION), to_json(&incarnation)?);
    let errors = after.put(errors)?;
    arrange::ensure(&mut txn, &errors, &errors.key_paths())?;
    store_relations(&mut txn, &before, &Arc::new(after))?;
    let nothing = EpochRecord {
        commit_time: now,
        transactions: Vec::new(),
        deltas: Vec::new(),
        schema_versions: Vec::new(),
    };
    store.commit(txn, &nothing)?;
    Ok(incarnation)
}

/// A catalog entry as bytes.
pub(super) fn to_json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::internal("a catalog entry could not be written").because(error))
}

/// A catalog entry from bytes.
pub(super) fn from_json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::corrupt("a catalog entry cannot be read").because(error))
}
