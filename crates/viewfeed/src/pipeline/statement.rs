//! Scripts: their statements one after another, as one transaction.

use super::Pipeline;
use super::epoch::{OpenEpoch, StatementAnswer};
use super::transaction::transaction;
use datafusion::sql::sqlparser::ast;
use std::collections::BTreeSet;
use std::sync::Arc;
use viewfeed_change::{Error, ErrorKind, Result};
use viewfeed_query::{Parsed, Purpose, Statement};
use viewfeed_source::embedded::{Context, Embedded};

/// Whether the statement can share an epoch with other transactions: it writes rows and can be rolled back alone.
pub(crate) fn only_writes_rows(parsed: &Parsed) -> bool {
    use ast::Statement::{Delete, Insert, Truncate, Update};
    let Statement::Sql(statement) = &parsed.statement else {
        return false;
    };
    matches!(**statement, Insert(_) | Update(_) | Delete(_) | Truncate(_))
}

impl Pipeline {
    /// Runs a script as one transaction.
    pub(super) fn script(
        &mut self,
        statements: &[Parsed],
        search_schema: &str,
        epoch: &mut OpenEpoch,
    ) -> Result<Vec<StatementAnswer>> {
        if statements.iter().all(only_writes_rows) {
            return transaction(&self.embedded, epoch, search_schema, |embedded, context| {
                statements
                    .iter()
                    .map(|parsed| write_rows(embedded, parsed, context))
                    .collect()
            });
        }
        let done = self.exclusive_script(statements, search_schema, epoch);
        epoch.is_broken |= done.is_err();
        done
    }

    /// Runs a script that changes what exists. On failure the epoch must be dropped.
    pub(super) fn exclusive_script(
        &mut self,
        statements: &[Parsed],
        search_schema: &str,
        epoch: &mut OpenEpoch,
    ) -> Result<Vec<StatementAnswer>> {
        let mut changes = Vec::new();
        let mut answers = Vec::with_capacity(statements.len());
        for parsed in statements {
            let before = changes.len();
            let Statement::Sql(statement) = &parsed.statement else {
                return Err(not_in_transaction(parsed));
            };
            answers.push(self.exclusive_statement(statement, parsed, search_schema, epoch, &mut changes)?);
            // Dropping a table takes back the changes it had in this transaction.
            epoch
                .pending
                .extend(changes[before.min(changes.len())..].iter().cloned());
        }
        epoch.push_transaction(changes);
        Ok(answers)
    }

    fn exclusive_statement(
        &mut self,
        statement: &ast::Statement,
        parsed: &Parsed,
        search_schema: &str,
        epoch: &mut OpenEpoch,
        changes: &mut Vec<viewfeed_change::Delta>,
    ) -> Result<StatementAnswer> {
        match statement {
            ast::Statement::Query(query) => {
                let plan = self
                    .planner
                    .plan(query, &epoch.relations, search_schema, Purpose::Batch)?;
                let rows = self.planner.execute(&plan, &epoch.txn.now(), epoch.now)?;
                Ok(StatementAnswer::Read(
                    Arc::new(plan.schema().as_arrow().clone()),
                    rows,
                ))
            }
            ast::Statement::CreateView(create) => {
                self.flush(epoch);
                self.create_view(create, search_schema, epoch)
            }
            ast::Statement::Drop {
                object_type,
                if_exists,
                names,
                cascade,
                ..
            } if is_view(object_type) => {
                self.flush(epoch);
                self.drop_views(names, *if_exists, *cascade, search_schema, epoch)
            }
            statement if Embedded::handles(statement) => {
                let relations = epoch.relations.clone();
                if !only_writes_rows(parsed) {
                    self.flush(epoch);
                }
                let mut touched = BTreeSet::new();
                let mut context = Context {
                    txn: &mut epoch.txn,
                    relations: &mut epoch.relations,
                    search_schema,
                    now: epoch.now,
                    changes,
                    touched: &mut touched,
                };
                let outcome = self.embedded.execute(statement, &mut context)?;
                self.follow_tables(&relations, epoch)?;
                Ok(StatementAnswer::Wrote(outcome))
            }
            _ => Err(not_in_transaction(parsed)),
        }
    }

    /// Brings the views up to date and makes everything so far readable for operators that are about to be built.
    pub(super) fn flush(&mut self, epoch: &mut OpenEpoch) {
        self.step(epoch);
        epoch.txn.seal();
    }
}

fn write_rows(embedded: &Embedded, parsed: &Parsed, context: &mut Context<'_>) -> Result<StatementAnswer> {
    let Statement::Sql(statement) = &parsed.statement else {
        return Err(not_in_transaction(parsed));
    };
    Ok(StatementAnswer::Wrote(embedded.execute(statement, context)?))
}

fn is_view(object_type: &ast::ObjectType) -> bool {
    matches!(
        object_type,
        ast::ObjectType::View | ast::ObjectType::MaterializedView
    )
}

fn not_in_transaction(parsed: &Parsed) -> Error {
    let verb: String = parsed
        .text
        .split_whitespace()
        .take(2)
        .collect::<Vec<_>>()
        .join(" ");
    Error::new(
        ErrorKind::Invalid,
        "UNSUPPORTED_STATEMENT",
        format!("line {}: {verb} is not supported here", parsed.line),
    )
    .hint("see the SQL reference for the statements viewfeed knows")
}
