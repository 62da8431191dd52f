//! The engine: which views exist, and one step of all of them.

use crate::ExplainedNode;
use std::sync::Arc;
use viewfeed_change::{Column, Delta, Error, Relation, RelationId, Relations, Result, Timestamp};
use viewfeed_query::Planner;
use viewfeed_store::Txn;

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
    /// The relations it reads.
    pub inputs: Vec<RelationId>,
    /// The plan, to be shown.
    pub explained: ExplainedNode,
}

/// Maintains every view. Lives on one thread.
pub struct Engine;

impl Engine {
    /// An engine for the views in `relations`. A view whose stored state is missing or belongs to another plan (after
    /// an upgrade) is filled anew, in `txn`.
    pub fn open(_planner: Planner, _relations: &Arc<Relations>, _txn: &mut Txn) -> Result<Self> {
        todo!()
    }

    /// Plans a view without creating it. Fails on SQL that DataFusion cannot plan, with its message.
    pub fn plan(&self, _sql: &str, _search_schema: &str, _relations: &Arc<Relations>) -> Result<NewView> {
        todo!()
    }

    /// Creates the operators of `view` (whose columns, key and inputs come from [`Engine::plan`]), fills their state and
    /// the view's primary arrangement from the present content of its inputs in `txn.before()`, and gives the view's
    /// content as its first delta. Needs a sealed `txn`; seals it as it goes. On failure `txn` must be discarded.
    pub fn create_view(
        &mut self,
        _view: &Relation,
        _relations: &Arc<Relations>,
        _txn: &mut Txn,
    ) -> Result<Delta> {
        todo!()
    }

    /// Forgets a view and releases its state.
    pub fn drop_view(&mut self, _view: &Relation, _txn: &mut Txn) -> Result<()> {
        todo!()
    }

    /// Throws away what was created or dropped since `txn` began: call it after the transaction was discarded, with the
    /// relations and a reader as they are now.
    pub fn reload(&mut self, _relations: &Arc<Relations>, _txn: &mut Txn) -> Result<()> {
        todo!()
    }

    /// One step: changes of tables to changes of views.
    pub fn step(&mut self, _input: &StepInput, _relations: &Arc<Relations>, _txn: &mut Txn) -> StepOutput {
        todo!()
    }

    /// The plan of a view, with rungs.
    pub fn explain(&self, _view: RelationId) -> Option<ExplainedNode> {
        todo!()
    }

    /// Why a view is not maintained any more, if so.
    pub fn failure(&self, _view: RelationId) -> Option<&Error> {
        todo!()
    }
}
