//! Names in statements: to relations, to columns. Unquoted names are lower case, as in Postgres.

use super::{Context, SOURCE};
use datafusion::sql::sqlparser::ast;
use std::sync::Arc;
use viewfeed_change::{Error, ErrorKind, Relation, RelationName, Result};

/// The text of an identifier.
pub(super) fn identifier(ident: &ast::Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// The table a statement writes. Fails if it does not exist, is a view, or belongs to another source.
pub(super) fn table(name: &ast::ObjectName, context: &Context<'_>) -> Result<Arc<Relation>> {
    let name = parts(name)?.join(".");
    let relation = context.relations.resolve(&name, context.search_schema)?.clone();
    writable(&relation)?;
    Ok(relation)
}

/// Fails unless `relation` is a table of this source.
pub(super) fn writable(relation: &Relation) -> Result<()> {
    let Some(table) = relation.as_table() else {
        let message = format!("\"{}\" is a view, not a table", relation.name);
        return Err(Error::invalid("NOT_A_TABLE", message).hint("change the tables it reads"));
    };
    if &*table.source.0 != SOURCE {
        let message = format!(
            "table \"{}\" is written by source \"{}\"",
            relation.name, table.source
        );
        return Err(Error::invalid("READ_ONLY_TABLE", message).hint("write to it at its source"));
    }
    Ok(())
}

/// The table, or nothing if it does not exist.
pub(super) fn table_if_exists(
    name: &ast::ObjectName,
    context: &Context<'_>,
) -> Result<Option<Arc<Relation>>> {
    match table(name, context) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// The name of a relation to be created or dropped. Fails for names that are the server's own.
pub fn relation_name(name: &ast::ObjectName, search_schema: &str) -> Result<RelationName> {
    let mut parts = parts(name)?;
    let name = parts.pop().unwrap_or_default();
    let schema = parts.pop().unwrap_or_else(|| search_schema.to_owned());
    if schema == RelationName::SYSTEM {
        let message = format!("schema \"{schema}\" is the server's own");
        return Err(Error::invalid("RESERVED_SCHEMA", message).hint("use another schema"));
    }
    Ok(RelationName::new(schema, name))
}

/// The parts of `name` or `schema.name`.
pub(super) fn parts(name: &ast::ObjectName) -> Result<Vec<String>> {
    let invalid = || {
        Error::invalid("INVALID_NAME", format!("{name} is not a name here")).hint("write name or schema.name")
    };
    if !(1..=2).contains(&name.0.len()) {
        return Err(invalid());
    }
    name.0
        .iter()
        .map(|part| part.as_ident().map(identifier).ok_or_else(invalid))
        .collect()
}

/// The last part of a name: the column of `t.column`, the index of `schema.index`.
pub(super) fn last(name: &ast::ObjectName) -> Result<String> {
    name.0
        .last()
        .and_then(|part| part.as_ident())
        .map(identifier)
        .ok_or_else(|| Error::invalid("INVALID_NAME", format!("{name} is not a name here")))
}

/// The place of the column called `name`.
pub(super) fn column(name: &str, relation: &Relation) -> Result<usize> {
    relation.column(name).ok_or_else(|| {
        let names: Vec<&str> = visible(relation)
            .map(|place| &*relation.columns[place].name)
            .collect();
        let message = format!("column \"{name}\" of table \"{}\" does not exist", relation.name);
        Error::not_found("UNKNOWN_COLUMN", message).hint(format!("it has {}", names.join(", ")))
    })
}

/// The places of the columns a user sees.
pub(super) fn visible(relation: &Relation) -> impl Iterator<Item = usize> {
    relation
        .columns
        .iter()
        .enumerate()
        .filter(|(_, column)| !column.hidden)
        .map(|(place, _)| place)
}

/// An error for what the statement asks and the embedded store does not do.
pub(super) fn unsupported(what: impl std::fmt::Display, hint: &str) -> Error {
    Error::invalid("NOT_SUPPORTED", format!("{what} is not supported")).hint(hint)
}
