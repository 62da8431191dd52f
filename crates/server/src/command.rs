//! What the server asks of the program.

use arrow::array::{ArrayRef, RecordBatch};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{mpsc, oneshot};
use viewfeed_catalog::Mutation;
use viewfeed_change::{Column, Error, Relation, Result, Timestamp};
use viewfeed_wire::v1;

/// Sends commands to the program.
pub type Gateway = mpsc::Sender<Command>;

/// A request to the program. A dropped reply channel means the caller went away.
pub enum Command {
    /// Write rows as one transaction.
    Mutate {
        /// The table as the caller knew it.
        table: Arc<Relation>,
        /// What to do with each batch of rows.
        mutation: Mutation,
        /// The rows.
        rows: RecordBatch,
        /// Version, number of rows, commit time: once it is durable. Check [`Reply::is_closed`] before starting.
        reply: Reply,
    },
    /// Run a SELECT.
    Select {
        /// SQL with `$1` ….
        sql: String,
        /// One-element arrays.
        params: Vec<ArrayRef>,
        /// Where names are looked up.
        search_schema: String,
        /// Wait for this version.
        min_version: u64,
        /// The rows.
        reply: oneshot::Sender<Result<Selected>>,
    },
    /// Wait until everything that a source had committed at `position` is visible.
    Reach {
        /// The source.
        source: String,
        /// Its own position, as its server writes it.
        position: String,
        /// When it is, or why not.
        reply: oneshot::Sender<Result<()>>,
    },
    /// Run SQL: scripts arrive one by one, each is answered by [`Executed`]s, the last of which is `Done` or `Failed`. The
    /// session and its open transaction end when `requests` closes.
    Session {
        /// Scripts.
        requests: mpsc::Receiver<SessionRequest>,
        /// Answers.
        replies: mpsc::Sender<Executed>,
    },
    /// What is running.
    Status {
        /// The answer.
        reply: oneshot::Sender<v1::StatusResponse>,
    },
}

/// What became of a write: version, number of rows, commit time.
pub type Written = Result<(u64, u64, Timestamp)>;

/// The answer to one write. The writes of one client stream are chained: once one of them has failed, those behind it
/// are closed, so that a stream stops at its first error although it does not wait for each commit.
///
/// A failure must therefore be sent before the next write is begun.
pub struct Reply {
    sender: oneshot::Sender<Written>,
    chain_failed: Arc<AtomicBool>,
}

impl Reply {
    /// A reply of its own.
    pub fn new() -> (Self, oneshot::Receiver<Written>) {
        Self::chained(&Arc::default())
    }

    /// A reply that is closed when an earlier one of the same chain failed.
    pub(crate) fn chained(chain_failed: &Arc<AtomicBool>) -> (Self, oneshot::Receiver<Written>) {
        let (sender, receiver) = oneshot::channel();
        let chain_failed = chain_failed.clone();
        let reply = Self { sender, chain_failed };
        (reply, receiver)
    }

    /// True: the caller went away, or an earlier write of the same stream failed. The write must not be done.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed() || self.chain_failed.load(Ordering::SeqCst)
    }

    /// Answers. Nobody may be there any more to hear it; that is no error.
    pub fn send(self, written: Written) {
        if written.is_err() {
            self.chain_failed.store(true, Ordering::SeqCst);
        }
        // The caller may have gone: then nobody wants to know.
        let _ = self.sender.send(written);
    }
}

/// The rows of a SELECT.
pub struct Selected {
    /// The rows.
    pub rows: Vec<RecordBatch>,
    /// The version they were read at.
    pub version: u64,
}

/// A script.
pub struct SessionRequest {
    /// One or more statements.
    pub sql: String,
    /// Where names are looked up first.
    pub search_schema: String,
    /// Wait for this version.
    pub min_version: u64,
}

/// Part of the answer to a script.
pub enum Executed {
    /// A statement with rows begins.
    Columns(Vec<Column>),
    /// Rows of it.
    Rows(RecordBatch),
    /// A statement is done.
    Command {
        /// For example `INSERT 3`.
        command: String,
        /// Written at, or read at.
        version: u64,
        /// Rows returned or written.
        row_count: u64,
        /// For the user.
        notices: Vec<String>,
    },
    /// The script failed here; statements before it that were transactions of their own stay committed.
    Failed(Failure),
    /// The script is done.
    Done,
}

/// Why a script failed.
pub type Failure = Error;
