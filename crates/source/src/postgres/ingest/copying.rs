//! A table on its way to being complete: the rows of a snapshot, then what was kept meanwhile.
//!
//! A copy that was interrupted goes on with another snapshot: what had been read of the first one stays, the rest is read in the
//! second one, and everything that was committed since the first one is applied to both. It ends in the same rows, because every change
//! since the first snapshot says what its row was afterwards; `apply::Base::Mixed` says what must be allowed until the second
//! one is reached.

use super::declared::relation_of;
use super::{Ingest, Ingested, IngestedTransaction, Meanwhile};
use crate::postgres::apply::{self, Base};
use crate::postgres::kept::{Entry, Kept};
use crate::postgres::pgoutput::Oid;
use crate::postgres::stored::{BegunCopy, Phase, StoredTable};
use crate::postgres::work::Copy;
use crate::postgres::{Lsn, PageRange, ReadPages, RowChange, RowChanges};
use arrow::array::RecordBatch;
use std::collections::BTreeMap;
use std::sync::Arc;
use viewfeed_change::row::conform;
use viewfeed_change::{Batch, Delta, Relation, RelationName, Result};
use viewfeed_store::arrange;

/// Kept operations that are applied in one epoch, about: many more than come in one, or a copy would never be complete.
const SETTLED_OPERATIONS: usize = 20_000;

impl Ingest<'_> {
    /// The tables are copied from a snapshot of this point. A copy that was asked for before the table changed is not begun.
    pub(super) fn begin_copy(&mut self, copies: Vec<Copy>, at: Lsn, timeline: u32) -> Result<Ingested> {
        let mut ingested = Ingested::default();
        for copy in copies {
            let Some(mut table) = self.table(copy.shape.oid)? else {
                continue;
            };
            let Phase::Wanted { again, begun } = table.phase.clone() else {
                continue;
            };
            if table.attempt == copy.attempt {
                let is_again = again.is_some();
                let begun = match begun.filter(|_| copy.goes_on) {
                    Some(begun) => BegunCopy {
                        until: at,
                        snapshots: begun.snapshots + 1,
                        ..begun
                    },
                    None => self.begin_anew(&mut table, copy, (at, timeline), is_again, &mut ingested)?,
                };
                table.phase = Phase::Copying { begun, again };
                self.put(&table)?;
            }
        }
        Ok(ingested)
    }

    fn begin_anew(
        &mut self,
        table: &mut StoredTable,
        copy: Copy,
        (at, timeline): (Lsn, u32),
        is_again: bool,
        ingested: &mut Ingested,
    ) -> Result<BegunCopy> {
        self.release_beside(table)?;
        self.kept(copy.shape.oid).drop_before(self.txn, at)?;
        let relation = self.relation(table)?;
        table.shape = copy.shape;
        let beside = match is_again {
            true => Some(self.make_beside(table, &relation)?),
            false => {
                self.begin_empty(table, &relation, ingested)?;
                None
            }
        };
        Ok(BegunCopy {
            at,
            until: at,
            snapshots: 1,
            timeline,
            beside,
            rows: 0,
            read: ReadPages::default(),
        })
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
        let Phase::Copying { begun, .. } = &mut table.phase else {
            return Ok(Ingested::default());
        };
        begun.rows += rows.num_rows() as u64;
        let target = begun.beside.clone().unwrap_or_else(|| relation.as_ref().clone());
        if begun.beside.is_none() {
            let filling = arrange::Filling {
                rows: begun.rows,
                rows_estimated: 0,
            };
            arrange::mark_filling(self.txn, &target, filling)?;
        }
        let is_of_several = begun.is_of_several();
        self.put(&table)?;
        if is_of_several {
            // Some rows may be there as they were in an earlier snapshot.
            let rows = RowChanges {
                operations: vec![RowChange::Insert; rows.num_rows()],
                old: rows.slice(0, 0),
                new: rows,
                unchanged: BTreeMap::new(),
            };
            self.settle_rows(&target, &[(0, &rows)], Base::Mixed)?;
            return Ok(Ingested::default());
        }
        let batch = Batch::inserts(conform(&rows, &target.schema())?);
        let batch = match target.key.is_empty() {
            true => batch.consolidate()?,
            false => batch,
        };
        self.stage(&target, &batch)?;
        Ok(Ingested::default())
    }

    /// All rows of some pages are there.
    pub(super) fn read(&mut self, oid: Oid, attempt: u64, pages: PageRange) -> Result<Ingested> {
        if let Some(mut table) = self.table(oid)?.filter(|table| table.attempt == attempt)
            && let Phase::Copying { begun, .. } = &mut table.phase
        {
            begun.read.add(pages);
            self.put(&table)?;
        }
        Ok(Ingested::default())
    }

    /// A copy failed at its source.
    pub(super) fn give_up(&mut self, oid: Oid, attempt: u64) -> Result<Ingested> {
        if let Some(mut table) = self.table(oid)?.filter(|table| table.attempt == attempt) {
            self.interrupt(&mut table, "its copy failed")?;
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
        let Phase::Copying { begun, .. } = table.phase.clone() else {
            ingested.is_settled = true;
            return Ok(ingested);
        };
        let relation = self.relation(&table)?;
        let target = begun.beside.clone().unwrap_or_else(|| relation.as_ref().clone());
        let kept = self.kept(oid);
        let entries = kept.first(&self.txn.now(), &table.shape.row_schema(), SETTLED_OPERATIONS)?;
        if let Err(error) = self.settle_entries(&target, &entries, &begun) {
            tracing::warn!(table = %relation.name, %error, "a copied table is copied again");
            self.want(&mut table, "its copy differed from its changes", Meanwhile::Flows)?;
            ingested.is_settled = true;
            return Ok(ingested);
        }
        let is_all = entries.iter().map(Entry::operations).sum::<usize>() < SETTLED_OPERATIONS;
        kept.remove(self.txn, entries);
        if is_all && self.progress()?.position >= begun.until {
            self.complete(table, &relation, begun, &mut ingested)?;
        }
        Ok(ingested)
    }

    /// The copy, to which everything that was kept has been applied, is the table.
    fn complete(
        &mut self,
        mut table: StoredTable,
        relation: &Arc<Relation>,
        begun: BegunCopy,
        ingested: &mut Ingested,
    ) -> Result<()> {
        self.kept(table.shape.oid).release(self.txn)?;
        // Views that begin over it in this epoch read what was before: all of it is to be there.
        self.txn.seal();
        match &begun.beside {
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
        table.phase = Phase::Live { since: begun.until };
        table.flows = None;
        self.put(&table)
    }

    /// Applies entries, those that follow each other in one go.
    fn settle_entries(&mut self, target: &Relation, entries: &[Entry], begun: &BegunCopy) -> Result<()> {
        if !begun.is_of_several() {
            return self.settle_over(target, entries, Base::Exact);
        }
        let mixed = entries.partition_point(|entry| entry.commit < begun.until);
        let (mixed, exact) = entries.split_at(mixed);
        self.settle_over(target, mixed, Base::Mixed)?;
        self.settle_over(target, exact, Base::Exact)
    }

    fn settle_over(&mut self, target: &Relation, entries: &[Entry], base: Base) -> Result<()> {
        let mut run = Vec::new();
        for entry in entries {
            match &entry.kept {
                Kept::Rows(changes) => run.push((0, changes)),
                Kept::Truncated => {
                    self.settle_rows(target, &std::mem::take(&mut run), base)?;
                    let gone = self.content(target)?.negate();
                    self.stage(target, &gone)?;
                }
            }
        }
        self.settle_rows(target, &run, base)
    }

    fn settle_rows(&mut self, target: &Relation, run: &[(usize, &RowChanges)], base: Base) -> Result<()> {
        let deltas = apply::deltas(&self.txn.now(), target, run, base)?;
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
