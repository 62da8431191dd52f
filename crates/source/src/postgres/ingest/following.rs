//! Transactions of the stream: applied to tables that are live, kept for those that are being copied.

use super::{Ingest, Ingested, IngestedTransaction};
use crate::postgres::kept::Kept;
use crate::postgres::pgoutput::Oid;
use crate::postgres::stored::{Phase, StoredTable};
use crate::postgres::{Lsn, RowChanges, SourceTransaction, TableEvent, TableShape, apply};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use viewfeed_change::{Batch, Delta, Relation, Result};
use viewfeed_store::arrange;

/// Rows read at a time of a table that is emptied.
const CHUNK_ROWS: usize = 8192;

/// What has been seen of some transactions and not yet been applied.
struct Followed<'a> {
    tables: BTreeMap<Oid, StoredTable>,
    /// Changes of live tables, by transaction.
    runs: BTreeMap<Oid, Vec<(usize, &'a RowChanges)>>,
    /// Changes of our tables, by transaction.
    changes: Vec<Vec<Delta>>,
}

impl Ingest<'_> {
    /// Follows transactions in the order of their commits. Those that have been followed already are skipped.
    pub(super) fn follow(&mut self, transactions: Vec<SourceTransaction>) -> Result<Ingested> {
        let mut ingested = Ingested::default();
        let position = self.progress()?.position;
        let new: Vec<&SourceTransaction> = transactions.iter().filter(|new| new.end > position).collect();
        let Some(last) = new.last() else {
            return Ok(ingested);
        };
        let tables = self.tables()?.into_iter();
        let mut followed = Followed {
            tables: tables.map(|table| (table.shape.oid, table)).collect(),
            runs: BTreeMap::new(),
            changes: new.iter().map(|_| Vec::new()).collect(),
        };
        for (number, transaction) in new.iter().enumerate() {
            // Of a table whose columns change within the transaction, all of it will be in the next copy.
            let reshaped = followed.reshaped(transaction);
            for event in &transaction.events {
                self.event(
                    event,
                    number,
                    transaction.commit,
                    &reshaped,
                    &mut followed,
                    &mut ingested,
                )?;
            }
        }
        self.flush_all(&mut followed)?;
        if !last.is_continued {
            self.reach(last.end)?;
        }
        let done = new.iter().zip(followed.changes);
        let done = done.filter(|(_, changes)| !changes.is_empty());
        ingested.transactions = done
            .map(|(transaction, changes)| IngestedTransaction {
                end: transaction.end,
                time: Some(transaction.time),
                changes,
            })
            .collect();
        Ok(ingested)
    }

    fn event<'a>(
        &mut self,
        event: &'a TableEvent,
        number: usize,
        commit: Lsn,
        reshaped: &BTreeSet<Oid>,
        followed: &mut Followed<'a>,
        ingested: &mut Ingested,
    ) -> Result<()> {
        match event {
            TableEvent::Rows { table, changes } if !reshaped.contains(table) => {
                match followed.stand(*table, commit) {
                    Stand::Live => followed.runs.entry(*table).or_default().push((number, changes)),
                    Stand::Kept => {
                        let kept = Kept::Rows(changes.clone());
                        self.kept(*table).push(self.txn, commit, &kept)?;
                    }
                    Stand::Skipped => {}
                }
            }
            TableEvent::Rows { .. } => {}
            TableEvent::Truncate { tables } => {
                for table in tables {
                    match followed.stand(*table, commit) {
                        Stand::Live => self.truncate(*table, number, followed)?,
                        Stand::Kept => self.kept(*table).push(self.txn, commit, &Kept::Truncated)?,
                        Stand::Skipped => {}
                    }
                }
            }
            TableEvent::Shape(shape) => {
                self.flush(shape.oid, followed)?;
                let known = followed.tables.get(&shape.oid).cloned();
                if let Some(table) = known.filter(|table| !table.has_copied(commit)) {
                    self.reshape(table, shape.clone())?;
                    self.refresh(shape.oid, followed)?;
                }
            }
            TableEvent::Missed { table } => {
                self.flush(*table, followed)?;
                if followed.is_open(*table, commit)
                    && let Some(mut known) = followed.tables.get(table).cloned()
                {
                    self.want(&mut known, "its columns changed more than once at the server")?;
                    self.refresh(*table, followed)?;
                }
            }
            TableEvent::Unreadable { table, why } => {
                self.flush(*table, followed)?;
                let known = followed.tables.get(table).cloned();
                if let Some(mut known) = known.filter(|table| !table.has_copied(commit)) {
                    self.break_table(&mut known, why, ingested)?;
                    self.refresh(*table, followed)?;
                }
            }
        }
        Ok(())
    }

    fn refresh(&self, table: Oid, followed: &mut Followed<'_>) -> Result<()> {
        if let Some(stored) = self.table(table)? {
            followed.tables.insert(table, stored);
        }
        Ok(())
    }

    fn flush_all(&mut self, followed: &mut Followed<'_>) -> Result<()> {
        let tables: Vec<Oid> = followed.runs.keys().copied().collect();
        tables
            .into_iter()
            .try_for_each(|table| self.flush(table, followed))
    }

    /// Applies what has been gathered of a table. One that is not what it is at the server is copied again.
    fn flush(&mut self, oid: Oid, followed: &mut Followed<'_>) -> Result<()> {
        let (Some(run), Some(table)) = (followed.runs.remove(&oid), followed.tables.get(&oid)) else {
            return Ok(());
        };
        let relation = self.relation(table)?;
        let deltas = match apply::deltas(&self.txn.now(), &relation, &run) {
            Err(error) if error.reason() == "SOURCE_DIVERGED" => {
                tracing::error!(table = %relation.name, %error, "the table is copied again");
                let mut table = table.clone();
                self.want(&mut table, "it differed from the server's")?;
                return self.refresh(oid, followed);
            }
            deltas => deltas?,
        };
        let batches: Vec<Batch> = deltas.iter().map(|(_, batch)| batch.clone()).collect();
        match batches.as_slice() {
            [] => {}
            [one] => self.stage(&relation, one)?,
            many => self.stage(&relation, &Batch::concat(&relation.schema(), many)?)?,
        }
        for (number, batch) in deltas {
            followed.add(number, &relation, batch);
        }
        Ok(())
    }

    fn truncate(&mut self, oid: Oid, number: usize, followed: &mut Followed<'_>) -> Result<()> {
        self.flush(oid, followed)?;
        let Some(table) = followed.tables.get(&oid) else {
            return Ok(());
        };
        let relation = self.relation(table)?;
        let gone = self.content(&relation)?.negate();
        self.stage(&relation, &gone)?;
        followed.add(number, &relation, gone);
        Ok(())
    }

    /// All rows of a relation.
    pub(super) fn content(&self, relation: &Relation) -> Result<Batch> {
        let (reader, mut batches) = (self.txn.now(), Vec::new());
        let rows = arrange::unfinished(&reader, relation)?;
        rows.scan(&reader, &[], CHUNK_ROWS, &mut |batch| {
            batches.push(batch);
            Ok(ControlFlow::Continue(()))
        })?;
        Batch::concat(&relation.schema(), &batches)
    }
}

/// What becomes of a change.
enum Stand {
    Live,
    Kept,
    /// It is in the copy already, or the table is not followed.
    Skipped,
}

impl Followed<'_> {
    fn stand(&self, table: Oid, commit: Lsn) -> Stand {
        match self.tables.get(&table) {
            None => Stand::Skipped,
            Some(table) if table.has_copied(commit) => Stand::Skipped,
            Some(table) => match table.phase {
                Phase::Live { .. } => Stand::Live,
                Phase::Wanted { .. } | Phase::Copying { .. } => Stand::Kept,
                Phase::Broken { .. } => Stand::Skipped,
            },
        }
    }

    /// Whether what was committed there changes the table, now or when it is copied.
    fn is_open(&self, table: Oid, commit: Lsn) -> bool {
        !matches!(self.stand(table, commit), Stand::Skipped)
    }

    /// The tables that are copied because of what the transaction did to their columns.
    fn reshaped(&self, transaction: &SourceTransaction) -> BTreeSet<Oid> {
        let is_new = |shape: &TableShape| {
            let known = self.tables.get(&shape.oid);
            known.is_some_and(|known| known.shape.has_other_rows(shape))
        };
        let reshaped = |event: &TableEvent| match event {
            TableEvent::Shape(shape) if is_new(shape) => Some(shape.oid),
            TableEvent::Missed { table } => Some(*table),
            _ => None,
        };
        transaction.events.iter().filter_map(reshaped).collect()
    }

    fn add(&mut self, number: usize, relation: &Arc<Relation>, batch: Batch) {
        if batch.is_empty() {
            return;
        }
        self.changes[number].push(Delta {
            relation: relation.id,
            batch,
        });
    }
}

impl StoredTable {
    /// Whether what was committed there is in its copy.
    fn has_copied(&self, commit: Lsn) -> bool {
        match self.phase {
            Phase::Copying { at: point, .. } | Phase::Live { since: point } => commit < point,
            Phase::Wanted { .. } | Phase::Broken { .. } => false,
        }
    }
}
