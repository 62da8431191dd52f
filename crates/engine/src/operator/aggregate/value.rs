//! Results of aggregates, and how columns are made of them.

use super::entry::EntryForm;
use arrow::array::{ArrayRef, ArrowPrimitiveType, BooleanArray, PrimitiveArray};
use arrow::datatypes::*;
use std::sync::Arc;
use viewfeed_change::{Error, Result};

/// A result of one call for one group.
#[derive(Clone, Debug)]
pub(in crate::operator) enum Value {
    /// Nothing was aggregated.
    Null,
    /// A number that is cut to the width of the result's type, as DataFusion's addition wraps.
    Integer(i128),
    /// The same for `Decimal256`.
    Wide(i256),
    /// Days and milliseconds, or months, days and nanoseconds.
    Interval([i64; 3]),
    /// A float.
    Float(f64),
    /// A value in the row encoding.
    Encoded(Vec<u8>),
    /// So far between two values in the row encoding; None for the middle.
    Between(Vec<u8>, Vec<u8>, Option<f64>),
    /// Values in the row encoding, with how often each is there.
    List(Vec<(Vec<u8>, i64)>),
}

impl Value {
    /// Whether both are shown as the same bits.
    pub(in crate::operator) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Integer(a), Self::Integer(b)) => a == b,
            (Self::Wide(a), Self::Wide(b)) => a == b,
            (Self::Interval(a), Self::Interval(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::Encoded(a), Self::Encoded(b)) => a == b,
            (Self::Between(a, b, part), Self::Between(c, d, other)) => {
                a == c && b == d && part.map(f64::to_bits) == other.map(f64::to_bits)
            }
            (Self::List(a), Self::List(b)) => a == b,
            _ => false,
        }
    }

    /// The values of a list; none for anything else.
    pub(super) fn entries(&self) -> &[(Vec<u8>, i64)] {
        match self {
            Self::List(entries) => entries,
            _ => &[],
        }
    }
}

/// A column of type `data_type` with these results.
pub(in crate::operator) fn column(values: &[&Value], data_type: &DataType) -> Result<ArrayRef> {
    Ok(match data_type {
        DataType::Boolean => truths(values),
        DataType::Int8 => integers::<Int8Type>(values, data_type, |bits| bits as i8),
        DataType::Int16 => integers::<Int16Type>(values, data_type, |bits| bits as i16),
        DataType::Int32 => integers::<Int32Type>(values, data_type, |bits| bits as i32),
        DataType::UInt8 => integers::<UInt8Type>(values, data_type, |bits| bits as u8),
        DataType::UInt16 => integers::<UInt16Type>(values, data_type, |bits| bits as u16),
        DataType::UInt32 => integers::<UInt32Type>(values, data_type, |bits| bits as u32),
        DataType::Int64 => integers::<Int64Type>(values, data_type, |sum| sum as i64),
        DataType::UInt64 => integers::<UInt64Type>(values, data_type, |sum| sum as u64),
        DataType::Decimal128(..) => integers::<Decimal128Type>(values, data_type, |sum| sum),
        DataType::Decimal256(..) => wides(values, data_type),
        DataType::Float64 => floats(values),
        DataType::Duration(TimeUnit::Second) => {
            integers::<DurationSecondType>(values, data_type, |sum| sum as i64)
        }
        DataType::Duration(TimeUnit::Millisecond) => {
            integers::<DurationMillisecondType>(values, data_type, |sum| sum as i64)
        }
        DataType::Duration(TimeUnit::Microsecond) => {
            integers::<DurationMicrosecondType>(values, data_type, |sum| sum as i64)
        }
        DataType::Duration(TimeUnit::Nanosecond) => {
            integers::<DurationNanosecondType>(values, data_type, |sum| sum as i64)
        }
        DataType::Interval(IntervalUnit::YearMonth) => {
            integers::<IntervalYearMonthType>(values, data_type, |sum| sum as i32)
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            intervals::<IntervalDayTimeType>(values, |[days, time, _]| {
                IntervalDayTime::new(days as i32, time as i32)
            })
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            intervals::<IntervalMonthDayNanoType>(values, |[months, days, nanos]| {
                IntervalMonthDayNano::new(months as i32, days as i32, nanos)
            })
        }
        other => {
            return Err(Error::internal(format!(
                "no aggregate has results of type {other}"
            )));
        }
    })
}

/// A column of values that are kept as entries of this form.
pub(super) fn encoded(values: &[&Value], form: &EntryForm) -> Result<ArrayRef> {
    const NULL: &[u8] = &[0];
    let rows = values.iter().map(|value| match value {
        Value::Encoded(bytes) => bytes.as_slice(),
        _ => NULL,
    });
    form.decode(rows)
}

fn truths(values: &[&Value]) -> ArrayRef {
    let native = |value: &&Value| match value {
        Value::Integer(truth) => Some(*truth != 0),
        _ => None,
    };
    Arc::new(values.iter().map(native).collect::<BooleanArray>())
}

fn integers<T: ArrowPrimitiveType>(
    values: &[&Value],
    data_type: &DataType,
    cut: fn(i128) -> T::Native,
) -> ArrayRef {
    let native = |value: &&Value| match value {
        Value::Integer(sum) => Some(cut(*sum)),
        _ => None,
    };
    let array: PrimitiveArray<T> = values.iter().map(native).collect();
    Arc::new(array.with_data_type(data_type.clone()))
}

fn wides(values: &[&Value], data_type: &DataType) -> ArrayRef {
    let native = |value: &&Value| match value {
        Value::Wide(sum) => Some(*sum),
        _ => None,
    };
    let array: PrimitiveArray<Decimal256Type> = values.iter().map(native).collect();
    Arc::new(array.with_data_type(data_type.clone()))
}

fn intervals<T: ArrowPrimitiveType>(values: &[&Value], cut: fn([i64; 3]) -> T::Native) -> ArrayRef {
    let native = |value: &&Value| match value {
        Value::Interval(parts) => Some(cut(*parts)),
        _ => None,
    };
    Arc::new(values.iter().map(native).collect::<PrimitiveArray<T>>())
}

fn floats(values: &[&Value]) -> ArrayRef {
    let native = |value: &&Value| match value {
        Value::Float(sum) => Some(*sum),
        _ => None,
    };
    Arc::new(values.iter().map(native).collect::<PrimitiveArray<Float64Type>>())
}
