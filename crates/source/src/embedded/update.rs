//! UPDATE: one row by its key without a plan; otherwise a SELECT of old rows beside new values.

use super::assignment::{self, Assignment};
use super::expression::Scope;
use super::key_lookup::KeyLookup;
use super::rules::Rules;
use super::stage::{self, Edit};
use super::{Context, Embedded, Outcome, matched, name, returning, select};
use arrow::array::{ArrayRef, RecordBatch};
use datafusion::sql::sqlparser::ast::{self, UpdateTableFromKind};
use viewfeed_change::Result;

/// Runs an UPDATE.
pub(super) fn update(
    embedded: &Embedded,
    statement: &ast::Update,
    context: &mut Context<'_>,
) -> Result<Outcome> {
    if statement.or.is_some()
        || statement.output.is_some()
        || statement.limit.is_some()
        || !statement.order_by.is_empty()
    {
        return Err(name::unsupported(
            "this form of UPDATE",
            "use UPDATE t SET … [FROM …] [WHERE …] [RETURNING …]",
        ));
    }
    let (table, alias) = select::target(&statement.table)?;
    let relation = name::table(table, context)?;
    let rules = embedded.rules(&relation)?;
    let scope = Scope {
        alias: alias.clone(),
        ..Scope::table(&relation)
    };
    let list = Assignment::read(&statement.assignments, &relation, context.now)?;
    let lookup = match statement.from.is_none() && assignment::is_scalar(&list) {
        true => KeyLookup::of(statement.selection.as_ref(), &scope, context.now),
        false => None,
    };
    let (old, computed) = match lookup {
        Some(lookup) => {
            let old = lookup.row(&scope, &rules, context)?;
            let computed = assignment::evaluate(&list, &old, &scope, &rules, context.now)?;
            (old, computed)
        }
        None => planned(embedded, statement, &list, &scope, &rules, context)?,
    };
    let new = assignment::assign(&list, &old, &computed, &rules, context)?;
    let edit = Edit {
        old: Some(old),
        new: Some(new.clone()),
    };
    stage::apply(&rules, &edit, context)?;
    returning::outcome(
        "UPDATE",
        &new,
        statement.returning.as_deref(),
        alias,
        &rules,
        context,
    )
}

/// The rows to change, and the values of the expressions to set.
fn planned(
    embedded: &Embedded,
    statement: &ast::Update,
    list: &[Assignment<'_>],
    scope: &Scope<'_>,
    rules: &Rules,
    context: &mut Context<'_>,
) -> Result<(RecordBatch, Vec<ArrayRef>)> {
    let called = scope.alias.as_ref().unwrap_or(&scope.relation.name.name);
    let mut items = select::all_columns(called, scope.relation);
    items.extend(
        Assignment::exprs(list)
            .enumerate()
            .map(|(place, expr)| select::item(expr.clone(), place)),
    );
    let mut from = vec![statement.table.clone()];
    if let Some(UpdateTableFromKind::BeforeSet(others) | UpdateTableFromKind::AfterSet(others)) =
        &statement.from
    {
        from.extend(others.iter().cloned());
    }
    let query = select::query(items, from, statement.selection.clone())?;
    let found = select::run(embedded, &query, context)?;
    let joined = statement.from.is_some();
    matched::rows(&found, joined, rules, context)
}
