//! What a statement answers: its command and count, and RETURNING over the rows it wrote.

use super::expression::Scope;
use super::rules::Rules;
use super::{Context, Outcome, name};
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::{Expr, SelectItem};
use std::sync::Arc;
use viewfeed_change::row::plain_type;
use viewfeed_change::{Result, Timestamp};

/// The outcome of a statement that wrote (or deleted) `rows`.
pub(super) fn outcome(
    command: &str,
    rows: &RecordBatch,
    returning: Option<&[SelectItem]>,
    alias: Option<String>,
    rules: &Rules,
    context: &Context<'_>,
) -> Result<Outcome> {
    let scope = Scope {
        alias,
        ..Scope::table(&rules.relation)
    };
    let project = |items| project(items, rows, &scope, rules, context.now);
    Ok(Outcome {
        command: format!("{command} {}", rows.num_rows()),
        rows: rows.num_rows() as u64,
        returning: returning.map(project).transpose()?,
    })
}

fn project(
    items: &[SelectItem],
    rows: &RecordBatch,
    scope: &Scope<'_>,
    rules: &Rules,
    now: Timestamp,
) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let mut fields: Vec<Arc<Field>> = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    let mut put = |name: String, value: ArrayRef| -> Result<()> {
        let value = cast(&value, &plain_type(value.data_type()))?;
        fields.push(Arc::new(Field::new(name, value.data_type().clone(), true)));
        columns.push(value);
        Ok(())
    };
    for item in items {
        match item {
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => {
                for place in name::visible(scope.relation) {
                    put(
                        scope.relation.columns[place].name.clone(),
                        rows.column(place).clone(),
                    )?;
                }
            }
            SelectItem::UnnamedExpr(expr) => {
                put(
                    column_name(expr),
                    rules.evaluate(&scope.localise(expr)?, rows, now)?,
                )?;
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                put(
                    name::identifier(alias),
                    rules.evaluate(&scope.localise(expr)?, rows, now)?,
                )?;
            }
            SelectItem::ExprWithAliases { .. } => {
                return Err(name::unsupported(
                    "this form of RETURNING",
                    "give each expression one name",
                ));
            }
        }
    }
    let schema = Arc::new(Schema::new(fields));
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
    Ok((schema, vec![batch]))
}

/// The name Postgres gives a column without AS.
fn column_name(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(ident) => name::identifier(ident),
        Expr::CompoundIdentifier(idents) => idents.last().map(name::identifier).unwrap_or_default(),
        Expr::Nested(inner) => column_name(inner),
        Expr::Cast { expr, .. } => column_name(expr),
        Expr::Function(function) => name::last(&function.name).unwrap_or_default(),
        Expr::Case { .. } => "case".to_owned(),
        _ => "?column?".to_owned(),
    }
}

/// A statement that wrote no row.
pub(super) fn done(command: &str) -> Outcome {
    Outcome {
        command: command.to_owned(),
        rows: 0,
        returning: None,
    }
}
