//! Arguments of sums, with their type resolved once per batch.

use super::function::Kind;
use arrow::array::{Array, ArrayRef, AsArray};
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
}

impl<'a> Arguments<'a> {
    /// The arguments of an aggregate of this kind. Fails if it does not take their type.
    pub(super) fn new(kind: Kind, array: Option<&'a ArrayRef>) -> Result<Self> {
        let Some(array) = array.filter(|_| kind != Kind::Count) else {
            return Ok(Self::Any);
        };
        Ok(match (kind, array.data_type()) {
            (Kind::Integer, DataType::Int64) => {
                let values = array.as_primitive::<Int64Type>().values();
                Self::Integers(Box::new(|row| i128::from(values[row])))
            }
            (Kind::Integer, DataType::UInt64) => {
                let values = array.as_primitive::<UInt64Type>().values();
                Self::Integers(Box::new(|row| i128::from(values[row])))
            }
            (Kind::Integer, DataType::Decimal128(..)) => {
                let values = array.as_primitive::<Decimal128Type>().values();
                Self::Integers(Box::new(|row| values[row]))
            }
            (Kind::Integer, DataType::Interval(IntervalUnit::YearMonth)) => {
                let values = array.as_primitive::<IntervalYearMonthType>().values();
                Self::Integers(Box::new(|row| i128::from(values[row])))
            }
            (Kind::Wide, DataType::Decimal128(..)) => {
                let values = array.as_primitive::<Decimal128Type>().values();
                Self::Wides(Box::new(|row| i256::from_i128(values[row])))
            }
            (Kind::Wide, DataType::Decimal256(..)) => {
                let values = array.as_primitive::<Decimal256Type>().values();
                Self::Wides(Box::new(|row| values[row]))
            }
            (Kind::Interval, DataType::Interval(_)) => Self::intervals(array),
            (Kind::Float, DataType::Float64) => Self::Floats(array.as_primitive::<Float64Type>().values()),
            (_, other) => {
                return Err(Error::internal(format!(
                    "an aggregate got an argument of type {other}"
                )));
            }
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
