//! What an rpc does, ready to be called: requests to what is asked of the engine, rows to responses.

use crate::{RowDecoder, RowEncoder};
use arrow::array::{ArrayRef, RecordBatch};
use prost_reflect::DynamicMessage;
use std::sync::Arc;
use viewfeed_change::{ColumnPath, Relation, Result};
use viewfeed_wire::v1;

/// What an rpc does.
#[derive(Debug)]
pub enum Binding {
    /// A read.
    Query(Query),
    /// A live query.
    Subscribe(Subscribe),
    /// A write.
    Mutate(Mutate),
    /// Nothing: no rule applied. Calls answer UNIMPLEMENTED with this reason.
    Unbound(String),
}

/// A read with pages (AIP-158).
#[derive(Debug)]
pub struct Query {
    /// The rows of the answer.
    pub encoder: RowEncoder,
}

/// A SELECT to run for a [`Query`] call.
#[derive(Clone, Debug)]
pub struct Select {
    /// The SQL text, with `$1`, `$2` … for `params`. Asks for one row more than the page, to see if there is a next one.
    pub sql: String,
    /// One-element arrays.
    pub params: Vec<ArrayRef>,
    /// Where names are looked up.
    pub search_schema: String,
    /// Read at least this version.
    pub min_version: u64,
    /// Rows of the page.
    pub page_size: usize,
    /// Bound into the next page's token.
    pub request_hash: u64,
}

impl Query {
    /// What to run for a request. Fails as `Invalid` on a bad page size or a token of another request.
    pub fn select(&self, _request: &DynamicMessage) -> Result<Select> {
        todo!()
    }

    /// The encoded response for the rows of a select (up to `page_size + 1` of them) at `version`.
    pub fn respond(&self, _select: &Select, _rows: &[RecordBatch], _version: u64) -> Result<Vec<u8>> {
        todo!()
    }
}

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
    /// What a request asks for.
    pub fn call(&self, _request: &DynamicMessage) -> Result<SubscribeCall> {
        todo!()
    }

    /// One encoded response of the typed envelope: `frame`, encoded rows, encoded keys (from the two encoders).
    pub fn respond(&self, _frame: &v1::Frame, _rows: &[bytes::Bytes], _deletes: &[bytes::Bytes]) -> Vec<u8> {
        todo!()
    }
}

/// What a mutation does with its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Fails on a duplicate key.
    Insert,
    /// Fails if there is no such row.
    Update,
    /// Either.
    Upsert,
    /// Fails if there is no such row.
    Delete,
}

/// A write.
#[derive(Debug)]
pub struct Mutate {
    /// The table.
    pub table: Arc<Relation>,
    /// What is done with the row.
    pub mutation: Mutation,
    /// A client stream is one transaction.
    pub atomic_stream: bool,
    /// Message to row.
    pub decoder: RowDecoder,
}

impl Mutate {
    /// The row a request carries, in those of the table's columns it sets (presets are left to SQL defaults and are not
    /// sent). Fails as `Invalid` on a request without a row.
    pub fn rows(&self, _requests: &[DynamicMessage]) -> Result<RecordBatch> {
        todo!()
    }

    /// The encoded response: its `viewfeed.v1.Ack` field if it has one; fields named `version`, `rows`, `status` ("ok"),
    /// `success`, `ok` by name; and for a unary rpc whose response is the table's message, the row as sent.
    pub fn respond(&self, _ack: &v1::Ack, _requests: &[DynamicMessage]) -> Result<Vec<u8>> {
        todo!()
    }
}
