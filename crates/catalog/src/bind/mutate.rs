//! Writes: the table, the row in the request, and what the response says.

use super::{Binder, Misfit};
use crate::RowDecoder;
use crate::binding::{Mutate, Mutation, ResponseField, RowSource};
use crate::declare::DeclaredMutate;
use crate::scope::rpc_path;
use crate::structure::{self, COUNTS};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use viewfeed_change::Relation;

impl Binder<'_> {
    pub(super) fn mutate(&mut self, declared: &DeclaredMutate) -> Result<Mutate, Misfit> {
        let method = &self.declared.method;
        let (request, response) = (method.input(), method.output());
        let name = declared
            .table
            .clone()
            .unwrap_or_else(|| self.scope.relation_name(&declared.row));
        let table = self.relation(&name)?;
        if table.as_table().is_none() {
            return Err(self.error(
                format!("{} is a view, which cannot be written", table.name),
                "name a table",
            ));
        }
        if declared.atomic_stream && !method.is_client_streaming() {
            return Err(self.error(
                "atomic_stream means nothing here: the rpc streams no requests",
                "remove it",
            ));
        }
        self.check_key(&table, declared)?;
        let row = self.row_to_decode(declared, &table)?;
        let decoder = RowDecoder::plan(&table, &row)
            .map_err(|mismatches| self.mismatches(&table.name.to_string(), mismatches))?;
        let mask = structure::field_of_type(&request, "google.protobuf.FieldMask");
        Ok(Mutate {
            mutation: declared.mutation,
            atomic_stream: declared.atomic_stream,
            decoder,
            source: declared
                .row_field
                .clone()
                .map_or(RowSource::Request, RowSource::Field),
            mask_field: mask.filter(|field| declared.mutation == Mutation::Update && !field.is_list()),
            response_fields: response_fields(&response),
            echoes: response == declared.row && !method.is_client_streaming(),
            response,
            table,
        })
    }

    /// Update, Upsert and Delete find rows by key: the table must have one, and the message its fields.
    fn check_key(&self, table: &Relation, declared: &DeclaredMutate) -> Result<(), Misfit> {
        if declared.mutation == Mutation::Insert {
            return Ok(());
        }
        let path = rpc_path(&self.declared.method);
        let columns = || table.key.iter().map(|place| &table.columns[*place]);
        if table.key.is_empty() || columns().any(|column| column.hidden) {
            let message = format!("{path} finds rows by key, but {} has none", table.name);
            return Err(self.error(message, "name a field id, or use option (viewfeed.v1.table).key"));
        }
        match columns().find(|column| declared.row.get_field_by_name(&column.name).is_none()) {
            None => Ok(()),
            Some(column) => {
                let message = format!(
                    "{} lacks the key column {} of {}",
                    declared.row.full_name(),
                    column.name,
                    table.name
                );
                Err(self
                    .scope
                    .message_place(&declared.row)
                    .error(message, "add a field of that name")
                    .into())
            }
        }
    }

    /// The row's message. A request that is itself the row may have fields that steer the rpc.
    fn row_to_decode(
        &self,
        declared: &DeclaredMutate,
        table: &Relation,
    ) -> Result<MessageDescriptor, Misfit> {
        let is_stray = |field: &FieldDescriptor| table.column(field.name()).is_none();
        if declared.row_field.is_none() && declared.row.fields().all(|field| is_stray(&field)) {
            let message = format!(
                "no field of {} is a column of {}",
                declared.row.full_name(),
                table.name
            );
            let advice = "name the field that holds the row: mutate: { row_field: \"message\" }";
            return Err(self.error(message, advice));
        }
        Ok(declared.row.clone())
    }
}

/// What can be said in a response, by type and by name.
fn response_fields(response: &MessageDescriptor) -> Vec<(FieldDescriptor, ResponseField)> {
    let ack = structure::ack_field(response).map(|field| (field, ResponseField::Ack));
    let named = [
        ("version", &COUNTS[..], ResponseField::Version),
        ("rows", &COUNTS[..], ResponseField::Rows),
        ("status", &[Kind::String][..], ResponseField::Status),
        ("success", &[Kind::Bool][..], ResponseField::Success),
        ("ok", &[Kind::Bool][..], ResponseField::Success),
    ];
    let by_name = named.into_iter().filter_map(|(name, kinds, filled)| {
        structure::named(response, name, kinds).map(|field| (field, filled))
    });
    ack.into_iter().chain(by_name).collect()
}
