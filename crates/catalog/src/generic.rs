//! Rows in the self-describing form of `viewfeed.v1`: for tools that know no module.

use crate::codec::{conform_value, sql_name};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array, RecordBatch, StringArray, new_null_array,
};
use arrow::compute::{cast, nullif};
use arrow::datatypes::*;
use std::sync::Arc;
use viewfeed_change::{Column, Error, Result};
use viewfeed_wire::v1::{self, value::Kind};

/// Days from 1970 that have a date, in either direction, about: 260,000 years.
const CALENDAR_DAYS: u64 = 95_000_000;

/// The description of a row; `sql_type` names a column's type.
pub fn row_type(columns: &[Column], key: &[usize], sql_type: impl Fn(&Column) -> String) -> v1::RowType {
    let column = |column: &Column| v1::Column {
        name: column.name.clone(),
        r#type: sql_type(column),
        nullable: column.nullable,
    };
    v1::RowType {
        columns: columns.iter().map(column).collect(),
        key: key.iter().map(|place| *place as u32).collect(),
    }
}

/// The rows of a batch.
pub fn rows_to_wire(rows: &RecordBatch) -> Result<Vec<v1::Row>> {
    let mut wire: Vec<v1::Row> = (0..rows.num_rows())
        .map(|_| v1::Row {
            values: Vec::with_capacity(rows.num_columns()),
        })
        .collect();
    for column in rows.columns() {
        for (row, value) in wire.iter_mut().zip(values_to_wire(column)?) {
            row.values.push(value);
        }
    }
    Ok(wire)
}

/// The values of a column.
fn values_to_wire(array: &ArrayRef) -> Result<Vec<v1::Value>> {
    let kinds = kinds(array)?;
    let value = |(row, kind): (usize, Kind)| v1::Value {
        kind: (!array.is_null(row) && array.data_type() != &DataType::Null).then_some(kind),
    };
    Ok(kinds.into_iter().enumerate().map(value).collect())
}

/// What the values are where they are not NULL; for a NULL, anything.
fn kinds(array: &ArrayRef) -> Result<Vec<Kind>> {
    use DataType::*;
    Ok(match array.data_type() {
        Boolean => array.as_boolean().values().iter().map(Kind::Bool).collect(),
        Int8 | Int16 | Int32 | Int64 => {
            let array = cast(array, &Int64)?;
            array
                .as_primitive::<Int64Type>()
                .values()
                .iter()
                .map(|v| Kind::Int(*v))
                .collect()
        }
        UInt8 | UInt16 | UInt32 | UInt64 => {
            let array = cast(array, &UInt64)?;
            array
                .as_primitive::<UInt64Type>()
                .values()
                .iter()
                .map(|v| Kind::Uint(*v))
                .collect()
        }
        Float16 | Float32 | Float64 => {
            let array = cast(array, &Float64)?;
            array
                .as_primitive::<Float64Type>()
                .values()
                .iter()
                .map(|v| Kind::Double(*v))
                .collect()
        }
        Binary | LargeBinary | BinaryView | FixedSizeBinary(_) => {
            let array = cast(array, &Binary)?;
            let array: &BinaryArray = array.as_binary();
            (0..array.len())
                .map(|row| Kind::Bytes(array.value(row).to_vec().into()))
                .collect()
        }
        Timestamp(_, Some(_)) => {
            let array = cast(array, &Timestamp(TimeUnit::Microsecond, Some("UTC".into())))?;
            let values = array.as_primitive::<TimestampMicrosecondType>().values();
            values.iter().map(|us| Kind::Timestamp(timestamp(*us))).collect()
        }
        List(_) | LargeList(_) | Map(..) | Struct(_) => return nested_kinds(array),
        _ => text_kinds(array)?,
    })
}

/// What has no form of its own is text as SQL prints it.
fn text_kinds(array: &ArrayRef) -> Result<Vec<Kind>> {
    let ticks_a_day = match array.data_type() {
        DataType::Date32 => 1,
        DataType::Timestamp(TimeUnit::Microsecond, None) => 86_400_000_000,
        _ => return Ok(texts(array)?.into_iter().map(Kind::Text).collect()),
    };
    let ticks = cast(array, &DataType::Int64)?;
    let ticks: &Int64Array = ticks.as_primitive();
    let is_beyond = |ticks: i64| ticks.unsigned_abs() > CALENDAR_DAYS * ticks_a_day;
    let beyond: BooleanArray = ticks
        .iter()
        .map(|ticks| Some(ticks.is_some_and(is_beyond)))
        .collect();
    let texts = texts(&nullif(array, &beyond)?)?.into_iter().enumerate();
    let text = |(row, text)| match beyond.value(row) {
        true => beyond_calendar(ticks.value(row), array.data_type()),
        false => text,
    };
    Ok(texts.map(text).map(Kind::Text).collect())
}

fn texts(array: &ArrayRef) -> Result<Vec<String>> {
    let array = cast(array, &DataType::Utf8)?;
    let array: &StringArray = array.as_string();
    Ok((0..array.len()).map(|row| array.value(row).to_owned()).collect())
}

/// A date or time that no calendar has: at either end of what its type holds it is infinite, as in Postgres.
fn beyond_calendar(ticks: i64, data_type: &DataType) -> String {
    let (least, most) = match data_type {
        DataType::Date32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => (i64::MIN, i64::MAX),
    };
    match ticks {
        ticks if ticks == most => "infinity".to_owned(),
        ticks if ticks == least => "-infinity".to_owned(),
        ticks => format!("{ticks} since 1970"),
    }
}

fn nested_kinds(array: &ArrayRef) -> Result<Vec<Kind>> {
    if let Some(list) = array.as_list_opt::<i32>() {
        return list_kinds(list.offsets(), list.values());
    }
    if let Some(map) = array.as_map_opt() {
        let entries: ArrayRef = Arc::new(map.entries().clone());
        return list_kinds(map.offsets(), &entries);
    }
    let Some(parent) = array.as_struct_opt() else {
        return text_kinds(array);
    };
    let mut structs = vec![v1::value::Struct::default(); array.len()];
    for (field, column) in parent.fields().iter().zip(parent.columns()) {
        for (to, value) in structs.iter_mut().zip(values_to_wire(column)?) {
            to.fields.push(v1::value::Field {
                name: field.name().clone(),
                value: Some(value),
            });
        }
    }
    Ok(structs.into_iter().map(Kind::Struct).collect())
}

fn list_kinds(offsets: &[i32], elements: &ArrayRef) -> Result<Vec<Kind>> {
    let elements = values_to_wire(elements)?;
    let list = |range: &[i32]| v1::value::List {
        values: elements[range[0] as usize..range[1] as usize].to_vec(),
    };
    Ok(offsets.windows(2).map(|range| Kind::List(list(range))).collect())
}

fn timestamp(us: i64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: us.div_euclid(1_000_000),
        nanos: (us.rem_euclid(1_000_000) * 1_000) as i32,
    }
}

/// A value given as text (None: NULL), as a one-element array of `data_type`. Bytes are `\x` and hexadecimal digits, or
/// the text itself. Fails as `Invalid` if it does not parse, and on lists, maps and structs.
pub fn text_to_array(text: Option<&str>, data_type: &DataType) -> Result<ArrayRef> {
    let Some(text) = text else {
        return Ok(new_null_array(data_type, 1));
    };
    match data_type {
        DataType::Binary => {
            let bytes = match text.strip_prefix("\\x") {
                Some(digits) => hex(digits)?,
                None => text.as_bytes().to_vec(),
            };
            Ok(Arc::new(BinaryArray::from(vec![bytes.as_slice()])))
        }
        DataType::List(_) | DataType::Map(..) | DataType::Struct(_) => {
            let message = format!("a {} cannot be given as text", sql_name(data_type));
            Err(Error::invalid("TEXT_VALUE", message).hint("name a field of it, for example channel.name"))
        }
        _ => conform_value(&(Arc::new(StringArray::from(vec![text])) as ArrayRef), data_type),
    }
}

fn hex(digits: &str) -> Result<Vec<u8>> {
    let wrong = || {
        Error::invalid(
            "TEXT_VALUE",
            "bytes after \\x must be pairs of hexadecimal digits",
        )
    };
    if !digits.is_ascii() || digits.len() % 2 == 1 {
        return Err(wrong());
    }
    let pair = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| wrong());
    (0..digits.len()).step_by(2).map(pair).collect()
}
