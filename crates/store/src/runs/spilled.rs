//! Writes of an open epoch that have become too many for memory: in run files that are no part of the state.
//!
//! The files lie over everything committed, and go with the epoch if it is not committed. When it is, the log names them, and they
//! become a part of the state all at once. Owns writing them, on a thread of its own, and reading them over what is below; when that
//! is done and when they are adopted is left to the store.

use super::filter::{KeyHash, StartHashes};
use super::merge::{Merge, Source};
use super::run::{Range, Run};
use super::state::State;
use super::writer::WrittenRun;
use super::{Listed, RunsKv, common_start};
use crate::kv::Pairs;
use crate::writes::SortedWrites;
use std::sync::Arc;
use std::thread::JoinHandle;
use viewfeed_change::{Epoch, Error, Result};

/// So many files that were merged equally often become one: few are to be looked into, and most writes are written once or twice.
const MERGED_AT_ONCE: usize = 16;
/// What the thread that writes is called.
const THREAD: &str = "store-spill";

/// The files of an open epoch. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Spilled {
    /// The newest first.
    runs: Arc<Vec<Listed>>,
    /// How often each was merged: the same or more, from one to the next.
    merges: Vec<u32>,
}

/// Gives at most so many pairs of a range, in key order.
pub(crate) type Below<'a> = dyn FnMut(&[u8], Option<&[u8]>, usize) -> Result<Pairs> + 'a;

impl Spilled {
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// What was last written to `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Option<Vec<u8>>>> {
        if self.is_empty() {
            return Ok(None);
        }
        let hash = KeyHash::of(key);
        for Listed { run, .. } in self.runs.iter() {
            if let Some(value) = run.get(key, hash)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// At most `limit` pairs with `from <= key < to`: these over what `below` gives.
    pub(crate) fn scan_over(
        &self,
        below: &mut Below<'_>,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Pairs> {
        let (mut found, mut from) = (Pairs::new(), from.to_vec());
        loop {
            let wanted = limit - found.len();
            let pairs = below(&from, to, wanted)?;
            // Behind the last of them there may be more.
            let next = match pairs.last() {
                Some((last, _)) if pairs.len() == wanted => Some([last.as_slice(), &[0]].concat()),
                _ => None,
            };
            self.merge_over(&pairs, &from, next.as_deref().or(to), limit, &mut found)?;
            match next {
                Some(next) if found.len() < limit => from = next,
                _ => return Ok(found),
            }
        }
    }

    /// Adds `from..to`, of which `pairs` are all that is below, until there are `limit` pairs.
    fn merge_over(
        &self,
        pairs: &Pairs,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
        found: &mut Pairs,
    ) -> Result<()> {
        let start = StartHashes::of(common_start(from, to));
        let range = Range { from, to, start };
        let mut sources = Vec::with_capacity(self.runs.len() + 1);
        for listed in self.runs.iter() {
            sources.extend(Source::run(listed, &range)?);
        }
        let below = pairs.iter().map(|(key, value)| (&key[..], Some(&value[..])));
        sources.push(Source::table(Box::new(below)));
        let mut merge = Merge::new(sources);
        while found.len() < limit
            && let Some((key, value)) = merge.next()?
        {
            found.extend(value.map(|value| (key.to_vec(), value.to_vec())));
        }
        Ok(())
    }

    /// What the log says of them, the newest first.
    pub(crate) fn written(&self) -> Vec<WrittenRun> {
        self.runs.iter().map(|listed| listed.run.written()).collect()
    }

    /// From now on the files stay, whoever reads them: the log is about to name them.
    pub(crate) fn keep(&self) {
        self.runs.iter().for_each(|listed| listed.run.keep());
    }

    /// The files go with their last reader after all.
    pub(crate) fn abandon(&self) {
        self.runs.iter().for_each(|listed| listed.run.make_obsolete());
    }

    fn push(&mut self, run: Arc<Run>, merges: u32) {
        let listed = Listed {
            run,
            hidden: Vec::new(),
        };
        Arc::make_mut(&mut self.runs).insert(0, listed);
        self.merges.insert(0, merges);
    }
}

/// Layers that are being written to a file, by a thread that ends when this does.
pub(crate) struct Spilling {
    thread: Option<JoinHandle<Result<(Spilled, SortedWrites)>>>,
}

impl Spilling {
    /// Waits until all is written; gives the files, those of before included, and what is not bulk.
    pub(crate) fn finish(mut self) -> Result<(Spilled, SortedWrites)> {
        let thread = self
            .thread
            .take()
            .expect("it is taken once, here or when dropped");
        let ended = thread.join();
        ended.unwrap_or_else(|_| Err(Error::internal("writing a large epoch to files panicked")))
    }
}

impl Drop for Spilling {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // Whatever it has written goes with its result.
            let _ = thread.join();
        }
    }
}

/// Writes the bulk among `layers` (the newest first) over `spilled`; gives what is not bulk.
fn spill(state: &State, layers: &[Arc<SortedWrites>], spilled: &mut Spilled) -> Result<SortedWrites> {
    state.prepare_run()?;
    let mut small = Vec::new();
    // What is deleted may be below.
    let writer = state.write_bulk(layers, true, &|| Ok(()), &mut |key, value| {
        small.push((key.to_vec(), value.map(<[u8]>::to_vec)));
    })?;
    if let Some(writer) = writer
        && let Some(run) = state.end_run_unsynced(writer)?
    {
        run.make_obsolete();
        spilled.push(run, 0);
        merge_alike(state, spilled)?;
    }
    let small = small.iter().map(|(key, value)| (&key[..], value.as_deref()));
    Ok(small.collect())
}

/// Merges the newest files, as long as there are many alike.
fn merge_alike(state: &State, spilled: &mut Spilled) -> Result<()> {
    loop {
        let merges = spilled.merges[0];
        let alike = spilled.merges.iter().take_while(|other| **other == merges);
        let alike = alike.count();
        if alike < MERGED_AT_ONCE {
            return Ok(());
        }
        let writer = state.merge(&spilled.runs[..alike], true, &|| Ok(()))?;
        let merged = state.end_run_unsynced(writer)?;
        let merged = merged.expect("deletes are kept, and no run is empty");
        merged.make_obsolete();
        Arc::make_mut(&mut spilled.runs).drain(..alike);
        spilled.merges.drain(..alike);
        spilled.push(merged, merges + 1);
    }
}

impl RunsKv {
    /// Begins to write the bulk among `layers` (the newest first) over `spilled`. Nothing of it is durable before
    /// [`Self::sync_spilled`].
    pub(crate) fn begin_spill(
        &self,
        layers: Vec<Arc<SortedWrites>>,
        mut spilled: Spilled,
    ) -> Result<Spilling> {
        let state = self.state.clone();
        let thread = std::thread::Builder::new()
            .name(THREAD.to_owned())
            .spawn(move || {
                let small = spill(&state, &layers, &mut spilled)?;
                Ok((spilled, small))
            })?;
        Ok(Spilling { thread: Some(thread) })
    }

    /// Returns when all files are on disk.
    pub(crate) fn sync_spilled(&self, spilled: &Spilled) -> Result<()> {
        spilled.runs.iter().try_for_each(|listed| listed.run.sync())?;
        self.state.sync_names()
    }

    /// The files that the log names for an epoch, the newest first.
    pub(crate) fn open_spilled(&self, written: &[WrittenRun]) -> Result<Spilled> {
        let mut spilled = Spilled::default();
        for written in written.iter().rev() {
            spilled.push(self.state.open_run(*written)?, 0);
        }
        Ok(spilled)
    }

    /// Makes the files of `epoch` a part of the state, over all there is. Durable when it returns.
    pub(crate) fn adopt(&self, epoch: Epoch, spilled: &Spilled) -> Result<()> {
        let writing = self.state.writing.lock();
        while self.state.write_table(&writing)? {}
        self.state.adopt(&writing, epoch, &spilled.runs)?;
        drop(writing);
        self.merger.request();
        Ok(())
    }

    /// Up to which epoch the files that the log names are a part of the state.
    pub(crate) fn adopted(&self) -> Epoch {
        self.state.adopted()
    }

    /// Removes files that neither the state nor the log has any use for: to be called once the log was read.
    pub(crate) fn end_opening(&self) -> Result<()> {
        self.state.remove_orphans()
    }
}
