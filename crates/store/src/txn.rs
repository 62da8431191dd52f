//! The writes of one epoch before it is committed.

mod rounds;

use crate::committed::Snapshot;
use crate::layers::Layers;
use crate::log::OpenRecord;
use crate::runs::{Spilled, Spilling};
use crate::writes::{SortedWrites, WritesBuilder};
use crate::{Reader, RunsKv};
use parking_lot::Mutex;
use rounds::Outside;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use viewfeed_change::{Epoch, Error, Result};

/// Staged writes over the last committed epoch. Dropping it discards them.
///
/// There are three layers, oldest first: the committed state; *sealed* writes of earlier steps of this epoch (of which a large
/// epoch has most in files, see [`crate::Store::write_part`]); *staged*
/// writes since the last [`Txn::seal`]. The engine reads [`Txn::before`] (committed + sealed), because an
/// incremental operator needs the state its inputs' deltas start from; statements read [`Txn::now`] (everything),
/// because they must see what earlier statements wrote. A step that goes on in rounds has layers of its own: see
/// [`Txn::begin_rounds`].
pub struct Txn {
    base: Arc<Snapshot>,
    /// What was sealed first, if it was much; over it is the rest.
    spilled: Spilled,
    /// What was sealed next, and is being written to a file.
    spilling: Option<(Spilling, Layers)>,
    sealed: Layers,
    /// Behind a lock because reading sorts it; nobody ever waits for it.
    staged: Mutex<Staged>,
    /// The numbers of the savepoints that can be rolled back to, ascending.
    savepoints: Vec<u64>,
    savepoints_made: u64,
    /// What was written before rounds began that have not ended, the outermost first.
    outside: Vec<Outside>,
    /// What feeds will read of it, as far as it is in the log.
    pub(crate) record: Option<OpenRecord>,
    /// None in a shadow.
    slot: Option<WriterSlot>,
}

/// What a transaction leaves to be committed.
pub(crate) struct Finished {
    /// The oldest.
    pub(crate) spilled: Spilled,
    /// The others, the oldest first.
    pub(crate) writes: Vec<Arc<SortedWrites>>,
    /// The parts of its record that are in the log.
    pub(crate) record: Option<OpenRecord>,
    /// Both must be kept until the writes are published.
    pub(crate) held: (Arc<Snapshot>, Option<WriterSlot>),
}

/// Writes since the last seal.
#[derive(Default)]
struct Staged {
    layers: Layers,
    /// What was written since somebody looked.
    tail: WritesBuilder,
}

impl Staged {
    fn is_empty(&self) -> bool {
        self.layers.is_empty() && self.tail.is_empty()
    }

    /// Everything, as layers.
    fn folded(&mut self) -> &mut Layers {
        if !self.tail.is_empty() {
            let tail = std::mem::take(&mut self.tail);
            self.layers.push(Arc::new(tail.finish()));
        }
        &mut self.layers
    }
}

/// A point to which staged writes can be rolled back. Keeps what was staged then in memory.
pub struct Savepoint {
    number: u64,
    staged: Layers,
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
            spilled: Spilled::default(),
            spilling: None,
            sealed: Layers::default(),
            staged: Mutex::default(),
            savepoints: Vec::new(),
            savepoints_made: 0,
            outside: Vec::new(),
            record: None,
            slot,
        }
    }

    /// The epoch this becomes when committed.
    pub fn epoch(&self) -> Epoch {
        self.base.epoch().next()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        let is_sealed_empty = self.spilled.is_empty() && self.spilling.is_none() && self.sealed.is_empty();
        is_sealed_empty && self.staged.lock().is_empty() && self.outside.is_empty()
    }

    /// Committed and sealed writes. Cheap.
    pub fn before(&self) -> Reader {
        Reader::new(self.base.clone(), self.spilled.clone(), self.all_sealed())
    }

    /// Everything, staged writes included. Cheap, but for sorting what was written since it was last asked for.
    pub fn now(&self) -> Reader {
        let layers = self.all_sealed().with(self.staged.lock().folded());
        Reader::new(self.base.clone(), self.spilled.clone(), layers)
    }

    /// Reads through all layers. For many keys at once, [`Txn::now`] and its prober are faster.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut staged = self.staged.lock();
        let written = staged.folded().get(key).or_else(|| self.sealed.get(key));
        let written = written.or_else(|| self.written_outside(key));
        let below = self.spilling.as_ref().map(|(_, layers)| layers);
        if let Some(value) = written.or_else(|| below?.get(key)) {
            return Ok(value.map(<[u8]>::to_vec));
        }
        match self.spilled.get(key)? {
            Some(value) => Ok(value),
            None => self.base.get(key),
        }
    }

    /// Stages a value.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.write(&key, Some(&value));
    }

    /// Stages a removal.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.write(&key, None);
    }

    /// Stages a value (Some) or a removal (None): for who writes much, and needs no keys of their own for that.
    pub fn write(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.staged.get_mut().tail.push(key, value);
    }

    /// Makes staged writes visible to [`Txn::before`].
    pub fn seal(&mut self) {
        let mut staged = std::mem::take(self.staged.get_mut());
        self.sealed.append(std::mem::take(staged.folded()));
        self.savepoints.clear();
    }

    /// Marks the present state of staged writes. Cheap. A seal makes older savepoints useless (rollback fails).
    pub fn savepoint(&mut self) -> Savepoint {
        let number = self.savepoints_made;
        self.savepoints_made += 1;
        self.savepoints.push(number);
        let staged = self.staged.get_mut().folded().clone();
        Savepoint { number, staged }
    }

    /// Undoes every write staged since `savepoint`, and ends the rounds that began since. Fails as `Internal` if the
    /// savepoint is gone: sealed, or made after one that was rolled back to.
    pub fn rollback(&mut self, savepoint: Savepoint) -> Result<()> {
        let place = self.place_of(&savepoint)?;
        self.savepoints.truncate(place);
        *self.staged.get_mut() = Staged {
            layers: savepoint.staged,
            tail: WritesBuilder::default(),
        };
        Ok(())
    }

    /// Where the mark of `savepoint` is, after leaving the rounds that began after it.
    fn place_of(&mut self, savepoint: &Savepoint) -> Result<usize> {
        loop {
            match self.savepoints.binary_search(&savepoint.number) {
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
        let mut theirs = shadow.staged.into_inner();
        let ours = self.staged.get_mut().folded();
        ours.append(shadow.sealed);
        ours.append(std::mem::take(theirs.folded()));
    }

    /// Whether it starts from a snapshot that `is_base` accepts and may be committed.
    pub(crate) fn may_commit(&self, is_base: impl Fn(&Snapshot) -> bool) -> bool {
        self.slot.is_some() && is_base(&self.base)
    }

    /// Roughly what its writes take in memory, but for those that are on their way to a file.
    pub fn memory_bytes(&self) -> usize {
        let layers = self.sealed.with(self.staged.lock().folded());
        layers.newest_first().map(|layer| layer.memory_bytes()).sum()
    }

    /// Seals, and begins to move what is sealed to run files; of what was sealed before that is done. Within rounds, does nothing.
    pub(crate) fn spill(&mut self, files: &RunsKv) -> Result<()> {
        if !self.outside.is_empty() {
            return Ok(());
        }
        self.seal();
        self.end_spilling()?;
        let layers: Vec<_> = self.sealed.newest_first().cloned().collect();
        let spilling = files.begin_spill(layers, self.spilled.clone())?;
        self.spilling = Some((spilling, std::mem::take(&mut self.sealed)));
        Ok(())
    }

    /// Waits until what is being written to a file is there; what does not belong there is sealed again.
    fn end_spilling(&mut self) -> Result<()> {
        let Some((spilling, _)) = self.spilling.take() else {
            return Ok(());
        };
        let (spilled, small) = spilling.finish()?;
        let mut sealed = Layers::default();
        sealed.push(Arc::new(small));
        sealed.append(std::mem::take(&mut self.sealed));
        (self.spilled, self.sealed) = (spilled, sealed);
        Ok(())
    }

    /// Ends it: everything it wrote.
    pub(crate) fn finish(mut self) -> Result<Finished> {
        self.end_all_rounds();
        self.seal();
        self.end_spilling()?;
        Ok(Finished {
            spilled: self.spilled,
            writes: self.sealed.into_few(),
            record: self.record,
            held: (self.base, self.slot),
        })
    }
}
