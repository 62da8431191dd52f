//! Which optimiser rules plans get: those of queries, those of views, and what either needs before it can run.
//!
//! The rules of views differ from a query's in what would hide the meaning from who maintains the result: DISTINCT is not turned
//! into an aggregate, neither alone nor within a call, LIMIT is not merged into sorts and scans, and field accesses are
//! not split off into projections. Filters stop above the scans, because a scan of a view's plan is a stream of changes.
//! They also stop above DISTINCT ON: 55.2 pushes them through it, which chooses other rows. (In a query it is an
//! aggregate by then.) Calls of `now()` stay where they are.
//!
//! Neither drops columns of an order that follow from others: above a join and an aggregate, 55.2 takes what the key of one
//! side determines for all columns, and a limit would keep other rows. What is said twice is dropped: other rules rely on it.

use crate::check;
use crate::correlated_not_in::CorrelatedNotIn;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan};
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
use datafusion::optimizer::{ApplyOrder, Optimizer, OptimizerConfig, OptimizerRule};
use std::collections::HashSet;
use std::sync::Arc;

/// One rule.
type Rule = Arc<dyn OptimizerRule + Send + Sync>;

/// Rules in their order.
pub(crate) type Rules = Vec<Rule>;

/// The optimiser of views: DataFusion's rules in DataFusion's order, without those named above.
pub(crate) fn of_views() -> Optimizer {
    let rules: Rules = vec![
        Arc::new(RewriteSetComparison::new()),
        Arc::new(OptimizeUnions::new()),
        Arc::new(SimplifyExpressions::new()),
        Arc::new(EliminateJoin::new()),
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(CorrelatedNotIn),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(DecorrelateLateralJoin::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(Repetitions(EliminateDuplicatedExpr::new())),
        Arc::new(EliminateFilter::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(EliminateLimit::new()),
        Arc::new(PropagateEmptyRelation::new()),
        Arc::new(EliminateOuterJoin::new()),
        Arc::new(FilterPushdown(PushDownFilter::new())),
        Arc::new(EliminateGroupByConstant::new()),
        Arc::new(CommonExceptClock(CommonSubexprEliminate::new())),
        Arc::new(OptimizeProjections::new()),
    ];
    Optimizer::with_rules(rules)
}

/// The rules of queries: DataFusion's, and our own where its NOT IN does not do.
pub(crate) fn of_queries() -> Rules {
    let mut rules = Optimizer::new().rules;
    let duplicates = EliminateDuplicatedExpr::new();
    let is_that = |rule: &&mut Rule| rule.name() == duplicates.name();
    if let Some(rule) = rules.iter_mut().find(is_that) {
        *rule = Arc::new(Repetitions(duplicates));
    }
    let push_down = PushDownFilter::new();
    if let Some(rule) = rules.iter_mut().find(|rule| rule.name() == push_down.name()) {
        *rule = Arc::new(FilterPushdown(push_down));
    }
    let decorrelate = DecorrelatePredicateSubquery::new();
    let place = rules.iter().position(|rule| rule.name() == decorrelate.name());
    rules.insert(place.map_or(0, |place| place + 1), Arc::new(CorrelatedNotIn));
    rules
}

/// Computes what is common to several expressions once, unless a plan asks for the time: whose conditions are waited for
/// as they stand, and `now()` computed beside every row would hide them.
#[derive(Debug)]
struct CommonExceptClock(CommonSubexprEliminate);

impl OptimizerRule for CommonExceptClock {
    fn name(&self) -> &str {
        "common_except_clock"
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> datafusion::error::Result<Transformed<LogicalPlan>> {
        match check::depends_on_now(&plan)? {
            true => Ok(Transformed::no(plan)),
            false => self.0.rewrite(plan, config),
        }
    }
}

/// What an optimised plan still needs before it can run: values for `now()`, and for a view's plan the rules left out
/// above.
pub(crate) fn finisher() -> Optimizer {
    let rules: Rules = vec![
        Arc::new(SimplifyExpressions::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(PushDownLimit::new()),
        Arc::new(FilterPushdown(PushDownFilter::new())),
        Arc::new(OptimizeProjections::new()),
    ];
    Optimizer::with_rules(rules)
}

/// DataFusion's rule, but of an order only what is said twice is dropped.
#[derive(Debug)]
struct Repetitions(EliminateDuplicatedExpr);

impl OptimizerRule for Repetitions {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> datafusion::error::Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Sort(mut sort) = plan else {
            return self.0.rewrite(plan, config);
        };
        let (before, mut seen) = (sort.expr.len(), HashSet::new());
        sort.expr.retain(|column| seen.insert(column.expr.clone()));
        let is_shorter = sort.expr.len() < before;
        let plan = LogicalPlan::Sort(sort);
        Ok(match is_shorter {
            true => Transformed::yes(plan),
            false => Transformed::no(plan),
        })
    }
}

/// DataFusion's rule, but for filters over DISTINCT ON, and over aggregates that have a row also without any input: 55.2
/// pushes a condition that names no column through them, and the row stays.
#[derive(Debug)]
struct FilterPushdown(PushDownFilter);

impl OptimizerRule for FilterPushdown {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> datafusion::error::Result<Transformed<LogicalPlan>> {
        match is_over_distinct_on(&plan) || is_over_whole_aggregate(&plan) {
            true => Ok(Transformed::no(plan)),
            false => self.0.rewrite(plan, config),
        }
    }
}

/// Whether `plan` is filters, at least one, right above an aggregate that has a row even if nothing comes in.
fn is_over_whole_aggregate(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Filter(filter) = plan else {
        return false;
    };
    match filter.input.as_ref() {
        LogicalPlan::Aggregate(aggregate) => {
            let is_set = |group: &Expr| matches!(group, Expr::GroupingSet(_));
            aggregate.group_expr.is_empty() || aggregate.group_expr.iter().any(is_set)
        }
        below => is_over_whole_aggregate(below),
    }
}

/// Whether `plan` is filters, at least one, right above a DISTINCT ON.
fn is_over_distinct_on(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Filter(filter) = plan else {
        return false;
    };
    let on = matches!(filter.input.as_ref(), LogicalPlan::Distinct(Distinct::On(_)));
    on || is_over_distinct_on(&filter.input)
}
