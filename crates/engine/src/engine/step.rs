//! One step of every view that a change concerns, in an order in which a view comes after the views it reads.

use super::fill::conformed;
use super::filling::keep_incomplete;
use super::timing::SMALL_ROWS_MAX;
use super::{Engine, LiveView, StepOutput, errors, record};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use viewfeed_change::{Batch, Delta, Error, ErrorKind, RelationId, Relations, Result, Timestamp};
use viewfeed_store::{Txn, arrange};

/// What a step did to a view.
struct Stepped {
    /// How its content changed.
    change: Option<Batch>,
    /// How `viewfeed.view_errors` changed.
    errors: Option<Delta>,
}

impl Engine {
    pub(super) fn step_all(&mut self, deltas: &[Delta], relations: &Relations, txn: &mut Txn) -> StepOutput {
        let mut output = StepOutput::default();
        let (mut changes, broken) = by_relation(deltas);
        for (relation, error) in broken {
            for reader in self.readers_of(relation) {
                self.fail(reader, &error, relations, txn, &mut output);
            }
        }
        let mut due: BTreeSet<usize> = self.schedule.clocked.iter().copied().collect();
        let concerned = changes.keys().filter_map(|id| self.schedule.readers.get(id));
        due.extend(concerned.flatten());
        while let Some(place) = due.pop_first() {
            let id = self.schedule.order[place];
            if self.failed.contains_key(&id) || self.is_put_off(id) {
                continue;
            }
            match self.measured(id, &changes, relations, txn) {
                Ok(stepped) => {
                    self.error_deltas.extend(stepped.errors);
                    let Some(batch) = stepped.change else {
                        continue;
                    };
                    if self.filling.contains_key(&id) {
                        // Nobody has seen what it is filled with.
                        continue;
                    }
                    due.extend(self.schedule.readers.get(&id).into_iter().flatten());
                    changes.insert(id, batch.clone());
                    output.deltas.push(Delta { relation: id, batch });
                }
                Err(error) if self.filling.contains_key(&id) => {
                    if let Err(error) = self.put_off(id, &error, txn) {
                        self.fail(id, &error, relations, txn, &mut output);
                    }
                }
                Err(error) => self.fail(id, &error, relations, txn, &mut output),
            }
        }
        output
    }

    /// Steps one view and notes what it cost.
    fn measured(
        &mut self,
        id: RelationId,
        changes: &BTreeMap<RelationId, Batch>,
        relations: &Relations,
        txn: &mut Txn,
    ) -> Result<Stepped> {
        let Some(stopwatch) = self.stopwatch.clone() else {
            return self.step_one(&self.views[&id], changes, relations, txn);
        };
        let started = stopwatch();
        let stepped = self.step_one(&self.views[&id], changes, relations, txn);
        let time = stopwatch().saturating_sub(started);
        if let Some(view) = self.views.get_mut(&id) {
            let inputs = view.dataflow.inputs().iter();
            let rows: usize = inputs
                .filter_map(|input| changes.get(input))
                .map(Batch::len)
                .sum();
            if rows <= SMALL_ROWS_MAX {
                view.recent.note(time);
            }
        }
        stepped
    }

    /// Steps one view: all of it or, on failure, nothing.
    fn step_one(
        &self,
        view: &LiveView,
        changes: &BTreeMap<RelationId, Batch>,
        relations: &Relations,
        txn: &mut Txn,
    ) -> Result<Stepped> {
        let savepoint = txn.savepoint();
        let stepped = guarded(|| {
            let change = view.step(changes, relations, self.now, txn)?;
            let errors = match view.dataflow.take_errors_changed() {
                true => errors::publish(&view.relation, relations, txn)?,
                false => None,
            };
            Ok(Stepped { change, errors })
        });
        if stepped.is_err() {
            txn.rollback(savepoint)?;
        }
        stepped
    }

    /// Leaves a view and the views over it behind.
    pub(super) fn fail(
        &mut self,
        view: RelationId,
        error: &Error,
        relations: &Relations,
        txn: &mut Txn,
        output: &mut StepOutput,
    ) {
        if self.failed.contains_key(&view) {
            return;
        }
        let failure = record::failure(error);
        if let Err(error) = record::remember(view, &failure, txn) {
            // Better one view that a restart takes for true than no view that goes on; it can only be a broken disk.
            tracing::error!(view = view.0, %error, "that a view failed could not be stored");
        }
        if self.filling.remove(&view).is_some()
            && let Err(error) = keep_incomplete(view, relations, txn)
        {
            tracing::error!(view = view.0, %error, "that a view is not complete could not be stored");
        }
        self.failed.insert(view, failure.clone());
        output.failed.push((view, failure));
        for reader in self.readers_of(view) {
            self.fail(
                reader,
                &record::over_failed(relations, view),
                relations,
                txn,
                output,
            );
        }
    }

    fn readers_of(&self, relation: RelationId) -> Vec<RelationId> {
        let places = self.schedule.readers.get(&relation).into_iter().flatten();
        places.map(|place| self.schedule.order[*place]).collect()
    }
}

impl LiveView {
    fn step(
        &self,
        changes: &BTreeMap<RelationId, Batch>,
        relations: &Relations,
        now: Timestamp,
        txn: &mut Txn,
    ) -> Result<Option<Batch>> {
        let is_as_planned = |(id, version): (&RelationId, &u32)| {
            relations
                .get(*id)
                .is_some_and(|relation| relation.schema_version == *version)
        };
        if !self.input_versions.iter().all(is_as_planned) {
            return Err(Error::new(
                ErrorKind::Precondition,
                "INPUT_CHANGED",
                "the columns of a relation it reads were changed",
            ));
        }
        let seen;
        let changes = match self.dataflow.is_filling() {
            true => {
                seen = self.passed(changes, relations, txn)?;
                &seen
            }
            false => changes,
        };
        let Some(change) = self.dataflow.step(changes, now, txn)? else {
            return Ok(None);
        };
        let change = self.stage(change, txn)?;
        Ok((!change.is_empty()).then_some(change))
    }

    /// Stages a change of the plan's output as one of the view; gives that, consolidated.
    pub(super) fn stage(&self, change: Batch, txn: &mut Txn) -> Result<Batch> {
        let change = conformed(change, &self.relation)?.consolidate()?;
        if !change.is_empty() {
            arrange::stage_all(txn, &self.relation, &change)?;
        }
        Ok(change)
    }
}

/// Runs `work`; a panic becomes an error, because one view must not take the others down.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic_text(panic.as_ref());
        Err(Error::internal(format!("an operator panicked: {text}")))
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    let text = owned.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a message")
}

/// The changes of each relation as one consolidated batch, and the relations whose changes make no sense.
fn by_relation(deltas: &[Delta]) -> (BTreeMap<RelationId, Batch>, Vec<(RelationId, Error)>) {
    let mut parts: BTreeMap<RelationId, Vec<Batch>> = BTreeMap::new();
    for delta in deltas.iter().filter(|delta| !delta.batch.is_empty()) {
        parts.entry(delta.relation).or_default().push(delta.batch.clone());
    }
    let (mut whole, mut broken) = (BTreeMap::new(), Vec::new());
    for (relation, parts) in parts {
        let joined = Batch::concat(&parts[0].schema(), &parts);
        match joined.and_then(|batch| batch.consolidate()) {
            Ok(batch) if batch.is_empty() => {}
            Ok(batch) => {
                whole.insert(relation, batch);
            }
            Err(error) => broken.push((relation, error)),
        }
    }
    (whole, broken)
}
