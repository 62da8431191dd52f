//! What every row must fulfil by itself before it may be stored: lengths, forms, NOT NULL, CHECK.

use super::rules::Rules;
use super::text::Fault;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringArray};
use std::sync::Arc;
use viewfeed_change::{Column, Error, LogicalType, Result, Timestamp};
use viewfeed_query::sql_type;

/// Makes rows of the table from `columns` (all of them, in order, of the columns' types). Fails on the first column, then
/// on the first check, that is violated.
pub(super) fn admit(
    rules: &Rules,
    columns: Vec<ArrayRef>,
    count: usize,
    now: Timestamp,
) -> Result<RecordBatch> {
    let admit_one = |(array, column): (ArrayRef, &Column)| {
        if !column.nullable && array.null_count() > 0 {
            return Err(not_null_violation(column, rules));
        }
        logical(array, column)
    };
    let columns = columns
        .into_iter()
        .zip(&rules.relation.columns)
        .map(admit_one)
        .collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    let rows = RecordBatch::try_new_with_options(rules.schema.clone(), columns, &options)?;
    for (name, condition) in &rules.checks {
        if rules.check(condition, &rows, now)?.contains(&Some(false)) {
            let message = format!(
                "a row violates check \"{name}\" of table \"{}\"",
                rules.relation.name
            );
            return Err(Error::invalid("CHECK_VIOLATION", message));
        }
    }
    Ok(rows)
}

fn not_null_violation(column: &Column, rules: &Rules) -> Error {
    let message = format!(
        "column \"{}\" of table \"{}\" must not be NULL",
        column.name, rules.relation.name
    );
    Error::invalid("NOT_NULL_VIOLATION", message).hint("give it a value, or a default in CREATE TABLE")
}

/// Values that are what the column's logical type demands, in its canonical form.
fn logical(array: ArrayRef, column: &Column) -> Result<ArrayRef> {
    match &column.logical {
        LogicalType::Plain | LogicalType::Enum => Ok(array),
        LogicalType::Text { chars_max } => check_length(array, column, *chars_max as usize),
        LogicalType::Uuid => canonical_uuids(array, column),
        LogicalType::Json => check_json(array, column),
    }
}

fn check_length(array: ArrayRef, column: &Column, chars_max: usize) -> Result<ArrayRef> {
    let too_long = |text: &str| text.len() > chars_max && text.chars().count() > chars_max;
    if texts(&array)?.iter().flatten().any(too_long) {
        let message = format!(
            "column \"{}\": the value is too long for {}",
            column.name,
            sql_type(column)
        );
        return Err(Error::invalid("VALUE_TOO_LONG", message).hint(format!("at most {chars_max} characters")));
    }
    Ok(array)
}

/// uuids are compared as text, so one uuid must have one text.
fn canonical_uuids(array: ArrayRef, column: &Column) -> Result<ArrayRef> {
    let canonical = |text: &str| {
        uuid::Uuid::try_parse(text.trim())
            .map(|uuid| uuid.to_string())
            .map_err(|_| Fault::Syntax.of(column))
    };
    let parsed = texts(&array)?.iter().map(|text| text.map(canonical).transpose());
    Ok(Arc::new(parsed.collect::<Result<StringArray>>()?))
}

fn check_json(array: ArrayRef, column: &Column) -> Result<ArrayRef> {
    let is_json = |text: &str| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    if texts(&array)?.iter().flatten().all(is_json) {
        Ok(array)
    } else {
        Err(Fault::Syntax.of(column).hint("give valid JSON"))
    }
}

fn texts(array: &ArrayRef) -> Result<&StringArray> {
    array
        .as_string_opt::<i32>()
        .ok_or_else(|| Error::internal("a text column holds no text"))
}
