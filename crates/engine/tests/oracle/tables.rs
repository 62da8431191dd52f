//! The tables of a case: random columns beside those that subqueries count on, and rows of few values.

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use arrow::datatypes::DataType;
use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};
use std::fmt;
use std::sync::Arc;
use viewfeed_change::{Batch, Column, Relation, RelationId, RelationKind, RelationName, SourceId, Table};

/// What a table looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) name: String,
    pub(crate) columns: Vec<(String, Type)>,
    /// Whether the first column is a key; else rows may repeat.
    pub(crate) keyed: bool,
}

/// Tables of a case.
pub(crate) const TABLES: usize = 3;

/// `t0`, `t1` and `t2` with a key: the columns that queries name by themselves, some that are often there, and random ones.
pub(crate) fn random_tables(rng: &mut SmallRng) -> Vec<Shape> {
    use Type::{Bool, Decimal, Float, Int, Small, Text};
    let always: [&[(&str, Type)]; TABLES] = [
        &[("k", Int), ("a", Small), ("b", Text)],
        &[("k", Int), ("f", Float), ("b", Text)],
        &[("id", Int), ("k", Int), ("f", Float)],
    ];
    let often: [&[(&str, Type)]; TABLES] = [&[("c", Decimal)], &[], &[("c", Decimal)]];
    let table = |table: usize| {
        let keyed = table == 2;
        let mut columns: Vec<(&str, Type)> = always[table].to_vec();
        columns.extend(often[table].iter().filter(|_| rng.random_bool(0.8)));
        for name in ["x", "y"] {
            if rng.random_bool(0.25) {
                let types = [Int, Small, Text, Decimal, Float, Bool];
                columns.push((name, *types.choose(rng).expect("there are some")));
            }
        }
        columns[usize::from(keyed)..].shuffle(rng);
        let own = |(name, data_type): (&str, Type)| (name.to_owned(), data_type);
        Shape {
            name: format!("t{table}"),
            columns: columns.into_iter().map(own).collect(),
            keyed,
        }
    };
    (0..TABLES).map(table).collect()
}

impl Shape {
    /// The table with this id, empty.
    pub(crate) fn relation(&self, id: RelationId) -> Relation {
        let column = |(i, (name, data_type)): (usize, &(String, Type))| {
            let nullable = !(self.keyed && i == 0);
            Column::new(i as u32 + 1, name, data_type.data_type(), nullable)
        };
        Relation {
            id,
            name: RelationName::new(RelationName::PUBLIC, &self.name),
            columns: self.columns.iter().enumerate().map(column).collect(),
            key: if self.keyed { vec![0] } else { vec![] },
            kind: RelationKind::Table(Table {
                source: SourceId::new("test"),
                checks: Vec::new(),
                indexes: Vec::new(),
            }),
            schema_version: 1,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self
            .columns
            .iter()
            .map(|(name, data_type)| format!("{name} {data_type:?}"));
        let key = if self.keyed { " keyed" } else { "" };
        write!(
            f,
            "{}({}){key}",
            self.name,
            columns.collect::<Vec<_>>().join(", ")
        )
    }
}

/// The types of columns and expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    /// BIGINT.
    Int,
    /// INT.
    Small,
    /// TEXT.
    Text,
    /// DECIMAL(10, 2), or wider.
    Decimal,
    /// A float whose sums are exact.
    Float,
    /// A float that was divided: its sums depend on the order in DataFusion, so it is not summed again.
    Ratio,
    /// BOOLEAN.
    Bool,
    /// A float whose last bits DataFusion computes in another way: compared with tolerance, and never used again.
    Approximate,
    /// A list: never used again.
    List,
}

impl Type {
    /// The Arrow type of a table's column.
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Self::Int => DataType::Int64,
            Self::Small => DataType::Int32,
            Self::Text => DataType::Utf8,
            Self::Decimal => DataType::Decimal128(10, 2),
            Self::Float | Self::Ratio | Self::Approximate => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::List => DataType::new_list(DataType::Int64, true),
        }
    }

    /// Whether expressions may use it.
    pub(crate) fn is_usable(self) -> bool {
        !matches!(self, Self::Approximate | Self::List)
    }
}

/// A value of a table's column. Few values are used, so that joins match, groups empty and come back.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Cell {
    Null,
    Int(i64),
    Text(&'static str),
    /// Hundredths.
    Decimal(i128),
    /// Halves.
    Float(i64),
    Bool(bool),
}

/// A row of a table.
pub(crate) type Row = Vec<Cell>;

/// Rows with weights as a batch of `table`.
pub(crate) fn batch(table: &Relation, rows: &[(Row, i64)]) -> Batch {
    let columns = table.columns.iter().enumerate();
    let arrays = columns.map(|(i, column)| array(&column.data_type, rows.iter().map(|(row, _)| row[i])));
    let rows_ =
        RecordBatch::try_new(table.schema(), arrays.collect()).expect("cells have their column's type");
    Batch::new(rows_, rows.iter().map(|(_, weight)| *weight).collect()).expect("as many weights as rows")
}

fn array(data_type: &DataType, cells: impl Iterator<Item = Cell>) -> ArrayRef {
    let integer = |cell: Cell| match cell {
        Cell::Int(value) => Some(value),
        _ => None,
    };
    match data_type {
        DataType::Int64 => Arc::new(cells.map(integer).collect::<Int64Array>()),
        DataType::Int32 => Arc::new(
            cells
                .map(|cell| integer(cell).map(|i| i as i32))
                .collect::<Int32Array>(),
        ),
        DataType::Boolean => Arc::new(cells.map(boolean).collect::<BooleanArray>()),
        DataType::Utf8 => Arc::new(cells.map(text).collect::<StringArray>()),
        DataType::Float64 => Arc::new(cells.map(float).collect::<Float64Array>()),
        _ => Arc::new(
            cells
                .map(decimal)
                .collect::<Decimal128Array>()
                .with_data_type(data_type.clone()),
        ),
    }
}

fn text(cell: Cell) -> Option<&'static str> {
    match cell {
        Cell::Text(text) => Some(text),
        _ => None,
    }
}

fn float(cell: Cell) -> Option<f64> {
    match cell {
        Cell::Float(halves) => Some(halves as f64 / 2.0),
        _ => None,
    }
}

fn decimal(cell: Cell) -> Option<i128> {
    match cell {
        Cell::Decimal(hundredths) => Some(hundredths),
        _ => None,
    }
}

fn boolean(cell: Cell) -> Option<bool> {
    match cell {
        Cell::Bool(value) => Some(value),
        _ => None,
    }
}

/// As SQL.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Text(text) => write!(f, "'{text}'"),
            Self::Decimal(hundredths) => write!(f, "{:.2}", *hundredths as f64 / 100.0),
            Self::Float(halves) => write!(f, "{:?}", *halves as f64 / 2.0),
            Self::Bool(value) => write!(f, "{value}"),
        }
    }
}
