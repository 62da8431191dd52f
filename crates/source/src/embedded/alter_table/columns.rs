//! Columns that come, go and change their name.

use super::super::default::sequence_name;
use super::super::definition::Definition;
use super::super::{Context, Embedded, constraint, drop_table, expression, index, matched, name};
use super::layout::lay_out;
use arrow::array::{ArrayRef, RecordBatch};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{self, Expr};
use std::ops::ControlFlow;
use std::sync::Arc;
use viewfeed_change::{Batch, Check, Column, Error, ErrorKind, Relation, RelationKind, Result};
use viewfeed_store::keys;

/// Adds a column with its constraints; stored rows get its default, else NULL.
pub(super) fn add_column(
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
pub(in super::super) fn add_columns(
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

/// Takes columns away that nothing needs.
pub(super) fn drop_columns(
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
    if let RelationKind::Table(table) = &mut new.kind {
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
            Err(Error::new(ErrorKind::Precondition, "COLUMN_IN_USE", message)
                .hint(format!("drop {what} first")))
        }
    }
}

/// Calls a column otherwise, in checks too.
pub(super) fn rename_column(
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
    // The layout does not tell names, so the stored rows stay as they are.
    let new = Arc::make_mut(context.relations).put(new)?;
    for delta in context
        .changes
        .iter_mut()
        .filter(|delta| delta.relation == new.id)
    {
        let rows = RecordBatch::try_new(new.schema(), delta.batch.rows().columns().to_vec())?;
        delta.batch = Batch::new(rows, delta.batch.weights().to_vec())?;
    }
    Ok(new)
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
