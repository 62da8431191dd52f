//! Scalar expressions: checks, defaults, and what the engine evaluates on batches.

use super::Planner;
use super::run::utc;
use crate::column_type::type_name;
use crate::{check, failure, parse};
use chrono::{DateTime, Utc};
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::can_cast_types;
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use std::sync::Arc;
use viewfeed_change::{Error, Result, Timestamp};

impl Planner {
    /// A logical expression over `schema` as something to evaluate on batches of that schema. Fails if it calls
    /// `now()`; see [`Planner::physical_at`].
    pub fn physical(&self, expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
        self.compile(expr.clone(), schema, None)
    }

    /// The same, with `now()` giving `now`.
    pub fn physical_at(
        &self,
        expr: &Expr,
        schema: &DFSchema,
        now: Timestamp,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        self.compile(expr.clone(), schema, Some(utc(now)?))
    }

    /// SQL text of one scalar expression over the columns of `schema` (checks, defaults), type-checked and coerced to
    /// `wanted` if given. Fails if it calls `now()`; see [`Planner::scalar_at`].
    pub fn scalar(
        &self,
        sql: &str,
        schema: &SchemaRef,
        wanted: Option<&DataType>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        self.compile_sql(sql, schema, wanted, None)
    }

    /// The same, with `now()` giving `now`.
    pub fn scalar_at(
        &self,
        sql: &str,
        schema: &SchemaRef,
        wanted: Option<&DataType>,
        now: Timestamp,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        self.compile_sql(sql, schema, wanted, Some(utc(now)?))
    }

    /// The values of an expression without columns (a DEFAULT) for `rows` rows, of type `wanted`. Volatile functions
    /// are called once for each row.
    pub fn evaluate(&self, sql: &str, wanted: &DataType, rows: usize, now: Timestamp) -> Result<ArrayRef> {
        let schema = Arc::new(Schema::empty());
        let expr = self.scalar_at(sql, &schema, Some(wanted), now)?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(schema, Vec::new(), &options)?;
        let value = expr.evaluate(&batch).map_err(failure::execution)?;
        value.into_array(rows).map_err(failure::execution)
    }

    pub(super) fn coerce(&self, expr: Expr, schema: &DFSchema) -> Result<Expr> {
        self.simplifier(schema, None)
            .coerce(expr, schema)
            .map_err(failure::planning)
    }

    fn compile_sql(
        &self,
        sql: &str,
        schema: &SchemaRef,
        wanted: Option<&DataType>,
        now: Option<DateTime<Utc>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let columns = DFSchema::try_from(schema.clone()).map_err(failure::planning)?;
        let mut expr = self.expression(&parse::parse_expression(sql)?, &columns)?;
        if let Some(wanted) = wanted {
            expr = cast(expr, &columns, wanted)?;
        }
        self.compile(expr, &columns, now)
    }

    fn compile(
        &self,
        expr: Expr,
        schema: &DFSchema,
        now: Option<DateTime<Utc>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let mut expr = self.coerce(expr, schema)?;
        if expr
            .exists(|inner| Ok(check::is_stable(inner)))
            .map_err(failure::planning)?
        {
            expr = self
                .simplifier(schema, now)
                .simplify(expr)
                .map_err(failure::planning)?;
        }
        let left = expr.exists(|inner| Ok(now.is_none() && check::is_stable(inner)));
        if left.map_err(failure::planning)? {
            return Err(Error::invalid("SQL_PLAN", "the current time is not known here")
                .hint("leave out now(), current_date and current_timestamp"));
        }
        let properties = ExecutionProps::new();
        create_physical_expr(&expr, schema, &properties, &PhysicalPlanningContext::default())
            .map_err(failure::planning)
    }

    fn simplifier(&self, schema: &DFSchema, now: Option<DateTime<Utc>>) -> ExprSimplifier {
        let context = SimplifyContext::builder()
            .with_schema(Arc::new(schema.clone()))
            .with_config_options(self.session.config_options().clone())
            .with_query_execution_start_time(now)
            .build();
        ExprSimplifier::new(context)
    }
}

fn cast(expr: Expr, schema: &DFSchema, wanted: &DataType) -> Result<Expr> {
    let found = expr.get_type(schema).map_err(failure::planning)?;
    if !can_cast_types(&found, wanted) {
        let message = format!(
            "expected a value of type {}, found {}",
            type_name(wanted),
            type_name(&found)
        );
        return Err(Error::invalid("SQL_PLAN", message).hint("write a value of that type, or CAST to it"));
    }
    expr.cast_to(wanted, schema).map_err(failure::planning)
}
