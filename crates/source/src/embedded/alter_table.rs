//! ALTER TABLE. A change of the columns lays the table out anew: every stored row is rewritten into new arrangements in
//! the same transaction, and `schema_version` goes up by one. The rewritten rows are no change of the table: no delta is
//! recorded. Views read columns by name, so after columns were added they mean what they meant; their plans hold the old
//! layout and must be made anew by the caller.

use super::default::sequence_name;
use super::definition::Definition;
use super::expression;
use super::stage::stage_all;
use super::{
    Context, Embedded, Outcome, constraint, create_table, drop_table, index, matched, name, returning,
};
use arrow::array::{ArrayRef, RecordBatch};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{self, AlterColumnOperation, AlterTableOperation, Expr};
use std::ops::ControlFlow;
use std::sync::Arc;
use viewfeed_change::{Batch, Check, Column, ColumnPath, Error, Relation, RelationName, Result};
use viewfeed_store::{arrange, keys};

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

fn add_column(
    embedded: &Embedded,
    relation: &Arc<Relation>,
    column: &ast::ColumnDef,
    context: &mut Context<'_>,
) -> Result<Arc<Relation>> {
    let taken = index::names(&relation.name.schema, context.relations);
    let mut definition = Definition::of(Relation::clone(relation), taken);
    definition.add_column(column)?;
    if definition.relation.key != relation.key {
        return Err(name::unsupported(
            "adding a primary key",
            "create the table with its key",
        ));
    }
    for (sequence, first) in &definition.starts {
        let skipped = first.unsigned_abs() - 1;
        if skipped > 0 {
            keys::advance(context.txn, &sequence_name(relation, sequence), skipped)?;
        }
    }
    let changed = widen(embedded, relation, definition.relation, false, context)?;
    index::check_present_rows(embedded, &changed, context)?;
    Ok(changed)
}

/// Adds described columns; stored rows get the default, else NULL, else the type's zero value.
pub(super) fn add_columns(
    embedded: &Embedded,
    relation: &Arc<Relation>,
    columns: Vec<Column>,
    context: &mut Context<'_>,
) -> Result<Arc<Relation>> {
    name::writable(relation)?;
    let mut definition = Definition::of(Relation::clone(relation), Default::default());
    columns
        .into_iter()
        .try_for_each(|column| definition.push(column))?;
    context.touched.insert(relation.id);
    widen(embedded, relation, definition.relation, true, context)
}

/// Lays `old` out as `new`, which has more columns at its end.
fn widen(
    embedded: &Embedded,
    old: &Arc<Relation>,
    mut new: Relation,
    zero_fills: bool,
    context: &mut Context<'_>,
) -> Result<Arc<Relation>> {
    new.schema_version = old.schema_version + 1;
    let new = Arc::new(new);
    let rules = embedded.rules(&new)?;
    let rows = matched::all(old, &context.txn.now())?;
    let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
    for (place, column) in new.columns.iter().enumerate().skip(old.columns.len()) {
        columns.push(
            match zero_fills && !rules.has_default(place) && !column.nullable {
                true => zeros(column, rows.num_rows())?,
                false => rules.defaults(place, rows.num_rows(), context.now, context.txn)?,
            },
        );
    }
    let rows = constraint::admit(&rules, columns, rows.num_rows(), context.now)?;
    lay_out(old, Relation::clone(&new), rows, &Some, context)
}

/// What a message has where nothing was written.
fn zeros(column: &Column, count: usize) -> Result<ArrayRef> {
    let zero = ScalarValue::new_default(&column.data_type).and_then(|zero| zero.to_array_of_size(count));
    zero.map_err(|_| {
        let message = format!(
            "column \"{}\" cannot be added: its type has no zero value",
            column.name
        );
        Error::invalid("NO_ZERO_VALUE", message).hint("make it nullable or give it a default")
    })
}

/// Puts `new` in the place of `old`, with `rows` as its content. `moved` says where a column of `old` is in `new`; the
/// arrangements by columns that are gone are not made again.
fn lay_out(
    old: &Relation,
    new: Relation,
    rows: RecordBatch,
    moved: &dyn Fn(usize) -> Option<usize>,
    context: &mut Context<'_>,
) -> Result<Arc<Relation>> {
    let move_path = |path: &ColumnPath| {
        let (first, rest) = path.0.split_first()?;
        Some(ColumnPath(
            std::iter::once(moved(*first)?)
                .chain(rest.iter().copied())
                .collect(),
        ))
    };
    let arranged = arrange::all(&context.txn.now(), old)?;
    let keys: Vec<Vec<ColumnPath>> = arranged
        .iter()
        .filter_map(|arrangement| arrangement.key().iter().map(move_path).collect())
        .collect();
    arrange::release_all(context.txn, old)?;
    let new = Arc::make_mut(context.relations).put(new)?;
    arrange::ensure(context.txn, &new, &new.key_paths())?;
    let batch = Batch::inserts(rows);
    let batch = if new.key.is_empty() {
        batch.consolidate()?
    } else {
        batch
    };
    stage_all(&new, &batch, context.txn)?;
    // Made after the rows are in the primary one: they fill themselves from it.
    keys.iter()
        .try_for_each(|key| arrange::ensure(context.txn, &new, key).map(drop))?;
    create_table::arrange(&new, context)?;
    Ok(new)
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

fn drop_columns(
    relation: &Arc<Relation>,
    names: &[ast::Ident],
    if_exists: bool,
    cascade: bool,
    context: &mut Context<'_>,
) -> Result<Arc<Relation>> {
    drop_table::refuse_if_read(relation, "drop a column of", cascade, context)?;
    let mut gone = Vec::new();
    for name in names.iter().map(name::identifier) {
        match relation.column(&name) {
            None if if_exists => {}
            _ => gone.push(droppable(&name, relation)?),
        }
    }
    let kept: Vec<usize> = (0..relation.columns.len())
        .filter(|place| !gone.contains(place))
        .collect();
    if gone.is_empty() || kept.is_empty() {
        let unchanged = || name::unsupported("dropping every column", "drop the table");
        return if gone.is_empty() {
            Ok(relation.clone())
        } else {
            Err(unchanged())
        };
    }
    let moved = |place: usize| kept.iter().position(|kept| *kept == place);
    let mut new = Relation::clone(relation);
    new.columns = kept
        .iter()
        .map(|place| relation.columns[*place].clone())
        .collect();
    new.key = relation.key.iter().filter_map(|place| moved(*place)).collect();
    new.schema_version += 1;
    if let viewfeed_change::RelationKind::Table(table) = &mut new.kind {
        for path in table.indexes.iter_mut().flat_map(|index| &mut index.columns) {
            path.0[0] = moved(path.0[0]).unwrap_or_default();
        }
    }
    let rows = matched::all(relation, &context.txn.now())?.project(&kept)?;
    let rows = RecordBatch::try_new(new.schema(), rows.columns().to_vec())?;
    lay_out(relation, new, rows, &moved, context)
}

/// The place of a column that no key, index or check needs.
fn droppable(column: &str, relation: &Relation) -> Result<usize> {
    let place = name::column(column, relation)?;
    let table = relation.as_table();
    let in_index = table
        .iter()
        .flat_map(|table| &table.indexes)
        .find(|index| index.columns.iter().any(|path| path.0[0] == place));
    let reads = |check: &&Check| {
        expression::parse(&check.sql)
            .is_ok_and(|expr| expression::columns_read(&expr, relation).contains(&place))
    };
    let in_check = table.iter().flat_map(|table| &table.checks).find(reads);
    let needed_by = match (relation.key.contains(&place), in_index, in_check) {
        (true, ..) => Some("the primary key".to_owned()),
        (_, Some(index), _) => Some(format!("index \"{}\"", index.name)),
        (.., Some(check)) => Some(format!("check \"{}\"", check.name)),
        _ => None,
    };
    match needed_by {
        None => Ok(place),
        Some(what) => {
            let message = format!(
                "column \"{column}\" of table \"{}\" is needed by {what}",
                relation.name
            );
            Err(
                Error::new(viewfeed_change::ErrorKind::Precondition, "COLUMN_IN_USE", message)
                    .hint(format!("drop {what} first")),
            )
        }
    }
}

fn rename_column(
    relation: &Arc<Relation>,
    from: &str,
    to: &str,
    context: &mut Context<'_>,
) -> Result<Arc<Relation>> {
    drop_table::refuse_if_read(relation, "rename a column of", false, context)?;
    let place = name::column(from, relation)?;
    let mut definition = Definition::of(Relation::clone(relation), Default::default());
    for check in &mut definition.table().checks {
        check.sql = renamed(&check.sql, from, to)?;
    }
    let mut column = relation.columns[place].clone();
    column.name = to.to_owned();
    definition.push(column.clone())?;
    definition.relation.columns.pop();
    definition.relation.columns[place] = column;
    let mut new = definition.relation;
    new.schema_version += 1;
    let rows = matched::all(relation, &context.txn.now())?;
    let rows = RecordBatch::try_new(new.schema(), rows.columns().to_vec())?;
    lay_out(relation, new, rows, &Some, context)
}

/// A condition with one column called otherwise.
fn renamed(sql: &str, from: &str, to: &str) -> Result<String> {
    let mut expr = expression::parse(sql)?;
    let _ = ast::visit_expressions_mut(&mut expr, |part| {
        if let Expr::Identifier(ident) = part
            && name::identifier(ident) == from
        {
            *ident = ast::Ident::with_quote('"', to);
        }
        ControlFlow::<()>::Continue(())
    });
    Ok(expr.to_string())
}

fn rename_table(
    relation: &Arc<Relation>,
    to: &ast::ObjectName,
    context: &mut Context<'_>,
) -> Result<Arc<Relation>> {
    drop_table::refuse_if_read(relation, "rename", false, context)?;
    let mut new = Relation::clone(relation);
    new.name = RelationName::new(relation.name.schema.clone(), name::last(to)?);
    let rows = matched::all(relation, &context.txn.now())?;
    lay_out(relation, new, rows, &Some, context)
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
