//! The SQL name of a column's type, for people.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use viewfeed_change::{Column, LogicalType};

/// The SQL type of a column, for people: `varchar(32)`, `timestamptz`, `struct(name text, …)`.
pub fn sql_type(column: &Column) -> String {
    match (&column.logical, &column.data_type) {
        (LogicalType::Text { chars_max }, _) => format!("varchar({chars_max})"),
        (LogicalType::Uuid, DataType::Utf8) => "uuid".to_owned(),
        (LogicalType::Json, DataType::Utf8) => "jsonb".to_owned(),
        (_, data_type) => type_name(data_type),
    }
}

/// The SQL name of an Arrow type; a type that SQL has no name for is called what Arrow calls it.
pub(crate) fn type_name(data_type: &DataType) -> String {
    let fixed = match data_type {
        DataType::Boolean => "boolean",
        DataType::Int8 => "tinyint",
        DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        DataType::Int64 => "bigint",
        DataType::UInt8 => "tinyint unsigned",
        DataType::UInt16 => "smallint unsigned",
        DataType::UInt32 => "integer unsigned",
        DataType::UInt64 => "bigint unsigned",
        DataType::Float16 | DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "bytea"
        }
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time",
        DataType::Timestamp(TimeUnit::Nanosecond, None) => "timestamp(9)",
        DataType::Timestamp(TimeUnit::Nanosecond, Some(_)) => "timestamptz(9)",
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Timestamp(_, Some(_)) => "timestamptz",
        DataType::Interval(_) | DataType::Duration(_) => "interval",
        _ => return composed_name(data_type),
    };
    fixed.to_owned()
}

fn composed_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            format!("numeric({precision}, {scale})")
        }
        DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
            format!("{}[]", type_name(element.data_type()))
        }
        DataType::Struct(fields) => {
            let named = |field: &std::sync::Arc<datafusion::arrow::datatypes::Field>| {
                format!("{} {}", field.name(), type_name(field.data_type()))
            };
            format!(
                "struct({})",
                fields.iter().map(named).collect::<Vec<_>>().join(", ")
            )
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                format!(
                    "map({}, {})",
                    type_name(fields[0].data_type()),
                    type_name(fields[1].data_type())
                )
            }
            other => other.to_string(),
        },
        DataType::Dictionary(_, value) => type_name(value),
        other => other.to_string().to_lowercase(),
    }
}
