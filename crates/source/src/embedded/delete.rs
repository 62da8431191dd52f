//! DELETE and TRUNCATE: one row by its key or all rows without a plan; otherwise a SELECT of the rows that go.

use super::default::sequences;
use super::expression::Scope;
use super::key_lookup::KeyLookup;
use super::rules::Rules;
use super::stage::{self, Edit};
use super::{Context, Embedded, Outcome, matched, name, returning, select};
use arrow::array::RecordBatch;
use datafusion::sql::sqlparser::ast::{self, FromTable, TableWithJoins};
use viewfeed_change::Result;
use viewfeed_store::keys;

/// Runs a DELETE.
pub(super) fn delete(
    embedded: &Embedded,
    statement: &ast::Delete,
    context: &mut Context<'_>,
) -> Result<Outcome> {
    let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &statement.from;
    let extra = !statement.tables.is_empty()
        || statement.output.is_some()
        || !statement.order_by.is_empty()
        || statement.limit.is_some();
    let ([from], false) = (from.as_slice(), extra) else {
        return Err(name::unsupported(
            "this form of DELETE",
            "use DELETE FROM t [USING …] [WHERE …] [RETURNING …]",
        ));
    };
    let (table, alias) = select::target(from)?;
    let relation = name::table(table, context)?;
    let rules = embedded.rules(&relation)?;
    let scope = Scope {
        alias: alias.clone(),
        ..Scope::table(&relation)
    };
    let lookup = match statement.using.is_none() {
        true => KeyLookup::of(statement.selection.as_ref(), &scope, context.now),
        false => None,
    };
    let old = match (lookup, &statement.selection, &statement.using) {
        (Some(lookup), ..) => lookup.row(&scope, &rules, context)?,
        (None, None, None) => matched::all(&relation, &context.txn.now())?,
        _ => planned(embedded, statement, from, &scope, &rules, context)?,
    };
    stage::apply(
        &rules,
        &Edit {
            old: Some(old.clone()),
            new: None,
        },
        context,
    )?;
    returning::outcome(
        "DELETE",
        &old,
        statement.returning.as_deref(),
        alias,
        &rules,
        context,
    )
}

/// The rows to delete.
fn planned(
    embedded: &Embedded,
    statement: &ast::Delete,
    table: &TableWithJoins,
    scope: &Scope<'_>,
    rules: &Rules,
    context: &mut Context<'_>,
) -> Result<RecordBatch> {
    let called = scope.alias.as_ref().unwrap_or(&scope.relation.name.name);
    let items = select::all_columns(called, scope.relation);
    let mut from = vec![table.clone()];
    from.extend(statement.using.iter().flatten().cloned());
    let query = select::query(items, from, statement.selection.clone())?;
    let found = select::run(embedded, &query, context)?;
    Ok(matched::rows(&found, statement.using.is_some(), rules, context)?.0)
}

/// Runs a TRUNCATE: deletes every row, and starts sequences again if asked to.
pub(super) fn truncate(
    embedded: &Embedded,
    statement: &ast::Truncate,
    context: &mut Context<'_>,
) -> Result<Outcome> {
    if matches!(statement.cascade, Some(ast::CascadeOption::Cascade)) || statement.partitions.is_some() {
        return Err(name::unsupported(
            "this form of TRUNCATE",
            "name every table that is to be emptied",
        ));
    }
    let mut outcome = returning::done("TRUNCATE TABLE");
    for target in &statement.table_names {
        let relation = match statement.if_exists {
            true => name::table_if_exists(&target.name, context)?,
            false => Some(name::table(&target.name, context)?),
        };
        let Some(relation) = relation else { continue };
        let rules = embedded.rules(&relation)?;
        let old = matched::all(&relation, &context.txn.now())?;
        outcome.rows += old.num_rows() as u64;
        stage::apply(
            &rules,
            &Edit {
                old: Some(old),
                new: None,
            },
            context,
        )?;
        if matches!(statement.identity, Some(ast::TruncateIdentityOption::Restart)) {
            sequences(&relation)
                .iter()
                .for_each(|name| context.txn.delete(keys::sequence(name)));
        }
    }
    Ok(outcome)
}
