//! A published table as its server describes it at one moment, and what it looks like here.
//!
//! Reading it from the catalog is left to `read` and `version`, what became of it since to `compare`.

mod compare;
mod read;
mod version;

pub use read::{Found, Refused, Tables, read_shapes};
pub use version::RowsVersion;
pub(super) use version::{TableVersion, table_versions};

use super::pgoutput::{Oid, Relation, ReplicaIdentity};
use super::value::ValueType;
use arrow::datatypes::{Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use viewfeed_change::Column;

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
    /// Which version of its rows this is.
    #[serde(default)]
    pub rows: RowsVersion,
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
    /// Whether it is part of what a row is found by; see [`TableShape::key_places`].
    pub is_key: bool,
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

    /// `schema.name`, for people.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// Whether every column has a binary form that can be read: if not, rows must be asked for as text.
    pub fn has_binary(&self) -> bool {
        self.columns.iter().all(|column| column.value.has_binary())
    }
}
