//! A case: tables, views as SQL text, and what happens to them. A case is plain data, so that a failing one can be
//! printed and made smaller.

use arrow::array::{
    ArrayRef, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use arrow::datatypes::DataType;
use std::fmt;
use std::sync::Arc;
use viewfeed_change::{Batch, Column, Relation, RelationId, RelationKind, RelationName, SourceId, Table};

/// What a table looks like.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [(&'static str, Type)],
    /// Whether the first column is a key; else rows may repeat.
    pub(crate) keyed: bool,
}

/// The tables of every case.
pub(crate) const TABLES: [Shape; 3] = [
    Shape {
        name: "t0",
        columns: &[
            ("k", Type::Int),
            ("a", Type::Small),
            ("b", Type::Text),
            ("c", Type::Decimal),
        ],
        keyed: false,
    },
    Shape {
        name: "t1",
        columns: &[("k", Type::Int), ("f", Type::Float), ("b", Type::Text)],
        keyed: false,
    },
    Shape {
        name: "t2",
        columns: &[
            ("id", Type::Int),
            ("k", Type::Int),
            ("c", Type::Decimal),
            ("f", Type::Float),
        ],
        keyed: true,
    },
];

impl Shape {
    /// The table with this id, empty.
    pub(crate) fn relation(&self, id: RelationId) -> Relation {
        let column = |(i, (name, data_type)): (usize, &(&str, Type))| {
            let nullable = !(self.keyed && i == 0);
            Column::new(i as u32 + 1, *name, data_type.data_type(), nullable)
        };
        Relation {
            id,
            name: RelationName::new(RelationName::PUBLIC, self.name),
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
}

/// A row of a table.
pub(crate) type Row = Vec<Cell>;

/// What happens next.
#[derive(Clone)]
pub(crate) enum Step {
    /// The view at this place is created, over whatever is there.
    Create(usize),
    /// One epoch: by table, rows with weights.
    Epoch(Vec<(usize, Vec<(Row, i64)>)>),
    /// The next epoch is this much later, in seconds.
    Wait(i64),
    /// Everything so far goes to the checkpoint database.
    Checkpoint,
    /// The store is closed and opened again, and the engine with it.
    Reopen,
    /// The program is killed within an epoch that removes everything, and started again.
    Crash,
    /// One epoch that removes every row of every table.
    Clear,
}

/// The form in which state is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A tree in memory, under a log on disk.
    Memory,
    Sled,
    Runs,
}

/// What must make no difference to the content of views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Modes {
    pub(crate) form: Form,
    /// How views are filled: at once, or piece by piece.
    pub(crate) filling: Option<Filling>,
}

/// How views are filled while epochs go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Filling {
    /// Rows of a piece, at most.
    pub(crate) rows: usize,
    /// Pieces in each epoch.
    pub(crate) pieces: usize,
}

/// Views and what happens.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) modes: Modes,
    /// The SELECT of `v0`, `v1`, …; later ones may read earlier ones.
    pub(crate) views: Vec<String>,
    pub(crate) steps: Vec<Step>,
}

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

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Text(text) => write!(f, "'{text}'"),
            Self::Decimal(hundredths) => write!(f, "{}.{:02}", hundredths / 100, hundredths.abs() % 100),
            Self::Float(halves) => write!(f, "{:?}", *halves as f64 / 2.0),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {:?}", self.modes)?;
        for (i, sql) in self.views.iter().enumerate() {
            writeln!(f, "  v{i} := {sql}")?;
        }
        for step in &self.steps {
            match step {
                Step::Create(view) => writeln!(f, "  create v{view}")?,
                Step::Checkpoint => writeln!(f, "  checkpoint")?,
                Step::Reopen => writeln!(f, "  reopen")?,
                Step::Crash => writeln!(f, "  crash")?,
                Step::Wait(seconds) => writeln!(f, "  wait {seconds} s")?,
                Step::Clear => writeln!(f, "  clear")?,
                Step::Epoch(tables) => {
                    writeln!(f, "  epoch")?;
                    for (table, rows) in tables {
                        let name = TABLES[*table].name;
                        rows.iter()
                            .try_for_each(|(row, weight)| writeln!(f, "    {name} {weight:+} {row:?}"))?;
                    }
                }
            }
        }
        Ok(())
    }
}
