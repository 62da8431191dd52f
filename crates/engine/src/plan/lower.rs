//! Walks DataFusion's plan and lowers node by node. What has no incremental operator becomes a recomputed node of the
//! smallest possible part of the plan, so nothing DataFusion can run is refused.

use super::expression::{Unsupported, text, texts};
use super::{Facts, Kind, Node, nullable_schema, plain_schema, planning};
use crate::Rung;
use crate::operator::filter_project::Stage;
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, TableScan, Union};
use std::sync::Arc;
use viewfeed_change::Result;
use viewfeed_query::{Planner, relation_of};

/// Lowers one view's plan.
pub(crate) struct Lowering<'a> {
    pub(super) planner: &'a Planner,
    pub(super) best: Rung,
}

/// A lowered node, or why there is none.
pub(super) type Attempt = std::result::Result<Node, Unsupported>;

impl<'a> Lowering<'a> {
    /// With expressions compiled by `planner`; nodes that have a choice stand on no better rung than `best`.
    pub(crate) fn new(planner: &'a Planner, best: Rung) -> Self {
        Self { planner, best }
    }

    /// The node that keeps the rows of `plan`. The order of rows is not part of them.
    pub(crate) fn lower(&self, plan: &LogicalPlan) -> Result<Node> {
        if let Some(parts) = self.in_one_order_each(plan)? {
            return self.lower(&parts);
        }
        match self.attempt_at_best(plan)? {
            Ok(node) => Ok(node),
            Err(reason) => self.recompute(plan, reason),
        }
    }

    /// Nodes of which only some rows are kept have no choice: which, where the query leaves it open, is for the
    /// incremental operator to say.
    fn attempt_at_best(&self, plan: &LogicalPlan) -> Result<Attempt> {
        let has_choice = matches!(
            plan,
            LogicalPlan::Join(_)
                | LogicalPlan::Aggregate(_)
                | LogicalPlan::Window(_)
                | LogicalPlan::Union(_)
                | LogicalPlan::RecursiveQuery(_)
                | LogicalPlan::Distinct(Distinct::All(_))
        );
        match (self.best, plan) {
            (Rung::Recompute, _) if has_choice => Ok(Err("asked for".to_owned())),
            (Rung::Scoped, LogicalPlan::Aggregate(aggregate)) => {
                match self.scoped_aggregate(aggregate, "asked for".to_owned())? {
                    Ok(node) => Ok(Ok(node)),
                    Err(_) => self.attempt(plan),
                }
            }
            _ => self.attempt(plan),
        }
    }

    fn attempt(&self, plan: &LogicalPlan) -> Result<Attempt> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::SubqueryAlias(alias) => self.lower(&alias.input).map(Ok),
            LogicalPlan::Repartition(repartition) => self.lower(&repartition.input).map(Ok),
            LogicalPlan::Sort(sort) => self.sort(sort),
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Filter(filter) => {
                if let Some(attempt) = self.filter_by_clock(filter)? {
                    return Ok(attempt);
                }
                if let Some(attempt) = self.filter_by_scalars(filter)? {
                    return Ok(attempt);
                }
                if let Some(node) = self.filtered_by_number(filter)? {
                    return Ok(Ok(node));
                }
                if let Err(reason) = self.compile(&filter.predicate, filter.input.schema()) {
                    return Ok(Err(reason));
                }
                let input = self.lower(&filter.input)?;
                Ok(self.filter(input, &filter.predicate, filter.input.schema()))
            }
            LogicalPlan::Projection(projection) => {
                if let Some(attempt) = self.project_scalars(projection)? {
                    return Ok(attempt);
                }
                if let Some(node) = self.projected_by_number(projection)? {
                    return Ok(Ok(node));
                }
                let schema = projection.input.schema();
                if let Err(reason) = self.compile_all(&projection.expr, schema) {
                    return Ok(Err(reason));
                }
                let input = self.lower(&projection.input)?;
                Ok(self.project(input, &projection.expr, schema, &projection.schema))
            }
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Aggregate(aggregate) => match self.aggregate(aggregate)? {
                Ok(node) => Ok(Ok(node)),
                Err(reason) => self.scoped_aggregate(aggregate, reason),
            },
            LogicalPlan::Window(window) => self.window(window),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest),
            LogicalPlan::Union(union) => self.union(union).map(Ok),
            LogicalPlan::EmptyRelation(relation) => self.empty(relation),
            LogicalPlan::Values(values) => self.values(values),
            LogicalPlan::Distinct(Distinct::All(input)) => Ok(Ok(distinct(self.lower(input)?))),
            LogicalPlan::Distinct(Distinct::On(on)) => self.distinct_on(on),
            LogicalPlan::RecursiveQuery(query) => self.recursion(query),
            other => Ok(Err(reason_of(other).to_owned())),
        }
    }

    fn scan(&self, scan: &TableScan) -> Result<Attempt> {
        let relation = relation_of(scan).as_ref().map(Node::source);
        let Some(mut node) = relation.or_else(|| self.reference(scan)) else {
            return Ok(Err("a table that is not a relation".to_owned()));
        };
        if scan.fetch.is_some() {
            return Ok(Err("a limit".to_owned()));
        }
        let full = DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())
            .map_err(planning)?;
        for predicate in &scan.filters {
            node = match self.filter(node, predicate, &full) {
                Ok(node) => node,
                Err(reason) => return Ok(Err(reason)),
            };
        }
        Ok(Ok(match &scan.projection {
            Some(columns) => node.select(columns.clone()),
            None => node,
        }))
    }

    /// The rows of `input` for which `predicate` over `schema` is true.
    pub(super) fn filter(&self, input: Node, predicate: &Expr, schema: &DFSchema) -> Attempt {
        let predicate_text = format!("filter[{}]", text(predicate));
        let predicate = self.compile(predicate, schema)?;
        let input = input.cast_to(schema);
        let facts = input.facts.clone();
        Ok(input.staged(Stage::Filter(predicate), predicate_text, facts))
    }

    /// One row for each of `input`, made of `exprs` over `schema`, typed as in `output`.
    pub(super) fn project(
        &self,
        input: Node,
        exprs: &[Expr],
        schema: &DFSchema,
        output: &DFSchema,
    ) -> Attempt {
        let origins: Vec<Option<usize>> = exprs.iter().map(|expr| origin(expr, schema)).collect();
        if let Some(columns) = origins.iter().copied().collect::<Option<Vec<usize>>>() {
            return Ok(renamed(input.select(columns), output));
        }
        let compiled = self.compile_all(exprs, schema)?;
        let input = input.cast_to(schema);
        let facts = input.facts.select(&origins);
        let output = nullable_schema(output.fields().iter().map(|field| field.as_ref()));
        let text = format!("project[{}]", texts(exprs));
        Ok(input.staged(Stage::Compute(compiled, output), text, facts))
    }

    pub(super) fn compile_all(
        &self,
        exprs: &[Expr],
        schema: &DFSchema,
    ) -> std::result::Result<Vec<Arc<dyn datafusion::physical_expr::PhysicalExpr>>, Unsupported> {
        exprs.iter().map(|expr| self.compile(expr, schema)).collect()
    }

    fn union(&self, union: &Union) -> Result<Node> {
        let inputs = union
            .inputs
            .iter()
            .map(|input| Ok(self.lower(input)?.cast_to(&union.schema)))
            .collect::<Result<Vec<_>>>()?;
        let schema = plain_schema(union.schema.fields().iter().map(|field| field.as_ref()));
        Ok(Node {
            kind: Kind::Union,
            facts: Facts::unknown(schema.fields().len()),
            inputs,
            schema,
        })
    }
}

/// Every row of `input` once. Rows with a key are that already.
pub(super) fn distinct(input: Node) -> Node {
    if input.facts.key.is_some() {
        return input;
    }
    Node {
        schema: input.schema.clone(),
        facts: Facts {
            key: Some((0..input.schema.fields().len()).collect()),
            ..input.facts.clone()
        },
        kind: Kind::Distinct,
        inputs: vec![input],
    }
}

/// `node` with the column names of `output`; only names differ.
fn renamed(mut node: Node, output: &DFSchema) -> Node {
    if node.as_source().is_none() && !output.fields().is_empty() {
        node.schema = plain_schema(
            node.schema
                .fields()
                .iter()
                .zip(output.fields())
                .map(|(ours, theirs)| ours.as_ref().clone().with_name(theirs.name()))
                .collect::<Vec<_>>()
                .iter(),
        );
    }
    node
}

/// The column of `schema` that `expr` is a copy of.
pub(super) fn origin(expr: &Expr, schema: &DFSchema) -> Option<usize> {
    match expr {
        Expr::Alias(alias) => origin(&alias.expr, schema),
        Expr::Column(column) => schema.maybe_index_of_column(column),
        _ => None,
    }
}

/// Why there is no incremental operator for this kind of node.
fn reason_of(plan: &LogicalPlan) -> &'static str {
    match plan {
        LogicalPlan::Subquery(_) => "a correlated subquery",
        _ => "no incremental operator for it yet",
    }
}
