//! Rows that are written in the query: VALUES, a SELECT without FROM, what the optimiser knows to be empty. Their values
//! are computed once, here.

use super::lower::Attempt;
use super::{Facts, Kind, Lowering, Node, plain_schema};
use crate::operator::evaluate::evaluate;
use crate::operator::filter_project::shaped;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{cast, concat};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{EmptyRelation, Values};
use std::sync::Arc;
use viewfeed_change::row::RowCodec;
use viewfeed_change::{Batch, Result};

impl Lowering<'_> {
    /// No row, or one without columns.
    pub(super) fn empty(&self, relation: &EmptyRelation) -> Result<Attempt> {
        let schema = plain_schema(relation.schema.fields().iter().map(|field| field.as_ref()));
        if !relation.produce_one_row {
            return Ok(constant(RecordBatch::new_empty(schema)));
        }
        if !relation.schema.fields().is_empty() {
            return Ok(Err("a row of unknown values".to_owned()));
        }
        Ok(constant(shaped(&row_of_nothing()?, &schema)?))
    }

    /// Rows of expressions.
    pub(super) fn values(&self, values: &Values) -> Result<Attempt> {
        let schema = plain_schema(values.schema.fields().iter().map(|field| field.as_ref()));
        let row = row_of_nothing()?;
        let mut columns: Vec<Vec<ArrayRef>> = vec![Vec::new(); schema.fields().len()];
        for exprs in &values.values {
            let compiled = match self.compile_all(exprs, &DFSchema::empty()) {
                Ok(compiled) => compiled,
                Err(reason) => return Ok(Err(reason)),
            };
            for ((expr, column), field) in compiled.iter().zip(&mut columns).zip(schema.fields()) {
                column.push(cast(&evaluate(expr, &row)?, field.data_type())?);
            }
        }
        let joined = |column: &Vec<ArrayRef>| {
            let parts: Vec<_> = column.iter().map(AsRef::as_ref).collect();
            concat(&parts)
        };
        let columns = columns
            .iter()
            .map(joined)
            .collect::<std::result::Result<_, _>>()?;
        Ok(constant(RecordBatch::try_new(schema, columns)?))
    }
}

fn constant(rows: RecordBatch) -> Attempt {
    let schema: SchemaRef = rows.schema();
    if RowCodec::for_schema(&schema).is_err() {
        return Err("values of a type that cannot be stored".to_owned());
    }
    let key = (rows.num_rows() <= 1).then(Vec::new);
    Ok(Node {
        facts: Facts {
            key,
            ..Facts::unknown(schema.fields().len())
        },
        kind: Kind::Constant(Batch::inserts(rows)),
        inputs: Vec::new(),
        schema,
    })
}

fn row_of_nothing() -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let schema = Arc::new(Schema::empty());
    Ok(RecordBatch::try_new_with_options(schema, Vec::new(), &options)?)
}
