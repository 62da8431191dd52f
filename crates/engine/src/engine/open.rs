//! Bringing views back: from their state if it is of the same plan, by filling them anew if not.

use super::record::{self, Record};
use super::step::guarded;
use super::{Engine, LiveView, Schedule, after_inputs, definition};
use crate::dataflow::Dataflow;
use std::collections::BTreeSet;
use std::sync::Arc;
use viewfeed_change::{Error, ErrorKind, Relation, RelationId, Relations, Result};
use viewfeed_store::Txn;

/// What may be done about a view whose state is of no use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Repair {
    /// Fill it anew: what is written will be kept.
    Fill,
    /// Leave it behind as failed: nothing that is written will be kept.
    Nothing,
}

impl Engine {
    /// Attaches every view of `relations`.
    pub(super) fn attach_all(
        &mut self,
        relations: &Arc<Relations>,
        txn: &mut Txn,
        repair: Repair,
    ) -> Result<()> {
        let inputs = |id| -> Option<BTreeSet<RelationId>> {
            let view = relations.get(id)?.as_view()?;
            Some(view.inputs.iter().copied().collect())
        };
        let mut filled = BTreeSet::new();
        let ids = relations.iter().map(|relation| relation.id);
        for view in after_inputs(ids, &inputs)
            .into_iter()
            .filter_map(|id| relations.get(id))
        {
            let attached = guarded(|| self.attach(view, relations, txn, repair, &mut filled));
            if let Err(error) = attached {
                let failure = record::failure(&error);
                tracing::error!(view = %view.name, error = %failure, "a view is not maintained");
                if repair == Repair::Fill {
                    record::remember(view.id, &failure, txn)?;
                }
                self.failed.insert(view.id, failure);
            }
        }
        txn.seal();
        self.schedule = Schedule::of(&self.views);
        Ok(())
    }

    fn attach(
        &mut self,
        view: &Arc<Relation>,
        relations: &Arc<Relations>,
        txn: &mut Txn,
        repair: Repair,
        filled: &mut BTreeSet<RelationId>,
    ) -> Result<()> {
        let inputs = &definition(view)?.inputs;
        if let Some(failed) = inputs.iter().find(|id| self.failed.contains_key(id)) {
            return Err(record::over_failed(relations, *failed));
        }
        let planned = self.replan(view, relations)?;
        let stored = Record::read(view.id, txn)?;
        let over_filled = inputs.iter().any(|id| filled.contains(id));
        if let Some(record) = stored.as_ref().filter(|record| record.filling.is_some()) {
            let is_same = !over_filled && record.is_of_plan(&Record::of(view.id, &planned.node));
            if is_same {
                return self.resume(view, &planned, record, relations, txn);
            }
            if repair == Repair::Fill {
                tracing::info!(view = %view.name, "beginning anew to fill a view");
                filled.insert(view.id);
                return self.begin_anew(view, &planned, txn);
            }
        }
        if !over_filled && stored.as_ref() == Some(&Record::of(view.id, &planned.node)) {
            let dataflow = Dataflow::build(&self.planner, view.id, &planned.node, txn)?;
            let live = LiveView::new(view, dataflow, &planned.node, relations);
            self.views.insert(view.id, live);
            return Ok(());
        }
        if repair == Repair::Nothing {
            let message = stored.and_then(|record| record.failure);
            return Err(message.map_or_else(foreign_state, record::remembered));
        }
        tracing::info!(view = %view.name, "filling a view anew");
        filled.insert(view.id);
        txn.seal();
        let delta = self.fill(view, &planned, relations, txn)?;
        if !delta.batch.is_empty() {
            self.opening.push(delta);
        }
        Ok(())
    }
}

fn foreign_state() -> Error {
    Error::new(
        ErrorKind::Precondition,
        "FOREIGN_STATE",
        "its state does not belong to its plan",
    )
}
