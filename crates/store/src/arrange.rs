//! Arrangements: the rows of a collection, ordered by a key, with their multiplicity.
//!
//! Every relation has a *primary* arrangement, keyed by its key (by nothing if it has none: then rows are ordered as a
//! whole). Joins, filters of subscriptions, UNIQUE constraints and indexes share further ones by other keys: an
//! arrangement is named by its collection and key, so who needs it first makes it.

use crate::{Reader, Txn};
use std::ops::ControlFlow;
use std::sync::Arc;
use viewfeed_change::row::Rows;
use viewfeed_change::{Batch, ColumnPath, Relation, Result};

/// The rows of a collection, ordered by a key.
///
/// Writes go to a [`Txn`] and are atomic with it; reads take the [`Reader`] that says as of when. Implementations hold
/// no state that depends on the epoch, so one can be used from any thread.
pub trait Arrangement: Send + Sync {
    /// What its rows are ordered by.
    fn key(&self) -> &[ColumnPath];

    /// Adds the weights of `delta` to the rows it names; a row whose weight becomes 0 is gone. The sum is taken over
    /// all layers of `txn`. A weight below 0 is stored as it is; see [`Arrangement::lookup`].
    fn stage(&self, txn: &mut Txn, delta: &Batch) -> Result<()>;

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

    /// How many distinct rows have a key that starts with `prefix`, counting at most `limit`.
    fn count(&self, reader: &Reader, prefix: &[u8], limit: u64) -> Result<u64>;
}

/// What a lookup found.
pub struct Matches {
    /// The rows with their weights.
    pub batch: Batch,
    /// Which probe each row answers.
    pub probe: Vec<u32>,
}

/// The state's name of an arrangement of a relation.
pub fn relation_state(_relation: &Relation, _key: &[ColumnPath]) -> String {
    todo!()
}

/// The arrangement of `relation` by its own key, as of `reader`; every relation has one from its creation.
pub fn primary(_reader: &Reader, _relation: &Relation) -> Result<Arc<dyn Arrangement>> {
    todo!()
}

/// The arrangement of `relation` by `key`, if it exists as of `reader`.
pub fn find(
    _reader: &Reader,
    _relation: &Relation,
    _key: &[ColumnPath],
) -> Result<Option<Arc<dyn Arrangement>>> {
    todo!()
}

/// Every arrangement of `relation` as of `reader`, the primary first: what a change of the relation must be staged into.
pub fn all(_reader: &Reader, _relation: &Relation) -> Result<Vec<Arc<dyn Arrangement>>> {
    todo!()
}

/// The arrangement of `relation` by `key`; made and filled from the primary one if it does not exist yet.
pub fn ensure(_txn: &mut Txn, _relation: &Relation, _key: &[ColumnPath]) -> Result<Arc<dyn Arrangement>> {
    todo!()
}

/// An arrangement of a collection that is not a relation, under the state name `name`; true if it is new (empty).
pub fn ensure_named(
    _txn: &mut Txn,
    _name: &str,
    _schema: &arrow::datatypes::SchemaRef,
    _key: &[ColumnPath],
) -> Result<(Arc<dyn Arrangement>, bool)> {
    todo!()
}

/// Drops every arrangement of `relation`.
pub fn release_all(_txn: &mut Txn, _relation: &Relation) -> Result<()> {
    todo!()
}
