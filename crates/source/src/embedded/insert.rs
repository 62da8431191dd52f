//! INSERT: from VALUES without a plan, from a query with one; conflicts and RETURNING after that.

use super::literal::Cell;
use super::rules::Rules;
use super::stage::{self, Edit};
use super::values::{self, Meaning};
use super::{
    Context, Embedded, Outcome, coerce, conflict, constraint, expression, literal, name, returning, select,
};
use arrow::array::{ArrayRef, RecordBatch};
use datafusion::sql::sqlparser::ast::{self, Expr};
use viewfeed_change::{Error, Relation, Result};

/// Values for some columns of a table, by place; None is the default.
pub(super) struct Proposed {
    /// One entry for each column of the table.
    pub(super) columns: Vec<Option<ArrayRef>>,
    /// How many rows.
    pub(super) count: usize,
}

impl Proposed {
    /// Whole rows of the table, with defaults where nothing is given. Fails on a row that may not be stored.
    pub(super) fn admit(self, rules: &Rules, context: &mut Context<'_>) -> Result<RecordBatch> {
        let count = self.count;
        let fill = |(place, given): (usize, Option<ArrayRef>)| match given {
            Some(array) => Ok(array),
            None => rules.defaults(place, count, context.now, context.txn),
        };
        let columns = self
            .columns
            .into_iter()
            .enumerate()
            .map(fill)
            .collect::<Result<_>>()?;
        constraint::admit(rules, columns, count, context.now)
    }
}

/// Runs an INSERT.
pub(super) fn insert(
    embedded: &Embedded,
    statement: &ast::Insert,
    context: &mut Context<'_>,
) -> Result<Outcome> {
    refuse_dialects(statement)?;
    let ast::TableObject::TableName(table) = &statement.table else {
        return Err(name::unsupported("INSERT into a function", "insert into a table"));
    };
    let relation = name::table(table, context)?;
    let rules = embedded.rules(&relation)?;
    let rows = propose(embedded, statement, &rules, context)?.admit(&rules, context)?;
    let alias = statement
        .table_alias
        .as_ref()
        .map(|alias| name::identifier(&alias.alias));
    let edit = match &statement.on {
        None => Edit {
            new: Some(rows),
            ..Edit::default()
        },
        Some(ast::OnInsert::OnConflict(on)) => conflict::resolve(on, rows, alias.clone(), &rules, context)?,
        Some(_) => {
            let hint = "use ON CONFLICT (key) DO UPDATE SET …";
            return Err(name::unsupported("ON DUPLICATE KEY", hint));
        }
    };
    stage::apply(&rules, &edit, context)?;
    let written = edit
        .new
        .unwrap_or_else(|| RecordBatch::new_empty(rules.schema.clone()));
    let returning = statement.returning.as_deref();
    returning::outcome("INSERT", &written, returning, alias, &rules, context)
}

/// The values that are given, from wherever they come.
fn propose(
    embedded: &Embedded,
    statement: &ast::Insert,
    rules: &Rules,
    context: &mut Context<'_>,
) -> Result<Proposed> {
    let targets = targets(statement, &rules.relation)?;
    match &statement.source {
        None => Ok(Proposed {
            columns: vec![None; rules.relation.columns.len()],
            count: 1,
        }),
        Some(query) => match &*query.body {
            ast::SetExpr::Values(values) if is_bare(query) => {
                from_values(embedded, values, &targets, statement, rules, context)
            }
            _ => from_query(embedded, query, &targets, statement, rules, context),
        },
    }
}

fn refuse_dialects(statement: &ast::Insert) -> Result<()> {
    let other = statement.or.is_some()
        || statement.ignore
        || statement.overwrite
        || statement.replace_into
        || !statement.assignments.is_empty()
        || statement.partitioned.is_some()
        || statement.output.is_some()
        || statement.multi_table_insert_type.is_some();
    match other {
        true => Err(name::unsupported(
            "this form of INSERT",
            "use INSERT INTO t (…) VALUES (…) [ON CONFLICT …]",
        )),
        false => Ok(()),
    }
}

/// The places of the columns that values are given for, in their order.
fn targets(statement: &ast::Insert, relation: &Relation) -> Result<Vec<usize>> {
    if statement.columns.is_empty() {
        return Ok(name::visible(relation).collect());
    }
    let mut places = Vec::with_capacity(statement.columns.len());
    for column in &statement.columns {
        let place = name::column(&name::last(column)?, relation)?;
        refuse_hidden(place, relation)?;
        if places.contains(&place) {
            let message = format!(
                "column \"{}\" is given more than once",
                relation.columns[place].name
            );
            return Err(Error::invalid("DUPLICATE_COLUMN", message));
        }
        places.push(place);
    }
    Ok(places)
}

/// Hidden columns are filled by the server only.
pub(super) fn refuse_hidden(place: usize, relation: &Relation) -> Result<()> {
    if !relation.columns[place].hidden {
        return Ok(());
    }
    let message = format!(
        "column \"{}\" is filled by the server",
        relation.columns[place].name
    );
    Err(Error::invalid("GENERATED_COLUMN", message).hint("leave it out"))
}

/// Whether the query is nothing but its body.
fn is_bare(query: &ast::Query) -> bool {
    query.with.is_none() && query.order_by.is_none() && query.limit_clause.is_none() && query.fetch.is_none()
}

/// Checks how many values a row has against the columns they are for; without a column list the last may be left out.
fn check_count(count: usize, targets: &[usize], statement: &ast::Insert) -> Result<()> {
    let fits = count == targets.len() || (count < targets.len() && statement.columns.is_empty());
    if fits && count > 0 {
        return Ok(());
    }
    let message = format!("{count} values are given for {} columns", targets.len());
    Err(Error::invalid("COLUMN_COUNT", message).hint("give one value for each column"))
}

fn from_values(
    embedded: &Embedded,
    values: &ast::Values,
    targets: &[usize],
    statement: &ast::Insert,
    rules: &Rules,
    context: &mut Context<'_>,
) -> Result<Proposed> {
    let relation = &rules.relation;
    let width = values.rows.first().map_or(0, |row| row.content.len());
    let mut cells: Vec<Vec<Cell<'_>>> = (0..width)
        .map(|_| Vec::with_capacity(values.rows.len()))
        .collect();
    let mut computed = Vec::new();
    for row in &values.rows {
        check_count(row.content.len(), targets, statement)?;
        if row.content.len() != width {
            return Err(Error::invalid(
                "COLUMN_COUNT",
                "the rows of VALUES are not of one length",
            ));
        }
        for ((expr, place), cells) in row.content.iter().zip(targets).zip(&mut cells) {
            cells.push(
                Cell::of(expr, &relation.columns[*place], context.now).unwrap_or_else(|| {
                    computed.push(expr.clone());
                    Cell::Computed(computed.len() - 1)
                }),
            );
        }
    }
    let computed = compute(embedded, computed, context)?;
    let mut columns = vec![None; relation.columns.len()];
    for (cells, place) in cells.iter().zip(targets) {
        columns[*place] = Some(finish(cells, *place, &computed, rules, context)?);
    }
    Ok(Proposed {
        columns,
        count: values.rows.len(),
    })
}

/// The column for `cells`, with the defaults that some of them ask for.
pub(super) fn finish(
    cells: &[Cell<'_>],
    place: usize,
    computed: &[ArrayRef],
    rules: &Rules,
    context: &mut Context<'_>,
) -> Result<ArrayRef> {
    let count = cells.iter().filter(|cell| matches!(cell, Cell::Default)).count();
    let defaults = (count > 0)
        .then(|| rules.defaults(place, count, context.now, context.txn))
        .transpose()?;
    values::column(
        cells,
        &rules.relation.columns[place],
        &Meaning { computed, defaults },
    )
}

/// One value for each expression that is no literal: all of them in one plan.
fn compute(embedded: &Embedded, exprs: Vec<Expr>, context: &mut Context<'_>) -> Result<Vec<ArrayRef>> {
    if exprs.is_empty() {
        return Ok(Vec::new());
    }
    if exprs.iter().any(is_misplaced_default) {
        return Err(Error::invalid("INVALID_DEFAULT", "DEFAULT stands alone")
            .hint("write DEFAULT without an expression"));
    }
    let items = exprs
        .into_iter()
        .enumerate()
        .map(|(place, expr)| select::item(expr, place))
        .collect();
    let row = select::run(embedded, &select::query(items, Vec::new(), None)?, context)?;
    Ok(row.columns().to_vec())
}

fn is_misplaced_default(expr: &Expr) -> bool {
    use std::ops::ControlFlow;
    !expression::has_subquery(expr)
        && ast::visit_expressions(expr, |part| match part {
            Expr::Identifier(ident) if literal::is_default(ident) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
        .is_break()
}

fn from_query(
    embedded: &Embedded,
    query: &ast::Query,
    targets: &[usize],
    statement: &ast::Insert,
    rules: &Rules,
    context: &mut Context<'_>,
) -> Result<Proposed> {
    let rows = select::run(embedded, query, context)?;
    check_count(rows.num_columns(), targets, statement)?;
    let mut columns = vec![None; rules.relation.columns.len()];
    for (array, place) in rows.columns().iter().zip(targets) {
        columns[*place] = Some(coerce::coerce(array, &rules.relation.columns[*place])?);
    }
    Ok(Proposed {
        columns,
        count: rows.num_rows(),
    })
}
