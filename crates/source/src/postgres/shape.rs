//! A published table as its server describes it at one moment, and what it looks like here.
//!
//! Reading it from the catalog is left to `read`, what became of it since to `compare`.

mod compare;
mod read;

pub use compare::ShapeChange;
pub use read::{Found, Refused, Tables, read_shapes};

use super::pgoutput::{Oid, Relation, ReplicaIdentity};
use super::value::{ColumnBuilder, ValueType};
use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::{Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use viewfeed_change::{Column, Error, Result};

/// A published table. Stored with the source, so that what changed since is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableShape {
    /// Its number: stays when it is renamed, another one when it is dropped and made anew.
    pub oid: Oid,
    /// Its schema at the server.
    pub schema: String,
    /// Its name at the server.
    pub name: String,
    /// What of an old row the server sends.
    pub identity: ReplicaIdentity,
    /// The published columns, in the order in which rows are sent. Generated ones are not among them: servers before
    /// version 18 never send them.
    pub columns: Vec<ColumnShape>,
    /// The highest number that a column, published or not, ever had: a higher one is a column that was added.
    pub last_number: i16,
    /// The publication's row filter as SQL: other rows are not sent.
    pub row_filter: Option<String>,
}

/// A published column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnShape {
    /// Its number (`attnum`): stays when it is renamed, never used again when it is dropped.
    pub number: i16,
    /// Its name.
    pub name: String,
    /// The type at the server.
    pub type_oid: Oid,
    /// The type's modifier, −1 for none.
    pub type_modifier: i32,
    /// How its values are read, and what they are here.
    pub value: ValueType,
    /// Whether the server allows NULL. It is not told when that changes.
    pub nullable: bool,
    /// Whether it is part of what a row is found by; see [`TableShape::key_places`].
    pub is_key: bool,
    /// What rows have in it that were there before it was added.
    pub earlier: EarlierValue,
}

/// What rows have in a column that was added after them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EarlierValue {
    /// NULL.
    Null,
    /// A constant, as text.
    Constant(String),
    /// Possibly something else in every row: the column has a default that is no constant, or the table was written anew
    /// since.
    Unknown,
}

impl TableShape {
    /// The columns of our table: `id` is the column's number. Only those of the key are not nullable, because the server
    /// does not say when NOT NULL is dropped.
    pub fn relation_columns(&self) -> Vec<Column> {
        let column = |column: &ColumnShape| {
            let (number, data_type) = (column.number as u32, column.value.data_type());
            let mut made = Column::new(number, &column.name, data_type, !column.is_key);
            made.logical = column.value.logical();
            made
        };
        self.columns.iter().map(column).collect()
    }

    /// The places in `columns` of those by which a row is found: those of the primary key, or of the index that is the
    /// replica identity. None if the identity is the whole row and there is no primary key: then rows may repeat.
    pub fn key_places(&self) -> Vec<usize> {
        let places = self.columns.iter().enumerate();
        places
            .filter(|(_, column)| column.is_key)
            .map(|(place, _)| place)
            .collect()
    }

    /// The schema of rows as they come: all columns nullable, since a key or a partial row has NULL elsewhere.
    pub fn row_schema(&self) -> SchemaRef {
        let field = |column: &ColumnShape| Field::new(&column.name, column.value.data_type(), true);
        Arc::new(Schema::new(self.columns.iter().map(field).collect::<Vec<_>>()))
    }

    /// Whether a RELATION message tells of a table that looks like this one, as far as it tells. It is sent again after
    /// every change of the table, but is silent about primary keys beside REPLICA IDENTITY FULL, row filters and NOT NULL;
    /// and nothing is sent when a partitioned table changes and its partitions do not (its name, its identity).
    pub fn matches(&self, relation: &Relation<'_>) -> bool {
        let schema = match relation.schema {
            "" => "pg_catalog",
            named => named,
        };
        let is_same_table = self.oid == relation.oid
            && self.schema == schema
            && self.name == relation.name
            && self.identity == relation.identity;
        let is_whole_row_key = self.identity == ReplicaIdentity::Full;
        is_same_table
            && self.columns.len() == relation.columns.len()
            && self.columns.iter().zip(&relation.columns).all(|(ours, theirs)| {
                ours.name == theirs.name
                    && ours.type_oid == theirs.type_oid
                    && ours.type_modifier == theirs.type_modifier
                    && (ours.is_key || is_whole_row_key) == theirs.is_key
            })
    }

    /// Whether rows of the one cannot be rows of the other.
    pub(super) fn has_other_rows(&self, other: &Self) -> bool {
        self.columns != other.columns || self.identity != other.identity
    }

    /// `schema.name`, for people.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// Whether every column has a binary form that can be read: if not, rows must be asked for as text.
    pub fn has_binary(&self) -> bool {
        self.columns.iter().all(|column| column.value.has_binary())
    }
}

impl ColumnShape {
    /// What one row has in this column that was there before it: an array of one value. Fails if that is not known, or
    /// not representable.
    pub fn earlier_value(&self) -> Result<ArrayRef> {
        match &self.earlier {
            EarlierValue::Null => Ok(new_null_array(&self.value.data_type(), 1)),
            EarlierValue::Constant(text) => {
                let mut value = ColumnBuilder::new(&self.value);
                match value.push_text(text.as_bytes()) {
                    Ok(()) => Ok(value.finish()),
                    Err(_) => Err(self.unknown_earlier("the default has no place in the column's type here")),
                }
            }
            EarlierValue::Unknown => Err(self.unknown_earlier("the default is no constant")),
        }
    }

    fn unknown_earlier(&self, why: &str) -> Error {
        let message = format!(
            "what earlier rows have in the new column \"{}\" is not known: {why}",
            self.name
        );
        Error::new(
            viewfeed_change::ErrorKind::Precondition,
            "COLUMN_VALUES_UNKNOWN",
            message,
        )
        .hint("the table has to be copied again")
    }
}
