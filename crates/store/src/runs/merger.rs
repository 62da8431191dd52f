//! Which runs are merged when, and the thread that does it.
//!
//! Size-tiered: when four or more of the newest runs are about as large, they become one; so an entry is written again
//! each time the state around it has grown fourfold. When many entries are deletes, everything is merged. More runs than [`RUNS_MAX`] are merged where it costs least per run.

use super::Listed;
use super::state::State;
use parking_lot::{Condvar, Mutex};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;
use viewfeed_change::{Error, ErrorKind, Result};

/// Runs merged at once at least, unless there are too many.
const FACTOR: usize = 4;
/// With more runs than this, some are merged whatever their sizes.
const RUNS_MAX: usize = 10;
/// With as many runs as this, no new one is written until some are merged: then checkpoints wait, and with them commits.
const RUNS_LIMIT: usize = 24;
/// When one of so many entries is a delete, everything is merged.
const DELETES_SHARE: u64 = 4;
/// The reason of a merge that ended because the store closes.
const STOPPING: &str = "STOPPING";

pub(super) struct Merger {
    state: Arc<State>,
    progress: Mutex<Progress>,
    /// Told of a request and of the end.
    wake: Condvar,
    /// Told when a merge ended.
    merged: Condvar,
}

#[derive(Default)]
struct Progress {
    is_wanted: bool,
    is_running: bool,
    is_stopping: bool,
    /// Why the last merge failed.
    failure: Option<Error>,
}

impl Merger {
    pub(super) fn new(state: Arc<State>) -> Self {
        Self {
            state,
            progress: Mutex::default(),
            wake: Condvar::new(),
            merged: Condvar::new(),
        }
    }

    /// The body of the thread.
    pub(super) fn serve(&self) {
        loop {
            let mut progress = self.progress.lock();
            progress.is_running = false;
            self.merged.notify_all();
            while !progress.is_wanted && !progress.is_stopping {
                self.wake.wait(&mut progress);
            }
            if progress.is_stopping {
                return;
            }
            progress.is_wanted = false;
            progress.is_running = true;
            drop(progress);
            self.merge_what_is_due();
        }
    }

    /// Has the thread look whether a merge is due.
    pub(super) fn request(&self) {
        self.progress.lock().is_wanted = true;
        self.wake.notify_all();
    }

    /// Ends the thread soon, also in the middle of a merge.
    pub(super) fn stop(&self) {
        self.progress.lock().is_stopping = true;
        self.wake.notify_all();
        self.merged.notify_all();
    }

    /// Waits while there are too many runs to add one. Fails if merges fail.
    pub(super) fn wait_for_room(&self) -> Result<()> {
        let mut progress = self.progress.lock();
        let mut has_waited = false;
        while self.state.runs().len() >= RUNS_LIMIT && !progress.is_stopping {
            if let (Some(failure), true) = (&progress.failure, has_waited) {
                return Err(failure.clone());
            }
            has_waited = true;
            progress.failure = None;
            progress.is_wanted = true;
            self.wake.notify_all();
            self.merged.wait(&mut progress);
        }
        Ok(())
    }

    pub(super) fn wait_until_idle(&self) -> Result<()> {
        let mut progress = self.progress.lock();
        while (progress.is_wanted || progress.is_running) && !progress.is_stopping {
            self.merged.wait(&mut progress);
        }
        progress.failure.clone().map_or(Ok(()), Err)
    }

    fn merge_what_is_due(&self) {
        loop {
            let runs = self.state.runs();
            let Some(picked) = due(&runs) else {
                return;
            };
            let merged = self.merge(&runs, picked);
            drop(runs);
            let mut progress = self.progress.lock();
            progress.failure = merged.err();
            if let Some(error) = &progress.failure {
                if error.reason() != STOPPING {
                    tracing::error!(%error, "run files could not be merged; it is tried again after the next checkpoint");
                }
                return;
            }
            self.merged.notify_all();
        }
    }

    /// Makes one run of adjacent ones.
    fn merge(&self, runs: &[Listed], picked: Range<usize>) -> Result<()> {
        let started = Instant::now();
        // Runs are only added as the newest: the oldest stays the oldest, and nothing is below it to be deleted.
        let keeps_deletes = picked.end < runs.len();
        let inputs = &runs[picked];
        let writer = self
            .state
            .merge(inputs, keeps_deletes, &|| self.check_stopping())?;
        let outcome = self.state.end_run(writer)?;
        self.state.replace(inputs, outcome)?;
        tracing::debug!(
            runs = inputs.len(),
            elapsed_ms = started.elapsed().as_millis() as u64,
            "merged run files"
        );
        Ok(())
    }

    fn check_stopping(&self) -> Result<()> {
        if self.progress.lock().is_stopping {
            return Err(Error::new(ErrorKind::Cancelled, STOPPING, "the store is closing"));
        }
        Ok(())
    }
}

/// The runs to merge next, if any; `runs` are newest first.
fn due(runs: &[Listed]) -> Option<Range<usize>> {
    let footers = || runs.iter().map(|listed| listed.run.footer());
    let keys: u64 = footers().map(|footer| footer.counts.keys).sum();
    let deletes: u64 = footers().map(|footer| footer.deletes).sum();
    // What is deleted takes space and time of scans until it meets what deletes it.
    if deletes * DELETES_SHARE > keys {
        return Some(0..runs.len());
    }
    let sizes: Vec<u64> = runs
        .iter()
        .map(|listed| listed.run.written().file_bytes)
        .collect();
    due_by_size(&sizes).or_else(|| {
        // What was removed by prefix still takes space.
        let place = runs.iter().position(|listed| !listed.hidden.is_empty())?;
        Some(place..place + 1)
    })
}

fn due_by_size(sizes: &[u64]) -> Option<Range<usize>> {
    let mut newer = 0;
    let mut end = 0;
    for (place, size) in sizes.iter().enumerate() {
        // A third, for runs of equal size; half leaves room for runs that are not quite.
        if place + 1 >= FACTOR && size * 2 <= newer {
            end = place + 1;
        }
        newer += size;
    }
    if end > 0 {
        return Some(0..end);
    }
    if sizes.len() <= RUNS_MAX {
        return None;
    }
    let count = sizes.len() - RUNS_MAX + 1;
    let windows = sizes.windows(count).map(|window| window.iter().sum::<u64>());
    let (place, _) = windows.enumerate().min_by_key(|(_, bytes)| *bytes)?;
    Some(place..place + count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds runs of these sizes, merging whenever that is due; gives the runs left, and bytes written by merges.
    fn after(flushes: impl Iterator<Item = u64>) -> (Vec<u64>, u64) {
        let (mut runs, mut written) = (Vec::new(), 0);
        for bytes in flushes {
            runs.insert(0, bytes);
            while let Some(picked) = due_by_size(&runs) {
                let merged = runs.splice(picked.clone(), None).sum();
                written += merged;
                runs.insert(picked.start, merged);
            }
            assert!(runs.len() <= RUNS_MAX);
        }
        (runs, written)
    }

    #[test]
    fn equal_runs_are_written_about_as_often_as_they_grow_fourfold() {
        let (_, written) = after((0..256).map(|number| 1000 + number % 7));
        assert!(written < 5 * 256 * 1003, "{written}");
    }

    #[test]
    fn there_are_never_many_runs_whatever_their_sizes() {
        let (runs, _) = after((0..40).rev().map(|power| 1 << power));
        assert!(runs.len() <= RUNS_MAX);
        let (runs, _) = after((0..40).map(|power| 1 << power));
        assert!(runs.len() <= RUNS_MAX);
    }
}
