//! Aggregates whose calls want their rows in several orders. DataFusion runs such a node only if one order serves all of them, and
//! whether it does may depend on what it knows of the rows. What cannot be run as it is becomes an aggregate for each order,
//! joined by the groups, which are the same in all of them.

use super::aggregate::is_incremental;
use super::recompute::Inputs;
use super::{Lowering, planning};
use crate::Rung;
use datafusion::common::{Column, JoinType, NullEquality};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder};
use viewfeed_change::Result;

impl Lowering<'_> {
    /// `plan` as one that can be run, if it is such an aggregate and cannot.
    pub(super) fn in_one_order_each(&self, plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = plan else {
            return Ok(None);
        };
        let parts = by_order(&aggregate.aggr_expr);
        let is_set = |expr: &Expr| matches!(expr, Expr::GroupingSet(_));
        if parts.len() < 2 || aggregate.group_expr.iter().any(is_set) {
            return Ok(None);
        }
        let is_incremental = self.best == Rung::Incremental && aggregate.aggr_expr.iter().all(is_incremental);
        if is_incremental || self.can_run(plan)? {
            return Ok(None);
        }
        joined(aggregate, &parts).map(Some).map_err(planning)
    }

    /// Whether DataFusion can run this node over the rows of its inputs, whatever these are.
    fn can_run(&self, plan: &LogicalPlan) -> Result<bool> {
        let (kept, _) = self.keep(plan, &mut Inputs::default())?;
        Ok(self.planner.prepare_over(kept).is_ok())
    }
}

/// The places of calls that want the same order; those that want none are with the first ones.
fn by_order(calls: &[Expr]) -> Vec<Vec<usize>> {
    let mut orders: Vec<&[Sort]> = Vec::new();
    let mut parts: Vec<Vec<usize>> = Vec::new();
    let mut anywhere = Vec::new();
    for (place, call) in calls.iter().enumerate() {
        let order = order_of(call);
        match orders.iter().position(|known| *known == order) {
            _ if order.is_empty() => anywhere.push(place),
            Some(part) => parts[part].push(place),
            None => {
                orders.push(order);
                parts.push(vec![place]);
            }
        }
    }
    if let Some(first) = parts.first_mut() {
        first.append(&mut anywhere);
    }
    parts
}

fn order_of(call: &Expr) -> &[Sort] {
    match call {
        Expr::Alias(alias) => order_of(&alias.expr),
        Expr::AggregateFunction(call) => &call.params.order_by,
        _ => &[],
    }
}

/// An aggregate for each part, joined; with the columns of `aggregate`.
fn joined(aggregate: &Aggregate, parts: &[Vec<usize>]) -> DataFusionResult<LogicalPlan> {
    let groups = aggregate.group_expr.len();
    let key = |part: usize, group: usize| format!("__group_{part}_{group}");
    let call = |place: usize| format!("__call_{place}");
    let mut whole: Option<LogicalPlanBuilder> = None;
    for (part, places) in parts.iter().enumerate() {
        let calls = places.iter().map(|place| aggregate.aggr_expr[*place].clone());
        let one = LogicalPlanBuilder::from(aggregate.input.as_ref().clone());
        let one = one.aggregate(aggregate.group_expr.clone(), calls)?;
        let names = (0..groups)
            .map(|group| key(part, group))
            .chain(places.iter().map(|place| call(*place)));
        let columns = one.schema().columns().into_iter().zip(names);
        let columns: Vec<Expr> = columns
            .map(|(column, name)| Expr::Column(column).alias(name))
            .collect();
        let one = one.project(columns)?;
        whole = Some(match whole {
            None => one,
            Some(whole) if groups == 0 => whole.cross_join(one.build()?)?,
            Some(whole) => {
                let keys = |part: usize| -> Vec<Column> {
                    (0..groups)
                        .map(|group| Column::from_name(key(part, group)))
                        .collect()
                };
                let (right, on) = (one.build()?, (keys(0), keys(part)));
                let equal = NullEquality::NullEqualsNull;
                whole.join_detailed(right, JoinType::Inner, on, None, equal)?
            }
        });
    }
    let whole = whole.expect("there are at least two parts");
    let names = (0..groups)
        .map(|group| key(0, group))
        .chain((0..aggregate.aggr_expr.len()).map(call));
    let fields = aggregate.schema.columns().into_iter().zip(names);
    let columns: Vec<Expr> = fields
        .map(|(column, name)| {
            Expr::Column(Column::from_name(name)).alias_qualified(column.relation, column.name)
        })
        .collect();
    whole.project(columns)?.build()
}
