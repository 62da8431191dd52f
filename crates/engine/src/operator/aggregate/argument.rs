//! Arguments of sums, with their type resolved once per batch.

use super::kind::Kind;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::*;
use viewfeed_change::{Error, Result};

/// The arguments of a batch by row. Rows with NULL hold anything.
pub(super) enum Arguments<'a> {
    /// Only counted.
    Any,
    Integers(Box<dyn Fn(usize) -> i128 + 'a>),
    Wides(Box<dyn Fn(usize) -> i256 + 'a>),
    Intervals(Box<dyn Fn(usize) -> [i64; 3] + 'a>),
    Floats(&'a [f64]),
    FloatPairs(&'a [f64], &'a [f64]),
    Truths(&'a BooleanArray),
}

impl<'a> Arguments<'a> {
    /// The arguments of an aggregate of this kind. Fails if it does not take their type.
    pub(super) fn new(kind: Kind, arrays: &'a [ArrayRef]) -> Result<Self> {
        let (Some(array), false) = (arrays.first(), kind == Kind::Count) else {
            return Ok(Self::Any);
        };
        let floats = |array: &'a ArrayRef| {
            array
                .as_primitive_opt::<Float64Type>()
                .map(|array| array.values())
        };
        let found = match (kind, array.data_type()) {
            (Kind::Integer | Kind::Bits, _) => integers(array).map(Self::Integers),
            (Kind::Wide, DataType::Decimal128(..)) => {
                let values = array.as_primitive::<Decimal128Type>().values();
                Some(Self::Wides(Box::new(|row| i256::from_i128(values[row]))))
            }
            (Kind::Wide, DataType::Decimal256(..)) => {
                let values = array.as_primitive::<Decimal256Type>().values();
                Some(Self::Wides(Box::new(|row| values[row])))
            }
            (Kind::Interval, DataType::Interval(_)) => Some(Self::intervals(array)),
            (Kind::Float, _) => floats(array).map(|values| Self::Floats(values)),
            (Kind::Truth, _) => array.as_boolean_opt().map(Self::Truths),
            (Kind::Moments, _) => match arrays.get(1) {
                None => floats(array).map(|values| Self::Floats(values)),
                Some(second) => floats(array)
                    .zip(floats(second))
                    .map(|(first, second)| Self::FloatPairs(first, second)),
            },
            _ => None,
        };
        found.ok_or_else(|| {
            let data_type = array.data_type();
            Error::internal(format!("an aggregate got an argument of type {data_type}"))
        })
    }

    fn intervals(array: &'a ArrayRef) -> Self {
        match array.as_primitive_opt::<IntervalDayTimeType>() {
            Some(array) => Self::Intervals(Box::new(|row| {
                let value = array.values()[row];
                [i64::from(value.days), i64::from(value.milliseconds), 0]
            })),
            None => {
                let values = array.as_primitive::<IntervalMonthDayNanoType>().values();
                Self::Intervals(Box::new(|row| {
                    let value = values[row];
                    [i64::from(value.months), i64::from(value.days), value.nanoseconds]
                }))
            }
        }
    }
}

/// How to read numbers of at most 128 bits; None for other types.
fn integers<'a>(array: &'a ArrayRef) -> Option<Box<dyn Fn(usize) -> i128 + 'a>> {
    macro_rules! values {
        ($type:ty) => {{
            let values = array.as_primitive::<$type>().values();
            Box::new(|row| i128::from(values[row]))
        }};
    }
    Some(match array.data_type() {
        DataType::Int8 => values!(Int8Type),
        DataType::Int16 => values!(Int16Type),
        DataType::Int32 => values!(Int32Type),
        DataType::Int64 => values!(Int64Type),
        DataType::UInt8 => values!(UInt8Type),
        DataType::UInt16 => values!(UInt16Type),
        DataType::UInt32 => values!(UInt32Type),
        DataType::UInt64 => values!(UInt64Type),
        DataType::Decimal128(..) => values!(Decimal128Type),
        DataType::Duration(TimeUnit::Second) => values!(DurationSecondType),
        DataType::Duration(TimeUnit::Millisecond) => values!(DurationMillisecondType),
        DataType::Duration(TimeUnit::Microsecond) => values!(DurationMicrosecondType),
        DataType::Duration(TimeUnit::Nanosecond) => values!(DurationNanosecondType),
        DataType::Interval(IntervalUnit::YearMonth) => values!(IntervalYearMonthType),
        _ => return None,
    })
}
