//! What a row is at rest: bytes whose order is the order of the values ("memcmp v1").
//!
//! One `memcmp` of two encoded rows sorts, groups and compares them. The form is ours and versioned, because
//! `arrow-row` promises stability only within one process; `arrow-row` is the oracle of the property test.
//!
//! ```text
//! value   = 00                        NULL, before every other value
//!         | 01 payload
//! payload = bool: 1 byte · integers, dates, times, decimals: big-endian, sign bit flipped
//!         | floats: big-endian bits, all flipped when negative, else the sign bit (IEEE total order)
//!         | text, bytes: 00 written as 00 FF, closed by 00 00 · fixed bytes: as they are
//!         | struct: its values · list, map: (01 value)* 00
//! ```
//!
//! Identity is bit identity: `-0.0` and `0.0` are two rows, so that a retraction always carries the bits that were
//! added.

mod decode;
mod encode;
mod order;

pub use order::encode_ordered;

use crate::{ColumnPath, Error, Result};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

/// The version of the encoding, to be stored beside what is encoded.
pub const VERSION: u8 = 1;

/// Encoded rows, one after another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Rows {
    /// How many rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of row `i`.
    pub fn row(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.bytes[start..self.ends[i]]
    }

    /// Adds a row that is encoded already, for example one read back from a file.
    pub fn push(&mut self, row: &[u8]) {
        self.bytes.extend(row);
        self.ends.push(self.bytes.len());
    }

    /// Every row in turn.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|i| self.row(i))
    }
}

/// The places of `rows` in the order of their bytes; equal rows keep their order.
pub fn sorted(rows: &Rows) -> Vec<u32> {
    let mut order: Vec<u32> = (0..rows.len() as u32).collect();
    order.sort_by(|a, b| rows.row(*a as usize).cmp(rows.row(*b as usize)));
    order
}

/// Turns the chosen columns of a schema into bytes and back.
#[derive(Clone, Debug)]
pub struct RowCodec {
    paths: Vec<ColumnPath>,
    schema: SchemaRef,
}

impl RowCodec {
    /// All columns of `schema`, in order. Fails on a type the codec has no form for (see [`plain_type`]).
    pub fn for_schema(schema: &SchemaRef) -> Result<Self> {
        let paths = (0..schema.fields().len()).map(ColumnPath::from).collect();
        schema
            .fields()
            .iter()
            .try_for_each(|field| encode::check(field.data_type()))?;
        Ok(Self {
            paths,
            schema: schema.clone(),
        })
    }

    /// The columns at `paths` of `schema`, in that order.
    pub fn for_paths(schema: &SchemaRef, paths: &[ColumnPath]) -> Result<Self> {
        let fields = paths
            .iter()
            .map(|path| field_at(schema, path))
            .collect::<Result<Vec<_>>>()?;
        fields
            .iter()
            .try_for_each(|field| encode::check(field.data_type()))?;
        Ok(Self {
            paths: paths.to_vec(),
            schema: Arc::new(Schema::new(fields)),
        })
    }

    /// The schema of what is encoded, and of what [`Self::decode`] gives.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The bytes of every row of `batch`, which must have the schema the codec was made for.
    pub fn encode(&self, batch: &RecordBatch) -> Result<Rows> {
        let arrays = self
            .paths
            .iter()
            .map(|path| array_at(batch, path))
            .collect::<Result<Vec<_>>>()?;
        encode::encode(&arrays, batch.num_rows())
    }

    /// The rows with these bytes. Fails as [`crate::ErrorKind::Corrupt`] on bytes that no row has.
    pub fn decode<'a>(&self, rows: impl Iterator<Item = &'a [u8]>) -> Result<RecordBatch> {
        decode::decode(&self.schema, rows)
    }

    /// How many of `bytes` the first `count` values take: where a key ends within a row.
    pub fn prefix_len(&self, bytes: &[u8], count: usize) -> Result<usize> {
        decode::prefix_len(&self.schema, bytes, count)
    }
}

/// The type a value of `data_type` has in a relation: views, dictionaries and large forms become plain ones.
pub fn plain_type(data_type: &DataType) -> DataType {
    let plain_field = |field: &Field| Arc::new(field.clone().with_data_type(plain_type(field.data_type())));
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Dictionary(_, value) => plain_type(value),
        DataType::Float16 => DataType::Float32,
        DataType::List(field) | DataType::LargeList(field) => DataType::List(plain_field(field)),
        DataType::FixedSizeList(field, _) | DataType::ListView(field) => DataType::List(plain_field(field)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| plain_field(field)).collect()),
        DataType::Map(field, sorted) => DataType::Map(plain_field(field), *sorted),
        other => other.clone(),
    }
}

/// `batch` with every column cast to `schema`'s type for it: columns are matched by place.
pub fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let conform_one = |(array, field): (&ArrayRef, &Arc<Field>)| -> Result<ArrayRef> {
        if array.data_type() == field.data_type() {
            Ok(array.clone())
        } else {
            Ok(cast(array, field.data_type())?)
        }
    };
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(conform_one)
        .collect::<Result<Vec<_>>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        schema.clone(),
        columns,
        &options,
    )?)
}

/// The field at `path`.
pub fn field_at(schema: &Schema, path: &ColumnPath) -> Result<Field> {
    let unknown = || Error::internal(format!("no column at {:?}", path.0));
    let (first, rest) = path.0.split_first().ok_or_else(unknown)?;
    let mut field = schema.fields().get(*first).ok_or_else(unknown)?.as_ref().clone();
    for child in rest {
        let DataType::Struct(fields) = field.data_type() else {
            return Err(unknown());
        };
        let nullable = field.is_nullable();
        let inner = fields.get(*child).ok_or_else(unknown)?.as_ref().clone();
        field = inner.clone().with_nullable(nullable || inner.is_nullable());
    }
    Ok(field)
}

/// The values at `path`; a NULL struct has NULL fields.
pub fn array_at(batch: &RecordBatch, path: &ColumnPath) -> Result<ArrayRef> {
    let unknown = || Error::internal(format!("no column at {:?}", path.0));
    let (first, rest) = path.0.split_first().ok_or_else(unknown)?;
    let mut array = batch.columns().get(*first).ok_or_else(unknown)?.clone();
    for child in rest {
        let parent = array
            .as_any()
            .downcast_ref::<arrow::array::StructArray>()
            .ok_or_else(unknown)?
            .clone();
        let inner = parent.columns().get(*child).ok_or_else(unknown)?.clone();
        array = match arrow::array::Array::nulls(&parent) {
            None => inner,
            Some(nulls) => {
                let is_null = arrow::array::BooleanArray::new(!nulls.inner(), None);
                arrow::compute::nullif(&inner, &is_null)?
            }
        };
    }
    Ok(array)
}

#[cfg(test)]
mod tests;
