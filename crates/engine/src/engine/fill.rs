//! Filling a view at once from the present content of what it reads: when it is created over little, and when its state
//! is of no use. `filling` does it piece by piece.

use super::record::Record;
use super::timing::RecentSteps;
use super::{Engine, LiveView, errors};
use crate::ExplainedNode;
use crate::dataflow::{Dataflow, content};
use crate::plan::{Node, PlannedView};
use std::sync::Arc;
use viewfeed_change::row::conform;
use viewfeed_change::{Batch, Delta, Relation, RelationId, Relations, Result};
use viewfeed_store::{Txn, arrange, view_errors};

impl Engine {
    /// Fills `view`, whether it has content already or not; gives how its content changed. Seals `txn` as it goes. On
    /// failure the view's content is what it was, its state of no use.
    pub(super) fn fill(
        &mut self,
        view: &Arc<Relation>,
        planned: &PlannedView,
        relations: &Relations,
        txn: &mut Txn,
    ) -> Result<Delta> {
        if let Some(old) = Record::read(view.id, txn)? {
            old.release(view.id, txn)?;
        }
        let record = Record::of(view.id, &planned.node);
        record.release(view.id, txn)?;
        record.write(view.id, txn)?;
        view_errors::release(txn, view.id)?;
        arrange::ensure(txn, view, &view.key_paths())?;
        let dataflow = Dataflow::build(&self.planner, view.id, &planned.node, txn)?;
        txn.seal();
        let batch = self.difference(view, &dataflow, txn)?;
        arrange::stage_all(txn, view, &batch)?;
        self.error_deltas.extend(errors::publish(view, relations, txn)?);
        txn.seal();
        self.views
            .insert(view.id, LiveView::new(view, dataflow, &planned.node, relations));
        self.failed.remove(&view.id);
        Ok(Delta {
            relation: view.id,
            batch,
        })
    }

    /// What must be added to the stored content of `view` to make it what its inputs say.
    fn difference(&self, view: &Relation, dataflow: &Dataflow, txn: &mut Txn) -> Result<Batch> {
        let mut parts = Vec::new();
        dataflow.hydrate(self.now, txn, &mut |_, batch| {
            parts.push(conformed(batch, view)?);
            Ok(())
        })?;
        content(view, txn, &mut |_, batch| {
            parts.push(batch.negate());
            Ok(())
        })?;
        Batch::concat(&view.schema(), &parts)?.consolidate()
    }
}

impl LiveView {
    pub(super) fn new(
        relation: &Arc<Relation>,
        dataflow: Dataflow,
        node: &Node,
        relations: &Relations,
    ) -> Self {
        let version = |id: &RelationId| Some((*id, relations.get(*id)?.schema_version));
        Self {
            relation: relation.clone(),
            input_versions: dataflow.inputs().iter().filter_map(version).collect(),
            dataflow,
            explained: Arc::new(ExplainedNode::of_view(relation.id, node)),
            recent: RecentSteps::default(),
        }
    }
}

/// Rows of a view's plan as rows of the view.
pub(super) fn conformed(batch: Batch, view: &Relation) -> Result<Batch> {
    let (rows, weights) = batch.into_parts();
    Batch::new(conform(&rows, &view.schema())?, weights)
}
