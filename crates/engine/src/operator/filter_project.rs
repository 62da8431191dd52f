//! Filters, projections and casts in one pass over a batch. No state, O(Δ): weights are carried along. Rows on which one
//! of them fails are left out.

use super::evaluate::evaluate;
use super::isolate::{ErrorLog, LeftOut};
use super::{Collect, Emit, Operator};
use arrow::array::{Array, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use std::fmt;
use std::sync::Arc;
use viewfeed_change::row::conform;
use viewfeed_change::{Batch, Error, ErrorKind, Result};
use viewfeed_store::Txn;

/// The most bytes that the pieces of a batch may have together which was too large in one: a function that makes long
/// texts refuses a batch, but not its rows one by one.
const PIECES_BYTES_MAX: usize = 1 << 30;

/// One thing done to every batch.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// Keeps the rows for which this is true.
    Filter(Arc<dyn PhysicalExpr>),
    /// Keeps these columns, in this order; with what comes out.
    Columns(Vec<usize>, SchemaRef),
    /// Computes columns; with what comes out.
    Compute(Vec<Arc<dyn PhysicalExpr>>, SchemaRef),
    /// Casts every column to the types of this schema.
    Cast(SchemaRef),
}

impl Stage {
    /// The columns that come out; None: those that went in.
    pub(crate) fn schema(&self) -> Option<SchemaRef> {
        match self {
            Self::Filter(_) => None,
            Self::Columns(_, schema) | Self::Compute(_, schema) | Self::Cast(schema) => Some(schema.clone()),
        }
    }
}

impl fmt::Display for Stage {
    /// The same for stages that do the same; no column names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter(predicate) => write!(f, "filter {predicate}"),
            Self::Columns(columns, _) => write!(f, "columns {columns:?}"),
            Self::Compute(exprs, _) => exprs.iter().try_for_each(|expr| write!(f, "compute {expr} ")),
            Self::Cast(schema) => schema
                .fields()
                .iter()
                .try_for_each(|field| write!(f, "cast {} ", field.data_type())),
        }
    }
}

/// The stages of a node, run one after another.
pub(crate) struct FilterProject {
    stages: Vec<Stage>,
    output: SchemaRef,
    errors: ErrorLog,
}

impl FilterProject {
    /// `output` has the plain types of what the last stage gives.
    pub(crate) fn new(stages: Vec<Stage>, output: SchemaRef, errors: ErrorLog) -> Self {
        Self {
            stages,
            output,
            errors,
        }
    }

    /// What comes of the rows that do not fail; counts the others.
    fn isolated(&self, batch: &Batch, txn: &mut Txn) -> Result<Option<Batch>> {
        let (mut left_out, mut pieces, mut bytes) = (LeftOut::default(), Vec::new(), 0);
        left_out.isolate(batch, &mut |rows| {
            if let Some(piece) = self.apply(rows)? {
                bytes += piece.rows().get_array_memory_size();
                pieces.push(piece);
            }
            match bytes > PIECES_BYTES_MAX && rows.len() < batch.len() {
                true => Err(too_large()),
                false => Ok(()),
            }
        })?;
        self.errors.stage(&left_out, txn)?;
        match pieces.len() {
            0 | 1 => Ok(pieces.pop()),
            _ => Batch::concat(&self.output, &pieces).map(Some),
        }
    }

    fn apply(&self, batch: &Batch) -> Result<Option<Batch>> {
        let (mut rows, mut weights) = (batch.rows().clone(), batch.weights().to_vec());
        for stage in &self.stages {
            rows = match stage {
                Stage::Filter(predicate) => keep_true(predicate, rows, &mut weights)?,
                Stage::Columns(columns, schema) => {
                    let chosen = columns.iter().map(|column| rows.column(*column).clone());
                    with_count(schema, chosen.collect(), weights.len())?
                }
                Stage::Compute(exprs, schema) => compute(exprs, &rows, schema)?,
                Stage::Cast(schema) => conform(&rows, schema)?,
            };
            if weights.is_empty() {
                return Ok(None);
            }
        }
        Ok(Some(Batch::new(shaped(&rows, &self.output)?, weights)?))
    }
}

impl Operator for FilterProject {
    fn step(&self, inputs: &[Option<&Batch>], txn: &mut Txn) -> Result<Option<Batch>> {
        match inputs {
            [Some(batch)] => self.isolated(batch, txn),
            _ => Ok(None),
        }
    }

    fn hydrate(&self, inputs: &[&Collect<'_>], txn: &mut Txn, output: &mut Emit<'_>) -> Result<()> {
        let [input] = inputs else {
            return Err(Error::internal("a filter has one input"));
        };
        input(txn, &mut |txn, batch| match self.isolated(&batch, txn)? {
            Some(batch) => output(txn, batch),
            None => Ok(()),
        })
    }
}

/// `rows` with the plain types of `schema`. Rows without any column get the one that stands in for none.
pub(crate) fn shaped(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if rows.num_columns() > 0 || schema.fields().is_empty() {
        return conform(rows, schema);
    }
    let stand_in = new_null_array(schema.field(0).data_type(), rows.num_rows());
    Ok(RecordBatch::try_new(schema.clone(), vec![stand_in])?)
}

fn too_large() -> Error {
    let message = format!(
        "the rows of one change become more than {} MiB",
        PIECES_BYTES_MAX >> 20
    );
    Error::new(ErrorKind::Exhausted, "BATCH_TOO_LARGE", message)
        .hint("make shorter texts, or change fewer rows at once")
}

fn keep_true(
    predicate: &Arc<dyn PhysicalExpr>,
    rows: RecordBatch,
    weights: &mut Vec<i64>,
) -> Result<RecordBatch> {
    let answer = evaluate(predicate, &rows)?;
    let mask = answer
        .as_any()
        .downcast_ref::<BooleanArray>()
        .ok_or_else(|| Error::internal("a filter that is not true or false"))?;
    if mask.null_count() == 0 && mask.true_count() == mask.len() {
        return Ok(rows);
    }
    let mask = match mask.null_count() {
        0 => mask.clone(),
        _ => prep_null_mask_filter(mask),
    };
    let all = std::mem::take(weights);
    weights.extend(mask.values().set_indices().map(|i| all[i]));
    match rows.num_columns() {
        0 => with_count(&rows.schema(), Vec::new(), weights.len()),
        _ => Ok(filter_record_batch(&rows, &mask)?),
    }
}

fn compute(exprs: &[Arc<dyn PhysicalExpr>], rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let mut columns = Vec::with_capacity(exprs.len());
    for (expr, field) in exprs.iter().zip(schema.fields()) {
        let value = evaluate(expr, rows)?;
        columns.push(match value.data_type() == field.data_type() {
            true => value,
            false => arrow::compute::cast(&value, field.data_type())?,
        });
    }
    with_count(schema, columns, rows.num_rows())
}

fn with_count(schema: &SchemaRef, columns: Vec<arrow::array::ArrayRef>, count: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    Ok(RecordBatch::try_new_with_options(
        schema.clone(),
        columns,
        &options,
    )?)
}
