//! Appending to the log, making it durable, dropping old history.
//!
//! A failed write is undone by cutting the file back; a failed sync poisons the log, because afterwards nobody can say
//! what is on disk.

use super::output::Output;
use super::segment::MAGIC;
use crate::Retention;
use crate::folder::sync_dir;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{Result as IoResult, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use viewfeed_change::{Epoch, Error, ErrorKind, Result, Timestamp};

/// Of the records in this many bytes, one has its offset kept in memory.
const INDEX_STEP_BYTES: u64 = 4 << 10;

/// The log as it is written. Locked for the time of a write, never for that of a commit's sync.
pub(crate) struct Log {
    dir: PathBuf,
    segment_bytes: u64,
    state: Mutex<State>,
}

/// What is known of one segment file.
pub(super) struct SegmentInfo {
    /// The epoch its name says.
    pub(super) first: Epoch,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// When its first record was committed; the minimum if it has none.
    pub(super) first_time: Timestamp,
    /// Where some of its records start, in order. Empty after a restart: then reading starts at the front.
    pub(super) index: Vec<(Epoch, u64)>,
}

/// Everything that changes. The last segment is the one written to.
pub(super) struct State {
    pub(super) segments: VecDeque<SegmentInfo>,
    pub(super) file: Arc<File>,
    pub(super) last: Epoch,
    pub(super) last_time: Timestamp,
    pub(super) synced: Epoch,
    pub(super) poisoned: bool,
    #[cfg(test)]
    pub(super) fault: Option<Fault>,
}

/// What a test lets go wrong, once.
#[cfg(test)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The disk is full after so many bytes of the next record.
    FullAfter(usize),
    /// The next sync fails.
    Sync,
}

impl Log {
    pub(super) fn new(dir: &Path, segment_bytes: u64, state: State) -> Self {
        Self {
            dir: dir.to_owned(),
            segment_bytes,
            state: Mutex::new(state),
        }
    }

    /// The last epoch known to be on disk.
    pub(crate) fn synced(&self) -> Epoch {
        self.state.lock().synced
    }

    /// The epoch before the first one there is.
    pub(crate) fn oldest(&self) -> Epoch {
        let state = self.state.lock();
        Epoch(state.segments[0].first.0 - 1)
    }

    /// Bytes of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.state
            .lock()
            .segments
            .iter()
            .map(|segment| segment.bytes)
            .sum()
    }

    /// Writes the record of `epoch`, which follows the last one, as `encode` makes it: about `bytes_about` bytes, and as many as
    /// it says, which are given back. All or nothing; durable after [`Self::sync`]. Only one is written at a time.
    pub(crate) fn append(
        self: &Arc<Self>,
        epoch: Epoch,
        commit_time: Timestamp,
        bytes_about: usize,
        encode: impl FnOnce(Output<'_>) -> Result<usize>,
    ) -> Result<u64> {
        let mut open = self.begin(epoch, bytes_about)?;
        open.add(encode)?;
        Ok(open.close(commit_time))
    }

    /// Begins the record of `epoch`, which follows the last one: about `bytes_about` bytes. Nothing else may be written before it is
    /// closed or dropped.
    pub(crate) fn begin(self: &Arc<Self>, epoch: Epoch, bytes_about: usize) -> Result<OpenRecord> {
        let end = self.end_for(epoch, bytes_about)?;
        Ok(OpenRecord {
            log: self.clone(),
            epoch,
            start: end.offset,
            end,
        })
    }

    /// Where the record of `epoch` goes.
    fn end_for(&self, epoch: Epoch, bytes_about: usize) -> Result<End> {
        let mut state = self.state.lock();
        state.check_healthy()?;
        let active = state.active();
        let is_full = active.bytes.saturating_add(bytes_about as u64) > self.segment_bytes;
        if is_full && active.first != epoch {
            self.start_segment(&mut state, epoch)?;
        }
        Ok(End {
            file: state.file.clone(),
            offset: state.active().bytes,
            #[cfg(test)]
            fault: match state.fault {
                Some(Fault::FullAfter(bytes)) => {
                    state.fault = None;
                    Some(bytes)
                }
                _ => None,
            },
        })
    }

    /// Returns when everything appended before is on disk. After a failure the log takes nothing any more.
    pub(crate) fn sync(&self) -> Result<()> {
        let (file, last) = {
            let state = self.state.lock();
            state.check_healthy()?;
            if state.synced == state.last {
                return Ok(());
            }
            (state.file.clone(), state.last)
        };
        let synced = file.sync_data();
        let mut state = self.state.lock();
        #[cfg(test)]
        let synced = match state.fault.take() {
            Some(Fault::Sync) => Err(std::io::Error::other("a test let the sync fail")),
            other => {
                state.fault = other;
                synced
            }
        };
        match synced {
            Ok(()) => {
                state.synced = state.synced.max(last);
                Ok(())
            }
            Err(error) => Err(state.poison(error)),
        }
    }

    /// Takes nothing any more, because what is in the log could not be applied: the next open does that.
    pub(crate) fn refuse_more(&self, error: Error) -> Error {
        tracing::error!(%error, "a committed epoch could not be applied; commits are refused until restart");
        self.state.lock().poisoned = true;
        poisoned().because(error)
    }

    /// The file that holds `epoch`, and an offset in it at or before its record. None if it was dropped.
    pub(super) fn locate(&self, epoch: Epoch) -> Option<(PathBuf, u64)> {
        let state = self.state.lock();
        let after = state.segments.partition_point(|segment| segment.first <= epoch);
        let segment = state.segments.get(after.checked_sub(1)?)?;
        let known = segment.index.partition_point(|(indexed, _)| *indexed <= epoch);
        let offset = match known.checked_sub(1) {
            Some(place) => segment.index[place].1,
            None => MAGIC.len() as u64,
        };
        Some((segment.path.clone(), offset))
    }

    /// Removes the oldest segments while history is larger or older than `retention` allows. Keeps every epoch after
    /// `checkpointed`, and the segment written to.
    pub(crate) fn drop_history(&self, retention: &Retention, checkpointed: Epoch) -> Result<()> {
        let mut state = self.state.lock();
        let mut is_changed = false;
        while let (Some(first), Some(second)) = (state.segments.front(), state.segments.get(1)) {
            let is_needed = second.first > checkpointed.next();
            let age_us = state.last_time.0.saturating_sub(second.first_time.0);
            let total: u64 = state.segments.iter().map(|segment| segment.bytes).sum();
            if is_needed || (total <= retention.bytes_max && age_us <= retention.age_us) {
                break;
            }
            let (path, bytes) = (first.path.clone(), first.bytes);
            fs::remove_file(&path)?;
            tracing::debug!(segment = %path.display(), bytes, "dropped history");
            state.segments.pop_front();
            is_changed = true;
        }
        if is_changed {
            sync_dir(&self.dir)?;
        }
        Ok(())
    }

    /// Goes on in a new file, after the old one is on disk: so only the last segment can have a torn end.
    fn start_segment(&self, state: &mut State, first: Epoch) -> Result<()> {
        if let Err(error) = state.file.sync_data() {
            return Err(state.poison(error));
        }
        state.synced = state.last;
        let path = segment_path(&self.dir, first);
        let file = create_segment(&self.dir, &path).inspect_err(|_| {
            // An empty segment would be found and used after a restart; this only tidies up.
            let _ = fs::remove_file(&path);
        })?;
        state.file = Arc::new(file);
        state.segments.push_back(SegmentInfo {
            first,
            path,
            bytes: MAGIC.len() as u64,
            first_time: Timestamp(i64::MIN),
            index: Vec::new(),
        });
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn inject(&self, fault: Fault) {
        self.state.lock().fault = Some(fault);
    }
}

impl State {
    fn active(&mut self) -> &mut SegmentInfo {
        self.segments.back_mut().expect("a log has at least one segment")
    }

    fn check_healthy(&self) -> Result<()> {
        if self.poisoned { Err(poisoned()) } else { Ok(()) }
    }

    fn poison(&mut self, error: std::io::Error) -> Error {
        tracing::error!(%error, "the epoch log cannot be trusted any more; commits are refused until restart");
        self.poisoned = true;
        poisoned().because(error)
    }

    fn note(&mut self, epoch: Epoch, commit_time: Timestamp, record_bytes: u64) {
        self.last = epoch;
        self.last_time = commit_time;
        self.active().note(epoch, commit_time, record_bytes);
    }
}

/// The record of an epoch that is not committed yet, in one part or several. Dropped before it is closed, it is cut off again.
pub(crate) struct OpenRecord {
    log: Arc<Log>,
    epoch: Epoch,
    /// Where in its segment it begins.
    start: u64,
    end: End,
}

impl OpenRecord {
    /// Writes the next part as `encode` makes it. All or nothing.
    pub(crate) fn add(&mut self, encode: impl FnOnce(Output<'_>) -> Result<usize>) -> Result<()> {
        let end = &mut self.end;
        // Without the lock: a large part takes long, and nobody else writes.
        match encode(Output::new(&mut |at, bytes| end.write(at, bytes))) {
            Ok(bytes) => {
                end.offset += bytes as u64;
                Ok(())
            }
            Err(error) => match end.file.set_len(end.offset) {
                Ok(()) => Err(error),
                Err(cut_failed) => Err(self.log.state.lock().poison(cut_failed)),
            },
        }
    }

    /// The record is whole; gives its length. It is durable after [`Log::sync`].
    pub(crate) fn close(mut self, commit_time: Timestamp) -> u64 {
        let bytes = self.end.offset - self.start;
        self.log.state.lock().note(self.epoch, commit_time, bytes);
        self.start = self.end.offset;
        bytes
    }
}

impl Drop for OpenRecord {
    fn drop(&mut self) {
        if self.end.offset > self.start
            && let Err(error) = self.end.file.set_len(self.start)
        {
            // What was left would be taken for a part of the next epoch.
            self.log.state.lock().poison(error);
        }
    }
}

/// The end of the active segment.
struct End {
    file: Arc<File>,
    offset: u64,
    /// The disk is full after so many bytes.
    #[cfg(test)]
    fault: Option<usize>,
}

impl End {
    /// Writes `bytes` at a place behind it.
    fn write(&mut self, at: usize, bytes: &[u8]) -> IoResult<()> {
        let mut file = self.file.as_ref();
        file.seek(SeekFrom::Start(self.offset + at as u64))?;
        #[cfg(test)]
        if let Some(full) = self.fault.filter(|full| *full < at + bytes.len()) {
            file.write_all(&bytes[..full.saturating_sub(at)])?;
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        file.write_all(bytes)
    }
}

impl SegmentInfo {
    /// Counts a record at the end.
    pub(super) fn note(&mut self, epoch: Epoch, commit_time: Timestamp, record_bytes: u64) {
        if epoch == self.first {
            self.first_time = commit_time;
        }
        let is_far = |(_, offset): &(Epoch, u64)| *offset + INDEX_STEP_BYTES <= self.bytes;
        if self.index.last().is_none_or(is_far) {
            self.index.push((epoch, self.bytes));
        }
        self.bytes += record_bytes;
    }
}

/// The file of the segment that starts with `first`.
pub(super) fn segment_path(dir: &Path, first: Epoch) -> PathBuf {
    dir.join(format!("{:020}.log", first.0))
}

/// A segment without records, whose name is on disk.
pub(super) fn create_segment(dir: &Path, path: &Path) -> IoResult<File> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    file.write_all(&MAGIC)?;
    file.sync_data()?;
    sync_dir(dir)?;
    Ok(file)
}

fn poisoned() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "STORE_POISONED",
        "the epoch log could not be made durable",
    )
    .hint("check the disk, then restart: everything acknowledged before is kept")
}
