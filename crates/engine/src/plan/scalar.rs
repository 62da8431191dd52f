//! Subqueries that stand for a value and do not depend on the row around them: each becomes a collection of at most one
//! row, whose column is put beside every row of the input. (Those that do depend on it DataFusion has made joins of.)
//!
//! Putting it beside is a join without a key: a change of the value is worth as many rows as the input has.

use super::expression::Unsupported;
use super::lower::Attempt;
use super::{Kind, Lowering, Node, planning};
use crate::operator::join::JoinForm;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, LogicalPlanBuilder, Projection, Subquery, lit};
use viewfeed_change::Result;

/// What the columns of the values are called, with a number.
const ALIAS: &str = "__scalar_";

/// Expressions without their subqueries.
struct Taken {
    exprs: Vec<Expr>,
    subqueries: Vec<Subquery>,
}

/// An input with values beside its rows.
struct Beside {
    /// DataFusion's plan of it, for its columns.
    plan: LogicalPlan,
    node: Node,
}

impl Lowering<'_> {
    /// A filter, if its condition has such subqueries.
    pub(super) fn filter_by_scalars(&self, filter: &Filter) -> Result<Option<Attempt>> {
        let Some(taken) = take(std::slice::from_ref(&filter.predicate)) else {
            return Ok(None);
        };
        if let ([subquery], [predicate]) = (taken.subqueries.as_slice(), taken.exprs.as_slice())
            && is_one_row(&subquery.subquery)
        {
            return self.joined_with_row(filter, subquery, predicate).map(Some);
        }
        let beside = match self.beside(&filter.input, &taken)? {
            Ok(beside) => beside,
            Err(reason) => return Ok(Some(Err(reason))),
        };
        let width = filter.input.schema().fields().len();
        let filtered = self.filter(beside.node, &taken.exprs[0], beside.plan.schema());
        Ok(Some(filtered.map(|node| node.select((0..width).collect()))))
    }

    /// The rows of a filter's input that its condition joins with the one row of a subquery.
    fn joined_with_row(&self, filter: &Filter, subquery: &Subquery, predicate: &Expr) -> Result<Attempt> {
        let plan = with_value((*filter.input).clone(), subquery, 0, (JoinType::Inner, predicate))?;
        let LogicalPlan::Join(join) = &plan else {
            return Ok(Err("a subquery in an expression".to_owned()));
        };
        let condition = match self.condition(join) {
            Ok(condition) => condition,
            Err(reason) => return Ok(Err(reason)),
        };
        let (input, row) = (self.lower(&filter.input)?, self.lower(&subquery.subquery)?);
        let width = filter.input.schema().fields().len();
        let joined = self.join_sides(join, JoinForm::Inner, condition, input, row);
        Ok(joined.map(|node| node.select((0..width).collect())))
    }

    /// A projection, if its expressions have such subqueries.
    pub(super) fn project_scalars(&self, projection: &Projection) -> Result<Option<Attempt>> {
        let Some(taken) = take(&projection.expr) else {
            return Ok(None);
        };
        let beside = match self.beside(&projection.input, &taken)? {
            Ok(beside) => beside,
            Err(reason) => return Ok(Some(Err(reason))),
        };
        let schema = beside.plan.schema();
        Ok(Some(self.project(
            beside.node,
            &taken.exprs,
            schema,
            &projection.schema,
        )))
    }

    /// `input` with the value of each subquery as a further column.
    fn beside(&self, input: &LogicalPlan, taken: &Taken) -> Result<std::result::Result<Beside, Unsupported>> {
        let mut plan = input.clone();
        if let Err(reason) = self.compile_taken(&plan, taken)? {
            return Ok(Err(reason));
        }
        let mut node = self.lower(input)?;
        for (i, subquery) in taken.subqueries.iter().enumerate() {
            let value = single(self.lower(&subquery.subquery)?);
            plan = with_value(plan, subquery, i, (JoinType::Left, &lit(true)))?;
            let LogicalPlan::Join(join) = &plan else {
                return Ok(Err("a subquery in an expression".to_owned()));
            };
            let form = JoinForm::Outer {
                left: true,
                right: false,
            };
            node = match self.join_sides(join, form, None, node, value) {
                Ok(node) => node,
                Err(reason) => return Ok(Err(reason)),
            };
        }
        Ok(Ok(Beside { plan, node }))
    }

    /// Whether the expressions can be computed once the values are there; before anything is lowered.
    fn compile_taken(
        &self,
        input: &LogicalPlan,
        taken: &Taken,
    ) -> Result<std::result::Result<(), Unsupported>> {
        let mut plan = input.clone();
        for (i, subquery) in taken.subqueries.iter().enumerate() {
            plan = with_value(plan, subquery, i, (JoinType::Left, &lit(true)))?;
        }
        Ok(self.compile_all(&taken.exprs, plan.schema()).map(|_| ()))
    }
}

/// `plan` beside the value of the `number`th subquery.
fn with_value(
    plan: LogicalPlan,
    subquery: &Subquery,
    number: usize,
    (form, on): (JoinType, &Expr),
) -> Result<LogicalPlan> {
    LogicalPlanBuilder::from(subquery.subquery.as_ref().clone())
        .alias(format!("{ALIAS}{number}"))
        .and_then(LogicalPlanBuilder::build)
        .and_then(|value| LogicalPlanBuilder::from(plan).join_on(value, form, [on.clone()]))
        .and_then(LogicalPlanBuilder::build)
        .map_err(planning)
}

/// Whether a plan gives one row, whatever it reads.
fn is_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => is_one_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_one_row(&alias.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        _ => false,
    }
}

/// Columns in the place of subqueries; None if there are none, or one depends on the row around it.
fn take(exprs: &[Expr]) -> Option<Taken> {
    let mut subqueries: Vec<Subquery> = Vec::new();
    let mut depends = false;
    let mut replace = |expr: Expr| match expr {
        Expr::ScalarSubquery(subquery) if subquery.outer_ref_columns.is_empty() => {
            let known = subqueries.iter().position(|known| *known == subquery);
            let number = known.unwrap_or(subqueries.len());
            let name = subquery.subquery.schema().field(0).name().clone();
            if known.is_none() {
                subqueries.push(subquery);
            }
            Ok(Transformed::yes(Expr::Column(Column::new(
                Some(format!("{ALIAS}{number}")),
                name,
            ))))
        }
        Expr::ScalarSubquery(_) => {
            depends = true;
            Ok(Transformed::no(expr))
        }
        other => Ok(Transformed::no(other)),
    };
    // `replace` never fails
    let exprs: Option<Vec<Expr>> = exprs
        .iter()
        .map(|expr| Some(expr.clone().transform_up(&mut replace).ok()?.data))
        .collect();
    (!subqueries.is_empty() && !depends).then_some(Taken {
        exprs: exprs?,
        subqueries,
    })
}

/// `node`, which must have at most one row.
fn single(node: Node) -> Node {
    if node.facts.key.as_ref().is_some_and(Vec::is_empty) {
        return node;
    }
    let mut facts = node.facts.clone();
    facts.key = Some(Vec::new());
    Node {
        schema: node.schema.clone(),
        facts,
        kind: Kind::Single,
        inputs: vec![node],
    }
}
