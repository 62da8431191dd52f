//! The bulk of the state as ordered bytes, behind one small trait: sled on disk, a tree in memory.
//!
//! The Kv is a *checkpoint* of the epoch log: it may be any number of epochs behind, and a crash may leave a batch
//! half applied, because the log still holds every epoch after the last [`Kv::flush`].

use std::collections::BTreeMap;
use std::path::Path;
use viewfeed_change::Result;

/// An ordered map from bytes to bytes.
pub trait Kv: Send + Sync {
    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;
    /// At most `limit` pairs with `from <= key < to` in key order (`to` = None: no end).
    fn scan(&self, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>>;
    /// Puts (Some) and deletes (None). Need not be atomic, nor durable before `flush`.
    fn apply(&self, writes: &BTreeMap<Vec<u8>, Option<Vec<u8>>>) -> Result<()>;
    /// Returns when everything applied before is on disk.
    fn flush(&self) -> Result<()>;
}

/// sled with a bounded cache.
pub struct SledKv;

impl SledKv {
    /// Opens or creates the database in `dir`.
    pub fn open(_dir: &Path, _cache_bytes: u64) -> Result<Self> {
        todo!()
    }
}

/// A tree in memory, for tests and as the oracle of the contract suite.
#[derive(Default)]
pub struct MemoryKv;
