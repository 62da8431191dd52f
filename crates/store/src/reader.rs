//! A consistent view of the state at one epoch, from any thread.

use crate::committed::Snapshot;
use crate::layers::Layers;
use crate::runs::Spilled;
use crate::scan::Prober;
use std::ops::ControlFlow;
use std::sync::Arc;
use viewfeed_change::{Epoch, Result};

/// What a scan calls with each key and value, until it breaks.
pub type EachPair<'a> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>> + 'a;

/// The state as of one epoch, or as of a point within a transaction. Cheap to clone; stays the same while the
/// store moves on. Holding one keeps old versions in memory, or files that were merged since: do not keep it longer than
/// a query runs.
///
/// A reader also keeps the database open: its files are closed with the last store *and* the last reader.
#[derive(Clone)]
pub struct Reader {
    snapshot: Arc<Snapshot>,
    /// What the transaction wrote in the first place, if that was much.
    spilled: Spilled,
    /// What it wrote later.
    layers: Layers,
}

impl Reader {
    pub(crate) fn new(snapshot: Arc<Snapshot>, spilled: Spilled, layers: Layers) -> Self {
        Self {
            snapshot,
            spilled,
            layers,
        }
    }

    /// Of what is committed.
    pub(crate) fn committed(snapshot: Arc<Snapshot>) -> Self {
        Self::new(snapshot, Spilled::default(), Layers::default())
    }

    /// The same without what the transaction wrote.
    pub(crate) fn base(&self) -> Self {
        Self::committed(self.snapshot.clone())
    }

    pub(crate) fn spilled(&self) -> &Spilled {
        &self.spilled
    }

    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub(crate) fn layers(&self) -> &Layers {
        &self.layers
    }

    /// The last committed epoch it shows.
    pub fn epoch(&self) -> Epoch {
        self.snapshot.epoch()
    }

    /// The value of `key`.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        if let Some(value) = self.layers.get(key) {
            return Ok(value.map(<[u8]>::to_vec));
        }
        match self.spilled.get(key)? {
            Some(value) => Ok(value),
            None => self.snapshot.get(key),
        }
    }

    /// Every pair whose key starts with `prefix` and is `>= from`, in key order, until `each` breaks.
    pub fn scan(&self, prefix: &[u8], from: &[u8], each: &mut EachPair<'_>) -> Result<()> {
        self.prober().scan(prefix, from, each)
    }

    /// For many reads in about the order of keys.
    pub fn prober(&self) -> Prober {
        Prober::new(self)
    }
}
