//! The embedded SQL store: tables kept by viewfeed itself.
//!
//! Statements run one after another inside the epoch's transaction: each sees what the ones before wrote, and stages its
//! rows into the arrangements of the table it changes. Owns DDL and DML of tables, constraints and defaults; leaves views
//! to the engine and SELECT to query.

use datafusion::sql::sqlparser::ast;
use std::sync::Arc;
use viewfeed_change::{Delta, Relation, RelationId, Relations, Result, Timestamp};
use viewfeed_query::Planner;
use viewfeed_store::Txn;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

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
    /// The row changes so far, in order; statements append to it.
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
pub struct Embedded;

impl Embedded {
    /// Needs the planner for expressions and `INSERT … SELECT`.
    pub fn new(_planner: Planner) -> Self {
        todo!()
    }

    /// Whether the statement is one for [`Embedded::execute`].
    pub fn handles(_statement: &ast::Statement) -> bool {
        todo!()
    }

    /// Runs CREATE/ALTER/DROP TABLE, CREATE/DROP INDEX, INSERT, UPDATE, DELETE or TRUNCATE. On failure the statement may
    /// have staged part of its writes: the caller rolls back to its savepoint.
    pub fn execute(&self, _statement: &ast::Statement, _context: &mut Context<'_>) -> Result<Outcome> {
        todo!()
    }

    /// Creates a table that is described already (inferred from a message). `table.id` is ignored and given out anew.
    pub fn create_table(&self, _table: Relation, _context: &mut Context<'_>) -> Result<Arc<Relation>> {
        todo!()
    }

    /// Adds columns at the end of a table; old rows get the default, else NULL, else the type's zero value.
    pub fn add_columns(
        &self,
        _table: RelationId,
        _columns: Vec<viewfeed_change::Column>,
        _context: &mut Context<'_>,
    ) -> Result<Arc<Relation>> {
        todo!()
    }

    /// Writes rows without SQL. `rows` may have any of the table's columns, matched by name; the others are given their
    /// default (Insert, Upsert of a new row) or left as they are (Update, Upsert). Gives the number of rows written.
    pub fn write(
        &self,
        _table: &Relation,
        _operation: Operation,
        _rows: &RecordBatch,
        _context: &mut Context<'_>,
    ) -> Result<u64> {
        todo!()
    }
}
