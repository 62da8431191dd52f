//! Tables and views as everybody sees them: identity, columns, key. How a table is written is the source's
//! business, how a view is computed the engine's.

use crate::{Error, ErrorKind, Result, SourceId};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Names a relation for ever: never reused, also not after a drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RelationId(pub u32);

/// The name of a relation: a schema (one per module; `public` for what belongs to none) and a name in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RelationName {
    /// The schema.
    pub schema: String,
    /// The name within the schema.
    pub name: String,
}

impl RelationName {
    /// The schema of relations that belong to no module.
    pub const PUBLIC: &'static str = "public";

    /// The schema of the relations that the server itself has.
    pub const SYSTEM: &'static str = "viewfeed";

    /// `schema.name`.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            schema: schema.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for RelationName {
    /// `name` in the public schema, `schema.name` elsewhere.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.schema == Self::PUBLIC {
            f.write_str(&self.name)
        } else {
            write!(f, "{}.{}", self.schema, self.name)
        }
    }
}

/// What a column means beyond its Arrow type: checked when a value is written, shown when it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogicalType {
    /// Nothing beyond the Arrow type.
    #[default]
    Plain,
    /// `char(n)` or `varchar(n)`: text of at most so many characters.
    Text {
        /// The longest value, in characters.
        chars_max: u32,
    },
    /// `uuid`: text in canonical lower-case form.
    Uuid,
    /// `json` or `jsonb`: text that parses as JSON.
    Json,
    /// A protobuf enum: text, the value's name, or `#n` for a number without one.
    Enum,
}

/// A column of a relation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Names the column for ever within its relation. For a table inferred from a message: the field number.
    pub id: u32,
    /// The name.
    pub name: String,
    /// The Arrow type, always one that [`crate::row`] can encode.
    pub data_type: DataType,
    /// Whether NULL is allowed.
    pub nullable: bool,
    /// What the column means beyond its Arrow type.
    #[serde(default)]
    pub logical: LogicalType,
    /// The default as SQL text, if there is one.
    #[serde(default)]
    pub default: Option<String>,
    /// Filled by the server and left out of `INSERT` without a column list (the hidden key `_id`).
    #[serde(default)]
    pub hidden: bool,
}

impl Column {
    /// A plain column.
    pub fn new(id: u32, name: impl Into<String>, data_type: DataType, nullable: bool) -> Self {
        let name = name.into();
        Self {
            id,
            name,
            data_type,
            nullable,
            logical: LogicalType::Plain,
            default: None,
            hidden: false,
        }
    }
}

/// A column or a field inside a struct column: the first number is the column's place, the rest child places.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ColumnPath(pub Vec<usize>);

impl From<usize> for ColumnPath {
    fn from(column: usize) -> Self {
        Self(vec![column])
    }
}

/// A CHECK constraint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The constraint's name.
    pub name: String,
    /// The condition as SQL text; NULL passes.
    pub sql: String,
}

/// A secondary index, unique or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// The index's name.
    pub name: String,
    /// What it is ordered by.
    pub columns: Vec<ColumnPath>,
    /// Whether two rows may have the same values (rows with a NULL among them always may).
    pub unique: bool,
}

/// What only a table has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Who writes it.
    pub source: SourceId,
    /// CHECK constraints.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// UNIQUE constraints and indexes, without the primary key.
    #[serde(default)]
    pub indexes: Vec<Index>,
}

/// What only a view has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The SELECT as SQL text, with names resolved from `search_schema`.
    pub sql: String,
    /// The schema in which unqualified names are looked up first.
    pub search_schema: String,
    /// The relations it reads.
    pub inputs: Vec<RelationId>,
    /// Whether CREATE asked for `require = 'incremental'`.
    #[serde(default)]
    pub require_incremental: bool,
    /// What a row means on which an expression fails.
    #[serde(default)]
    pub on_error: OnError,
}

/// What becomes of a view when an expression fails on a row: division by zero, a cast, an overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The row is left out and counted; everything else goes on.
    #[default]
    Isolate,
    /// The same, and nobody may read the view while there is such a row.
    Strict,
}

/// A table or a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RelationKind {
    /// Written by a source.
    Table(Table),
    /// Computed by the engine.
    View(View),
}

/// A relation: what it is called, what its rows look like, what makes a row unique.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relation {
    /// Its permanent identity.
    pub id: RelationId,
    /// Its name.
    pub name: RelationName,
    /// Its columns, in order.
    pub columns: Vec<Column>,
    /// Places of the columns that make a row unique, in key order; empty when rows may repeat.
    pub key: Vec<usize>,
    /// Table or view.
    pub kind: RelationKind,
    /// Counts the changes of its columns, from 1.
    pub schema_version: u32,
}

impl Relation {
    /// The Arrow schema of its rows.
    pub fn schema(&self) -> SchemaRef {
        let field = |c: &Column| Field::new(&c.name, c.data_type.clone(), c.nullable);
        Arc::new(Schema::new(self.columns.iter().map(field).collect::<Vec<_>>()))
    }

    /// The place of the column with this name.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// Whether this is a table.
    pub fn as_table(&self) -> Option<&Table> {
        match &self.kind {
            RelationKind::Table(table) => Some(table),
            RelationKind::View(_) => None,
        }
    }

    /// Whether this is a view.
    pub fn as_view(&self) -> Option<&View> {
        match &self.kind {
            RelationKind::View(view) => Some(view),
            RelationKind::Table(_) => None,
        }
    }

    /// The key as paths.
    pub fn key_paths(&self) -> Vec<ColumnPath> {
        self.key.iter().map(|column| ColumnPath::from(*column)).collect()
    }
}

/// Every relation that exists at one moment. Immutable once shared: a change makes a new one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Relations {
    by_id: BTreeMap<RelationId, Arc<Relation>>,
    by_name: BTreeMap<RelationName, RelationId>,
    next_id: u32,
}

impl Relations {
    /// No relation; the first id given out will be `next_id`.
    pub fn starting_at(next_id: u32) -> Self {
        Self {
            next_id,
            ..Self::default()
        }
    }

    /// The smallest id never given out.
    pub fn next_id(&self) -> u32 {
        self.next_id
    }

    /// Gives out an id.
    pub fn allocate(&mut self) -> RelationId {
        self.next_id += 1;
        RelationId(self.next_id - 1)
    }

    /// Adds a relation or replaces the one with the same id. Fails if another relation has its name.
    pub fn put(&mut self, relation: Relation) -> Result<Arc<Relation>> {
        if self
            .by_name
            .get(&relation.name)
            .is_some_and(|id| *id != relation.id)
        {
            let message = format!("relation \"{}\" exists already", relation.name);
            return Err(Error::new(ErrorKind::Exists, "RELATION_EXISTS", message)
                .hint("drop it first, or use IF NOT EXISTS or OR REPLACE"));
        }
        self.remove(relation.id);
        self.next_id = self.next_id.max(relation.id.0 + 1);
        let relation = Arc::new(relation);
        self.by_name.insert(relation.name.clone(), relation.id);
        self.by_id.insert(relation.id, relation.clone());
        Ok(relation)
    }

    /// Removes a relation, if it is there.
    pub fn remove(&mut self, id: RelationId) -> Option<Arc<Relation>> {
        let relation = self.by_id.remove(&id)?;
        self.by_name.remove(&relation.name);
        Some(relation)
    }

    /// The relation with this id.
    pub fn get(&self, id: RelationId) -> Option<&Arc<Relation>> {
        self.by_id.get(&id)
    }

    /// The relation with exactly this name.
    pub fn named(&self, name: &RelationName) -> Option<&Arc<Relation>> {
        self.by_id.get(self.by_name.get(name)?)
    }

    /// Those of these that exist. A view that reads them is planned again among them, so that its names mean what they meant when it
    /// was created, whatever else is called so by now.
    pub fn only(&self, ids: &[RelationId]) -> Self {
        let relations = ids.iter().filter_map(|id| self.get(*id)).cloned();
        let by_id: BTreeMap<_, _> = relations.map(|relation| (relation.id, relation)).collect();
        Self {
            by_name: by_id
                .values()
                .map(|relation| (relation.name.clone(), relation.id))
                .collect(),
            by_id,
            next_id: self.next_id,
        }
    }

    /// Finds `name` or `schema.name`; an unqualified name is looked up in `search_schema`, then in `public`.
    pub fn resolve(&self, name: &str, search_schema: &str) -> Result<&Arc<Relation>> {
        let found = match name.split_once('.') {
            Some((schema, name)) => self.named(&RelationName::new(schema, name)),
            None => self
                .named(&RelationName::new(search_schema, name))
                .or_else(|| self.named(&RelationName::new(RelationName::PUBLIC, name))),
        };
        found.ok_or_else(|| {
            Error::not_found("UNKNOWN_RELATION", format!("relation \"{name}\" does not exist"))
                .hint("SHOW RELATIONS lists what exists; a module's relations are named schema.name")
        })
    }

    /// Every relation, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Relation>> {
        self.by_id.values()
    }

    /// The views that read `id` directly.
    pub fn readers(&self, id: RelationId) -> impl Iterator<Item = &Arc<Relation>> {
        self.iter()
            .filter(move |relation| relation.as_view().is_some_and(|view| view.inputs.contains(&id)))
    }
}
