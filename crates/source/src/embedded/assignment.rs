//! `SET column = value`: of UPDATE and of ON CONFLICT DO UPDATE.

use super::expression::{self, Scope};
use super::insert;
use super::literal::Cell;
use super::rules::Rules;
use super::{Context, coerce, constraint, name};
use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take;
use datafusion::sql::sqlparser::ast::{self, Expr};
use viewfeed_change::{Error, Relation, Result, Timestamp};

/// One column and what it becomes.
pub(super) struct Assignment<'a> {
    /// The column's place.
    pub(super) place: usize,
    /// Its new value.
    pub(super) value: Assigned<'a>,
}

/// A new value.
pub(super) enum Assigned<'a> {
    /// The same for every row.
    Cell(Cell<'a>),
    /// Computed from each row.
    Expr(&'a Expr),
}

impl<'a> Assignment<'a> {
    /// Reads a SET list.
    pub(super) fn read(
        list: &'a [ast::Assignment],
        relation: &Relation,
        now: Timestamp,
    ) -> Result<Vec<Self>> {
        let mut read: Vec<Self> = Vec::with_capacity(list.len());
        for (column, value) in pairs(list)? {
            let place = name::column(&name::last(column)?, relation)?;
            insert::refuse_hidden(place, relation)?;
            if read.iter().any(|assignment| assignment.place == place) {
                let message = format!(
                    "column \"{}\" is set more than once",
                    relation.columns[place].name
                );
                return Err(Error::invalid("DUPLICATE_COLUMN", message));
            }
            let cell = Cell::of(value, &relation.columns[place], now);
            read.push(Self {
                place,
                value: cell.map_or(Assigned::Expr(value), Assigned::Cell),
            });
        }
        Ok(read)
    }

    /// The expressions among `list`, in order.
    pub(super) fn exprs(list: &[Self]) -> impl Iterator<Item = &'a Expr> {
        list.iter().filter_map(|assignment| match assignment.value {
            Assigned::Expr(expr) => Some(expr),
            Assigned::Cell(_) => None,
        })
    }
}

/// `a = x` and `(a, b) = (x, y)` as single columns with single values.
fn pairs(list: &[ast::Assignment]) -> Result<Vec<(&ast::ObjectName, &Expr)>> {
    let mut pairs = Vec::with_capacity(list.len());
    for assignment in list {
        match (&assignment.target, &assignment.value) {
            (ast::AssignmentTarget::ColumnName(column), value) => pairs.push((column, value)),
            (ast::AssignmentTarget::Tuple(columns), Expr::Tuple(values)) if columns.len() == values.len() => {
                pairs.extend(columns.iter().zip(values));
            }
            (ast::AssignmentTarget::Tuple(columns), Expr::Nested(value)) if columns.len() == 1 => {
                pairs.push((&columns[0], value));
            }
            _ => {
                return Err(name::unsupported(
                    "this SET of several columns",
                    "set each column by itself",
                ));
            }
        }
    }
    Ok(pairs)
}

/// `old` with the assignments done. `computed` holds the values of [`Assignment::exprs`], one array each, before they are
/// of the columns' types.
pub(super) fn assign(
    list: &[Assignment<'_>],
    old: &RecordBatch,
    computed: &[ArrayRef],
    rules: &Rules,
    context: &mut Context<'_>,
) -> Result<RecordBatch> {
    let mut columns = old.columns().to_vec();
    let mut computed = computed.iter();
    for assignment in list {
        let column = &rules.relation.columns[assignment.place];
        columns[assignment.place] = match &assignment.value {
            Assigned::Cell(Cell::Default) => {
                rules.defaults(assignment.place, old.num_rows(), context.now, context.txn)?
            }
            Assigned::Cell(cell) => {
                let one = insert::finish(std::slice::from_ref(cell), assignment.place, &[], rules, context)?;
                take(&one, &UInt32Array::from(vec![0; old.num_rows()]), None)?
            }
            Assigned::Expr(_) => {
                let values = computed
                    .next()
                    .ok_or_else(|| Error::internal("an assignment was not computed"))?;
                coerce::coerce(values, column)?
            }
        };
    }
    constraint::admit(rules, columns, old.num_rows(), context.now)
}

/// The values of [`Assignment::exprs`] for `rows`, whose columns are the table's and what else `scope` allows.
pub(super) fn evaluate(
    list: &[Assignment<'_>],
    rows: &RecordBatch,
    scope: &Scope<'_>,
    rules: &Rules,
    now: Timestamp,
) -> Result<Vec<ArrayRef>> {
    Assignment::exprs(list)
        .map(|expr| rules.evaluate(&scope.localise(expr)?, rows, now))
        .collect()
}

/// Whether every assignment can be evaluated without a plan.
pub(super) fn is_scalar(list: &[Assignment<'_>]) -> bool {
    !Assignment::exprs(list).any(expression::has_subquery)
}
