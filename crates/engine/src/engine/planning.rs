//! Planning views: once for everything between the statement that makes a view and its completion.

use super::{Engine, NewView, definition};
use crate::ExplainedNode;
use crate::plan::{PlannedView, plan_view, replan_view};
use std::cell::RefCell;
use std::sync::Arc;
use viewfeed_change::{Error, Relation, RelationName, Relations, Result};

/// The view that was planned last, which most often is created next.
pub(super) type LastPlanned = RefCell<Option<Arc<PlannedView>>>;

impl Engine {
    /// Plans a view without creating it. Fails on SQL that DataFusion cannot plan, with its message.
    pub fn plan(&self, sql: &str, search_schema: &str, relations: &Arc<Relations>) -> Result<NewView> {
        let planned = plan_view(&self.planner, self.best, sql, search_schema, relations)?;
        let is_system = |named: &&Arc<Relation>| named.name.schema == RelationName::SYSTEM;
        if let Some(system) = planned.named.iter().find(is_system) {
            return Err(over_system(system));
        }
        let new = NewView {
            columns: planned.columns.clone(),
            key: planned.key.clone(),
            inputs: planned.named.iter().map(|relation| relation.id).collect(),
            explained: ExplainedNode::of(&planned.node),
        };
        self.last_planned.replace(Some(Arc::new(planned)));
        Ok(new)
    }

    /// The plan of a view whose columns are given.
    pub(super) fn replan(&self, view: &Relation, relations: &Arc<Relations>) -> Result<Arc<PlannedView>> {
        let definition = definition(view)?;
        let filling = self.filling.get(&view.id).map(|fill| fill.planned().clone());
        let known = [filling, self.last_planned.take()];
        let mut known = known.into_iter().flatten();
        match known.find(|planned| planned.serves(view, definition, relations)) {
            Some(planned) => Ok(planned),
            None => {
                let inputs = Arc::new(relations.only(&definition.inputs));
                replan_view(&self.planner, self.best, view, definition, &inputs).map(Arc::new)
            }
        }
    }
}

fn over_system(relation: &Relation) -> Error {
    let message = format!("a view cannot read \"{}\"", relation.name);
    Error::invalid("SYSTEM_RELATION", message).hint("read it with SELECT, or subscribe to it")
}
