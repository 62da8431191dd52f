//! Rows to protobuf messages and back.

use arrow::array::RecordBatch;
use bytes::Bytes;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use viewfeed_change::{Relation, Result};

/// Encodes rows of a relation (or of a SELECT) as messages; columns are matched to fields by name.
#[derive(Clone, Debug)]
pub struct RowEncoder;

impl RowEncoder {
    /// An encoder for rows of `schema` as `message`s. Fails if a field has no column, or one of a type that does not fit.
    pub fn new(_schema: &arrow::datatypes::SchemaRef, _message: &MessageDescriptor) -> Result<Self> {
        todo!()
    }

    /// The bytes of one message per row, without length prefix.
    pub fn encode(&self, _rows: &RecordBatch) -> Result<Vec<Bytes>> {
        todo!()
    }
}

/// Decodes messages into rows of a table.
#[derive(Clone, Debug)]
pub struct RowDecoder;

impl RowDecoder {
    /// A decoder of `message`s to rows of `table`.
    pub fn new(_table: &Relation, _message: &MessageDescriptor) -> Result<Self> {
        todo!()
    }

    /// One row per message, in the table's columns that the message has fields for.
    pub fn decode(&self, _messages: &[DynamicMessage]) -> Result<RecordBatch> {
        todo!()
    }
}
