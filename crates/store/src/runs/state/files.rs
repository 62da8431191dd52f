//! Run files being written: what goes into one, and when it is on disk. That one is a part of the state is left to its list.

use super::{State, Step};
use crate::folder::sync_dir;
use crate::keys;
use crate::kv::BATCH_KEYS;
use crate::layers::merged;
use crate::runs::Listed;
use crate::runs::filter::Counts;
use crate::runs::merge::{Merge, Source};
use crate::runs::run::Run;
use crate::runs::writer::{RunWriter, WrittenRun};
use crate::writes::SortedWrites;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use viewfeed_change::Result;

/// What is called with each write.
type EachWrite<'a> = dyn FnMut(&[u8], Option<&[u8]>) + 'a;

impl State {
    /// Writes the bulk among `layers` (the newest first) to a file, if there is any; the rest is given to `small`.
    pub(in crate::runs) fn write_bulk(
        &self,
        layers: &[Arc<SortedWrites>],
        keeps_deletes: bool,
        go_on: &dyn Fn() -> Result<()>,
        small: &mut EachWrite<'_>,
    ) -> Result<Option<RunWriter>> {
        let mut writer = None;
        for (count, (key, value)) in merged(layers).enumerate() {
            if count % BATCH_KEYS == 0 {
                go_on()?;
            }
            if !keys::is_bulk(key) {
                small(key, value);
            } else if value.is_some() || keeps_deletes {
                let writer = match &mut writer {
                    Some(writer) => writer,
                    none => none.insert(self.start_run(&bulk_counts(layers))?),
                };
                writer.add(key, value)?;
            }
        }
        Ok(writer)
    }

    /// Writes what is in runs, the newest first, to one file.
    pub(in crate::runs) fn merge(
        &self,
        inputs: &[Listed],
        keeps_deletes: bool,
        go_on: &dyn Fn() -> Result<()>,
    ) -> Result<RunWriter> {
        let counts = inputs.iter().map(|listed| listed.run.footer().counts);
        let at_most = counts.fold(Counts::default(), |sum, counts| sum.plus(&counts));
        let mut merge = Merge::new(inputs.iter().map(Source::whole).collect::<Result<_>>()?);
        let mut writer = self.start_run(&at_most)?;
        let mut entries = 0usize;
        while let Some((key, value)) = merge.next()? {
            if value.is_some() || keeps_deletes {
                writer.add(key, value)?;
            }
            entries += 1;
            if entries.is_multiple_of(BATCH_KEYS) {
                go_on()?;
            }
        }
        Ok(writer)
    }

    /// A new run file.
    pub(in crate::runs) fn start_run(&self, at_most: &Counts) -> Result<RunWriter> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        RunWriter::create(&self.dir, id, at_most)
    }

    /// The run, when its file is on disk; None if nothing was written.
    pub(in crate::runs) fn end_run(&self, writer: RunWriter) -> Result<Option<Arc<Run>>> {
        let run = self.end_run_unsynced(writer)?;
        if let Some(run) = &run {
            run.sync()?;
            self.sync_names()?;
            self.reached(Step::Written);
        }
        Ok(run)
    }

    /// The run, whose file is not on disk for sure; None if nothing was written.
    pub(in crate::runs) fn end_run_unsynced(&self, writer: RunWriter) -> Result<Option<Arc<Run>>> {
        if writer.is_empty() {
            return Ok(None);
        }
        self.open_run(writer.finish()?).map(Some)
    }

    /// Returns when the names of all files are on disk.
    pub(in crate::runs) fn sync_names(&self) -> Result<()> {
        Ok(sync_dir(&self.dir)?)
    }

    /// The run in a file that the log names.
    pub(in crate::runs) fn open_run(&self, written: WrittenRun) -> Result<Arc<Run>> {
        Ok(Arc::new(Run::open(&self.dir, written, &self.cache)?))
    }
}

/// How many keys of `layers` belong in runs.
fn bulk_counts(layers: &[Arc<SortedWrites>]) -> Counts {
    let keys = merged(layers).map(|(key, _)| key);
    Counts::of(keys.filter(|key| keys::is_bulk(key)))
}
