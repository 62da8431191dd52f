//! Entries beside a group: what a value is stored as, so that the order of bytes is the order asked for.
//!
//! ```text
//! entry = value                                    without ORDER BY
//!       | key* ‖ value ‖ length of the keys (u32)  with it; equal keys are ordered by value
//! key   = 00 or 02  NULL, before or after values
//!       | 01 payload of the row encoding, every bit inverted if descending
//! ```
//! Every bit of the whole entry is inverted where the last is wanted instead of the first: no encoding is the start of
//! another, so that inverts the order.

use super::function::OrderKey;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use std::sync::Arc;
use viewfeed_change::row::{self, RowCodec, Rows};
use viewfeed_change::{Error, Result};

/// The form of one call's entries.
pub(super) struct EntryForm {
    keys: Vec<KeyForm>,
    value: RowCodec,
    is_inverted: bool,
}

struct KeyForm {
    codec: RowCodec,
    is_descending: bool,
    nulls_first: bool,
}

/// The keys and values of a batch in the row encoding, by row.
pub(super) struct EncodedRows {
    keys: Vec<Rows>,
    values: Rows,
}

impl EntryForm {
    /// For values of `data_type` in this order, or from its end.
    pub(super) fn new(data_type: &DataType, order: &[OrderKey], is_inverted: bool) -> Result<Self> {
        let key = |key: &OrderKey| {
            Ok(KeyForm {
                codec: codec(&key.by.data_type)?,
                is_descending: key.is_descending,
                nulls_first: key.nulls_first,
            })
        };
        Ok(Self {
            keys: order.iter().map(key).collect::<Result<_>>()?,
            value: codec(data_type)?,
            is_inverted,
        })
    }

    /// Encodes the values of a batch and what they are ordered by.
    pub(super) fn encode(&self, values: ArrayRef, keys: Vec<ArrayRef>) -> Result<EncodedRows> {
        let keys = self.keys.iter().zip(keys);
        Ok(EncodedRows {
            keys: keys
                .map(|(form, array)| encoded(&form.codec, array))
                .collect::<Result<_>>()?,
            values: encoded(&self.value, values)?,
        })
    }

    /// Appends the entry of row `i`.
    pub(super) fn write(&self, rows: &EncodedRows, i: usize, out: &mut Vec<u8>) {
        let start = out.len();
        for (form, keys) in self.keys.iter().zip(&rows.keys) {
            form.write(keys.row(i), out);
        }
        let length = (out.len() - start) as u32;
        out.extend(rows.values.row(i));
        if !self.keys.is_empty() {
            out.extend(length.to_be_bytes());
        }
        if self.is_inverted {
            out[start..].iter_mut().for_each(|byte| *byte = !*byte);
        }
    }

    /// The value of an entry in the row encoding. Fails on bytes that no entry has.
    pub(super) fn value_of(&self, entry: &[u8]) -> Result<Vec<u8>> {
        let mut entry = entry.to_vec();
        if self.is_inverted {
            entry.iter_mut().for_each(|byte| *byte = !*byte);
        }
        if self.keys.is_empty() {
            return Ok(entry);
        }
        let damaged = || Error::corrupt("a stored value of a group is damaged");
        let (rest, length) = entry.split_last_chunk().ok_or_else(damaged)?;
        let value = rest.get(u32::from_be_bytes(*length) as usize..);
        value.map(<[u8]>::to_vec).ok_or_else(damaged)
    }

    /// The values with these encodings.
    pub(super) fn decode<'a>(&self, values: impl Iterator<Item = &'a [u8]>) -> Result<ArrayRef> {
        Ok(self.value.decode(values)?.column(0).clone())
    }
}

impl KeyForm {
    /// Appends a key from its row encoding.
    fn write(&self, encoded: &[u8], out: &mut Vec<u8>) {
        match (encoded, self.nulls_first) {
            ([0, ..], true) => out.push(0),
            ([0, ..], false) => out.push(2),
            _ => {
                out.push(1);
                let payload = encoded.iter().skip(1);
                match self.is_descending {
                    true => out.extend(payload.map(|byte| !byte)),
                    false => out.extend(payload),
                }
            }
        }
    }
}

fn codec(data_type: &DataType) -> Result<RowCodec> {
    let field = Field::new("value", row::plain_type(data_type), true);
    RowCodec::for_schema(&Arc::new(Schema::new(vec![field])))
}

fn encoded(codec: &RowCodec, array: ArrayRef) -> Result<Rows> {
    let rows = RecordBatch::try_from_iter_with_nullable([("value", array, true)])?;
    codec.encode(&row::conform(&rows, codec.schema())?)
}
