//! The values of one column as bytes in the row encoding, and columns made of such bytes again.

use crate::operator::aggregate::Value;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::scalar::ScalarValue;
use std::sync::Arc;
use viewfeed_change::row::{RowCodec, Rows};
use viewfeed_change::{Error, Result};

/// NULL in the row encoding.
pub(super) const NULL: &[u8] = &[0];

/// The form of one column's values.
pub(super) struct Cells {
    column: usize,
    codec: RowCodec,
}

impl Cells {
    /// Of the column at `column` of `schema`.
    pub(super) fn new(schema: &SchemaRef, column: usize) -> Result<Self> {
        let field = schema.field(column).clone().with_nullable(true);
        Ok(Self {
            column,
            codec: RowCodec::for_schema(&Arc::new(Schema::new(vec![field])))?,
        })
    }

    /// The value of each of `rows`.
    pub(super) fn encode(&self, rows: &RecordBatch) -> Result<Rows> {
        self.encoded(rows.column(self.column).clone())
    }

    /// A single value of the column's type.
    pub(super) fn encode_one(&self, value: &ScalarValue) -> Result<Vec<u8>> {
        let data_type = self.codec.schema().field(0).data_type();
        let array = value.cast_to(data_type).and_then(|value| value.to_array());
        let array = array
            .map_err(|error| Error::internal("a default of another type than its column").because(error))?;
        Ok(self.encoded(array)?.row(0).to_vec())
    }

    fn encoded(&self, values: ArrayRef) -> Result<Rows> {
        self.codec
            .encode(&RecordBatch::try_new(self.codec.schema().clone(), vec![values])?)
    }

    /// A column of encoded values.
    pub(super) fn column(&self, values: &[&Value]) -> Result<ArrayRef> {
        let bytes = values.iter().map(|value| match value {
            Value::Encoded(bytes) => bytes.as_slice(),
            _ => NULL,
        });
        Ok(self.codec.decode(bytes)?.column(0).clone())
    }
}

/// The value with these bytes, if any.
pub(super) fn value_of(bytes: Option<&[u8]>) -> Value {
    match bytes {
        Some(bytes) if !is_null(bytes) => Value::Encoded(bytes.to_vec()),
        _ => Value::Null,
    }
}

/// Whether an encoded value is NULL.
pub(super) fn is_null(value: &[u8]) -> bool {
    value == NULL
}
