//! What DataFusion 55.2 gets wrong about IN and NULL, spelled out before its optimiser sees it. Found by comparing with
//! Postgres.
//!
//! `x IN (1, 2) AND x NOT IN (3, NULL)`: its simplifier takes one list from the other, as if NULL were a value that differs
//! from all others. `x NOT IN (SELECT y …)` that is not a condition of its own (as below OR) becomes a join that marks
//! the rows with an equal y, and takes those without a mark although x or some y is NULL.

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Exists, InList, InSubquery};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Case, Expr, LogicalPlan, LogicalPlanBuilder, Subquery, lit};
use std::sync::Arc;

/// `plan` with the same meaning, without such expressions.
pub(crate) fn spell_out(plan: LogicalPlan) -> Result<LogicalPlan> {
    let spelled_out = plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Filter(_) | LogicalPlan::Projection(_) | LogicalPlan::Join(_) => {
            let names = NamePreserver::new(&plan);
            let is_filter = matches!(plan, LogicalPlan::Filter(_));
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let expr = expr.transform_up(in_list)?;
                let expr = match is_filter {
                    true => expr.transform_data(in_condition)?,
                    false => expr,
                };
                Ok(expr.update_data(|expr| name.restore(expr)))
            })
        }
        other => Ok(Transformed::no(other)),
    });
    spelled_out.map(|plan| plan.data)
}

/// `x IN (1, NULL)` is `x IN (1) OR NULL`.
fn in_list(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::InList(InList {
        expr: x,
        list,
        negated,
    }) = expr
    else {
        return Ok(Transformed::no(expr));
    };
    let (nulls, values): (Vec<Expr>, Vec<Expr>) = list.into_iter().partition(is_null_constant);
    if nulls.is_empty() {
        let same = InList {
            expr: x,
            list: values,
            negated,
        };
        return Ok(Transformed::no(Expr::InList(same)));
    }
    if values.is_empty() {
        return Ok(Transformed::yes(unknown()));
    }
    let among = Expr::InList(InList::new(x, values, false)).or(unknown());
    Ok(Transformed::yes(if negated { !among } else { among }))
}

fn is_null_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => value.is_null(),
        Expr::Cast(cast) => is_null_constant(&cast.expr),
        Expr::TryCast(cast) => is_null_constant(&cast.expr),
        Expr::Alias(alias) => is_null_constant(&alias.expr),
        _ => false,
    }
}

/// Subqueries that are not conditions of their own.
fn in_condition(predicate: Expr) -> Result<Transformed<Expr>> {
    let mut is_changed = false;
    let mut conditions = Vec::new();
    for condition in split_conjunction_owned(predicate) {
        let is_own = match &condition {
            Expr::InSubquery(_) => true,
            Expr::Not(inner) => matches!(inner.as_ref(), Expr::InSubquery(_)),
            _ => false,
        };
        let condition = match is_own || !has_negative(&condition, false) {
            true => Transformed::no(condition),
            false => condition.transform_up(in_subquery)?,
        };
        is_changed |= condition.transformed;
        conditions.push(condition.data);
    }
    let all = conjunction(conditions).unwrap_or_else(|| lit(true));
    Ok(Transformed::new_transformed(all, is_changed))
}

/// Whether it matters for some IN (SELECT …) in `expr` that it is unknown, not false. `negated`: `expr` is below a NOT.
fn has_negative(expr: &Expr, negated: bool) -> bool {
    match expr {
        Expr::InSubquery(subquery) => subquery.negated != negated,
        Expr::Not(inner) => has_negative(inner, !negated),
        Expr::BinaryExpr(binary) if binary.op.is_logic_operator() => {
            has_negative(&binary.left, negated) || has_negative(&binary.right, negated)
        }
        other => other
            .exists(|expr| Ok(matches!(expr, Expr::InSubquery(_))))
            .unwrap_or(true),
    }
}

/// True if there is an equal row; else unknown if x is NULL and there is any row, or some row is NULL; else false.
fn in_subquery(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::InSubquery(InSubquery {
        expr: x,
        subquery,
        negated,
    }) = expr
    else {
        return Ok(Transformed::no(expr));
    };
    let y = Expr::Column(subquery.subquery.schema().columns().swap_remove(0));
    let with_null = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone())
        .filter(y.is_null())?
        .build()?;
    let null_row = exists(Subquery {
        subquery: Arc::new(with_null),
        ..subquery.clone()
    });
    let is_unknown = null_row.or(x.as_ref().clone().is_null().and(exists(subquery.clone())));
    let found = Expr::InSubquery(InSubquery::new(x, subquery, false));
    let is_in = Expr::Case(Case {
        expr: None,
        when_then_expr: vec![
            (Box::new(found), Box::new(lit(true))),
            (Box::new(is_unknown), Box::new(unknown())),
        ],
        else_expr: Some(Box::new(lit(false))),
    });
    Ok(Transformed::yes(if negated { !is_in } else { is_in }))
}

fn exists(subquery: Subquery) -> Expr {
    Expr::Exists(Exists {
        subquery,
        negated: false,
    })
}

fn unknown() -> Expr {
    Expr::Literal(ScalarValue::Boolean(None), None)
}
