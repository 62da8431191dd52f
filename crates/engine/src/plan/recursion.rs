//! WITH RECURSIVE: a term that begins it, and a term that is computed over what the step before gave. The second one is an
//! ordinary plan over a leaf that stands for these rows, to which one thing is done: every row that follows from them gets
//! the number of the step they came in as last column. So what operators keep of different steps is kept apart, and the
//! rows of all steps can be changed in one epoch.
//!
//! That needs nodes on the way that do to the rows of all steps at once what they would do to those of each: the rest is
//! computed again as a whole. DataFusion lets a term refer to itself once, so the way is a path.

use super::lower::Attempt;
use super::{Facts, JoinPlan, Kind, Lowering, Node, RecursionPlan, plain_schema, planning};
use crate::operator::filter_project::Stage;
use crate::operator::join::JoinForm;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::{LogicalPlan, RecursiveQuery, TableScan};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use std::sync::Arc;
use viewfeed_change::Result;
use viewfeed_query::recursion_of;

/// What the column is called that says in which step a row came.
const STEP: &str = "step";

impl Lowering<'_> {
    pub(super) fn recursion(&self, query: &RecursiveQuery) -> Result<Attempt> {
        if groups_twice(&query.recursive_term)? {
            return Ok(Err("an expression that is grouped by twice".to_owned()));
        }
        let schema = plain_schema(query.schema.fields().iter().map(|field| field.as_ref()));
        let body = self.lower(&query.recursive_term)?.cast_to(&query.schema);
        let body = match body.references(&query.name) {
            1 => stepped(body, &query.name),
            _ => Err("a recursive term that is not a chain of steps over its own rows".to_owned()),
        };
        let body = match body {
            Ok(body) => body,
            Err(reason) => return Ok(Err(reason)),
        };
        let start = self.lower(&query.static_term)?.cast_to(&query.schema);
        let width = schema.fields().len();
        Ok(Ok(Node {
            facts: Facts {
                key: query.is_distinct.then(|| (0..width).collect()),
                ..Facts::unknown(width)
            },
            schema,
            kind: Kind::Recursion(RecursionPlan {
                name: query.name.clone(),
                is_distinct: query.is_distinct,
                text: shown(query),
            }),
            inputs: vec![start, body],
        }))
    }

    /// The rows of the step before, if `scan` stands for them.
    pub(super) fn reference(&self, scan: &TableScan) -> Option<Node> {
        let name = recursion_of(scan)?;
        let schema = plain_schema(scan.source.schema().fields().iter().map(|field| field.as_ref()));
        Some(Node {
            facts: Facts::unknown(schema.fields().len()),
            schema,
            kind: Kind::Reference(name.to_owned()),
            inputs: Vec::new(),
        })
    }
}

/// Whether an aggregate has fewer columns than expressions, which DataFusion tidies up everywhere but in a recursive term.
fn groups_twice(term: &LogicalPlan) -> Result<bool> {
    let has_fewer_columns = |node: &LogicalPlan| match node {
        LogicalPlan::Aggregate(aggregate) => {
            aggregate.schema.fields().len() < aggregate.group_expr.len() + aggregate.aggr_expr.len()
        }
        _ => false,
    };
    term.exists(|node| Ok(has_fewer_columns(node))).map_err(planning)
}

/// A recursion, as shown.
pub(super) fn shown(query: &RecursiveQuery) -> String {
    let operator = if query.is_distinct { "union" } else { "union all" };
    format!("Recursion {} {operator}", query.name)
}

impl Node {
    /// How often the rows of the step before of the recursion `name` are read below.
    fn references(&self, name: &str) -> usize {
        let inputs = match &self.kind {
            Kind::Reference(of) if of == name => return 1,
            // what its term refers to is itself
            Kind::Recursion(plan) if plan.name == name => &self.inputs[..1],
            _ => &self.inputs,
        };
        inputs.iter().map(|input| input.references(name)).sum()
    }
}

/// `node`, below which is one reference to the recursion `name`, with the step of its rows as last column.
fn stepped(node: Node, name: &str) -> Attempt {
    match node.kind {
        Kind::Reference(_) => Ok(with_step(node)),
        Kind::FilterProject(_) => stepped_stages(node, name),
        Kind::Distinct => {
            let inputs = node.inputs.into_iter().map(|input| stepped(input, name));
            Ok(with_step(Node {
                inputs: inputs.collect::<std::result::Result<_, _>>()?,
                kind: Kind::Distinct,
                ..node
            }))
        }
        Kind::Join(_) => stepped_join(node, name),
        other => Err(format!("{} in the recursive term", name_of(&other))),
    }
}

/// What may not be on the way, in words for `EXPLAIN VIEW`.
fn name_of(kind: &Kind) -> &'static str {
    match kind {
        Kind::Aggregate(..) | Kind::Expand(_) | Kind::Rescope(_) => "an aggregate",
        Kind::Union => "a union",
        Kind::TopK(_) => "a limit",
        Kind::Window(_) => "a window",
        Kind::Unnest(..) => "unnest",
        Kind::Clock(..) => "a condition on the time",
        Kind::Single => "a scalar subquery",
        Kind::Recursion(_) => "another recursion",
        _ => "something that is computed again",
    }
}

/// `node` with another column at the end. Nothing is known about its rows then: that they are unique, say, is true of
/// those of one step.
fn with_step(node: Node) -> Node {
    let schema = with_column(&node.schema);
    Node {
        facts: Facts::unknown(schema.fields().len()),
        schema,
        ..node
    }
}

fn with_column(schema: &SchemaRef) -> SchemaRef {
    let step = Arc::new(Field::new(STEP, DataType::Int64, true));
    let fields = schema.fields().iter().cloned().chain([step]);
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn stepped_stages(node: Node, name: &str) -> Attempt {
    let has_no_columns = node.flowing().fields().is_empty();
    let Node {
        kind: Kind::FilterProject(stages),
        mut inputs,
        schema,
        ..
    } = node
    else {
        return Err("a node that is none of stages".to_owned());
    };
    let mut stepped = stepped(inputs.remove(0), name)?;
    for (stage, text) in stages {
        let step = stepped.flowing().fields().len() - 1;
        let stage = match stage {
            Stage::Filter(_) => stage,
            Stage::Columns(mut columns, schema) => {
                columns.push(step);
                Stage::Columns(columns, with_column(&schema))
            }
            Stage::Compute(mut exprs, schema) => {
                exprs.push(Arc::new(Column::new(STEP, step)));
                Stage::Compute(exprs, with_column(&schema))
            }
            Stage::Cast(schema) => Stage::Cast(with_column(&schema)),
        };
        stepped = stepped.staged(stage, text, Facts::default());
    }
    if has_no_columns {
        // who reads it expects the column that stands in for none
        let none: Arc<dyn PhysicalExpr> = Arc::new(Literal::new(ScalarValue::Boolean(None)));
        let step: Arc<dyn PhysicalExpr> = Arc::new(Column::new(STEP, 0));
        let stage = Stage::Compute(vec![none, step], with_column(&schema));
        stepped = stepped.staged(stage, String::new(), Facts::default());
    }
    Ok(Node {
        schema: with_column(&schema),
        ..stepped
    })
}

fn stepped_join(node: Node, name: &str) -> Attempt {
    let Node {
        kind: Kind::Join(mut plan),
        inputs,
        schema,
        ..
    } = node
    else {
        return Err("a node that is no join".to_owned());
    };
    let Ok([left, right]) = <[Node; 2]>::try_from(inputs) else {
        return Err("a join that is not one of two".to_owned());
    };
    let side = right.references(name);
    if !is_of_each_row(plan.form, side) {
        return Err(format!("a {} of other rows with those", name_of_join(&plan)));
    }
    let left_width = left.schema.fields().len();
    if side == 0 {
        let columns = plan
            .residual
            .iter_mut()
            .flat_map(|residual| &mut residual.columns);
        columns
            .filter(|column| **column >= left_width)
            .for_each(|column| *column += 1);
    }
    let place = match (plan.form, side) {
        (JoinForm::Inner | JoinForm::Outer { .. }, 0) => left_width,
        (JoinForm::Mark(_), _) => schema.fields().len() - 1,
        _ => schema.fields().len(),
    };
    let mut fields = schema.fields().to_vec();
    fields.insert(place, Arc::new(Field::new(STEP, DataType::Int64, true)));
    let inputs = match side {
        0 => vec![stepped(left, name)?, right],
        _ => vec![left, stepped(right, name)?],
    };
    let joined = Node {
        facts: Facts::unknown(fields.len()),
        schema: Arc::new(Schema::new(fields)),
        kind: Kind::Join(plan),
        inputs,
    };
    let width = schema.fields().len();
    let others = (0..=width).filter(|column| *column != place);
    Ok(joined.select(others.chain([place]).collect()))
}

/// Whether what comes out of a join follows from each row of `side` by itself, and has its columns.
fn is_of_each_row(form: JoinForm, side: usize) -> bool {
    match form {
        JoinForm::Inner => true,
        JoinForm::Outer { left, right } => ![right, left][side],
        JoinForm::Semi(kept) | JoinForm::Anti(kept) | JoinForm::Mark(kept) => kept == side,
        JoinForm::NullAwareAnti => side == 0,
    }
}

fn name_of_join(plan: &JoinPlan) -> &str {
    plan.text.split(' ').next().unwrap_or_default()
}
