//! Tables as plain data: cells, rows, and the rows a table shall end with.

use arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, TimeUnit};
use std::sync::Arc;
use viewfeed_change::{Batch, Column, Relation, RelationId, RelationKind, RelationName, SourceId, Table};

/// BIGINT.
pub(super) const INT: DataType = DataType::Int64;
/// DECIMAL(15, 2).
pub(super) const MONEY: DataType = DataType::Decimal128(15, 2);
/// DATE.
pub(super) const DATE: DataType = DataType::Date32;
/// TIMESTAMP.
pub(super) const TIME: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
/// TEXT.
pub(super) const TEXT: DataType = DataType::Utf8;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cell {
    Null,
    Int(i64),
    /// Hundredths.
    Money(i64),
    /// Days since 1970.
    Date(i32),
    /// Microseconds since 1970.
    Time(i64),
    Text(String),
}

/// The values of a row.
pub(super) type Row = Vec<Cell>;

/// A table and the rows it shall have in the end.
pub(super) struct Content {
    pub(super) name: &'static str,
    pub(super) columns: Vec<(&'static str, DataType)>,
    /// The columns of the primary key; without any, rows may repeat.
    pub(super) key: Vec<usize>,
    pub(super) rows: Vec<Row>,
}

impl Content {
    /// The table with this id, empty.
    pub(super) fn relation(&self, id: RelationId) -> Relation {
        let column = |(place, (name, data_type)): (usize, &(&str, DataType))| {
            Column::new(
                place as u32 + 1,
                *name,
                data_type.clone(),
                !self.key.contains(&place),
            )
        };
        Relation {
            id,
            name: RelationName::new(RelationName::PUBLIC, self.name),
            columns: self.columns.iter().enumerate().map(column).collect(),
            key: self.key.clone(),
            kind: RelationKind::Table(Table {
                source: SourceId::new("test"),
                checks: Vec::new(),
                indexes: Vec::new(),
            }),
            schema_version: 1,
        }
    }
}

/// Rows with weights as a batch of `table`.
pub(super) fn batch(table: &Relation, rows: &[(Row, i64)]) -> Batch {
    let columns = table.columns.iter().enumerate();
    let arrays = columns.map(|(place, column)| {
        let cells: Vec<&Cell> = rows.iter().map(|(row, _)| &row[place]).collect();
        array(&column.data_type, &cells)
    });
    let weights = rows.iter().map(|(_, weight)| *weight).collect();
    Batch::new(
        RecordBatch::try_new(table.schema(), arrays.collect()).unwrap(),
        weights,
    )
    .unwrap()
}

fn array(data_type: &DataType, cells: &[&Cell]) -> ArrayRef {
    let integers = cells.iter().map(|cell| match cell {
        Cell::Int(value) | Cell::Money(value) | Cell::Time(value) => Some(*value),
        _ => None,
    });
    match data_type {
        DataType::Int64 => Arc::new(integers.collect::<Int64Array>()),
        DataType::Timestamp(..) => Arc::new(integers.collect::<TimestampMicrosecondArray>()),
        DataType::Decimal128(..) => {
            let hundredths: Decimal128Array = integers.map(|value| value.map(i128::from)).collect();
            Arc::new(hundredths.with_data_type(data_type.clone()))
        }
        DataType::Date32 => {
            let days = cells.iter().map(|cell| match cell {
                Cell::Date(days) => Some(*days),
                _ => None,
            });
            Arc::new(days.collect::<Date32Array>())
        }
        _ => {
            let texts = cells.iter().map(|cell| match cell {
                Cell::Text(text) => Some(text.as_str()),
                _ => None,
            });
            Arc::new(texts.collect::<StringArray>())
        }
    }
}
