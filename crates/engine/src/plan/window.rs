//! Window functions. The calls of a node are sorted by how they can be kept true: those over whole partitions become an
//! aggregate joined back; those over an order become operators, one for all calls with the same PARTITION BY, ORDER BY and
//! kind; the rest stays with DataFusion, by partitions. What they need becomes plain columns first.

use super::expression::{texts, unsupported};
use super::lower::Attempt;
use super::window_call::{Call, Order, Planned};
use super::{Facts, Kind, Lowering, Node, WindowPlan, planning};
use crate::operator::window::{WindowCalls, WindowSpec};
use arrow::compute::SortOptions;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{Column, JoinConstraint, JoinType, NullEquality};
use datafusion::logical_expr::{
    Aggregate, Expr, Join, LogicalPlan, LogicalPlanBuilder, Projection, SortExpr, Window,
};
use std::sync::Arc;
use viewfeed_change::row::plain_type;
use viewfeed_change::{LogicalType, Result};

/// A call, or why it is not incremental.
type Planning<'a> = std::result::Result<Call<'a>, String>;

/// The calls of a window and where each one's results are.
struct Stack {
    /// What the calls done so far make, as DataFusion would.
    plan: Arc<LogicalPlan>,
    /// By call of the window: the column with its results.
    places: Vec<Option<usize>>,
}

impl Lowering<'_> {
    pub(super) fn window(&self, window: &Window) -> Result<Attempt> {
        if let Some(reason) = window.window_expr.iter().find_map(unsupported) {
            return Ok(Err(reason));
        }
        let schema = window.input.schema();
        let calls = window.window_expr.iter().map(|expr| Call::of(expr, schema));
        let calls: Vec<Planning<'_>> = calls.collect();
        let reason = calls.iter().find_map(|call| call.as_ref().err());
        let is_incremental = |call: &Planning<'_>| call.is_ok();
        if schema.fields().is_empty() || !calls.iter().any(is_incremental) {
            let reason = reason.map_or("a window over rows without columns", String::as_str);
            return self.scoped_window(window, reason);
        }
        let mut stack = Stack {
            plan: window.input.clone(),
            places: vec![None; calls.len()],
        };
        let whole = chosen(&calls, |call| matches!(call.planned, Planned::Whole(_)));
        for group in by_order(whole, &calls) {
            stack.join_back(&group, &calls, window)?;
        }
        let others: Vec<usize> = (0..calls.len()).filter(|i| calls[*i].is_err()).collect();
        if !others.is_empty() {
            stack.add(&others, window)?;
        }
        let mut node = match (others.is_empty(), stack.plan.as_ref()) {
            (false, LogicalPlan::Window(others)) => self.others(others, reason)?,
            (_, plan) => self.lower(plan)?,
        };
        for is_kind in [Planned::is_near, Planned::is_running] {
            let of_kind = chosen(&calls, |call| is_kind(&call.planned));
            for group in by_order(of_kind, &calls) {
                node = match self.in_order(node, &group, &calls, window, &stack)? {
                    Ok(node) => node,
                    Err(reason) => return self.scoped_window(window, &reason),
                };
                stack.add(&group, window)?;
            }
        }
        let width = schema.fields().len();
        let places = stack.places.iter().flatten().copied();
        Ok(Ok(node.select((0..width).chain(places).collect())))
    }

    /// The calls that are not incremental, for `reason`.
    fn others(&self, window: &Window, reason: Option<&String>) -> Result<Node> {
        let reason = reason.map_or("a window function", String::as_str);
        match self.scoped_window(window, reason)? {
            Ok(node) => Ok(node),
            Err(reason) => self.recompute(&LogicalPlan::Window(window.clone()), reason),
        }
    }

    /// `input` with the results of the calls at `group`, which share their order and kind.
    fn in_order(
        &self,
        input: Node,
        group: &[usize],
        calls: &[Planning<'_>],
        window: &Window,
        stack: &Stack,
    ) -> Result<Attempt> {
        let chosen: Vec<&Call<'_>> = group.iter().filter_map(|i| calls[*i].as_ref().ok()).collect();
        let Some(Order { partition, order }) = chosen.first().map(|call| call.order) else {
            return Ok(Ok(input));
        };
        let schema = stack.plan.schema();
        // a constant orders nothing
        let is_key = |by: &&SortExpr| !matches!(by.expr, Expr::Literal(..));
        let keys: Vec<&SortExpr> = order.iter().filter(is_key).collect();
        let ordered = keys.iter().map(|by| &by.expr);
        let exprs = partition.iter().chain(ordered);
        let exprs: Vec<&Expr> = exprs
            .chain(chosen.iter().flat_map(|call| &call.arguments))
            .collect();
        let (input, columns) = match self.as_columns(input, &exprs, schema) {
            Ok(widened) => widened,
            Err(reason) => return Ok(Err(reason)),
        };
        let (partition_columns, rest) = columns.split_at(partition.len());
        let (order_columns, mut arguments) = rest.split_at(keys.len());
        let options = keys.iter().map(|by| SortOptions {
            descending: !by.asc,
            nulls_first: by.nulls_first,
        });
        let mut planned = Vec::with_capacity(chosen.len());
        for call in &chosen {
            let (own, others) = arguments.split_at(call.arguments.len());
            planned.push(call.planned.with_arguments(own));
            arguments = others;
        }
        let spec = WindowSpec {
            partition: partition_columns.to_vec(),
            order: order_columns.iter().copied().zip(options).collect(),
            calls: collected(planned),
            output_schema: with_results(&input, group, window),
        };
        let width = schema.fields().len();
        let widened = input.schema.fields().len();
        let text = texts(group.iter().map(|place| &window.window_expr[*place]));
        let node = window_node(input, spec, text);
        Ok(Ok(node.select(
            (0..width).chain(widened..widened + group.len()).collect(),
        )))
    }
}

impl Stack {
    /// Adds the calls at `group` as a window of their own.
    fn add(&mut self, group: &[usize], window: &Window) -> Result<()> {
        let width = self.plan.schema().fields().len();
        let exprs = group.iter().map(|place| window.window_expr[*place].clone());
        let added = Window::try_new(exprs.collect(), self.plan.clone()).map_err(planning)?;
        self.plan = Arc::new(LogicalPlan::Window(added));
        for (i, place) in group.iter().enumerate() {
            self.places[*place] = Some(width + i);
        }
        Ok(())
    }

    /// `aggregates` of each partition, called `__total_0`, … after the columns of the partition: names of their own, since the
    /// rows they are joined with have the same columns.
    fn totals<'a>(
        &self,
        partition: &[Expr],
        aggregates: impl Iterator<Item = &'a Expr>,
    ) -> Result<LogicalPlan> {
        let mut different: Vec<Expr> = Vec::new();
        for aggregate in aggregates {
            // two frames may be the same whole partition
            different.push(match different.contains(aggregate) {
                true => aggregate.clone().alias(format!("__again_{}", different.len())),
                false => aggregate.clone(),
            });
        }
        let totals = Aggregate::try_new(self.plan.clone(), partition.to_vec(), different);
        let totals = LogicalPlan::Aggregate(totals.map_err(planning)?);
        let columns = totals.schema().columns().into_iter().enumerate();
        let named: Vec<Expr> = columns
            .map(|(i, column)| Expr::Column(column).alias(format!("__total_{i}")))
            .collect();
        LogicalPlanBuilder::from(totals)
            .project(named)
            .and_then(LogicalPlanBuilder::build)
            .map_err(planning)
    }

    /// Adds the calls at `group`, which are over the same whole partitions: what they are for each partition, joined
    /// with its rows.
    fn join_back(&mut self, group: &[usize], calls: &[Planning<'_>], window: &Window) -> Result<()> {
        let chosen: Vec<&Call<'_>> = group.iter().filter_map(|i| calls[*i].as_ref().ok()).collect();
        let partition = chosen.first().map_or(&[][..], |call| call.order.partition);
        let aggregates = chosen.iter().filter_map(|call| match &call.planned {
            Planned::Whole(aggregate) => Some(aggregate.as_ref()),
            _ => None,
        });
        let totals = self.totals(partition, aggregates)?;
        let total = |i: usize| Expr::Column(Column::from_name(format!("__total_{i}")));
        let on = partition
            .iter()
            .enumerate()
            .map(|(i, expr)| (expr.clone(), total(i)));
        let joined = Join::try_new(
            self.plan.clone(),
            Arc::new(totals),
            on.collect(),
            None,
            JoinType::Inner,
            JoinConstraint::On,
            NullEquality::NullEqualsNull,
            false,
        );
        let mut exprs: Vec<Expr> = self
            .plan
            .schema()
            .columns()
            .into_iter()
            .map(Expr::Column)
            .collect();
        for (i, place) in group.iter().enumerate() {
            self.places[*place] = Some(exprs.len());
            let field = window.schema.field(window.input.schema().fields().len() + place);
            exprs.push(total(partition.len() + i).alias(field.name()));
        }
        let joined = Arc::new(LogicalPlan::Join(joined.map_err(planning)?));
        let plan = Projection::try_new(exprs, joined).map_err(planning)?;
        self.plan = Arc::new(LogicalPlan::Projection(plan));
        Ok(())
    }
}

/// The places of the incremental calls that `is_chosen`.
fn chosen(calls: &[Planning<'_>], is_chosen: impl Fn(&Call<'_>) -> bool) -> Vec<usize> {
    let is_chosen = |place: &usize| calls[*place].as_ref().is_ok_and(&is_chosen);
    (0..calls.len()).filter(is_chosen).collect()
}

/// `places` by what the calls there are partitioned and ordered by.
fn by_order(places: Vec<usize>, calls: &[Planning<'_>]) -> Vec<Vec<usize>> {
    let order = |place: usize| calls[place].as_ref().ok().map(Call::shared_order);
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for place in places {
        match groups.iter_mut().find(|group| order(group[0]) == order(place)) {
            Some(group) => group.push(place),
            None => groups.push(vec![place]),
        }
    }
    groups
}

/// The columns of `input` and those of the calls at `group`.
fn with_results(input: &Node, group: &[usize], window: &Window) -> SchemaRef {
    let fields = input.schema.fields().iter();
    let mut fields: Vec<Field> = fields.map(|field| field.as_ref().clone()).collect();
    for place in group {
        let field = window.schema.field(window.input.schema().fields().len() + place);
        fields.push(Field::new(field.name(), plain_type(field.data_type()), true));
    }
    Arc::new(Schema::new(fields))
}

fn collected(planned: Vec<Planned>) -> WindowCalls {
    let (mut near, mut running) = (Vec::new(), Vec::new());
    for call in planned {
        match call {
            Planned::Near(call) => near.push(call),
            Planned::Running(call) => running.push(call),
            Planned::Whole(_) => {}
        }
    }
    match running.is_empty() {
        true => WindowCalls::Near(near),
        false => WindowCalls::Running(running),
    }
}

fn window_node(input: Node, spec: WindowSpec, text: String) -> Node {
    let mut facts: Facts = input.facts.clone();
    facts
        .meaning
        .resize(spec.output_schema.fields().len(), LogicalType::Plain);
    Node {
        schema: spec.output_schema.clone(),
        facts,
        kind: Kind::Window(WindowPlan { spec, text }),
        inputs: vec![input],
    }
}
