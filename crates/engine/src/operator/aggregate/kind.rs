//! What kind of state each call needs, by its function and types: the table of what is exact.

use super::function::{AggregateCall, AggregateFunction};
use super::statistic::Statistic;
use arrow::datatypes::{DataType, Field, IntervalUnit, Schema};
use std::sync::Arc;
use viewfeed_change::row::{RowCodec, plain_type};

/// The kind of accumulator a call keeps per group.
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
    /// How many values, and how many are true.
    Truth,
    /// How many values, and how many have each bit.
    Bits,
    /// Exact sums of values, squares and products, and how many.
    Moments,
    /// The first value in an order; all values are kept in it.
    First,
    /// All values in an order; they are kept beside the group.
    List,
    /// The values at a place of the order; all values are kept in it, forwards and backwards.
    Rank,
}

/// What a call keeps beside its accumulator: nothing, or an entry per group and value with a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entries {
    /// Sums need none.
    None,
    /// Which values are there, to count each once.
    Presence,
    /// Values in order.
    Order,
}

impl Entries {
    /// Of a call whose accumulator is of `kind`.
    pub(super) fn of(call: &AggregateCall, kind: Kind) -> Self {
        match kind {
            Kind::First | Kind::List | Kind::Rank => Self::Order,
            _ if call.is_distinct && !call.function.is_idempotent() => Self::Presence,
            _ => Self::None,
        }
    }
}

impl Kind {
    /// The kind for a call, or None if it cannot be kept exactly.
    pub(super) fn of(call: &AggregateCall) -> Option<Self> {
        let input = &plain_type(call.input_type());
        let kind = Self::of_function(call.function, input)?;
        let orders = call.order.iter().map(|key| plain_type(&key.by.data_type));
        let is_exact = call.function.takes(call.arguments.len())
            && gives(call.function, input, &plain_type(&call.output_type))
            && (!call.is_distinct || call.arguments.len() <= 1 && kind != Self::Rank)
            && (Entries::of(call, kind) == Entries::None || is_stored(input))
            && orders.into_iter().all(|by| is_ordered(&by));
        is_exact.then_some(kind)
    }

    fn of_function(function: AggregateFunction, input: &DataType) -> Option<Self> {
        use AggregateFunction::*;
        Some(match function {
            Count | CountRows | Statistic(self::Statistic::Count) => Self::Count,
            Sum => Self::of_sum(input)?,
            Avg => Self::of_average(input)?,
            Min | Max if is_ordered(input) => Self::First,
            Min | Max => return None,
            Median if is_ordered(input) => Self::Rank,
            Percentile(_) if matches!(input, DataType::Float32 | DataType::Float64) => Self::Rank,
            Median | Percentile(_) => return None,
            AnyValue | FirstValue | LastValue => Self::First,
            BoolAnd | BoolOr => Self::Truth,
            BitAnd | BitOr | BitXor => Self::Bits,
            Statistic(_) => Self::Moments,
            ArrayAgg | StringAgg => Self::List,
        })
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

/// Whether the function makes results of this type of these arguments: DataFusion casts arguments before.
fn gives(function: AggregateFunction, input: &DataType, output: &DataType) -> bool {
    use AggregateFunction::*;
    match function {
        Count | CountRows => *output == DataType::Int64,
        BoolAnd | BoolOr => *input == DataType::Boolean && *output == DataType::Boolean,
        BitAnd | BitOr | BitXor => input.is_integer() && input == output,
        Statistic(self::Statistic::Count) => *output == DataType::UInt64,
        Statistic(_) => *input == DataType::Float64 && *output == DataType::Float64,
        Median if !input.is_floating() => input.is_decimal() && input == output,
        StringAgg => *input == DataType::Utf8 && *output == DataType::Utf8,
        ArrayAgg => matches!(output, DataType::List(element) if element.data_type() == input),
        _ => match (input, output) {
            (DataType::Decimal128(..), DataType::Decimal128(..)) => true,
            (DataType::Decimal256(..), DataType::Decimal256(..)) => true,
            (input, output) => input == output,
        },
    }
}

/// Whether the row encoding has a form for values of this type.
fn is_stored(data_type: &DataType) -> bool {
    let field = Field::new("value", data_type.clone(), true);
    RowCodec::for_schema(&Arc::new(Schema::new(vec![field]))).is_ok()
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
    use super::super::function::Argument;
    use super::*;
    use AggregateFunction::*;
    use datafusion::physical_expr::expressions::Column;

    fn supports(function: AggregateFunction, input: DataType, output: DataType) -> bool {
        let argument = Argument {
            value: Arc::new(Column::new("x", 0)),
            data_type: input,
        };
        let arguments = if function == CountRows {
            vec![]
        } else {
            vec![argument]
        };
        Kind::of(&AggregateCall::new(function, arguments, output)).is_some()
    }

    #[test]
    fn what_is_exact_is_supported_and_the_rest_is_not() {
        let same = |function, data_type: DataType| supports(function, data_type.clone(), data_type);
        let decimal = DataType::Decimal128;
        assert!(supports(Count, DataType::Utf8, DataType::Int64));
        assert!(supports(CountRows, DataType::Null, DataType::Int64));
        assert!(supports(Sum, decimal(10, 2), decimal(20, 2)));
        assert!(supports(Avg, decimal(10, 2), decimal(14, 6)));
        assert!(same(Sum, DataType::Interval(IntervalUnit::MonthDayNano)));
        assert!(same(Max, DataType::Utf8View), "views become plain text");
        let sum_of_small = supports(Sum, DataType::Int32, DataType::Int64);
        assert!(!sum_of_small, "DataFusion casts before it adds");
        assert!(!same(Avg, DataType::Int64));
        let no_form = DataType::Decimal32(9, 2);
        assert!(!same(Min, no_form.clone()), "the row encoding has no form for it");
        assert!(!same(FirstValue, no_form));
        let nested = DataType::Struct(Vec::<Field>::new().into());
        assert!(!same(Min, nested.clone()));
        assert!(same(FirstValue, nested), "any order will do");
        assert!(!same(Max, DataType::Null));
    }
}
