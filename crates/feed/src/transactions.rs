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
use viewfeed_store::{LogReader, LoggedDelta, LoggedEpoch, LoggedTransaction};

/// Rows read from the log at one time (whole epochs: the last may exceed it).
const READ_ROWS_MAX: usize = 16_384;

/// A source transaction with the epoch it became visible in, or a part of one: then the next one has the same id.
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
    /// None if they are too large for memory: then they are in the log.
    pub(crate) transactions: Option<Vec<Transaction>>,
}

/// The tables asked for; none: all.
#[derive(Clone)]
struct Wanted(Arc<[RelationId]>);

enum Phase {
    /// The log is to be read.
    Behind,
    /// The log is to be read on, from within an epoch.
    Within(Rest),
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
    /// If it ends within an epoch: what follows.
    rest: Option<Rest>,
}

/// The log from somewhere on.
struct Rest {
    log: LogReader,
    /// Up to where it is wanted.
    to: Epoch,
    /// What was read last of the epoch it is within: perhaps nothing of it follows.
    held: Option<TailedTransaction>,
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
            let stepped = match &self.phase {
                Phase::Behind => self.open_log().await,
                Phase::Within(_) => self.read_on().await,
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
            let rest = Rest {
                log: shared.store.read_log(after)?,
                to,
                held: None,
            };
            rest.read(&shared, &wanted)
        });
        self.phase = Phase::Reading(task);
        Ok(())
    }

    async fn read_on(&mut self) -> Result<()> {
        let permit = self.shared.permit().await?;
        let Phase::Within(rest) = std::mem::replace(&mut self.phase, Phase::Done) else {
            return Err(Error::internal("there is no rest of an epoch"));
        };
        let (shared, wanted) = (self.shared.clone(), self.wanted.clone());
        let task = spawn_blocking(move || {
            let _permit = permit;
            rest.read(&shared, &wanted)
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
        self.pending.extend(read.transactions);
        self.phase = match read.rest {
            Some(rest) => Phase::Within(rest),
            None => {
                self.after = read.through;
                if read.complete { Phase::Live } else { Phase::Behind }
            }
        };
        Ok(())
    }

    async fn follow(&mut self) -> Result<()> {
        match self.live.recv().await {
            Ok(tailed) if tailed.epoch > self.after => match &tailed.transactions {
                Some(transactions) => {
                    self.after = tailed.epoch;
                    let mut picked = self.wanted.pick(tailed.epoch, transactions.iter().cloned());
                    end_epoch(&mut picked);
                    self.pending.extend(picked);
                }
                None => self.phase = Phase::Behind,
            },
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

    /// What is wanted of an epoch, or of a part of one.
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
        let picked = transactions.map(pick);
        picked
            .filter(|tailed| !tailed.transaction.changes.is_empty())
            .collect()
    }
}

/// The last of these is the last of its epoch.
fn end_epoch(picked: &mut [TailedTransaction]) {
    if let Some(last) = picked.last_mut() {
        last.last_of_epoch = true;
    }
}

impl Rest {
    /// The wanted transactions, up to the end or until there are many. Blocks.
    fn read(mut self, shared: &Shared, wanted: &Wanted) -> Result<Read> {
        let (mut picked, mut rows) = (Vec::new(), 0);
        // Of the present epoch.
        let mut of_epoch: Vec<_> = self.held.take().into_iter().collect();
        for logged in &mut self.log {
            let LoggedEpoch {
                epoch,
                transactions,
                is_last,
                ..
            } = logged?;
            let transactions = transactions
                .into_iter()
                .map(|transaction| decode(shared, wanted, transaction))
                .collect::<Result<Vec<_>>>()?;
            let changes = transactions.iter().flat_map(|transaction| &transaction.changes);
            rows += changes.map(|delta| delta.batch.len()).sum::<usize>();
            of_epoch.extend(wanted.pick(epoch, transactions.into_iter()));
            if is_last {
                end_epoch(&mut of_epoch);
                picked.append(&mut of_epoch);
            }
            let complete = is_last && epoch >= self.to;
            if complete || rows >= READ_ROWS_MAX {
                self.held = of_epoch.pop();
                picked.append(&mut of_epoch);
                return Ok(Read {
                    transactions: picked,
                    through: epoch,
                    complete,
                    rest: (!is_last).then_some(self),
                });
            }
        }
        Err(Error::internal(format!(
            "the epoch log ends before epoch {}, which is committed",
            self.to
        )))
    }
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
