//! Work of a source, applied to an epoch's transaction: rows of its tables, and the phases the tables go through.
//!
//! ```text
//! Wanted ─► Copying at a point ─► what was kept meanwhile ─► Live
//!    ▲                                                        │ its columns change, it differs, somebody asks
//!    └────────────────────────────────────────────────────────┘ (the old rows stay readable until the new ones are complete)
//! ```
//!
//! Every transaction is in a copy or behind it, never both: the copy is as of a point of the log, and what was committed from
//! there on is kept and applied to it. The old rows are at the stream's position as long as the changes fit them. Views are left
//! to the caller.

mod copying;
mod declared;
mod following;

use super::kept::KeptChanges;
use super::pgoutput::Oid;
use super::stored::{self, Phase, Progress, StoredTable};
use super::work::{Applied, Work};
use super::{Lsn, Settings};
use std::sync::Arc;
use viewfeed_change::{Batch, Delta, Error, Relation, RelationId, Relations, Result, Timestamp};
use viewfeed_store::{Txn, arrange};

/// Where work is applied.
pub struct Ingest<'a> {
    /// The epoch's transaction.
    pub txn: &'a mut Txn,
    /// The relations as this epoch leaves them.
    pub relations: &'a mut Arc<Relations>,
    /// The source.
    pub source: &'a str,
    /// What the source is told to do.
    pub settings: &'a Settings,
}

/// What becomes of the rows of a table that can be read while it is copied again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meanwhile {
    /// They were true, and changes are applied to them too.
    Flows,
    /// They stay what they are: nobody knows what they missed.
    Stands,
}

/// What work did beside staging rows.
#[derive(Default)]
pub struct Ingested {
    /// Changes of tables, by transaction.
    pub transactions: Vec<IngestedTransaction>,
    /// Tables that may be read from now on.
    pub completed: Vec<RelationId>,
    /// Tables that have other columns now: views over them must be made anew.
    pub altered: Vec<RelationId>,
    /// Tables that cannot be followed any more, and why: views over them are not true any more.
    pub broken: Vec<(RelationId, Error)>,
    /// Of [`Work::Settle`].
    pub is_settled: bool,
}

/// What one transaction did to our tables.
pub struct IngestedTransaction {
    /// The source's position after it.
    pub end: Lsn,
    /// When it was committed at the server; None if it is no transaction of it, but what a copy found different.
    pub time: Option<Timestamp>,
    /// The changes.
    pub changes: Vec<Delta>,
}

impl Ingest<'_> {
    /// Applies `work`. On failure the caller rolls back what was staged.
    pub fn apply(&mut self, work: Work) -> Result<Ingested> {
        match work {
            Work::Slot(slot) => self.slot(slot),
            Work::Tables(shapes) => self.declare(shapes),
            Work::BeginCopy { copies, at, timeline } => self.begin_copy(copies, at, timeline),
            Work::Copied { table, attempt, rows } => self.copied(table, attempt, rows),
            Work::Read {
                table,
                attempt,
                pages,
            } => self.read(table, attempt, pages),
            Work::Settle { table, attempt } => self.settle(table, attempt),
            Work::Transactions(transactions) => self.follow(transactions),
            Work::Large(_) => Err(Error::internal("a large transaction is applied in its pieces")),
            Work::Position(position) => self.reach(position).map(|()| Ingested::default()),
            Work::Again { table, why } => self.again(table.as_deref(), &why),
            Work::GiveUp { table, attempt } => self.give_up(table, attempt),
            Work::Break { table, attempt, why } => self.break_copy(table, attempt, &why),
        }
    }

    /// What the source learns once everything is durable.
    pub fn applied(&self, ingested: &Ingested) -> Result<Applied> {
        let reader = self.txn.now();
        Ok(Applied {
            position: stored::progress(&reader, self.source)?.position,
            tables: Arc::new(stored::tables(&reader, self.source)?),
            is_settled: ingested.is_settled,
        })
    }

    /// Forgets the source and its tables, which nobody may read.
    pub fn forget(&mut self) -> Result<()> {
        for table in self.tables()? {
            self.kept(table.shape.oid).release(self.txn)?;
            self.release_beside(&table)?;
            if let Some(relation) = self.relations.get(table.relation).cloned() {
                arrange::release_all(self.txn, &relation)?;
                Arc::make_mut(self.relations).remove(relation.id);
            }
            stored::delete_table(self.txn, self.source, table.shape.oid);
        }
        stored::delete_source(self.txn, self.source);
        Ok(())
    }

    fn tables(&self) -> Result<Vec<StoredTable>> {
        stored::tables(&self.txn.now(), self.source)
    }

    fn table(&self, oid: Oid) -> Result<Option<StoredTable>> {
        stored::table(&self.txn.now(), self.source, oid)
    }

    fn put(&mut self, table: &StoredTable) -> Result<()> {
        stored::put_table(self.txn, self.source, table)
    }

    fn kept(&self, table: Oid) -> KeptChanges {
        KeptChanges::of(self.source, table)
    }

    fn relation(&self, table: &StoredTable) -> Result<Arc<Relation>> {
        let relation = self.relations.get(table.relation).cloned();
        relation.ok_or_else(|| Error::internal("a table of a source has no relation"))
    }

    fn progress(&self) -> Result<Progress> {
        stored::progress(&self.txn.now(), self.source)
    }

    /// Moves the position forward.
    fn reach(&mut self, position: Lsn) -> Result<()> {
        let mut progress = self.progress()?;
        if position > progress.position {
            progress.position = position;
            stored::put_progress(self.txn, self.source, &progress)?;
        }
        Ok(())
    }

    /// The table must be copied (again), from its beginning: changes are kept from now on. Those kept before are in the copy to come.
    fn want(&mut self, table: &mut StoredTable, why: &str, meanwhile: Meanwhile) -> Result<()> {
        let flowed = match table.phase {
            Phase::Live { .. } => Some(table.shape.clone()),
            _ => table.flows.take(),
        };
        let did_flow = flowed.is_some();
        table.flows = flowed.filter(|_| meanwhile == Meanwhile::Flows);
        if did_flow && table.flows.is_none() {
            tracing::info!(
                table = table.shape.name,
                why,
                "a table stands still until its copy is complete"
            );
        }
        let again = match &table.phase {
            Phase::Wanted { again, .. } | Phase::Copying { again, .. } => again.clone(),
            Phase::Live { .. } | Phase::Broken { .. } => Some(why.to_owned()),
        };
        self.release_beside(table)?;
        self.kept(table.shape.oid).release(self.txn)?;
        table.phase = Phase::Wanted { again, begun: None };
        table.attempt += 1;
        self.put(table)
    }

    /// A copy of the table was interrupted: the next one goes on with it. Without keys rows cannot be told apart, and it begins anew.
    fn interrupt(&mut self, table: &mut StoredTable, why: &str) -> Result<()> {
        let has_key = !self.relation(table)?.key.is_empty();
        match &table.phase {
            Phase::Copying { begun, again } if has_key => {
                table.phase = Phase::Wanted {
                    again: again.clone(),
                    begun: Some(begun.clone()),
                };
                table.attempt += 1;
                self.put(table)
            }
            _ => self.want(table, why, Meanwhile::Flows),
        }
    }

    fn release_beside(&mut self, table: &StoredTable) -> Result<()> {
        match table.phase.begun().and_then(|begun| begun.beside.as_ref()) {
            Some(beside) => arrange::release_all(self.txn, beside),
            None => Ok(()),
        }
    }

    /// Stages a change of a table into all its arrangements.
    fn stage(&mut self, relation: &Relation, batch: &Batch) -> Result<()> {
        arrange::stage_all(self.txn, relation, batch)
    }
}
