//! What DataFusion would misread or cannot plan, although it could be said otherwise: rewritten before planning, or
//! refused.
//!
//! - `FETCH FIRST n ROWS ONLY` becomes `LIMIT n`.
//! - `EXISTS (SELECT … FROM … WHERE …)` in a SELECT list becomes `(SELECT count(*) > 0 FROM … WHERE …)`.
//! - `OVER (w …)` gets what the window `w` says, see [`crate::named_windows`].
//! - `TABLESAMPLE` is refused: it would be ignored.

use crate::{named_windows, parse};
use datafusion::sql::sqlparser::ast::{
    Expr, Fetch, GroupByExpr, LimitClause, Query, Select, SelectItem, SetExpr, TableFactor, Value, VisitMut,
    VisitorMut,
};
use std::ops::ControlFlow;
use viewfeed_change::{Error, Result};

/// Makes `query` one that DataFusion reads as it is meant.
pub(crate) fn accept(query: &mut Query) -> Result<()> {
    match query.visit(&mut Accepting) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Accepting;

impl VisitorMut for Accepting {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        limit_instead_of_fetch(query);
        for_each_select(&mut query.body, &mut named_windows::spell_out)?;
        for_each_item(&mut query.body, &mut |item| {
            let mut counting = Counting { depth: 0 };
            item.visit(&mut counting)
        })
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        match factor {
            TableFactor::Table { sample: Some(_), .. } => {
                let error = Error::invalid("SQL_PLAN", "TABLESAMPLE is not supported");
                ControlFlow::Break(error.hint("filter by a hash of the key, or ORDER BY random() LIMIT n"))
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

fn limit_instead_of_fetch(query: &mut Query) {
    let plain = |fetch: &Fetch| !fetch.with_ties && !fetch.percent;
    if !query.fetch.as_ref().is_some_and(plain) {
        return;
    }
    let one = || Expr::value(Value::Number("1".to_owned(), false));
    let quantity = query.fetch.take().map(|fetch| fetch.quantity.unwrap_or_else(one));
    match &mut query.limit_clause {
        Some(LimitClause::LimitOffset { limit, .. }) => *limit = quantity,
        clause => {
            *clause = Some(LimitClause::LimitOffset {
                limit: quantity,
                offset: None,
                limit_by: Vec::new(),
            });
        }
    }
}

fn for_each_select(
    body: &mut SetExpr,
    each: &mut dyn FnMut(&mut Select) -> ControlFlow<Error>,
) -> ControlFlow<Error> {
    match body {
        SetExpr::Select(select) => each(select),
        SetExpr::SetOperation { left, right, .. } => {
            for_each_select(left, each)?;
            for_each_select(right, each)
        }
        _ => ControlFlow::Continue(()),
    }
}

fn for_each_item(
    body: &mut SetExpr,
    each: &mut dyn FnMut(&mut SelectItem) -> ControlFlow<Error>,
) -> ControlFlow<Error> {
    match body {
        SetExpr::Select(select) => select.projection.iter_mut().try_for_each(each),
        SetExpr::SetOperation { left, right, .. } => {
            for_each_item(left, each)?;
            for_each_item(right, each)
        }
        _ => ControlFlow::Continue(()),
    }
}

/// Turns EXISTS into counting, but not inside of other subqueries, where it may stand in a WHERE.
struct Counting {
    depth: usize,
}

impl VisitorMut for Counting {
    type Break = Error;

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Error> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Error> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if self.depth == 0
            && let Expr::Exists { subquery, negated } = expr
            && is_countable(subquery)
        {
            match count_of(subquery, *negated) {
                Ok(count) => *expr = count,
                Err(error) => return ControlFlow::Break(error),
            }
        }
        ControlFlow::Continue(())
    }
}

/// Whether `query` gives one row for each row of its FROM and WHERE.
fn is_countable(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return false;
    };
    let plain_item = |item: &SelectItem| match item {
        SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => true,
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            matches!(
                expr,
                Expr::Value(_) | Expr::Identifier(_) | Expr::CompoundIdentifier(_)
            )
        }
        _ => false,
    };
    let ungrouped =
        matches!(&select.group_by, GroupByExpr::Expressions(by, with) if by.is_empty() && with.is_empty());
    ungrouped
        && query.with.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && select.distinct.is_none()
        && select.having.is_none()
        && select.qualify.is_none()
        && select.projection.iter().all(plain_item)
}

/// `(SELECT count(*) > 0 FROM … WHERE …)` of a countable query.
fn count_of(query: &Query, negated: bool) -> Result<Expr> {
    let text = if negated {
        "(SELECT count(*) = 0)"
    } else {
        "(SELECT count(*) > 0)"
    };
    let mut count = parse::parse_expression(text)?;
    if let (Expr::Subquery(made), SetExpr::Select(select)) = (&mut count, query.body.as_ref())
        && let SetExpr::Select(counting) = made.body.as_mut()
    {
        counting.from = select.from.clone();
        counting.selection = select.selection.clone();
        return Ok(count);
    }
    Err(Error::internal("a count that does not parse"))
}
