//! Values to bytes.

use super::Rows;
use crate::{Error, Result};
use arrow::array::*;
use arrow::datatypes::*;
use arrow_schema::{IntervalUnit, TimeUnit};

/// Fails with advice on a type the codec has no form for.
pub(super) fn check(data_type: &DataType) -> Result<()> {
    use DataType::*;
    match data_type {
        Null | Boolean | Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 | Float32
        | Float64 | Utf8 | Binary | Date32 | Date64 | Time32(_) | Time64(_) | Timestamp(..) | Duration(_)
        | Interval(_) | Decimal128(..) | Decimal256(..) | FixedSizeBinary(_) => Ok(()),
        List(field) | Map(field, _) => check(field.data_type()),
        Struct(fields) => fields.iter().try_for_each(|field| check(field.data_type())),
        other => Err(Error::invalid(
            "UNSUPPORTED_TYPE",
            format!("columns of type {other} cannot be stored"),
        )
        .hint("cast the column to a plain type, for example text")),
    }
}

/// The bytes of `count` rows made of `arrays`.
pub(super) fn encode(arrays: &[ArrayRef], count: usize) -> Result<Rows> {
    let columns = arrays
        .iter()
        .map(|array| Values::new(array, NULL))
        .collect::<Result<Vec<_>>>()?;
    let mut rows = Rows {
        bytes: Vec::with_capacity(count * columns.len() * 10),
        ends: Vec::with_capacity(count),
    };
    for row in 0..count {
        for column in &columns {
            column.write(row, &mut rows.bytes);
        }
        rows.ends.push(rows.bytes.len());
    }
    Ok(rows)
}

/// What stands for NULL: before every other value.
pub(super) const NULL: u8 = 0;

/// What stands before every value that is not NULL.
const VALUE: u8 = 1;

/// What stands for NULL where it comes after every other value.
pub(super) const NULL_LAST: u8 = 2;

/// A column with its type resolved once, so that the loop over rows only branches.
pub(super) struct Values<'a> {
    array: &'a dyn Array,
    kind: Kind<'a>,
    null: u8,
}

enum Kind<'a> {
    Null,
    Bool(&'a BooleanArray),
    I8(&'a [i8]),
    I16(&'a [i16]),
    I32(&'a [i32]),
    I64(&'a [i64]),
    I128(&'a [i128]),
    I256(&'a [i256]),
    U8(&'a [u8]),
    U16(&'a [u16]),
    U32(&'a [u32]),
    U64(&'a [u64]),
    F32(&'a [f32]),
    F64(&'a [f64]),
    DayTime(&'a [IntervalDayTime]),
    MonthDayNano(&'a [IntervalMonthDayNano]),
    Text(&'a StringArray),
    Bytes(&'a BinaryArray),
    Fixed(&'a FixedSizeBinaryArray),
    Struct(Vec<Values<'a>>),
    List(&'a [i32], Box<Values<'a>>),
}

impl<'a> Values<'a> {
    /// `null` stands for NULL, on every level.
    pub(super) fn new(array: &'a dyn Array, null: u8) -> Result<Self> {
        Ok(Self {
            array,
            kind: Kind::new(array, null)?,
            null,
        })
    }

    pub(super) fn write(&self, row: usize, out: &mut Vec<u8>) {
        if self.array.is_null(row) || matches!(self.kind, Kind::Null) {
            return out.push(self.null);
        }
        out.push(VALUE);
        self.kind.write(row, out);
    }
}

impl<'a> Kind<'a> {
    fn new(array: &'a dyn Array, null: u8) -> Result<Self> {
        macro_rules! values {
            ($type:ty, $kind:ident) => {
                Kind::$kind(array.as_primitive::<$type>().values())
            };
        }
        Ok(match array.data_type() {
            DataType::Null => Kind::Null,
            DataType::Boolean => Kind::Bool(array.as_boolean()),
            DataType::Int8 => values!(Int8Type, I8),
            DataType::Int16 => values!(Int16Type, I16),
            DataType::Int32 => values!(Int32Type, I32),
            DataType::Int64 => values!(Int64Type, I64),
            DataType::UInt8 => values!(UInt8Type, U8),
            DataType::UInt16 => values!(UInt16Type, U16),
            DataType::UInt32 => values!(UInt32Type, U32),
            DataType::UInt64 => values!(UInt64Type, U64),
            DataType::Float32 => values!(Float32Type, F32),
            DataType::Float64 => values!(Float64Type, F64),
            DataType::Date32 => values!(Date32Type, I32),
            DataType::Date64 => values!(Date64Type, I64),
            DataType::Time32(TimeUnit::Second) => values!(Time32SecondType, I32),
            DataType::Time32(_) => values!(Time32MillisecondType, I32),
            DataType::Time64(TimeUnit::Microsecond) => values!(Time64MicrosecondType, I64),
            DataType::Time64(_) => values!(Time64NanosecondType, I64),
            DataType::Timestamp(TimeUnit::Second, _) => values!(TimestampSecondType, I64),
            DataType::Timestamp(TimeUnit::Millisecond, _) => values!(TimestampMillisecondType, I64),
            DataType::Timestamp(TimeUnit::Microsecond, _) => values!(TimestampMicrosecondType, I64),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => values!(TimestampNanosecondType, I64),
            DataType::Duration(TimeUnit::Second) => values!(DurationSecondType, I64),
            DataType::Duration(TimeUnit::Millisecond) => values!(DurationMillisecondType, I64),
            DataType::Duration(TimeUnit::Microsecond) => values!(DurationMicrosecondType, I64),
            DataType::Duration(TimeUnit::Nanosecond) => values!(DurationNanosecondType, I64),
            DataType::Interval(IntervalUnit::YearMonth) => values!(IntervalYearMonthType, I32),
            DataType::Interval(IntervalUnit::DayTime) => values!(IntervalDayTimeType, DayTime),
            DataType::Interval(IntervalUnit::MonthDayNano) => values!(IntervalMonthDayNanoType, MonthDayNano),
            DataType::Decimal128(..) => values!(Decimal128Type, I128),
            DataType::Decimal256(..) => values!(Decimal256Type, I256),
            DataType::Utf8 => Kind::Text(array.as_string()),
            DataType::Binary => Kind::Bytes(array.as_binary()),
            DataType::FixedSizeBinary(_) => Kind::Fixed(array.as_fixed_size_binary()),
            DataType::Struct(_) => {
                let children = array
                    .as_struct()
                    .columns()
                    .iter()
                    .map(|child| Values::new(child, null));
                Kind::Struct(children.collect::<Result<_>>()?)
            }
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Kind::List(list.value_offsets(), Box::new(Values::new(list.values(), null)?))
            }
            DataType::Map(..) => {
                let map = array.as_map();
                Kind::List(map.value_offsets(), Box::new(Values::new(map.entries(), null)?))
            }
            other => return check(other).map(|()| Kind::Null),
        })
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Kind::Null => {}
            Kind::Bool(array) => out.push(array.value(row) as u8),
            Kind::I8(values) => out.push(values[row] as u8 ^ 0x80),
            Kind::I16(values) => out.extend((values[row] as u16 ^ 1 << 15).to_be_bytes()),
            Kind::I32(values) => write_i32(values[row], out),
            Kind::I64(values) => write_i64(values[row], out),
            Kind::I128(values) => out.extend((values[row] as u128 ^ 1 << 127).to_be_bytes()),
            Kind::I256(values) => {
                let mut bytes = values[row].to_be_bytes();
                bytes[0] ^= 0x80;
                out.extend(bytes);
            }
            Kind::U8(values) => out.push(values[row]),
            Kind::U16(values) => out.extend(values[row].to_be_bytes()),
            Kind::U32(values) => out.extend(values[row].to_be_bytes()),
            Kind::U64(values) => out.extend(values[row].to_be_bytes()),
            Kind::F32(values) => {
                let bits = values[row].to_bits();
                out.extend((if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }).to_be_bytes());
            }
            Kind::F64(values) => {
                let bits = values[row].to_bits();
                out.extend((if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }).to_be_bytes());
            }
            Kind::DayTime(values) => {
                write_i32(values[row].days, out);
                write_i32(values[row].milliseconds, out);
            }
            Kind::MonthDayNano(values) => {
                write_i32(values[row].months, out);
                write_i32(values[row].days, out);
                write_i64(values[row].nanoseconds, out);
            }
            Kind::Text(array) => write_escaped(array.value(row).as_bytes(), out),
            Kind::Bytes(array) => write_escaped(array.value(row), out),
            Kind::Fixed(array) => out.extend(array.value(row)),
            Kind::Struct(children) => children.iter().for_each(|child| child.write(row, out)),
            Kind::List(offsets, values) => {
                for element in offsets[row]..offsets[row + 1] {
                    out.push(1);
                    values.write(element as usize, out);
                }
                out.push(0);
            }
        }
    }
}

fn write_i32(value: i32, out: &mut Vec<u8>) {
    out.extend((value as u32 ^ 1 << 31).to_be_bytes());
}

fn write_i64(value: i64, out: &mut Vec<u8>) {
    out.extend((value as u64 ^ 1 << 63).to_be_bytes());
}

fn write_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    let mut from = 0;
    for zero in memchr::memchr_iter(0, bytes) {
        out.extend(&bytes[from..=zero]);
        out.push(0xFF);
        from = zero + 1;
    }
    out.extend(&bytes[from..]);
    out.extend([0, 0]);
}
