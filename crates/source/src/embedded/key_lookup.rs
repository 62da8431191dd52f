//! `WHERE key = literal`: the one row is looked up, without a plan.

use super::Context;
use super::expression::{self, Scope};
use super::literal::Cell;
use super::name::identifier;
use super::rules::Rules;
use super::values::{self, Meaning};
use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr};
use std::sync::Arc;
use viewfeed_change::row::RowCodec;
use viewfeed_change::{LogicalType, Relation, Result, Timestamp};
use viewfeed_store::arrange;

/// A WHERE that gives every column of the primary key.
pub(super) struct KeyLookup<'a> {
    key: Vec<ArrayRef>,
    residual: Vec<&'a Expr>,
}

impl<'a> KeyLookup<'a> {
    /// Reads `selection`; None if it is not of this kind, or if a literal is not exactly a value of the key's type.
    pub(super) fn of(selection: Option<&'a Expr>, scope: &Scope<'_>, now: Timestamp) -> Option<Self> {
        let relation = scope.relation;
        let mut conditions = Vec::new();
        conjuncts(selection?, &mut conditions);
        let mut key: Vec<Option<ArrayRef>> = vec![None; relation.key.len()];
        let mut residual = Vec::new();
        for condition in conditions {
            match key_equals(condition, scope, now) {
                Some((at, value)) if key[at].is_none() => key[at] = Some(value),
                _ if expression::has_subquery(condition) => return None,
                _ => residual.push(condition),
            }
        }
        let key: Vec<ArrayRef> = key.into_iter().collect::<Option<_>>()?;
        (!key.is_empty()).then_some(Self { key, residual })
    }

    /// The row, if there is one that fulfils the rest of the condition.
    pub(super) fn row(
        &self,
        scope: &Scope<'_>,
        rules: &Rules,
        context: &mut Context<'_>,
    ) -> Result<RecordBatch> {
        let relation = &rules.relation;
        context.touched.insert(relation.id);
        let fields = relation.key.iter().zip(&self.key).map(|(place, value)| {
            Field::new(&relation.columns[*place].name, value.data_type().clone(), true)
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let key = RowCodec::for_schema(&schema)?.encode(&RecordBatch::try_new(schema, self.key.clone())?)?;
        let reader = context.txn.now();
        let found = arrange::primary(&reader, relation)?.lookup(&reader, &key)?.batch;
        let present: Vec<bool> = found.weights().iter().map(|weight| *weight > 0).collect();
        let mut rows = filter_record_batch(found.rows(), &BooleanArray::from(present))?;
        for condition in &self.residual {
            let keep = rules.fulfil(&scope.localise(condition)?, &rows, context.now)?;
            rows = filter_record_batch(&rows, &BooleanArray::from(keep))?;
        }
        Ok(rows)
    }
}

/// The parts of `a AND b AND c`.
fn conjuncts<'a>(expr: &'a Expr, parts: &mut Vec<&'a Expr>) {
    match expr {
        Expr::Nested(inner) => conjuncts(inner, parts),
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And,
            right,
        } => {
            conjuncts(left, parts);
            conjuncts(right, parts);
        }
        other => parts.push(other),
    }
}

/// The place in the key and the value, if `condition` says that a key column is a literal.
fn key_equals(condition: &Expr, scope: &Scope<'_>, now: Timestamp) -> Option<(usize, ArrayRef)> {
    let Expr::BinaryOp {
        left,
        op: BinaryOperator::Eq,
        right,
    } = condition
    else {
        return None;
    };
    let read = |column: &Expr, value| Some((key_column(column, scope)?, value));
    let (at, value) = read(left, right).or_else(|| read(right, left))?;
    let value = key_value(value, scope.relation, scope.relation.key[at], now)?;
    Some((at, value))
}

fn key_column(expr: &Expr, scope: &Scope<'_>) -> Option<usize> {
    let Ok(Expr::Identifier(ident)) = scope.localise(expr) else {
        return None;
    };
    let place = scope.relation.column(&identifier(&ident))?;
    scope.relation.key.iter().position(|key| *key == place)
}

/// One value of the key column's type. A number that would be rounded to it is left to the planner, because it equals
/// no key.
fn key_value(expr: &Expr, relation: &Relation, place: usize, now: Timestamp) -> Option<ArrayRef> {
    let column = &relation.columns[place];
    let cell = Cell::of(expr, column, now)?;
    let exact = match &cell {
        Cell::Number(number) => column.data_type.is_integer() && !number.contains(['.', 'e', 'E']),
        Cell::Text(_) => !matches!(
            column.data_type,
            DataType::Decimal128(..) | DataType::Decimal256(..)
        ),
        Cell::Bool(_) => true,
        Cell::Null | Cell::Default | Cell::List(_) | Cell::Computed(_) => false,
    };
    let canonical = match (&cell, &column.logical) {
        (Cell::Text(text), LogicalType::Uuid) => {
            Cell::Text(uuid::Uuid::try_parse(text).ok()?.to_string().into())
        }
        _ => cell,
    };
    exact
        .then(|| values::column(&[canonical], column, &Meaning::NONE).ok())
        .flatten()
}
