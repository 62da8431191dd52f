//! The bulk of the state as sorted, immutable files: written once in order, merged in the background, found by filters.
//!
//! ```text
//!                       absorb (a checkpoint) ──┐
//! apply ──► table in memory ── flush ──► run file, fsync ──► list of runs in the small database, flush
//!                                        newest … oldest        ▲
//!                                        └── merger thread: many adjacent runs → one
//! ```
//!
//! Rows of arrangements and states of operators are in runs. What is small and transactional (catalog, names, sequences,
//! marks) stays in the small database, which is sled, and so does the list of runs: a run is part of the state when that
//! list says so, and files it does not name are removed when the folder is opened. [`format`], [`block`] and [`filter`]
//! own the bytes, [`writer`] and [`run`] a file, [`state`] which runs there are, [`merger`] which are merged.

mod block;
mod cache;
mod filter;
mod format;
mod manifest;
mod merge;
mod merger;
mod run;
mod snapshot;
mod spilled;
mod state;
mod table;
mod writer;

#[cfg(test)]
mod tests;

use crate::keys;
use crate::kv::{Kv, Pairs};
use crate::writes::SortedWrites;
pub(crate) use spilled::{Spilled, Spilling};
pub(crate) use writer::WrittenRun;

use cache::BlockCache;
use filter::StartHashes;
use merge::{Merge, Source};
use merger::Merger;
use run::{Range, Run};
use snapshot::RunsSnapshot;
use state::{Part, State};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use viewfeed_change::Result;

type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A scan takes this many entries more from the table than it was asked for, because some may be deletes.
const SPARE_ENTRIES: usize = 16;

/// A run, as a part of the state.
#[derive(Clone)]
struct Listed {
    run: Arc<Run>,
    /// Keys that start with one of these were removed after the run was written.
    hidden: Vec<Vec<u8>>,
}

/// Run files over a small database.
pub struct RunsKv {
    state: Arc<State>,
    merger: Arc<Merger>,
    thread: Option<JoinHandle<()>>,
}

impl RunsKv {
    /// Opens or makes the run files in `dir`, whose list is in `small`. Reads the end of each file only. Cached blocks,
    /// indexes, filters, tables and what [`Kv::set_memory_above`] says take at most `memory_bytes` together, of which an
    /// eighth is for blocks in any case. Fails as `Corrupt` if a file is missing or not the one the list means.
    pub fn open(dir: &Path, small: Arc<dyn Kv>, memory_bytes: u64) -> Result<Self> {
        let opened = Self::open_before_log(dir, small, memory_bytes)?;
        opened.state.remove_orphans()?;
        Ok(opened)
    }

    /// The same, but files that are no part of the state stay until [`RunsKv::end_opening`]: the log may name them.
    pub(crate) fn open_before_log(dir: &Path, small: Arc<dyn Kv>, memory_bytes: u64) -> Result<Self> {
        let state = Arc::new(State::open(dir, small, Arc::new(BlockCache::new(memory_bytes)))?);
        let merger = Arc::new(Merger::new(state.clone()));
        let body = merger.clone();
        let thread = std::thread::Builder::new()
            .name("store-merge".to_owned())
            .spawn(move || body.serve())?;
        merger.request();
        Ok(Self {
            state,
            merger,
            thread: Some(thread),
        })
    }

    /// Whether the state of a data folder is in run files. Fails as `Corrupt` if there are some and no list of them.
    pub(crate) fn is_in(dir: &Path, small: &dyn Kv) -> Result<bool> {
        Ok(state::find_manifest(dir, small)?.is_some())
    }

    /// Waits until no merge is due. Fails as the last merge did.
    pub fn wait_until_merged(&self) -> Result<()> {
        self.merger.wait_until_idle()
    }

    /// How many runs there are.
    pub fn runs(&self) -> usize {
        self.state.runs().len()
    }

    /// What it takes in memory: cached blocks, the indexes and filters that were used, and tables that are in no run yet.
    pub fn memory_bytes(&self) -> usize {
        self.state.memory_bytes()
    }

    /// Pairs of the bulk of the state in a range, and how many deletes there were before the first.
    fn scan_bulk(&self, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<(Pairs, usize)> {
        let mut found = Found::default();
        let mut from = from.to_vec();
        loop {
            let head_max = (limit - found.pairs.len()).saturating_add(SPARE_ENTRIES);
            let part = self.state.part(&from, to, head_max);
            found.read(&part, &from, part.head_end.as_deref().or(to), limit)?;
            match part.head_end {
                Some(end) if found.pairs.len() < limit => from = end,
                _ => return Ok((found.pairs, found.dead)),
            }
        }
    }

    /// Writes the tables in memory as runs.
    fn write_tables(&self) -> Result<()> {
        let writing = self.state.writing.lock();
        self.merger.wait_for_room()?;
        while self.state.write_table(&writing)? {}
        self.merger.request();
        Ok(())
    }
}

impl Kv for RunsKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match key {
            key if keys::is_bulk(key) => self.state.get(key),
            key if key == manifest::key() => Ok(None),
            key => self.state.small.get(key),
        }
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Pairs> {
        Ok(self.scan_counting(from, to, limit)?.0)
    }

    fn scan_counting(&self, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<(Pairs, usize)> {
        if to.is_some_and(|to| to <= from) || limit == 0 {
            return Ok((Vec::new(), 0));
        }
        let start = common_start(from, to);
        if keys::is_bulk(start) {
            return self.scan_bulk(from, to, limit);
        }
        let mut small = self.state.small.scan(from, to, limit.saturating_add(1))?;
        small.retain(|(key, _)| *key != manifest::key());
        if !start.is_empty() {
            small.truncate(limit);
            return Ok((small, 0));
        }
        let (mut pairs, _) = self.scan_bulk(from, to, limit)?;
        pairs.append(&mut small);
        pairs.sort_unstable();
        pairs.truncate(limit);
        Ok((pairs, 0))
    }

    fn apply(&self, writes: &Writes) -> Result<()> {
        let (bulk, small): (Vec<_>, Vec<_>) = writes
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .partition(|(key, _)| keys::is_bulk(key));
        if !small.is_empty() {
            self.state.small.apply(&small.into_iter().collect())?;
        }
        if self.state.put(bulk) > self.state.table_bytes_max() {
            self.write_tables()?;
        }
        Ok(())
    }

    fn absorb(&self, layers: &[Arc<SortedWrites>], go_on: &dyn Fn() -> Result<()>) -> Result<()> {
        let writing = self.state.writing.lock();
        self.merger.wait_for_room()?;
        // What was applied before is older than this.
        while self.state.write_table(&writing)? {}
        self.state.write_layers(&writing, layers, go_on)?;
        self.merger.request();
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.write_tables()?;
        self.state.small.flush()
    }

    fn snapshot(&self) -> Result<Option<Arc<dyn Kv>>> {
        let Some(runs) = self.state.only_runs() else {
            return Ok(None);
        };
        Ok(Some(Arc::new(RunsSnapshot::new(
            runs,
            self.state.small.as_ref(),
        )?)))
    }

    fn set_memory_above(&self, bytes: usize) {
        self.state.set_memory_above(bytes);
    }

    fn as_runs(&self) -> Option<&RunsKv> {
        Some(self)
    }

    fn remove_prefix(&self, prefix: &[u8]) -> Result<bool> {
        if !keys::is_bulk(prefix) {
            return Ok(false);
        }
        let writing = self.state.writing.lock();
        self.state.hide(&writing, prefix)?;
        self.merger.request();
        Ok(true)
    }
}

impl Drop for RunsKv {
    fn drop(&mut self) {
        self.merger.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that merges run files panicked");
        }
    }
}

/// What a scan has found so far.
#[derive(Default)]
struct Found {
    pairs: Pairs,
    /// Deletes before the first pair.
    dead: usize,
}

impl Found {
    /// Adds what `part` has in `from..to`, until there are `limit` pairs.
    fn read(&mut self, part: &Part, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<()> {
        let start = StartHashes::of(common_start(from, to));
        let range = Range { from, to, start };
        let mut sources = Vec::with_capacity(2 + part.runs.len());
        if part.head.len() > 0 {
            sources.push(Source::table(part.head.iter()));
        }
        let frozen = part.frozen.iter();
        sources.extend(frozen.map(|table| Source::table(table.range(from, to))));
        for listed in part.runs.iter() {
            sources.extend(Source::run(listed, &range)?);
        }
        let mut merge = Merge::new(sources);
        while self.pairs.len() < limit
            && let Some((key, value)) = merge.next()?
        {
            match value {
                Some(value) => self.pairs.push((key.to_vec(), value.to_vec())),
                None => self.dead += usize::from(self.pairs.is_empty()),
            }
        }
        Ok(())
    }
}

/// What every key at or after `from` and before `to` starts with.
fn common_start<'a>(from: &'a [u8], to: Option<&[u8]>) -> &'a [u8] {
    let Some(to) = to else {
        return &[];
    };
    let mut length = block::shared_bytes(from, to);
    // `to` may be the first key after all that start as `from` does: see `keys::prefix_end`.
    if let (Some(low), [high]) = (from.get(length), &to[length..])
        && low.checked_add(1) == Some(*high)
    {
        let following = &from[length + 1..];
        length += 1 + following.iter().take_while(|byte| **byte == 0xFF).count();
    }
    &from[..length]
}
