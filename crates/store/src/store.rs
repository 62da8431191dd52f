//! Opening, committing, checkpointing.

use crate::{LogReader, Reader, Txn};
use std::path::Path;
use viewfeed_change::{Delta, Epoch, Result, Timestamp, Transaction};

/// When a commit returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After fdatasync of the epoch log: nothing acknowledged is ever lost.
    Sync,
    /// After the write to the operating system; synced in the background at least every so often. A crash of the
    /// machine (not of the process) loses at most that much, acknowledged or not.
    Relaxed {
        /// The longest time between two syncs, in milliseconds.
        interval_ms: u64,
    },
}

/// How much of the epoch log is kept for feeds to resume from.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// At least so many bytes are dropped only when older than `age_us`… whichever limit is passed first.
    pub bytes_max: u64,
    /// The oldest epoch kept, by commit time.
    pub age_us: i64,
}

/// The store's settings.
#[derive(Clone, Debug)]
pub struct Options {
    /// When a commit returns.
    pub durability: Durability,
    /// History kept for feeds.
    pub retention: Retention,
    /// Bytes sled may cache.
    pub cache_bytes: u64,
    /// Bytes of a log segment.
    pub segment_bytes: u64,
    /// Bytes of versions in memory after which a checkpoint starts; at four times as much, commits wait for it.
    pub overlay_bytes: usize,
}

/// What is logged with an epoch, beside its writes.
#[derive(Clone, Debug)]
pub struct EpochRecord {
    /// When it is committed.
    pub commit_time: Timestamp,
    /// The source transactions in it, with their table changes.
    pub transactions: Vec<Transaction>,
    /// What they changed in views.
    pub deltas: Vec<Delta>,
    /// Schema versions of the relations in `transactions` and `deltas`, by the same ids.
    pub schema_versions: Vec<(viewfeed_change::RelationId, u32)>,
}

/// The database. Cheap to clone; the files are closed with the last clone.
#[derive(Clone)]
pub struct Store;

impl Store {
    /// Opens or creates the database in `dir` and replays what the log holds after the last checkpoint. Fails as
    /// `Unavailable`/`DATA_DIR_LOCKED` if another process has it open, as `Corrupt` if a record that is followed by
    /// others is damaged (a damaged tail is what a crash leaves: it is cut, with a warning).
    pub fn open(_dir: &Path, _options: Options) -> Result<Self> {
        todo!()
    }

    /// The last committed (durable, if durability is `Sync`) state.
    pub fn reader(&self) -> Reader {
        todo!()
    }

    /// Starts the next epoch. There is one writer: a second call before commit or drop of the first fails.
    pub fn begin(&self) -> Result<Txn> {
        todo!()
    }

    /// A transaction that can never be committed, only [adopted](Txn::adopt): for sessions that run statements before
    /// they decide. Any number at a time.
    pub fn shadow(&self) -> Txn {
        todo!()
    }

    /// Makes the epoch durable, then visible to new readers. All or nothing. After `DISK_FULL` the epoch is gone and
    /// the store goes on; after a failed fsync every later commit fails until restart.
    pub fn commit(&self, _txn: Txn, _record: &EpochRecord) -> Result<Epoch> {
        todo!()
    }

    /// The last committed epoch.
    pub fn epoch(&self) -> Epoch {
        todo!()
    }

    /// The oldest epoch from which [`Store::read_log`] can start.
    pub fn oldest(&self) -> Epoch {
        todo!()
    }

    /// The logged epochs after `after`, up to the last committed one, oldest first. Fails as `OutOfRange` if `after`
    /// is older than [`Store::oldest`].
    pub fn read_log(&self, _after: Epoch) -> Result<LogReader> {
        todo!()
    }

    /// Brings the Kv up to the last epoch and flushes it, so that the next open replays nothing.
    pub fn checkpoint(&self) -> Result<()> {
        todo!()
    }

    /// Bytes on disk: (log, kv).
    pub fn disk_bytes(&self) -> Result<(u64, u64)> {
        todo!()
    }
}
