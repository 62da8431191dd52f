//! Which columns a request filters by.

use super::{Binder, Misfit};
use crate::binding::FilterField;
use crate::codec::{sql_name, writable};
use crate::declare::{FilterItem, FilterRule};
use crate::form;
use crate::infer::key_field_names;
use crate::scope::{rpc_path, snake_case};
use crate::structure;
use arrow::datatypes::{DataType, SchemaRef};
use prost_reflect::{FieldDescriptor, MessageDescriptor};
use viewfeed_change::ColumnPath;
use viewfeed_change::row::field_at;

impl Binder<'_> {
    /// The filter of an rpc over rows of `row` in columns `schema`. `zero`: a field that is not set filters by zero.
    pub(super) fn filter(
        &mut self,
        rule: &FilterRule,
        row: &MessageDescriptor,
        schema: &SchemaRef,
        zero: bool,
    ) -> Result<Vec<FilterField>, Misfit> {
        let request = self.declared.method.input();
        match rule {
            FilterRule::Listed(items) => items
                .iter()
                .map(|item| self.filter_field(&item.field, &item.column, schema, true))
                .collect(),
            FilterRule::Named => {
                let named = |field: &FieldDescriptor| {
                    structure::can_filter(field) && schema.column_with_name(field.name()).is_some()
                };
                let fields: Vec<FieldDescriptor> = request.fields().filter(named).collect();
                fields
                    .iter()
                    .map(|field| self.filter_field(field, field.name(), schema, zero))
                    .collect()
            }
            FilterRule::Key => self.key_filter(&request, row, schema),
        }
    }

    /// By convention: the request's key field, compared with the column it must mean.
    fn key_filter(
        &mut self,
        request: &MessageDescriptor,
        row: &MessageDescriptor,
        schema: &SchemaRef,
    ) -> Result<Vec<FilterField>, Misfit> {
        let mut items = Vec::new();
        for field in key_fields(request) {
            match guess_column(&field, request, row, schema) {
                Some(column) => items.push(FilterItem { column, field }),
                None => {
                    let path = rpc_path(&self.declared.method);
                    let message = format!(
                        "field {} names no column, so {path} answers with every row",
                        field.name()
                    );
                    let advice =
                        "name the field as a column, or say what filters with option (viewfeed.v1.rpc)";
                    self.diagnostics
                        .push(self.scope.field_place(&field).warning(message, advice));
                }
            }
        }
        for item in &items {
            let message = format!(
                "guessed: {} filters {} = {}",
                rpc_path(&self.declared.method),
                item.column,
                item.field.name()
            );
            let advice =
                "another filter is set with option (viewfeed.v1.rpc), or in a .sql file beside the proto";
            self.diagnostics.push(self.declared.place.note(message, advice));
        }
        items
            .iter()
            .map(|item| self.filter_field(&item.field, &item.column, schema, true))
            .collect()
    }

    fn filter_field(
        &self,
        field: &FieldDescriptor,
        column: &str,
        schema: &SchemaRef,
        filters_by_zero: bool,
    ) -> Result<FilterField, Misfit> {
        let place = self.scope.field_place(field);
        let Some(path) = find_path(schema, column) else {
            let names: Vec<&str> = schema
                .fields()
                .iter()
                .map(|field| field.name().as_str())
                .collect();
            let message = format!("filter field {} has no column {column}", field.full_name());
            let advice = format!(
                "the columns are {}; write column=field if the names differ",
                names.join(", ")
            );
            return Err(place.error(message, advice).into());
        };
        let data_type = field_at(schema, &path)
            .map_err(|error| self.failed(&error))?
            .data_type()
            .clone();
        let form = form::form(field)
            .map_err(|formless| Misfit::from(place.error(formless.message, formless.advice)))?;
        if !writable(&form, &data_type) {
            let wanted = sql_name(&data_type);
            let message = format!(
                "filter field {} is {}, but column {column} is {wanted}",
                field.full_name(),
                form.describe()
            );
            return Err(place.error(message, "give both the same type").into());
        }
        Ok(FilterField {
            field: field.clone(),
            form,
            path,
            name: column.to_owned(),
            data_type,
            filters_by_zero,
        })
    }
}

/// The fields that tell one request from another: the key, else the first field that can filter.
fn key_fields(request: &MessageDescriptor) -> Vec<FieldDescriptor> {
    let keys = key_field_names(request)
        .into_iter()
        .filter_map(|name| request.get_field_by_name(&name));
    let keys: Vec<FieldDescriptor> = keys.filter(structure::can_filter).collect();
    if !keys.is_empty() {
        return keys;
    }
    request
        .fields()
        .filter(structure::can_filter)
        .min_by_key(FieldDescriptor::number)
        .into_iter()
        .collect()
}

/// A request `Channel { name }` means `channel.name` where rows have a channel; `Channel { id }` means `channel_id`; else
/// the column with the field's own name is meant.
fn guess_column(
    field: &FieldDescriptor,
    request: &MessageDescriptor,
    row: &MessageDescriptor,
    schema: &SchemaRef,
) -> Option<String> {
    let is_request = |of: &FieldDescriptor| structure::message_of(of).is_some_and(|of| of == *request);
    let nested = row.fields().find(|of| !of.is_list() && is_request(of));
    let candidates = [
        nested.map(|of| format!("{}.{}", of.name(), field.name())),
        Some(format!("{}_{}", snake_case(request.name()), field.name())),
        Some(field.name().to_owned()),
    ];
    candidates
        .into_iter()
        .flatten()
        .find(|column| find_path(schema, column).is_some())
}

/// The path of `column` or `column.field`.
fn find_path(schema: &SchemaRef, column: &str) -> Option<ColumnPath> {
    let mut parts = column.split('.');
    let (place, field) = schema.column_with_name(parts.next()?)?;
    let (mut path, mut data_type) = (vec![place], field.data_type().clone());
    for part in parts {
        let DataType::Struct(fields) = &data_type else {
            return None;
        };
        let (place, field) = fields.find(part)?;
        path.push(place);
        data_type = field.data_type().clone();
    }
    Some(ColumnPath(path))
}
