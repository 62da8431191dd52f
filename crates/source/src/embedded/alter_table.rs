//! ALTER TABLE. A change of the columns lays the table out anew: every stored row is rewritten into new arrangements in
//! the same transaction, and `schema_version` goes up by one. The rewritten rows are no change of the table: no delta is
//! recorded. Views read columns by name, so after columns were added they mean what they meant; their plans hold the old
//! layout and must be made anew by the caller.

mod columns;
mod layout;

pub(super) use columns::add_columns;

use super::definition::Definition;
use super::{
    Context, Embedded, Outcome, constraint, create_table, drop_table, index, matched, name, returning,
};
use columns::{add_column, drop_columns, rename_column};
use datafusion::sql::sqlparser::ast::{self, AlterColumnOperation, AlterTableOperation};
use std::sync::Arc;
use viewfeed_change::{Error, Relation, RelationName, Result};

/// Runs an ALTER TABLE, one operation after another.
pub(super) fn alter(
    embedded: &Embedded,
    statement: &ast::AlterTable,
    context: &mut Context<'_>,
) -> Result<Outcome> {
    let relation = match statement.if_exists {
        true => name::table_if_exists(&statement.name, context)?,
        false => Some(name::table(&statement.name, context)?),
    };
    let Some(mut relation) = relation else {
        return Ok(returning::done("ALTER TABLE"));
    };
    for operation in &statement.operations {
        relation = alter_once(embedded, &relation, operation, context)?;
        context.touched.insert(relation.id);
    }
    Ok(returning::done("ALTER TABLE"))
}

fn alter_once(
    embedded: &Embedded,
    relation: &Arc<Relation>,
    operation: &AlterTableOperation,
    context: &mut Context<'_>,
) -> Result<Arc<Relation>> {
    match operation {
        AlterTableOperation::AddColumn {
            if_not_exists,
            column_def,
            column_position: None,
            ..
        } => match *if_not_exists && relation.column(&name::identifier(&column_def.name)).is_some() {
            true => Ok(relation.clone()),
            false => add_column(embedded, relation, column_def, context),
        },
        AlterTableOperation::AddConstraint {
            constraint,
            not_valid: false,
        } => add_constraint(embedded, relation, constraint, context),
        AlterTableOperation::DropConstraint { if_exists, name, .. } => {
            drop_constraint(relation, &name::identifier(name), *if_exists, context)
        }
        AlterTableOperation::DropColumn {
            column_names,
            if_exists,
            drop_behavior,
            ..
        } => {
            let cascade = matches!(drop_behavior, Some(ast::DropBehavior::Cascade));
            drop_columns(relation, column_names, *if_exists, cascade, context)
        }
        AlterTableOperation::RenameColumn {
            old_column_name,
            new_column_name,
        } => rename_column(
            relation,
            &name::identifier(old_column_name),
            &name::identifier(new_column_name),
            context,
        ),
        AlterTableOperation::RenameTable {
            table_name: ast::RenameTableNameKind::To(to),
        } => rename_table(relation, to, context),
        AlterTableOperation::AlterColumn { column_name, op } => {
            set_default(embedded, relation, &name::identifier(column_name), op, context)
        }
        other => Err(name::unsupported(
            format!("ALTER TABLE {other}"),
            "create a new table and INSERT … SELECT into it",
        )),
    }
}

fn add_constraint(
    embedded: &Embedded,
    relation: &Arc<Relation>,
    constraint: &ast::TableConstraint,
    context: &mut Context<'_>,
) -> Result<Arc<Relation>> {
    let taken = index::names(&relation.name.schema, context.relations);
    let mut definition = Definition::of(Relation::clone(relation), taken);
    definition.add_constraint(constraint)?;
    if definition.relation.key != relation.key {
        return Err(name::unsupported(
            "adding a primary key",
            "create the table with its key",
        ));
    }
    let changed = Arc::make_mut(context.relations).put(definition.relation)?;
    create_table::arrange(&changed, context)?;
    let rules = embedded.rules(&changed)?;
    let rows = matched::all(&changed, &context.txn.now())?;
    constraint::admit(&rules, rows.columns().to_vec(), rows.num_rows(), context.now)?;
    index::check_present_rows(embedded, &changed, context)?;
    Ok(changed)
}

fn drop_constraint(
    relation: &Arc<Relation>,
    name: &str,
    if_exists: bool,
    context: &mut Context<'_>,
) -> Result<Arc<Relation>> {
    let mut definition = Definition::of(Relation::clone(relation), Default::default());
    let table = definition.table();
    if let Some(at) = table.checks.iter().position(|check| check.name == name) {
        table.checks.remove(at);
        return Arc::make_mut(context.relations).put(definition.relation);
    }
    if table.indexes.iter().any(|index| index.name == name) {
        index::drop_one(relation, name, context)?;
        return Ok(context
            .relations
            .get(relation.id)
            .cloned()
            .unwrap_or_else(|| relation.clone()));
    }
    match if_exists {
        true => Ok(relation.clone()),
        false => {
            let message = format!(
                "table \"{}\" has no constraint \"{name}\" that can be dropped",
                relation.name
            );
            Err(Error::not_found("UNKNOWN_CONSTRAINT", message))
        }
    }
}

fn rename_table(
    relation: &Arc<Relation>,
    to: &ast::ObjectName,
    context: &mut Context<'_>,
) -> Result<Arc<Relation>> {
    drop_table::refuse_if_read(relation, "rename", false, context)?;
    let mut new = Relation::clone(relation);
    new.name = RelationName::new(relation.name.schema.clone(), name::last(to)?);
    Arc::make_mut(context.relations).put(new)
}

fn set_default(
    embedded: &Embedded,
    relation: &Arc<Relation>,
    column: &str,
    operation: &AlterColumnOperation,
    context: &mut Context<'_>,
) -> Result<Arc<Relation>> {
    let place = name::column(column, relation)?;
    let mut new = Relation::clone(relation);
    new.columns[place].default = match operation {
        AlterColumnOperation::SetDefault { value } => Some(value.to_string()),
        AlterColumnOperation::DropDefault => None,
        other => {
            return Err(name::unsupported(
                format!("ALTER COLUMN {other}"),
                "create a new table and INSERT … SELECT into it",
            ));
        }
    };
    let new = Arc::make_mut(context.relations).put(new)?;
    embedded.rules(&new)?;
    Ok(new)
}
