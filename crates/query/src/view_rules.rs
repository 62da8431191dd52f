//! Plans of views: which optimiser rules they get, and what a view may not contain.
//!
//! The rules differ from a query's in what would hide the meaning from who maintains the result: DISTINCT is not turned
//! into an aggregate, LIMIT is not merged into sorts and scans, and field accesses are not split off into projections.
//! Filters stop above the scans, because a scan of a view's plan is a stream of changes.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion::optimizer::decorrelate_lateral_join::DecorrelateLateralJoin;
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion::optimizer::eliminate_filter::EliminateFilter;
use datafusion::optimizer::eliminate_group_by_constant::EliminateGroupByConstant;
use datafusion::optimizer::eliminate_join::EliminateJoin;
use datafusion::optimizer::eliminate_limit::EliminateLimit;
use datafusion::optimizer::eliminate_outer_join::EliminateOuterJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::optimize_unions::OptimizeUnions;
use datafusion::optimizer::propagate_empty_relation::PropagateEmptyRelation;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::push_down_limit::PushDownLimit;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::rewrite_set_comparison::RewriteSetComparison;
use datafusion::optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::single_distinct_to_groupby::SingleDistinctToGroupBy;
use datafusion::optimizer::{Optimizer, OptimizerRule};
use std::collections::BTreeSet;
use std::sync::Arc;
use viewfeed_change::{Error, Result};

type Rules = Vec<Arc<dyn OptimizerRule + Send + Sync>>;

/// The optimiser of views: DataFusion's rules in DataFusion's order, without those named above.
pub(crate) fn optimizer() -> Optimizer {
    let rules: Rules = vec![
        Arc::new(RewriteSetComparison::new()),
        Arc::new(OptimizeUnions::new()),
        Arc::new(SimplifyExpressions::new()),
        Arc::new(EliminateJoin::new()),
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(DecorrelateLateralJoin::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(EliminateFilter::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(EliminateLimit::new()),
        Arc::new(PropagateEmptyRelation::new()),
        Arc::new(EliminateOuterJoin::new()),
        Arc::new(PushDownFilter::new()),
        Arc::new(SingleDistinctToGroupBy::new()),
        Arc::new(EliminateGroupByConstant::new()),
        Arc::new(CommonSubexprEliminate::new()),
        Arc::new(OptimizeProjections::new()),
    ];
    Optimizer::with_rules(rules)
}

/// What an optimised plan still needs before it can run: values for `now()`, and for a view's plan the rules left out
/// above.
pub(crate) fn finisher() -> Optimizer {
    let rules: Rules = vec![
        Arc::new(SimplifyExpressions::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(PushDownLimit::new()),
        Arc::new(PushDownFilter::new()),
        Arc::new(OptimizeProjections::new()),
    ];
    Optimizer::with_rules(rules)
}

/// Fails if `plan`, analysed but not optimised, cannot be kept true or has columns that cannot be told apart.
pub(crate) fn check(plan: &LogicalPlan) -> Result<()> {
    if let Some(call) = find(plan, volatile_name).map_err(crate::failure::planning)? {
        return Err(Error::invalid(
            "SQL_PLAN",
            format!("a view cannot call {call}, which gives another value each time"),
        )
        .hint("store the value in a column (INSERT … or DEFAULT …) and select that"));
    }
    let placeholder = |expr: &Expr| match expr {
        Expr::Placeholder(placeholder) => Some(placeholder.id.clone()),
        _ => None,
    };
    if let Some(parameter) = find(plan, placeholder).map_err(crate::failure::planning)? {
        return Err(Error::invalid(
            "SQL_PLAN",
            format!("a view cannot have the parameter {parameter}"),
        )
        .hint("select the column as well, and filter by it when reading the view"));
    }
    let mut seen = BTreeSet::new();
    for field in plan.schema().fields() {
        if !seen.insert(field.name()) {
            return Err(Error::invalid(
                "SQL_PLAN",
                format!("column \"{}\" is specified more than once", field.name()),
            )
            .hint("give each column of a view its own name: SELECT a.id AS a_id, …"));
        }
    }
    Ok(())
}

/// Whether `plan` calls a function whose value depends on when the query runs, like `now()`.
pub(crate) fn depends_on_now(plan: &LogicalPlan) -> PlanResult<bool> {
    Ok(find(plan, |expr| is_stable(expr).then_some(()))?.is_some())
}

/// Whether `expr` itself (not what is inside it) is a call of a function like `now()`.
pub(crate) fn is_stable(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.signature().volatility == Volatility::Stable)
}

fn volatile_name(expr: &Expr) -> Option<String> {
    let (name, volatility) = match expr {
        Expr::ScalarFunction(call) => (call.func.name(), call.func.signature().volatility),
        Expr::AggregateFunction(call) => (call.func.name(), call.func.signature().volatility),
        _ => return None,
    };
    (volatility == Volatility::Volatile).then(|| format!("{name}()"))
}

/// The first thing `wanted` finds in the expressions of `plan` and its subqueries.
fn find<T>(plan: &LogicalPlan, wanted: impl Fn(&Expr) -> Option<T>) -> PlanResult<Option<T>> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                found = wanted(expr);
                Ok(match found {
                    Some(_) => TreeNodeRecursion::Stop,
                    None => TreeNodeRecursion::Continue,
                })
            })
        })
    })?;
    Ok(found)
}
