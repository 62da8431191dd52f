//! CREATE TABLE, and how any new table comes into being.

use super::default::sequence_name;
use super::definition::Definition;
use super::insert::Proposed;
use super::stage::{self, Edit};
use super::{Context, Embedded, Outcome, index, name, returning, select};
use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast;
use std::sync::Arc;
use viewfeed_change::row::RowCodec;
use viewfeed_change::{Column, Error, Relation, RelationKind, Result};
use viewfeed_store::{arrange, keys};

/// Runs a CREATE TABLE.
pub(super) fn create(
    embedded: &Embedded,
    statement: &ast::CreateTable,
    context: &mut Context<'_>,
) -> Result<Outcome> {
    refuse_dialects(statement)?;
    let name = name::relation_name(&statement.name, context.search_schema)?;
    if statement.if_not_exists && context.relations.named(&name).is_some() {
        return Ok(returning::done("CREATE TABLE"));
    }
    let mut definition = Definition::new(name.clone(), index::names(&name.schema, context.relations));
    if let Some(query) = &statement.query {
        if !statement.columns.is_empty() {
            return Err(name::unsupported(
                "a column list with AS SELECT",
                "name the columns in the SELECT",
            ));
        }
        return create_as(embedded, query, definition, context);
    }
    statement
        .columns
        .iter()
        .try_for_each(|column| definition.add_column(column))?;
    statement
        .constraints
        .iter()
        .try_for_each(|constraint| definition.add_constraint(constraint))?;
    let relation = install(embedded, definition.relation, context)?;
    for (sequence, first) in definition.starts {
        let skipped = first.unsigned_abs() - 1;
        if skipped > 0 {
            keys::advance(context.txn, &sequence_name(&relation, &sequence), skipped)?;
        }
    }
    Ok(returning::done("CREATE TABLE"))
}

fn refuse_dialects(statement: &ast::CreateTable) -> Result<()> {
    let other = statement.temporary
        || statement.or_replace
        || statement.external
        || statement.like.is_some()
        || statement.clone.is_some()
        || statement.inherits.is_some()
        || statement.partition_of.is_some()
        || statement.partition_by.is_some()
        || statement.strict
        || !matches!(statement.table_options, ast::CreateTableOptions::None);
    match other {
        true => Err(name::unsupported(
            "this form of CREATE TABLE",
            "use CREATE TABLE [IF NOT EXISTS] t (columns and constraints), or CREATE TABLE t AS SELECT …",
        )),
        false => Ok(()),
    }
}

/// Gives a described table an id and its arrangements. Fails on a wrong default or check, and on columns that cannot be
/// stored.
pub(super) fn install(
    embedded: &Embedded,
    mut relation: Relation,
    context: &mut Context<'_>,
) -> Result<Arc<Relation>> {
    if relation.columns.is_empty() {
        let message = format!("table \"{}\" has no column", relation.name);
        return Err(Error::invalid("NO_COLUMNS", message).hint("give it at least one column"));
    }
    if !matches!(relation.kind, RelationKind::Table(_)) {
        return Err(Error::internal(format!(
            "\"{}\" is to be created as a table but is none",
            relation.name
        )));
    }
    RowCodec::for_schema(&relation.schema())?;
    let relations = Arc::make_mut(context.relations);
    relation.id = relations.allocate();
    relation.schema_version = 1;
    let relation = relations.put(relation)?;
    embedded.rules(&relation)?;
    arrange(&relation, context)?;
    context.touched.insert(relation.id);
    Ok(relation)
}

/// Makes the arrangements a table has by itself: by its key, and by each index.
pub(super) fn arrange(relation: &Relation, context: &mut Context<'_>) -> Result<()> {
    arrange::ensure(context.txn, relation, &relation.key_paths())?;
    for index in relation.as_table().iter().flat_map(|table| &table.indexes) {
        arrange::ensure(context.txn, relation, &index.columns)?;
    }
    Ok(())
}

/// `CREATE TABLE … AS SELECT`: the columns and the rows of a query.
fn create_as(
    embedded: &Embedded,
    query: &ast::Query,
    mut definition: Definition,
    context: &mut Context<'_>,
) -> Result<Outcome> {
    let rows = select::run(embedded, query, context)?;
    for (place, field) in rows.schema().fields().iter().enumerate() {
        let data_type = match field.data_type() {
            DataType::Null => DataType::Utf8,
            other => other.clone(),
        };
        definition.push(Column::new(place as u32 + 1, field.name(), data_type, true))?;
    }
    let relation = install(embedded, definition.relation, context)?;
    let rules = embedded.rules(&relation)?;
    let rows = from_query(&rows, &relation)?.admit(&rules, context)?;
    let count = rows.num_rows();
    stage::apply(
        &rules,
        &Edit {
            old: None,
            new: Some(rows),
        },
        context,
    )?;
    Ok(Outcome {
        command: format!("SELECT {count}"),
        rows: count as u64,
        returning: None,
    })
}

fn from_query(rows: &RecordBatch, relation: &Relation) -> Result<Proposed> {
    let coerce = |(array, column)| super::coerce::coerce(array, column).map(Some);
    let columns = rows
        .columns()
        .iter()
        .zip(&relation.columns)
        .map(coerce)
        .collect::<Result<_>>()?;
    Ok(Proposed {
        columns,
        count: rows.num_rows(),
    })
}
