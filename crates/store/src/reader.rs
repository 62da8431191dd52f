//! A consistent view of the state at one epoch, from any thread.

use crate::committed::{Entry, Snapshot, Window, overlaid};
use crate::keys;
use crate::overlay::Writes;
use crate::sealed::Sealed;
use std::ops::{Bound, ControlFlow};
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
    sealed: Sealed,
    staged: Arc<Writes>,
}

impl Reader {
    pub(crate) fn new(snapshot: Arc<Snapshot>, sealed: Sealed, staged: Arc<Writes>) -> Self {
        Self {
            snapshot,
            sealed,
            staged,
        }
    }

    /// The last committed epoch it shows.
    pub fn epoch(&self) -> Epoch {
        self.snapshot.epoch()
    }

    /// The value of `key`.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.staged.get(key).or_else(|| self.sealed.get(key)) {
            Some(value) => Ok(value.clone()),
            None => self.snapshot.get(key),
        }
    }

    /// Every pair whose key starts with `prefix` and is `>= from`, in key order, until `each` breaks.
    pub fn scan(&self, prefix: &[u8], from: &[u8], each: &mut EachPair<'_>) -> Result<()> {
        let end = keys::prefix_end(prefix);
        if end.as_deref().is_some_and(|end| from >= end) {
            return Ok(());
        }
        let mut windows = self.snapshot.windows(from.max(prefix), end);
        while let Some(window) = windows.next()? {
            if self.visit(&window, each)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The pairs of a window with the layers of the transaction over them.
    fn visit(&self, window: &Window, each: &mut EachPair<'_>) -> Result<ControlFlow<()>> {
        let end = window.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let range = (Bound::Included(window.from.as_slice()), end);
        let staged = self.staged.range::<[u8], _>(range).next().is_some();
        let staged = staged.then_some(self.staged.as_ref());
        let committed = window.pairs.iter();
        let mut all: Box<dyn Iterator<Item = Entry<'_>>> =
            Box::new(committed.map(|(key, value)| (key.as_slice(), Some(value.as_slice()))));
        for layer in self.sealed.touching(range).chain(staged) {
            let entries = layer.range::<[u8], _>(range);
            let entries = entries.map(|(key, value)| (key.as_slice(), value.as_deref()));
            all = Box::new(overlaid(all, entries));
        }
        for (key, value) in all {
            if let Some(value) = value
                && each(key, value)?.is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
