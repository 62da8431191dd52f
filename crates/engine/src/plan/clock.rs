//! Conditions over the clock: `value <= now()`, `value > now() - interval '1 hour'`, `day = current_date`. Each
//! becomes a filter that waits for its rows to be due, if one side does not depend on the clock, and the other one on
//! nothing else and never falls as time passes (see `bound`). `other OR value > now()` is one, too: the rows for which
//! the other condition is true wait for nothing.

use super::band::is_ordered;
use super::bound::{is_utc_type, moving};
use super::expression::{follows_clock_in, text};
use super::join::one_zero;
use super::lower::{Attempt, origin};
use super::{Kind, Lowering, Node, planning};
use crate::operator::clock_filter::{ClockCondition, clock_schema};
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DFSchema, JoinType};
use datafusion::logical_expr::utils::{conjunction, disjunction, split_binary, split_conjunction};
use datafusion::logical_expr::{
    Between, BinaryExpr, Expr, ExprSchemable, Filter, Join, LogicalPlan, Operator, cast, is_true,
};
use viewfeed_change::Result;
use viewfeed_change::row::plain_type;

/// A condition over the clock, taken apart.
struct Clocked {
    /// What is compared: does not depend on the clock.
    value: Expr,
    /// What it is compared with, over the column of [`clock_schema`].
    bound: Expr,
    is_leaving: bool,
    reached_if_equal: bool,
    /// What lets a row pass at any time.
    always: Option<Expr>,
    text: String,
}

impl Lowering<'_> {
    /// A filter of which at least one condition waits for the clock.
    pub(super) fn filter_by_clock(&self, filter: &Filter) -> Result<Option<Attempt>> {
        let schema = filter.input.schema();
        let (clocked, rest) = self.clocked(&filter.predicate, schema);
        if clocked.is_empty() {
            return Ok(None);
        }
        let input = match conjunction(rest) {
            Some(rest) => LogicalPlan::Filter(Filter::try_new(rest, filter.input.clone()).map_err(planning)?),
            None => filter.input.as_ref().clone(),
        };
        let node = self.lower(&input)?;
        Ok(Some(self.wait_for_all(node, clocked, schema)))
    }

    /// An inner join of which at least one condition waits for the clock: that is a filter of its pairs.
    pub(super) fn join_by_clock(&self, join: &Join) -> Result<Option<Attempt>> {
        let (JoinType::Inner, Some(filter)) = (join.join_type, &join.filter) else {
            return Ok(None);
        };
        let (clocked, rest) = self.clocked(filter, &join.schema);
        if clocked.is_empty() {
            return Ok(None);
        }
        let mut joined = join.clone();
        joined.filter = conjunction(rest);
        let node = self.lower(&LogicalPlan::Join(joined))?;
        Ok(Some(self.wait_for_all(node, clocked, &join.schema)))
    }

    /// The conditions of `predicate` that wait for the clock, and the others.
    fn clocked(&self, predicate: &Expr, schema: &DFSchema) -> (Vec<Clocked>, Vec<Expr>) {
        let (mut clocked, mut rest) = (Vec::new(), Vec::new());
        for condition in split_conjunction(predicate) {
            match self.condition_over_clock(condition, schema) {
                Some(found) => clocked.extend(found),
                None => rest.push(condition.clone()),
            }
        }
        (clocked, rest)
    }

    /// What a condition says about the clock: comparisons that must all be true. None if it says nothing, or
    /// something that cannot be waited for.
    fn condition_over_clock(&self, condition: &Expr, schema: &DFSchema) -> Option<Vec<Clocked>> {
        if !follows_clock_in(condition) {
            return None;
        }
        let any = split_binary(condition, Operator::Or);
        let (mut over_clock, others): (Vec<&Expr>, Vec<&Expr>) =
            any.into_iter().partition(|part| follows_clock_in(part));
        let (comparison, true) = (over_clock.pop()?, over_clock.is_empty()) else {
            return None;
        };
        let always = disjunction(others.into_iter().cloned()).map(is_true);
        if always
            .as_ref()
            .is_some_and(|always| self.compile(always, schema).is_err())
        {
            return None;
        }
        let single = |(value, operator, bound): (&Expr, Operator, &Expr)| {
            let (value, bound) = in_one_type(value, bound, schema)?;
            self.compile(&value, schema).ok()?;
            Some(Clocked {
                value,
                bound,
                is_leaving: matches!(operator, Operator::Gt | Operator::GtEq),
                reached_if_equal: matches!(operator, Operator::LtEq | Operator::Gt),
                always: always.clone(),
                text: text(condition),
            })
        };
        comparisons(comparison)?.into_iter().map(single).collect()
    }

    fn wait_for_all(&self, input: Node, mut clocked: Vec<Clocked>, schema: &DFSchema) -> Attempt {
        // those who come first: fewer rows are left to wait until they go
        clocked.sort_by_key(|condition| condition.is_leaving);
        let mut conditions = clocked.into_iter();
        conditions.try_fold(input, |node, condition| self.wait(node, condition, schema))
    }

    /// The rows of `input`, with the columns of `schema`, that are due by `condition`.
    fn wait(&self, input: Node, condition: Clocked, schema: &DFSchema) -> Attempt {
        let width = schema.fields().len();
        let place = origin(&condition.value, schema).filter(|_| condition.always.is_none());
        let (input, value) = match place {
            Some(place) => (input, place),
            None => {
                let computed = std::iter::once(&condition.value).chain(&condition.always);
                let computed: Vec<Expr> = computed.cloned().collect();
                (self.with_computed(input, &computed, schema)?, width)
            }
        };
        let clock = DFSchema::try_from(clock_schema()).map_err(|error| error.to_string())?;
        let found = input.schema.field(value).data_type().clone();
        let bound = self.compile(&cast(condition.bound, found), &clock)?;
        let node = Node {
            schema: input.schema.clone(),
            facts: input.facts.clone(),
            kind: Kind::Clock(
                ClockCondition {
                    value,
                    always: condition.always.map(|_| width + 1),
                    bound,
                    is_leaving: condition.is_leaving,
                    reached_if_equal: condition.reached_if_equal,
                },
                condition.text,
            ),
            inputs: vec![input],
        };
        Ok(node.select((0..width).collect()))
    }
}

/// A value, how it is compared, and what with.
type Comparison<'a> = (&'a Expr, Operator, &'a Expr);

/// A condition as comparisons of something that does not depend on the clock with something that does, all of which
/// must be true.
fn comparisons(condition: &Expr) -> Option<Vec<Comparison<'_>>> {
    let comparisons: Vec<Comparison<'_>> = match condition {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => vec![(left, *op, right)],
            Operator::Eq => vec![(left, Operator::LtEq, right), (left, Operator::GtEq, right)],
            _ => return None,
        },
        Expr::Between(between) if !between.negated => {
            let Between { expr, low, high, .. } = between;
            vec![(expr, Operator::GtEq, low), (expr, Operator::LtEq, high)]
        }
        _ => return None,
    };
    comparisons.into_iter().map(oriented).collect()
}

fn oriented((left, operator, right): Comparison<'_>) -> Option<Comparison<'_>> {
    match (follows_clock_in(left), follows_clock_in(right)) {
        (false, true) => Some((left, operator, right)),
        (true, false) => Some((right, operator.swap()?, left)),
        _ => None,
    }
}

/// The two sides of a comparison in one type whose values are ordered as they are encoded, the second one over the
/// column of [`clock_schema`]. None if that one may fall.
fn in_one_type(value: &Expr, bound: &Expr, schema: &DFSchema) -> Option<(Expr, Expr)> {
    let bound = moving(bound)?;
    let (value, bound) = in_microseconds(value, &bound, schema).unwrap_or_else(|| (value.clone(), bound));
    let clock = DFSchema::try_from(clock_schema()).ok()?;
    let data_type = plain_type(&value.get_type(schema).ok()?);
    let is_same = data_type == plain_type(&bound.get_type(&clock).ok()?);
    (is_same && is_ordered(&data_type)).then(|| (one_zero(value, &data_type), bound))
}

/// A comparison in nanoseconds, as DataFusion plans those with `now()`, in microseconds: no bound is more exact, and
/// the year 9999 has no nanoseconds.
fn in_microseconds(value: &Expr, bound: &Expr, schema: &DFSchema) -> Option<(Expr, Expr)> {
    let is_nanoseconds = |found: &DataType| {
        is_utc_type(found) && matches!(found, DataType::Timestamp(TimeUnit::Nanosecond, _))
    };
    let Expr::Cast(wide) = value else {
        return None;
    };
    if !is_nanoseconds(&value.get_type(schema).ok()?) {
        return None;
    }
    let narrow = wide.expr.as_ref();
    let microseconds = DataType::Timestamp(TimeUnit::Microsecond, None);
    match narrow.get_type(schema).ok()? {
        found @ DataType::Timestamp(TimeUnit::Microsecond, _) if is_utc_type(&found) => {
            Some((narrow.clone(), cast(bound.clone(), found)))
        }
        found if found == DataType::Date32 || is_utc_type(&found) && !is_nanoseconds(&found) => Some((
            cast(narrow.clone(), microseconds.clone()),
            cast(bound.clone(), microseconds),
        )),
        _ => None,
    }
}
