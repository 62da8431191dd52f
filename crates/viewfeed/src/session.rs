//! SQL sessions: scripts in, answers out.
//!
//! A statement by itself, and a transaction that arrives whole, run in the loop one after another and never conflict. A
//! transaction that is left open at the end of a script runs on a *shadow* of the state it began with, and its COMMIT is
//! refused if anybody changed a relation it touched meanwhile.

mod explain;
mod interactive;
mod read;
mod show;
mod source;
mod system;

use crate::pipeline::{Committed, Failures, Job, StatementAnswer};
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::sql::sqlparser::ast;
use interactive::Interactive;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use viewfeed_catalog::Modules;
use viewfeed_change::{Clock, Column, Epoch, Error, ErrorKind, RelationName, Result};
use viewfeed_engine::ViewReport;
use viewfeed_feed::Feed;
use viewfeed_query::{Parsed, Planner, Purpose, Statement, parse};
use viewfeed_server::{Executed, Selected, SessionRequest};
use viewfeed_source::embedded::Embedded;
use viewfeed_store::Store;

/// How long a read waits for its `min_version`.
const MIN_VERSION_WAIT: Duration = Duration::from_secs(30);
/// Bytes of rows one statement may return.
const RESULT_BYTES_MAX: usize = 1 << 30;

/// What sessions need. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sessions {
    pub(crate) store: Store,
    pub(crate) planner: Planner,
    pub(crate) embedded: Embedded,
    pub(crate) feed: Feed,
    pub(crate) jobs: mpsc::Sender<Job>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) modules: watch::Receiver<Arc<Modules>>,
    pub(crate) failures: Failures,
}

/// One client's session.
struct Session {
    shared: Sessions,
    replies: mpsc::Sender<Executed>,
    open: Option<Interactive>,
}

impl Sessions {
    /// Serves one session until its client goes.
    pub(crate) async fn run(
        self,
        mut requests: mpsc::Receiver<SessionRequest>,
        replies: mpsc::Sender<Executed>,
    ) {
        let mut session = Session {
            shared: self,
            replies,
            open: None,
        };
        while let Some(request) = requests.recv().await {
            let last = match session.script(&request).await {
                Ok(()) => Executed::Done,
                Err(error) => {
                    session.fail_open_transaction();
                    Executed::Failed(error)
                }
            };
            if session.replies.send(last).await.is_err() {
                return;
            }
        }
    }

    /// Waits until `version` is visible.
    pub(crate) async fn wait_for(&self, version: u64) -> Result<()> {
        let wait = tokio::time::timeout(MIN_VERSION_WAIT, self.feed.wait_for(Epoch(version)));
        wait.await.map_err(|_| {
            let message = format!(
                "version {version} was not reached within {} s",
                MIN_VERSION_WAIT.as_secs()
            );
            Error::new(ErrorKind::Unavailable, "VERSION_NOT_REACHED", message)
                .hint("use a version that a write or a frame of this server returned")
        })
    }

    /// Runs a SELECT with parameters over the newest state.
    pub(crate) async fn select(
        &self,
        sql: String,
        params: Vec<arrow::array::ArrayRef>,
        search_schema: String,
        min_version: u64,
    ) -> Result<Selected> {
        self.wait_for(min_version).await?;
        let this = self.clone();
        blocking(move || {
            let (reader, relations) = (this.store.reader(), this.feed.relations());
            let plan =
                this.planner
                    .plan_with_params(&sql, &params, &relations, &search_schema, Purpose::Batch)?;
            let rows = this.planner.execute(&plan, &reader, this.clock.now())?;
            Ok(Selected {
                rows,
                version: reader.epoch().0,
            })
        })
        .await
    }

    /// What the loop knows about every view.
    async fn reports(&self) -> Result<Vec<ViewReport>> {
        let (reply, answer) = oneshot::channel();
        let sent = self.jobs.send(Job::Report { reply }).await;
        sent.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    }

    /// Asks the loop, and waits until it is done and durable.
    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<Result<T>>) -> Job) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(job(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }
}

impl Session {
    async fn script(&mut self, request: &SessionRequest) -> Result<()> {
        self.shared.wait_for(request.min_version).await?;
        let schema = match request.search_schema.as_str() {
            "" => RelationName::PUBLIC,
            schema => schema,
        };
        let mut statements: VecDeque<Parsed> = parse(&request.sql)?.into();
        while let Some(parsed) = statements.pop_front() {
            match control(&parsed) {
                Control::Begin if self.open.is_none() => match whole_transaction(&mut statements) {
                    Some(block) => self.transaction(block, schema).await?,
                    None => {
                        self.open = Some(Interactive::begin(&self.shared));
                        self.done("BEGIN", Vec::new()).await?;
                    }
                },
                Control::Begin => {
                    self.done("BEGIN", vec!["there is a transaction in progress already".into()])
                        .await?;
                }
                Control::Commit => self.commit().await?,
                Control::Rollback => {
                    self.open = None;
                    self.done("ROLLBACK", Vec::new()).await?;
                }
                Control::Other if self.open.is_some() => self.in_transaction(parsed, schema).await?,
                Control::Other => self.statement(parsed, schema).await?,
            }
        }
        Ok(())
    }

    /// A statement that is a transaction of its own.
    async fn statement(&mut self, parsed: Parsed, schema: &str) -> Result<()> {
        match &parsed.statement {
            Statement::Sql(statement) => match statement.as_ref() {
                ast::Statement::Query(query) => self.read(query.clone(), &parsed.text, schema).await,
                ast::Statement::Explain { statement, .. } => self.explain(statement, schema).await,
                _ => self.transaction(vec![parsed], schema).await,
            },
            Statement::ExplainView { name, verbose } => self.explain_view(name, *verbose, schema).await,
            Statement::Source(_) => Err(source::not_wired()),
            Statement::Show(show) => {
                let modules = self.shared.modules.borrow().clone();
                let (reader, relations) = (self.shared.store.reader(), self.shared.feed.relations());
                let state = (&reader, &self.shared.failures);
                let (schema, rows) = show::rows(show, &relations, &modules, schema, state)?;
                let version = reader.epoch();
                self.rows("SHOW", schema, vec![rows], version).await
            }
        }
    }

    /// Statements that run in the loop as one transaction.
    async fn transaction(&mut self, statements: Vec<Parsed>, schema: &str) -> Result<()> {
        let is_block = statements.len() != 1;
        let search_schema = schema.to_owned();
        let (answers, committed) = self
            .shared
            .ask(|reply| Job::Script {
                statements,
                search_schema,
                reply,
            })
            .await?;
        for answer in answers {
            self.answer(answer, committed).await?;
        }
        if is_block {
            self.command("COMMIT", committed.version, 0, Vec::new()).await
        } else {
            Ok(())
        }
    }

    async fn answer(&mut self, answer: StatementAnswer, committed: Committed) -> Result<()> {
        match answer {
            StatementAnswer::Wrote(outcome) => {
                if let Some((schema, rows)) = outcome.returning {
                    self.send_rows(schema, rows).await?;
                }
                self.command(&outcome.command, committed.version, outcome.rows, Vec::new())
                    .await
            }
            StatementAnswer::Read(schema, rows) => self.rows("SELECT", schema, rows, committed.version).await,
            StatementAnswer::Done { command, notices } => {
                self.command(command, committed.version, 0, notices).await
            }
        }
    }

    async fn text(&mut self, command: &str, column: &str, text: &str) -> Result<()> {
        let lines: arrow::array::StringArray = text.lines().map(Some).collect();
        let rows = RecordBatch::try_from_iter([(column, Arc::new(lines) as arrow::array::ArrayRef)])?;
        self.rows(command, rows.schema(), vec![rows], self.shared.feed.epoch())
            .await
    }

    async fn rows(
        &mut self,
        command: &str,
        schema: SchemaRef,
        rows: Vec<RecordBatch>,
        version: Epoch,
    ) -> Result<()> {
        let count = rows.iter().map(RecordBatch::num_rows).sum::<usize>() as u64;
        self.send_rows(schema, rows).await?;
        self.command(&format!("{command} {count}"), version, count, Vec::new())
            .await
    }

    async fn send_rows(&mut self, schema: SchemaRef, rows: Vec<RecordBatch>) -> Result<()> {
        self.send(Executed::Columns(columns(&schema))).await?;
        for batch in rows.into_iter().filter(|batch| batch.num_rows() > 0) {
            self.send(Executed::Rows(batch)).await?;
        }
        Ok(())
    }

    async fn done(&mut self, command: &str, notices: Vec<String>) -> Result<()> {
        self.command(command, self.shared.feed.epoch(), 0, notices).await
    }

    async fn command(
        &mut self,
        command: &str,
        version: Epoch,
        row_count: u64,
        notices: Vec<String>,
    ) -> Result<()> {
        self.send(Executed::Command {
            command: command.to_owned(),
            version: version.0,
            row_count,
            notices,
        })
        .await
    }

    async fn send(&mut self, executed: Executed) -> Result<()> {
        self.replies
            .send(executed)
            .await
            .map_err(|_| Error::new(ErrorKind::Cancelled, "CLIENT_GONE", "the client went away"))
    }
}

/// What a statement does to the session's transaction.
enum Control {
    Begin,
    Commit,
    Rollback,
    Other,
}

fn control(parsed: &Parsed) -> Control {
    let Statement::Sql(statement) = &parsed.statement else {
        return Control::Other;
    };
    match statement.as_ref() {
        ast::Statement::StartTransaction { .. } => Control::Begin,
        ast::Statement::Commit { .. } => Control::Commit,
        ast::Statement::Rollback { .. } => Control::Rollback,
        _ => Control::Other,
    }
}

/// The statements up to the next COMMIT, if it comes before a ROLLBACK: then the transaction has arrived whole.
fn whole_transaction(statements: &mut VecDeque<Parsed>) -> Option<Vec<Parsed>> {
    let end = statements
        .iter()
        .position(|parsed| !matches!(control(parsed), Control::Other))?;
    if !matches!(control(&statements[end]), Control::Commit) {
        return None;
    }
    let block = statements.drain(..end).collect();
    statements.pop_front();
    Some(block)
}

fn columns(schema: &Schema) -> Vec<Column> {
    let column = |(place, field): (usize, &Arc<arrow::datatypes::Field>)| {
        Column::new(
            place as u32,
            field.name(),
            field.data_type().clone(),
            field.is_nullable(),
        )
    };
    schema.fields().iter().enumerate().map(column).collect()
}

/// Runs work that computes or waits for the disk on a thread that may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.map_err(|error| Error::internal("a query stopped unexpectedly").because(error))?
}

fn too_large() -> Error {
    let message = format!("the result is larger than {} MiB", RESULT_BYTES_MAX >> 20);
    Error::new(ErrorKind::Exhausted, "RESULT_TOO_LARGE", message)
        .hint("add a LIMIT, or tail the relation instead")
}

fn stopping() -> Error {
    Error::new(ErrorKind::Unavailable, "STOPPING", "the server is stopping").hint("retry when it is up again")
}
