//! What live modules serve: a statement that would take it away is refused.

use super::Pipeline;
use std::sync::Arc;
use viewfeed_catalog::{Binding, Query, Rpc, Select};
use viewfeed_change::{Error, ErrorKind, Relation, Relations, Result};
use viewfeed_query::Purpose;

impl Pipeline {
    /// Fails if a live module streams or writes `relation`, which is about to go.
    pub(super) fn refuse_if_bound(&self, relation: &Relation) -> Result<()> {
        let modules = self.modules.borrow().clone();
        let bound = modules.rpcs.values().find(|rpc| is_bound(&rpc.binding, relation));
        match bound {
            Some(rpc) => Err(served(&format!("\"{}\"", relation.name), rpc)),
            None => Ok(()),
        }
    }

    /// Fails if a live module's query could be answered over the relations `before`, but not over those `after`.
    pub(super) fn refuse_if_unanswerable(
        &self,
        before: &Arc<Relations>,
        after: &Arc<Relations>,
    ) -> Result<()> {
        let is_other = |old: &Arc<Relation>| {
            let new = after.get(old.id);
            new.is_none_or(|new| new.schema_version != old.schema_version)
        };
        if !before.iter().any(is_other) {
            // What only came can take nothing away.
            return Ok(());
        }
        let modules = self.modules.borrow().clone();
        for rpc in modules.rpcs.values() {
            let Binding::Query(query) = &rpc.binding else {
                continue;
            };
            if let Err(error) = self.answers(query, rpc, after)
                && self.answers(query, rpc, before).is_ok()
            {
                return Err(served("what is changed", rpc).because(error));
            }
        }
        Ok(())
    }

    /// Whether a SELECT can be planned over `relations`, and if not, why.
    pub(super) fn plans(&self, select: &Select, relations: &Arc<Relations>) -> Result<()> {
        let Select {
            sql,
            params,
            search_schema,
            ..
        } = select;
        let plan = self
            .planner
            .plan_with_params(sql, params, relations, search_schema, Purpose::Batch);
        plan.map(drop)
    }

    fn answers(&self, query: &Query, rpc: &Rpc, relations: &Arc<Relations>) -> Result<()> {
        let select = query.select(&prost_reflect::DynamicMessage::new(rpc.method.input()))?;
        self.plans(&select, relations)
    }
}

/// Whether an rpc's streams or writes would lose their relation. (A query names its relations in SQL.)
fn is_bound(binding: &Binding, relation: &Relation) -> bool {
    match binding {
        Binding::Subscribe(subscribe) => subscribe.relation.id == relation.id,
        Binding::Mutate(mutate) => mutate.table.id == relation.id,
        Binding::Query(_) | Binding::Unbound(_) => false,
    }
}

fn served(what: &str, rpc: &Rpc) -> Error {
    let message = format!("{what} is served by {} of module \"{}\"", rpc.path, rpc.module);
    Error::new(ErrorKind::Precondition, "SERVED_BY_MODULE", message)
        .hint("remove or change the rpc in the module first")
}
