//! Scalar expressions over the rows of one table: checks, defaults, SET, RETURNING. Compiled once, evaluated on batches.
//!
//! Subqueries are no scalars: statements that hold one are planned as a SELECT instead.

use super::name::{self, identifier};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::sql::sqlparser::ast::{self, Expr};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use viewfeed_change::{Error, Relation, Result, Timestamp};
use viewfeed_query::{Planner, Statement};

/// How the rows of a table may be called in an expression.
pub(super) struct Scope<'a> {
    /// The table.
    pub(super) relation: &'a Relation,
    /// What the statement calls it.
    pub(super) alias: Option<String>,
    /// Whether `excluded.column` is the row that was proposed for insertion.
    pub(super) excluded: bool,
}

impl<'a> Scope<'a> {
    /// Columns by their names, or after the table's.
    pub(super) fn table(relation: &'a Relation) -> Self {
        Self {
            relation,
            alias: None,
            excluded: false,
        }
    }

    /// `expr` with every qualified column of the table called by its name alone. Fails on a subquery.
    pub(super) fn localise(&self, expr: &Expr) -> Result<Expr> {
        if has_subquery(expr) {
            return Err(name::unsupported(
                "a subquery here",
                "use INSERT … SELECT or UPDATE … FROM instead",
            ));
        }
        let mut expr = expr.clone();
        let _ = ast::visit_expressions_mut(&mut expr, |part| {
            if let Expr::CompoundIdentifier(idents) = part
                && let Some(ident) = self.local(idents)
            {
                *part = ident;
            }
            ControlFlow::<()>::Continue(())
        });
        Ok(expr)
    }

    fn local(&self, idents: &[ast::Ident]) -> Option<Expr> {
        let (column, qualifier) = idents.split_last()?;
        let qualifier: Vec<String> = qualifier.iter().map(identifier).collect();
        let own = match (&self.alias, qualifier.as_slice()) {
            (Some(alias), [name]) => name == alias,
            (None, [name]) => *name == self.relation.name.name,
            (None, [schema, name]) => {
                *schema == self.relation.name.schema && *name == self.relation.name.name
            }
            _ => false,
        };
        if own {
            return Some(Expr::Identifier(column.clone()));
        }
        (self.excluded && qualifier == ["excluded"])
            .then(|| Expr::Identifier(ast::Ident::with_quote('"', excluded_name(&identifier(column)))))
    }
}

/// What a column of the proposed row is called beside the columns of the table.
pub(super) fn excluded_name(column: &str) -> String {
    format!("excluded${column}")
}

/// An expression ready to be evaluated.
pub(super) struct Scalar {
    expr: Expr,
    /// None if it depends on the time: then it is compiled with the time of each transaction.
    compiled: Option<Arc<dyn PhysicalExpr>>,
}

impl Scalar {
    /// Compiles an expression that is local to rows of `schema` (see [`Scope::localise`]).
    pub(super) fn new(expr: Expr, schema: &SchemaRef, planner: &Planner) -> Result<Self> {
        let sql = expr.to_string();
        let compiled = match asks_time(&expr) {
            // Compiled to find what is wrong with it, then thrown away.
            true => planner
                .scalar_at(&sql, schema, None, Timestamp(0))
                .map(|_| None)?,
            false => Some(planner.scalar(&sql, schema, None)?),
        };
        Ok(Self { expr, compiled })
    }

    /// One value for each of `rows`.
    pub(super) fn evaluate(&self, rows: &RecordBatch, planner: &Planner, now: Timestamp) -> Result<ArrayRef> {
        let compiled = match &self.compiled {
            Some(compiled) => compiled.clone(),
            None => planner.scalar_at(&self.expr.to_string(), &rows.schema(), None, now)?,
        };
        let value = compiled.evaluate(rows).map_err(evaluation)?;
        value.into_array(rows.num_rows()).map_err(evaluation)
    }

    /// Whether every evaluation gives the same.
    pub(super) fn is_constant(&self) -> bool {
        self.compiled
            .as_ref()
            .is_some_and(|expr| !datafusion::physical_expr_common::physical_expr::is_volatile(expr))
    }
}

/// DataFusion's messages may name values, so only the kind of failure is kept.
fn evaluation(error: DataFusionError) -> Error {
    use arrow::error::ArrowError;
    let message = match error.find_root() {
        DataFusionError::ArrowError(error, _) => match **error {
            ArrowError::DivideByZero => "division by zero",
            ArrowError::ArithmeticOverflow(_) => "arithmetic overflow",
            ArrowError::CastError(_) => "a value cannot be cast",
            _ => "computing a value failed",
        },
        _ => "computing a value failed",
    };
    Error::invalid("EVALUATION", message)
}

/// Whether `expr` calls `now()` or its like.
fn asks_time(expr: &Expr) -> bool {
    ast::visit_expressions(expr, |part| match part {
        Expr::Function(function) if is_time(function) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}

fn is_time(function: &ast::Function) -> bool {
    name::last(&function.name).is_ok_and(|name| {
        matches!(
            &*name,
            "now"
                | "current_timestamp"
                | "transaction_timestamp"
                | "statement_timestamp"
                | "localtimestamp"
                | "current_date"
                | "today"
                | "current_time"
                | "localtime"
        )
    })
}

/// Whether `expr` holds a SELECT.
pub(super) fn has_subquery(expr: &Expr) -> bool {
    ast::visit_expressions(expr, |part| match part {
        Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => ControlFlow::Break(()),
        Expr::Function(function) if matches!(function.args, ast::FunctionArguments::Subquery(_)) => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}

/// The places of the columns an expression reads, if it is local.
pub(super) fn columns_read(expr: &Expr, relation: &Relation) -> BTreeSet<usize> {
    let mut places = BTreeSet::new();
    let _ = ast::visit_expressions(expr, |part| {
        if let Expr::Identifier(ident) = part {
            places.extend(relation.column(&identifier(ident)));
        }
        ControlFlow::<()>::Continue(())
    });
    places
}

/// The expression that `sql` is.
pub(super) fn parse(sql: &str) -> Result<Expr> {
    let broken = || Error::internal("a stored expression does not parse");
    let parsed = viewfeed_query::parse(&format!("SELECT {sql}"))?
        .pop()
        .ok_or_else(broken)?;
    let Statement::Sql(statement) = parsed.statement else {
        return Err(broken());
    };
    let ast::Statement::Query(query) = *statement else {
        return Err(broken());
    };
    let ast::SetExpr::Select(mut select) = *query.body else {
        return Err(broken());
    };
    match select.projection.pop() {
        Some(ast::SelectItem::UnnamedExpr(expr)) => Ok(expr),
        _ => Err(broken()),
    }
}
