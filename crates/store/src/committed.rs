//! The committed state: layers of writes over the Kv, and which epochs are still being read.
//!
//! A snapshot keeps the layers of its epoch, so only the Kv below them changes under it: by a checkpoint, which copies what
//! the oldest reader may see and no more, so that the Kv never shows a reader its future. Where a reader is held so
//! long that memory grows, it gets a snapshot of the Kv as of its epoch, and the checkpoint goes on: who has read the Kv
//! looks then whether there is a snapshot by now, and if so reads that instead.

use crate::Kv;
use crate::folder::FolderLock;
use crate::gaps::Gaps;
use crate::overlay::{Layer, Overlay};
use crate::writes::SortedWrites;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use viewfeed_change::{Epoch, Result};

/// Readers of so many epochs may have a Kv of their own; those of others keep checkpoints back.
const APART_MAX: usize = 16;
/// A commit joins layers itself if they have at most this many entries together; the rest is left to [`crate::fold`].
const FOLD_ENTRIES_MAX: usize = 4096;
/// That thread joins layers of at most this many entries; the next checkpoint copies larger ones soon, and needs them no other way.
pub(crate) const FOLD_LATER_ENTRIES_MAX: usize = 1 << 18;
/// With more layers than this a commit joins large ones too, and whatever is read between them, so that reads stay fast.
const LAYERS_MAX: usize = 24;

/// Kv, layers and pins. Shared by the store and every snapshot.
pub(crate) struct Committed {
    pub(crate) kv: Arc<dyn Kv>,
    pub(crate) gaps: Gaps,
    /// Deleted entries scans have passed over before their first pair.
    dead_passed: AtomicU64,
    /// Bytes of all layers that are in use.
    layers_bytes: Arc<AtomicUsize>,
    now: Mutex<Now>,
    /// Held by who joins layers.
    folding: Mutex<()>,
    /// Held as long as anybody can read the files; last, so that it is given up after they are closed.
    _lock: FolderLock,
}

/// The last epoch, and those that are read.
struct Now {
    last: Epoch,
    overlay: Overlay,
    /// A checkpoint copies the layers up to this epoch: no layer of later ones may be joined with them.
    copying: Epoch,
    /// The epochs of which there are snapshots.
    held: BTreeMap<Epoch, Held>,
}

struct Held {
    /// How many snapshots there are of it.
    count: usize,
    view: Arc<RwLock<Arc<View>>>,
    /// Whether the Kv has moved on, so that its readers have one of their own.
    is_apart: bool,
}

/// What the snapshots of an epoch read.
pub(crate) struct View {
    pub(crate) overlay: Overlay,
    kv: Arc<dyn Kv>,
    is_apart: bool,
}

impl Committed {
    /// What `kv` holds, which is the state as of `last`.
    pub(crate) fn new(kv: Arc<dyn Kv>, last: Epoch, lock: FolderLock) -> Self {
        let now = Now {
            last,
            overlay: Overlay::default(),
            copying: last,
            held: BTreeMap::new(),
        };
        Self {
            kv,
            gaps: Gaps::new(last),
            dead_passed: AtomicU64::new(0),
            layers_bytes: Arc::default(),
            now: Mutex::new(now),
            folding: Mutex::new(()),
            _lock: lock,
        }
    }

    /// The last published epoch.
    pub(crate) fn epoch(&self) -> Epoch {
        self.now.lock().last
    }

    /// Makes `epoch` the one new snapshots show. All of its writes become visible at once, later ones over earlier ones.
    pub(crate) fn publish(&self, epoch: Epoch, writes: Vec<Arc<SortedWrites>>) {
        writes.iter().for_each(|writes| self.gaps.cut(epoch, writes));
        let layers = {
            let mut now = self.now.lock();
            for writes in writes {
                now.overlay.push(Layer::new(epoch, writes, &self.layers_bytes));
            }
            now.last = epoch;
            now.overlay.layers().len()
        };
        while self.fold(FOLD_ENTRIES_MAX) {}
        if layers > LAYERS_MAX {
            self.fold(usize::MAX);
        }
    }

    /// Joins two layers that have at most so many entries together; false if there are none that should be joined.
    pub(crate) fn fold(&self, entries_max: usize) -> bool {
        let Some(_one_at_a_time) = self.folding.try_lock() else {
            return false;
        };
        let Some((below, above)) = self.now.lock().foldable(entries_max) else {
            return false;
        };
        let joined = Layer::joined(&below, &above);
        let _outdated = {
            let mut now = self.now.lock();
            now.overlay.replace(&below, &above, joined);
            let last = now.last;
            now.renew(last, &self.kv)
        };
        true
    }

    /// Whether there are layers that should be joined.
    pub(crate) fn is_foldable(&self) -> bool {
        self.now.lock().foldable(FOLD_LATER_ENTRIES_MAX).is_some()
    }

    /// Roughly how much memory committed writes take that are not in the Kv, or that a reader keeps.
    pub(crate) fn layers_bytes(&self) -> usize {
        self.layers_bytes.load(Ordering::Relaxed)
    }

    /// Tells the Kv how much memory is taken above it.
    pub(crate) fn tell_memory(&self) {
        self.kv.set_memory_above(self.layers_bytes());
    }

    pub(crate) fn dead_passed(&self) -> u64 {
        self.dead_passed.load(Ordering::Relaxed)
    }

    /// Counts deleted entries a scan has passed over.
    pub(crate) fn pass_dead(&self, count: usize) {
        self.dead_passed.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// The newest epoch that may be copied to the Kv: no snapshot is older, now or later.
    pub(crate) fn drainable(&self) -> Epoch {
        self.now.lock().drainable()
    }

    /// The newest epoch that may be copied to the Kv, and the writes up to it, the newest first. From now on they are not
    /// joined with later ones, so that they can be forgotten when they are copied.
    pub(crate) fn start_copying(&self) -> (Epoch, Vec<Arc<SortedWrites>>) {
        let mut now = self.now.lock();
        let target = now.drainable();
        now.copying = target;
        // If it is read, what its readers read; else it is the last one.
        let layers = match now.held.get(&target) {
            Some(held) => held.view.read().overlay.writes(),
            None => now.overlay.writes(),
        };
        (target, layers)
    }

    /// Forgets the writes up to `target`, which the Kv has now.
    pub(crate) fn end_copying(&self, target: Epoch) {
        let mut now = self.now.lock();
        let forgotten = now.overlay.forget(target);
        let last = now.last;
        let outdated = (now.renew(target, &self.kv), now.renew(last, &self.kv));
        // What nobody needs any more is freed without the lock.
        drop(now);
        drop((forgotten, outdated));
    }

    /// Gives the readers of `epoch` a Kv of their own: what the Kv holds now, which is the state as of that epoch. Only by
    /// a checkpoint, right after a flush. False if that cannot be, or need not.
    pub(crate) fn set_apart(&self, epoch: Epoch) -> Result<bool> {
        if !self.now.lock().may_set_apart(epoch) {
            return Ok(false);
        }
        self.set_apart_anyway(epoch)
    }

    /// The same, whether or not it need be, and however many there are already.
    pub(crate) fn set_apart_anyway(&self, epoch: Epoch) -> Result<bool> {
        let Some(kv) = self.kv.snapshot()? else {
            return Ok(false);
        };
        let view = View {
            overlay: Overlay::default(),
            kv,
            is_apart: true,
        };
        let mut now = self.now.lock();
        // The last of them may have gone meanwhile: then it is for nobody, and the checkpoint goes on all the same.
        let outdated = now.held.get_mut(&epoch).map(|held| {
            held.is_apart = true;
            std::mem::replace(&mut *held.view.write(), Arc::new(view))
        });
        drop(now);
        drop(outdated);
        Ok(true)
    }

    /// The last published state.
    pub(crate) fn snapshot(self: &Arc<Self>) -> Snapshot {
        let mut now = self.now.lock();
        let epoch = now.last;
        let Now { held, overlay, .. } = &mut *now;
        let held = held.entry(epoch).or_insert_with(|| Held {
            count: 0,
            view: Arc::new(RwLock::new(Arc::new(View::shared(overlay.clone(), &self.kv)))),
            is_apart: false,
        });
        held.count += 1;
        Snapshot {
            committed: self.clone(),
            epoch,
            view: held.view.clone(),
        }
    }
}

impl Now {
    /// The epochs whose readers read the Kv everybody reads, oldest first.
    fn in_overlay(&self) -> impl Iterator<Item = Epoch> {
        let held = self.held.iter().filter(|(_, held)| !held.is_apart);
        held.map(|(epoch, _)| *epoch)
    }

    fn drainable(&self) -> Epoch {
        self.in_overlay().next().unwrap_or(self.last)
    }

    /// Two layers that should be one. Not with an epoch between them that is copied to the Kv, or that will be because it is
    /// read: then what is copied could not be forgotten. Unless there are too many layers for that.
    fn foldable(&self, entries_max: usize) -> Option<(Arc<Layer>, Arc<Layer>)> {
        let is_crowded = self.overlay.layers().len() > LAYERS_MAX;
        self.overlay.foldable(entries_max, |below, above| {
            !is_crowded
                && ((below..above).contains(&self.copying) || self.held.range(below..above).next().is_some())
        })
    }

    fn may_set_apart(&self, epoch: Epoch) -> bool {
        let apart = self.held.values().filter(|held| held.is_apart).count();
        apart < APART_MAX && epoch < self.last && self.in_overlay().next() == Some(epoch)
    }

    /// Lets the readers of `epoch` read the layers there are now, up to theirs; gives what they read before.
    fn renew(&mut self, epoch: Epoch, kv: &Arc<dyn Kv>) -> Option<Arc<View>> {
        let held = self.held.get_mut(&epoch).filter(|held| !held.is_apart)?;
        let mut overlay = self.overlay.clone();
        if epoch < self.last {
            // Only asked for the epoch a checkpoint went up to: what is left is newer.
            overlay = Overlay::default();
        }
        let view = Arc::new(View::shared(overlay, kv));
        Some(std::mem::replace(&mut *held.view.write(), view))
    }
}

impl View {
    /// Over the Kv that everybody reads.
    fn shared(overlay: Overlay, kv: &Arc<dyn Kv>) -> Self {
        Self {
            overlay,
            kv: kv.clone(),
            is_apart: false,
        }
    }
}

/// The committed state as of one epoch, which stays readable as long as this is held.
pub(crate) struct Snapshot {
    committed: Arc<Committed>,
    epoch: Epoch,
    view: Arc<RwLock<Arc<View>>>,
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        let mut now = self.committed.now.lock();
        let held = now.held.get_mut(&self.epoch).expect("every snapshot is pinned");
        held.count -= 1;
        let gone = (held.count == 0).then(|| now.held.remove(&self.epoch));
        // Layers and files go with their last reader, which need not hold up the others.
        drop(now);
        drop(gone);
    }
}

impl Snapshot {
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(crate) fn committed(&self) -> &Arc<Committed> {
        &self.committed
    }

    /// What there is to read at this moment; the state it shows stays the same.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.read().clone()
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.view().overlay.get(key) {
            Some(value) => Ok(value.map(<[u8]>::to_vec)),
            None => self.read_kv(|kv| kv.get(key)),
        }
    }

    /// What `read` finds in the Kv, over which the layers of any view of this snapshot may be laid.
    pub(crate) fn read_kv<T>(&self, read: impl Fn(&dyn Kv) -> Result<T>) -> Result<T> {
        loop {
            let view = self.view();
            let found = read(view.kv.as_ref())?;
            // It may be of a later epoch, if the readers of this one were set apart meanwhile: once at most.
            if view.is_apart || !self.view.read().is_apart {
                return Ok(found);
            }
        }
    }
}
