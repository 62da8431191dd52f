//! A table on its way to being complete: the rows of a snapshot, then what was kept meanwhile.

use super::declared::relation_of;
use super::{Ingest, Ingested, IngestedTransaction, Meanwhile};
use crate::postgres::kept::{Entry, Kept};
use crate::postgres::pgoutput::Oid;
use crate::postgres::stored::{Phase, StoredTable};
use crate::postgres::work::Copy;
use crate::postgres::{Lsn, RowChanges, apply};
use arrow::array::RecordBatch;
use std::sync::Arc;
use viewfeed_change::row::conform;
use viewfeed_change::{Batch, Delta, Relation, RelationName, Result};
use viewfeed_store::arrange;

/// Kept operations that are applied in one epoch, about: many more than come in one, or a copy would never be complete.
const SETTLED_OPERATIONS: usize = 20_000;

impl Ingest<'_> {
    /// The tables are copied from a snapshot of this point. A copy that was asked for before the table changed is not begun.
    pub(super) fn begin_copy(&mut self, copies: Vec<Copy>, at: Lsn) -> Result<Ingested> {
        let mut ingested = Ingested::default();
        for copy in copies {
            let Some(table) = self.table(copy.shape.oid)? else {
                continue;
            };
            if table.attempt == copy.attempt
                && let Phase::Wanted { again } = table.phase.clone()
            {
                self.begin_one(table, copy, at, again, &mut ingested)?;
            }
        }
        Ok(ingested)
    }

    fn begin_one(
        &mut self,
        mut table: StoredTable,
        copy: Copy,
        at: Lsn,
        again: Option<String>,
        ingested: &mut Ingested,
    ) -> Result<()> {
        self.kept(copy.shape.oid).drop_before(self.txn, at)?;
        let relation = self.relation(&table)?;
        table.shape = copy.shape;
        let beside = match again {
            Some(_) => Some(self.make_beside(&table, &relation)?),
            None => {
                self.begin_empty(&table, &relation, ingested)?;
                None
            }
        };
        table.phase = Phase::Copying {
            at,
            beside,
            rows: 0,
            again,
        };
        self.put(&table)
    }

    /// A relation that only this copy knows.
    fn make_beside(&mut self, table: &StoredTable, relation: &Relation) -> Result<Relation> {
        let id = Arc::make_mut(self.relations).allocate();
        let name = RelationName::new(&relation.name.schema, format!("{} (copy)", relation.name.name));
        let beside = relation_of(&table.shape, id, name, self.source);
        arrange::ensure(self.txn, &beside, &beside.key_paths())?;
        Ok(beside)
    }

    /// The table itself, without rows, with the columns of the copy.
    fn begin_empty(
        &mut self,
        table: &StoredTable,
        relation: &Arc<Relation>,
        ingested: &mut Ingested,
    ) -> Result<()> {
        let mut new = relation_of(&table.shape, relation.id, relation.name.clone(), self.source);
        new.schema_version = relation.schema_version;
        if new.columns != relation.columns || new.key != relation.key {
            new.schema_version += 1;
            arrange::release_all(self.txn, relation)?;
            ingested.altered.push(relation.id);
        }
        let new = Arc::make_mut(self.relations).put(new)?;
        arrange::renew_all(self.txn, &new)?;
        arrange::mark_filling(self.txn, &new, arrange::Filling::default())
    }

    /// Adds rows of a copy; those of one that was given up are let go.
    pub(super) fn copied(&mut self, oid: Oid, attempt: u64, rows: RecordBatch) -> Result<Ingested> {
        let Some(mut table) = self.table(oid)?.filter(|table| table.attempt == attempt) else {
            return Ok(Ingested::default());
        };
        let relation = self.relation(&table)?;
        let Phase::Copying {
            beside, rows: count, ..
        } = &mut table.phase
        else {
            return Ok(Ingested::default());
        };
        *count += rows.num_rows() as u64;
        let target = beside.clone().unwrap_or_else(|| relation.as_ref().clone());
        let batch = Batch::inserts(conform(&rows, &target.schema())?);
        let batch = match target.key.is_empty() {
            true => batch.consolidate()?,
            false => batch,
        };
        if beside.is_none() {
            let filling = arrange::Filling {
                rows: *count,
                rows_estimated: 0,
            };
            arrange::mark_filling(self.txn, &target, filling)?;
        }
        self.put(&table)?;
        self.stage(&target, &batch)?;
        Ok(Ingested::default())
    }

    /// A copy failed at its source: it begins anew.
    pub(super) fn give_up(&mut self, oid: Oid, attempt: u64) -> Result<Ingested> {
        if let Some(mut table) = self.table(oid)?.filter(|table| table.attempt == attempt) {
            self.want(&mut table, "its copy failed", Meanwhile::Flows)?;
        }
        Ok(Ingested::default())
    }

    /// A copy cannot be made.
    pub(super) fn break_copy(&mut self, oid: Oid, attempt: u64, why: &str) -> Result<Ingested> {
        let mut ingested = Ingested::default();
        if let Some(mut table) = self.table(oid)?.filter(|table| table.attempt == attempt) {
            self.break_table(&mut table, why, &mut ingested)?;
        }
        Ok(ingested)
    }

    /// Applies the next of what was kept to a copy that has all its rows. If that was all, and the source has been read up to the
    /// point of the copy, the copy is the table: in the same epoch, or where many write there would always be more.
    pub(super) fn settle(&mut self, oid: Oid, attempt: u64) -> Result<Ingested> {
        let mut ingested = Ingested::default();
        let Some(mut table) = self.table(oid)?.filter(|table| table.attempt == attempt) else {
            // Somebody else took over.
            ingested.is_settled = true;
            return Ok(ingested);
        };
        let Phase::Copying { at, beside, .. } = table.phase.clone() else {
            ingested.is_settled = true;
            return Ok(ingested);
        };
        let relation = self.relation(&table)?;
        let target = beside.clone().unwrap_or_else(|| relation.as_ref().clone());
        let kept = self.kept(oid);
        let entries = kept.first(&self.txn.now(), &table.shape.row_schema(), SETTLED_OPERATIONS)?;
        if let Err(error) = self.settle_entries(&target, &entries) {
            tracing::warn!(table = %relation.name, %error, "a copied table is copied again");
            self.want(&mut table, "its copy differed from its changes", Meanwhile::Flows)?;
            ingested.is_settled = true;
            return Ok(ingested);
        }
        let is_all = entries.iter().map(Entry::operations).sum::<usize>() < SETTLED_OPERATIONS;
        kept.remove(self.txn, entries);
        if is_all && self.progress()?.position >= at {
            self.complete(table, &relation, beside.as_ref(), at, &mut ingested)?;
        }
        Ok(ingested)
    }

    /// The copy, to which everything that was kept has been applied, is the table.
    fn complete(
        &mut self,
        mut table: StoredTable,
        relation: &Arc<Relation>,
        beside: Option<&Relation>,
        at: Lsn,
        ingested: &mut Ingested,
    ) -> Result<()> {
        self.kept(table.shape.oid).release(self.txn)?;
        // Views that begin over it in this epoch read what was before: all of it is to be there.
        self.txn.seal();
        match beside {
            None => {
                arrange::mark_filled(self.txn, relation)?;
                ingested.completed.push(relation.id);
            }
            Some(beside) => {
                let difference = self.take_place(relation, beside, ingested)?;
                if difference > 0 && table.flows.is_some() {
                    tracing::warn!(table = %relation.name, difference, "a table that was followed differed from its copy");
                }
            }
        }
        ingested.is_settled = true;
        table.phase = Phase::Live { since: at };
        table.flows = None;
        self.put(&table)
    }

    /// Applies entries, those that follow each other in one go.
    fn settle_entries(&mut self, target: &Relation, entries: &[Entry]) -> Result<()> {
        let mut run = Vec::new();
        for entry in entries {
            match &entry.kept {
                Kept::Rows(changes) => run.push((0, changes)),
                Kept::Truncated => {
                    self.settle_rows(target, &std::mem::take(&mut run))?;
                    let gone = self.content(target)?.negate();
                    self.stage(target, &gone)?;
                }
            }
        }
        self.settle_rows(target, &run)
    }

    fn settle_rows(&mut self, target: &Relation, run: &[(usize, &RowChanges)]) -> Result<()> {
        let deltas = apply::deltas(&self.txn.now(), target, run)?;
        deltas.iter().try_for_each(|(_, batch)| self.stage(target, batch))
    }

    /// The copy is the table's content from now on: the difference is its change, unless its columns are others. Gives how many
    /// rows were different.
    fn take_place(
        &mut self,
        relation: &Arc<Relation>,
        beside: &Relation,
        ingested: &mut Ingested,
    ) -> Result<usize> {
        if beside.columns != relation.columns || beside.key != relation.key {
            let mut new = beside.clone();
            new.id = relation.id;
            new.name = relation.name.clone();
            new.schema_version = relation.schema_version + 1;
            arrange::release_all(self.txn, relation)?;
            let new = Arc::make_mut(self.relations).put(new)?;
            arrange::rename_all(self.txn, beside, &new)?;
            arrange::mark_filled(self.txn, &new)?;
            ingested.altered.push(relation.id);
            return Ok(0);
        }
        let change = arrange::difference(&self.txn.now(), relation, beside)?;
        self.stage(relation, &change)?;
        arrange::release_all(self.txn, beside)?;
        arrange::mark_filled(self.txn, relation)?;
        ingested.completed.push(relation.id);
        let difference = change.len();
        if !change.is_empty() {
            ingested.transactions.push(IngestedTransaction {
                end: self.progress()?.position,
                time: None,
                changes: vec![Delta {
                    relation: relation.id,
                    batch: change,
                }],
            });
        }
        Ok(difference)
    }
}
