//! What the loop is asked to do, and the queue it takes it from.

use super::StatementAnswer;
use arrow::array::RecordBatch;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use viewfeed_catalog::{CompiledModule, Diagnostic, Module};
use viewfeed_change::{Delta, Epoch, RelationId, Relations, Result, Timestamp};
use viewfeed_engine::ViewReport;
use viewfeed_query::Parsed;
use viewfeed_source::embedded::Operation;
use viewfeed_source::postgres::{Applied, Settings, Work};
use viewfeed_store::Txn;

/// Jobs that may wait; senders wait beyond it.
const QUEUE_JOBS_MAX: usize = 4096;
/// Jobs taken into one epoch.
const EPOCH_JOBS_MAX: usize = 4096;
/// Rows taken into one epoch from jobs that say how many they have (a single job may have more).
const EPOCH_ROWS_MAX: usize = 100_000;

/// What a committed job learns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Committed {
    /// The epoch it became visible in.
    pub(crate) version: Epoch,
    /// When.
    pub(crate) commit_time: Timestamp,
}

/// Rows for one table without SQL.
pub(crate) struct Write {
    pub(crate) table: RelationId,
    pub(crate) operation: Operation,
    pub(crate) rows: RecordBatch,
}

/// What a session did on its own, to be taken over if nobody changed what it touched.
pub(crate) struct Shadow {
    pub(crate) txn: Txn,
    pub(crate) base: Epoch,
    pub(crate) relations: Arc<Relations>,
    pub(crate) changes: Vec<Delta>,
    pub(crate) touched: BTreeSet<RelationId>,
}

/// One thing to do, as one transaction.
pub(crate) enum Job {
    Write {
        write: Write,
        reply: viewfeed_server::Reply,
    },
    Script {
        statements: Vec<Parsed>,
        search_schema: String,
        reply: oneshot::Sender<Result<(Vec<StatementAnswer>, Committed)>>,
    },
    Adopt {
        shadow: Box<Shadow>,
        reply: oneshot::Sender<Result<((), Committed)>>,
    },
    Module {
        compiled: Box<CompiledModule>,
        reply: oneshot::Sender<Result<Arc<Module>, Vec<Diagnostic>>>,
    },
    /// Something a source asks for, or that is asked of it.
    Source {
        source: String,
        job: SourceJob,
        reply: oneshot::Sender<Result<(Applied, Committed)>>,
    },
    /// Time has passed: views that follow the clock are brought up to it.
    Tick,
    /// What is known about every view; nothing is read.
    Report { reply: oneshot::Sender<Vec<ViewReport>> },
}

impl Job {
    /// Whether it needs an epoch of its own: what changes views seals the transaction, and cannot be rolled back alone.
    fn is_exclusive(&self) -> bool {
        match self {
            Self::Script { statements, .. } => !statements.iter().all(super::statement::only_writes_rows),
            Self::Module { .. } => true,
            Self::Source { job, .. } => job.is_exclusive(),
            Self::Write { .. } | Self::Adopt { .. } | Self::Tick | Self::Report { .. } => false,
        }
    }

    fn rows(&self) -> usize {
        match self {
            Self::Write { write, .. } => write.rows.num_rows(),
            Self::Source {
                job: SourceJob::Work(work),
                ..
            } => work.rows(),
            _ => 1,
        }
    }
}

/// What is done about a source.
pub(crate) enum SourceJob {
    /// It comes into being, or its settings change.
    Put(Box<Settings>),
    /// It goes, with its tables.
    Drop,
    /// What it brings.
    Work(Work),
}

impl SourceJob {
    fn is_exclusive(&self) -> bool {
        match self {
            Self::Put(_) | Self::Drop => true,
            Self::Work(work) => work.is_exclusive(),
        }
    }
}

/// The loop's end of the queue.
pub(crate) struct Jobs {
    receiver: mpsc::Receiver<Job>,
    /// Taken from the queue, but not fit for the epoch it was taken for.
    held: Option<Job>,
}

/// The queue of jobs.
pub(crate) fn queue() -> (mpsc::Sender<Job>, Jobs) {
    let (sender, receiver) = mpsc::channel(QUEUE_JOBS_MAX);
    (sender, Jobs { receiver, held: None })
}

impl Jobs {
    /// Whether a job waits.
    pub(super) fn is_waiting(&self) -> bool {
        self.held.is_some() || !self.receiver.is_empty()
    }

    /// Waits for a job (not if there is something else to do, `is_busy`), then takes whatever waits behind it, within the
    /// limits of one epoch. None: no more senders.
    pub(super) fn gather(&mut self, is_busy: bool) -> Option<Vec<Job>> {
        let first = match self.held.take() {
            Some(job) => job,
            None if is_busy => match self.receiver.try_recv() {
                Ok(job) => job,
                Err(mpsc::error::TryRecvError::Empty) => return Some(Vec::new()),
                Err(mpsc::error::TryRecvError::Disconnected) => return None,
            },
            None => self.receiver.blocking_recv()?,
        };
        let (alone, mut rows) = (first.is_exclusive(), first.rows());
        let mut jobs = vec![first];
        while !alone && jobs.len() < EPOCH_JOBS_MAX && rows < EPOCH_ROWS_MAX {
            let Ok(job) = self.receiver.try_recv() else { break };
            if job.is_exclusive() {
                self.held = Some(job);
                break;
            }
            rows += job.rows();
            jobs.push(job);
        }
        Some(jobs)
    }
}
