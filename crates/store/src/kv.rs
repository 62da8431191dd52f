//! The bulk of the state as ordered bytes, behind one small trait: sled, a tree in memory.
//!
//! The Kv is a *checkpoint* of the epoch log: it may be any number of epochs behind, and a crash may leave a batch
//! half applied, because the log still holds every epoch after the last [`Kv::flush`]. Run files are the third form, see
//! [`crate::RunsKv`].

use crate::RunsKv;
use crate::layers::merged;
use crate::writes::SortedWrites;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use viewfeed_change::{Error, ErrorKind, Result};

/// Entries taken over at a time; between them it is asked whether to go on.
pub(crate) const BATCH_KEYS: usize = 2048;

/// Keys with their values.
pub(crate) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// An ordered map from bytes to bytes.
pub trait Kv: Send + Sync {
    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;
    /// At most `limit` pairs with `from <= key < to` in key order (`to` = None: no end).
    fn scan(&self, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Pairs>;
    /// Like [`Kv::scan`]; with how many deleted entries were passed over before the first pair, where that takes time.
    fn scan_counting(&self, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<(Pairs, usize)> {
        Ok((self.scan(from, to, limit)?, 0))
    }
    /// Puts (Some) and deletes (None). Need not be atomic, nor durable before `flush`.
    fn apply(&self, writes: &BTreeMap<Vec<u8>, Option<Vec<u8>>>) -> Result<()>;
    /// Applies the entries of `layers`, the newest first, of which a newer one hides an older one; asks `go_on` now and
    /// then and fails as it does.
    fn absorb(&self, layers: &[Arc<SortedWrites>], go_on: &dyn Fn() -> Result<()>) -> Result<()> {
        let mut entries = merged(layers).peekable();
        while entries.peek().is_some() {
            go_on()?;
            let batch = entries.by_ref().take(BATCH_KEYS);
            let owned = batch.map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)));
            self.apply(&owned.collect())?;
        }
        Ok(())
    }
    /// Returns when everything applied before is on disk.
    fn flush(&self) -> Result<()>;
    /// What is in it now, to be read while it changes, if this form can give that cheaply. Only right after a `flush`, by
    /// who applies.
    fn snapshot(&self) -> Result<Option<Arc<dyn Kv>>> {
        Ok(None)
    }
    /// Run files, if that is the form: they can take over files that were written apart.
    fn as_runs(&self) -> Option<&RunsKv> {
        None
    }
    /// Told how much memory what is above takes, which is to stay within one bound with its own.
    fn set_memory_above(&self, _bytes: usize) {}
    /// Deletes every key that starts with `prefix` at once, if this form can do so without looking at each: then true.
    /// Else false, and nothing is done. Nobody reads such a key meanwhile. Need not be durable before `flush`.
    fn remove_prefix(&self, _prefix: &[u8]) -> Result<bool> {
        Ok(false)
    }
}

/// sled with a bounded cache.
pub struct SledKv {
    database: sled::Db,
}

impl SledKv {
    /// Opens or creates the database in `dir`, which no other process may have open. If this process has just dropped
    /// it, waits until it is closed.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Self> {
        wait_until_closed(dir)?;
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            // The epoch log makes commits durable; sled is flushed by checkpoints only.
            .flush_every_ms(None)
            .mode(sled::Mode::HighThroughput);
        let database = config.open().map_err(sled_error)?;
        Ok(Self { database })
    }

    fn write(&self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        match value {
            Some(value) => self.database.insert(key, value),
            None => self.database.remove(key),
        }
        .map_err(sled_error)?;
        Ok(())
    }
}

impl Kv for SledKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = self.database.get(key).map_err(sled_error)?;
        Ok(value.map(|bytes| bytes.to_vec()))
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Pairs> {
        let pairs = match to {
            Some(to) if to <= from => return Ok(Vec::new()),
            Some(to) => self.database.range(from..to),
            None => self.database.range(from..),
        };
        pairs
            .take(limit)
            .map(|pair| {
                let (key, value) = pair.map_err(sled_error)?;
                Ok((key.to_vec(), value.to_vec()))
            })
            .collect()
    }

    fn apply(&self, writes: &BTreeMap<Vec<u8>, Option<Vec<u8>>>) -> Result<()> {
        // One by one: a sled batch would keep readers out until it is done, and atomicity is not needed here.
        writes
            .iter()
            .try_for_each(|(key, value)| self.write(key, value.as_deref()))
    }

    fn absorb(&self, layers: &[Arc<SortedWrites>], go_on: &dyn Fn() -> Result<()>) -> Result<()> {
        for (count, (key, value)) in merged(layers).enumerate() {
            if count % BATCH_KEYS == 0 {
                go_on()?;
            }
            self.write(key, value)?;
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.database.flush().map_err(sled_error)?;
        Ok(())
    }
}

/// sled's own threads let go of its file a moment after a database is dropped; until then, opening it again fails.
fn wait_until_closed(dir: &Path) -> Result<()> {
    match File::open(dir.join("db")) {
        Ok(file) => {
            file.lock()?;
            Ok(file.unlock()?)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::from(error)),
    }
}

fn sled_error(error: sled::Error) -> Error {
    match error {
        sled::Error::Io(error) => Error::from(error),
        sled::Error::Corruption { .. } => Error::corrupt("the checkpoint database is damaged")
            .because(error)
            .hint("restore the data folder from a backup"),
        other => Error::new(ErrorKind::Unavailable, "KV", "the checkpoint database failed").because(other),
    }
}

/// A tree in memory, for tests and as the oracle of the contract suite.
#[derive(Default)]
pub struct MemoryKv {
    tree: RwLock<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Kv for MemoryKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.tree.read().get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Pairs> {
        if to.is_some_and(|to| to <= from) {
            return Ok(Vec::new());
        }
        let tree = self.tree.read();
        let pairs = tree.range::<[u8], _>((
            Bound::Included(from),
            to.map_or(Bound::Unbounded, Bound::Excluded),
        ));
        Ok(pairs
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    fn apply(&self, writes: &BTreeMap<Vec<u8>, Option<Vec<u8>>>) -> Result<()> {
        let mut tree = self.tree.write();
        for (key, value) in writes {
            match value {
                Some(value) => tree.insert(key.clone(), value.clone()),
                None => tree.remove(key),
            };
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}
