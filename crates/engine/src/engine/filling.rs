//! Filling a view piece by piece while its inputs change.
//!
//! Each input is read in the order of its primary arrangement. The state of the view is always exactly that of the view
//! over the rows up to a position of each input: `step` follows the changes of those rows, and leaves out the others; a
//! piece adds the next rows of one input as inserts and moves the position. All of it is in the transaction, so that a
//! restart goes on where the last epoch was. (RisingWave interleaves its backfill with the stream in the same way, by
//! the position in the primary key.)
//!
//! ```text
//! Waiting ──► Arranging ──► Reading ──► complete          on an error: at once (see `fill`), or failed
//! inputs      arrangements  inputs, one
//! complete    grown         after another
//! ```

mod piece;

use super::record::{self, Filling, Record};
use super::step::guarded;
use super::{Engine, LiveView, Schedule, StepOutput, definition, errors};
use crate::ExplainedNode;
use crate::dataflow::Dataflow;
use crate::plan::PlannedView;
use std::sync::Arc;
use viewfeed_change::{ColumnPath, Error, Relation, RelationId, Relations, Result};
use viewfeed_store::{Txn, arrange, keys, view_errors};

/// A view that is not complete.
pub(super) struct Fill {
    stage: Stage,
    planned: Arc<PlannedView>,
    explained: Arc<ExplainedNode>,
}

enum Stage {
    /// Until its inputs are complete.
    Waiting,
    /// Until these arrangements of its inputs hold everything.
    Arranging(Vec<(Arc<Relation>, Vec<ColumnPath>)>),
    /// Stepped, and reading its inputs.
    Reading,
    /// It failed on a part of its inputs, which may be no fault of the whole: to be filled from all of them at once.
    PutOff,
}

/// What a piece of filling did.
#[derive(Default)]
pub struct FillOutput {
    /// Rows read.
    pub rows: usize,
    /// The view that is complete now, and may be read.
    pub completed: Option<RelationId>,
    /// Views that failed, as in a step.
    pub failed: Vec<(RelationId, Error)>,
}

/// What a piece came to.
struct Piece {
    rows: usize,
    is_last: bool,
}

impl Piece {
    fn of(rows: usize) -> Self {
        Self { rows, is_last: false }
    }
}

impl Fill {
    fn new(stage: Stage, view: RelationId, planned: &Arc<PlannedView>) -> Self {
        Self {
            stage,
            planned: planned.clone(),
            explained: Arc::new(ExplainedNode::of_view(view, &planned.node)),
        }
    }

    pub(super) fn planned(&self) -> &Arc<PlannedView> {
        &self.planned
    }

    pub(super) fn explained(&self) -> &Arc<ExplainedNode> {
        &self.explained
    }
}

impl Engine {
    /// Creates `view` (whose columns, key and inputs come from [`Engine::plan`]) to be filled by [`Engine::fill_next`]:
    /// until it is complete nobody can read it. On failure `txn` must be discarded.
    pub fn begin_view(&mut self, view: &Relation, relations: &Arc<Relations>, txn: &mut Txn) -> Result<()> {
        let planned = self.replan(view, relations)?;
        let inputs = &definition(view)?.inputs;
        if let Some(failed) = inputs.iter().find(|id| self.failed.contains_key(id)) {
            return Err(record::over_failed(relations, *failed));
        }
        self.begin_anew(&Arc::new(view.clone()), &planned, txn)
    }

    /// Whether `view` should be created by [`Engine::begin_view`]: because what it reads has more than `rows_max` rows in
    /// all (None: however many), or is not complete itself. Else [`Engine::create_view`] does it in no time.
    pub fn takes_long(
        &self,
        view: &Relation,
        rows_max: Option<usize>,
        relations: &Relations,
        txn: &Txn,
    ) -> Result<bool> {
        let inputs = &definition(view)?.inputs;
        let reader = txn.now();
        for input in inputs.iter().filter_map(|id| relations.get(*id)) {
            if arrange::filling(&reader, input)?.is_some() {
                return Ok(true);
            }
        }
        let Some(rows_max) = rows_max else {
            return Ok(false);
        };
        let mut left = rows_max as u64;
        for input in inputs.iter().filter_map(|id| relations.get(*id)) {
            let rows = arrange::unfinished(&reader, input)?.count(&reader, &[], left.saturating_add(1))?;
            match left.checked_sub(rows) {
                Some(rest) => left = rest,
                None => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Whether [`Engine::fill_next`] has something to do.
    pub fn is_filling(&self) -> bool {
        !self.filling.is_empty() && !self.waits_for_tables
    }

    /// A table that was not complete, is: views over it may be filled.
    pub fn table_is_complete(&mut self) {
        self.waits_for_tables = false;
    }

    /// Whether `view` is not complete, and goes on being filled.
    pub fn fills(&self, view: RelationId) -> bool {
        self.filling.contains_key(&view)
    }

    /// Goes on filling one view by at most `rows_max` rows of what it reads. Views take turns by epoch. Never fails as a
    /// whole. Needs a sealed `txn`; seals it.
    pub fn fill_next(&mut self, rows_max: usize, relations: &Arc<Relations>, txn: &mut Txn) -> FillOutput {
        let mut output = FillOutput::default();
        let Some(id) = self.next_to_fill(relations, txn, &mut output) else {
            return output;
        };
        let savepoint = txn.savepoint();
        let filled = guarded(|| {
            let piece = self.fill_piece(id, rows_max, relations, txn)?;
            self.publish_errors(id, relations, txn)?;
            Ok(piece)
        });
        let filled = filled.or_else(|error| {
            // A piece that sealed cannot be rolled back; what it left is released below.
            let _ = txn.rollback(savepoint);
            tracing::info!(view = id.0, %error, "a view failed on a part of its inputs, and is filled at once");
            guarded(|| self.fill_rest(id, relations, txn))
        });
        match filled {
            Ok(piece) => {
                output.rows = piece.rows;
                output.completed = piece.is_last.then_some(id);
            }
            Err(error) => self.fail_filling(id, &error, relations, txn, &mut output),
        }
        txn.seal();
        output
    }

    /// Begins to fill `view` from nothing.
    pub(super) fn begin_anew(
        &mut self,
        view: &Arc<Relation>,
        planned: &Arc<PlannedView>,
        txn: &mut Txn,
    ) -> Result<()> {
        if let Some(old) = Record::read(view.id, txn)? {
            old.release(view.id, txn)?;
        }
        let mut record = Record::of(view.id, &planned.node);
        record.release(view.id, txn)?;
        record.filling = Some(Filling::default());
        record.write(view.id, txn)?;
        view_errors::release(txn, view.id)?;
        arrange::renew_all(txn, view)?;
        arrange::mark_filling(txn, view, arrange::Filling::default())?;
        self.views.remove(&view.id);
        self.failed.remove(&view.id);
        self.filling
            .insert(view.id, Fill::new(Stage::Waiting, view.id, planned));
        self.waits_for_tables = false;
        self.schedule = Schedule::of(&self.views);
        Ok(())
    }

    /// Goes on with a view whose state is of this plan.
    pub(super) fn resume(
        &mut self,
        view: &Arc<Relation>,
        planned: &Arc<PlannedView>,
        record: &Record,
        relations: &Relations,
        txn: &mut Txn,
    ) -> Result<()> {
        let filling = record.filling.clone().unwrap_or_default();
        let stage = match (filling.is_put_off, filling.is_begun) {
            (true, _) => Stage::PutOff,
            (false, true) => Stage::Reading,
            (false, false) => Stage::Waiting,
        };
        if matches!(stage, Stage::Reading) {
            let dataflow = Dataflow::build_filling(&self.planner, view.id, &planned.node, txn)?;
            let live = LiveView::new(view, dataflow, &planned.node, relations);
            self.views.insert(view.id, live);
        }
        self.filling.insert(view.id, Fill::new(stage, view.id, planned));
        Ok(())
    }

    /// Whether `view` failed on a part of its inputs and waits to be filled at once.
    pub(super) fn is_put_off(&self, view: RelationId) -> bool {
        let fill = self.filling.get(&view);
        fill.is_some_and(|fill| matches!(fill.stage, Stage::PutOff))
    }

    /// Takes a view that failed in a step out of the steps: its next piece fills it at once.
    pub(super) fn put_off(&mut self, view: RelationId, error: &Error, txn: &mut Txn) -> Result<()> {
        tracing::info!(view = view.0, %error, "a view failed on a part of its inputs");
        self.enter(view, Stage::PutOff);
        let mut record = Record::read(view, txn)?.unwrap_or_default();
        record.filling.get_or_insert_default().is_put_off = true;
        record.write(view, txn)
    }

    /// Releases the arrangements that were begun for `view`, do not hold everything yet, and are wanted by no other view.
    pub(super) fn release_begun(
        &self,
        view: RelationId,
        record: &Record,
        relations: &Relations,
        txn: &mut Txn,
    ) -> Result<()> {
        let mut wanted = Vec::new();
        for other in self.filling.keys().filter(|id| **id != view) {
            let filling = Record::read(*other, txn)?.and_then(|record| record.filling);
            wanted.extend(filling.unwrap_or_default().arrangements);
        }
        let begun = record.filling.iter().flat_map(|filling| &filling.arrangements);
        for (id, key) in begun.filter(|begun| !wanted.contains(begun)) {
            if let Some(relation) = relations.get(*id)
                && arrange::find(&txn.now(), relation, key)?.is_none()
            {
                keys::release(txn, &arrange::relation_state(relation, key))?;
            }
        }
        Ok(())
    }

    /// Tells what the view leaves out after a piece.
    fn publish_errors(&mut self, view: RelationId, relations: &Relations, txn: &mut Txn) -> Result<()> {
        if let Some(relation) = relations.get(view)
            && view_errors::had_any(txn, view)?
        {
            self.error_deltas
                .extend(errors::publish(relation, relations, txn)?);
        }
        Ok(())
    }

    /// The view whose turn it is. Views over failed ones fail.
    fn next_to_fill(
        &mut self,
        relations: &Relations,
        txn: &mut Txn,
        output: &mut FillOutput,
    ) -> Option<RelationId> {
        let mut ready = Vec::new();
        for id in self.filling.keys().copied().collect::<Vec<_>>() {
            let view = relations.get(id).and_then(|relation| relation.as_view());
            let inputs = view.map(|view| view.inputs.as_slice()).unwrap_or_default();
            match inputs.iter().find(|input| self.failed.contains_key(input)) {
                Some(failed) => {
                    let error = record::over_failed(relations, *failed);
                    self.fail_filling(id, &error, relations, txn, output);
                }
                None if inputs.iter().any(|input| self.filling.contains_key(input)) => {}
                None if has_incomplete_table(inputs, relations, txn) => {}
                None => ready.push(id),
            }
        }
        self.waits_for_tables = ready.is_empty();
        let turn = txn.epoch().0 % ready.len().max(1) as u64;
        ready.get(turn as usize).copied()
    }

    fn fill_piece(
        &mut self,
        id: RelationId,
        rows_max: usize,
        relations: &Arc<Relations>,
        txn: &mut Txn,
    ) -> Result<Piece> {
        let unknown = || Error::internal("a view that is being filled is gone");
        let view = relations.get(id).ok_or_else(unknown)?;
        match &self.filling.get(&id).ok_or_else(unknown)?.stage {
            Stage::Arranging(missing) if !missing.is_empty() => {
                let (relation, key) = &missing[0];
                let (rows, is_whole) = arrange::grow(txn, relation, key, rows_max)?;
                if is_whole {
                    let left = missing[1..].to_vec();
                    self.enter(id, Stage::Arranging(left));
                }
                Ok(Piece::of(rows))
            }
            Stage::Waiting | Stage::Arranging(_) => {
                self.begin_reading(view, relations, txn)?;
                txn.seal();
                // At once, so that something is done between one restart and the next, however often they come.
                self.fill_piece(id, rows_max, relations, txn)
            }
            Stage::Reading => self.read_piece(view, rows_max, relations, txn),
            Stage::PutOff => Err(Error::internal("a view is to be filled at once")),
        }
    }

    fn enter(&mut self, view: RelationId, stage: Stage) {
        if let Some(fill) = self.filling.get_mut(&view) {
            fill.stage = stage;
        }
    }

    /// Fills a view at once, from nothing.
    fn fill_rest(&mut self, id: RelationId, relations: &Arc<Relations>, txn: &mut Txn) -> Result<Piece> {
        let view = relations
            .get(id)
            .ok_or_else(|| Error::internal("a view is gone"))?;
        let planned = self.replan(view, relations)?;
        arrange::renew_all(txn, view)?;
        txn.seal();
        self.fill(view, &planned, relations, txn)?;
        self.filling.remove(&id);
        self.schedule = Schedule::of(&self.views);
        Ok(Piece {
            rows: 0,
            is_last: true,
        })
    }

    /// Leaves a view that cannot be filled behind; a restart begins anew.
    fn fail_filling(
        &mut self,
        id: RelationId,
        error: &Error,
        relations: &Relations,
        txn: &mut Txn,
        output: &mut FillOutput,
    ) {
        let mut stepped = StepOutput::default();
        self.fail(id, error, relations, txn, &mut stepped);
        output.failed.append(&mut stepped.failed);
        self.views.remove(&id);
        self.schedule = Schedule::of(&self.views);
    }
}

/// Whether a table among `inputs` is still being copied from elsewhere.
fn has_incomplete_table(inputs: &[RelationId], relations: &Relations, txn: &Txn) -> bool {
    let reader = txn.now();
    let tables = inputs.iter().filter_map(|id| relations.get(*id));
    let mut tables = tables.filter(|relation| relation.as_table().is_some());
    // What cannot be read fails where it is needed.
    tables.any(|table| matches!(arrange::filling(&reader, table), Ok(Some(_))))
}

/// Notes durably that the content of a view is of no use.
pub(super) fn keep_incomplete(view: RelationId, relations: &Relations, txn: &mut Txn) -> Result<()> {
    let mut record = Record::read(view, txn)?.unwrap_or_default();
    record.filling.get_or_insert_default();
    record.write(view, txn)?;
    let gone = || Error::internal("a view that failed is gone");
    arrange::mark_filling(
        txn,
        relations.get(view).ok_or_else(gone)?,
        arrange::Filling::default(),
    )
}
