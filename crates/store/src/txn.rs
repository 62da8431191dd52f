//! The writes of one epoch before it is committed.

use crate::Reader;
use viewfeed_change::{Epoch, Result};

/// Staged writes over the last committed epoch. Dropping it discards them.
///
/// There are three layers, oldest first: the committed state; *sealed* writes of earlier steps of this epoch; *staged*
/// writes since the last [`Txn::seal`]. The engine reads [`Txn::before`] (committed + sealed), because an
/// incremental operator needs the state its inputs' deltas start from; statements read [`Txn::now`] (everything),
/// because they must see what earlier statements wrote.
pub struct Txn;

/// A point to which staged writes can be rolled back.
pub struct Savepoint;

impl Txn {
    /// The epoch this becomes when committed.
    pub fn epoch(&self) -> Epoch {
        todo!()
    }

    /// Committed and sealed writes. O(1).
    pub fn before(&self) -> Reader {
        todo!()
    }

    /// Everything, staged writes included. O(1); the next write is O(staged) if the reader is still held then.
    pub fn now(&self) -> Reader {
        todo!()
    }

    /// Reads through all layers without making a reader.
    pub fn get(&self, _key: &[u8]) -> Result<Option<Vec<u8>>> {
        todo!()
    }

    /// Stages a value.
    pub fn put(&mut self, _key: Vec<u8>, _value: Vec<u8>) {
        todo!()
    }

    /// Stages a removal.
    pub fn delete(&mut self, _key: Vec<u8>) {
        todo!()
    }

    /// Makes staged writes visible to [`Txn::before`].
    pub fn seal(&mut self) {
        todo!()
    }

    /// Marks the present state of staged writes. Cheap. A seal makes older savepoints useless (rollback fails).
    pub fn savepoint(&mut self) -> Savepoint {
        todo!()
    }

    /// Undoes every write staged since `savepoint`.
    pub fn rollback(&mut self, _savepoint: Savepoint) -> Result<()> {
        todo!()
    }

    /// Takes over every write staged in `shadow`. The caller has made sure that nothing `shadow` read or wrote has
    /// changed since its epoch.
    pub fn adopt(&mut self, _shadow: Txn) {
        todo!()
    }
}
