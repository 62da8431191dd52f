//! Which aggregate functions are incremental, over which types, and what kind of state each needs. The functions'
//! result types and rounding are DataFusion's.

use arrow::datatypes::{DataType, IntervalUnit};
use datafusion::physical_expr::PhysicalExpr;
use std::sync::Arc;
use viewfeed_change::row::plain_type;

/// An aggregate function that can be kept true by what changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AggregateFunction {
    /// `count(x)`: rows where x is not NULL.
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
}

/// One column of results.
#[derive(Clone, Debug)]
pub(crate) struct AggregateCall {
    /// What is computed.
    pub(crate) function: AggregateFunction,
    /// From which value of an input row; only `CountRows` has none.
    pub(crate) argument: Option<Arc<dyn PhysicalExpr>>,
    /// `FILTER (WHERE …)`: rows for which this is not true do not count.
    pub(crate) filter: Option<Arc<dyn PhysicalExpr>>,
    /// The type of the argument, after DataFusion's coercion; `Null` if there is none.
    pub(crate) input_type: DataType,
    /// The type of the result, as DataFusion gives it.
    pub(crate) output_type: DataType,
}

/// Whether [`super::Aggregate`] can maintain `function` of values of `input_type` with results of `output_type`
/// exactly; what it cannot is recomputed.
pub(crate) fn supports(function: AggregateFunction, input_type: &DataType, output_type: &DataType) -> bool {
    Kind::of(function, input_type, output_type).is_some()
}

/// The kind of state a call keeps per group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// How many values.
    Count,
    /// A sum that fits 128 bits, and how many values.
    Integer,
    /// A sum that needs 256 bits, and how many values.
    Wide,
    /// A sum of three parts, and how many values.
    Interval,
    /// An exact sum of floats, and how many values.
    Float,
    /// The smallest value; all values are kept in order.
    Smallest,
    /// The largest value; all values are kept in inverted order.
    Largest,
}

impl Kind {
    /// The kind for a call, or None if it cannot be kept exactly.
    pub(super) fn of(function: AggregateFunction, input: &DataType, output: &DataType) -> Option<Self> {
        let (input, output) = (&plain_type(input), &plain_type(output));
        let kind = match function {
            AggregateFunction::Count | AggregateFunction::CountRows => Self::Count,
            AggregateFunction::Sum => Self::of_sum(input)?,
            AggregateFunction::Avg => Self::of_average(input)?,
            AggregateFunction::Min if is_ordered(input) => Self::Smallest,
            AggregateFunction::Max if is_ordered(input) => Self::Largest,
            AggregateFunction::Min | AggregateFunction::Max => return None,
        };
        let wanted = match (function, input, output) {
            (AggregateFunction::Count | AggregateFunction::CountRows, _, output) => {
                *output == DataType::Int64
            }
            (_, DataType::Decimal128(..), DataType::Decimal128(..)) => true,
            (_, DataType::Decimal256(..), DataType::Decimal256(..)) => true,
            (_, input, output) => input == output,
        };
        wanted.then_some(kind)
    }

    fn of_sum(input: &DataType) -> Option<Self> {
        match input {
            DataType::Int64 | DataType::UInt64 | DataType::Duration(_) | DataType::Decimal128(..) => {
                Some(Self::Integer)
            }
            DataType::Decimal256(..) => Some(Self::Wide),
            DataType::Float64 => Some(Self::Float),
            DataType::Interval(IntervalUnit::YearMonth) => Some(Self::Integer),
            DataType::Interval(_) => Some(Self::Interval),
            _ => None,
        }
    }

    fn of_average(input: &DataType) -> Option<Self> {
        match input {
            DataType::Float64 => Some(Self::Float),
            DataType::Duration(_) => Some(Self::Integer),
            DataType::Decimal128(..) | DataType::Decimal256(..) => Some(Self::Wide),
            _ => None,
        }
    }
}

/// Whether the order of the row encoding is DataFusion's order of values. It is not for nested types (NULLs within),
/// and a type without values has no order.
fn is_ordered(data_type: &DataType) -> bool {
    use DataType::*;
    matches!(
        data_type,
        Boolean
            | Int8
            | Int16
            | Int32
            | Int64
            | UInt8
            | UInt16
            | UInt32
            | UInt64
            | Float32
            | Float64
            | Utf8
            | Binary
            | FixedSizeBinary(_)
            | Date32
            | Date64
            | Time32(_)
            | Time64(_)
            | Timestamp(..)
            | Duration(_)
            | Interval(_)
            | Decimal128(..)
            | Decimal256(..)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use AggregateFunction::*;

    #[test]
    fn what_is_exact_is_supported_and_the_rest_is_not() {
        let same = |function, data_type: DataType| supports(function, &data_type, &data_type);
        assert!(supports(Count, &DataType::Utf8, &DataType::Int64));
        assert!(supports(CountRows, &DataType::Null, &DataType::Int64));
        assert!(supports(
            Sum,
            &DataType::Decimal128(10, 2),
            &DataType::Decimal128(20, 2)
        ));
        assert!(supports(
            Avg,
            &DataType::Decimal128(10, 2),
            &DataType::Decimal128(14, 6)
        ));
        assert!(same(Sum, DataType::Interval(IntervalUnit::MonthDayNano)));
        assert!(same(Max, DataType::Utf8View), "views become plain text");
        assert!(
            !supports(Sum, &DataType::Int32, &DataType::Int64),
            "DataFusion casts before it adds"
        );
        assert!(!same(Avg, DataType::Int64));
        assert!(
            !same(Min, DataType::Decimal32(9, 2)),
            "the row encoding has no form for it"
        );
        assert!(!same(
            Min,
            DataType::Struct(Vec::<arrow::datatypes::Field>::new().into())
        ));
        assert!(!same(Max, DataType::Null));
    }
}
