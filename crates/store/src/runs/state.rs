//! What the state is made of at a moment: tables in memory and the list of runs. Changes of the list are made durable
//! here, one at a time.

mod files;

use super::cache::BlockCache;
use super::filter::{Counts, KeyHash, StartHashes};
use super::manifest::{self, ListedRun, Manifest};
use super::merge::Source;
use super::run::{Range, Run};
use super::table::{Head, Table};
use super::{Listed, Writes};
use crate::keys;
use crate::kv::Kv;
use crate::writes::SortedWrites;
use parking_lot::{Mutex, MutexGuard, RwLock};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use viewfeed_change::{Epoch, Error, Result};

/// A table is written as a run when it has so many bytes, whether a flush was asked for or not …
const TABLE_BYTES_MAX: usize = 64 << 20;
/// … or this part of the memory there is …
const TABLE_SHARE: usize = 8;
/// … but not with less than this.
const TABLE_BYTES_MIN: usize = 64 << 10;

/// The right to turn tables into runs.
#[derive(Default)]
pub(super) struct Writing;

pub(super) struct State {
    pub(super) dir: PathBuf,
    pub(super) small: Arc<dyn Kv>,
    cache: Arc<BlockCache>,
    view: RwLock<View>,
    next_id: AtomicU64,
    /// Held by who writes tables as runs, or removes from both.
    pub(super) writing: Mutex<Writing>,
    /// Held while the list of runs changes: up to which epoch it has the files that the log names.
    listing: Mutex<Epoch>,
    /// Files that were there when this was opened, and that the list did not name.
    unlisted: Mutex<Vec<PathBuf>>,
    #[cfg(test)]
    pub(super) watcher: super::tests::Watcher,
}

/// Newest first: `active`, `frozen`, `runs`.
struct View {
    active: Table,
    /// What is being written as a run.
    frozen: Option<Arc<Table>>,
    runs: Arc<Vec<Listed>>,
}

/// What a scan of a range needs, as of one moment.
pub(super) struct Part {
    /// Entries of the active table.
    pub(super) head: Head,
    /// Where `head` is cut; None if it is all of the range.
    pub(super) head_end: Option<Vec<u8>>,
    pub(super) frozen: Option<Arc<Table>>,
    pub(super) runs: Arc<Vec<Listed>>,
}

impl Part {
    /// Of runs alone.
    pub(super) fn of_runs(runs: Arc<Vec<Listed>>) -> Self {
        Self {
            head: Head::default(),
            head_end: None,
            frozen: None,
            runs,
        }
    }
}

/// A point in a change of the files, for tests of what a crash leaves there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A run file is on disk, the list does not name it.
    Written,
    /// The new list is on disk, the old one in memory.
    Listed,
    /// Everybody uses the new list.
    Published,
}

impl State {
    pub(super) fn open(dir: &Path, small: Arc<dyn Kv>, cache: Arc<BlockCache>) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let manifest = match find_manifest(dir, small.as_ref())? {
            Some(manifest) => manifest,
            None => {
                let none = Manifest::default();
                small.apply(&Writes::from([(manifest::key(), Some(none.encode()))]))?;
                none
            }
        };
        let open = |ListedRun { written, hidden }| {
            let run = Arc::new(Run::open(dir, written, &cache)?);
            Ok(Listed { run, hidden })
        };
        let runs = manifest.runs.into_iter().map(open).collect::<Result<Vec<_>>>()?;
        // The log may name files that no list does.
        let mut files = run_files(dir)?;
        let used = files.iter().filter_map(|path| run_id(path)).max();
        let next_id = manifest.next_id.max(used.map_or(0, |id| id.saturating_add(1)));
        files.retain(|path| !runs.iter().any(|listed| listed.run.path() == path));
        Ok(Self {
            dir: dir.to_owned(),
            small,
            cache,
            view: RwLock::new(View {
                active: Table::default(),
                frozen: None,
                runs: Arc::new(runs),
            }),
            next_id: AtomicU64::new(next_id),
            writing: Mutex::default(),
            listing: Mutex::new(manifest.adopted),
            unlisted: Mutex::new(files),
            #[cfg(test)]
            watcher: Mutex::default(),
        })
    }

    /// Removes run files that were there when this was opened and that no list names: what a crash left of a run that was being
    /// written, or merged away.
    pub(super) fn remove_orphans(&self) -> Result<()> {
        let runs = self.runs();
        for path in std::mem::take(&mut *self.unlisted.lock()) {
            if runs.iter().any(|listed| listed.run.path() == path) {
                continue;
            }
            match fs::remove_file(&path) {
                Ok(()) => {
                    tracing::info!(file = %path.display(), "removed a run file that is no part of the state");
                }
                // It was adopted, and has been merged since.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::from(error)),
            }
        }
        Ok(())
    }

    pub(super) fn runs(&self) -> Arc<Vec<Listed>> {
        self.view.read().runs.clone()
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let (frozen, runs) = {
            let view = self.view.read();
            if let Some(value) = view.active.get(key) {
                return Ok(value.clone());
            }
            (view.frozen.clone(), view.runs.clone())
        };
        if let Some(value) = frozen.as_ref().and_then(|table| table.get(key)) {
            return Ok(value.clone());
        }
        find_in(&runs, key, KeyHash::of(key))
    }

    /// The runs, if nothing is in tables.
    pub(super) fn only_runs(&self) -> Option<Arc<Vec<Listed>>> {
        let view = self.view.read();
        let has_tables = view.frozen.is_some() || !view.active.is_empty();
        (!has_tables).then(|| view.runs.clone())
    }

    /// What `from..to` is made of, with at most `limit` entries of the active table.
    pub(super) fn part(&self, from: &[u8], to: Option<&[u8]>, limit: usize) -> Part {
        let view = self.view.read();
        let mut part = Part {
            head: Head::default(),
            head_end: None,
            frozen: view.frozen.clone(),
            runs: view.runs.clone(),
        };
        for (key, value) in view.active.range(from, to) {
            if part.head.len() == limit {
                part.head_end = Some(key.to_vec());
                break;
            }
            part.head.push(key, value);
        }
        part
    }

    /// Puts writes in the active table; gives its bytes.
    pub(super) fn put(&self, writes: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> usize {
        let (before, after) = {
            let active = &mut self.view.write().active;
            let before = active.bytes();
            for (key, value) in writes {
                active.put(key, value);
            }
            (before, active.bytes())
        };
        self.cache.reserve(after - before);
        after
    }

    /// Bytes of memory everything here takes: blocks, indexes, filters, tables.
    pub(super) fn memory_bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// Notes how much memory is taken above.
    pub(super) fn set_memory_above(&self, bytes: usize) {
        self.cache.set_above(bytes);
    }

    /// The bytes of a table that is to be written as a run.
    pub(super) fn table_bytes_max(&self) -> usize {
        let share = self.cache.bytes_max() / TABLE_SHARE;
        share.clamp(TABLE_BYTES_MIN, TABLE_BYTES_MAX)
    }

    /// Writes one table as a run; false if there is none. A table that could not be written stays, for the next call.
    pub(super) fn write_table(&self, _right: &MutexGuard<'_, Writing>) -> Result<bool> {
        let frozen = {
            let mut view = self.view.write();
            if view.frozen.is_none() && !view.active.is_empty() {
                view.frozen = Some(Arc::new(std::mem::take(&mut view.active)));
            }
            view.frozen.clone()
        };
        let Some(table) = frozen else {
            return Ok(false);
        };
        let keeps_deletes = self.prepare_run()?;
        let mut writer = self.start_run(&Counts::of(table.keys()))?;
        for (key, value) in table.range(&[], None) {
            if value.is_some() || keeps_deletes {
                writer.add(key, value)?;
            }
        }
        let run = self.end_run(writer)?;
        let table_bytes = table.bytes();
        drop(table);
        self.list_first(run, |view| view.frozen = None)?;
        self.cache.release(table_bytes);
        Ok(true)
    }

    /// Writes the bulk among `layers` (the newest first) as one run, over all there is, and the rest to the small database.
    /// There must be no tables.
    pub(super) fn write_layers(
        &self,
        _right: &MutexGuard<'_, Writing>,
        layers: &[Arc<SortedWrites>],
        go_on: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        let keeps_deletes = self.prepare_run()?;
        let mut small = Writes::new();
        let writer = self.write_bulk(layers, keeps_deletes, go_on, &mut |key, value| {
            small.insert(key.to_vec(), value.map(<[u8]>::to_vec));
        })?;
        if !small.is_empty() {
            self.small.apply(&small)?;
        }
        match writer {
            Some(writer) => self.list_first(self.end_run(writer)?, |_| ()),
            None => Ok(()),
        }
    }

    /// Makes runs that were written apart, the newest first, a part of the state: over all there is, with the files that the log names up
    /// to `epoch`. There must be no tables.
    pub(super) fn adopt(
        &self,
        _right: &MutexGuard<'_, Writing>,
        epoch: Epoch,
        runs: &[Listed],
    ) -> Result<()> {
        let change = |listed: &[Listed]| Ok(runs.iter().chain(listed).cloned().collect());
        self.relist_as(Some(epoch), change, |_| ())
    }

    /// Up to which epoch the files that the log names are a part of the state.
    pub(super) fn adopted(&self) -> Epoch {
        *self.listing.lock()
    }

    /// Whether a new run must keep deletes: without an older one there is nothing to delete.
    pub(super) fn prepare_run(&self) -> Result<bool> {
        let has_runs = !self.runs().is_empty();
        if !has_runs {
            // Files without a list would be taken for damage: the empty one of a new folder goes first.
            self.small.flush()?;
        }
        Ok(has_runs)
    }

    /// Puts a new run before all others.
    fn list_first(&self, run: Option<Arc<Run>>, publish: impl FnOnce(&mut View)) -> Result<()> {
        let new = run.map(|run| Listed {
            run,
            hidden: Vec::new(),
        });
        let list = |runs: &[Listed]| Ok(new.into_iter().chain(runs.iter().cloned()).collect());
        self.relist(list, publish)
    }

    /// Removes every key that starts with `prefix`.
    pub(super) fn hide(&self, right: &MutexGuard<'_, Writing>, prefix: &[u8]) -> Result<()> {
        if self.view.read().frozen.is_some() {
            self.write_table(right)?;
        }
        let end = keys::prefix_end(prefix);
        let range = Range {
            from: prefix,
            to: end.as_deref(),
            start: StartHashes::of(prefix),
        };
        let hide = |listed: &Listed| {
            let mut listed = listed.clone();
            let has_some = match Source::run(&listed, &range)? {
                Some(source) => source.key().is_some(),
                None => false,
            };
            if has_some {
                listed.hidden.push(prefix.to_vec());
            }
            Ok(listed)
        };
        self.relist(
            |runs| runs.iter().map(hide).collect(),
            |view| view.active.remove_prefix(prefix),
        )
    }

    /// Puts `outcome` where `inputs` are, which are adjacent; their files go with their last reader. What was removed
    /// from them meanwhile is hidden in `outcome`.
    pub(super) fn replace(&self, inputs: &[Listed], outcome: Option<Arc<Run>>) -> Result<()> {
        let first = &inputs[0];
        let change = |runs: &[Listed]| {
            let is_first = |listed: &Listed| Arc::ptr_eq(&listed.run, &first.run);
            let place = runs
                .iter()
                .position(is_first)
                .expect("only the merger removes runs");
            let mut list = runs.to_vec();
            let replaced = list.splice(place..place + inputs.len(), None);
            let mut hidden: Vec<Vec<u8>> = replaced
                .zip(inputs)
                .flat_map(|(now, then)| now.hidden.into_iter().skip(then.hidden.len()))
                .collect();
            hidden.sort_unstable();
            hidden.dedup();
            if let Some(run) = outcome {
                list.insert(place, Listed { run, hidden });
            }
            Ok(list)
        };
        self.relist(change, |_| ())?;
        for input in inputs {
            input.run.make_obsolete();
        }
        Ok(())
    }

    /// Makes a new list of runs durable, then everybody's. After a failure the old one goes on; which one is on disk
    /// cannot be said, so no file of either may be removed (what is left over, the next open removes).
    fn relist(
        &self,
        change: impl FnOnce(&[Listed]) -> Result<Vec<Listed>>,
        publish: impl FnOnce(&mut View),
    ) -> Result<()> {
        self.relist_as(None, change, publish)
    }

    /// The same, with the files that the log names up to another epoch.
    fn relist_as(
        &self,
        adopted: Option<Epoch>,
        change: impl FnOnce(&[Listed]) -> Result<Vec<Listed>>,
        publish: impl FnOnce(&mut View),
    ) -> Result<()> {
        // Held to the end, so that lists become durable one at a time.
        let mut listing = self.listing.lock();
        let adopted = adopted.unwrap_or(*listing);
        let runs = change(&self.runs())?;
        let manifest = Manifest {
            next_id: self.next_id.load(Ordering::Relaxed),
            adopted,
            runs: runs
                .iter()
                .map(|Listed { run, hidden }| ListedRun {
                    written: run.written(),
                    hidden: hidden.clone(),
                })
                .collect(),
        };
        self.small
            .apply(&Writes::from([(manifest::key(), Some(manifest.encode()))]))?;
        self.small.flush()?;
        *listing = adopted;
        self.reached(Step::Listed);
        let mut view = self.view.write();
        view.runs = Arc::new(runs);
        publish(&mut view);
        drop(view);
        self.reached(Step::Published);
        Ok(())
    }

    #[cfg(test)]
    fn reached(&self, step: Step) {
        if let Some(watcher) = self.watcher.lock().as_mut() {
            watcher(step);
        }
    }

    #[cfg(not(test))]
    fn reached(&self, _: Step) {}
}

/// The value of `key` in `runs`, newest first.
pub(super) fn find_in(runs: &[Listed], key: &[u8], hash: KeyHash) -> Result<Option<Vec<u8>>> {
    for Listed { run, hidden } in runs {
        let is_hidden = hidden.iter().any(|prefix| key.starts_with(prefix));
        if !is_hidden && let Some(value) = run.get(key, hash)? {
            return Ok(value);
        }
    }
    Ok(None)
}

/// The list of the runs in `dir`. Fails as `Corrupt` if there are runs and no list, which is made before the first run.
pub(super) fn find_manifest(dir: &Path, small: &dyn Kv) -> Result<Option<Manifest>> {
    if let Some(value) = small.get(&manifest::key())? {
        return Manifest::decode(value).map(Some);
    }
    if dir.exists() && !run_files(dir)?.is_empty() {
        let message = format!("there are run files in {}, but no list of them", dir.display());
        return Err(Error::corrupt(message).hint("restore the whole data folder from a backup"));
    }
    Ok(None)
}

/// The number in the name of a run file.
fn run_id(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.parse().ok()
}

fn run_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "run") {
            paths.push(path);
        }
    }
    Ok(paths)
}
