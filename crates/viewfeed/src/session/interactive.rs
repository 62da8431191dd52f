//! A transaction that is left open between scripts: it runs on a shadow of the state it began with.

use super::{Session, Sessions, blocking, columns};
use crate::pipeline::{Job, Shadow};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast;
use std::collections::BTreeSet;
use std::sync::Arc;
use viewfeed_change::{Error, ErrorKind, RelationId, Result, Timestamp};
use viewfeed_query::{Parsed, Purpose, Statement, relation_of};
use viewfeed_server::Executed;
use viewfeed_source::embedded::{Context, Outcome};

/// An open transaction.
pub(super) enum Interactive {
    /// Statements can be run.
    Active {
        /// What was done so far.
        shadow: Box<Shadow>,
        /// The one time of the transaction.
        now: Timestamp,
    },
    /// A statement failed: only ROLLBACK is left.
    Failed,
}

/// What a statement on a shadow gives.
enum Done {
    Wrote(Outcome),
    Read(SchemaRef, Vec<RecordBatch>),
}

impl Interactive {
    /// Begins on the newest state.
    pub(super) fn begin(shared: &Sessions) -> Self {
        let txn = shared.store.shadow();
        let shadow = Shadow {
            base: txn.now().epoch(),
            txn,
            relations: shared.feed.relations(),
            changes: Vec::new(),
            touched: BTreeSet::new(),
        };
        Self::Active {
            shadow: Box::new(shadow),
            now: shared.clock.now(),
        }
    }
}

impl Session {
    /// Runs a statement in the open transaction.
    pub(super) async fn in_transaction(&mut self, parsed: Parsed, search_schema: &str) -> Result<()> {
        let Some(Interactive::Active { mut shadow, now }) = self.open.replace(Interactive::Failed) else {
            return Err(Error::new(
                ErrorKind::Precondition,
                "TRANSACTION_FAILED",
                "an earlier statement of the transaction failed",
            )
            .hint("send ROLLBACK, then begin again"));
        };
        let (shared, schema) = (self.shared.clone(), search_schema.to_owned());
        let (shadow, done) = blocking(move || {
            let done = run(&shared, &mut shadow, &parsed, &schema, now)?;
            Ok((shadow, done))
        })
        .await?;
        let version = shadow.base;
        self.open = Some(Interactive::Active { shadow, now });
        match done {
            Done::Read(schema, rows) => self.rows("SELECT", schema, rows, version).await,
            Done::Wrote(outcome) => {
                if let Some((schema, rows)) = outcome.returning {
                    self.send(Executed::Columns(columns(&schema))).await?;
                    for batch in rows {
                        self.send(Executed::Rows(batch)).await?;
                    }
                }
                self.command(&outcome.command, version, outcome.rows, Vec::new())
                    .await
            }
        }
    }

    /// COMMIT.
    pub(super) async fn commit(&mut self) -> Result<()> {
        match self.open.take() {
            None => {
                self.done("COMMIT", vec!["there is no transaction in progress".into()])
                    .await
            }
            Some(Interactive::Failed) => {
                self.done(
                    "ROLLBACK",
                    vec!["the transaction had failed and was rolled back".into()],
                )
                .await
            }
            Some(Interactive::Active { shadow, .. }) => {
                let ((), committed) = self.shared.ask(|reply| Job::Adopt { shadow, reply }).await?;
                self.command("COMMIT", committed.version, 0, Vec::new()).await
            }
        }
    }

    /// After a failure inside an open transaction only ROLLBACK is left, as in Postgres.
    pub(super) fn fail_open_transaction(&mut self) {
        if self.open.is_some() {
            self.open = Some(Interactive::Failed);
        }
    }
}

fn run(
    shared: &Sessions,
    shadow: &mut Shadow,
    parsed: &Parsed,
    search_schema: &str,
    now: Timestamp,
) -> Result<Done> {
    let Statement::Sql(statement) = &parsed.statement else {
        return Err(only_rows());
    };
    match statement.as_ref() {
        ast::Statement::Query(query) => {
            let plan = shared
                .planner
                .plan(query, &shadow.relations, search_schema, Purpose::Batch)?;
            collect_relations(&plan, &mut shadow.touched)?;
            let rows = shared.planner.execute(&plan, &shadow.txn.now(), now)?;
            Ok(Done::Read(Arc::new(plan.schema().as_arrow().clone()), rows))
        }
        statement if crate::pipeline::only_writes_rows(parsed) => {
            let mut context = Context {
                txn: &mut shadow.txn,
                relations: &mut shadow.relations,
                search_schema,
                now,
                changes: &mut shadow.changes,
                touched: &mut shadow.touched,
            };
            Ok(Done::Wrote(shared.embedded.execute(statement, &mut context)?))
        }
        _ => Err(only_rows()),
    }
}

/// Adds every relation a plan reads.
fn collect_relations(plan: &LogicalPlan, touched: &mut BTreeSet<RelationId>) -> Result<()> {
    let visited = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            touched.extend(relation_of(scan).map(|relation| relation.id));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    visited
        .map(|_| ())
        .map_err(|error| Error::internal("a plan could not be walked").because(error))
}

fn only_rows() -> Error {
    Error::invalid(
        "DDL_IN_TRANSACTION",
        "an open transaction can only read and write rows",
    )
    .hint("send BEGIN, the statements and COMMIT in one script to change tables and views atomically")
}
