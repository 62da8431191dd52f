//! Parts of a plan that are computed again only for the rows that have to do with a change: windows by their partition,
//! and by their group the aggregates that have no incremental form. What they are scoped by becomes plain columns of the
//! input first.

use super::expression::{texts, unsupported};
use super::lower::{Attempt, origin};
use super::recompute::{Inputs, is_whole_scan, shown};
use super::{Kind, Lowering, Node, RescopePlan, plain_schema, planning};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, Window};
use std::sync::Arc;
use viewfeed_change::{LogicalType, Result};

/// A part of a plan and by which columns it is scoped.
struct Scoped<'a> {
    plan: &'a LogicalPlan,
    /// Its only input.
    input: &'a LogicalPlan,
    /// The columns of the input that are the scope.
    scope: Vec<usize>,
    /// The same columns among those of the output.
    output_scope: Vec<usize>,
    /// The scope, as shown.
    by: String,
    reason: String,
}

impl Lowering<'_> {
    /// Window functions that are not incremental for `reason`: by what all of them are partitioned by.
    pub(super) fn scoped_window(&self, window: &Window, reason: &str) -> Result<Attempt> {
        let partition = common_partition(&window.window_expr);
        if partition.is_empty() {
            return Ok(Err(format!("{reason}, and no PARTITION BY in common")));
        }
        let width = window.input.schema().fields().len();
        let (input, scope) = with_columns(&window.input, &partition)?;
        let added = input.schema().fields().len() - width;
        let widened = Window::try_new(window.window_expr.clone(), input.clone()).map_err(planning)?;
        let node = self.scoped(Scoped {
            plan: &LogicalPlan::Window(widened),
            input: &input,
            output_scope: scope.clone(),
            scope,
            by: texts(partition.iter().copied()),
            reason: reason.to_owned(),
        })?;
        Ok(node.map(|node| {
            let all = node.schema.fields().len();
            node.select((0..width).chain(width + added..all).collect())
        }))
    }

    /// An aggregate that is not incremental for `reason`: by its groups.
    pub(super) fn scoped_aggregate(&self, aggregate: &Aggregate, reason: String) -> Result<Attempt> {
        let group = &aggregate.group_expr;
        let is_set = |expr: &Expr| matches!(expr, Expr::GroupingSet(_));
        if group.is_empty() || group.iter().any(is_set) {
            return Ok(Err(reason));
        }
        if let Some(reason) = group.iter().chain(&aggregate.aggr_expr).find_map(unsupported) {
            return Ok(Err(reason));
        }
        let (input, scope) = with_columns(&aggregate.input, &group.iter().collect::<Vec<_>>())?;
        let widened = Aggregate::try_new(input.clone(), group.clone(), aggregate.aggr_expr.clone());
        self.scoped(Scoped {
            plan: &LogicalPlan::Aggregate(widened.map_err(planning)?),
            input: &input,
            output_scope: (0..scope.len()).collect(),
            scope,
            by: texts(group),
            reason,
        })
    }

    fn scoped(&self, scoped: Scoped<'_>) -> Result<Attempt> {
        let mut inputs = Inputs::default();
        let (kept, mut facts) = self.keep(scoped.plan, &mut inputs)?;
        inputs.add_relations(&kept)?;
        let ([scan], Ok([input])) = (inputs.scans.as_slice(), <[Node; 1]>::try_from(inputs.nodes)) else {
            return Ok(Err(format!("{}, over constants", scoped.reason)));
        };
        let scope: Vec<usize> = match is_whole_scan(scoped.input) {
            true => scoped
                .scope
                .iter()
                .map(|column| of_relation(scoped.input, *column))
                .collect(),
            false => scoped.scope,
        };
        let schema = plain_schema(scoped.plan.schema().fields().iter().map(|field| field.as_ref()));
        let of_one_type = |(from, to): (&usize, &usize)| {
            input.schema.field(*from).data_type() == schema.field(*to).data_type()
        };
        if !scope.iter().zip(&scoped.output_scope).all(of_one_type) {
            return Ok(Err(scoped.reason));
        }
        facts.meaning.resize(schema.fields().len(), LogicalType::Plain);
        Ok(Ok(Node {
            facts,
            schema,
            kind: Kind::Rescope(Box::new(RescopePlan {
                plan: kept,
                scan: *scan,
                scope,
                output_scope: scoped.output_scope,
                text: shown(scoped.plan),
                by: scoped.by,
                reason: scoped.reason,
            })),
            inputs: vec![input],
        }))
    }
}

/// What every one of `calls` is partitioned by.
fn common_partition(calls: &[Expr]) -> Vec<&Expr> {
    fn partition(expr: &Expr) -> &[Expr] {
        match expr {
            Expr::Alias(alias) => partition(&alias.expr),
            Expr::WindowFunction(function) => &function.params.partition_by,
            _ => &[],
        }
    }
    let Some((first, others)) = calls.split_first() else {
        return Vec::new();
    };
    let mut common: Vec<&Expr> = Vec::new();
    for expr in partition(first) {
        if !common.contains(&expr) && others.iter().all(|other| partition(other).contains(expr)) {
            common.push(expr);
        }
    }
    common
}

/// `input` with the values of `exprs` among its columns, and where: those that are no columns yet are added.
fn with_columns(input: &Arc<LogicalPlan>, exprs: &[&Expr]) -> Result<(Arc<LogicalPlan>, Vec<usize>)> {
    let schema: &DFSchema = input.schema();
    let mut all: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
    let width = all.len();
    let mut columns = Vec::with_capacity(exprs.len());
    for expr in exprs {
        columns.push(origin(expr, schema).unwrap_or_else(|| {
            all.push(
                (*expr)
                    .clone()
                    .unalias()
                    .alias(format!("__scope_{}", all.len() - width)),
            );
            all.len() - 1
        }));
    }
    if all.len() == width {
        return Ok((input.clone(), columns));
    }
    let widened = LogicalPlanBuilder::from(input.clone()).project(all);
    let widened = widened.and_then(LogicalPlanBuilder::build).map_err(planning)?;
    Ok((Arc::new(widened), columns))
}

/// The column of the relation that the unfiltered scan `plan` shows as `column`.
fn of_relation(plan: &LogicalPlan, column: usize) -> usize {
    match plan {
        LogicalPlan::TableScan(scan) => scan.projection.as_ref().map_or(column, |columns| columns[column]),
        LogicalPlan::SubqueryAlias(alias) => of_relation(&alias.input, column),
        _ => column,
    }
}
