//! What became of a table: whether the rows we have can follow it, or have to be read again.

use super::{ColumnShape, EarlierValue, TableShape};

/// The difference between two shapes of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShapeChange {
    /// None.
    Same,
    /// The rows we have can follow without asking the server. All lists are empty if only the table's name, its schema or
    /// its replica identity (not the key) is another one.
    Compatible {
        /// New columns, by their places in the newer shape: earlier rows have [`ColumnShape::earlier_value`] in them.
        added: Vec<usize>,
        /// Columns that are gone, by their places in the older shape.
        dropped: Vec<usize>,
        /// Columns with other names, by their places in the newer shape.
        renamed: Vec<usize>,
    },
    /// The rows must be read again.
    Rewritten {
        /// Why, for people.
        why: String,
    },
}

impl TableShape {
    /// What it takes to come from this shape to a newer one. Columns are the same if their numbers are.
    pub fn change_to(&self, newer: &Self) -> ShapeChange {
        if self == newer {
            return ShapeChange::Same;
        }
        if let Some(why) = self.rewritten(newer) {
            return ShapeChange::Rewritten { why };
        }
        let places = |of: &Self, chosen: &dyn Fn(&ColumnShape) -> bool| -> Vec<usize> {
            let places = of.columns.iter().enumerate();
            places
                .filter(|(_, column)| chosen(column))
                .map(|(place, _)| place)
                .collect()
        };
        ShapeChange::Compatible {
            added: places(newer, &|column| self.column(column.number).is_none()),
            dropped: places(self, &|column| newer.column(column.number).is_none()),
            renamed: places(newer, &|column| {
                self.column(column.number)
                    .is_some_and(|older| older.name != column.name)
            }),
        }
    }

    fn column(&self, number: i16) -> Option<&ColumnShape> {
        self.columns.iter().find(|column| column.number == number)
    }

    fn rewritten(&self, newer: &Self) -> Option<String> {
        if self.oid != newer.oid {
            return Some("the table was dropped and made anew".to_owned());
        }
        if self.row_filter != newer.row_filter {
            return Some("the publication's row filter is another one".to_owned());
        }
        let key = |shape: &Self| -> Vec<i16> {
            let keys = shape.columns.iter().filter(|column| column.is_key);
            keys.map(|column| column.number).collect()
        };
        if key(self) != key(newer) {
            return Some("the columns that rows are found by are others".to_owned());
        }
        newer
            .columns
            .iter()
            .find_map(|column| self.rewritten_column(column))
    }

    fn rewritten_column(&self, column: &ColumnShape) -> Option<String> {
        let name = &column.name;
        match self.column(column.number) {
            Some(older)
                if (older.type_oid, older.type_modifier) != (column.type_oid, column.type_modifier)
                    || older.value != column.value =>
            {
                Some(format!("the column \"{name}\" has another type"))
            }
            Some(_) => None,
            None if column.number <= self.last_number => {
                Some(format!("the column \"{name}\" was there, but not published"))
            }
            None if column.earlier == EarlierValue::Unknown => Some(format!(
                "the column \"{name}\" was added with a default that is not the same in every row"
            )),
            None if column.earlier_value().is_err() => Some(format!(
                "the default of the column \"{name}\" has no place in its type here"
            )),
            None => None,
        }
    }
}
