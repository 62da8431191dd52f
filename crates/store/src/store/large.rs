//! Epochs that are larger than memory: written in parts while they are open, committed all at once.
//!
//! ```text
//! write_part ──► writes:  run files that are no part of the state     what feeds read: parts of a record in the log
//! commit     ──► the Kv is brought up to the epoch before ─► the last part, which names the files, is on disk = the commit point
//!                ─► the files are listed over all there is ─► new readers
//! ```
//!
//! Before the commit point a crash leaves files nobody names and parts without a last one, which the next open removes; after it,
//! the next open lists the files, if that was not done.

use super::{EpochRecord, Inner, Store};
use crate::checkpoint;
use crate::committed::Committed;
use crate::log::Redo;
use crate::txn::Finished;
use crate::{RunsKv, Txn};
use std::sync::Arc;
use viewfeed_change::{Epoch, Error, Result};

impl Store {
    /// An open epoch that takes more bytes than this should be [written](Store::write_part) before it goes on.
    pub fn part_bytes(&self) -> usize {
        self.inner.part_bytes
    }

    /// Moves what an open epoch has so far out of memory, between two of its steps: its writes to files, which are sealed by that and
    /// still read like all others, and `record`, which is what feeds will read of them, to the log. It stays open; dropped, it leaves
    /// nothing. The record of [`Store::commit`] is then what came after the last part. On failure the epoch must be dropped.
    ///
    /// Where the form is not [`super::Form::Runs`] the writes stay in memory.
    pub fn write_part(&self, txn: &mut Txn, record: &EpochRecord) -> Result<()> {
        let inner = &self.inner;
        inner.check_ours(txn)?;
        match inner.committed.kv.as_runs() {
            Some(runs) => txn.spill(runs)?,
            None => txn.seal(),
        }
        let epoch = txn.epoch();
        let mut open = match txn.record.take() {
            Some(open) => open,
            // Larger than any segment: so it is dropped with no other history than its own.
            None => inner.log.begin(epoch, usize::MAX)?,
        };
        let entry = inner.entry(epoch, record);
        open.add(|output| entry.encode_more(output))?;
        txn.record = Some(open);
        Ok(())
    }
}

impl Finished {
    /// Whether parts of it were written.
    pub(super) fn is_large(&self) -> bool {
        self.record.is_some()
    }
}

impl Inner {
    /// Commits an epoch of which parts are in the log, and perhaps writes in files; gives the bytes of its record.
    pub(super) fn commit_large(&self, epoch: Epoch, finished: Finished, record: &EpochRecord) -> Result<u64> {
        let Finished {
            spilled,
            writes,
            record: open,
            held,
        } = finished;
        let runs = self.committed.kv.as_runs().filter(|_| !spilled.is_empty());
        // What can fail comes before the commit point.
        let way = match runs {
            Some(runs) => {
                runs.sync_spilled(&spilled)?;
                Some(self.checkpointer.make_way()?)
            }
            None => None,
        };
        let mut open = open.ok_or_else(|| Error::internal("a large epoch has no parts"))?;
        let entry = self.entry(epoch, record);
        spilled.keep();
        if let Err(error) = open.add(|output| entry.encode_last(&writes, &spilled.written(), output)) {
            spilled.abandon();
            return Err(error);
        }
        let bytes = open.close(record.commit_time);
        self.log.sync()?;
        if let Some(runs) = runs {
            self.committed.gaps.forget(epoch);
            runs.adopt(epoch, &spilled)
                .map_err(|error| self.log.refuse_more(error))?;
        }
        self.committed.publish(epoch, writes);
        drop((held, way));
        Ok(bytes)
    }
}

/// Applies what the log says of an epoch while the store is being opened; gives up to which epoch the Kv was brought, if it was.
pub(super) fn replay(committed: &Arc<Committed>, epoch: Epoch, redo: Redo) -> Result<Option<Epoch>> {
    let Redo { files, writes } = redo;
    let drained = match committed.kv.as_runs() {
        _ if files.is_empty() => None,
        Some(runs) if runs.adopted() >= epoch => None,
        Some(runs) => Some(adopt(committed, runs, epoch, &files)?),
        None => {
            return Err(
                Error::corrupt("the log names run files, and the state is in none")
                    .hint("restore the whole data folder from a backup"),
            );
        }
    };
    committed.publish(epoch, vec![Arc::new(writes)]);
    Ok(drained)
}

fn adopt(
    committed: &Committed,
    runs: &RunsKv,
    epoch: Epoch,
    files: &[crate::runs::WrittenRun],
) -> Result<Epoch> {
    let drained = checkpoint::drain_unread(committed)?;
    runs.adopt(epoch, &runs.open_spilled(files)?)?;
    Ok(drained)
}
