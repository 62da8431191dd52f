//! Bytes to values. The bytes come from a disk: nothing here may panic on them.

use crate::{Error, Result};
use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::*;
use arrow_schema::{FieldRef, Fields, IntervalUnit, SchemaRef, TimeUnit};
use std::sync::Arc;

/// The rows with these bytes.
pub(super) fn decode<'a>(schema: &SchemaRef, rows: impl Iterator<Item = &'a [u8]>) -> Result<RecordBatch> {
    let mut columns = schema
        .fields()
        .iter()
        .map(|f| Column::new(f.data_type()))
        .collect::<Result<Vec<_>>>()?;
    let mut count = 0;
    for bytes in rows {
        let mut input = Input(bytes);
        for column in &mut columns {
            column.read(&mut input)?;
        }
        if !input.0.is_empty() {
            return Err(Error::corrupt("a stored row is longer than its schema"));
        }
        count += 1;
    }
    let arrays = columns
        .into_iter()
        .map(Column::finish)
        .collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    let damaged = |error| Error::corrupt("a stored row does not fit its schema").because(error);
    RecordBatch::try_new_with_options(schema.clone(), arrays, &options).map_err(damaged)
}

/// How many of `bytes` the first `count` values take.
pub(super) fn prefix_len(schema: &SchemaRef, bytes: &[u8], count: usize) -> Result<usize> {
    let mut input = Input(bytes);
    for field in schema.fields().iter().take(count) {
        // Reading into a throw-away column keeps one description of the form.
        Column::new(field.data_type())?.read(&mut input)?;
    }
    Ok(bytes.len() - input.0.len())
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        if self.0.len() < count {
            return Err(Error::corrupt("a stored row is cut short"));
        }
        let (head, tail) = self.0.split_at(count);
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("take gives exactly N bytes"))
    }

    fn flag(&mut self) -> Result<bool> {
        match self.array::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Error::corrupt("a stored row holds an unknown marker")),
        }
    }

    fn i32(&mut self) -> Result<i32> {
        Ok((u32::from_be_bytes(self.array()?) ^ 1 << 31) as i32)
    }

    fn i64(&mut self) -> Result<i64> {
        Ok((u64::from_be_bytes(self.array()?) ^ 1 << 63) as i64)
    }

    fn escaped(&mut self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        loop {
            let zero = memchr::memchr(0, self.0).ok_or_else(|| Error::corrupt("a stored text has no end"))?;
            out.extend(self.take(zero)?);
            match self.array::<2>()? {
                [0, 0] => return Ok(out),
                [0, 0xFF] => out.push(0),
                _ => return Err(Error::corrupt("a stored text holds an unknown escape")),
            }
        }
    }
}

/// A column under construction.
enum Column {
    Null(usize),
    Bool(BooleanBuilder),
    I8(Vec<Option<i8>>),
    I16(Vec<Option<i16>>),
    I32(DataType, Vec<Option<i32>>),
    I64(DataType, Vec<Option<i64>>),
    I128(DataType, Vec<Option<i128>>),
    I256(DataType, Vec<Option<i256>>),
    U8(Vec<Option<u8>>),
    U16(Vec<Option<u16>>),
    U32(Vec<Option<u32>>),
    U64(Vec<Option<u64>>),
    F32(Vec<Option<f32>>),
    F64(Vec<Option<f64>>),
    DayTime(Vec<Option<IntervalDayTime>>),
    MonthDayNano(Vec<Option<IntervalMonthDayNano>>),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Fixed(FixedSizeBinaryBuilder, usize),
    Struct(Fields, Vec<Column>, Vec<bool>),
    List(FieldRef, Box<Column>, Vec<i32>, Vec<bool>),
    Map(FieldRef, bool, Box<Column>, Vec<i32>, Vec<bool>),
}

impl Column {
    fn new(data_type: &DataType) -> Result<Self> {
        let keep = data_type.clone();
        Ok(match data_type {
            DataType::Null => Self::Null(0),
            DataType::Boolean => Self::Bool(BooleanBuilder::new()),
            DataType::Int8 => Self::I8(Vec::new()),
            DataType::Int16 => Self::I16(Vec::new()),
            DataType::Int32 | DataType::Date32 | DataType::Time32(_) => Self::I32(keep, Vec::new()),
            DataType::Interval(IntervalUnit::YearMonth) => Self::I32(keep, Vec::new()),
            DataType::Int64 | DataType::Date64 | DataType::Time64(_) => Self::I64(keep, Vec::new()),
            DataType::Timestamp(..) | DataType::Duration(_) => Self::I64(keep, Vec::new()),
            DataType::Interval(IntervalUnit::DayTime) => Self::DayTime(Vec::new()),
            DataType::Interval(IntervalUnit::MonthDayNano) => Self::MonthDayNano(Vec::new()),
            DataType::Decimal128(..) => Self::I128(keep, Vec::new()),
            DataType::Decimal256(..) => Self::I256(keep, Vec::new()),
            DataType::UInt8 => Self::U8(Vec::new()),
            DataType::UInt16 => Self::U16(Vec::new()),
            DataType::UInt32 => Self::U32(Vec::new()),
            DataType::UInt64 => Self::U64(Vec::new()),
            DataType::Float32 => Self::F32(Vec::new()),
            DataType::Float64 => Self::F64(Vec::new()),
            DataType::Utf8 => Self::Text(StringBuilder::new()),
            DataType::Binary => Self::Bytes(BinaryBuilder::new()),
            DataType::FixedSizeBinary(size) => {
                Self::Fixed(FixedSizeBinaryBuilder::new(*size), *size as usize)
            }
            DataType::Struct(fields) => {
                let children = fields
                    .iter()
                    .map(|field| Self::new(field.data_type()))
                    .collect::<Result<_>>()?;
                Self::Struct(fields.clone(), children, Vec::new())
            }
            DataType::List(field) => Self::List(
                field.clone(),
                Box::new(Self::new(field.data_type())?),
                vec![0],
                Vec::new(),
            ),
            DataType::Map(field, sorted) => Self::Map(
                field.clone(),
                *sorted,
                Box::new(Self::new(field.data_type())?),
                vec![0],
                Vec::new(),
            ),
            other => {
                super::encode::check(other)?;
                return Err(Error::internal(format!(
                    "type {other} can be written but not read"
                )));
            }
        })
    }

    fn read(&mut self, input: &mut Input<'_>) -> Result<()> {
        if !input.flag()? {
            self.push_null();
            return Ok(());
        }
        match self {
            Self::Null(_) => return Err(Error::corrupt("a stored null has a value")),
            Self::Bool(out) => out.append_value(input.flag()?),
            Self::I8(out) => out.push(Some((input.array::<1>()?[0] ^ 0x80) as i8)),
            Self::I16(out) => out.push(Some((u16::from_be_bytes(input.array()?) ^ 1 << 15) as i16)),
            Self::I32(_, out) => out.push(Some(input.i32()?)),
            Self::I64(_, out) => out.push(Some(input.i64()?)),
            Self::I128(_, out) => out.push(Some((u128::from_be_bytes(input.array()?) ^ 1 << 127) as i128)),
            Self::I256(_, out) => {
                let mut bytes = input.array::<32>()?;
                bytes[0] ^= 0x80;
                out.push(Some(i256::from_be_bytes(bytes)));
            }
            Self::U8(out) => out.push(Some(input.array::<1>()?[0])),
            Self::U16(out) => out.push(Some(u16::from_be_bytes(input.array()?))),
            Self::U32(out) => out.push(Some(u32::from_be_bytes(input.array()?))),
            Self::U64(out) => out.push(Some(u64::from_be_bytes(input.array()?))),
            Self::F32(out) => {
                let bits = u32::from_be_bytes(input.array()?);
                out.push(Some(f32::from_bits(if bits >> 31 == 1 {
                    bits ^ 1 << 31
                } else {
                    !bits
                })));
            }
            Self::F64(out) => {
                let bits = u64::from_be_bytes(input.array()?);
                out.push(Some(f64::from_bits(if bits >> 63 == 1 {
                    bits ^ 1 << 63
                } else {
                    !bits
                })));
            }
            Self::DayTime(out) => out.push(Some(IntervalDayTime::new(input.i32()?, input.i32()?))),
            Self::MonthDayNano(out) => {
                out.push(Some(IntervalMonthDayNano::new(
                    input.i32()?,
                    input.i32()?,
                    input.i64()?,
                )));
            }
            Self::Text(out) => {
                let text = String::from_utf8(input.escaped()?);
                out.append_value(
                    text.map_err(|error| Error::corrupt("a stored text is not UTF-8").because(error))?,
                );
            }
            Self::Bytes(out) => out.append_value(input.escaped()?),
            Self::Fixed(out, size) => out.append_value(input.take(*size)?)?,
            Self::Struct(_, children, valid) => {
                valid.push(true);
                children.iter_mut().try_for_each(|child| child.read(input))?;
            }
            Self::List(_, values, ends, valid) | Self::Map(_, _, values, ends, valid) => {
                let mut end = *ends.last().expect("offsets start with 0");
                while input.flag()? {
                    values.read(input)?;
                    end += 1;
                }
                ends.push(end);
                valid.push(true);
            }
        }
        Ok(())
    }

    fn push_null(&mut self) {
        match self {
            Self::Null(count) => *count += 1,
            Self::Bool(out) => out.append_null(),
            Self::I8(out) => out.push(None),
            Self::I16(out) => out.push(None),
            Self::I32(_, out) => out.push(None),
            Self::I64(_, out) => out.push(None),
            Self::I128(_, out) => out.push(None),
            Self::I256(_, out) => out.push(None),
            Self::U8(out) => out.push(None),
            Self::U16(out) => out.push(None),
            Self::U32(out) => out.push(None),
            Self::U64(out) => out.push(None),
            Self::F32(out) => out.push(None),
            Self::F64(out) => out.push(None),
            Self::DayTime(out) => out.push(None),
            Self::MonthDayNano(out) => out.push(None),
            Self::Text(out) => out.append_null(),
            Self::Bytes(out) => out.append_null(),
            Self::Fixed(out, _) => out.append_null(),
            Self::Struct(_, children, valid) => {
                children.iter_mut().for_each(Self::push_null);
                valid.push(false);
            }
            Self::List(_, _, ends, valid) | Self::Map(_, _, _, ends, valid) => {
                ends.push(*ends.last().expect("offsets start with 0"));
                valid.push(false);
            }
        }
    }

    fn finish(self) -> Result<ArrayRef> {
        let wrong = |error| Error::corrupt("a stored value does not fit its type").because(error);
        Ok(match self {
            Self::Null(count) => Arc::new(NullArray::new(count)),
            Self::Bool(mut out) => Arc::new(out.finish()),
            Self::I8(out) => Arc::new(Int8Array::from(out)),
            Self::I16(out) => Arc::new(Int16Array::from(out)),
            Self::I32(data_type, out) => finish_i32(&data_type, out),
            Self::I64(data_type, out) => finish_i64(&data_type, out),
            Self::I128(data_type, out) => Arc::new(Decimal128Array::from(out).with_data_type(data_type)),
            Self::I256(data_type, out) => Arc::new(Decimal256Array::from(out).with_data_type(data_type)),
            Self::U8(out) => Arc::new(UInt8Array::from(out)),
            Self::U16(out) => Arc::new(UInt16Array::from(out)),
            Self::U32(out) => Arc::new(UInt32Array::from(out)),
            Self::U64(out) => Arc::new(UInt64Array::from(out)),
            Self::F32(out) => Arc::new(Float32Array::from(out)),
            Self::F64(out) => Arc::new(Float64Array::from(out)),
            Self::DayTime(out) => Arc::new(IntervalDayTimeArray::from(out)),
            Self::MonthDayNano(out) => Arc::new(IntervalMonthDayNanoArray::from(out)),
            Self::Text(mut out) => Arc::new(out.finish()),
            Self::Bytes(mut out) => Arc::new(out.finish()),
            Self::Fixed(mut out, _) => Arc::new(out.finish()),
            Self::Struct(fields, children, valid) => {
                let arrays = children
                    .into_iter()
                    .map(Self::finish)
                    .collect::<Result<Vec<_>>>()?;
                let count = valid.len();
                Arc::new(
                    StructArray::try_new_with_length(fields, arrays, nulls(valid), count).map_err(wrong)?,
                )
            }
            Self::List(field, values, ends, valid) => {
                let offsets = OffsetBuffer::new(ends.into());
                Arc::new(ListArray::try_new(field, offsets, values.finish()?, nulls(valid)).map_err(wrong)?)
            }
            Self::Map(field, sorted, values, ends, valid) => {
                let offsets = OffsetBuffer::new(ends.into());
                let entries = values.finish()?.as_struct().clone();
                Arc::new(MapArray::try_new(field, offsets, entries, nulls(valid), sorted).map_err(wrong)?)
            }
        })
    }
}

fn nulls(valid: Vec<bool>) -> Option<NullBuffer> {
    valid.contains(&false).then(|| NullBuffer::from(valid))
}

fn finish_i32(data_type: &DataType, values: Vec<Option<i32>>) -> ArrayRef {
    match data_type {
        DataType::Date32 => Arc::new(Date32Array::from(values)),
        DataType::Time32(TimeUnit::Second) => Arc::new(Time32SecondArray::from(values)),
        DataType::Time32(_) => Arc::new(Time32MillisecondArray::from(values)),
        DataType::Interval(_) => Arc::new(IntervalYearMonthArray::from(values)),
        _ => Arc::new(Int32Array::from(values)),
    }
}

fn finish_i64(data_type: &DataType, values: Vec<Option<i64>>) -> ArrayRef {
    use DataType::{Date64, Duration, Time64, Timestamp};
    match data_type {
        Date64 => Arc::new(Date64Array::from(values)),
        Time64(TimeUnit::Microsecond) => Arc::new(Time64MicrosecondArray::from(values)),
        Time64(_) => Arc::new(Time64NanosecondArray::from(values)),
        Timestamp(unit, zone) => match unit {
            TimeUnit::Second => Arc::new(TimestampSecondArray::from(values).with_timezone_opt(zone.clone())),
            TimeUnit::Millisecond => {
                Arc::new(TimestampMillisecondArray::from(values).with_timezone_opt(zone.clone()))
            }
            TimeUnit::Microsecond => {
                Arc::new(TimestampMicrosecondArray::from(values).with_timezone_opt(zone.clone()))
            }
            TimeUnit::Nanosecond => {
                Arc::new(TimestampNanosecondArray::from(values).with_timezone_opt(zone.clone()))
            }
        },
        Duration(TimeUnit::Second) => Arc::new(DurationSecondArray::from(values)),
        Duration(TimeUnit::Millisecond) => Arc::new(DurationMillisecondArray::from(values)),
        Duration(TimeUnit::Microsecond) => Arc::new(DurationMicrosecondArray::from(values)),
        Duration(TimeUnit::Nanosecond) => Arc::new(DurationNanosecondArray::from(values)),
        _ => Arc::new(Int64Array::from(values)),
    }
}
