//! The writes of one epoch before it is committed.

mod rounds;

use crate::Reader;
use crate::committed::Snapshot;
use crate::overlay::Writes;
use crate::sealed::Sealed;
use rounds::Outside;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use viewfeed_change::{Epoch, Error, Result};

/// Staged writes over the last committed epoch. Dropping it discards them.
///
/// There are three layers, oldest first: the committed state; *sealed* writes of earlier steps of this epoch; *staged*
/// writes since the last [`Txn::seal`]. The engine reads [`Txn::before`] (committed + sealed), because an
/// incremental operator needs the state its inputs' deltas start from; statements read [`Txn::now`] (everything),
/// because they must see what earlier statements wrote. A step that goes on in rounds has layers of its own: see
/// [`Txn::begin_rounds`].
pub struct Txn {
    base: Arc<Snapshot>,
    sealed: Sealed,
    staged: Arc<Writes>,
    /// The staged writes since the first savepoint.
    undo: Vec<Overwritten>,
    savepoints: Vec<Mark>,
    savepoints_made: u64,
    /// What was written before rounds began that have not ended, the outermost first.
    outside: Vec<Outside>,
    /// None in a shadow.
    slot: Option<WriterSlot>,
}

/// What a staged write replaced.
struct Overwritten {
    key: Vec<u8>,
    /// None if nothing was staged for the key; Some(None) if a removal was.
    replaced: Option<Option<Vec<u8>>>,
}

/// A point to which staged writes can be rolled back.
pub struct Savepoint {
    number: u64,
}

struct Mark {
    number: u64,
    undo_len: usize,
}

/// The right to commit the next epoch: taken by one transaction at a time, given back when dropped.
pub(crate) struct WriterSlot(Arc<AtomicBool>);

impl WriterSlot {
    /// Takes the slot if it is free.
    pub(crate) fn take(taken: &Arc<AtomicBool>) -> Option<Self> {
        let was_taken = taken.swap(true, Ordering::AcqRel);
        (!was_taken).then(|| Self(taken.clone()))
    }
}

impl Drop for WriterSlot {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Txn {
    pub(crate) fn new(base: Snapshot, slot: Option<WriterSlot>) -> Self {
        Self {
            base: Arc::new(base),
            sealed: Sealed::default(),
            staged: Arc::default(),
            undo: Vec::new(),
            savepoints: Vec::new(),
            savepoints_made: 0,
            outside: Vec::new(),
            slot,
        }
    }

    /// The epoch this becomes when committed.
    pub fn epoch(&self) -> Epoch {
        self.base.epoch().next()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.sealed.is_empty() && self.staged.is_empty() && self.outside.is_empty()
    }

    /// Committed and sealed writes. Cheap.
    pub fn before(&self) -> Reader {
        Reader::new(self.base.clone(), self.all_sealed(), Arc::default())
    }

    /// Everything, staged writes included. Cheap; the next write is O(staged) if the reader is still held then.
    pub fn now(&self) -> Reader {
        Reader::new(self.base.clone(), self.all_sealed(), self.staged.clone())
    }

    /// Reads through all layers without making a reader.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let written = self.staged.get(key).or_else(|| self.sealed.get(key));
        match written.or_else(|| self.written_outside(key)) {
            Some(value) => Ok(value.clone()),
            None => self.base.get(key),
        }
    }

    /// Stages a value.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.write(key, Some(value));
    }

    /// Stages a removal.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.write(key, None);
    }

    fn write(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let staged = Arc::make_mut(&mut self.staged);
        if self.savepoints.is_empty() {
            staged.insert(key, value);
        } else {
            let replaced = staged.insert(key.clone(), value);
            self.undo.push(Overwritten { key, replaced });
        }
    }

    /// Makes staged writes visible to [`Txn::before`].
    pub fn seal(&mut self) {
        self.sealed.push(std::mem::take(&mut self.staged));
        self.undo.clear();
        self.savepoints.clear();
    }

    /// Marks the present state of staged writes. Cheap. A seal makes older savepoints useless (rollback fails).
    pub fn savepoint(&mut self) -> Savepoint {
        let number = self.savepoints_made;
        self.savepoints_made += 1;
        let undo_len = self.undo.len();
        self.savepoints.push(Mark { number, undo_len });
        Savepoint { number }
    }

    /// Undoes every write staged since `savepoint`, and ends the rounds that began since. Fails as `Internal` if the
    /// savepoint is gone: sealed, or made after one that was rolled back to.
    pub fn rollback(&mut self, savepoint: Savepoint) -> Result<()> {
        let place = self.place_of(&savepoint)?;
        let undo_len = self.savepoints[place].undo_len;
        self.savepoints.truncate(place);
        let staged = Arc::make_mut(&mut self.staged);
        for Overwritten { key, replaced } in self.undo.drain(undo_len..).rev() {
            match replaced {
                Some(value) => staged.insert(key, value),
                None => staged.remove(&key),
            };
        }
        Ok(())
    }

    /// Where the mark of `savepoint` is, after leaving the rounds that began after it.
    fn place_of(&mut self, savepoint: &Savepoint) -> Result<usize> {
        loop {
            let found = self
                .savepoints
                .binary_search_by_key(&savepoint.number, |mark| mark.number);
            match found {
                Ok(place) => return Ok(place),
                Err(_) if self.discard_rounds() => {}
                Err(_) => return Err(Error::internal("rollback to a savepoint that is gone")),
            }
        }
    }

    /// Takes over every write staged in `shadow`. The caller has made sure that nothing `shadow` read or wrote has
    /// changed since its epoch.
    pub fn adopt(&mut self, mut shadow: Txn) {
        shadow.end_all_rounds();
        let Txn { sealed, staged, .. } = shadow;
        for layer in [sealed.into_writes(), Arc::unwrap_or_clone(staged)] {
            for (key, value) in layer {
                self.write(key, value);
            }
        }
    }

    /// Whether it starts from a snapshot that `is_base` accepts and may be committed.
    pub(crate) fn may_commit(&self, is_base: impl Fn(&Snapshot) -> bool) -> bool {
        self.slot.is_some() && is_base(&self.base)
    }

    /// Ends it: everything it wrote, and the slot, which must be kept until the writes are published.
    pub(crate) fn finish(mut self) -> (Writes, Option<WriterSlot>) {
        self.end_all_rounds();
        self.seal();
        (self.sealed.into_writes(), self.slot)
    }
}
