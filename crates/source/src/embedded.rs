//! The embedded SQL store: tables kept by viewfeed itself.
//!
//! Statements run one after another inside the epoch's transaction: each sees what the ones before wrote, and stages its
//! rows into the arrangements of the table it changes. Owns DDL and DML of tables, constraints and defaults; leaves views
//! to the engine and SELECT to query.

mod alter_table;
mod assignment;
mod coerce;
mod conflict;
mod constraint;
mod create_table;
mod default;
mod definition;
mod delete;
mod drop_table;
mod expression;
mod index;
mod insert;
mod key_lookup;
mod list_text;
mod literal;
mod matched;
mod name;
mod returning;
mod rules;
mod select;
mod stage;
mod text;
mod unique;
mod update;
mod values;
mod write;

pub use name::relation_name;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::sql::sqlparser::ast::{self, ObjectType, Statement};
use rules::{Rules, RulesCache};
use std::sync::Arc;
use viewfeed_change::{Delta, Error, Relation, RelationId, Relations, Result, Timestamp};
use viewfeed_query::Planner;
use viewfeed_store::Txn;

/// The name of this source.
pub const SOURCE: &str = "embedded";

/// What a statement runs in. One per transaction; shared by its statements.
pub struct Context<'a> {
    /// The epoch's writes.
    pub txn: &'a mut Txn,
    /// The relations as this transaction sees them; DDL changes them. The caller stores what changed.
    pub relations: &'a mut Arc<Relations>,
    /// Where unqualified names are looked up first, and where CREATE puts them.
    pub search_schema: &'a str,
    /// What `now()` gives, the same for the whole transaction.
    pub now: Timestamp,
    /// The row changes so far, in order; statements append to it. DROP TABLE and ALTER TABLE also rewrite what is there
    /// of their table, so who rolls back restores a copy.
    pub changes: &'a mut Vec<Delta>,
    /// Relations that statements read or wrote; statements add to it (for optimistic sessions).
    pub touched: &'a mut std::collections::BTreeSet<RelationId>,
}

/// What a statement answers.
pub struct Outcome {
    /// For example `INSERT 3`.
    pub command: String,
    /// How many rows were written.
    pub rows: u64,
    /// RETURNING.
    pub returning: Option<(SchemaRef, Vec<RecordBatch>)>,
}

/// What to do with given rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Fails with `DUPLICATE_KEY` if there is a row with the same key.
    Insert,
    /// Changes the given columns of the row with the same key; fails with `ROW_NOT_FOUND` if there is none.
    Update,
    /// Inserts, or replaces the given columns of the row with the same key.
    Upsert,
    /// Deletes the row with the same key; fails with `ROW_NOT_FOUND` if there is none.
    Delete,
}

/// The embedded store. Holds no rows itself: all of them are in the transaction.
#[derive(Clone)]
pub struct Embedded {
    planner: Planner,
    rules: RulesCache,
}

impl Embedded {
    /// Needs the planner for expressions and `INSERT … SELECT`.
    pub fn new(planner: Planner) -> Self {
        Self {
            planner,
            rules: RulesCache::default(),
        }
    }

    /// Whether the statement is one for [`Embedded::execute`].
    pub fn handles(statement: &ast::Statement) -> bool {
        match statement {
            Statement::CreateTable(_)
            | Statement::AlterTable(_)
            | Statement::CreateIndex(_)
            | Statement::Insert(_)
            | Statement::Update(_)
            | Statement::Delete(_)
            | Statement::Truncate(_) => true,
            Statement::Drop { object_type, .. } => {
                matches!(object_type, ObjectType::Table | ObjectType::Index)
            }
            _ => false,
        }
    }

    /// Runs CREATE/ALTER/DROP TABLE, CREATE/DROP INDEX, INSERT, UPDATE, DELETE or TRUNCATE. On failure the statement may
    /// have staged part of its writes and changed `context.relations`: the caller rolls both back to its savepoint, and
    /// `context.changes` with them.
    ///
    /// After ALTER TABLE (and [`Embedded::add_columns`]) the table has a higher `schema_version` and new arrangements; the
    /// rewritten rows are not in `context.changes`. Plans over the table must be made anew.
    pub fn execute(&self, statement: &ast::Statement, context: &mut Context<'_>) -> Result<Outcome> {
        match statement {
            Statement::CreateTable(statement) => create_table::create(self, statement, context),
            Statement::AlterTable(statement) => alter_table::alter(self, statement, context),
            Statement::CreateIndex(statement) => index::create(self, statement, context),
            Statement::Insert(statement) => insert::insert(self, statement, context),
            Statement::Update(statement) => update::update(self, statement, context),
            Statement::Delete(statement) => delete::delete(self, statement, context),
            Statement::Truncate(statement) => delete::truncate(self, statement, context),
            Statement::Drop {
                object_type: ObjectType::Table,
                if_exists,
                names,
                cascade,
                ..
            } => drop_table::drop(names, *if_exists, *cascade, context),
            Statement::Drop {
                object_type: ObjectType::Index,
                if_exists,
                names,
                ..
            } => index::drop(names, *if_exists, context),
            _ => Err(Error::internal("the statement is not one of the embedded store")),
        }
    }

    /// Creates a table that is described already (inferred from a message). `table.id` is ignored and given out anew.
    pub fn create_table(&self, table: Relation, context: &mut Context<'_>) -> Result<Arc<Relation>> {
        create_table::install(self, table, context)
    }

    /// Adds columns at the end of a table; old rows get the default, else NULL, else the type's zero value.
    pub fn add_columns(
        &self,
        table: RelationId,
        columns: Vec<viewfeed_change::Column>,
        context: &mut Context<'_>,
    ) -> Result<Arc<Relation>> {
        let unknown = || Error::not_found("UNKNOWN_RELATION", "the table does not exist any more");
        let relation = context.relations.get(table).cloned().ok_or_else(unknown)?;
        alter_table::add_columns(self, &relation, columns, context)
    }

    /// Writes rows without SQL. `rows` may have any of the table's columns, matched by name; the others are given their
    /// default (Insert, Upsert of a new row) or left as they are (Update, Upsert). Gives the number of rows written.
    pub fn write(
        &self,
        table: &Relation,
        operation: Operation,
        rows: &RecordBatch,
        context: &mut Context<'_>,
    ) -> Result<u64> {
        write::write(self, table, operation, rows, context)
    }

    /// The compiled rules of a table.
    fn rules(&self, relation: &Arc<Relation>) -> Result<Arc<Rules>> {
        self.rules.get(relation, &self.planner)
    }
}
