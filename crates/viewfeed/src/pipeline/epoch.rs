//! An epoch while it is open: what has been applied to it so far.

use super::Committed;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::oneshot;
use viewfeed_change::{
    Batch, Delta, Error, Position, RelationId, Relations, Result, SourceId, Timestamp, Transaction,
    TransactionId,
};
use viewfeed_source::embedded::{Outcome, SOURCE};
use viewfeed_source::postgres::IngestedTransaction;
use viewfeed_store::{EpochRecord, Txn};

/// Transactions of one epoch that can be told apart: the id of a transaction is its epoch and its place in it.
const TRANSACTION_BITS: u32 = 20;
/// Of the ids of changes that are no transaction of their source: no position of a log gets there.
const OWN_ID: u64 = 1 << 63;

/// What a statement of a script answers.
pub(crate) enum StatementAnswer {
    /// It wrote, and perhaps returned rows.
    Wrote(Outcome),
    /// It only read.
    Read(arrow::datatypes::SchemaRef, Vec<arrow::array::RecordBatch>),
    /// It changed what exists.
    Done {
        /// For example `CREATE MATERIALIZED VIEW`.
        command: &'static str,
        /// For the user.
        notices: Vec<String>,
    },
}

/// Called once the epoch is committed or has failed.
pub(super) type Answer = Box<dyn FnOnce(Result<Committed>) + Send>;

/// Where a job's answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<(T, Committed)>>;

/// The open epoch.
pub(super) struct OpenEpoch {
    pub(super) txn: Txn,
    /// The relations as this epoch leaves them.
    pub(super) relations: Arc<Relations>,
    /// The one time of this epoch.
    pub(super) now: Timestamp,
    /// Table changes the views have not seen yet.
    pub(super) pending: Vec<Delta>,
    pub(super) view_deltas: Vec<Delta>,
    pub(super) answers: Vec<Answer>,
    /// Views that were begun and are waited for.
    pub(super) awaited: Vec<RelationId>,
    /// Who waits for a view that was begun here to be complete.
    pub(super) begun: Vec<(RelationId, Answer)>,
    /// Views whose filling came to an end, and why, if they are not complete.
    pub(super) filled: Vec<(RelationId, Option<Error>)>,
    /// Views that follow the clock are due, whether or not anything else changed.
    pub(super) has_ticked: bool,
    /// A job failed in a way that only dropping the whole epoch can undo.
    pub(super) is_broken: bool,
    transactions: Vec<Transaction>,
    /// How many transactions there were, those included that have been written.
    transactions_made: u64,
    /// What changed in parts that have been written; None if there are none.
    written: Option<BTreeSet<RelationId>>,
}

impl OpenEpoch {
    pub(super) fn new(txn: Txn, relations: Arc<Relations>, now: Timestamp) -> Self {
        Self {
            txn,
            relations,
            now,
            pending: Vec::new(),
            view_deltas: Vec::new(),
            answers: Vec::new(),
            awaited: Vec::new(),
            begun: Vec::new(),
            filled: Vec::new(),
            has_ticked: false,
            is_broken: false,
            transactions: Vec::new(),
            transactions_made: 0,
            written: None,
        }
    }

    /// Answers a job: its failure at once, its success when the epoch is committed, or when the last view that it began
    /// and waits for is complete.
    pub(super) fn answer<T: Send + 'static>(&mut self, done: Result<T>, reply: Reply<T>) {
        let awaited = std::mem::take(&mut self.awaited).pop();
        match done {
            Ok(value) => {
                let answer: Answer = Box::new(move |committed| {
                    // The asker may be gone; then nobody is told.
                    let _ = reply.send(committed.map(|committed| (value, committed)));
                });
                match awaited {
                    Some(view) => self.begun.push((view, answer)),
                    None => self.answers.push(answer),
                }
            }
            Err(error) => {
                let _ = reply.send(Err(error));
            }
        }
    }

    /// Adds a transaction of the embedded store, whose changes are already among those pending.
    pub(super) fn push_transaction(&mut self, changes: Vec<Delta>) {
        if changes.is_empty() {
            return;
        }
        let transaction = Transaction {
            source: SourceId::new(SOURCE),
            id: TransactionId(self.next_id()),
            position: Position(self.txn.epoch().0.to_be_bytes().to_vec()),
            commit_time: self.now,
            changes,
        };
        self.push(transaction);
    }

    /// Adds a transaction of another source, or the next piece of the last one; its changes are already among those pending.
    pub(super) fn push_from(&mut self, source: &str, transaction: IngestedTransaction) {
        let (id, commit_time) = match transaction.time {
            Some(time) => (TransactionId(transaction.end.0), time),
            None => (TransactionId(OWN_ID | self.next_id()), self.now),
        };
        if let Some(last) = self.transactions.last_mut()
            && last.id == id
            && *last.source.0 == *source
        {
            last.changes.extend(transaction.changes);
            return;
        }
        self.push(Transaction {
            source: SourceId::new(source),
            id,
            position: transaction.end.to_position(),
            commit_time,
            changes: transaction.changes,
        });
    }

    fn push(&mut self, transaction: Transaction) {
        self.transactions.push(transaction);
        self.transactions_made += 1;
    }

    fn next_id(&self) -> u64 {
        self.txn.epoch().0 << TRANSACTION_BITS | self.transactions_made
    }

    /// What its writes and what feeds read of it take in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        let changes = self
            .transactions
            .iter()
            .flat_map(|transaction| &transaction.changes);
        let deltas = changes.chain(&self.view_deltas);
        let bytes = deltas.map(|delta| delta.batch.rows().get_array_memory_size());
        bytes.sum::<usize>() + self.txn.memory_bytes()
    }

    /// Notes that a part of it was written.
    pub(super) fn note_written(&mut self, record: &EpochRecord) {
        let written = self.written.get_or_insert_default();
        written.extend(changed_in(record));
    }

    /// What changed in parts that have been written; None if there are none.
    pub(super) fn take_written(&mut self) -> Option<BTreeSet<RelationId>> {
        self.written.take()
    }

    /// Whether anything was written.
    pub(super) fn is_changed(&self) -> bool {
        !self.txn.is_empty()
    }

    /// Whether a transaction of this epoch changed `relation`.
    pub(super) fn has_changed(&self, relation: RelationId) -> bool {
        self.pending.iter().any(|delta| delta.relation == relation)
    }

    /// What is logged, from the last part on: one consolidated delta per view, however many steps it took.
    pub(super) fn record(&mut self) -> Result<EpochRecord> {
        let mut by_view: BTreeMap<RelationId, Vec<Batch>> = BTreeMap::new();
        for delta in self.view_deltas.drain(..) {
            by_view.entry(delta.relation).or_default().push(delta.batch);
        }
        let mut deltas = Vec::with_capacity(by_view.len());
        for (relation, mut batches) in by_view {
            let batch = if batches.len() == 1 {
                batches.remove(0)
            } else {
                Batch::concat(&batches[0].schema(), &batches)?.consolidate()?
            };
            if !batch.is_empty() {
                deltas.push(Delta { relation, batch });
            }
        }
        let transactions = std::mem::take(&mut self.transactions);
        let schema_versions = self
            .relations
            .iter()
            .map(|relation| (relation.id, relation.schema_version))
            .collect();
        Ok(EpochRecord {
            commit_time: self.now,
            transactions,
            deltas,
            schema_versions,
        })
    }
}

/// The relations that a record says something of.
pub(super) fn changed_in(record: &EpochRecord) -> impl Iterator<Item = RelationId> {
    let transactions = record.transactions.iter();
    let changes = transactions.flat_map(|transaction| &transaction.changes);
    changes.chain(&record.deltas).map(|delta| delta.relation)
}
