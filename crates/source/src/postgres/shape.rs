//! A published table as its server describes it at one moment, and what it looks like here.

use super::pgoutput::{Oid, ReplicaIdentity};
use super::value::ValueType;
use serde::{Deserialize, Serialize};

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
    /// The published columns, in the order in which rows are sent.
    pub columns: Vec<ColumnShape>,
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
    /// Whether the server allows NULL.
    pub nullable: bool,
    /// Whether it is part of the replica identity, by which a row is found.
    pub is_key: bool,
}
