//! The rows that were there before: tables read in the snapshot that a slot exported, exactly joined to its stream.
//!
//! Owns which pieces are read by whom and what makes them one snapshot; how the bytes become rows is left to `parser`.
//!
//! All tables are cut into pieces, ranges of pages, which stand in one queue in the order of the tables; every worker takes
//! the next one. So a large table is read by all, small ones at once, and nobody is idle before the end. Every worker has a
//! connection with a transaction in the snapshot from beginning to end: what a table was locked with stays.

mod pages;
mod parser;
mod plan;
mod progress;
mod worker;

pub use pages::{PageRange, ReadPages};
pub use progress::{CopyEstimate, CopyProgress, TableProgress};

use super::pgoutput::Oid;
use super::{TableShape, failure};
use arrow::array::RecordBatch;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_postgres::Client;
use viewfeed_change::{Error, Result};
use worker::Worker;

/// The pages of a piece unless told otherwise: 32 MiB of the usual size.
const PIECE_PAGES: u32 = 4096;
/// How many connections read unless told otherwise.
const WORKERS: usize = 4;
/// Batches that wait for whoever takes them: with those that the workers fill they bound the memory.
const BATCHES_WAITING_MAX: usize = 8;

/// How tables are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyOptions {
    /// How many connections read beside each other; at least one does.
    pub workers: usize,
    /// How many pages a piece has; at least one. Servers before version 14 read whole tables.
    pub piece_pages: u32,
    /// Whether values come in binary, where that can be read.
    pub binary: bool,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            workers: WORKERS,
            piece_pages: PIECE_PAGES,
            binary: true,
        }
    }
}

/// What happens while tables are read.
#[derive(Clone, Debug)]
pub enum CopyEvent {
    /// Some rows of a table, in no particular order, with the schema [`TableShape::row_schema`].
    Copied {
        /// The table.
        table: Oid,
        /// The rows: at least one.
        rows: RecordBatch,
    },
    /// All rows of these pages have come.
    Read {
        /// The table.
        table: Oid,
        /// The pages.
        pages: PageRange,
    },
    /// That was all of it.
    Finished {
        /// The table.
        table: Oid,
        /// How many rows have come.
        rows: u64,
    },
}

/// Tables that are about to be read: they are locked against being written anew, by the transaction of `first`.
pub struct PlannedCopy<C> {
    first: Arc<C>,
    snapshot: String,
    tables: Vec<TableShape>,
    /// What of each is not to be read.
    skipped: Vec<ReadPages>,
    plan: plan::Plan,
    options: CopyOptions,
}

/// Tables as they are read. Ends with its last event, or when dropped.
pub struct SnapshotCopy {
    events: mpsc::Receiver<Result<CopyEvent>>,
    progress: Arc<CopyProgress>,
    workers: JoinSet<()>,
    finished: usize,
}

impl SnapshotCopy {
    /// Begins to read `tables` as they are in `snapshot`, all of them: [`SnapshotCopy::plan`] and [`PlannedCopy::start`].
    pub async fn start<C, F, Fut>(
        connect: F,
        snapshot: &str,
        tables: &[TableShape],
        options: CopyOptions,
    ) -> Result<Self>
    where
        C: AsRef<Client> + Send + Sync + 'static,
        F: Fn() -> Fut,
        Fut: Future<Output = Result<C>>,
    {
        let planned = Self::plan(connect().await?, snapshot, tables, options).await?;
        planned.start(connect).await
    }

    /// Makes ready to read `tables` as they are in `snapshot`, with the connection `first`. Fails as `Conflict`/`TABLE_REWRITTEN` if a
    /// table was written anew after the snapshot was taken, which then cannot be read in it: take another one.
    pub async fn plan<C: AsRef<Client>>(
        first: C,
        snapshot: &str,
        tables: &[TableShape],
        options: CopyOptions,
    ) -> Result<PlannedCopy<C>> {
        enter(first.as_ref(), snapshot).await?;
        let plan = plan::plan(first.as_ref(), tables, options.piece_pages).await?;
        Ok(PlannedCopy {
            first: Arc::new(first),
            snapshot: snapshot.to_owned(),
            tables: tables.to_vec(),
            skipped: vec![ReadPages::default(); tables.len()],
            plan,
            options,
        })
    }

    /// What happened next; none when all tables are finished. After an error all has ended.
    pub async fn next(&mut self) -> Result<Option<CopyEvent>> {
        match self.events.recv().await {
            Some(Ok(event)) => {
                self.finished += usize::from(matches!(event, CopyEvent::Finished { .. }));
                Ok(Some(event))
            }
            Some(Err(error)) => {
                self.workers.abort_all();
                self.events.close();
                Err(error)
            }
            None if self.finished == self.progress.tables.len() => Ok(None),
            None => Err(Error::internal(
                "the copy of a snapshot ended before all tables were read",
            )),
        }
    }

    /// How far it is; may be kept and looked at from elsewhere.
    pub fn progress(&self) -> Arc<CopyProgress> {
        self.progress.clone()
    }
}

impl<C: AsRef<Client> + Send + Sync + 'static> PlannedCopy<C> {
    /// Leaves out the pages of a table that were read before; false, and nothing is left out, if it was written anew since: then its
    /// rows are elsewhere, and those that were read are worth nothing.
    pub fn skip(&mut self, table: Oid, read: &ReadPages) -> bool {
        let Some(place) = self.tables.iter().position(|shape| shape.oid == table) else {
            return false;
        };
        let has_files = self.plan.has_files_of(place, read);
        if has_files {
            self.skipped[place] = read.clone();
        }
        has_files
    }

    /// Begins to read. `connect` gives new connections. The snapshot must still be exported; when this returns it need not be any
    /// more.
    pub async fn start<F, Fut>(self, connect: F) -> Result<SnapshotCopy>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<C>>,
    {
        let pieces = self.plan.pieces(&self.skipped);
        let mut sessions = vec![self.first.clone()];
        while sessions.len() < self.options.workers.min(pieces.len()) {
            let session = Arc::new(connect().await?);
            enter(session.as_ref().as_ref(), &self.snapshot).await?;
            sessions.push(session);
        }
        let progress = Arc::new(CopyProgress::new(&self.tables, &self.plan, &pieces));
        let (to, events) = mpsc::channel(BATCHES_WAITING_MAX);
        let pieces = Arc::new(plan::Queue::new(pieces));
        let tables: Arc<[TableShape]> = self.tables.into();
        let mut workers = JoinSet::new();
        for session in sessions {
            let worker = Worker {
                session,
                // The first one's transaction holds the locks on all tables.
                locks: self.first.clone(),
                tables: tables.clone(),
                pieces: pieces.clone(),
                progress: progress.clone(),
                events: to.clone(),
                binary: self.options.binary,
            };
            workers.spawn(worker.run());
        }
        Ok(SnapshotCopy {
            events,
            progress,
            workers,
            finished: 0,
        })
    }
}

/// Begins a transaction in the snapshot, in which values are shown as they are read here. Row level security must not
/// leave out rows: without the right to see all of them the copy fails.
pub(super) async fn enter(client: &Client, snapshot: &str) -> Result<()> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if !snapshot.bytes().all(is_name) {
        return Err(Error::internal(
            "the name of a snapshot is not one that Postgres gives",
        ));
    }
    let entering = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
        SET TRANSACTION SNAPSHOT '{snapshot}';
        SET LOCAL search_path = '';
        SET LOCAL row_security = off;
        SET LOCAL datestyle = 'ISO, YMD';
        SET LOCAL intervalstyle = 'postgres';
        SET LOCAL TimeZone = 'UTC';
        SET LOCAL extra_float_digits = 3;
        SET LOCAL bytea_output = 'hex';
        SET LOCAL statement_timeout = 0;
        SET LOCAL idle_in_transaction_session_timeout = 0"
    );
    let entered = client.batch_execute(&entering).await;
    entered.map_err(|error| failure::of_client("entering the snapshot", &error))
}
