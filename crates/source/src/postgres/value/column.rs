//! The values of one column, decoded straight into Arrow's builders.

use super::decimal;
use super::list::ListBuilder;
use super::{DECIMAL128_DIGITS, Decoded, Fault, ValueType, time};
use arrow::array::ArrayRef;
use arrow::array::builder::{
    BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Decimal256Builder, Float32Builder,
    Float64Builder, Int16Builder, Int32Builder, Int64Builder, StringBuilder, Time64MicrosecondBuilder,
    TimestampMicrosecondBuilder,
};
use std::io::Write;
use std::str::FromStr;
use std::sync::Arc;
use uuid::Uuid;

/// The bytes that the values of a column may take in one batch: their offsets are signed and 32 bits wide.
const COLUMN_BYTES_MAX: usize = i32::MAX as usize;
/// How many bytes are made of hexadecimal digits at once.
const HEXADECIMAL_BLOCK: usize = 256;
/// What `jsonb` begins with in binary.
const JSONB_VERSION: u8 = 1;
/// Text of a database with the encoding SQL_ASCII may be anything.
const NOT_UTF8: Fault = Fault::NotRepresentable("it is not UTF-8");

/// The values of a column so far. After a fault it may hold half a value: it is of no use any more.
pub(crate) enum ColumnBuilder {
    Bool(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Oid(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal128(Decimal128Builder, u8, u8),
    Decimal256(Decimal256Builder, u8, u8),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    TimestampTz(TimestampMicrosecondBuilder),
    Uuid(StringBuilder),
    Jsonb(StringBuilder),
    List(Box<ListBuilder>),
}

/// Does the same with the builder whatever its type.
macro_rules! with_builder {
    ($column:expr, $to:ident => $action:expr) => {
        match $column {
            ColumnBuilder::Bool($to) => $action,
            ColumnBuilder::Int16($to) => $action,
            ColumnBuilder::Int32($to) => $action,
            ColumnBuilder::Int64($to) | ColumnBuilder::Oid($to) => $action,
            ColumnBuilder::Float32($to) => $action,
            ColumnBuilder::Float64($to) => $action,
            ColumnBuilder::Decimal128($to, ..) => $action,
            ColumnBuilder::Decimal256($to, ..) => $action,
            ColumnBuilder::Text($to) | ColumnBuilder::Uuid($to) | ColumnBuilder::Jsonb($to) => $action,
            ColumnBuilder::Bytes($to) => $action,
            ColumnBuilder::Date($to) => $action,
            ColumnBuilder::Time($to) => $action,
            ColumnBuilder::Timestamp($to) | ColumnBuilder::TimestampTz($to) => $action,
            ColumnBuilder::List($to) => $action,
        }
    };
}

impl ColumnBuilder {
    pub(crate) fn new(value: &ValueType) -> Self {
        match value {
            ValueType::Bool => Self::Bool(BooleanBuilder::new()),
            ValueType::Int16 => Self::Int16(Int16Builder::new()),
            ValueType::Int32 => Self::Int32(Int32Builder::new()),
            ValueType::Int64 => Self::Int64(Int64Builder::new()),
            ValueType::Oid => Self::Oid(Int64Builder::new()),
            ValueType::Float32 => Self::Float32(Float32Builder::new()),
            ValueType::Float64 => Self::Float64(Float64Builder::new()),
            ValueType::Numeric { precision, scale } if *precision <= DECIMAL128_DIGITS => {
                let to = Decimal128Builder::new().with_data_type(value.data_type());
                Self::Decimal128(to, *precision, *scale)
            }
            ValueType::Numeric { precision, scale } => {
                let to = Decimal256Builder::new().with_data_type(value.data_type());
                Self::Decimal256(to, *precision, *scale)
            }
            ValueType::String { .. } | ValueType::Json | ValueType::Text => Self::Text(StringBuilder::new()),
            ValueType::Bytes => Self::Bytes(BinaryBuilder::new()),
            ValueType::Date => Self::Date(Date32Builder::new()),
            ValueType::Time => Self::Time(Time64MicrosecondBuilder::new()),
            ValueType::Timestamp => Self::Timestamp(TimestampMicrosecondBuilder::new()),
            ValueType::TimestampTz => {
                Self::TimestampTz(TimestampMicrosecondBuilder::new().with_data_type(value.data_type()))
            }
            ValueType::Uuid => Self::Uuid(StringBuilder::new()),
            ValueType::Jsonb => Self::Jsonb(StringBuilder::new()),
            ValueType::List(element) => Self::List(Box::new(ListBuilder::new(element))),
        }
    }

    pub(crate) fn push_null(&mut self) {
        with_builder!(self, to => to.append_null());
    }

    /// A value as its type's output function writes it.
    pub(crate) fn push_text(&mut self, bytes: &[u8]) -> Decoded<()> {
        match self {
            Self::Bool(to) => to.append_value(match bytes {
                b"t" => true,
                b"f" => false,
                _ => return Err(Fault::Malformed),
            }),
            Self::Int16(to) => to.append_value(parsed(bytes)?),
            Self::Int32(to) => to.append_value(parsed(bytes)?),
            Self::Int64(to) => to.append_value(parsed(bytes)?),
            Self::Oid(to) => to.append_value(parsed::<u32>(bytes)?.into()),
            Self::Float32(to) => to.append_value(one_nan_32(parsed(bytes)?)),
            Self::Float64(to) => to.append_value(one_nan_64(parsed(bytes)?)),
            Self::Decimal128(to, precision, scale) => {
                to.append_value(decimal::read_text(bytes, *scale)?.narrow(*precision)?);
            }
            Self::Decimal256(to, precision, scale) => {
                to.append_value(decimal::read_text(bytes, *scale)?.wide(*precision)?);
            }
            Self::Text(to) | Self::Jsonb(to) => return append_text(to, bytes),
            Self::Bytes(to) => return append_hexadecimal(to, bytes),
            Self::Date(to) => to.append_value(time::date_text(bytes)?),
            Self::Time(to) => to.append_value(time::time_text(bytes)?),
            Self::Timestamp(to) => to.append_value(time::timestamp_text(bytes, false)?),
            Self::TimestampTz(to) => to.append_value(time::timestamp_text(bytes, true)?),
            Self::Uuid(to) => {
                return append_uuid(to, Uuid::try_parse_ascii(bytes).map_err(|_| Fault::Malformed)?);
            }
            Self::List(to) => return to.push_text(bytes),
        }
        Ok(())
    }

    /// A value as its type's send function writes it.
    pub(crate) fn push_binary(&mut self, bytes: &[u8]) -> Decoded<()> {
        match self {
            Self::Bool(to) => to.append_value(match bytes {
                [1] => true,
                [0] => false,
                _ => return Err(Fault::Malformed),
            }),
            Self::Int16(to) => to.append_value(i16::from_be_bytes(sized(bytes)?)),
            Self::Int32(to) => to.append_value(i32::from_be_bytes(sized(bytes)?)),
            Self::Int64(to) => to.append_value(i64::from_be_bytes(sized(bytes)?)),
            Self::Oid(to) => to.append_value(u32::from_be_bytes(sized(bytes)?).into()),
            Self::Float32(to) => to.append_value(one_nan_32(f32::from_be_bytes(sized(bytes)?))),
            Self::Float64(to) => to.append_value(one_nan_64(f64::from_be_bytes(sized(bytes)?))),
            Self::Decimal128(to, precision, scale) => {
                to.append_value(decimal::read_binary(bytes, *scale)?.narrow(*precision)?);
            }
            Self::Decimal256(to, precision, scale) => {
                to.append_value(decimal::read_binary(bytes, *scale)?.wide(*precision)?);
            }
            Self::Text(to) => return append_text(to, bytes),
            Self::Jsonb(to) => match bytes {
                [JSONB_VERSION, text @ ..] => return append_text(to, text),
                _ => return Err(Fault::Malformed),
            },
            Self::Bytes(to) => {
                room(to.values_slice().len(), bytes.len())?;
                to.append_value(bytes);
            }
            Self::Date(to) => to.append_value(time::date_binary(i32::from_be_bytes(sized(bytes)?))?),
            Self::Time(to) => to.append_value(time::time_binary(i64::from_be_bytes(sized(bytes)?))?),
            Self::Timestamp(to) | Self::TimestampTz(to) => {
                to.append_value(time::timestamp_binary(i64::from_be_bytes(sized(bytes)?))?);
            }
            Self::Uuid(to) => return append_uuid(to, Uuid::from_bytes(sized(bytes)?)),
            Self::List(to) => return to.push_binary(bytes),
        }
        Ok(())
    }

    /// Forgets the values, half ones too.
    pub(crate) fn clear(&mut self) {
        match self {
            Self::List(to) => to.clear(),
            other => drop(other.finish()),
        }
    }

    /// The values, and none are left.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        with_builder!(self, to => Arc::new(to.finish()))
    }
}

fn parsed<T: FromStr>(bytes: &[u8]) -> Decoded<T> {
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::Malformed)?;
    text.parse().map_err(|_| Fault::Malformed)
}

fn sized<const N: usize>(bytes: &[u8]) -> Decoded<[u8; N]> {
    bytes.try_into().map_err(|_| Fault::Malformed)
}

/// In Postgres every NaN equals every other; here rows are what their bits are.
fn one_nan_32(value: f32) -> f32 {
    if value.is_nan() { f32::NAN } else { value }
}

fn one_nan_64(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value }
}

fn append_text(to: &mut StringBuilder, bytes: &[u8]) -> Decoded<()> {
    let text = std::str::from_utf8(bytes).map_err(|_| NOT_UTF8)?;
    room(to.values_slice().len(), text.len())?;
    to.append_value(text);
    Ok(())
}

fn append_uuid(to: &mut StringBuilder, uuid: Uuid) -> Decoded<()> {
    let mut text = Uuid::encode_buffer();
    append_text(to, uuid.hyphenated().encode_lower(&mut text).as_bytes())
}

/// `\x` and hexadecimal digits: what `bytea_output = hex` gives.
fn append_hexadecimal(to: &mut BinaryBuilder, bytes: &[u8]) -> Decoded<()> {
    let digits = bytes.strip_prefix(b"\\x").ok_or(Fault::Malformed)?;
    if digits.len() % 2 == 1 {
        return Err(Fault::Malformed);
    }
    room(to.values_slice().len(), digits.len() / 2)?;
    // In blocks: growing the builder for every byte would cost more than the byte.
    let mut block = [0; HEXADECIMAL_BLOCK];
    for digits in digits.chunks(2 * HEXADECIMAL_BLOCK) {
        let bytes = &mut block[..digits.len() / 2];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = hexadecimal(pair[0])? << 4 | hexadecimal(pair[1])?;
        }
        to.write_all(bytes).expect("memory is written");
    }
    to.append_value(b"");
    Ok(())
}

fn hexadecimal(digit: u8) -> Decoded<u8> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(Fault::Malformed),
    }
}

/// Whether so many bytes more can be told from those before.
fn room(before: usize, more: usize) -> Decoded<()> {
    if before + more > COLUMN_BYTES_MAX {
        return Err(Fault::TooMany);
    }
    Ok(())
}
