//! Scalar work: DataFusion's expressions over a batch of rows.

use arrow::array::{ArrayRef, RecordBatch};
use datafusion::error::DataFusionError;
use datafusion::physical_expr::PhysicalExpr;
use std::sync::Arc;
use viewfeed_change::{Error, Result};
use viewfeed_query::evaluation_failure;

/// The value of `expression` for every row.
pub(crate) fn evaluate(expression: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<ArrayRef> {
    expression
        .evaluate(rows)
        .and_then(|value| value.into_array(rows.num_rows()))
        .map_err(failed)
}

/// Without values of rows, and with advice.
fn failed(error: DataFusionError) -> Error {
    let failure = evaluation_failure(error);
    match failure.advice() {
        Some(_) => failure,
        None => failure.hint("guard the expression, for example with NULLIF, CASE or TRY_CAST"),
    }
}
