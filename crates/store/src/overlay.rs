//! What was committed after the last checkpoint: layers of sorted writes, each of some epochs in a row.
//!
//! A commit adds a layer; layers that are about equally large become one, unless somebody reads an epoch between them. Knows
//! nothing of locks, readers and files; [`crate::committed`] says which epochs are read.

use crate::layers::LAYER_FACTOR;
use crate::writes::SortedWrites;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use viewfeed_change::Epoch;

/// Layers after the last checkpoint. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Overlay {
    /// The newest first.
    layers: Vec<Arc<Layer>>,
}

/// The writes of some epochs in a row.
pub(crate) struct Layer {
    /// The newest epoch in it.
    last: Epoch,
    writes: Arc<SortedWrites>,
    /// What all layers take that somebody still has, this one included.
    total_bytes: Arc<AtomicUsize>,
}

impl Overlay {
    pub(crate) fn layers(&self) -> &[Arc<Layer>] {
        &self.layers
    }

    /// What was last written to `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        self.layers.iter().find_map(|layer| layer.writes.get(key, &mut 0))
    }

    /// Adds a layer that is newer than all there are.
    pub(crate) fn push(&mut self, layer: Layer) {
        if !layer.writes.is_empty() {
            self.layers.insert(0, Arc::new(layer));
        }
    }

    /// Two layers, the older one first, that should be one and have at most so many entries together, of the newest that
    /// there are. Not if `is_parted` says, given the last epochs of both, that they must stay apart.
    pub(crate) fn foldable(
        &self,
        entries_max: usize,
        is_parted: impl Fn(Epoch, Epoch) -> bool,
    ) -> Option<(Arc<Layer>, Arc<Layer>)> {
        let pair = self.layers.windows(2).find(|pair| {
            let [above, below] = [&pair[0], &pair[1]];
            let (few, many) = (above.writes.len(), below.writes.len());
            many <= few.saturating_mul(LAYER_FACTOR)
                && few + many <= entries_max
                && !is_parted(below.last, above.last)
        })?;
        Some((pair[1].clone(), pair[0].clone()))
    }

    /// Puts `joined` where `below` and `above` are, if they still are there.
    pub(crate) fn replace(&mut self, below: &Arc<Layer>, above: &Arc<Layer>, joined: Layer) {
        let place = self.layers.iter().position(|layer| Arc::ptr_eq(layer, above));
        if let Some(place) = place
            && self
                .layers
                .get(place + 1)
                .is_some_and(|next| Arc::ptr_eq(next, below))
        {
            self.layers.splice(place..place + 2, [Arc::new(joined)]);
        }
    }

    /// The writes of every layer, the newest first.
    pub(crate) fn writes(&self) -> Vec<Arc<SortedWrites>> {
        self.layers.iter().map(|layer| layer.writes.clone()).collect()
    }

    /// Forgets the layers whose epochs are all at or before `target`; gives them.
    pub(crate) fn forget(&mut self, target: Epoch) -> Vec<Arc<Layer>> {
        let newer = self.layers.partition_point(|layer| layer.last > target);
        self.layers.split_off(newer)
    }
}

impl Layer {
    /// The writes of epochs up to `last`.
    pub(crate) fn new(last: Epoch, writes: Arc<SortedWrites>, total_bytes: &Arc<AtomicUsize>) -> Self {
        total_bytes.fetch_add(writes.memory_bytes(), Ordering::Relaxed);
        Self {
            last,
            writes,
            total_bytes: total_bytes.clone(),
        }
    }

    /// Both as one.
    pub(crate) fn joined(below: &Self, above: &Self) -> Self {
        let writes = SortedWrites::joined(&below.writes, &above.writes);
        Self::new(above.last, Arc::new(writes), &above.total_bytes)
    }

    pub(crate) fn writes(&self) -> &SortedWrites {
        &self.writes
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        let bytes = self.writes.memory_bytes();
        self.total_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}
