//! The tail of source transactions: from the log while behind, from memory when live.

use crate::feed::Shared;
use crate::frame::reason;
use crate::resume;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::task::{JoinHandle, spawn_blocking};
use viewfeed_change::row::RowCodec;
use viewfeed_change::{Batch, Delta, Epoch, Error, ErrorKind, RelationId, Result, Transaction};
use viewfeed_store::{LoggedDelta, LoggedEpoch, LoggedTransaction};

/// Rows read from the log at one time (whole epochs: the last may exceed it).
const READ_ROWS_MAX: usize = 16_384;

/// A source transaction with the epoch it became visible in.
#[derive(Clone, Debug)]
pub struct TailedTransaction {
    /// Which.
    pub epoch: Epoch,
    /// Its changes, only of the relations asked for; never empty.
    pub transaction: Transaction,
    /// Whether it is the last of its epoch: only then may a reader resume after `epoch`.
    pub last_of_epoch: bool,
}

/// A running tail of transactions.
pub struct TransactionTail {
    shared: Arc<Shared>,
    live: broadcast::Receiver<Arc<TailedEpoch>>,
    wanted: Wanted,
    /// Everything up to here is delivered or pending.
    after: Epoch,
    pending: VecDeque<TailedTransaction>,
    phase: Phase,
}

/// The transactions of a published epoch.
pub(crate) struct TailedEpoch {
    pub(crate) epoch: Epoch,
    pub(crate) transactions: Vec<Transaction>,
}

/// The tables asked for; none: all.
#[derive(Clone)]
struct Wanted(Arc<[RelationId]>);

enum Phase {
    /// The log is to be read.
    Behind,
    /// The log is being read.
    Reading(JoinHandle<Result<Read>>),
    Live,
    Done,
}

/// What was read from the log.
struct Read {
    transactions: Vec<TailedTransaction>,
    through: Epoch,
    complete: bool,
}

impl TransactionTail {
    /// `live` must miss nothing after the last published epoch.
    pub(crate) fn start(
        shared: Arc<Shared>,
        live: broadcast::Receiver<Arc<TailedEpoch>>,
        after: Option<Epoch>,
        relations: Vec<RelationId>,
    ) -> Result<Self> {
        let (after, phase) = match after {
            None => (shared.now().epoch, Phase::Live),
            Some(after) if after > shared.store.epoch() => {
                return Err(resume::gap_error(reason::HISTORY_LOST, &shared.store));
            }
            Some(after) if after < shared.store.oldest() => {
                return Err(resume::gap_error(reason::HISTORY_EXPIRED, &shared.store));
            }
            Some(after) => (after, Phase::Behind),
        };
        Ok(Self {
            shared,
            live,
            wanted: Wanted(relations.into()),
            after,
            pending: VecDeque::new(),
            phase,
        })
    }

    /// The next transaction; None when the server drains, or after an error. Safe to cancel. A reader that falls behind
    /// the live queue is continued from the log; behind the log's retention it fails as `OutOfRange`.
    pub async fn next(&mut self) -> Option<Result<TailedTransaction>> {
        loop {
            if let Some(transaction) = self.pending.pop_front() {
                return Some(Ok(transaction));
            }
            let stepped = match self.phase {
                Phase::Behind => self.open_log().await,
                Phase::Reading(_) => self.read_log().await,
                Phase::Live => self.follow().await,
                Phase::Done => return None,
            };
            if let Err(error) = stepped {
                self.phase = Phase::Done;
                return Some(Err(error));
            }
        }
    }

    async fn open_log(&mut self) -> Result<()> {
        if self.shared.is_draining() {
            self.phase = Phase::Done;
            return Ok(());
        }
        let permit = self.shared.permit().await?;
        // Epochs after this one are published from now on, so they reach `live`.
        let to = self.shared.store.epoch();
        self.shared.wait_for(to).await;
        if self.after >= to {
            self.phase = Phase::Live;
            return Ok(());
        }
        let (shared, wanted, after) = (self.shared.clone(), self.wanted.clone(), self.after);
        let task = spawn_blocking(move || {
            let _permit = permit;
            read(&shared, &wanted, after, to)
        });
        self.phase = Phase::Reading(task);
        Ok(())
    }

    async fn read_log(&mut self) -> Result<()> {
        let Phase::Reading(task) = &mut self.phase else {
            return Ok(());
        };
        let read = task.await;
        let read = read.map_err(|panic| Error::internal("reading the log failed").because(panic))?;
        let read = read.map_err(|error| match error.kind() {
            ErrorKind::OutOfRange if error.reason() != reason::SCHEMA_CHANGED => {
                resume::gap_error(reason::HISTORY_EXPIRED, &self.shared.store)
            }
            _ => error,
        })?;
        self.after = read.through;
        self.pending.extend(read.transactions);
        self.phase = if read.complete { Phase::Live } else { Phase::Behind };
        Ok(())
    }

    async fn follow(&mut self) -> Result<()> {
        match self.live.recv().await {
            Ok(tailed) if tailed.epoch > self.after => {
                self.after = tailed.epoch;
                let transactions = tailed.transactions.iter().cloned();
                self.pending.extend(self.wanted.pick(tailed.epoch, transactions));
            }
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => self.phase = Phase::Behind,
            Err(RecvError::Closed) => self.phase = Phase::Done,
        }
        Ok(())
    }
}

impl Wanted {
    fn includes(&self, relation: RelationId) -> bool {
        self.0.is_empty() || self.0.contains(&relation)
    }

    /// The wanted part of an epoch.
    fn pick(&self, epoch: Epoch, transactions: impl Iterator<Item = Transaction>) -> Vec<TailedTransaction> {
        let pick = |mut transaction: Transaction| {
            transaction
                .changes
                .retain(|delta| self.includes(delta.relation) && !delta.batch.is_empty());
            TailedTransaction {
                epoch,
                transaction,
                last_of_epoch: false,
            }
        };
        let mut picked: Vec<_> = transactions
            .map(pick)
            .filter(|tailed| !tailed.transaction.changes.is_empty())
            .collect();
        if let Some(last) = picked.last_mut() {
            last.last_of_epoch = true;
        }
        picked
    }
}

/// The wanted transactions after `after`, up to `to` or until there are many. Blocks.
fn read(shared: &Shared, wanted: &Wanted, after: Epoch, to: Epoch) -> Result<Read> {
    let (mut picked, mut rows) = (Vec::new(), 0);
    for logged in shared.store.read_log(after)? {
        let LoggedEpoch {
            epoch, transactions, ..
        } = logged?;
        let transactions = transactions
            .into_iter()
            .map(|transaction| decode(shared, wanted, transaction))
            .collect::<Result<Vec<_>>>()?;
        let changes = transactions.iter().flat_map(|transaction| &transaction.changes);
        rows += changes.map(|delta| delta.batch.len()).sum::<usize>();
        picked.extend(wanted.pick(epoch, transactions.into_iter()));
        if epoch >= to || rows >= READ_ROWS_MAX {
            return Ok(Read {
                transactions: picked,
                through: epoch,
                complete: epoch >= to,
            });
        }
    }
    Err(Error::internal(format!(
        "the epoch log ends before epoch {to}, which is committed"
    )))
}

fn decode(shared: &Shared, wanted: &Wanted, logged: LoggedTransaction) -> Result<Transaction> {
    let mut changes = Vec::new();
    for delta in &logged.changes {
        if wanted.includes(delta.relation) {
            changes.extend(decode_delta(shared, delta)?);
        }
    }
    Ok(Transaction {
        source: logged.source,
        id: logged.id,
        position: logged.position,
        commit_time: logged.commit_time,
        changes,
    })
}

/// The delta; None if its table is gone and its columns are forgotten.
fn decode_delta(shared: &Shared, logged: &LoggedDelta) -> Result<Option<Delta>> {
    let Some(relation) = shared.relation_at(logged.relation, logged.schema_version) else {
        if shared.now().relations.get(logged.relation).is_none() {
            return Ok(None);
        }
        let message = "a table has changed its columns since then, and the old ones are forgotten";
        return Err(Error::new(ErrorKind::OutOfRange, reason::SCHEMA_CHANGED, message)
            .hint("tail from now, and read the table for what was before"));
    };
    let rows = RowCodec::for_schema(&relation.schema())?.decode(logged.rows.iter())?;
    Ok(Some(Delta {
        relation: logged.relation,
        batch: Batch::new(rows, logged.weights.clone())?,
    }))
}
