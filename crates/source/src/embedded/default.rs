//! What fills a column that a statement gives no value for: nothing, a constant, a sequence, an expression.

use super::expression::{self, Scalar};
use super::literal::Cell;
use super::values::{self, Meaning};
use super::{coerce, name};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::{self, Expr};
use std::sync::Arc;
use viewfeed_change::{Column, Relation, Result, Timestamp};
use viewfeed_query::Planner;
use viewfeed_store::{Txn, keys};

/// The default of a column, ready to be used.
pub(super) enum ColumnDefault {
    /// NULL.
    Null,
    /// The same value always; one row of the column's type.
    Constant(ArrayRef),
    /// The next values of the store's sequence with this name.
    Sequence(String),
    /// An expression, for each row anew.
    Computed(Box<Scalar>),
}

impl ColumnDefault {
    /// The default of `column` of `relation`.
    pub(super) fn compile(column: &Column, relation: &Relation, planner: &Planner) -> Result<Self> {
        if column.hidden {
            return Ok(Self::Sequence(hidden_sequence(relation)));
        }
        let Some(sql) = &column.default else {
            return Ok(Self::Null);
        };
        let expr = expression::parse(sql)?;
        if let Some(sequence) = sequence_of(&expr) {
            return Ok(Self::Sequence(sequence_name(relation, &sequence)));
        }
        if !matches!(expr, Expr::Function(_))
            && let Some(cell) = Cell::of(&expr, column, Timestamp(0))
        {
            return Ok(Self::Constant(values::column(&[cell], column, &Meaning::NONE)?));
        }
        let scalar = Scalar::new(expr, &empty_schema(), planner)?;
        if !scalar.is_constant() {
            return Ok(Self::Computed(Box::new(scalar)));
        }
        let value = scalar.evaluate(&rows_without_columns(1)?, planner, Timestamp(0))?;
        Ok(Self::Constant(coerce::coerce(&value, column)?))
    }

    /// `count` values of the column's type.
    pub(super) fn values(
        &self,
        count: usize,
        column: &Column,
        planner: &Planner,
        now: Timestamp,
        txn: &mut Txn,
    ) -> Result<ArrayRef> {
        match self {
            Self::Null => Ok(values::nulls(column, count)),
            Self::Constant(value) => Ok(take(value, &UInt32Array::from(vec![0; count]), None)?),
            Self::Computed(scalar) => coerce::coerce(
                &scalar.evaluate(&rows_without_columns(count)?, planner, now)?,
                column,
            ),
            Self::Sequence(_) if count == 0 => Ok(values::nulls(column, 0)),
            Self::Sequence(name) => {
                let first = keys::advance(txn, name, count as u64)?;
                let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(first..first + count as i64));
                coerce::coerce(&numbers, column)
            }
        }
    }
}

/// The sequence that fills the hidden key of `relation`.
pub(super) fn hidden_sequence(relation: &Relation) -> String {
    format!("id/{}", relation.id.0)
}

/// The store's name of a sequence of a table: a table that is dropped and made anew starts again.
pub(super) fn sequence_name(relation: &Relation, sequence: &str) -> String {
    format!("sequence/{}/{sequence}", relation.id.0)
}

/// The sequences of `relation`, by the store's names.
pub(super) fn sequences(relation: &Relation) -> Vec<String> {
    let of_column = |column: &Column| {
        if column.hidden {
            return Some(hidden_sequence(relation));
        }
        let expr = expression::parse(column.default.as_deref()?).ok()?;
        Some(sequence_name(relation, &sequence_of(&expr)?))
    };
    relation.columns.iter().filter_map(of_column).collect()
}

/// The name in `nextval('name')`.
pub(super) fn sequence_of(expr: &Expr) -> Option<String> {
    let Expr::Function(function) = expr else {
        return None;
    };
    let ast::FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let [ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(Expr::Value(value)))] = list.args.as_slice()
    else {
        return None;
    };
    let is_nextval = name::last(&function.name).is_ok_and(|name| name == "nextval");
    value.value.clone().into_string().filter(|_| is_nextval)
}

fn empty_schema() -> SchemaRef {
    Arc::new(Schema::empty())
}

/// What an expression without columns is evaluated on.
pub(super) fn rows_without_columns(count: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    Ok(RecordBatch::try_new_with_options(
        empty_schema(),
        Vec::new(),
        &options,
    )?)
}
