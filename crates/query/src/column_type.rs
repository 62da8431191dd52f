//! SQL type names to Arrow types and back.
//!
//! Choices that SQL leaves open: `numeric` without digits is `numeric(38, 10)`; `float` is double precision and
//! `float(1)` to `float(24)` are real; every time and timestamp holds microseconds whatever precision is written (0
//! to 6), with a time zone it holds UTC; `char` is `char(1)`; sizes of binary types are not enforced.

mod name;

pub use name::sql_type;
pub(crate) use name::type_name;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{
    self, ArrayElemTypeDef, CharacterLength, ExactNumberInfo, TimezoneInfo,
};
use std::sync::Arc;
use viewfeed_change::{Error, LogicalType, Result};

const NUMERIC_DIGITS_MAX: u8 = 38;
const NUMERIC_SCALE_DEFAULT: i8 = 10;
const TIME_DIGITS_MAX: u64 = 6;
const EXIST: &str = "types are smallint, integer, bigint, tinyint (each also unsigned), numeric(p, s), real, \
    double precision, boolean, char(n), varchar(n), text, bytea, date, time, timestamp, timestamptz, interval, uuid, \
    json, jsonb, serial, bigserial, and arrays of these";

/// The Arrow type and meaning of a SQL type. Fails as `Invalid`/`UNKNOWN_TYPE`, naming the types there are.
pub fn column_type(sql: &ast::DataType) -> Result<(DataType, LogicalType)> {
    use ast::DataType as Sql;
    if let Some(text) = text_type(sql)? {
        return Ok((DataType::Utf8, text));
    }
    let plain = match sql {
        Sql::Bool | Sql::Boolean => DataType::Boolean,
        Sql::Real | Sql::Float4 | Sql::Float32 => DataType::Float32,
        Sql::DoublePrecision | Sql::Double(_) | Sql::Float8 | Sql::Float64 => DataType::Float64,
        Sql::Float(digits) => float(digits),
        Sql::Numeric(digits) | Sql::Decimal(digits) | Sql::Dec(digits) => numeric(digits)?,
        Sql::Bytea | Sql::Blob(_) | Sql::Binary(_) | Sql::Varbinary(_) | Sql::Bytes(_) => DataType::Binary,
        Sql::TinyBlob | Sql::MediumBlob | Sql::LongBlob => DataType::Binary,
        Sql::Date | Sql::Date32 => DataType::Date32,
        Sql::Time(digits, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            check_time_digits(*digits)?;
            DataType::Time64(TimeUnit::Microsecond)
        }
        Sql::Timestamp(digits, zone) => timestamp(*digits, zone)?,
        Sql::Datetime(digits) | Sql::TimestampNtz(digits) => timestamp(*digits, &TimezoneInfo::None)?,
        Sql::Interval { fields: None, .. } => DataType::Interval(IntervalUnit::MonthDayNano),
        Sql::Array(element) => return array(sql, element),
        Sql::Custom(..) => serial(sql).ok_or_else(|| unknown(sql))?,
        other => integer(other).ok_or_else(|| unknown(sql))?,
    };
    Ok((plain, LogicalType::Plain))
}

/// Whether a column of this type takes its values from a sequence unless told otherwise (`serial`, `bigserial`, …).
pub fn is_serial(sql: &ast::DataType) -> bool {
    serial(sql).is_some()
}

fn unknown(sql: &ast::DataType) -> Error {
    Error::invalid(
        "UNKNOWN_TYPE",
        format!("there is no type {}", sql.to_string().to_lowercase()),
    )
    .hint(EXIST)
}

fn text_type(sql: &ast::DataType) -> Result<Option<LogicalType>> {
    use ast::DataType as Sql;
    Ok(Some(match sql {
        Sql::Char(None) | Sql::Character(None) => LogicalType::Text { chars_max: 1 },
        Sql::Char(Some(length))
        | Sql::Character(Some(length))
        | Sql::CharacterVarying(Some(length))
        | Sql::CharVarying(Some(length))
        | Sql::Varchar(Some(length))
        | Sql::Nvarchar(Some(length)) => text(length, sql)?,
        Sql::CharacterVarying(None) | Sql::CharVarying(None) | Sql::Varchar(None) | Sql::Nvarchar(None) => {
            LogicalType::Plain
        }
        Sql::Text | Sql::TinyText | Sql::MediumText | Sql::LongText | Sql::String(_) => LogicalType::Plain,
        Sql::Clob(_) | Sql::CharacterLargeObject(_) | Sql::CharLargeObject(_) => LogicalType::Plain,
        Sql::Uuid => LogicalType::Uuid,
        Sql::JSON | Sql::JSONB => LogicalType::Json,
        _ => return Ok(None),
    }))
}

fn text(length: &CharacterLength, sql: &ast::DataType) -> Result<LogicalType> {
    let out_of_range = || {
        Error::invalid(
            "UNKNOWN_TYPE",
            format!("{} has no valid length", sql.to_string().to_lowercase()),
        )
        .hint("lengths go from 1 to 4294967295; text has no limit")
    };
    match length {
        CharacterLength::Max => Ok(LogicalType::Plain),
        CharacterLength::IntegerLength { length, .. } => match u32::try_from(*length) {
            Ok(chars_max) if chars_max > 0 => Ok(LogicalType::Text { chars_max }),
            _ => Err(out_of_range()),
        },
    }
}

fn integer(sql: &ast::DataType) -> Option<DataType> {
    use ast::DataType as Sql;
    Some(match sql {
        Sql::TinyInt(_) => DataType::Int8,
        Sql::SmallInt(_) | Sql::Int2(_) | Sql::Int16 => DataType::Int16,
        Sql::Int(_) | Sql::Integer(_) | Sql::Int4(_) | Sql::MediumInt(_) | Sql::Int32 => DataType::Int32,
        Sql::Signed | Sql::SignedInteger => DataType::Int64,
        Sql::BigInt(_) | Sql::Int8(_) | Sql::Int64 => DataType::Int64,
        Sql::TinyIntUnsigned(_) | Sql::UTinyInt | Sql::UInt8 => DataType::UInt8,
        Sql::SmallIntUnsigned(_) | Sql::Int2Unsigned(_) | Sql::USmallInt | Sql::UInt16 => DataType::UInt16,
        Sql::IntUnsigned(_) | Sql::IntegerUnsigned(_) | Sql::Int4Unsigned(_) => DataType::UInt32,
        Sql::MediumIntUnsigned(_) | Sql::UInt32 => DataType::UInt32,
        Sql::BigIntUnsigned(_) | Sql::Int8Unsigned(_) | Sql::UBigInt | Sql::UInt64 => DataType::UInt64,
        Sql::Unsigned | Sql::UnsignedInteger => DataType::UInt64,
        _ => return None,
    })
}

fn serial(sql: &ast::DataType) -> Option<DataType> {
    let ast::DataType::Custom(name, _) = sql else {
        return None;
    };
    match name.to_string().to_lowercase().as_str() {
        "smallserial" | "serial2" => Some(DataType::Int16),
        "serial" | "serial4" => Some(DataType::Int32),
        "bigserial" | "serial8" => Some(DataType::Int64),
        _ => None,
    }
}

fn float(digits: &ExactNumberInfo) -> DataType {
    match digits {
        ExactNumberInfo::Precision(1..=24) => DataType::Float32,
        _ => DataType::Float64,
    }
}

fn numeric(digits: &ExactNumberInfo) -> Result<DataType> {
    let (precision, scale) = match *digits {
        ExactNumberInfo::None => return Ok(DataType::Decimal128(NUMERIC_DIGITS_MAX, NUMERIC_SCALE_DEFAULT)),
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    if !(1..=u64::from(NUMERIC_DIGITS_MAX)).contains(&precision) || !(0..=precision as i64).contains(&scale) {
        let message = format!("numeric({precision}, {scale}) cannot be stored");
        return Err(Error::invalid("UNKNOWN_TYPE", message)
            .hint("numeric has 1 to 38 digits, of which none to all may follow the point"));
    }
    Ok(DataType::Decimal128(precision as u8, scale as i8))
}

fn timestamp(digits: Option<u64>, zone: &TimezoneInfo) -> Result<DataType> {
    check_time_digits(digits)?;
    let zone = match zone {
        TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => None,
        TimezoneInfo::Tz | TimezoneInfo::WithTimeZone => Some("UTC".into()),
    };
    Ok(DataType::Timestamp(TimeUnit::Microsecond, zone))
}

fn check_time_digits(digits: Option<u64>) -> Result<()> {
    match digits {
        Some(digits) if digits > TIME_DIGITS_MAX => {
            let message =
                format!("times have at most {TIME_DIGITS_MAX} digits after the second, not {digits}");
            Err(Error::invalid("UNKNOWN_TYPE", message).hint("times are kept in microseconds"))
        }
        _ => Ok(()),
    }
}

fn array(sql: &ast::DataType, element: &ArrayElemTypeDef) -> Result<(DataType, LogicalType)> {
    let element = match element {
        ArrayElemTypeDef::SquareBracket(element, _)
        | ArrayElemTypeDef::AngleBracket(element)
        | ArrayElemTypeDef::Parenthesis(element) => element,
        ArrayElemTypeDef::None => return Err(unknown(sql)),
    };
    if is_serial(element) {
        return Err(unknown(sql));
    }
    let (data_type, _) = column_type(element)?;
    Ok((
        DataType::List(Arc::new(Field::new_list_field(data_type, true))),
        LogicalType::Plain,
    ))
}

/// Gives the types of CAST the same meaning as those of columns.
#[derive(Debug)]
pub(crate) struct CastTypes;

impl TypePlanner for CastTypes {
    fn plan_type_field(&self, sql: &ast::DataType) -> datafusion::error::Result<Option<FieldRef>> {
        let (data_type, _) = column_type(sql).map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(Some(Arc::new(Field::new("", data_type, true))))
    }
}
