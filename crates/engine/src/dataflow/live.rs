//! A dataflow that is filled piece by piece while its relations change: it is stepped as any other, over the rows up to a
//! position of each relation, which the rows beyond it join as inserts.

use super::circuit::Pass;
use super::prefix::Prefix;
use super::{Builder, Dataflow};
use crate::plan::{Kind, Node};
use std::collections::BTreeMap;
use std::sync::Arc;
use viewfeed_change::{Batch, ColumnPath, Relation, RelationId, Result, Timestamp};
use viewfeed_query::Planner;
use viewfeed_store::Txn;
use viewfeed_store::arrange::{self, Arrangement};

impl Dataflow {
    /// The operators for `node` of `view`, which is being filled. Makes the states that are missing; arrangements of
    /// relations are only begun.
    pub(crate) fn build_filling(
        planner: &Planner,
        view: RelationId,
        node: &Node,
        txn: &mut Txn,
    ) -> Result<Self> {
        Self::built(planner, view, node, true, txn)
    }

    /// Whether it sees only the rows up to a position of each relation.
    pub(crate) fn is_filling(&self) -> bool {
        self.is_filling
    }

    /// The arrangements it needs that do not hold everything yet.
    pub(crate) fn missing(&self) -> &[(Arc<Relation>, Vec<ColumnPath>)] {
        &self.missing
    }

    /// Once every relation is read: computes what was put off to the end. Gives the change of the view by that; not
    /// consolidated. Seals as it goes.
    pub(crate) fn finish(&self, now: Timestamp, txn: &mut Txn) -> Result<Option<Batch>> {
        match self.circuit.has_deferred() {
            true => self.circuit.run(&Pass::Finish, now, txn),
            false => Ok(None),
        }
    }
}

impl Builder<'_> {
    /// The rows of `relation` by `key` up to the position of the view.
    pub(super) fn arranged_prefix(
        &mut self,
        relation: &Arc<Relation>,
        key: Vec<ColumnPath>,
    ) -> Result<Arc<dyn Arrangement>> {
        let primary = arrange::primary(&self.txn.now(), relation)?;
        let whole = match key.is_empty() || key == relation.key_paths() {
            true => primary.clone(),
            false if arrange::begin(self.txn, relation, &key)? => {
                let wanted = (relation.clone(), key);
                if !self.missing.contains(&wanted) {
                    self.missing.push(wanted);
                }
                primary.clone()
            }
            false => arrange::ensure(self.txn, relation, &key)?,
        };
        Ok(Arc::new(Prefix::new(self.view, relation, whole, primary)))
    }
}

/// The relations below `node` in the order in which they are best read: what others are joined *to* first, so that the
/// rows of the others find their partners at once, and of two that come together the smaller first. `rows`: about how
/// many rows each has.
pub(crate) fn reading_order(node: &Node, rows: &BTreeMap<RelationId, u64>) -> Vec<RelationId> {
    fn visit(node: &Node, rows: &BTreeMap<RelationId, u64>, order: &mut Vec<RelationId>) {
        if let Some(relation) = node.as_source()
            && !order.contains(&relation.id)
        {
            order.push(relation.id);
        }
        let mut inputs: Vec<&Node> = node.inputs.iter().collect();
        let size = |input: &Node| -> u64 {
            let below = input.relations();
            below.iter().filter_map(|id| rows.get(id)).sum()
        };
        if let Kind::DeltaJoin(_) = &node.kind {
            inputs.sort_by_key(|input| size(input));
        }
        if let Kind::Recursion(_) = &node.kind {
            inputs.reverse();
        }
        if let Kind::Join(plan) = &node.kind {
            let right_first = match (plan.counts_partners(0), plan.counts_partners(1)) {
                (true, false) => true,
                (false, true) => false,
                _ => size(&node.inputs[1]) <= size(&node.inputs[0]),
            };
            if right_first {
                inputs.reverse();
            }
        }
        inputs.into_iter().for_each(|input| visit(input, rows, order));
    }
    let mut order = Vec::new();
    visit(node, rows, &mut order);
    order
}
