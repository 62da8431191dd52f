//! Arrangements: the rows of a collection, ordered by a key, with their multiplicity.
//!
//! Every relation has a *primary* arrangement, keyed by its key (by nothing if it has none: then rows are ordered as a
//! whole). Joins, filters of subscriptions, UNIQUE constraints and indexes share further ones by other keys: an
//! arrangement is named by its collection and key, so who needs it first makes it.

mod difference;
mod estimate;
mod growing;
mod kv;
mod layout;
mod position;

pub use difference::difference;
pub use estimate::rows_about;
pub use growing::{
    Filling, begin, catch_up, filling, grow, mark_filled, mark_filling, refuse_filling, rename_all,
    unfinished,
};
pub use position::{Position, next, passed};

use crate::keys::{self, StateId};
use crate::{Reader, Txn};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use growing::Growing;
use kv::KvArrangement;
use std::ops::ControlFlow;
use std::sync::Arc;
use viewfeed_change::row::Rows;
use viewfeed_change::{Batch, ColumnPath, Error, Relation, Result};

/// Rows read at a time to fill a new arrangement.
const FILL_ROWS: usize = 4096;

/// The rows of a collection, ordered by a key.
///
/// Writes go to a [`Txn`] and are atomic with it; reads take the [`Reader`] that says as of when. Implementations hold
/// no state that depends on the epoch, so one can be used from any thread.
pub trait Arrangement: Send + Sync {
    /// What its rows are ordered by.
    fn key(&self) -> &[ColumnPath];

    /// The entries of `rows`: what they are ordered by, each different for different rows.
    fn entries(&self, rows: &RecordBatch) -> Result<Rows>;

    /// Adds the weights of `delta` to the rows it names; a row whose weight becomes 0 is gone. The sum is taken over
    /// all layers of `txn`. A weight below 0 is stored as it is; see [`Arrangement::lookup`].
    fn stage(&self, txn: &mut Txn, delta: &Batch) -> Result<()>;

    /// Like [`Arrangement::stage`]; gives what became of the weights, for other arrangements of the same rows.
    fn stage_telling(&self, txn: &mut Txn, delta: &Batch) -> Result<NewWeights>;

    /// Stages what another arrangement of the same rows told of `delta`: reads nothing. One that does not hold all rows
    /// cannot, and stages `delta`.
    fn stage_told(&self, txn: &mut Txn, delta: &Batch, _told: &NewWeights) -> Result<()> {
        self.stage(txn, delta)
    }

    /// The rows whose key is one of `keys` (encoded by the codec of the key's columns; need not be sorted or distinct),
    /// with their weights. `Matches::probe[i]` says which of `keys` row `i` answers; rows come grouped by probe, probes
    /// in the order given. A key that holds NULL matches rows with NULL there; who needs SQL's rule skips such keys.
    fn lookup(&self, reader: &Reader, keys: &Rows) -> Result<Matches>;

    /// All rows whose encoded key starts with `prefix`, in order, in batches of at most `rows_max`, until `each` breaks.
    fn scan(
        &self,
        reader: &Reader,
        prefix: &[u8],
        rows_max: usize,
        each: &mut dyn FnMut(Batch) -> Result<ControlFlow<()>>,
    ) -> Result<()>;

    /// All rows whose encoded key is at or after `from` and at most `last` (or starts with it; None: no end), in order, in
    /// batches of at most `rows_max`, until `each` breaks.
    fn scan_range(
        &self,
        reader: &Reader,
        from: &[u8],
        last: Option<&[u8]>,
        rows_max: usize,
        each: &mut dyn FnMut(Batch) -> Result<ControlFlow<()>>,
    ) -> Result<()>;

    /// How many distinct rows have a key that starts with `prefix`, counting at most `limit`.
    fn count(&self, reader: &Reader, prefix: &[u8], limit: u64) -> Result<u64>;
}

/// What the weights of changed rows are after a change.
pub struct NewWeights {
    /// The place of each changed row in the delta, once per distinct row.
    places: Vec<u32>,
    /// Its weight, summed over all layers of the transaction.
    weights: Vec<i64>,
}

impl NewWeights {
    /// Places with weights.
    fn iter(&self) -> impl Iterator<Item = (u32, i64)> {
        self.places.iter().copied().zip(self.weights.iter().copied())
    }
}

/// What a lookup found.
pub struct Matches {
    /// The rows with their weights.
    pub batch: Batch,
    /// Which probe each row answers.
    pub probe: Vec<u32>,
}

/// The state's name of an arrangement of a relation.
pub fn relation_state(relation: &Relation, key: &[ColumnPath]) -> String {
    layout::relation_prefix(relation) + &layout::spell_key(key)
}

/// The arrangement of `relation` by its own key, as of `reader`; every relation has one from its creation. Fails as
/// `Internal` if nobody made it, as `Unavailable` if it is of a view that is still being filled, or of a table that is still being
/// copied.
pub fn primary(reader: &Reader, relation: &Relation) -> Result<Arc<dyn Arrangement>> {
    refuse_filling(reader, relation)?;
    unfinished(reader, relation)
}

/// The arrangement of `relation` by `key`, if it exists as of `reader` and holds all its rows.
pub fn find(
    reader: &Reader,
    relation: &Relation,
    key: &[ColumnPath],
) -> Result<Option<Arc<dyn Arrangement>>> {
    let Some(state) = keys::find(reader, &relation_state(relation, key))? else {
        return Ok(None);
    };
    if reader.get(&keys::progress(state))?.is_some() {
        return Ok(None);
    }
    of_relation(state, relation, key).map(Some)
}

/// Every arrangement of `relation` as of `reader`, the primary first: what a change of the relation must be staged into.
/// Not for reading: some may not hold everything yet, which [`find`] knows.
pub fn all(reader: &Reader, relation: &Relation) -> Result<Vec<Arc<dyn Arrangement>>> {
    let prefix = layout::relation_prefix(relation);
    let (schema, primary) = (relation.schema(), relation.key_paths());
    let mut arrangements = Vec::new();
    for (name, state) in keys::states(reader, &prefix)? {
        let key = layout::parse_key(&name[prefix.len()..])?;
        let whole = KvArrangement::new(state, &schema, &key, !primary.is_empty())?;
        let is_growing = key != primary && reader.get(&keys::progress(state))?.is_some();
        let made: Arc<dyn Arrangement> = match is_growing {
            true => Arc::new(Growing::new(whole, state, unfinished(reader, relation)?)),
            false => Arc::new(whole),
        };
        let place = if key == primary { 0 } else { arrangements.len() };
        arrangements.insert(place, made);
    }
    match arrangements.first() {
        Some(first) if first.key() == primary => Ok(arrangements),
        _ => Err(no_primary(relation)),
    }
}

/// The names and keys of every arrangement of `relation` as of `reader`.
pub fn names(reader: &Reader, relation: &Relation) -> Result<Vec<(String, Vec<ColumnPath>)>> {
    let prefix = layout::relation_prefix(relation);
    let states = keys::states(reader, &prefix)?.into_iter();
    let named = states.map(|(name, _)| {
        let key = layout::parse_key(&name[prefix.len()..])?;
        Ok((name, key))
    });
    named.collect()
}

/// Stages a change of `relation` into all its arrangements as of `txn`. Rows have the same weight in each of them, so
/// it is read from the primary one only.
pub fn stage_all(txn: &mut Txn, relation: &Relation, delta: &Batch) -> Result<()> {
    let arrangements = all(&txn.now(), relation)?;
    match arrangements.split_first() {
        Some((primary, others)) if relation.key.is_empty() && !others.is_empty() => {
            let told = primary.stage_telling(txn, delta)?;
            others
                .iter()
                .try_for_each(|other| other.stage_told(txn, delta, &told))
        }
        _ => arrangements.iter().try_for_each(|each| each.stage(txn, delta)),
    }
}

/// The arrangement of `relation` by `key`; made and filled from the primary one, all at once, if it does not exist yet or
/// does not hold everything ([`begin`] and [`grow`] do that piece by piece).
pub fn ensure(txn: &mut Txn, relation: &Relation, key: &[ColumnPath]) -> Result<Arc<dyn Arrangement>> {
    let (state, is_new) = keys::allocate(txn, &relation_state(relation, key))?;
    let made = of_relation(state, relation, key)?;
    if key == relation.key_paths() {
        return Ok(made);
    }
    let progress = txn.get(&keys::progress(state))?;
    let from = match progress.as_deref().map(Position::from_bytes).transpose()? {
        Some(position) => position,
        None if is_new => Position::Start,
        None => return Ok(made),
    };
    let now = txn.now();
    let first = from.first_beyond();
    unfinished(&now, relation)?.scan_range(&now, &first, None, FILL_ROWS, &mut |batch| {
        made.stage(txn, &batch)?;
        Ok(ControlFlow::Continue(()))
    })?;
    if progress.is_some() {
        txn.delete(keys::progress(state));
    }
    Ok(made)
}

/// An arrangement of a collection that is not a relation, under the state name `name`; true if it is new (empty).
pub fn ensure_named(
    txn: &mut Txn,
    name: &str,
    schema: &SchemaRef,
    key: &[ColumnPath],
) -> Result<(Arc<dyn Arrangement>, bool)> {
    let (state, is_new) = keys::allocate(txn, name)?;
    Ok((Arc::new(KvArrangement::new(state, schema, key, false)?), is_new))
}

/// Drops every arrangement of `relation` as its columns are now; those of an earlier layout stay until they are
/// released by the relation as it was.
pub fn release_all(txn: &mut Txn, relation: &Relation) -> Result<()> {
    let states = keys::states(&txn.now(), &layout::relation_prefix(relation))?;
    for (name, _) in states {
        keys::release(txn, &name)?;
    }
    Ok(())
}

/// Every arrangement of `relation`, the primary one in any case, anew and without rows.
pub fn renew_all(txn: &mut Txn, relation: &Relation) -> Result<()> {
    let states = keys::states(&txn.now(), &layout::relation_prefix(relation))?;
    release_all(txn, relation)?;
    keys::allocate(txn, &relation_state(relation, &relation.key_paths()))?;
    for (name, _) in states {
        keys::allocate(txn, &name)?;
    }
    Ok(())
}

fn of_relation(state: StateId, relation: &Relation, key: &[ColumnPath]) -> Result<Arc<dyn Arrangement>> {
    // A relation with a key has no row twice.
    let is_distinct = !relation.key.is_empty();
    Ok(Arc::new(KvArrangement::new(
        state,
        &relation.schema(),
        key,
        is_distinct,
    )?))
}

fn no_primary(relation: &Relation) -> Error {
    Error::internal(format!(
        "relation \"{}\" has no primary arrangement",
        relation.name
    ))
}
