//! What a table demands of its rows, compiled once per definition of the table: defaults, checks, unique keys.

use super::default::ColumnDefault;
use super::expression::{self, Scalar};
use super::unique::Unique;
use super::values;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::sql::sqlparser::ast::Expr;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use viewfeed_change::{Relation, RelationId, Result, Timestamp};
use viewfeed_query::Planner;
use viewfeed_store::Txn;

/// Tables whose rules are kept compiled; past it all are compiled anew.
const TABLES_MAX: usize = 1_024;
/// Expressions of statements kept compiled for each table; past it all are compiled anew.
const EXPRESSIONS_MAX: usize = 256;

/// The rules of one table.
pub(super) struct Rules {
    /// The table they belong to.
    pub(super) relation: Arc<Relation>,
    /// The schema of its rows.
    pub(super) schema: SchemaRef,
    /// The primary key, if there is one, then the unique indexes.
    pub(super) uniques: Vec<Unique>,
    /// What every row must fulfil: name and condition.
    pub(super) checks: Vec<(String, Scalar)>,
    planner: Planner,
    defaults: Vec<ColumnDefault>,
    expressions: Mutex<HashMap<String, Arc<Scalar>>>,
}

impl Rules {
    /// Compiles the rules of `relation`. Fails if a default or a check is wrong.
    pub(super) fn compile(relation: Arc<Relation>, planner: &Planner) -> Result<Self> {
        let schema = relation.schema();
        let check_one = |check: &viewfeed_change::Check| -> Result<_> {
            let scalar = Scalar::new(expression::parse(&check.sql)?, &schema, planner)?;
            Ok((check.name.clone(), scalar))
        };
        let checks = relation.as_table().map_or(&[][..], |table| &table.checks);
        let default_one = |column| ColumnDefault::compile(column, &relation, planner);
        Ok(Self {
            uniques: Unique::of(&relation)?,
            checks: checks.iter().map(check_one).collect::<Result<_>>()?,
            planner: planner.clone(),
            defaults: relation.columns.iter().map(default_one).collect::<Result<_>>()?,
            expressions: Mutex::default(),
            relation,
            schema,
        })
    }

    /// `count` defaults for the column at `place`.
    pub(super) fn defaults(
        &self,
        place: usize,
        count: usize,
        now: Timestamp,
        txn: &mut Txn,
    ) -> Result<ArrayRef> {
        self.defaults[place].values(count, &self.relation.columns[place], &self.planner, now, txn)
    }

    /// Whether the column at `place` has a default other than NULL.
    pub(super) fn has_default(&self, place: usize) -> bool {
        !matches!(self.defaults[place], ColumnDefault::Null)
    }

    /// The values of a local expression for `rows`, whose first columns are those of the table.
    pub(super) fn evaluate(&self, expr: &Expr, rows: &RecordBatch, now: Timestamp) -> Result<ArrayRef> {
        self.scalar(expr, rows)?.evaluate(rows, &self.planner, now)
    }

    /// Which of `rows` fulfil a local condition; NULL is no.
    pub(super) fn fulfil(&self, condition: &Expr, rows: &RecordBatch, now: Timestamp) -> Result<Vec<bool>> {
        let holds = self.evaluate(condition, rows, now)?;
        Ok(truths(&holds)?.iter().map(|holds| *holds == Some(true)).collect())
    }

    /// Whether the check holds for each of `rows`; None is NULL, which passes.
    pub(super) fn check(
        &self,
        scalar: &Scalar,
        rows: &RecordBatch,
        now: Timestamp,
    ) -> Result<Vec<Option<bool>>> {
        truths(&scalar.evaluate(rows, &self.planner, now)?)
    }

    fn scalar(&self, expr: &Expr, rows: &RecordBatch) -> Result<Arc<Scalar>> {
        let text = expr.to_string();
        let mut expressions = self.expressions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scalar) = expressions.get(&text) {
            return Ok(scalar.clone());
        }
        let scalar = Arc::new(Scalar::new(expr.clone(), &rows.schema(), &self.planner)?);
        if expressions.len() >= EXPRESSIONS_MAX {
            expressions.clear();
        }
        expressions.insert(text, scalar.clone());
        Ok(scalar)
    }
}

/// Truth values of a condition's result.
fn truths(values: &ArrayRef) -> Result<Vec<Option<bool>>> {
    use arrow::array::AsArray;
    let column = viewfeed_change::Column::new(0, "condition", DataType::Boolean, true);
    match values.data_type() {
        DataType::Boolean => Ok(values.as_boolean().iter().collect()),
        DataType::Null => Ok(vec![None; values.len()]),
        other => Err(values::mismatch(&column, &format!("of type {other}"))),
    }
}

/// Rules by table. Shared by the clones of the store.
#[derive(Clone, Default)]
pub(super) struct RulesCache(Arc<Mutex<HashMap<RelationId, Arc<Rules>>>>);

impl RulesCache {
    /// The rules of `relation`. An id may mean another table after a transaction was rolled back, so what is compared is
    /// the whole definition.
    pub(super) fn get(&self, relation: &Arc<Relation>, planner: &Planner) -> Result<Arc<Rules>> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rules) = lock().get(&relation.id)
            && (Arc::ptr_eq(&rules.relation, relation) || rules.relation == *relation)
        {
            return Ok(rules.clone());
        }
        let rules = Arc::new(Rules::compile(relation.clone(), planner)?);
        let mut cache = lock();
        if cache.len() >= TABLES_MAX {
            cache.clear();
        }
        cache.insert(relation.id, rules.clone());
        Ok(rules)
    }
}
