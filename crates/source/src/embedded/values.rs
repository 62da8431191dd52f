//! Literal values to columns: all values of a column at once, because statements may hold ten thousand rows.

use super::literal::Cell;
use super::{coerce, text};
use arrow::array::{Array, ArrayRef, ListArray, StringArray, StringBuilder};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::interleave;
use arrow::datatypes::DataType;
use std::borrow::Cow;
use std::sync::Arc;
use viewfeed_change::{Column, Error, Result};
use viewfeed_query::sql_type;

/// What cells that are no values by themselves stand for.
pub(super) struct Meaning<'a> {
    /// One value each, for [`Cell::Computed`].
    pub(super) computed: &'a [ArrayRef],
    /// As many values as there are [`Cell::Default`], in their order.
    pub(super) defaults: Option<ArrayRef>,
}

impl Meaning<'_> {
    /// For cells that are all values.
    pub(super) const NONE: Self = Meaning {
        computed: &[],
        defaults: None,
    };
}

/// The values of a column, of the column's type.
pub(super) fn column(cells: &[Cell<'_>], column: &Column, meaning: &Meaning<'_>) -> Result<ArrayRef> {
    let plain = plain(cells, column)?;
    if !cells
        .iter()
        .any(|cell| matches!(cell, Cell::List(_) | Cell::Computed(_) | Cell::Default))
    {
        return Ok(plain);
    }
    let mut arrays = vec![plain];
    let mut places = Vec::with_capacity(cells.len());
    if let Some(defaults) = &meaning.defaults {
        arrays.push(defaults.clone());
    }
    let mut defaults_used = 0;
    for (row, cell) in cells.iter().enumerate() {
        match cell {
            Cell::Default if meaning.defaults.is_some() => {
                places.push((1, defaults_used));
                defaults_used += 1;
            }
            Cell::List(items) => {
                arrays.push(list(items, column)?);
                places.push((arrays.len() - 1, 0));
            }
            Cell::Computed(place) => {
                arrays.push(coerce::coerce(&meaning.computed[*place], column)?);
                places.push((arrays.len() - 1, 0));
            }
            _ => places.push((0, row)),
        }
    }
    let arrays: Vec<&dyn Array> = arrays.iter().map(|array| &**array).collect();
    Ok(interleave(&arrays, &places)?)
}

/// The literal cells; the others are NULL here.
fn plain(cells: &[Cell<'_>], column: &Column) -> Result<ArrayRef> {
    let mut texts = StringBuilder::with_capacity(cells.len(), cells.len() * 12);
    for cell in cells {
        match cell {
            Cell::Text(text) => texts.append_value(text),
            Cell::Number(number) => texts.append_value(number_text(number, column)?),
            Cell::Bool(value) => texts.append_value(bool_text(*value, column)?),
            Cell::Null | Cell::Default | Cell::List(_) | Cell::Computed(_) => texts.append_null(),
        }
    }
    text::parse(&texts.finish(), column)
}

/// A number for a column: integers are rounded to, text takes it as written, other types refuse it.
fn number_text<'a>(number: &'a str, column: &Column) -> Result<Cow<'a, str>> {
    let data_type = &column.data_type;
    if data_type.is_integer() && number.contains(['.', 'e', 'E']) {
        let rounded = text::decimal(number, 38, 0).map_err(|fault| fault.of(column))?;
        return Ok(Cow::Owned(rounded.to_string()));
    }
    if data_type.is_numeric() || (*data_type == DataType::Utf8) {
        Ok(Cow::Borrowed(number))
    } else {
        Err(mismatch(column, "a number"))
    }
}

fn bool_text(value: bool, column: &Column) -> Result<&'static str> {
    match (&column.data_type, value) {
        (DataType::Boolean | DataType::Utf8, true) => Ok("true"),
        (DataType::Boolean | DataType::Utf8, false) => Ok("false"),
        _ => Err(mismatch(column, "a boolean")),
    }
}

/// One list.
fn list(items: &[Cell<'_>], column: &Column) -> Result<ArrayRef> {
    let DataType::List(item) = &column.data_type else {
        return Err(mismatch(column, "an array"));
    };
    let item_column = Column::new(0, &column.name, item.data_type().clone(), true);
    let values = self::column(items, &item_column, &Meaning::NONE)?;
    let offsets = OffsetBuffer::from_lengths([items.len()]);
    Ok(Arc::new(ListArray::try_new(item.clone(), offsets, values, None)?))
}

/// `count` NULLs of the column's type.
pub(super) fn nulls(column: &Column, count: usize) -> ArrayRef {
    arrow::array::new_null_array(&column.data_type, count)
}

/// Lists of texts, read from the text form of each list.
pub(super) fn lists(
    texts: &StringArray,
    column: &Column,
    split: impl Fn(&str) -> Result<Vec<Option<String>>>,
) -> Result<ArrayRef> {
    let DataType::List(item) = &column.data_type else {
        return Err(mismatch(column, "an array"));
    };
    let item_column = Column::new(0, &column.name, item.data_type().clone(), true);
    let (mut items, mut lengths) = (StringBuilder::new(), Vec::with_capacity(texts.len()));
    for text in texts {
        let split = text.map(&split).transpose()?.unwrap_or_default();
        lengths.push(split.len());
        split.iter().for_each(|item| items.append_option(item.as_deref()));
    }
    let values = text::parse(&items.finish(), &item_column)?;
    let nulls = NullBuffer::from_iter((0..texts.len()).map(|row| texts.is_valid(row)));
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(
        item.clone(),
        offsets,
        values,
        Some(nulls),
    )?))
}

/// The value is of a type the column does not take.
pub(super) fn mismatch(column: &Column, value: &str) -> Error {
    let message = format!(
        "column \"{}\" is of type {}, the value is {value}",
        column.name,
        sql_type(column)
    );
    Error::invalid("TYPE_MISMATCH", message).hint("cast the value")
}
