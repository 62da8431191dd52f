//! Transactions of the stream: applied to tables that are live, kept for those that are being copied. The old rows of a table
//! that is copied again are followed too, as long as the changes fit them: in the columns they have.

use super::{Ingest, Ingested, IngestedTransaction, Meanwhile};
use crate::postgres::apply::Base;
use crate::postgres::kept::Kept;
use crate::postgres::pgoutput::Oid;
use crate::postgres::stored::{self, Phase, StoredTable};
use crate::postgres::{Lsn, RowChanges, SourceTransaction, TableEvent, TableShape, apply};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use viewfeed_change::{Batch, Delta, Error, Relation, Result};
use viewfeed_store::arrange;

/// Rows read at a time of a table that is emptied.
const CHUNK_ROWS: usize = 8192;

/// What has been seen of some transactions and not yet been applied.
struct Followed<'a> {
    tables: BTreeMap<Oid, StoredTable>,
    /// Changes of tables that can be read, by transaction.
    runs: BTreeMap<Oid, Vec<(usize, Cow<'a, RowChanges>)>>,
    /// Changes of our tables, by transaction.
    changes: Vec<Vec<Delta>>,
    /// Whether some table is followed while it is copied, or may come to be.
    may_flow: bool,
}

/// The transaction that is being followed.
struct Turn {
    number: usize,
    commit: Lsn,
    /// Tables whose columns it changed: all of it is in their next copy.
    reshaped: BTreeSet<Oid>,
    /// Tables that can be read and whose rows it does not fit: they stand still from before it.
    stopped: BTreeSet<Oid>,
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
        let tables = self.tables()?;
        let mut followed = Followed {
            may_flow: tables.iter().any(|table| table.flows.is_some())
                || new.iter().any(|transaction| transaction.changes_tables()),
            tables: tables.into_iter().map(|table| (table.shape.oid, table)).collect(),
            runs: BTreeMap::new(),
            changes: new.iter().map(|_| Vec::new()).collect(),
        };
        for (number, transaction) in new.iter().enumerate() {
            let turn = followed.turn(number, transaction);
            self.stop(&turn.stopped, &mut followed)?;
            for event in &transaction.events {
                self.event(event, &turn, &mut followed, &mut ingested)?;
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
        turn: &Turn,
        followed: &mut Followed<'a>,
        ingested: &mut Ingested,
    ) -> Result<()> {
        let commit = turn.commit;
        match event {
            TableEvent::Rows {
                table,
                shape,
                changes,
            } => self.rows(*table, shape, changes, turn, followed)?,
            TableEvent::Truncate { tables } => {
                for table in tables {
                    if let Stand::Kept = followed.stand(*table, commit) {
                        self.kept(*table).push(self.txn, commit, &Kept::Truncated)?;
                    }
                    if followed.is_followed(*table, turn) {
                        self.truncate(*table, turn.number, followed)?;
                    }
                }
            }
            TableEvent::Shape(shape) => {
                self.flush(shape.oid, followed)?;
                let known = followed.tables.get(&shape.oid).cloned();
                if let Some(table) = known.filter(|table| !table.has_copied(commit)) {
                    self.reshape(table, shape.clone(), turn.meanwhile(shape.oid))?;
                    self.refresh(shape.oid, followed)?;
                }
            }
            TableEvent::Missed { table, .. } => {
                self.flush(*table, followed)?;
                if followed.is_open(*table, commit)
                    && let Some(mut known) = followed.tables.get(table).cloned()
                {
                    let why = "its columns changed more than once at the server";
                    self.want(&mut known, why, turn.meanwhile(*table))?;
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

    fn rows<'a>(
        &mut self,
        table: Oid,
        shape: &TableShape,
        changes: &'a RowChanges,
        turn: &Turn,
        followed: &mut Followed<'a>,
    ) -> Result<()> {
        let is_reshaped = turn.reshaped.contains(&table);
        if !is_reshaped && let Stand::Kept = followed.stand(table, turn.commit) {
            let kept = Kept::Rows(changes.clone());
            self.kept(table).push(self.txn, turn.commit, &kept)?;
        }
        if !followed.is_followed(table, turn) {
            return Ok(());
        }
        let flows = followed.tables.get(&table).and_then(|table| table.flows.as_ref());
        let changes = match flows {
            None => Cow::Borrowed(changes),
            Some(flows) => match flows.places_in(shape) {
                Some(places) => Cow::Owned(changes.in_columns(&places, flows)?),
                None => {
                    return Err(Error::internal(
                        "rows of a table do not fit, which was not seen before",
                    ));
                }
            },
        };
        followed
            .runs
            .entry(table)
            .or_default()
            .push((turn.number, changes));
        Ok(())
    }

    /// The rows of these tables that can be read stand still until their copies are complete.
    fn stop(&mut self, tables: &BTreeSet<Oid>, followed: &mut Followed<'_>) -> Result<()> {
        for oid in tables {
            self.flush(*oid, followed)?;
            if let Some(table) = followed.tables.get_mut(oid)
                && table.flows.take().is_some()
            {
                tracing::info!(
                    table = table.shape.name,
                    "a table stands still until its copy is complete"
                );
                stored::put_table(self.txn, self.source, table)?;
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
        let run: Vec<(usize, &RowChanges)> = run
            .iter()
            .map(|(number, changes)| (*number, changes.as_ref()))
            .collect();
        let deltas = match apply::deltas(&self.txn.now(), &relation, &run, Base::Exact) {
            Err(error) if error.reason() == "SOURCE_DIVERGED" => {
                tracing::error!(table = %relation.name, %error, "the table is copied again");
                let mut table = table.clone();
                match table.flows.take() {
                    // It is being copied; what is kept for that is not concerned.
                    Some(_) => self.put(&table)?,
                    None => self.want(&mut table, "it differed from the server's", Meanwhile::Stands)?,
                }
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

    fn turn(&self, number: usize, transaction: &SourceTransaction) -> Turn {
        let (mut reshaped, mut stopped) = (BTreeSet::new(), BTreeSet::new());
        if self.may_flow {
            reshaped = self.reshaped(transaction);
            stopped = self.stopped(transaction, &reshaped);
        }
        Turn {
            number,
            commit: transaction.commit,
            reshaped,
            stopped,
        }
    }

    /// The tables that can be read, and change so that their rows cannot follow.
    fn stopped(&self, transaction: &SourceTransaction, reshaped: &BTreeSet<Oid>) -> BTreeSet<Oid> {
        let readable = |oid: &Oid| {
            let table = self.tables.get(oid)?;
            let is_leaving = matches!(table.phase, Phase::Live { .. }) && reshaped.contains(oid);
            is_leaving.then_some(&table.shape).or(table.flows.as_ref())
        };
        let stopped = |event: &TableEvent| match event {
            TableEvent::Rows { table, shape, .. } => {
                let fits = readable(table)?.places_in(shape).is_some();
                (!fits).then_some(*table)
            }
            TableEvent::Unreadable { table, .. }
            | TableEvent::Missed {
                table,
                has_earlier_columns: false,
            } => readable(table).map(|_| *table),
            TableEvent::Shape(shape) => {
                let is_rewritten = self.tables.get(&shape.oid)?.shape.is_rewritten(shape);
                is_rewritten.then_some(shape.oid)
            }
            TableEvent::Missed { .. } | TableEvent::Truncate { .. } => None,
        };
        transaction.events.iter().filter_map(stopped).collect()
    }

    /// Whether changes are applied to the rows of a table that can be read.
    fn is_followed(&self, table: Oid, turn: &Turn) -> bool {
        let is_live = matches!(self.stand(table, turn.commit), Stand::Live);
        let flows = || self.tables.get(&table).is_some_and(|table| table.flows.is_some());
        (is_live || flows()) && !turn.stopped.contains(&table)
    }

    /// The tables that are copied because of what the transaction did to their columns.
    fn reshaped(&self, transaction: &SourceTransaction) -> BTreeSet<Oid> {
        let is_new = |shape: &TableShape| {
            let known = self.tables.get(&shape.oid);
            known.is_some_and(|known| known.shape.has_other_rows(shape))
        };
        let reshaped = |event: &TableEvent| match event {
            TableEvent::Shape(shape) if is_new(shape) => Some(shape.oid),
            TableEvent::Missed { table, .. } => Some(*table),
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

impl Turn {
    /// What becomes of the rows of a table that is to be copied again for what happens here.
    fn meanwhile(&self, table: Oid) -> Meanwhile {
        match self.stopped.contains(&table) {
            true => Meanwhile::Stands,
            false => Meanwhile::Flows,
        }
    }
}

impl StoredTable {
    /// Whether what was committed there is in its copy.
    fn has_copied(&self, commit: Lsn) -> bool {
        match &self.phase {
            Phase::Live { since } => commit < *since,
            phase => phase.begun().is_some_and(|begun| commit < begun.at),
        }
    }
}
