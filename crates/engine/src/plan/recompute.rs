//! The fallback: a part of DataFusion's plan is kept as it is and executed again when one of its inputs changed. Its
//! inputs are lowered as usual; in the plan, scans of made-up relations stand for them.
//!
//! What the result is when SQL leaves it open (LIMIT without ORDER BY, ties, `random()`, sums of floats) is decided by
//! each execution anew. That never breaks a view: the change handed on is the difference to the stored output, so
//! the output always equals the last execution, and every row is taken away as it was added.

use super::expression::{follows_clock, text, texts};
use super::lower::origin;
use super::{Facts, Kind, Lowering, Node, RecomputePlan, plain_schema, planning, recursion};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, SortExpr, cast};
use std::collections::BTreeMap;
use std::sync::Arc;
use viewfeed_change::{
    Column, Error, LogicalType, Relation, RelationId, RelationKind, RelationName, Relations, Result,
    SourceId, Table,
};
use viewfeed_query::{Planner, Purpose, relation_of};

/// The inputs of a recomputed part, as they are found.
#[derive(Default)]
pub(super) struct Inputs {
    pub(super) nodes: Vec<Node>,
    pub(super) scans: Vec<RelationId>,
}

impl Lowering<'_> {
    /// A node that executes `plan` again whenever an input changes.
    pub(super) fn recompute(&self, plan: &LogicalPlan, reason: String) -> Result<Node> {
        let mut inputs = Inputs::default();
        let (kept, mut facts) = self.keep(plan, &mut inputs)?;
        inputs.add_relations(&kept)?;
        let schema = plain_schema(plan.schema().fields().iter().map(|field| field.as_ref()));
        facts.meaning.resize(schema.fields().len(), LogicalType::Plain);
        Ok(Node {
            facts,
            schema,
            kind: Kind::Recompute(Box::new(RecomputePlan {
                follows_clock: follows_clock(&kept),
                plan: kept,
                scans: inputs.scans,
                text: shown(plan),
                reason,
            })),
            inputs: inputs.nodes,
        })
    }

    /// `plan` with scans of made-up relations in place of its inputs, and what is known about its rows.
    pub(super) fn keep(&self, plan: &LogicalPlan, inputs: &mut Inputs) -> Result<(LogicalPlan, Facts)> {
        let width = plan.schema().fields().len();
        if is_closed(plan) {
            return Ok((plan.clone(), Facts::unknown(width)));
        }
        let ordered = hands_on_order(plan);
        let (mut facts, mut failed) = (Vec::new(), None);
        let replaced = plan.clone().map_children(|child| {
            let part_of_order = ordered && (matches!(child, LogicalPlan::Sort(_)) || hands_on_order(&child));
            let kept = match part_of_order {
                true => self.keep(&child, inputs),
                false => self.input(&child, inputs),
            };
            Ok(Transformed::yes(match kept {
                Ok((kept, known)) => {
                    facts.push(known);
                    kept
                }
                Err(error) => {
                    failed = Some(error);
                    child
                }
            }))
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let known = facts_of(plan, &facts).unwrap_or_else(|| Facts::unknown(width));
        Ok((replaced.map_err(planning)?.data, known))
    }

    /// What stands for the input `child` in the kept plan.
    fn input(&self, child: &LogicalPlan, inputs: &mut Inputs) -> Result<(LogicalPlan, Facts)> {
        if is_constant(child)? || is_closed_subquery(child) {
            return Ok((child.clone(), Facts::unknown(child.schema().fields().len())));
        }
        let node = self.lower(child)?;
        let mut facts = node.facts.clone();
        facts.meaning.truncate(child.schema().fields().len());
        match is_whole_scan(child) {
            true => Ok((child.clone(), facts)),
            false => Ok((inputs.add(self.planner, node, child.schema())?, facts)),
        }
    }
}

impl Inputs {
    /// Every relation that `kept` and its subqueries still scan themselves.
    pub(super) fn add_relations(&mut self, kept: &LogicalPlan) -> Result<()> {
        let mut found = BTreeMap::new();
        kept.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node
                && let Some(relation) = relation_of(scan)
            {
                found.insert(relation.id, relation);
            }
            Ok(TreeNodeRecursion::Continue)
        })
        .map_err(planning)?;
        for relation in found.values().filter(|relation| relation.id.0 < FIRST_MADE_UP) {
            self.scans.push(relation.id);
            self.nodes.push(Node::source(relation));
        }
        Ok(())
    }

    /// A scan of a made-up relation that holds the rows of `node`, with the names and types of `schema`.
    fn add(&mut self, planner: &Planner, node: Node, schema: &DFSchema) -> Result<LogicalPlan> {
        let place = u32::try_from(self.scans.len()).map_err(|_| Error::internal("too many inputs"))?;
        let mut relations = Relations::default();
        let relation = relations.put(made_up(RelationId(FIRST_MADE_UP + place), &node))?;
        let sql = format!("SELECT * FROM {}", relation.name.name);
        let scan = planner.plan_sql(&sql, &Arc::new(relations), RelationName::PUBLIC, Purpose::View)?;
        self.scans.push(relation.id);
        self.nodes.push(node);
        let stored = scan.schema().columns();
        let exprs = schema.iter().enumerate().map(|(i, (qualifier, field))| {
            let column = Expr::Column(stored[i].clone());
            let typed = match relation.columns[i].data_type == *field.data_type() {
                true => column,
                false => cast(column, field.data_type().clone()),
            };
            typed.alias_qualified(qualifier.cloned(), field.name())
        });
        let exprs: Vec<Expr> = exprs.collect();
        LogicalPlanBuilder::from(scan)
            .project(exprs)
            .and_then(LogicalPlanBuilder::build)
            .map_err(planning)
    }
}

/// The first id of relations that stand for inputs; real ones, counted from 1, never get there.
const FIRST_MADE_UP: u32 = 0xFFFF_0000;

fn made_up(id: RelationId, node: &Node) -> Relation {
    let columns = node
        .schema
        .fields()
        .iter()
        .enumerate()
        .map(|(i, field)| Column::new(i as u32 + 1, format!("c{i}"), field.data_type().clone(), true));
    Relation {
        id,
        name: RelationName::new(RelationName::PUBLIC, format!("input_{}", id.0 - FIRST_MADE_UP)),
        columns: columns.collect(),
        key: Vec::new(),
        kind: RelationKind::Table(Table {
            source: SourceId::new("engine"),
            checks: Vec::new(),
            indexes: Vec::new(),
        }),
        schema_version: 1,
    }
}

/// Whether a plan must be kept whole: its parts refer to each other in ways a scan cannot stand for.
fn is_closed(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::RecursiveQuery(_) | LogicalPlan::TableScan(_)) || is_closed_subquery(plan)
}

/// Whether a plan refers to columns of the query around it.
fn is_closed_subquery(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Subquery(_))
}

/// Whether a plan reads no relation, so that its rows never change by themselves.
fn is_constant(plan: &LogicalPlan) -> Result<bool> {
    let mut constant = true;
    plan.apply_with_subqueries(|node| {
        constant &= !matches!(node, LogicalPlan::TableScan(_));
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(planning)?;
    Ok(constant)
}

/// Whether rows come out of `plan` in the order of a sort below it: that order decides what a limit keeps.
pub(super) fn hands_on_order(plan: &LogicalPlan) -> bool {
    let in_order = matches!(
        plan,
        LogicalPlan::Limit(_)
            | LogicalPlan::Projection(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Filter(_)
    );
    let below = || plan.inputs().first().copied();
    in_order && below().is_some_and(|input| matches!(input, LogicalPlan::Sort(_)) || hands_on_order(input))
}

/// Whether `plan` is a relation, unfiltered.
pub(super) fn is_whole_scan(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => scan.filters.is_empty() && scan.fetch.is_none(),
        LogicalPlan::SubqueryAlias(alias) => is_whole_scan(&alias.input),
        _ => false,
    }
}

/// What follows for the output from what is known about the inputs.
fn facts_of(plan: &LogicalPlan, inputs: &[Facts]) -> Option<Facts> {
    let mut facts = match (plan, inputs) {
        (LogicalPlan::Filter(_) | LogicalPlan::Sort(_) | LogicalPlan::Limit(_), [input])
            if input.meaning.len() == plan.schema().fields().len() =>
        {
            input.clone()
        }
        (LogicalPlan::SubqueryAlias(_), [input]) => input.clone(),
        (LogicalPlan::Window(_), [input]) => input.clone(),
        (LogicalPlan::Projection(projection), [input]) => {
            let schema = projection.input.schema();
            let origins: Vec<Option<usize>> =
                projection.expr.iter().map(|expr| origin(expr, schema)).collect();
            let in_range = origins
                .iter()
                .flatten()
                .all(|column| *column < input.meaning.len());
            in_range.then(|| input.select(&origins))?
        }
        (LogicalPlan::Aggregate(aggregate), _)
            if !aggregate
                .group_expr
                .iter()
                .any(|expr| matches!(expr, Expr::GroupingSet(_))) =>
        {
            Facts {
                key: Some((0..aggregate.group_expr.len()).collect()),
                ..Facts::unknown(plan.schema().fields().len())
            }
        }
        _ => return None,
    };
    facts
        .meaning
        .resize(plan.schema().fields().len(), LogicalType::Plain);
    Some(facts)
}

/// A node of DataFusion's plan, as shown.
pub(super) fn shown(plan: &LogicalPlan) -> String {
    match plan {
        LogicalPlan::Limit(limit) => {
            let part = |name: &str, count: &Option<Box<Expr>>| match count {
                Some(count) => format!(" {name}={}", text(count)),
                None => String::new(),
            };
            let counts = part("k", &limit.fetch) + &part("offset", &limit.skip);
            match order_below(&limit.input) {
                Some(order) => format!("TopK {order}{counts}"),
                None => format!("Limit{counts}"),
            }
        }
        LogicalPlan::Join(join) => {
            let on = join.on.iter().map(|(l, r)| format!("{} = {}", text(l), text(r)));
            format!(
                "Join {} on[{}]",
                join.join_type,
                on.collect::<Vec<_>>().join(", ")
            )
        }
        LogicalPlan::Window(window) => format!("Window {}", texts(&window.window_expr)),
        LogicalPlan::Filter(filter) => format!("Filter {}", text(&filter.predicate)),
        LogicalPlan::Projection(projection) => format!("Project {}", texts(&projection.expr)),
        LogicalPlan::Aggregate(aggregate) => {
            let group = texts(&aggregate.group_expr);
            format!("Aggregate group[{group}] {}", texts(&aggregate.aggr_expr))
        }
        LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => "Constant".to_owned(),
        LogicalPlan::RecursiveQuery(query) => recursion::shown(query),
        other => other.display().to_string(),
    }
}

/// The order in which rows come out of `plan`, if there is a sort that decides it.
fn order_below(plan: &LogicalPlan) -> Option<String> {
    match plan {
        LogicalPlan::Sort(sort) => {
            let column = |by: &SortExpr| format!("{}{}", text(&by.expr), if by.asc { "" } else { " desc" });
            let columns: Vec<String> = sort.expr.iter().map(column).collect();
            Some(format!("order[{}]", columns.join(", ")))
        }
        other if hands_on_order(other) => order_below(other.inputs().first()?),
        _ => None,
    }
}
