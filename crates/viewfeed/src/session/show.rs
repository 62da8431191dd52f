//! `SHOW …`: what exists, as rows.

use super::{source, system};
use crate::pipeline::Failures;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use std::sync::Arc;
use viewfeed_catalog::{ModuleState, Modules};
use viewfeed_change::{OnError, Relation, RelationKind, RelationName, Relations, Result, View};
use viewfeed_query::{Show, sql_type};
use viewfeed_store::Reader;

/// The rows of a SHOW statement.
pub(super) fn rows(
    show: &Show,
    relations: &Relations,
    modules: &Modules,
    search_schema: &str,
    (reader, failures): (&Reader, &Failures),
) -> Result<(SchemaRef, RecordBatch)> {
    let rows = match show {
        Show::Relations => {
            let is_ours = |relation: &&Arc<Relation>| relation.name.schema != RelationName::SYSTEM;
            list(relations.iter().filter(is_ours).collect())?
        }
        Show::Views => system::views(relations, reader, failures)?,
        Show::Modules => module_list(modules)?,
        Show::Sources | Show::CreateSource(_) => return Err(source::not_wired()),
        Show::Columns(name) => columns(relations.resolve(name, search_schema)?)?,
        Show::Create(name) => {
            let relation = relations.resolve(name, search_schema)?;
            text_columns(&[("create", vec![create(relation)])])?
        }
    };
    Ok((rows.schema(), rows))
}

fn list(relations: Vec<&Arc<Relation>>) -> Result<RecordBatch> {
    let kind = |relation: &&Arc<Relation>| match relation.kind {
        RelationKind::Table(_) => "table".to_owned(),
        RelationKind::View(_) => "view".to_owned(),
    };
    let key = |relation: &&Arc<Relation>| system::key_of(relation);
    text_columns(&[
        (
            "name",
            relations
                .iter()
                .map(|relation| relation.name.to_string())
                .collect(),
        ),
        ("kind", relations.iter().map(kind).collect()),
        ("key", relations.iter().map(key).collect()),
    ])
}

fn module_list(modules: &Modules) -> Result<RecordBatch> {
    let states = modules.states.values();
    let state = |state: &ModuleState| {
        if state.refused.is_empty() {
            "live".to_owned()
        } else {
            "refused".to_owned()
        }
    };
    let why = |state: &ModuleState| {
        state
            .refused
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    };
    text_columns(&[
        ("module", modules.states.keys().cloned().collect()),
        ("state", states.clone().map(state).collect()),
        ("why", states.map(why).collect()),
    ])
}

fn columns(relation: &Relation) -> Result<RecordBatch> {
    let each = |f: fn(&viewfeed_change::Column) -> String| relation.columns.iter().map(f).collect::<Vec<_>>();
    text_columns(&[
        ("column", each(|column| column.name.clone())),
        ("type", each(sql_type)),
        (
            "nullable",
            each(|column| {
                if column.nullable {
                    "yes".into()
                } else {
                    "no".into()
                }
            }),
        ),
        (
            "default",
            each(|column| column.default.clone().unwrap_or_default()),
        ),
    ])
}

fn create(relation: &Relation) -> String {
    match &relation.kind {
        RelationKind::View(view) => format!(
            "CREATE MATERIALIZED VIEW {}{} AS {}",
            relation.name,
            options(view),
            view.sql
        ),
        RelationKind::Table(_) => {
            let column = |column: &viewfeed_change::Column| {
                let null = if column.nullable { "" } else { " NOT NULL" };
                let default = column
                    .default
                    .as_ref()
                    .map(|sql| format!(" DEFAULT {sql}"))
                    .unwrap_or_default();
                format!("{} {}{null}{default}", column.name, sql_type(column))
            };
            let mut parts: Vec<String> = relation.columns.iter().map(column).collect();
            if !relation.key.is_empty() {
                let key: Vec<&str> = relation
                    .key
                    .iter()
                    .map(|place| relation.columns[*place].name.as_str())
                    .collect();
                parts.push(format!("PRIMARY KEY ({})", key.join(", ")));
            }
            format!("CREATE TABLE {} ({})", relation.name, parts.join(", "))
        }
    }
}

/// `WITH (…)`, if a view has options.
fn options(view: &View) -> String {
    let required = view.require_incremental.then_some("require = 'incremental'");
    let strict = (view.on_error == OnError::Strict).then_some("on_error = 'strict'");
    let options: Vec<&str> = required.into_iter().chain(strict).collect();
    match options.is_empty() {
        true => String::new(),
        false => format!(" WITH ({})", options.join(", ")),
    }
}

fn text_columns(columns: &[(&str, Vec<String>)]) -> Result<RecordBatch> {
    let array = |values: &Vec<String>| Arc::new(StringArray::from_iter_values(values)) as ArrayRef;
    Ok(RecordBatch::try_from_iter(
        columns.iter().map(|(name, values)| (*name, array(values))),
    )?)
}
