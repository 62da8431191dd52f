//! What was committed after the last checkpoint: versions of values by epoch, in memory.
//!
//! Knows nothing of readers and files; [`crate::committed`] says which versions somebody can still see.

use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use viewfeed_change::Epoch;

/// Puts (Some) and deletes (None) by key.
pub(crate) type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// What a key costs in memory beside its bytes, roughly: tree slot, version, allocation.
const KEY_OVERHEAD_BYTES: usize = 120;
/// What a further version of a key costs beside its value.
const VERSION_OVERHEAD_BYTES: usize = 48;

/// Versions of values by key. Every method locks it for a bounded time.
#[derive(Default)]
pub(crate) struct Overlay {
    tree: RwLock<BTreeMap<Vec<u8>, Versions>>,
    bytes: AtomicUsize,
}

struct Version {
    epoch: Epoch,
    value: Option<Vec<u8>>,
}

/// The versions of one key; most keys have one, which then needs no allocation.
struct Versions {
    newest: Version,
    /// Newest first.
    older: Vec<Version>,
}

/// A part of the overlay as one epoch sees it.
pub(crate) struct OverlayWindow {
    /// Visible puts and deletes in key order.
    pub(crate) entries: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// The window is complete for keys before this one (None: to the end of the keys).
    pub(crate) end: Option<Vec<u8>>,
}

impl Overlay {
    /// Roughly how much memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The newest version at or before `epoch`: None if there is none, Some(None) if it is a delete.
    pub(crate) fn get(&self, key: &[u8], epoch: Epoch) -> Option<Option<Vec<u8>>> {
        let tree = self.tree.read();
        tree.get(key)?.visible(epoch).map(|version| version.value.clone())
    }

    /// What `epoch` sees of the keys in `from..to`, after looking at no more than `limit` keys.
    pub(crate) fn window(&self, from: &[u8], to: Option<&[u8]>, epoch: Epoch, limit: usize) -> OverlayWindow {
        let tree = self.tree.read();
        let mut entries = Vec::new();
        for (looked_at, (key, versions)) in tree.range::<[u8], _>(bounds(from, to)).enumerate() {
            if looked_at == limit {
                let end = Some(key.clone());
                return OverlayWindow { entries, end };
            }
            if let Some(version) = versions.visible(epoch) {
                entries.push((key.clone(), version.value.clone()));
            }
        }
        let end = to.map(<[u8]>::to_vec);
        OverlayWindow { entries, end }
    }

    /// Adds the versions of `epoch`, which is newer than all there are. Drops versions that neither `epoch`, nor the
    /// one before it, nor an epoch in `held` (ascending) can see.
    pub(crate) fn insert(&self, epoch: Epoch, writes: Writes, held: &[Epoch]) {
        let mut tree = self.tree.write();
        let (mut added, mut removed) = (0, 0);
        for (key, value) in writes {
            let version = Version { epoch, value };
            added += version.bytes();
            match tree.entry(key) {
                std::collections::btree_map::Entry::Vacant(slot) => {
                    added += slot.key().len() + KEY_OVERHEAD_BYTES;
                    slot.insert(Versions {
                        newest: version,
                        older: Vec::new(),
                    });
                }
                std::collections::btree_map::Entry::Occupied(slot) => {
                    let versions = slot.into_mut();
                    let previous = std::mem::replace(&mut versions.newest, version);
                    versions.older.insert(0, previous);
                    removed += versions.prune(held);
                }
            }
        }
        self.count(added, removed);
    }

    /// The newest version at or before `target` of up to `limit` keys from `from` on, and where to go on.
    pub(crate) fn collapse(&self, from: &[u8], target: Epoch, limit: usize) -> (Writes, Option<Vec<u8>>) {
        let tree = self.tree.read();
        let mut writes = Writes::new();
        for (looked_at, (key, versions)) in tree.range::<[u8], _>(bounds(from, None)).enumerate() {
            if looked_at == limit {
                return (writes, Some(key.clone()));
            }
            if let Some(version) = versions.visible(target) {
                writes.insert(key.clone(), version.value.clone());
            }
        }
        (writes, None)
    }

    /// Removes the versions at or before `target` of these keys: the Kv has them now, and nobody reads before it.
    pub(crate) fn forget<'a>(&self, keys: impl Iterator<Item = &'a Vec<u8>>, target: Epoch) {
        let mut tree = self.tree.write();
        let mut removed = 0;
        for key in keys {
            let Some(versions) = tree.get_mut(key) else {
                continue;
            };
            if versions.newest.epoch <= target {
                let old = tree.remove(key).expect("it was found in the same lock");
                removed += old.bytes() + key.len() + KEY_OVERHEAD_BYTES;
            } else {
                removed += versions.bytes();
                versions.older.retain(|version| version.epoch > target);
                removed -= versions.bytes();
            }
        }
        self.count(0, removed);
    }

    fn count(&self, added: usize, removed: usize) {
        self.bytes.fetch_add(added, Ordering::Relaxed);
        self.bytes.fetch_sub(removed, Ordering::Relaxed);
    }
}

impl Version {
    fn bytes(&self) -> usize {
        VERSION_OVERHEAD_BYTES + self.value.as_ref().map_or(0, Vec::len)
    }
}

impl Versions {
    fn visible(&self, epoch: Epoch) -> Option<&Version> {
        if self.newest.epoch <= epoch {
            return Some(&self.newest);
        }
        self.older.iter().find(|version| version.epoch <= epoch)
    }

    fn bytes(&self) -> usize {
        self.newest.bytes() + self.older.iter().map(Version::bytes).sum::<usize>()
    }

    /// Drops older versions no epoch in `held` sees; gives the bytes freed. The newest of the older ones stays: until
    /// the newest is published, new readers start there.
    fn prune(&mut self, held: &[Epoch]) -> usize {
        let before = self.bytes();
        let mut hidden_from = self.newest.epoch;
        let mut first = true;
        self.older.retain(|version| {
            let next_held = held.partition_point(|epoch| *epoch < version.epoch);
            let seen = held.get(next_held).is_some_and(|epoch| *epoch < hidden_from);
            let keep = first || seen;
            first = false;
            hidden_from = version.epoch;
            keep
        });
        before - self.bytes()
    }
}

fn bounds<'a>(from: &'a [u8], to: Option<&'a [u8]>) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    // An inverted range would panic; an empty one is meant.
    let to = to.map(|to| to.max(from));
    (
        Bound::Included(from),
        to.map_or(Bound::Unbounded, Bound::Excluded),
    )
}
