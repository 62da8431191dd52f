//! Values: which type of ours a type of Postgres becomes, and how its text and binary forms are read.
//!
//! Owns the two forms of every type and the rows made of them; which column has which type is read in `shape`. Nothing is
//! rounded, cut off or made NULL here: what a type of ours cannot hold is an error that says how to get it as text.

mod catalog;
mod column;
mod decimal;
mod list;
mod row;
mod time;

pub use row::RowBuilder;

pub(super) use catalog::PostgresTypes;
pub(super) use column::ColumnBuilder;

use arrow::datatypes::{DataType, Field, TimeUnit};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use viewfeed_change::LogicalType;

/// The digits of a `Decimal128`.
pub(super) const DECIMAL128_DIGITS: u8 = 38;
/// The digits of a `Decimal256`.
pub(super) const DECIMAL256_DIGITS: u8 = 76;

/// How the values of a column are read. Stored with the source: names stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueType {
    /// `boolean`.
    Bool,
    /// `smallint`.
    Int16,
    /// `integer`.
    Int32,
    /// `bigint`.
    Int64,
    /// `oid`: without a sign, so it takes an `Int64`.
    Oid,
    /// `real`. Every NaN becomes the same one, as they are equal in Postgres.
    Float32,
    /// `double precision`, likewise.
    Float64,
    /// `numeric` of so many digits, `scale` of them after the point: `Decimal128`, from 39 digits on `Decimal256`.
    /// NaN and the infinities are not representable, and more digits are not: they occur where Postgres knows no limit.
    Numeric {
        /// All digits.
        precision: u8,
        /// Those after the point.
        scale: u8,
    },
    /// Text whose two forms are the same: `text`, `varchar`, `char(n)` with its spaces, `name`, `citext`, enums.
    String {
        /// The n of `varchar(n)` and `char(n)`.
        chars_max: Option<u32>,
    },
    /// `bytea`.
    Bytes,
    /// `date`. The infinities are the greatest and the least `Date32`.
    Date,
    /// `time`. The hour 24 is not representable.
    Time,
    /// `timestamp`. The infinities are the greatest and the least number of microseconds; years from 294247 on, which
    /// Postgres has and 64 bits from 1970 on do not, are not representable.
    Timestamp,
    /// `timestamptz`, likewise, in UTC.
    TimestampTz,
    /// `uuid`, as text.
    Uuid,
    /// `json`, as it was written.
    Json,
    /// `jsonb`, as text.
    Jsonb,
    /// An array. More dimensions than one, and a lower bound other than 1, are not representable.
    List(Box<ValueType>),
    /// As the text that Postgres shows: every type that has no better form here.
    Text,
}

impl ValueType {
    /// The Arrow type of its values: one that rows can be stored with.
    pub fn data_type(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int16 => DataType::Int16,
            Self::Int32 => DataType::Int32,
            Self::Int64 | Self::Oid => DataType::Int64,
            Self::Float32 => DataType::Float32,
            Self::Float64 => DataType::Float64,
            Self::Numeric { precision, scale } if *precision <= DECIMAL128_DIGITS => {
                DataType::Decimal128(*precision, *scale as i8)
            }
            Self::Numeric { precision, scale } => DataType::Decimal256(*precision, *scale as i8),
            Self::Bytes => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::String { .. } | Self::Uuid | Self::Json | Self::Jsonb | Self::Text => DataType::Utf8,
            Self::List(element) => DataType::List(Arc::new(Field::new_list_field(element.data_type(), true))),
        }
    }

    /// What its values mean beyond their Arrow type.
    pub fn logical(&self) -> LogicalType {
        match self {
            Self::String {
                chars_max: Some(chars_max),
            } => LogicalType::Text {
                chars_max: *chars_max,
            },
            Self::Uuid => LogicalType::Uuid,
            Self::Json | Self::Jsonb => LogicalType::Json,
            _ => LogicalType::Plain,
        }
    }

    /// Whether its binary form can be read. If not, the server must be asked for text.
    pub fn has_binary(&self) -> bool {
        match self {
            Self::List(element) => element.has_binary(),
            other => *other != Self::Text,
        }
    }
}

/// Why bytes are not a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// They are not the form of any value of the type.
    Malformed,
    /// They are a value that the type of ours cannot hold.
    NotRepresentable(&'static str),
    /// There is no room for them beside what was read before.
    TooMany,
}

/// What decoding one value gives.
pub(super) type Decoded<T> = Result<T, Fault>;

/// A name as SQL writes it: always in quotes, because what is a keyword depends on the server.
pub(super) fn sql_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
