//! Live queries: requests to filters, frames and rows to responses.

use super::FilterField;
use crate::RowEncoder;
use crate::codec::put_message;
use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use prost_reflect::prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor};
use std::sync::Arc;
use viewfeed_change::row::RowCodec;
use viewfeed_change::{ColumnPath, Error, Relation, Result};
use viewfeed_wire::v1;

/// A live query.
#[derive(Debug)]
pub struct Subscribe {
    /// The table or view.
    pub relation: Arc<Relation>,
    /// The key of UPSERT: places of columns; empty if rows have none.
    pub key: Vec<usize>,
    /// The columns requests filter by; an arrangement by these makes snapshots cheap. Empty: all rows.
    pub filter: Vec<ColumnPath>,
    /// The default envelope.
    pub envelope: v1::Envelope,
    /// True: responses are bare rows (`returns (stream Row)`): inserts and updates only, no tokens. False: responses hold a
    /// `viewfeed.v1.Frame`, rows, and keys.
    pub bare: bool,
    /// Rows to message bytes.
    pub encoder: RowEncoder,
    /// Deleted keys to message bytes (typed envelope with UPSERT).
    pub key_encoder: Option<RowEncoder>,
    pub(crate) filter_fields: Vec<FilterField>,
    /// The request's field that says how to subscribe.
    pub(crate) feed_field: Option<FieldDescriptor>,
    pub(crate) envelope_fields: EnvelopeFields,
}

/// Numbers of the fields of a typed envelope; 0 where there is none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EnvelopeFields {
    pub(crate) frame: u32,
    pub(crate) rows: u32,
    pub(crate) deletes: u32,
}

/// A subscription as asked for.
#[derive(Clone, Debug)]
pub struct SubscribeCall {
    /// The filter's columns and their encoded values (row codec), if it filters. A filter field that is not set filters by
    /// its zero value when it has no presence, else not at all.
    pub filter: Option<(Vec<ColumnPath>, Vec<u8>)>,
    /// How to subscribe; defaults where the request says nothing.
    pub feed: v1::FeedRequest,
}

impl Subscribe {
    /// What a request asks for. Fails as `Invalid` on a value that the column it filters cannot hold, and on an envelope
    /// that the rpc has no fields for.
    pub fn call(&self, request: &DynamicMessage) -> Result<SubscribeCall> {
        let feed = match &self.feed_field {
            Some(field) => request
                .get_field(field)
                .as_message()
                .and_then(|feed| feed.transcode_to::<v1::FeedRequest>().ok())
                .unwrap_or_default(),
            None => v1::FeedRequest::default(),
        };
        if feed.envelope() == v1::Envelope::Upsert && !self.bare && self.key_encoder.is_none() {
            let message = "this rpc cannot tell deletes, so it has no UPSERT envelope";
            return Err(Error::invalid("ENVELOPE", message).hint("ask for ENVELOPE_DIFF or ENVELOPE_STATE"));
        }
        Ok(SubscribeCall {
            filter: self.filter_of(request)?,
            feed,
        })
    }

    fn filter_of(&self, request: &DynamicMessage) -> Result<Option<(Vec<ColumnPath>, Vec<u8>)>> {
        let (mut paths, mut fields, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for filter in &self.filter_fields {
            if let Some(value) = filter.value(request)? {
                paths.push(filter.path.clone());
                fields.push(Field::new(&filter.name, filter.data_type.clone(), true));
                values.push(value);
            }
        }
        if paths.is_empty() {
            return Ok(None);
        }
        let schema = Arc::new(Schema::new(fields));
        let row = RecordBatch::try_new(schema.clone(), values)?;
        let key = RowCodec::for_schema(&schema)?.encode(&row)?.row(0).to_vec();
        Ok(Some((paths, key)))
    }

    /// One encoded response of the typed envelope: `frame`, encoded rows, encoded keys (from the two encoders).
    pub fn respond(&self, frame: &v1::Frame, rows: &[bytes::Bytes], deletes: &[bytes::Bytes]) -> Vec<u8> {
        let payload: usize = rows.iter().chain(deletes).map(|bytes| bytes.len() + 6).sum();
        let mut out = Vec::with_capacity(payload + 128);
        put_message(self.envelope_fields.frame, &frame.encode_to_vec(), &mut out);
        for row in rows {
            put_message(self.envelope_fields.rows, row, &mut out);
        }
        // Without a field for them nobody asked for deletes: `call` refuses UPSERT then.
        for key in deletes.iter().filter(|_| self.envelope_fields.deletes != 0) {
            put_message(self.envelope_fields.deletes, key, &mut out);
        }
        out
    }
}
