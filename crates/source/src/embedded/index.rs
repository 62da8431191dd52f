//! CREATE INDEX and DROP INDEX: an arrangement by other columns, unique or not.

use super::create_table;
use super::definition::{Definition, index_columns};
use super::{Context, Embedded, Outcome, matched, name, returning};
use datafusion::sql::sqlparser::ast;
use std::collections::BTreeSet;
use std::sync::Arc;
use viewfeed_change::{ColumnPath, Error, Index, Relation, RelationKind, RelationName, Relations, Result};
use viewfeed_store::{Txn, arrange, keys};

/// The names of the indexes in a schema.
pub(super) fn names(schema: &str, relations: &Relations) -> BTreeSet<String> {
    relations
        .iter()
        .filter(|relation| relation.name.schema == schema)
        .filter_map(|relation| relation.as_table())
        .flat_map(|table| table.indexes.iter().map(|index| index.name.clone()))
        .collect()
}

/// Runs a CREATE INDEX. A unique one fails if there are rows already that break it.
pub(super) fn create(
    embedded: &Embedded,
    statement: &ast::CreateIndex,
    context: &mut Context<'_>,
) -> Result<Outcome> {
    if statement.predicate.is_some()
        || !statement.include.is_empty()
        || statement.nulls_distinct == Some(false)
    {
        return Err(name::unsupported(
            "an index with WHERE, INCLUDE or NULLS NOT DISTINCT",
            "index all rows by plain columns",
        ));
    }
    let relation = name::table(&statement.table_name, context)?;
    let taken = names(&relation.name.schema, context.relations);
    let given = statement.name.as_ref().map(name::last).transpose()?;
    if statement.if_not_exists && given.as_ref().is_some_and(|name| taken.contains(name)) {
        return Ok(returning::done("CREATE INDEX"));
    }
    let places = index_columns(&statement.columns, &relation)?;
    let mut definition = Definition::of(Relation::clone(&relation), taken);
    let name = definition.index_name(given, &places, "idx")?;
    let columns: Vec<ColumnPath> = places.into_iter().map(ColumnPath::from).collect();
    definition.table().indexes.push(Index {
        name,
        columns,
        unique: statement.unique,
    });
    let relation = Arc::make_mut(context.relations).put(definition.relation)?;
    context.touched.insert(relation.id);
    create_table::arrange(&relation, context)?;
    check_present_rows(embedded, &relation, context)?;
    Ok(returning::done("CREATE INDEX"))
}

/// Fails if two of the rows that are there have the same unique key.
pub(super) fn check_present_rows(
    embedded: &Embedded,
    relation: &Arc<Relation>,
    context: &Context<'_>,
) -> Result<()> {
    let rules = embedded.rules(relation)?;
    let rows = matched::all(relation, &context.txn.now())?;
    for unique in &rules.uniques {
        let firsts = unique.first_places(&rows)?;
        if firsts.iter().enumerate().any(|(row, first)| row as u32 != *first) {
            return Err(unique.duplicate(relation));
        }
    }
    Ok(())
}

/// Runs a DROP INDEX.
pub(super) fn drop(
    statement_names: &[ast::ObjectName],
    if_exists: bool,
    context: &mut Context<'_>,
) -> Result<Outcome> {
    for name in statement_names {
        match find(name, context)? {
            Some((relation, name)) => drop_one(&relation, &name, context)?,
            None if if_exists => {}
            None => {
                return Err(Error::not_found(
                    "UNKNOWN_INDEX",
                    format!("index \"{name}\" does not exist"),
                ));
            }
        }
    }
    Ok(returning::done("DROP INDEX"))
}

/// The table that has the index, and the index's name.
fn find(name: &ast::ObjectName, context: &Context<'_>) -> Result<Option<(Arc<Relation>, String)>> {
    let mut parts = name::parts(name)?;
    let name = parts.pop().unwrap_or_default();
    let schemas = match parts.pop() {
        Some(schema) => vec![schema],
        None => vec![context.search_schema.to_owned(), RelationName::PUBLIC.to_owned()],
    };
    let has_index = |relation: &&Arc<Relation>| {
        relation
            .as_table()
            .is_some_and(|table| table.indexes.iter().any(|index| index.name == name))
    };
    let in_schema = |schema: &String| {
        context
            .relations
            .iter()
            .filter(|relation| relation.name.schema == *schema)
            .find(has_index)
            .cloned()
    };
    Ok(schemas
        .iter()
        .find_map(in_schema)
        .map(|relation| (relation, name.clone())))
}

/// Takes an index away from a table.
pub(super) fn drop_one(relation: &Relation, name: &str, context: &mut Context<'_>) -> Result<()> {
    name::writable(relation)?;
    let mut changed = relation.clone();
    let RelationKind::Table(table) = &mut changed.kind else {
        return Ok(());
    };
    let Some(at) = table.indexes.iter().position(|index| index.name == name) else {
        return Ok(());
    };
    let index = table.indexes.remove(at);
    let changed = Arc::make_mut(context.relations).put(changed)?;
    context.touched.insert(changed.id);
    release(&changed, &index, context.relations, context.txn)
}

/// Drops an index's arrangement, unless something else needs it. Views share arrangements without saying which, so it
/// stays as long as any view reads the table.
fn release(relation: &Relation, index: &Index, relations: &Relations, txn: &mut Txn) -> Result<()> {
    let by_index = |other: &Index| other.columns == index.columns;
    let needed = relation.key_paths() == index.columns
        || relation
            .as_table()
            .is_some_and(|table| table.indexes.iter().any(by_index))
        || relations.readers(relation.id).next().is_some();
    match needed {
        true => Ok(()),
        false => keys::release(txn, &arrange::relation_state(relation, &index.columns)),
    }
}
