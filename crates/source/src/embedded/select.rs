//! The way of statements that need a plan: they become a SELECT over what the transaction sees now.

use super::{Context, Embedded, name};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::{self, Expr, SelectItem, TableWithJoins};
use std::ops::ControlFlow;
use std::sync::Arc;
use viewfeed_change::row::plain_type;
use viewfeed_change::{Error, Relation, Result};
use viewfeed_query::{Purpose, Statement};

/// `SELECT items [FROM from] [WHERE selection]`.
pub(super) fn query(
    items: Vec<SelectItem>,
    from: Vec<TableWithJoins>,
    selection: Option<Expr>,
) -> Result<ast::Query> {
    let broken = || Error::internal("SELECT 1 does not parse");
    let parsed = viewfeed_query::parse("SELECT 1")?.pop().ok_or_else(broken)?;
    let Statement::Sql(statement) = parsed.statement else {
        return Err(broken());
    };
    let ast::Statement::Query(mut query) = *statement else {
        return Err(broken());
    };
    let ast::SetExpr::Select(select) = query.body.as_mut() else {
        return Err(broken());
    };
    select.projection = items;
    select.from = from;
    select.selection = selection;
    Ok(*query)
}

/// Every column of the table the statement calls `alias`, hidden ones too.
pub(super) fn all_columns(alias: &str, relation: &Relation) -> Vec<SelectItem> {
    let quoted = |name: &str| ast::Ident::with_quote('"', name);
    let item = |(place, column): (usize, &viewfeed_change::Column)| SelectItem::ExprWithAlias {
        expr: Expr::CompoundIdentifier(vec![quoted(alias), quoted(&column.name)]),
        alias: quoted(&format!("column {place}")),
    };
    relation.columns.iter().enumerate().map(item).collect()
}

/// An expression as the item number `place`.
pub(super) fn item(expr: Expr, place: usize) -> SelectItem {
    let alias = ast::Ident::with_quote('"', format!("value {place}"));
    SelectItem::ExprWithAlias { expr, alias }
}

/// Runs a query; the rows in one batch. What it reads is added to the transaction's touched relations.
pub(super) fn run(embedded: &Embedded, query: &ast::Query, context: &mut Context<'_>) -> Result<RecordBatch> {
    let plan = embedded
        .planner
        .plan(query, context.relations, context.search_schema, Purpose::Batch)?;
    let schema = plain_schema(plan.schema().as_arrow());
    touch(query, context);
    let batches = embedded.planner.execute(&plan, &context.txn.now(), context.now)?;
    match batches.first().map(RecordBatch::schema) {
        None => Ok(RecordBatch::new_empty(schema)),
        Some(schema) => Ok(concat_batches(&schema, &batches)?),
    }
}

/// `schema` with the types values have in relations.
fn plain_schema(schema: &Schema) -> SchemaRef {
    let plain = |field: &Arc<Field>| {
        field
            .as_ref()
            .clone()
            .with_data_type(plain_type(field.data_type()))
    };
    Arc::new(Schema::new(schema.fields().iter().map(plain).collect::<Vec<_>>()))
}

/// Names of common table expressions are no relations: what does not resolve is left out.
fn touch(query: &ast::Query, context: &mut Context<'_>) {
    let Context {
        relations,
        search_schema,
        touched,
        ..
    } = context;
    let _ = ast::visit_relations(query, |relation| {
        let found = name::parts(relation)
            .and_then(|parts| Ok(relations.resolve(&parts.join("."), search_schema)?.id));
        touched.extend(found);
        ControlFlow::<()>::Continue(())
    });
}

/// What a statement calls its table: the name to qualify columns with, and whether it is an alias.
pub(super) fn target(table: &TableWithJoins) -> Result<(&ast::ObjectName, Option<String>)> {
    let plain = match &table.relation {
        ast::TableFactor::Table {
            name,
            alias,
            args: None,
            ..
        } if table.joins.is_empty() => Some((name, alias)),
        _ => None,
    };
    let (name, alias) =
        plain.ok_or_else(|| name::unsupported("a join as the table to change", "use FROM or USING"))?;
    Ok((name, alias.as_ref().map(|alias| name::identifier(&alias.name))))
}
