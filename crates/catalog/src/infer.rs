//! Messages to tables: which messages are tables, and what their columns and keys are.

use crate::declare::{Declared, Origin, What};
use crate::diagnostic::{Diagnostic, Place};
use crate::form::{self, FieldForm, Form};
use crate::options;
use crate::scope::{Scope, rpc_path, snake_case};
use prost_reflect::{EnumDescriptor, Kind, MessageDescriptor};
use std::collections::BTreeMap;
use viewfeed_change::{
    Column, ColumnPath, Index, Relation, RelationId, RelationKind, RelationName, SourceId, Table,
};
use viewfeed_wire::v1;

/// The hidden key's name.
pub(crate) const HIDDEN_KEY: &str = "_id";
/// The hidden key's column id: the first that is no field number. What SQL adds to the table comes after it.
pub(crate) const HIDDEN_KEY_ID: u32 = 1 << 29;

/// A message that is a table, and the draft of that table.
#[derive(Clone, Debug)]
pub(crate) struct InferredTable {
    pub(crate) message: MessageDescriptor,
    pub(crate) table: Relation,
}

/// The tables of a module. What is wrong or guessed is added to `diagnostics`.
pub(crate) fn infer(
    scope: &Scope,
    declared: &[Declared],
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<InferredTable> {
    let mut tables: Vec<InferredTable> = Vec::new();
    for (message, reason) in table_messages(scope, declared) {
        let place = scope.message_place(&message);
        let table = match draft(scope, &message) {
            Ok(table) => table,
            Err(diagnostic) => {
                diagnostics.push(*diagnostic);
                continue;
            }
        };
        if let Some(first) = tables.iter().find(|first| first.table.name == table.name) {
            let message = format!(
                "{} and {} are both table {}",
                first.message.full_name(),
                message.full_name(),
                table.name
            );
            diagnostics.push(place.error(message, "give one of them option (viewfeed.v1.table).name"));
            continue;
        }
        if let Some(reason) = reason {
            let message = format!(
                "inferred: {} is table {}, because {reason}",
                message.full_name(),
                table.name
            );
            diagnostics.push(place.note(message, "option (viewfeed.v1.table) makes it explicit"));
        }
        if table.columns.iter().any(|column| column.hidden) {
            let message = format!("table {} has no key, so rows get a hidden one", table.name);
            let advice = format!(
                "name a field id or {}_id, or use option (viewfeed.v1.table).key; without it rows cannot be updated or deleted by rpc",
                snake_case(message_name(&table))
            );
            diagnostics.push(place.note(message, advice));
        }
        tables.push(InferredTable { message, table });
    }
    tables
}

fn message_name(table: &Relation) -> &str {
    &table.name.name
}

/// The messages that are tables, each with the reason if it was guessed.
fn table_messages(scope: &Scope, declared: &[Declared]) -> Vec<(MessageDescriptor, Option<String>)> {
    let mut found: BTreeMap<String, Option<String>> = BTreeMap::new();
    for one in declared {
        let is_guess = one.origin == Origin::Convention;
        let (row, verb) = match &one.what {
            What::Mutate(mutate) => {
                let name = scope.relation_name(&mutate.row);
                let named = mutate
                    .table
                    .as_ref()
                    .map(|table| table.trim_start_matches(&format!("{}.", scope.schema)).to_owned());
                if named.is_some_and(|table| table != name) {
                    continue;
                }
                (&mutate.row, "writes")
            }
            What::Subscribe(subscribe) if subscribe.relation.is_none() => (&subscribe.row, "streams"),
            _ => continue,
        };
        let is_created = scope.created.contains(&scope.relation_name(row));
        if scope.is_own(&row.parent_file()) && !is_created {
            let reason = is_guess.then(|| format!("{} {verb} it", rpc_path(&one.method)));
            found.entry(row.full_name().to_owned()).or_insert(reason);
        }
    }
    let mut messages = Vec::new();
    for message in scope.messages() {
        if options::table(&message).is_some() {
            messages.push((message, None));
        } else if let Some(reason) = found.remove(message.full_name()) {
            messages.push((message, reason));
        }
    }
    messages
}

fn draft(scope: &Scope, message: &MessageDescriptor) -> Result<Relation, Box<Diagnostic>> {
    let options = options::table(message).unwrap_or_default();
    let place = scope.message_place(message);
    let fields = form::forms(message).map_err(|formless| {
        Box::new(
            scope
                .field_place(&formless.field)
                .error(formless.message, formless.advice),
        )
    })?;
    if fields.is_empty() {
        let text = format!("{} has no fields, so it cannot be a table", message.full_name());
        return Err(Box::new(
            place.error(text, "add a field, or bind the rpc that uses it"),
        ));
    }
    let (columns, key) = columns_and_key(scope, message, &fields, &options)?;
    let name = RelationName::new(&scope.schema, scope.relation_name(message));
    let indexes = indexes(message, &options, &columns, &name, &place)?;
    Ok(Relation {
        id: RelationId(0),
        name,
        columns,
        key,
        kind: RelationKind::Table(Table {
            source: SourceId::new("embedded"),
            checks: Vec::new(),
            indexes,
        }),
        schema_version: 1,
    })
}

/// The columns of a message's fields and the places of its key, hidden if there is no other.
fn columns_and_key(
    scope: &Scope,
    message: &MessageDescriptor,
    fields: &[FieldForm],
    options: &v1::TableOptions,
) -> Result<(Vec<Column>, Vec<usize>), Box<Diagnostic>> {
    let place = scope.message_place(message);
    let mut columns: Vec<Column> = fields.iter().map(column).collect();
    let mut key = key_names(message, options)
        .iter()
        .map(|name| place_of(&columns, name, message, &place, "key"))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(bad) = key.iter().find(|place| !can_be_key(&fields[**place].form)) {
        let text = format!("field {} cannot be a key", fields[*bad].field.full_name());
        let advice = "a key is made of numbers, texts, bytes, bools, enums and timestamps";
        return Err(Box::new(
            scope.field_place(&fields[*bad].field).error(text, advice),
        ));
    }
    for place in &key {
        columns[*place].nullable = false;
        // A key that nobody set is a mistake, not zero.
        columns[*place].default = options::default_sql(&options::column(&fields[*place].field));
    }
    if key.is_empty() {
        if columns.iter().any(|column| column.name == HIDDEN_KEY) {
            let text = format!(
                "{} has a field {HIDDEN_KEY}, but that is what the hidden key is called",
                message.full_name()
            );
            return Err(Box::new(place.error(
                text,
                "make it the key: option (viewfeed.v1.table) = { key: \"_id\" }",
            )));
        }
        key.push(columns.len());
        let mut hidden = Column::new(
            HIDDEN_KEY_ID,
            HIDDEN_KEY,
            arrow::datatypes::DataType::Int64,
            false,
        );
        hidden.hidden = true;
        columns.push(hidden);
    }
    Ok((columns, key))
}

fn column(field: &FieldForm) -> Column {
    let FieldForm { field, form } = field;
    let options = options::column(field);
    // An empty list and a list that SQL left out are both nothing to protobuf.
    let nullable = form::has_null(field) || matches!(form, Form::List(_) | Form::Map(..));
    let mut column = Column::new(field.number(), field.name(), form.data_type(), nullable);
    column.logical = form.logical();
    column.default = options::default_sql(&options).or_else(|| if nullable { None } else { zero(form) });
    column
}

/// The SQL text of a form's zero value.
fn zero(form: &Form) -> Option<String> {
    Some(match form {
        Form::Scalar(Kind::Bool) => "false".to_owned(),
        Form::Scalar(Kind::String | Kind::Bytes) => "''".to_owned(),
        Form::Scalar(_) => "0".to_owned(),
        Form::Enum(of) => format!("'{}'", zero_name(of)),
        _ => return None,
    })
}

fn zero_name(of: &EnumDescriptor) -> String {
    of.default_value().name().to_owned()
}

/// The key option, else `id`, else `<message>_id`, else none.
fn key_names(message: &MessageDescriptor, options: &v1::TableOptions) -> Vec<String> {
    if !options.key.is_empty() {
        return options.key.clone();
    }
    conventional_key(message).into_iter().collect()
}

/// `id`, else `<message>_id`, if the message has such a field and it can be a key.
fn conventional_key(message: &MessageDescriptor) -> Option<String> {
    let by_message = format!("{}_id", snake_case(message.name()));
    let names = ["id".to_owned(), by_message];
    names.into_iter().find(|name| {
        let field = message.get_field_by_name(name);
        field.is_some_and(|field| form::form(&field).is_ok_and(|form| can_be_key(&form)))
    })
}

/// The fields that tell one message of this type from another: the key, else the first field.
pub(crate) fn key_field_names(message: &MessageDescriptor) -> Vec<String> {
    key_names(message, &options::table(message).unwrap_or_default())
}

fn can_be_key(form: &Form) -> bool {
    match form {
        Form::Scalar(_) | Form::Enum(_) | Form::Timestamp => true,
        Form::Wrapper(inner) => can_be_key(&inner.form),
        _ => false,
    }
}

fn place_of(
    columns: &[Column],
    name: &str,
    message: &MessageDescriptor,
    place: &Place,
    what: &str,
) -> Result<usize, Box<Diagnostic>> {
    columns
        .iter()
        .position(|column| column.name == name)
        .ok_or_else(|| {
            let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            let text = format!(
                "the {what} of {} names {name}, which is no column",
                message.full_name()
            );
            Box::new(place.error(text, format!("its columns are {}", names.join(", "))))
        })
}

fn indexes(
    message: &MessageDescriptor,
    options: &v1::TableOptions,
    columns: &[Column],
    name: &RelationName,
    place: &Place,
) -> Result<Vec<Index>, Box<Diagnostic>> {
    let index = |option: &v1::table_options::Index| {
        let places = option
            .columns
            .iter()
            .map(|column| place_of(columns, column, message, place, "index"));
        let places = places.collect::<Result<Vec<_>, _>>()?;
        Ok(Index {
            name: format!("{}_{}_idx", name.name, option.columns.join("_")),
            columns: places.into_iter().map(ColumnPath::from).collect(),
            unique: option.unique,
        })
    };
    options
        .index
        .iter()
        .filter(|option| !option.columns.is_empty())
        .map(index)
        .collect()
}

/// Whether a column is one that a field of a message made.
pub(crate) fn is_field(column: &Column) -> bool {
    column.id < HIDDEN_KEY_ID
}

/// Whether two drafts of a column differ in anything but place.
pub(crate) fn same_type(a: &Column, b: &Column) -> bool {
    a.data_type == b.data_type && a.logical == b.logical
}
