//! Which column types fit which fields. What fits is converted by Arrow's checked casts; what could lose or change a
//! value does not fit.

use crate::form::Form;
use arrow::array::{Array, ArrayRef};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use prost_reflect::Kind;
use viewfeed_change::{Error, Result};

/// Whether a column of type `column` can be sent in a field of `form`.
pub(crate) fn readable(column: &DataType, form: &Form) -> bool {
    match (column, form) {
        (DataType::Null, _) => true,
        (_, Form::Scalar(kind)) => readable_scalar(column, kind),
        (_, Form::Wrapper(inner)) => readable(column, &inner.form),
        (_, Form::Enum(_) | Form::Json(_)) => is_text(column),
        (_, Form::Timestamp) => matches!(column, DataType::Timestamp(..) | DataType::Date32),
        (_, Form::Duration) => matches!(column, DataType::Duration(_) | DataType::Interval(_)),
        (DataType::Struct(children), Form::Struct(_, fields)) => fields.iter().all(|field| {
            let child = children.iter().find(|child| child.name() == field.field.name());
            child.is_some_and(|child| readable(child.data_type(), &field.form))
        }),
        (DataType::List(item), Form::List(element)) => readable(item.data_type(), element),
        (DataType::Map(entries, _), Form::Map(key, value)) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                readable(pair[0].data_type(), key) && readable(pair[1].data_type(), value)
            }
            _ => false,
        },
        _ => false,
    }
}

fn readable_scalar(column: &DataType, kind: &Kind) -> bool {
    use DataType::*;
    match kind {
        Kind::Bool => matches!(column, Boolean),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            matches!(column, Int8 | Int16 | Int32 | UInt8 | UInt16)
        }
        // UInt64 is what row_number() gives; values above i64 fail when they come.
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => column.is_integer(),
        Kind::Uint32 | Kind::Fixed32 => matches!(column, UInt8 | UInt16 | UInt32),
        Kind::Uint64 | Kind::Fixed64 => column.is_unsigned_integer(),
        Kind::Float => matches!(column, Float32 | Int8 | Int16 | UInt8 | UInt16),
        Kind::Double => match column {
            Int64 | UInt64 => false,
            other => other.is_integer() || matches!(other, Float32 | Float64 | Decimal128(..)),
        },
        Kind::Bytes => matches!(column, Binary | FixedSizeBinary(_)),
        Kind::String => {
            let as_text = matches!(
                column,
                Decimal128(..) | Date32 | Time32(_) | Time64(_) | Timestamp(..) | Interval(_)
            );
            is_text(column) || as_text
        }
        Kind::Enum(_) | Kind::Message(_) => false,
    }
}

/// Whether a field of `form` can be kept in a column of type `column`.
pub(crate) fn writable(form: &Form, column: &DataType) -> bool {
    use DataType::*;
    let natural = form.data_type();
    if natural == *column {
        return true;
    }
    match (&natural, column) {
        (Int32, Int64) | (UInt32, Int64 | UInt64) | (Float32, Float64) => true,
        (Int32 | Int64, Int8 | Int16 | Int32 | Decimal128(..)) => true,
        // Text is parsed when it is written; what does not parse is refused then.
        (Utf8, Decimal128(..) | Date32 | Time64(_) | Timestamp(..) | Interval(_)) => {
            matches!(form, Form::Scalar(Kind::String))
        }
        (Timestamp(..), Timestamp(..)) => true,
        (Duration(_), Interval(IntervalUnit::MonthDayNano)) => true,
        (List(from), List(to)) => from.data_type() == to.data_type(),
        _ => false,
    }
}

fn is_text(column: &DataType) -> bool {
    matches!(column, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// `array` as `data_type`. Fails as `Invalid` on the first value that has no equal there.
pub(crate) fn conform_value(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if array.data_type() == data_type {
        return Ok(array.clone());
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    // The cause would show the value.
    cast_with_options(array.as_ref(), data_type, &options).map_err(|_| {
        let message = format!(
            "a value of type {} is no {}",
            sql_name(array.data_type()),
            sql_name(data_type)
        );
        Error::invalid("VALUE_DOES_NOT_FIT", message)
    })
}

/// The SQL name of an Arrow type, for messages.
pub(crate) fn sql_name(data_type: &DataType) -> String {
    use DataType::*;
    match data_type {
        Boolean => "boolean".into(),
        Int8 => "tinyint".into(),
        Int16 => "smallint".into(),
        Int32 => "integer".into(),
        Int64 => "bigint".into(),
        UInt8 => "tinyint unsigned".into(),
        UInt16 => "smallint unsigned".into(),
        UInt32 => "integer unsigned".into(),
        UInt64 => "bigint unsigned".into(),
        Float32 => "real".into(),
        Float64 => "double precision".into(),
        Utf8 | LargeUtf8 | Utf8View => "text".into(),
        Binary | LargeBinary | BinaryView | FixedSizeBinary(_) => "bytea".into(),
        Decimal128(precision, scale) => format!("numeric({precision},{scale})"),
        Date32 | Date64 => "date".into(),
        Time32(_) | Time64(_) => "time".into(),
        Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, None) => "timestamp".into(),
        Timestamp(_, None) => "timestamp".into(),
        Timestamp(_, Some(_)) => "timestamptz".into(),
        Duration(_) => "duration".into(),
        Interval(_) => "interval".into(),
        List(item) => format!("{}[]", sql_name(item.data_type())),
        Struct(fields) => {
            let fields = fields
                .iter()
                .map(|f| format!("{} {}", f.name(), sql_name(f.data_type())));
            format!("struct({})", fields.collect::<Vec<_>>().join(", "))
        }
        Map(entries, _) => match entries.data_type() {
            Struct(pair) if pair.len() == 2 => {
                format!(
                    "map({}, {})",
                    sql_name(pair[0].data_type()),
                    sql_name(pair[1].data_type())
                )
            }
            _ => "map".into(),
        },
        other => other.to_string(),
    }
}
