//! Rows to protobuf messages and back. Columns and fields are matched by name; which types fit is said in `fit`.
//!
//! The encoder writes wire bytes straight from Arrow arrays; `DynamicMessage` is only its oracle in tests.

mod fit;
mod read;
mod wire;
mod write;

use crate::form::{self, FieldForm, Form, Formless};
use crate::options;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use prost_reflect::{DynamicMessage, FieldDescriptor, MessageDescriptor, Value};
use read::Sink;
use std::borrow::Cow;
use std::sync::Arc;
use viewfeed_change::{Error, Relation, Result};
use write::Writer;

pub(crate) use fit::{conform_value, readable, sql_name, writable};
pub(crate) use wire::{put_message, put_text, put_varint_field};

/// A field that does not fit its column: what is wrong, and what to do.
#[derive(Clone, Debug)]
pub(crate) struct Mismatch {
    pub(crate) field: FieldDescriptor,
    pub(crate) message: String,
    pub(crate) advice: String,
}

impl From<Formless> for Mismatch {
    fn from(formless: Formless) -> Self {
        Self {
            field: formless.field,
            message: formless.message,
            advice: formless.advice.to_owned(),
        }
    }
}

/// Encodes rows of a relation (or of a SELECT) as messages; columns are matched to fields by name.
#[derive(Clone, Debug)]
pub struct RowEncoder {
    schema: SchemaRef,
    fields: Arc<[(usize, Writer)]>,
}

impl RowEncoder {
    /// An encoder for rows of `schema` as `message`s. Fails if a field has no column, or one of a type that does not fit.
    pub fn new(schema: &SchemaRef, message: &MessageDescriptor) -> Result<Self> {
        Self::plan(schema, message).map_err(|mismatches| as_error(&mismatches))
    }

    /// The same, telling every field that does not fit.
    pub(crate) fn plan(schema: &SchemaRef, message: &MessageDescriptor) -> Result<Self, Vec<Mismatch>> {
        let forms = form::forms(message).map_err(|formless| vec![formless.into()])?;
        let (mut fields, mut mismatches) = (Vec::new(), Vec::new());
        for FieldForm { field, form } in forms {
            match schema.column_with_name(field.name()) {
                Some((place, column)) if readable(column.data_type(), &form) => {
                    fields.push((place, Writer::new(&field, &form)));
                }
                Some((_, column)) => mismatches.push(unreadable(field, &form, column.data_type())),
                None => mismatches.push(Mismatch {
                    message: format!("field {} has no column of that name", field.full_name()),
                    advice: format!(
                        "the columns are {}; rename the field or add the column",
                        names(schema)
                    ),
                    field,
                }),
            }
        }
        if mismatches.is_empty() {
            Ok(Self {
                schema: schema.clone(),
                fields: fields.into(),
            })
        } else {
            Err(mismatches)
        }
    }

    /// The bytes of one message per row, without length prefix. Fails on rows of another schema, and on values the
    /// message cannot hold.
    pub fn encode(&self, rows: &RecordBatch) -> Result<Vec<Bytes>> {
        if rows.num_columns() != self.schema.fields().len() {
            return Err(Error::internal(
                "rows of another schema than the encoder was made for",
            ));
        }
        let bound = self
            .fields
            .iter()
            .map(|(place, writer)| writer.bind(rows.column(*place)))
            .collect::<Result<Vec<_>>>()?;
        let mut out = Vec::with_capacity(rows.get_array_memory_size() / 2 + rows.num_rows() * 8);
        let mut ends = Vec::with_capacity(rows.num_rows());
        for row in 0..rows.num_rows() {
            for field in &bound {
                field.write(row, &mut out)?;
            }
            ends.push(out.len());
        }
        let bytes = Bytes::from(out);
        let mut start = 0;
        let cut = |end: usize| bytes.slice(std::mem::replace(&mut start, end)..end);
        Ok(ends.into_iter().map(cut).collect())
    }
}

/// Decodes messages into rows of a table.
#[derive(Clone, Debug)]
pub struct RowDecoder {
    columns: Arc<[DecodedColumn]>,
}

/// A field and the column it is kept in.
#[derive(Clone, Debug)]
pub(crate) struct DecodedColumn {
    pub(crate) field: FieldDescriptor,
    pub(crate) form: Form,
    /// The place of the column in the table.
    pub(crate) place: usize,
    pub(crate) data_type: DataType,
    /// `(viewfeed.v1.column).default` is to be used when the field is not set.
    pub(crate) has_default: bool,
    /// `(viewfeed.v1.column).preset`: what the client sends is ignored.
    pub(crate) is_preset: bool,
}

impl RowDecoder {
    /// A decoder of `message`s to rows of `table`. Fails if a field has no column, or one of a type that does not fit.
    pub fn new(table: &Relation, message: &MessageDescriptor) -> Result<Self> {
        Self::plan(table, message).map_err(|mismatches| as_error(&mismatches))
    }

    /// The same, telling every field that does not fit.
    pub(crate) fn plan(table: &Relation, message: &MessageDescriptor) -> Result<Self, Vec<Mismatch>> {
        let forms = form::forms(message).map_err(|formless| vec![formless.into()])?;
        let (mut columns, mut mismatches) = (Vec::new(), Vec::new());
        for FieldForm { field, form } in forms {
            let Some(place) = table.column(field.name()) else {
                if matches!(&form, Form::Struct(of, _) if of.full_name() == "google.protobuf.FieldMask") {
                    continue;
                }
                mismatches.push(Mismatch {
                    message: format!(
                        "field {} has no column in table {}",
                        field.full_name(),
                        table.name
                    ),
                    advice: "rename the field, add the column, or put (viewfeed.v1.column).ignore on it"
                        .into(),
                    field,
                });
                continue;
            };
            let column = &table.columns[place];
            if !writable(&form, &column.data_type) {
                mismatches.push(unreadable(field, &form, &column.data_type));
                continue;
            }
            let options = options::column(&field);
            columns.push(DecodedColumn {
                place,
                data_type: column.data_type.clone(),
                has_default: !options.default.is_empty(),
                is_preset: !options.preset.is_empty(),
                field,
                form,
            });
        }
        if mismatches.is_empty() {
            Ok(Self {
                columns: columns.into(),
            })
        } else {
            Err(mismatches)
        }
    }

    /// One row per message, in the table's columns that the message has fields for. Columns with a preset are left out; so
    /// is a column with a default if no message sets it. Fails as `Invalid` on a value the column cannot hold, and if only
    /// some of the messages set a column with a default: such messages must be decoded one by one.
    pub fn decode(&self, messages: &[DynamicMessage]) -> Result<RecordBatch> {
        let mut chosen = Vec::new();
        for (place, column) in self.columns.iter().enumerate() {
            let set = messages
                .iter()
                .filter(|message| message.has_field(&column.field))
                .count();
            if column.is_preset || (column.has_default && set == 0) {
                continue;
            }
            if column.has_default && set < messages.len() {
                let message = format!(
                    "only some of the rows set {}, which has a default",
                    column.field.name()
                );
                return Err(Error::invalid("MIXED_DEFAULTS", message)
                    .hint("set the field in all rows of the transaction, or in none"));
            }
            chosen.push(place);
        }
        self.decode_columns(messages, &chosen)
    }

    /// The columns it can decode.
    pub(crate) fn columns(&self) -> &[DecodedColumn] {
        &self.columns
    }

    /// One row per message in the chosen of [`Self::columns`], set or not.
    pub(crate) fn decode_columns(
        &self,
        messages: &[DynamicMessage],
        chosen: &[usize],
    ) -> Result<RecordBatch> {
        let (mut fields, mut arrays) = (Vec::new(), Vec::new());
        for column in chosen.iter().map(|place| &self.columns[*place]) {
            let values = messages.iter().map(|message| value_of(message, &column.field));
            let array = to_array(&column.field, &column.form, values, &column.data_type)?;
            fields.push(Field::new(
                column.field.name(),
                column.data_type.clone(),
                form::has_null(&column.field),
            ));
            arrays.push(array);
        }
        // A repeated field is never NULL here, but its column may be: nullability is the table's to check.
        let fields = fields
            .into_iter()
            .map(|field| field.with_nullable(true))
            .collect::<Vec<_>>();
        let options = RecordBatchOptions::new().with_row_count(Some(messages.len()));
        Ok(RecordBatch::try_new_with_options(
            Arc::new(Schema::new(fields)),
            arrays,
            &options,
        )?)
    }
}

/// The value of a field: None where it is NULL.
pub(crate) fn value_of<'a>(message: &'a DynamicMessage, field: &FieldDescriptor) -> Option<Cow<'a, Value>> {
    (!field.supports_presence() || message.has_field(field)).then(|| message.get_field(field))
}

/// Values of a field as an array of `data_type`.
pub(crate) fn to_array<'a>(
    field: &FieldDescriptor,
    form: &Form,
    values: impl Iterator<Item = Option<Cow<'a, Value>>>,
    data_type: &DataType,
) -> Result<ArrayRef> {
    let mut sink = Sink::new(form);
    for value in values {
        sink.append(value.as_deref())
            .map_err(|error| error.at(field.name()))?;
    }
    conform_value(&sink.finish()?, data_type).map_err(|error| error.at(field.name()))
}

fn unreadable(field: FieldDescriptor, form: &Form, column: &DataType) -> Mismatch {
    let (name, wanted) = (field.full_name(), sql_name(&form.data_type()));
    let message = format!(
        "field {name} is {}, but its column is {}",
        form.describe(),
        sql_name(column)
    );
    let advice = format!("cast the column to {wanted}, or change the type of the field");
    Mismatch {
        field,
        message,
        advice,
    }
}

fn names(schema: &SchemaRef) -> String {
    let names: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    names.join(", ")
}

fn as_error(mismatches: &[Mismatch]) -> Error {
    let told: Vec<&str> = mismatches
        .iter()
        .map(|mismatch| mismatch.message.as_str())
        .collect();
    let advice = mismatches
        .first()
        .map(|mismatch| mismatch.advice.as_str())
        .unwrap_or_default();
    Error::invalid("TYPE_MISMATCH", told.join("; ")).hint(advice)
}
