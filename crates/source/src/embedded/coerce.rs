//! Typed values to the type of the column they are written to: Postgres' assignment casts, and text to anything.

use super::text::{self, Fault};
use super::values;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use std::sync::Arc;
use viewfeed_change::row::plain_type;
use viewfeed_change::{Column, Result};

/// `array` as values of `column`. Fails if one is out of range, or if the types have nothing to do with each other.
pub(super) fn coerce(array: &ArrayRef, column: &Column) -> Result<ArrayRef> {
    let to = &column.data_type;
    if array.data_type() == to {
        return Ok(array.clone());
    }
    let from = plain_type(array.data_type());
    let array = if *array.data_type() == from {
        array.clone()
    } else {
        cast(array, &from)?
    };
    if from == *to {
        return Ok(array);
    }
    if from == DataType::Utf8 {
        return text::parse(array.as_string::<i32>(), column);
    }
    if !assignable(&from, to) {
        return Err(values::mismatch(column, &format!("of type {from}")));
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let array = if to.is_integer() { rounded(array)? } else { array };
    // The cast's own message names the value, which may be private.
    cast_with_options(&array, to, &options).map_err(|_| Fault::Range.of(column))
}

/// Whether a value of type `from` may be written to a column of type `to` without saying so.
fn assignable(from: &DataType, to: &DataType) -> bool {
    use DataType::*;
    let is_time = |data_type: &DataType| matches!(data_type, Date32 | Date64 | Timestamp(..));
    match (from, to) {
        (Null, _) => true,
        (from, to) if from.is_numeric() && to.is_numeric() => true,
        (from, to) if is_time(from) && is_time(to) => true,
        (Timestamp(..), Time32(_) | Time64(_)) => true,
        (Time32(_) | Time64(_), Time32(_) | Time64(_)) => true,
        (Interval(_) | Duration(_), Interval(_) | Duration(_)) => true,
        (Binary | FixedSizeBinary(_), Binary | FixedSizeBinary(_)) => true,
        (from, Utf8) => {
            from.is_numeric()
                || is_time(from)
                || matches!(from, Boolean | Time32(_) | Time64(_) | Interval(_))
        }
        (List(from), List(to)) => {
            from.data_type() == to.data_type() || assignable_item(from.data_type(), to.data_type())
        }
        (Struct(from), Struct(to)) => {
            from.len() == to.len()
                && from
                    .iter()
                    .zip(to)
                    .all(|(from, to)| assignable_item(from.data_type(), to.data_type()))
        }
        (Map(..), Map(..)) => true,
        _ => false,
    }
}

fn assignable_item(from: &DataType, to: &DataType) -> bool {
    from == to || *from == DataType::Utf8 || assignable(from, to)
}

/// Fractions rounded as Postgres does when an integer is wanted: numeric half away from zero, float half to even.
fn rounded(array: ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Float64 => Arc::new(
            array
                .as_primitive::<Float64Type>()
                .unary::<_, Float64Type>(f64::round_ties_even),
        ),
        DataType::Float32 => Arc::new(
            array
                .as_primitive::<Float32Type>()
                .unary::<_, Float32Type>(f32::round_ties_even),
        ),
        DataType::Decimal128(precision, scale) if *scale > 0 => {
            cast(&array, &DataType::Decimal128(*precision, 0))?
        }
        DataType::Decimal256(precision, scale) if *scale > 0 => {
            cast(&array, &DataType::Decimal256(*precision, 0))?
        }
        _ => array,
    })
}
