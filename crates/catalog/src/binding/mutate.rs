//! Writes: requests to rows of a table, acknowledgements to responses.

use crate::RowDecoder;
use crate::structure;
use arrow::array::RecordBatch;
use prost_reflect::prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};
use std::borrow::Cow;
use std::sync::Arc;
use viewfeed_change::{Error, Relation, Result};
use viewfeed_wire::v1;

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
    pub(crate) source: RowSource,
    /// The request's `google.protobuf.FieldMask` (Update).
    pub(crate) mask_field: Option<FieldDescriptor>,
    pub(crate) response: MessageDescriptor,
    pub(crate) response_fields: Vec<(FieldDescriptor, ResponseField)>,
    /// The response is the row's message.
    pub(crate) echoes: bool,
}

/// Where a request carries its row.
#[derive(Clone, Debug)]
pub(crate) enum RowSource {
    Request,
    /// A field, repeated or not.
    Field(FieldDescriptor),
}

/// What a field of the response is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResponseField {
    Ack,
    Version,
    Rows,
    /// "ok"
    Status,
    /// true
    Success,
}

impl Mutate {
    /// The row a request carries, in those of the table's columns it sets (presets are left to SQL defaults and are not
    /// sent). Fails as `Invalid` on a request without a row.
    ///
    /// Insert and Upsert write every column the message has a field for; Update the fields that are set, or those of the
    /// request's `google.protobuf.FieldMask`; Delete needs the key only.
    pub fn rows(&self, requests: &[DynamicMessage]) -> Result<RecordBatch> {
        let rows = self.row_messages(requests)?;
        if rows.is_empty() {
            let message = format!("the request holds no row of {}", self.table.name);
            return Err(Error::invalid("ROW_MISSING", message).hint("set the field that holds the row"));
        }
        match self.mutation {
            Mutation::Insert | Mutation::Upsert => {
                self.check_key(&rows)?;
                self.decoder.decode(&rows)
            }
            Mutation::Delete => self.decoder.decode_columns(&rows, &self.key_columns()),
            Mutation::Update => self
                .decoder
                .decode_columns(&rows, &self.updated_columns(requests, &rows)?),
        }
    }

    fn row_messages(&self, requests: &[DynamicMessage]) -> Result<Vec<DynamicMessage>> {
        let RowSource::Field(field) = &self.source else {
            return Ok(requests.to_vec());
        };
        let mut rows = Vec::new();
        for request in requests.iter().filter(|request| request.has_field(field)) {
            match &*request.get_field(field) {
                Value::Message(row) => rows.push(row.clone()),
                Value::List(list) => rows.extend(list.iter().filter_map(Value::as_message).cloned()),
                _ => return Err(Error::internal("the field that holds the row is no message")),
            }
        }
        Ok(rows)
    }

    /// A key of one text or bytes that is empty was forgotten.
    fn check_key(&self, rows: &[DynamicMessage]) -> Result<()> {
        let [key] = self.key_columns()[..] else {
            return Ok(());
        };
        let column = &self.decoder.columns()[key];
        let can_be_empty = !matches!(column.field.kind(), Kind::String | Kind::Bytes);
        if can_be_empty
            || column.has_default
            || column.is_preset
            || rows.iter().all(|row| row.has_field(&column.field))
        {
            return Ok(());
        }
        let message = format!("the key field {} is empty", column.field.name());
        Err(Error::invalid("KEY_MISSING", message)
            .hint("set it, or let the server do it: (viewfeed.v1.column).default = \"gen_random_uuid()\""))
    }

    /// Places in the decoder's columns of the table's key.
    fn key_columns(&self) -> Vec<usize> {
        let is_key =
            |(_, column): &(usize, &crate::codec::DecodedColumn)| self.table.key.contains(&column.place);
        self.decoder
            .columns()
            .iter()
            .enumerate()
            .filter(is_key)
            .map(|(place, _)| place)
            .collect()
    }

    fn updated_columns(&self, requests: &[DynamicMessage], rows: &[DynamicMessage]) -> Result<Vec<usize>> {
        let mut chosen = self.key_columns();
        let keys = chosen.len();
        let mask = self.mask(requests)?;
        for (place, column) in self.decoder.columns().iter().enumerate() {
            if chosen[..keys].contains(&place) || column.is_preset {
                continue;
            }
            let set = match &mask {
                Some(names) => names.iter().any(|name| name == column.field.name()),
                None => rows.iter().any(|row| row.has_field(&column.field)),
            };
            if set && mask.is_none() && !rows.iter().all(|row| row.has_field(&column.field)) {
                let message = format!("only some of the rows set {}", column.field.name());
                return Err(
                    Error::invalid("MIXED_UPDATES", message).hint("update them in requests of their own")
                );
            }
            if set {
                chosen.push(place);
            }
        }
        if chosen.len() == keys {
            return Err(Error::invalid("NOTHING_TO_UPDATE", "the request changes no field").hint(
                "set fields beside the key; to set a field to its zero value, make it `optional` or send a FieldMask",
            ));
        }
        Ok(chosen)
    }

    /// The names in the request's field mask, if it has one that is not empty.
    fn mask(&self, requests: &[DynamicMessage]) -> Result<Option<Vec<String>>> {
        let (Some(field), Some(request)) = (&self.mask_field, requests.first()) else {
            return Ok(None);
        };
        let mask = request.get_field(field);
        let paths = mask
            .as_message()
            .and_then(|mask| mask.get_field_by_name("paths").map(Cow::into_owned));
        let paths = paths.as_ref().and_then(Value::as_list).unwrap_or_default();
        let names: Vec<String> = paths
            .iter()
            .filter_map(|path| path.as_str().map(str::to_owned))
            .collect();
        let known =
            |name: &String| name == "*" || self.decoder.columns().iter().any(|c| c.field.name() == name);
        if let Some(place) = names.iter().position(|name| !known(name)) {
            let message = format!("path {} of the field mask is no field of the row", place + 1);
            return Err(
                Error::invalid("FIELD_MASK", message).hint("paths are names of the row's own fields, or *")
            );
        }
        if names.iter().any(|name| name == "*") {
            let all = self
                .decoder
                .columns()
                .iter()
                .map(|column| column.field.name().to_owned());
            return Ok(Some(all.collect()));
        }
        Ok((!names.is_empty()).then_some(names))
    }

    /// The encoded response: its `viewfeed.v1.Ack` field if it has one; fields named `version`, `rows`, `status` ("ok"),
    /// `success`, `ok` by name; and for a unary rpc whose response is the table's message, the row as sent.
    pub fn respond(&self, ack: &v1::Ack, requests: &[DynamicMessage]) -> Result<Vec<u8>> {
        if self.echoes {
            let row = self.row_messages(requests)?.pop();
            return Ok(row.map(|row| row.encode_to_vec()).unwrap_or_default());
        }
        let mut response = DynamicMessage::new(self.response.clone());
        for (field, filled) in &self.response_fields {
            let value = match filled {
                ResponseField::Ack => match structure::message_of(field) {
                    Some(message) => {
                        let mut value = DynamicMessage::new(message);
                        let failed = |error| Error::internal("an Ack does not fit its field").because(error);
                        value.transcode_from(ack).map_err(failed)?;
                        Value::Message(value)
                    }
                    None => continue,
                },
                ResponseField::Version => count(ack.version, &field.kind()),
                ResponseField::Rows => count(ack.rows, &field.kind()),
                ResponseField::Status => Value::String("ok".into()),
                ResponseField::Success => Value::Bool(true),
            };
            response.set_field(field, value);
        }
        Ok(response.encode_to_vec())
    }
}

/// A count as a value of an integer field; what is too large is the largest.
fn count(count: u64, kind: &Kind) -> Value {
    match kind {
        Kind::Int32 => Value::I32(i32::try_from(count).unwrap_or(i32::MAX)),
        Kind::Int64 => Value::I64(i64::try_from(count).unwrap_or(i64::MAX)),
        Kind::Uint32 => Value::U32(u32::try_from(count).unwrap_or(u32::MAX)),
        _ => Value::U64(count),
    }
}
