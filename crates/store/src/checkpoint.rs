//! Moving committed epochs from memory to the Kv, in the background: drain, flush, note how far, drop old history,
//! remove what dropped states left.
//!
//! Owns the thread that does it and the back-pressure on commits when it cannot keep up.

use crate::committed::Committed;
use crate::keys::{self, StateId};
use crate::kv::BATCH_KEYS;
use crate::log::Log;
use crate::writes::SortedWrites;
use crate::{Options, Retention};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::sync::Arc;
use viewfeed_change::{Epoch, Error, ErrorKind, Result};

/// Commits wait when the layers in memory are this many times as large as the size that starts a checkpoint.
const OVERLAY_FACTOR_MAX: usize = 4;
/// A checkpoint also starts when the log grew by this many times that size: it bounds what an open replays.
const LOG_FACTOR: u64 = 4;

/// The reason of a checkpoint that ended because the store closes.
const STOPPING: &str = "STOPPING";

/// Checkpoints, by whoever asks; one at a time.
pub(crate) struct Checkpointer {
    committed: Arc<Committed>,
    log: Arc<Log>,
    retention: Retention,
    overlay_bytes: usize,
    /// Held while a checkpoint runs.
    run: Mutex<()>,
    progress: Mutex<Progress>,
    /// Told of a request and of the end.
    wake: Condvar,
    /// Told of every step forward.
    progressed: Condvar,
}

struct Progress {
    checkpointed: Epoch,
    /// Bytes appended to the log since the last checkpoint started.
    log_bytes: u64,
    is_wanted: bool,
    is_stopping: bool,
    /// Whether the log says already that a reader is held too long.
    is_reader_reported: bool,
    /// Why the last checkpoint failed.
    failure: Option<Error>,
}

impl Checkpointer {
    pub(crate) fn new(
        committed: Arc<Committed>,
        log: Arc<Log>,
        options: &Options,
        checkpointed: Epoch,
    ) -> Self {
        Self {
            committed,
            log,
            retention: options.retention,
            overlay_bytes: options.overlay_bytes_max(),
            run: Mutex::new(()),
            progress: Mutex::new(Progress {
                checkpointed,
                log_bytes: 0,
                is_wanted: false,
                is_stopping: false,
                is_reader_reported: false,
                failure: None,
            }),
            wake: Condvar::new(),
            progressed: Condvar::new(),
        }
    }

    /// The body of the checkpoint thread.
    pub(crate) fn serve(&self) {
        loop {
            let mut progress = self.progress.lock();
            while !progress.is_wanted && !progress.is_stopping {
                self.wake.wait(&mut progress);
            }
            if progress.is_stopping {
                return;
            }
            progress.is_wanted = false;
            drop(progress);
            if let Err(error) = self.run()
                && error.reason() != STOPPING
            {
                tracing::error!(%error, "a checkpoint failed; it is tried again with a later commit");
            }
        }
    }

    /// Ends the thread soon, also in the middle of a checkpoint.
    pub(crate) fn stop(&self) {
        self.progress.lock().is_stopping = true;
        self.wake.notify_all();
        self.progressed.notify_all();
    }

    /// Notes that a commit wrote `record_bytes`; starts a checkpoint if enough has come together.
    pub(crate) fn committed(&self, record_bytes: u64) {
        let mut progress = self.progress.lock();
        progress.log_bytes += record_bytes;
        let is_much_logged = progress.log_bytes > LOG_FACTOR * self.overlay_bytes as u64;
        if self.committed.layers_bytes() > self.overlay_bytes || is_much_logged {
            progress.is_wanted = true;
            self.wake.notify_all();
        }
    }

    /// Waits while the overlay is far too large and a checkpoint can make it smaller. Fails if checkpoints fail.
    pub(crate) fn wait_for_room(&self) -> Result<()> {
        let mut progress = self.progress.lock();
        let mut has_waited = false;
        while self.committed.layers_bytes() > OVERLAY_FACTOR_MAX * self.overlay_bytes {
            // A reader that is held long may keep everything in memory: waiting for it could be for ever.
            if self.committed.drainable() <= progress.checkpointed {
                if !std::mem::replace(&mut progress.is_reader_reported, true) {
                    tracing::warn!("a long-running reader keeps versions in memory beyond their limit");
                }
                return Ok(());
            }
            if let (Some(failure), true) = (&progress.failure, has_waited) {
                return Err(failure.clone());
            }
            has_waited = true;
            progress.is_wanted = true;
            self.wake.notify_all();
            self.progressed.wait(&mut progress);
        }
        progress.is_reader_reported = false;
        Ok(())
    }

    /// Runs a checkpoint now, in this thread.
    pub(crate) fn run(&self) -> Result<()> {
        let _one_at_a_time = self.run.lock();
        {
            let mut progress = self.progress.lock();
            progress.log_bytes = 0;
            progress.failure = None;
        }
        let done = self.drain().and_then(|()| self.remove_garbage());
        let mut progress = self.progress.lock();
        progress.failure = done.as_ref().err().cloned();
        self.progressed.notify_all();
        done
    }

    /// Brings the Kv up to the last epoch, and lets nobody read it who must not see what it is given next. Nothing is copied to it
    /// as long as what this gives is held. Only with an epoch open, so that there is no later one.
    pub(crate) fn make_way(&self) -> Result<MutexGuard<'_, ()>> {
        let alone = self.run.lock();
        let last = self.committed.epoch();
        loop {
            let target = self.drain_to_oldest_reader()?;
            self.committed.kv.flush()?;
            if !self.committed.set_apart_anyway(target)? {
                return Err(Error::internal("readers of run files could not be set apart"));
            }
            if target >= last {
                return Ok(alone);
            }
        }
    }

    fn drain(&self) -> Result<()> {
        loop {
            let target = self.drain_to_oldest_reader()?;
            // Who reads for so long that memory grows past its limit reads the files of that epoch from now on.
            let is_over = self.committed.layers_bytes() > self.overlay_bytes;
            if !is_over || !self.committed.set_apart(target)? {
                return self.log.drop_history(&self.retention, target);
            }
        }
    }

    /// Moves everything the oldest reader sees, or all; gives up to which epoch.
    fn drain_to_oldest_reader(&self) -> Result<Epoch> {
        let (target, layers) = self.committed.start_copying();
        let from = self.progress.lock().checkpointed;
        if target > from {
            // The Kv must never be ahead of what the log is known to hold.
            self.log.sync()?;
            let entries = self.copy(target, layers)?;
            mark(&self.committed, target)?;
            self.progress.lock().checkpointed = target;
            tracing::debug!(epoch = target.0, entries, "checkpointed");
        }
        Ok(target.max(from))
    }

    /// Moves `layers`, which are every write at or before `target`, to the Kv; gives their number.
    fn copy(&self, target: Epoch, layers: Vec<Arc<SortedWrites>>) -> Result<usize> {
        let kv = &self.committed.kv;
        kv.absorb(&layers, &|| self.check_stopping())?;
        let entries = layers.iter().map(|layer| layer.len()).sum();
        drop(layers);
        self.committed.end_copying(target);
        self.committed.tell_memory();
        self.progressed.notify_all();
        Ok(entries)
    }

    /// Removes the entries of dropped states. A mark in the Kv was checkpointed, so no reader of it is older than the drop. A
    /// layer that is copied once more because it reaches beyond the checkpoint brings entries only together with their mark.
    fn remove_garbage(&self) -> Result<()> {
        let kv = &self.committed.kv;
        let end = keys::prefix_end(keys::GARBAGE_PREFIX);
        let mut marks = Vec::new();
        for (mark, _) in kv.scan(keys::GARBAGE_PREFIX, end.as_deref(), BATCH_KEYS)? {
            let state = keys::garbage_state(&mark)?;
            self.remove_range(&keys::arrangement_prefix(state))?;
            self.remove_range(&keys::operator_prefix(state))?;
            marks.push((mark, state));
        }
        if marks.is_empty() {
            return Ok(());
        }
        // The marks go only after what they mark is gone for good.
        kv.flush()?;
        let states: Vec<StateId> = marks.iter().map(|(_, state)| *state).collect();
        kv.apply(&marks.into_iter().map(|(mark, _)| (mark, None)).collect())?;
        tracing::debug!(?states, "removed dropped states");
        Ok(())
    }

    fn remove_range(&self, prefix: &[u8]) -> Result<()> {
        let kv = &self.committed.kv;
        if kv.remove_prefix(prefix)? {
            return Ok(());
        }
        let end = keys::prefix_end(prefix);
        loop {
            self.check_stopping()?;
            let pairs = kv.scan(prefix, end.as_deref(), BATCH_KEYS)?;
            let is_last = pairs.len() < BATCH_KEYS;
            kv.apply(&pairs.into_iter().map(|(key, _)| (key, None)).collect())?;
            if is_last {
                return Ok(());
            }
        }
    }

    fn check_stopping(&self) -> Result<()> {
        if self.progress.lock().is_stopping {
            return Err(Error::new(
                ErrorKind::Cancelled,
                "STOPPING",
                "the store is closing",
            ));
        }
        Ok(())
    }
}

/// Moves everything to the Kv while a store is being opened; gives up to which epoch.
pub(crate) fn drain_unread(committed: &Committed) -> Result<Epoch> {
    let (target, layers) = committed.start_copying();
    committed.kv.absorb(&layers, &|| Ok(()))?;
    committed.end_copying(target);
    mark(committed, target)?;
    Ok(target)
}

/// Makes what was copied durable, and notes that it goes up to `target`.
fn mark(committed: &Committed, target: Epoch) -> Result<()> {
    committed.kv.flush()?;
    let mark = (keys::checkpoint_epoch(), Some(target.0.to_be_bytes().to_vec()));
    committed.kv.apply(&BTreeMap::from([mark]))?;
    committed.kv.flush()
}
