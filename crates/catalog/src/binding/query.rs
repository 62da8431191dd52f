//! Reads: requests to SELECTs, rows to responses.

use super::page::{Order, Paging, Resumed};
use super::{FilterField, argument};
use crate::RowEncoder;
use crate::codec::{conform_value, put_message, put_text, put_varint_field};
use crate::form::Form;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use prost_reflect::prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, ReflectMessage, Value};
use sha2::{Digest, Sha256};
use viewfeed_change::{Error, ErrorKind, Result};

/// Rows of an answer that has no pages. More of them fail, rather than be left out in silence.
const UNPAGED_ROWS_MAX: usize = 10_000;

/// A read with pages (AIP-158).
#[derive(Debug)]
pub struct Query {
    /// The rows of the answer.
    pub encoder: RowEncoder,
    pub(crate) plan: QueryPlan,
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
    /// Where the page begins; None is the first.
    start: Option<Resumed>,
}

/// What is known of a query before it is called.
#[derive(Debug)]
pub(crate) struct QueryPlan {
    /// The rpc, for the request hash.
    pub(crate) path: String,
    /// Where names are looked up.
    pub(crate) search_schema: String,
    /// `SELECT … FROM …`.
    pub(crate) select: String,
    /// The columns of `select`.
    pub(crate) columns: SchemaRef,
    /// The request's fields that `select` has as `$1` ….
    pub(crate) arguments: Vec<(FieldDescriptor, Form)>,
    pub(crate) filter: Vec<FilterField>,
    pub(crate) order: Order,
    pub(crate) default_page_size: usize,
    pub(crate) max_page_size: usize,
    pub(crate) request: RequestFields,
    pub(crate) response: ResponseFields,
}

/// Fields of a request that steer a query.
#[derive(Debug, Default)]
pub(crate) struct RequestFields {
    pub(crate) page_size: Option<FieldDescriptor>,
    pub(crate) page_token: Option<FieldDescriptor>,
    pub(crate) min_version: Option<FieldDescriptor>,
}

/// Numbers of a response's fields.
#[derive(Debug, Default)]
pub(crate) struct ResponseFields {
    /// None: the response is the row.
    pub(crate) rows: Option<u32>,
    pub(crate) next_page_token: Option<u32>,
    pub(crate) version: Option<u32>,
}

impl Query {
    /// What to run for a request. Fails as `Invalid` on a bad page size or a token of another request.
    pub fn select(&self, request: &DynamicMessage) -> Result<Select> {
        let plan = &self.plan;
        let page_size = plan.page_size(request)?;
        let request_hash = plan.hash(request);
        let mut start = None;
        let token = plan
            .request
            .page_token
            .as_ref()
            .map(|field| request.get_field(field));
        if let Some(token) = token
            .as_ref()
            .and_then(|token| token.as_str())
            .filter(|token| !token.is_empty())
        {
            start = Some(plan.order.resume(token, request_hash)?);
        }
        let asked = plan
            .request
            .min_version
            .as_ref()
            .map_or(0, |field| count(&request.get_field(field)));
        let (sql, params) = plan.sql(request, start.as_ref(), page_size)?;
        Ok(Select {
            sql,
            params,
            search_schema: plan.search_schema.clone(),
            min_version: start.as_ref().map_or(0, |start| start.version).max(asked),
            page_size,
            request_hash,
            start,
        })
    }

    /// The encoded response for the rows of a select (up to `page_size + 1` of them) at `version`. Fails as `NotFound` if
    /// the response is one row and there is none.
    pub fn respond(&self, select: &Select, rows: &[RecordBatch], version: u64) -> Result<Vec<u8>> {
        let batches = rows
            .iter()
            .map(|batch| self.plan.conform(batch))
            .collect::<Result<Vec<_>>>()?;
        let rows = concat_batches(&self.plan.columns, &batches)?;
        let page = rows.slice(0, rows.num_rows().min(select.page_size));
        let encoded = self.encoder.encode(&page)?;
        let Some(rows_field) = self.plan.response.rows else {
            return self.respond_one(encoded);
        };
        let mut out = Vec::with_capacity(encoded.iter().map(|row| row.len() + 6).sum::<usize>() + 128);
        encoded
            .iter()
            .for_each(|row| put_message(rows_field, row, &mut out));
        if rows.num_rows() > page.num_rows() {
            let field = self
                .plan
                .response
                .next_page_token
                .filter(|_| self.plan.order.paging != Paging::None);
            let Some(field) = field else {
                return Err(too_many(select.page_size));
            };
            let token = self
                .plan
                .order
                .token(select.request_hash, version, &page, select.start.as_ref())?;
            put_text(field, &token, &mut out);
        }
        if let Some(field) = self.plan.response.version {
            put_varint_field(field, version, &mut out);
        }
        Ok(out)
    }

    fn respond_one(&self, mut encoded: Vec<Bytes>) -> Result<Vec<u8>> {
        match encoded.pop() {
            Some(row) => Ok(row.to_vec()),
            None => {
                let message = format!("{} found no such row", self.plan.path);
                Err(Error::not_found("ROW_NOT_FOUND", message))
            }
        }
    }
}

impl QueryPlan {
    /// AIP-158: 0 is the default, what is too large is cut, what is negative is wrong.
    fn page_size(&self, request: &DynamicMessage) -> Result<usize> {
        if self.response.rows.is_none() {
            return Ok(1);
        }
        if self.order.paging == Paging::None {
            return Ok(UNPAGED_ROWS_MAX);
        }
        let Some(field) = &self.request.page_size else {
            return Ok(self.default_page_size);
        };
        let size = match *request.get_field(field) {
            Value::I32(size) => i64::from(size),
            Value::I64(size) => size,
            Value::U32(size) => i64::from(size),
            Value::U64(size) => i64::try_from(size).unwrap_or(i64::MAX),
            _ => 0,
        };
        match usize::try_from(size) {
            Ok(0) => Ok(self.default_page_size),
            Ok(size) => Ok(size.min(self.max_page_size)),
            Err(_) => {
                Err(Error::invalid("PAGE_SIZE", "page_size is negative").hint("0 asks for the default"))
            }
        }
    }

    /// A hash of everything that decides which rows are listed, and in what order.
    fn hash(&self, request: &DynamicMessage) -> u64 {
        let mut bare = request.clone();
        let paging = [
            &self.request.page_size,
            &self.request.page_token,
            &self.request.min_version,
        ];
        paging
            .into_iter()
            .flatten()
            .for_each(|field| bare.clear_field(field));
        let mut hash = Sha256::new();
        hash.update(&self.path);
        hash.update(&self.select);
        hash.update(self.order.text());
        // Field by field, because maps have no order of their own.
        for field in bare.descriptor().fields().filter(|field| bare.has_field(field)) {
            hash.update(field.number().to_le_bytes());
            match &*bare.get_field(&field) {
                Value::Map(map) => {
                    let mut entries: Vec<String> = map.iter().map(|entry| format!("{entry:?}")).collect();
                    entries.sort();
                    entries.iter().for_each(|entry| hash.update(entry));
                }
                value => {
                    let mut one = DynamicMessage::new(bare.descriptor());
                    one.set_field(&field, value.clone());
                    hash.update(one.encode_to_vec());
                }
            }
        }
        let digest = hash.finalize();
        u64::from_le_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
    }

    fn sql(
        &self,
        request: &DynamicMessage,
        start: Option<&Resumed>,
        page_size: usize,
    ) -> Result<(String, Vec<ArrayRef>)> {
        let argument =
            |(field, form): &(FieldDescriptor, Form)| argument(request, field, form, &form.data_type());
        let mut params = self.arguments.iter().map(argument).collect::<Result<Vec<_>>>()?;
        let mut conditions = Vec::new();
        for filter in &self.filter {
            if let Some(value) = filter.value(request)? {
                params.push(value);
                conditions.push(format!("{} = ${}", filter.sql(), params.len()));
            }
        }
        if let Some(start) = start {
            conditions.push(self.order.after(&start.values, &mut params));
        }
        let mut sql = self.select.clone();
        if !conditions.is_empty() {
            sql.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
        }
        sql.push_str(&self.order.clause());
        sql.push_str(&format!(" LIMIT {}", page_size + 1));
        if let Some(start) = start.filter(|_| self.order.paging == Paging::ByValues) {
            sql.push_str(&format!(" OFFSET {}", start.ties));
        }
        Ok((sql, params))
    }

    /// A batch of the select in the types it was declared with.
    fn conform(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        if batch.num_columns() != self.columns.fields().len() {
            return Err(Error::internal("a select gave other columns than it names"));
        }
        let conform = |(array, field): (&ArrayRef, &arrow::datatypes::FieldRef)| {
            conform_value(array, field.data_type()).map_err(|error| error.at(field.name()))
        };
        let columns = batch
            .columns()
            .iter()
            .zip(self.columns.fields())
            .map(conform)
            .collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(
            self.columns.clone(),
            columns,
            &options,
        )?)
    }
}

impl FilterField {
    /// The column as SQL.
    pub(crate) fn sql(&self) -> String {
        let mut parts = self.name.split('.');
        let column = crate::sql::quote(parts.next().unwrap_or_default());
        parts.fold(column, |parent, child| {
            format!("get_field({parent}, '{}')", child.replace('\'', "''"))
        })
    }
}

fn count(value: &Value) -> u64 {
    match *value {
        Value::U64(count) => count,
        Value::U32(count) => u64::from(count),
        Value::I64(count) => u64::try_from(count).unwrap_or(0),
        Value::I32(count) => u64::try_from(count).unwrap_or(0),
        _ => 0,
    }
}

fn too_many(limit: usize) -> Error {
    let message = format!("the answer has more than {limit} rows, and the rpc has no pages");
    Error::new(ErrorKind::Exhausted, "RESULT_TOO_LARGE", message).hint(
        "add page_size and page_token to the request and next_page_token to the response, or filter more",
    )
}
