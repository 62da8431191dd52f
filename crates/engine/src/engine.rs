//! The engine: which views exist, and one step of all of them.
//!
//! `errors` tells what views leave out, `planning` plans them, `open` brings them back from the catalog, `fill` creates one
//! over existing data at once, `filling` piece by piece, `step` moves all of them, `swap` puts one into the place of another,
//! `record` is what is remembered about each between starts.

mod errors;
mod fill;
mod filling;
mod open;
mod planning;
mod record;
mod step;
mod swap;
mod timing;

pub use errors::view_errors_relation;
pub use timing::StepTimes;

use crate::dataflow::Dataflow;
use crate::{ExplainedNode, Rung};
use filling::Fill;
pub use filling::FillOutput;
use open::Repair;
use planning::LastPlanned;
use record::Record;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use timing::{RecentSteps, Stopwatch};
use viewfeed_change::{Column, Delta, Error, Relation, RelationId, Relations, Result, Timestamp, View};
use viewfeed_query::Planner;
use viewfeed_store::{Txn, arrange, view_errors};

/// What goes into a step.
pub struct StepInput {
    /// Changes of tables, in the order they happened. Already staged into the tables' arrangements by their source.
    pub deltas: Vec<Delta>,
    /// The clock of this epoch, for `now()`.
    pub now: Timestamp,
}

/// What comes out of a step.
#[derive(Default)]
pub struct StepOutput {
    /// Changes of views, consolidated, staged into the views' arrangements. Views that did not change are missing.
    pub deltas: Vec<Delta>,
    /// Views that failed in this step: they and the views over them keep the state before it, and are not stepped any
    /// more until they are made anew.
    pub failed: Vec<(RelationId, Error)>,
}

/// What planning a view finds out, before it is created.
#[derive(Clone, Debug)]
pub struct NewView {
    /// The output columns.
    pub columns: Vec<Column>,
    /// The columns that make an output row unique, found by following keys through the plan; empty if unknown.
    pub key: Vec<usize>,
    /// The relations it names, also those whose rows turn out not to matter: without them it could not be planned again.
    pub inputs: Vec<RelationId>,
    /// The plan, to be shown.
    pub explained: ExplainedNode,
}

/// What is known about a view that is maintained.
#[derive(Clone, Debug)]
pub struct ViewReport {
    /// Which.
    pub view: RelationId,
    /// Its plan, with states.
    pub plan: Arc<ExplainedNode>,
    /// What its small steps cost since the program started.
    pub steps: StepTimes,
}

/// Maintains every view. Lives on one thread.
pub struct Engine {
    planner: Planner,
    views: BTreeMap<RelationId, LiveView>,
    /// Views that are not stepped, and why.
    failed: BTreeMap<RelationId, Error>,
    /// Views that are not complete. Those that have begun are among `views`, too.
    filling: BTreeMap<RelationId, Fill>,
    /// All of those wait for tables that are still being copied from elsewhere.
    waits_for_tables: bool,
    schedule: Schedule,
    last_planned: LastPlanned,
    /// How views changed when the engine was opened.
    opening: Vec<Delta>,
    /// How `viewfeed.view_errors` changed.
    error_deltas: Vec<Delta>,
    now: Timestamp,
    stopwatch: Option<Stopwatch>,
    /// The best rung for nodes that have a choice.
    best: Rung,
}

/// A view with its operators.
struct LiveView {
    relation: Arc<Relation>,
    dataflow: Dataflow,
    explained: Arc<ExplainedNode>,
    recent: RecentSteps,
    /// The columns its inputs had when it was planned, by their version.
    input_versions: BTreeMap<RelationId, u32>,
}

/// In which order views are stepped, and which ones a change concerns.
#[derive(Default)]
struct Schedule {
    /// Every live view after the views it reads.
    order: Vec<RelationId>,
    /// By relation: the places in `order` of the views that read it.
    readers: BTreeMap<RelationId, Vec<usize>>,
    /// The places of views that change with time.
    clocked: Vec<usize>,
}

impl Engine {
    /// An engine for the views in `relations`. A view that failed before, or whose stored state is missing or belongs to
    /// another plan (after an upgrade), is filled anew in `txn`, and so are the views over it; how their contents
    /// changed by that is given by [`Engine::take_opening_deltas`]. A view that cannot be filled stays failed, which is
    /// no error of `open`. `now` is what `now()` gives then. Needs a sealed `txn`.
    pub fn open(planner: Planner, relations: &Arc<Relations>, now: Timestamp, txn: &mut Txn) -> Result<Self> {
        Self::open_at(planner, relations, now, txn, Rung::Incremental)
    }

    /// Like [`Engine::open`], but nodes that have a choice stand on no better rung than `best`, which must make no
    /// difference to any content: for tests.
    pub fn open_at(
        planner: Planner,
        relations: &Arc<Relations>,
        now: Timestamp,
        txn: &mut Txn,
        best: Rung,
    ) -> Result<Self> {
        let mut engine = Self::empty(planner, now, best);
        engine.attach_all(relations, txn, Repair::Fill)?;
        Ok(engine)
    }

    /// Creates the operators of `view` (whose columns, key and inputs come from [`Engine::plan`]), fills their state and
    /// the view's primary arrangement from the present content of its inputs in `txn.before()`, and gives the view's
    /// content as its first delta. Needs a sealed `txn`; seals it as it goes. On failure `txn` must be discarded.
    pub fn create_view(
        &mut self,
        view: &Relation,
        relations: &Arc<Relations>,
        txn: &mut Txn,
    ) -> Result<Delta> {
        let planned = self.replan(view, relations)?;
        let inputs = planned.node.relations();
        if let Some(failed) = inputs.iter().find(|id| self.failed.contains_key(id)) {
            return Err(record::over_failed(relations, *failed));
        }
        let delta = self.fill(&Arc::new(view.clone()), &planned, relations, txn)?;
        self.schedule = Schedule::of(&self.views);
        Ok(delta)
    }

    /// Forgets a view and releases its state. Arrangements that it made of the relations it reads stay: other views
    /// may share them, and they go with the relation. (Not those that do not hold everything yet and nobody waits for.)
    pub fn drop_view(&mut self, view: &Relation, relations: &Relations, txn: &mut Txn) -> Result<()> {
        if let Some(record) = Record::read(view.id, txn)? {
            record.release(view.id, txn)?;
            self.release_begun(view.id, &record, relations, txn)?;
        }
        txn.delete(record::key(view.id));
        view_errors::release(txn, view.id)?;
        self.error_deltas.extend(errors::publish(view, relations, txn)?);
        arrange::release_all(txn, view)?;
        self.views.remove(&view.id);
        self.failed.remove(&view.id);
        self.filling.remove(&view.id);
        self.schedule = Schedule::of(&self.views);
        Ok(())
    }

    /// Throws away what was created or dropped since `txn` began: call it after the transaction was discarded, with the
    /// relations and a reader as they are now. Writes nothing that must be kept: this `txn` may be discarded too.
    pub fn reload(&mut self, relations: &Arc<Relations>, txn: &mut Txn) -> Result<()> {
        let (opening, stopwatch) = (std::mem::take(&mut self.opening), self.stopwatch.take());
        *self = Self::empty(self.planner.clone(), self.now, self.best);
        (self.opening, self.stopwatch) = (opening, stopwatch);
        self.attach_all(relations, txn, Repair::Nothing)
    }

    /// How views changed while the engine was opened: to be logged and published with the epoch `open` wrote to.
    pub fn take_opening_deltas(&mut self) -> Vec<Delta> {
        std::mem::take(&mut self.opening)
    }

    /// What `now()` gives until the next step; without it, the time of the last one. Asked by views that are created.
    pub fn set_time(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// Whether any view changes as time passes: then `step` must be called about every second, also without deltas.
    pub fn follows_clock(&self) -> bool {
        !self.schedule.clocked.is_empty()
    }

    /// One step: changes of tables to changes of views. Never fails as a whole: a view that fails is rolled back and
    /// left behind with the views over it, the others go on.
    pub fn step(&mut self, input: &StepInput, relations: &Arc<Relations>, txn: &mut Txn) -> StepOutput {
        self.now = input.now;
        self.step_all(&input.deltas, relations, txn)
    }

    /// Leaves behind a view that cannot be kept true any more, because of what became of a table it reads, and the views over
    /// it. Gives those that failed.
    pub fn leave_behind(
        &mut self,
        view: RelationId,
        error: &Error,
        relations: &Relations,
        txn: &mut Txn,
    ) -> StepOutput {
        let mut output = StepOutput::default();
        self.fail(view, error, relations, txn, &mut output);
        output
    }

    /// The plan of a view, with rungs.
    pub fn explain(&self, view: RelationId) -> Option<ExplainedNode> {
        let filling = || self.filling.get(&view).map(Fill::explained);
        let live = self.views.get(&view).map(|view| &view.explained);
        live.or_else(filling).map(|explained| explained.as_ref().clone())
    }

    /// Every view that is maintained, or is going to be: its plan with the names of its states, and what its steps cost.
    /// Cheap: nothing is read, plans are shared.
    pub fn reports(&self) -> Vec<ViewReport> {
        let live = |(id, view): (&RelationId, &LiveView)| ViewReport {
            view: *id,
            plan: view.explained.clone(),
            steps: view.recent.times(),
        };
        let waiting = self.filling.iter().filter(|(id, _)| !self.views.contains_key(id));
        let waiting = waiting.map(|(id, fill)| ViewReport {
            view: *id,
            plan: fill.explained().clone(),
            steps: StepTimes::default(),
        });
        self.views.iter().map(live).chain(waiting).collect()
    }

    /// Measures steps from now on, with a function that gives the time since any moment.
    pub fn measure_with(&mut self, stopwatch: impl Fn() -> Duration + Send + Sync + 'static) {
        self.stopwatch = Some(Arc::new(stopwatch));
    }

    /// Why a view is not maintained any more, if so.
    pub fn failure(&self, view: RelationId) -> Option<&Error> {
        self.failed.get(&view)
    }

    fn empty(planner: Planner, now: Timestamp, best: Rung) -> Self {
        Self {
            planner,
            views: BTreeMap::new(),
            failed: BTreeMap::new(),
            filling: BTreeMap::new(),
            waits_for_tables: false,
            schedule: Schedule::default(),
            last_planned: LastPlanned::default(),
            opening: Vec::new(),
            error_deltas: Vec::new(),
            now,
            stopwatch: None,
            best,
        }
    }
}

/// What makes `relation` a view.
fn definition(relation: &Relation) -> Result<&View> {
    relation
        .as_view()
        .ok_or_else(|| Error::internal(format!("\"{}\" is not a view", relation.name)))
}

impl Schedule {
    fn of(views: &BTreeMap<RelationId, LiveView>) -> Self {
        let order = after_inputs(views.keys().copied(), &|id| {
            views.get(&id).map(|view| view.dataflow.inputs().clone())
        });
        let mut readers: BTreeMap<RelationId, Vec<usize>> = BTreeMap::new();
        let mut clocked = Vec::new();
        for (place, id) in order.iter().enumerate() {
            for input in views[id].dataflow.inputs() {
                readers.entry(*input).or_default().push(place);
            }
            clocked.extend(views[id].dataflow.follows_clock().then_some(place));
        }
        Self {
            order,
            readers,
            clocked,
        }
    }
}

/// `ids`, each after the ones it reads; `inputs` gives those, or None for what is no view. Otherwise by id.
fn after_inputs(
    ids: impl Iterator<Item = RelationId>,
    inputs: &dyn Fn(RelationId) -> Option<BTreeSet<RelationId>>,
) -> Vec<RelationId> {
    fn visit(
        id: RelationId,
        inputs: &dyn Fn(RelationId) -> Option<BTreeSet<RelationId>>,
        seen: &mut BTreeSet<RelationId>,
        order: &mut Vec<RelationId>,
    ) {
        if let Some(below) = inputs(id)
            && seen.insert(id)
        {
            below.into_iter().for_each(|id| visit(id, inputs, seen, order));
            order.push(id);
        }
    }
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    ids.for_each(|id| visit(id, inputs, &mut seen, &mut order));
    order
}
