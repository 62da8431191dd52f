//! Conditions on row numbers: `row_number() OVER (PARTITION BY p ORDER BY o) <= k` keeps the first rows of each group,
//! which needs no window at all.

use super::expression::unsupported;
use super::lower::origin;
use super::top_k::Kept;
use super::{Lowering, Node, planning};
use crate::operator::top_k::Places;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::expr::WindowFunctionParams;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Operator, Projection, Window,
    WindowFunctionDefinition, lit,
};
use viewfeed_change::Result;

/// A condition on the row number of a window.
struct Numbered<'a> {
    window: &'a Window,
    call: &'a WindowFunctionParams,
    places: Places,
    /// The conditions on other columns of the window's input.
    others: Vec<Expr>,
    /// The columns that come out of the condition, in terms of the window's.
    columns: Vec<Expr>,
}

impl Lowering<'_> {
    /// `projection` over a condition on row numbers; None if it is something else, or needs the numbers.
    pub(super) fn projected_by_number(&self, projection: &Projection) -> Result<Option<Node>> {
        let LogicalPlan::Filter(filter) = projection.input.as_ref() else {
            return Ok(None);
        };
        self.by_number(filter, &projection.expr, &projection.schema)
    }

    /// A condition on row numbers that are wanted as well: a single one is a constant; of several, the window is
    /// computed over the rows that have one of them, which are few. None if it is something else.
    pub(super) fn filtered_by_number(&self, filter: &Filter) -> Result<Option<Node>> {
        let schema = filter.input.schema();
        let columns: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
        match self.by_number(filter, &columns, schema)? {
            Some(node) => Ok(Some(node)),
            None => self.window_of_first(filter),
        }
    }

    /// The window below `filter` over only the rows it may let through. The first rows of each partition have the same
    /// numbers without the rows after them.
    fn window_of_first(&self, filter: &Filter) -> Result<Option<Node>> {
        let Some(numbered) = numbered(filter) else {
            return Ok(None);
        };
        let Numbered { window, call, .. } = &numbered;
        let of_order = call.order_by.iter().map(|by| &by.expr);
        let mut exprs = call.partition_by.iter().chain(of_order).chain(&numbered.columns);
        let schema = &window.schema;
        let predicate = substituted(&filter.predicate, filter.input.schema(), &numbered.columns);
        let Some(predicate) = predicate.filter(|predicate| unsupported(predicate).is_none()) else {
            return Ok(None);
        };
        if exprs.any(|expr| unsupported(expr).is_some()) {
            return Ok(None);
        }
        let number = Expr::Column(Column::from(schema.qualified_field(number_of(window))));
        let columns = window.input.schema().columns().into_iter().map(Expr::Column);
        let first = LogicalPlanBuilder::from(LogicalPlan::Window((*window).clone()))
            .filter(number.lt_eq(lit(numbered.places.end)))
            .and_then(|plan| plan.project(columns))
            .and_then(LogicalPlanBuilder::build)
            .and_then(|first| Window::try_new(window.window_expr.clone(), first.into()))
            .map_err(planning)?;
        let node = self.filter(self.lower(&LogicalPlan::Window(first))?, &predicate, schema);
        let node = node.and_then(|node| self.project(node, &numbered.columns, schema, filter.input.schema()));
        Ok(node.ok())
    }

    /// `exprs`, typed as in `output`, over a condition on row numbers.
    fn by_number(&self, filter: &Filter, exprs: &[Expr], output: &DFSchema) -> Result<Option<Node>> {
        let Some(numbered) = numbered(filter) else {
            return Ok(None);
        };
        let Numbered { window, call, .. } = numbered;
        let schema = window.input.schema();
        let exprs = exprs.iter().map(|expr| numbered.without_number(expr, filter));
        let Some(exprs) = exprs.collect::<Option<Vec<Expr>>>() else {
            return Ok(None);
        };
        let of_order = call.order_by.iter().map(|by| &by.expr);
        let mut all = call
            .partition_by
            .iter()
            .chain(of_order)
            .chain(&numbered.others)
            .chain(&exprs);
        if all.any(|expr| unsupported(expr).is_some()) {
            return Ok(None);
        }
        let kept = self.kept(
            &window.input,
            &Kept {
                group: &call.partition_by,
                order: &call.order_by,
                places: numbered.places,
                zeros_equal: false,
            },
        )?;
        let node = kept.and_then(|node| match conjunction(numbered.others) {
            Some(others) => self.filter(node, &others, schema),
            None => Ok(node),
        });
        let node = node.and_then(|node| self.project(node, &exprs, schema, output));
        Ok(node.ok())
    }
}

impl Numbered<'_> {
    /// `expr` over what comes out of `filter`, in terms of the window's input; None if there are several numbers and it
    /// needs to know which.
    fn without_number(&self, expr: &Expr, filter: &Filter) -> Option<Expr> {
        let expr = substituted(expr, filter.input.schema(), &self.columns)?;
        if !refers_to_number(&expr, self.window) {
            return Some(expr);
        }
        if self.places.count() != Some(1) {
            return None;
        }
        let mut columns: Vec<Expr> = self
            .window
            .schema
            .columns()
            .into_iter()
            .map(Expr::Column)
            .collect();
        columns[number_of(self.window)] = lit(self.places.start + 1);
        substituted(&expr, &self.window.schema, &columns)
    }
}

/// `expr` with each column of `schema` replaced by the expression at its place.
fn substituted(expr: &Expr, schema: &DFSchema, by: &[Expr]) -> Option<Expr> {
    let replaced = expr
        .clone()
        .transform(|inner| match origin_of_column(&inner, schema) {
            Some(place) => Ok(Transformed::yes(by[place].clone().unalias())),
            None => Ok(Transformed::no(inner)),
        });
    replaced.ok().map(|replaced| replaced.data)
}

fn origin_of_column(expr: &Expr, schema: &DFSchema) -> Option<usize> {
    matches!(expr, Expr::Column(_))
        .then(|| origin(expr, schema))
        .flatten()
}

/// The place of a window's result: after its input's columns.
fn number_of(window: &Window) -> usize {
    window.input.schema().fields().len()
}

fn refers_to_number(expr: &Expr, window: &Window) -> bool {
    let is_number = |column: &Column| window.schema.maybe_index_of_column(column) == Some(number_of(window));
    expr.column_refs().into_iter().any(is_number)
}

/// `filter` as a condition on row numbers that lets a limited number of them through.
fn numbered(filter: &Filter) -> Option<Numbered<'_>> {
    let (window, columns) = window_below(&filter.input)?;
    let [expr] = window.window_expr.as_slice() else {
        return None;
    };
    let call = row_number(expr)?;
    let predicate = substituted(&filter.predicate, filter.input.schema(), &columns)?;
    let (mut start, mut end) = (0, u64::MAX);
    let mut others = Vec::new();
    for condition in split_conjunction_owned(predicate) {
        match range(&condition, window) {
            Some(range) => {
                start = start.max(range.start);
                end = end.min(range.end);
            }
            None if refers_to_number(&condition, window) => return None,
            None => others.push(condition),
        }
    }
    let places = Places {
        start: start.min(end),
        end,
    };
    places.count()?;
    Some(Numbered {
        window,
        call,
        places,
        others,
        columns,
    })
}

/// The window of which `plan` is a projection, or which it is, and the columns of `plan` in terms of the window's.
fn window_below(plan: &LogicalPlan) -> Option<(&Window, Vec<Expr>)> {
    match plan {
        LogicalPlan::Window(window) => {
            let columns = window.schema.columns().into_iter().map(Expr::Column);
            Some((window, columns.collect()))
        }
        LogicalPlan::Projection(projection) => {
            let (window, below) = window_below(&projection.input)?;
            let schema = projection.input.schema();
            let columns = projection
                .expr
                .iter()
                .map(|expr| substituted(expr, schema, &below));
            Some((window, columns.collect::<Option<_>>()?))
        }
        LogicalPlan::SubqueryAlias(alias) => window_below(&alias.input),
        _ => None,
    }
}

/// The call, if `expr` is a plain `row_number() OVER (…)`.
fn row_number(expr: &Expr) -> Option<&WindowFunctionParams> {
    match expr {
        Expr::Alias(alias) => row_number(&alias.expr),
        Expr::WindowFunction(function) => match &function.fun {
            WindowFunctionDefinition::WindowUDF(udf)
                if udf.name() == "row_number" && function.params.filter.is_none() =>
            {
                Some(&function.params)
            }
            _ => None,
        },
        _ => None,
    }
}

/// The places that `number CMP literal` lets through.
fn range(condition: &Expr, window: &Window) -> Option<Places> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else {
        return None;
    };
    let (column, op, literal) = match (left.as_ref(), right.as_ref()) {
        (column, Expr::Literal(literal, _)) => (column, *op, literal),
        (Expr::Literal(literal, _), column) => (column, op.swap()?, literal),
        _ => return None,
    };
    if origin(uncast(column), &window.schema) != Some(number_of(window)) {
        return None;
    }
    let value = integer(literal)?;
    // Numbers are counted from 1, places from 0.
    let place = |number: i128| u64::try_from(number.max(1) - 1).unwrap_or(u64::MAX);
    let (start, end) = match op {
        Operator::Eq => (value, value + 1),
        Operator::Lt => (1, value),
        Operator::LtEq => (1, value + 1),
        Operator::Gt => (value + 1, i128::from(u64::MAX)),
        Operator::GtEq => (value, i128::from(u64::MAX)),
        _ => return None,
    };
    let end = if end >= i128::from(u64::MAX) {
        u64::MAX
    } else {
        place(end)
    };
    Some(Places {
        start: place(start),
        end,
    })
}

/// `expr` without casts, which keep the order of numbers.
fn uncast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(cast) if cast.field.data_type().is_integer() => uncast(&cast.expr),
        other => other,
    }
}

fn integer(value: &ScalarValue) -> Option<i128> {
    Some(match value {
        ScalarValue::Int8(value) => (*value)?.into(),
        ScalarValue::Int16(value) => (*value)?.into(),
        ScalarValue::Int32(value) => (*value)?.into(),
        ScalarValue::Int64(value) => (*value)?.into(),
        ScalarValue::UInt8(value) => (*value)?.into(),
        ScalarValue::UInt16(value) => (*value)?.into(),
        ScalarValue::UInt32(value) => (*value)?.into(),
        ScalarValue::UInt64(value) => (*value)?.into(),
        _ => return None,
    })
}
