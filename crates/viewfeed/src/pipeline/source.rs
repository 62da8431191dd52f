//! Sources from outside: what they bring is applied like any other job, and the views follow what became of their tables.

use super::epoch::{OpenEpoch, Reply};
use super::view::with_readers;
use super::{Pipeline, SourceJob};
use std::collections::BTreeSet;
use viewfeed_change::{Error, ErrorKind, RelationId, Result};
use viewfeed_source::postgres::{Applied, Ingest, Ingested, Settings, Work, stored};

impl Pipeline {
    /// Applies one job of a source. Its answer waits for the commit; a failure is answered at once and leaves no trace.
    pub(super) fn source(
        &mut self,
        source: &str,
        job: SourceJob,
        reply: Reply<Applied>,
        epoch: &mut OpenEpoch,
    ) {
        let done = match job {
            SourceJob::Work(work) if !work.is_exclusive() => self.source_rows(source, work, epoch),
            job => {
                let done = self.exclusive_source(source, job, epoch);
                epoch.is_broken |= done.is_err();
                done
            }
        };
        epoch.answer(done, reply);
    }

    /// Work that shares its epoch with others.
    fn source_rows(&mut self, source: &str, work: Work, epoch: &mut OpenEpoch) -> Result<Applied> {
        let savepoint = epoch.txn.savepoint();
        let relations = epoch.relations.clone();
        match ingest(source, work, epoch) {
            Ok((applied, ingested)) => {
                self.follow_source(source, ingested, epoch)?;
                Ok(applied)
            }
            Err(error) => {
                epoch.txn.rollback(savepoint)?;
                epoch.relations = relations;
                Err(error)
            }
        }
    }

    /// Work with an epoch of its own. On failure the epoch must be dropped.
    fn exclusive_source(&mut self, source: &str, job: SourceJob, epoch: &mut OpenEpoch) -> Result<Applied> {
        self.flush(epoch);
        match job {
            SourceJob::Put(settings) => {
                stored::put_settings(&mut epoch.txn, source, &settings)?;
                applied(source, &settings, epoch)
            }
            SourceJob::Drop => self.drop_source(source, epoch),
            SourceJob::Work(work) => self.source_pieces(source, work, epoch),
        }
    }

    /// What comes in pieces is shown to the views a piece at a time. One may be waited for while it is decoded.
    fn source_pieces(&mut self, source: &str, work: Work, epoch: &mut OpenEpoch) -> Result<Applied> {
        let mut last = None;
        for piece in work.pieces() {
            if last.is_some() {
                self.flush(epoch);
                self.write_if_full(epoch)?;
            }
            let (applied, ingested) = ingest(source, piece?, epoch)?;
            self.follow_source(source, ingested, epoch)?;
            last = Some(applied);
        }
        Ok(last.expect("work has at least one piece"))
    }

    fn drop_source(&mut self, source: &str, epoch: &mut OpenEpoch) -> Result<Applied> {
        let settings = settings(source, epoch)?;
        let answer = applied(source, &settings, epoch)?;
        let before = epoch.relations.clone();
        for table in answer.tables.iter() {
            let Some(relation) = before.get(table.relation) else {
                continue;
            };
            if let Some(reader) = before.readers(relation.id).next() {
                let message = format!("table \"{}\" is read by view \"{}\"", relation.name, reader.name);
                return Err(Error::new(ErrorKind::Precondition, "DEPENDENT_VIEWS", message)
                    .hint("drop the views over the source's tables first"));
            }
            self.refuse_if_bound(relation)?;
        }
        ingest_in(source, &settings, epoch).forget()?;
        self.refuse_if_unanswerable(&before, &epoch.relations)?;
        Ok(answer)
    }

    /// Takes over what became of the tables.
    fn follow_source(&mut self, source: &str, ingested: Ingested, epoch: &mut OpenEpoch) -> Result<()> {
        for transaction in ingested.transactions {
            epoch.pending.extend(transaction.changes.iter().cloned());
            epoch.push_from(source, transaction);
        }
        if !ingested.completed.is_empty() || !ingested.altered.is_empty() {
            self.engine.table_is_complete();
        }
        for (table, error) in ingested.broken {
            self.leave_behind(table, &error, epoch);
        }
        for table in ingested.altered {
            self.flush(epoch);
            self.rebuild_over(table, epoch)?;
        }
        Ok(())
    }

    /// Makes the views over a table anew that has other columns now. Those that cannot be are left behind, and say why.
    fn rebuild_over(&mut self, table: RelationId, epoch: &mut OpenEpoch) -> Result<()> {
        let mut except = BTreeSet::new();
        for view in with_readers(table, &epoch.relations) {
            let inputs = view.as_view().map(|view| view.inputs.clone()).unwrap_or_default();
            let over_other = inputs.iter().any(|input| except.contains(input));
            if over_other || view.id == table {
                except.extend(over_other.then_some(view.id));
                continue;
            }
            if let Err(error) = self.planned_with_columns_of(&view, &epoch.relations) {
                except.insert(view.id);
                let output = self
                    .engine
                    .leave_behind(view.id, &error, &epoch.relations, &mut epoch.txn);
                self.note_failed(output.failed, epoch);
            }
        }
        self.rebuild(None, table, &except, epoch)
    }

    /// Leaves every view over a table behind.
    fn leave_behind(&mut self, table: RelationId, error: &Error, epoch: &mut OpenEpoch) {
        for view in with_readers(table, &epoch.relations.clone()) {
            let output = self
                .engine
                .leave_behind(view.id, error, &epoch.relations, &mut epoch.txn);
            self.note_failed(output.failed, epoch);
        }
    }

    fn note_failed(&mut self, failed: Vec<(RelationId, Error)>, epoch: &mut OpenEpoch) {
        if failed.is_empty() {
            return;
        }
        self.failures.refresh(&self.engine, &epoch.relations);
        for (view, error) in failed {
            tracing::error!(view = view.0, %error, "the view failed and keeps its last state");
            epoch.filled.push((view, Some(error)));
        }
    }
}

fn ingest(source: &str, work: Work, epoch: &mut OpenEpoch) -> Result<(Applied, Ingested)> {
    let settings = settings(source, epoch)?;
    let mut ingest = ingest_in(source, &settings, epoch);
    let ingested = ingest.apply(work)?;
    Ok((ingest.applied(&ingested)?, ingested))
}

fn applied(source: &str, settings: &Settings, epoch: &mut OpenEpoch) -> Result<Applied> {
    ingest_in(source, settings, epoch).applied(&Ingested::default())
}

fn ingest_in<'a>(source: &'a str, settings: &'a Settings, epoch: &'a mut OpenEpoch) -> Ingest<'a> {
    Ingest {
        txn: &mut epoch.txn,
        relations: &mut epoch.relations,
        source,
        settings,
    }
}

fn settings(source: &str, epoch: &OpenEpoch) -> Result<Settings> {
    stored::settings(&epoch.txn.now(), source)?.ok_or_else(|| {
        Error::not_found("UNKNOWN_SOURCE", format!("source \"{source}\" does not exist"))
            .hint("SHOW SOURCES lists those that do")
    })
}
