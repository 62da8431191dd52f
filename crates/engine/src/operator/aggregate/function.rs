//! Which aggregate functions are incremental, and what a call of one is. The functions' result types and rounding are
//! DataFusion's.

use super::kind::Kind;
use super::statistic::Statistic;
use arrow::datatypes::DataType;
use datafusion::physical_expr::PhysicalExpr;
use std::sync::Arc;

/// An aggregate function that can be kept true by what changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AggregateFunction {
    /// `count(x, …)`: rows where no argument is NULL.
    Count,
    /// `count(*)`: rows.
    CountRows,
    /// `sum(x)`.
    Sum,
    /// `avg(x)`.
    Avg,
    /// `min(x)`.
    Min,
    /// `max(x)`.
    Max,
    /// `any_value(x)`: the value that is not NULL and first in the row encoding.
    AnyValue,
    /// `first_value(x ORDER BY …)`: rows that are equal in order, or all of them without one, are ordered by `x` in
    /// the row encoding.
    FirstValue,
    /// `last_value(x ORDER BY …)`, ordered as `first_value`.
    LastValue,
    /// `bool_and(x)`.
    BoolAnd,
    /// `bool_or(x)`.
    BoolOr,
    /// `bit_and(x)`.
    BitAnd,
    /// `bit_or(x)`.
    BitOr,
    /// `bit_xor(x)`.
    BitXor,
    /// `array_agg(x ORDER BY …)`, ordered as `first_value`.
    ArrayAgg,
    /// `string_agg(x, 'delimiter' ORDER BY …)`, ordered as `first_value`.
    StringAgg,
    /// `median(x)`.
    Median,
    /// `percentile_cont(fraction) WITHIN GROUP (ORDER BY x)`.
    Percentile(Fraction),
    /// Variances, correlations, regressions.
    Statistic(Statistic),
}

/// A number from 0 to 1, by its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fraction(u64);

impl Fraction {
    /// The fraction `value`.
    pub(crate) fn new(value: f64) -> Self {
        Self(value.to_bits())
    }

    /// As a number.
    pub(super) fn value(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl AggregateFunction {
    /// The function with DataFusion's name for it; `count` of something.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "count" => Self::Count,
            "sum" => Self::Sum,
            "avg" => Self::Avg,
            "min" => Self::Min,
            "max" => Self::Max,
            "any_value" => Self::AnyValue,
            "first_value" => Self::FirstValue,
            "last_value" => Self::LastValue,
            "bool_and" => Self::BoolAnd,
            "bool_or" => Self::BoolOr,
            "bit_and" => Self::BitAnd,
            "bit_or" => Self::BitOr,
            "bit_xor" => Self::BitXor,
            "array_agg" => Self::ArrayAgg,
            "string_agg" => Self::StringAgg,
            "median" => Self::Median,
            other => Self::Statistic(Statistic::named(other)?),
        })
    }

    /// How many arguments it takes; `count` takes any number.
    pub(crate) fn takes(self, arguments: usize) -> bool {
        match self {
            Self::Count => arguments > 0,
            Self::CountRows => arguments == 0,
            Self::Statistic(statistic) => arguments == statistic.arguments(),
            _ => arguments == 1,
        }
    }

    /// Whether the order of rows matters to it.
    pub(crate) fn is_ordered(self) -> bool {
        matches!(
            self,
            Self::FirstValue | Self::LastValue | Self::ArrayAgg | Self::StringAgg
        )
    }

    /// Whether NULL is a value like others to it, unless the call says otherwise.
    pub(crate) fn respects_null(self) -> bool {
        matches!(self, Self::FirstValue | Self::LastValue | Self::ArrayAgg)
    }

    /// Whether a value that is there twice counts as if it were there once.
    pub(super) fn is_idempotent(self) -> bool {
        use AggregateFunction::*;
        matches!(
            self,
            Min | Max | AnyValue | FirstValue | LastValue | BoolAnd | BoolOr | BitAnd | BitOr
        )
    }
}

/// What is computed of an input row: a value, and its type.
#[derive(Clone, Debug)]
pub(crate) struct Argument {
    pub(crate) value: Arc<dyn PhysicalExpr>,
    pub(crate) data_type: DataType,
}

/// What rows are ordered by within a group.
#[derive(Clone, Debug)]
pub(crate) struct OrderKey {
    pub(crate) by: Argument,
    pub(crate) is_descending: bool,
    pub(crate) nulls_first: bool,
}

/// One column of results.
#[derive(Clone, Debug)]
pub(crate) struct AggregateCall {
    /// What is computed.
    pub(crate) function: AggregateFunction,
    /// From which values of an input row, of the types they have after DataFusion's coercion.
    pub(crate) arguments: Vec<Argument>,
    /// `DISTINCT`: equal arguments count once.
    pub(crate) is_distinct: bool,
    /// `ORDER BY`, for the functions that are ordered.
    pub(crate) order: Vec<OrderKey>,
    /// Whether rows with a NULL argument do not count.
    pub(crate) skips_null: bool,
    /// `FILTER (WHERE …)`: rows for which this is not true do not count.
    pub(crate) filter: Option<Arc<dyn PhysicalExpr>>,
    /// What `string_agg` puts between two values.
    pub(crate) delimiter: String,
    /// The type of the result, as DataFusion gives it.
    pub(crate) output_type: DataType,
}

impl AggregateCall {
    /// A call without any clause.
    pub(crate) fn new(function: AggregateFunction, arguments: Vec<Argument>, output_type: DataType) -> Self {
        Self {
            function,
            arguments,
            is_distinct: false,
            order: Vec::new(),
            skips_null: !function.respects_null(),
            filter: None,
            delimiter: String::new(),
            output_type,
        }
    }

    /// The type of the first argument; `Null` if there is none.
    pub(super) fn input_type(&self) -> &DataType {
        self.arguments
            .first()
            .map_or(&DataType::Null, |first| &first.data_type)
    }

    /// Whether a change is answered with all values of the group.
    pub(crate) fn is_list(&self) -> bool {
        matches!(
            self.function,
            AggregateFunction::ArrayAgg | AggregateFunction::StringAgg
        )
    }
}

/// Whether [`super::Aggregate`] can maintain `call` exactly; what it cannot is computed again.
pub(crate) fn supports(call: &AggregateCall) -> bool {
    Kind::of(call).is_some()
}
