//! Jobs as transactions: each is applied whole or leaves no trace.

use super::epoch::OpenEpoch;
use super::{Job, Pipeline, Shadow, Write};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use viewfeed_change::{Epoch, Error, ErrorKind, RelationId, Result};
use viewfeed_server::Reply;
use viewfeed_source::embedded::{Context, Embedded};
use viewfeed_store::arrange;

impl Pipeline {
    /// Applies one job to the open epoch. Its answer waits for the commit; a failure is answered at once.
    pub(super) fn apply(&mut self, job: Job, epoch: &mut OpenEpoch) {
        match job {
            Job::Write { write, reply } => self.write_and_answer(&write, reply, epoch),
            Job::Script {
                statements,
                search_schema,
                reply,
            } => {
                let done = self.script(&statements, &search_schema, epoch);
                if statements.len() > 1 {
                    // What else the script does is not held up.
                    epoch.awaited.clear();
                }
                epoch.answer(done, reply);
            }
            Job::Adopt { shadow, reply } => {
                let done = adopt(*shadow, &self.last_changed, epoch);
                epoch.answer(done, reply);
            }
            Job::Module { compiled, reply } => self.module(*compiled, reply, epoch),
            Job::Source { source, job, reply } => self.source(&source, job, reply, epoch),
            Job::Tick => epoch.has_ticked = true,
            Job::Report { reply } => {
                // The asker may be gone.
                let _ = reply.send(self.engine.reports());
            }
        }
    }

    fn write_and_answer(&mut self, write: &Write, reply: Reply, epoch: &mut OpenEpoch) {
        if reply.is_closed() {
            return;
        }
        match self.write(write, epoch) {
            Ok(rows) => epoch.answers.push(Box::new(move |committed| {
                reply.send(committed.map(|committed| (committed.version.0, rows, committed.commit_time)));
            })),
            Err(error) => reply.send(Err(error)),
        }
    }

    fn write(&mut self, write: &Write, epoch: &mut OpenEpoch) -> Result<u64> {
        let table = epoch.relations.get(write.table).cloned().ok_or_else(|| {
            Error::not_found("UNKNOWN_RELATION", "the table was dropped")
                .hint("reload the module that writes to it")
        })?;
        transaction(&self.embedded, epoch, &table.name.schema, |embedded, context| {
            embedded.write(&table, write.operation, &write.rows, context)
        })
    }
}

/// Runs `work` as one transaction of the embedded store: on failure everything it staged is undone.
pub(super) fn transaction<T>(
    embedded: &Embedded,
    epoch: &mut OpenEpoch,
    search_schema: &str,
    work: impl FnOnce(&Embedded, &mut Context<'_>) -> Result<T>,
) -> Result<T> {
    let savepoint = epoch.txn.savepoint();
    let relations = epoch.relations.clone();
    let (mut changes, mut touched) = (Vec::new(), BTreeSet::new());
    let done = work(
        embedded,
        &mut Context {
            txn: &mut epoch.txn,
            relations: &mut epoch.relations,
            search_schema,
            now: epoch.now,
            changes: &mut changes,
            touched: &mut touched,
        },
    );
    match done {
        Ok(value) => {
            epoch.pending.extend(changes.iter().cloned());
            epoch.push_transaction(changes);
            Ok(value)
        }
        Err(error) => {
            epoch.txn.rollback(savepoint)?;
            epoch.relations = relations;
            Err(error)
        }
    }
}

/// Takes over what a session did, unless something it touched has changed since it began.
fn adopt(shadow: Shadow, last_changed: &BTreeMap<RelationId, Epoch>, epoch: &mut OpenEpoch) -> Result<()> {
    let changed = |id: &&RelationId| {
        let same_shape = match (shadow.relations.get(**id), epoch.relations.get(**id)) {
            (Some(then), Some(now)) => Arc::ptr_eq(then, now),
            _ => false,
        };
        let later = last_changed
            .get(*id)
            .is_some_and(|changed| *changed > shadow.base);
        !same_shape || later || epoch.has_changed(**id)
    };
    if let Some(id) = shadow.touched.iter().find(changed) {
        let name = shadow
            .relations
            .get(*id)
            .map(|relation| relation.name.to_string())
            .unwrap_or_default();
        let message = format!("relation \"{name}\" was changed by another transaction since this one began");
        return Err(Error::new(ErrorKind::Conflict, "TRANSACTION_CONFLICT", message)
            .hint("run the transaction again; nothing of it was written"));
    }
    let base = shadow.txn.now();
    epoch.txn.adopt(shadow.txn);
    for delta in &shadow.changes {
        if let Some(relation) = epoch.relations.get(delta.relation) {
            arrange::catch_up(&mut epoch.txn, &base, relation, &delta.batch)?;
        }
    }
    epoch.pending.extend(shadow.changes.iter().cloned());
    epoch.push_transaction(shadow.changes);
    Ok(())
}
