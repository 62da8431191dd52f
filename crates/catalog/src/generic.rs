//! Rows in the self-describing form of `viewfeed.v1`: for tools that know no module.

use arrow::array::{ArrayRef, RecordBatch};
use viewfeed_change::{Column, Result};
use viewfeed_wire::v1;

/// The description of a row; `sql_type` names a column's type.
pub fn row_type(_columns: &[Column], _key: &[usize], _sql_type: impl Fn(&Column) -> String) -> v1::RowType {
    todo!()
}

/// The rows of a batch.
pub fn rows_to_wire(_rows: &RecordBatch) -> Result<Vec<v1::Row>> {
    todo!()
}

/// A value given as text (None: NULL), as a one-element array of `data_type`. Fails as `Invalid` if it does not parse.
pub fn text_to_array(_text: Option<&str>, _data_type: &arrow::datatypes::DataType) -> Result<ArrayRef> {
    todo!()
}
