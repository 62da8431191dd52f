//! Opening, committing, checkpointing.
//!
//! Epochs that are larger than memory are left to [`large`].

mod large;

use crate::checkpoint::Checkpointer;
use crate::committed::Committed;
use crate::fold::Folder;
use crate::folder::{self, FolderLock};
use crate::log::{self, Log, LogEntry};
use crate::txn::{Finished, WriterSlot};
use crate::{Kv, LogReader, Reader, RunsKv, SledKv, Txn, keys};
use parking_lot::{Condvar, Mutex};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use viewfeed_change::{Delta, Epoch, Error, Result, Timestamp, Transaction};

/// What sled may cache at least where it holds what is small.
const SLED_CACHE_BYTES_MIN: u64 = 1 << 20;
/// One of so many parts of the memory is sled's where there are run files.
const SLED_SHARE: u64 = 8;

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

/// How much of the epoch log is kept for feeds to resume from. The oldest history is dropped when either limit is
/// passed, in whole segments; epochs that are not checkpointed yet, and the segment being written, are always kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// The most bytes of log to keep.
    pub bytes_max: u64,
    /// The greatest age to keep, in microseconds between the commit of an epoch and that of the last one.
    pub age_us: i64,
}

/// Committed versions in memory start a checkpoint when they take one of so many parts of the memory there is.
const OVERLAY_SHARE: u64 = 8;
/// The form of the state in a new data folder, if the program is not told otherwise: one place for every test suite.
const FORM_VARIABLE: &str = "VIEWFEED_STATE";

/// How the bulk of the state is stored. A data folder keeps the form it was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Everything in sled.
    Sled,
    /// Rows and operators' states in sorted files, see [`crate::RunsKv`]; what is small in sled.
    Runs,
}

impl Form {
    /// The form called `name`: `sled` or `runs`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "sled" => Some(Self::Sled),
            "runs" => Some(Self::Runs),
            _ => None,
        }
    }

    /// What `VIEWFEED_STATE` says, or run files.
    fn from_environment() -> Self {
        let name = std::env::var(FORM_VARIABLE).ok();
        name.and_then(|name| Self::named(&name)).unwrap_or(Self::Runs)
    }
}

/// The store's settings.
#[derive(Clone, Debug)]
pub struct Options {
    /// When a commit returns.
    pub durability: Durability,
    /// History kept for feeds.
    pub retention: Retention,
    /// Bytes of the state that may be in memory: what is cached, indexes and filters of run files, writes that are in no
    /// file yet. An eighth is sled's, which may take more than it is given.
    pub memory_bytes: u64,
    /// The form of the state in a new data folder.
    pub form: Form,
    /// Bytes of a log segment.
    pub segment_bytes: u64,
    /// Bytes of versions in memory after which a checkpoint starts (or an eighth of `memory_bytes`, if that is less); at
    /// four times as much, commits wait for it. Also what an open epoch may have in memory before a part of it is written.
    pub overlay_bytes: usize,
}

impl Default for Options {
    /// Safe, and sized for a machine with a few GiB of memory.
    fn default() -> Self {
        let week_us = 7 * 24 * 3600 * 1_000_000;
        Self {
            durability: Durability::Sync,
            retention: Retention {
                bytes_max: 1 << 30,
                age_us: week_us,
            },
            memory_bytes: 256 << 20,
            form: Form::from_environment(),
            segment_bytes: 64 << 20,
            overlay_bytes: 64 << 20,
        }
    }
}

impl Options {
    /// Bytes of versions in memory after which a checkpoint starts.
    pub(crate) fn overlay_bytes_max(&self) -> usize {
        let share = usize::try_from(self.memory_bytes / OVERLAY_SHARE).unwrap_or(usize::MAX);
        self.overlay_bytes.min(share)
    }
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

/// The database. Cheap to clone; its threads end with the last clone, its files are closed with the last clone and
/// the last [`Reader`].
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    durability: Durability,
    part_bytes: usize,
    committed: Arc<Committed>,
    log: Arc<Log>,
    checkpointer: Arc<Checkpointer>,
    writer_taken: Arc<AtomicBool>,
    folder: Arc<Folder>,
    syncer: Arc<Syncer>,
    threads: Vec<JoinHandle<()>>,
}

impl Store {
    /// Opens or creates the database in `dir` and replays what the log holds after the last checkpoint. Fails as
    /// `Unavailable`/`DATA_DIR_LOCKED` if another process has it open, as `Corrupt` if a record that is followed by
    /// others is damaged (a damaged tail is what a crash leaves: it is cut, with a warning).
    pub fn open(dir: &Path, options: Options) -> Result<Self> {
        let lock = FolderLock::take(dir)?;
        let kv = open_kv(dir, &options)?;
        Self::assemble(dir, &options, kv, lock)
    }

    /// Like [`Store::open`], with another checkpoint database than sled. It must be the one this `dir` was used with
    /// before.
    pub fn open_over(dir: &Path, options: &Options, kv: Arc<dyn Kv>) -> Result<Self> {
        Self::assemble(dir, options, kv, FolderLock::take(dir)?)
    }

    fn assemble(dir: &Path, options: &Options, kv: Arc<dyn Kv>, lock: FolderLock) -> Result<Self> {
        let mut checkpointed = match kv.get(&keys::checkpoint_epoch())? {
            Some(value) => Epoch(u64::from_be_bytes(keys::fixed(&value)?)),
            None => Epoch::ZERO,
        };
        let committed = Arc::new(Committed::new(kv, checkpointed, lock));
        let (started, from) = (Instant::now(), checkpointed);
        let mut replayed_bytes = 0;
        let replay = &mut |epoch, redo, bytes| {
            replayed_bytes += bytes;
            checkpointed = large::replay(&committed, epoch, redo)?.unwrap_or(checkpointed);
            Ok(())
        };
        let log = log::open(&dir.join("log"), options.segment_bytes, from, replay)?;
        if let Some(runs) = committed.kv.as_runs() {
            runs.end_opening()?;
        }
        tracing::info!(
            epoch = committed.epoch().0,
            replayed = committed.epoch().0 - from.0,
            elapsed_ms = started.elapsed().as_millis() as u64,
            "opened the store"
        );
        let log = Arc::new(log);
        let checkpointer = Checkpointer::new(committed.clone(), log.clone(), options, checkpointed);
        checkpointer.committed(replayed_bytes);
        let mut inner = Inner {
            dir: dir.to_owned(),
            durability: options.durability,
            part_bytes: options.overlay_bytes_max(),
            committed,
            log,
            checkpointer: Arc::new(checkpointer),
            writer_taken: Arc::default(),
            folder: Arc::default(),
            syncer: Arc::default(),
            threads: Vec::new(),
        };
        inner.start_threads()?;
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The last committed (durable, if durability is `Sync`) state.
    pub fn reader(&self) -> Reader {
        Reader::committed(Arc::new(self.inner.committed.snapshot()))
    }

    /// Starts the next epoch. There is one writer: a second call before commit or drop of the first fails.
    pub fn begin(&self) -> Result<Txn> {
        let slot = WriterSlot::take(&self.inner.writer_taken)
            .ok_or_else(|| Error::internal("an epoch was begun while another one was open"))?;
        Ok(Txn::new(self.inner.committed.snapshot(), Some(slot)))
    }

    /// A transaction that can never be committed, only [adopted](Txn::adopt): for sessions that run statements before
    /// they decide. Any number at a time.
    pub fn shadow(&self) -> Txn {
        Txn::new(self.inner.committed.snapshot(), None)
    }

    /// Makes the epoch durable, then visible to new readers. All or nothing. After `DISK_FULL` the epoch is gone and
    /// the store goes on; after a failed fsync every later commit fails until restart (and whether this epoch is there
    /// after it cannot be said).
    pub fn commit(&self, txn: Txn, record: &EpochRecord) -> Result<Epoch> {
        let inner = &self.inner;
        inner.check_ours(&txn)?;
        inner.checkpointer.wait_for_room()?;
        let epoch = txn.epoch();
        let finished = txn.finish()?;
        let bytes = match finished.is_large() {
            true => inner.commit_large(epoch, finished, record)?,
            false => inner.commit_small(epoch, finished, record)?,
        };
        inner.committed.tell_memory();
        inner.folder.request(&inner.committed);
        inner.checkpointer.committed(bytes);
        Ok(epoch)
    }

    /// The last committed epoch.
    pub fn epoch(&self) -> Epoch {
        self.inner.committed.epoch()
    }

    /// The oldest epoch from which [`Store::read_log`] can start.
    pub fn oldest(&self) -> Epoch {
        self.inner.log.oldest()
    }

    /// The logged epochs after `after`, up to the last committed one, oldest first. Fails as `OutOfRange` if `after`
    /// is older than [`Store::oldest`].
    pub fn read_log(&self, after: Epoch) -> Result<LogReader> {
        if after < self.oldest() {
            return Err(log::dropped(after.next()));
        }
        Ok(LogReader::new(self.inner.log.clone(), after.next(), self.epoch()))
    }

    /// Brings the Kv up to the last epoch and flushes it, so that the next open replays nothing. While a [`Reader`] of
    /// an older epoch is held, only up to that one, unless memory is past its limit and the form is [`Form::Runs`].
    pub fn checkpoint(&self) -> Result<()> {
        self.inner.checkpointer.run()
    }

    /// How many deleted entries scans have passed over before what they found first, since it was opened.
    pub fn dead_passed(&self) -> u64 {
        self.inner.committed.dead_passed()
    }

    /// Bytes of committed writes in memory: those not checkpointed yet, and those only a reader still has.
    pub fn versions_bytes(&self) -> usize {
        self.inner.committed.layers_bytes()
    }

    /// Bytes on disk: (log, kv).
    pub fn disk_bytes(&self) -> Result<(u64, u64)> {
        let dir = &self.inner.dir;
        let kv = folder::bytes(&dir.join("kv"))? + folder::bytes(&dir.join("runs"))?;
        Ok((self.inner.log.bytes(), kv))
    }
}

/// The state in `dir`, in the form it has there. What names the form is the list of run files in sled.
fn open_kv(dir: &Path, options: &Options) -> Result<Arc<dyn Kv>> {
    let (kv_dir, runs_dir) = (dir.join("kv"), dir.join("runs"));
    // Where there are runs, little is left to sled.
    let has_folder = runs_dir.exists() || (options.form == Form::Runs && !kv_dir.exists());
    let sled_bytes = match has_folder {
        true => (options.memory_bytes / SLED_SHARE).max(SLED_CACHE_BYTES_MIN),
        false => options.memory_bytes,
    };
    let sled = SledKv::open(&kv_dir, sled_bytes)?;
    let is_new = sled.scan(&[], None, 1)?.is_empty();
    let has_runs = RunsKv::is_in(&runs_dir, &sled)?;
    if !has_runs && (options.form == Form::Sled || !is_new) {
        return Ok(Arc::new(sled));
    }
    // However little there is, sled's least share leaves half.
    let runs_bytes = options.memory_bytes.saturating_sub(sled_bytes);
    let runs_bytes = runs_bytes.max(options.memory_bytes / 2);
    let sled = Arc::new(sled);
    Ok(Arc::new(RunsKv::open_before_log(&runs_dir, sled, runs_bytes)?))
}

impl Inner {
    fn check_ours(&self, txn: &Txn) -> Result<()> {
        match txn.may_commit(|base| Arc::ptr_eq(base.committed(), &self.committed)) {
            true => Ok(()),
            false => Err(Error::internal("only what this store began can be committed")),
        }
    }

    /// Commits an epoch all of which is in memory; gives the bytes of its record.
    fn commit_small(&self, epoch: Epoch, finished: Finished, record: &EpochRecord) -> Result<u64> {
        let Finished { writes, held, .. } = finished;
        let about = log::bytes_about(&writes);
        let entry = self.entry(epoch, record);
        let bytes = self.log.append(epoch, record.commit_time, about, |output| {
            entry.encode(&writes, output)
        })?;
        if self.durability == Durability::Sync {
            self.log.sync()?;
        }
        self.committed.publish(epoch, writes);
        drop(held);
        Ok(bytes)
    }

    fn entry<'a>(&self, epoch: Epoch, record: &'a EpochRecord) -> LogEntry<'a> {
        LogEntry {
            epoch,
            synced: self.log.synced(),
            record,
        }
    }

    fn start_threads(&mut self) -> Result<()> {
        let checkpointer = self.checkpointer.clone();
        self.spawn("store-checkpoint", move || checkpointer.serve())?;
        let (folder, committed) = (self.folder.clone(), self.committed.clone());
        self.spawn("store-fold", move || folder.serve(&committed))?;
        if let Durability::Relaxed { interval_ms } = self.durability {
            let (syncer, log) = (self.syncer.clone(), self.log.clone());
            self.spawn("store-sync", move || syncer.serve(&log, interval_ms))?;
        }
        Ok(())
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body)?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.checkpointer.stop();
        self.folder.stop();
        self.syncer.stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
    }
}

/// Syncs the log every so often.
#[derive(Default)]
struct Syncer {
    is_stopping: Mutex<bool>,
    stopped: Condvar,
}

impl Syncer {
    fn serve(&self, log: &Log, interval_ms: u64) {
        let interval = Duration::from_millis(interval_ms);
        let mut is_stopping = self.is_stopping.lock();
        loop {
            // Only a failed sync ends this early; the log is poisoned then and says so at the next commit.
            if log.sync().is_err() || *is_stopping {
                return;
            }
            self.stopped.wait_for(&mut is_stopping, interval);
        }
    }

    fn stop(&self) {
        *self.is_stopping.lock() = true;
        self.stopped.notify_all();
    }
}
