//! Answers as text, and whether two are the same.

use super::record::{Expected, Query, Sort};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::fmt;

/// The rows of an answer, value by value.
#[derive(Debug, Default)]
pub(super) struct Answer {
    columns: usize,
    rows: Vec<Vec<String>>,
}

impl Answer {
    /// The rows of `batches`, each as often as its weight says.
    pub(super) fn of(columns: usize, batches: &[(RecordBatch, Vec<i64>)]) -> Self {
        let mut rows = Vec::new();
        for (batch, weights) in batches {
            let columns: Vec<Vec<String>> = batch.columns().iter().map(spell).collect();
            for (row, weight) in weights.iter().enumerate() {
                let values: Vec<String> = columns.iter().map(|column| column[row].clone()).collect();
                rows.extend(std::iter::repeat_n(values, usize::try_from(*weight).unwrap()));
            }
        }
        Self { columns, rows }
    }

    /// Whether both have the same rows, in whatever order.
    pub(super) fn has_rows_of(&self, other: &Self) -> bool {
        let sorted = |answer: &Self| {
            let mut rows = answer.rows.clone();
            rows.sort();
            rows
        };
        sorted(self) == sorted(other)
    }

    /// Whether both have as many rows.
    pub(super) fn is_as_long_as(&self, other: &Self) -> bool {
        self.rows.len() == other.rows.len()
    }

    /// How it differs from what the file says.
    pub(super) fn unlike(&self, query: &Query) -> Option<String> {
        let lines = match &query.expected {
            Expected::Lines(lines) => lines,
            Expected::Hash { values } => {
                let count = self.rows.len() * self.columns;
                return (count != *values).then(|| format!("{count} values instead of {values}"));
            }
            Expected::Error(_) => return None,
        };
        let by_value = self.columns > 1 && lines.len() == self.rows.len() * self.columns;
        let wanted: Vec<String> = match by_value && !lines.is_empty() {
            true => lines
                .chunks(self.columns)
                .map(|values| values.join(" "))
                .collect(),
            false => lines.clone(),
        };
        let found = self.rows.iter().map(|row| row.join(" ")).collect();
        let same = comparable(wanted, query.sort) == comparable(found, query.sort);
        (!same).then(|| format!("answers\n{self}\ninstead of\n{}", lines.join("\n")))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.rows.iter().map(|row| row.join(" ")).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// Rows in the form and order in which they are compared with a file: numbers rounded to what every dialect shows.
fn comparable(rows: Vec<String>, sort: Sort) -> Vec<String> {
    let tidy = |row: &String| row.split_whitespace().map(rounded).collect::<Vec<_>>();
    let mut rows: Vec<Vec<String>> = rows.iter().map(tidy).collect();
    if sort == Sort::Values {
        rows = rows.into_iter().flatten().map(|value| vec![value]).collect();
    }
    if sort != Sort::Nothing {
        rows.sort();
    }
    rows.into_iter().map(|row| row.join(" ")).collect()
}

/// A number with a fraction, to three digits of it.
fn rounded(value: &str) -> String {
    match value.parse::<f64>() {
        Ok(number) if number.is_finite() && value.contains(['.', 'e', 'E']) => {
            let text = format!("{number:.3}");
            let text = text.trim_end_matches('0').trim_end_matches('.');
            if text == "-0" {
                "0".to_owned()
            } else {
                text.to_owned()
            }
        }
        _ => value.to_owned(),
    }
}

/// The values of a column; floats without their last digits, which depend on the order of a sum.
fn spell(column: &ArrayRef) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let shown = ArrayFormatter::try_new(column, &options).unwrap();
    let float = |row: usize| match column.data_type() {
        DataType::Float64 => Some(column.as_primitive::<Float64Type>().value(row)),
        DataType::Float32 => Some(f64::from(column.as_primitive::<Float32Type>().value(row))),
        _ => None,
    };
    let value = |row: usize| match (column.is_null(row), float(row)) {
        (false, Some(0.0)) => "0".to_owned(),
        (false, Some(float)) => format!("{float:.9e}").parse::<f64>().unwrap().to_string(),
        _ => match shown.value(row).to_string() {
            text if text.is_empty() => "(empty)".to_owned(),
            text => text,
        },
    };
    (0..column.len()).map(value).collect()
}
