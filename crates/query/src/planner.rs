//! Statements to logical plans, plans to rows.

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::sql::sqlparser::ast;
use std::sync::Arc;
use viewfeed_change::{Relations, Result, Timestamp};
use viewfeed_store::Reader;

/// What a plan is for; decides the optimizer's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be executed once.
    Batch,
    /// To be lowered to incremental operators: DISTINCT stays DISTINCT, `now()` stays a call, no limit or sort pushdown into scans.
    View,
}

/// Plans and runs SELECTs. Cheap to clone, usable from any thread. Blocking: call it from a thread that may wait.
#[derive(Clone)]
pub struct Planner;

impl Planner {
    /// A planner with DataFusion's functions and ours. Makes its own single-threaded runtime for execution.
    pub fn new() -> Result<Self> {
        todo!()
    }

    /// The analysed and optimised plan of a query. Unqualified names are looked up in `search_schema`, then `public`.
    pub fn plan(
        &self,
        _query: &ast::Query,
        _relations: &Arc<Relations>,
        _search_schema: &str,
        _purpose: Purpose,
    ) -> Result<LogicalPlan> {
        todo!()
    }

    /// The plan of SQL text that is one SELECT.
    pub fn plan_sql(
        &self,
        _sql: &str,
        _relations: &Arc<Relations>,
        _search_schema: &str,
        _purpose: Purpose,
    ) -> Result<LogicalPlan> {
        todo!()
    }

    /// Runs a plan against the state `reader` shows; `now` is what `now()` gives. Columns are plain types.
    pub fn execute(
        &self,
        _plan: &LogicalPlan,
        _reader: &Reader,
        _now: Timestamp,
    ) -> Result<Vec<RecordBatch>> {
        todo!()
    }

    /// Runs a plan, handing over batch after batch until `each` fails.
    pub fn execute_each(
        &self,
        _plan: &LogicalPlan,
        _reader: &Reader,
        _now: Timestamp,
        _each: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        todo!()
    }

    /// Runs a plan whose scans of relations read from `tables` (by relation id) instead of a reader.
    pub fn execute_over(
        &self,
        _plan: &LogicalPlan,
        _tables: &dyn Fn(viewfeed_change::RelationId) -> Option<Vec<RecordBatch>>,
        _now: Timestamp,
    ) -> Result<Vec<RecordBatch>> {
        todo!()
    }

    /// A logical expression over `schema` as something to evaluate on batches of that schema.
    pub fn physical(&self, _expr: &Expr, _schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
        todo!()
    }

    /// SQL text of one scalar expression over the columns of `schema` (checks, defaults), type-checked and coerced to
    /// `wanted` if given.
    pub fn scalar(
        &self,
        _sql: &str,
        _schema: &SchemaRef,
        _wanted: Option<&datafusion::arrow::datatypes::DataType>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        todo!()
    }
}
