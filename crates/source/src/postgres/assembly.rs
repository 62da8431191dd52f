//! Messages of `pgoutput` become whole transactions, in the order in which they were committed.
//!
//! Transactions that are sent while they run come in blocks, mixed with others; their messages are kept until they are committed
//! (`spool`, in memory or in a file) and given back then (`committed`), without what was rolled back. What rows mean is left to
//! others. Nothing here survives a crash, nor needs to: the server sends again what was not acknowledged.
//!
//! Descriptions of tables (RELATION) stand in their place in the sequence, and hold from there on, for later transactions too. One
//! within a part that is void is void with it. That is right because the server forgets, when a transaction or subtransaction
//! that it has sent is rolled back, which tables it described in that transaction, and describes them again before their next
//! row; it takes a description for known to others only with the commit (`maybe_send_schema`, `cleanup_rel_sync_cache` and
//! `pgoutput_stream_abort` in Postgres' pgoutput.c).

mod committed;
mod spool;

pub use committed::{Committed, Messages};

use super::Lsn;
use super::pgoutput::{Begin, Commit, Message, Note, PostgresTime, Within, Xid};
use spool::Spool;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use viewfeed_change::{Error, Result};

/// What became whole.
#[derive(Debug)]
pub enum Assembled {
    /// A transaction.
    Transaction(Committed),
    /// A message that belongs to no transaction: it holds whatever becomes of the one that wrote it.
    Note(LooseNote),
}

/// A message from `pg_logical_emit_message(false, …)`.
#[derive(Clone, PartialEq, Eq)]
pub struct LooseNote {
    /// Where it stands.
    pub lsn: Lsn,
    /// Whose it is.
    pub prefix: String,
    /// What it says.
    pub content: Vec<u8>,
}

/// What the open transactions hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// How many there are.
    pub transactions: usize,
    /// Their bytes in memory.
    pub memory_bytes: usize,
    /// Their bytes on disk.
    pub disk_bytes: u64,
}

/// Puts together the messages of one stream. Another stream needs another one.
///
/// It may write to the disk; so it belongs where that holds nobody up.
#[derive(Debug)]
pub struct Assembler {
    folder: PathBuf,
    memory_bytes_max: usize,
    memory_bytes: usize,
    /// The one that is sent after its commit, if we are within it.
    current: Option<(Begin, Spool)>,
    /// Those that are sent while they run. An id is free again after its end.
    running: HashMap<Xid, Running>,
    /// Whose block we are in.
    block: Option<Xid>,
}

/// A transaction that still runs at the server.
#[derive(Debug, Default)]
struct Running {
    spool: Spool,
    /// The subtransactions of it that were rolled back.
    void: HashSet<Xid>,
}

impl Assembler {
    /// All open transactions together have at most `memory_bytes_max` in memory, the rest in unnamed files in `spool_folder`, which
    /// must exist.
    pub fn new(spool_folder: impl Into<PathBuf>, memory_bytes_max: usize) -> Self {
        Self {
            folder: spool_folder.into(),
            memory_bytes_max,
            memory_bytes: 0,
            current: None,
            running: HashMap::new(),
            block: None,
        }
    }

    /// Takes the next message, which stands at `start` in the log. Fails as `Corrupt` if it does not fit what came before, and as
    /// `Exhausted` if the disk is full; after that only a new assembler and a new stream help.
    pub fn push(&mut self, message: &[u8], start: Lsn) -> Result<Option<Assembled>> {
        self.take(message)
            .map_err(|error| error.at(format_args!("at {start} in the log of Postgres")))
    }

    /// Whether a committed transaction has begun and its end is still to come. If not, all commits that were sent were given out, and
    /// the end of a keepalive is a position to go on from: those that still run are sent again from their beginning.
    pub fn is_within_commit(&self) -> bool {
        self.current.is_some()
    }

    /// What the open transactions hold now.
    pub fn load(&self) -> Load {
        let disk_bytes = self.spools().map(Spool::disk_bytes).sum();
        Load {
            transactions: self.spools().count(),
            memory_bytes: self.memory_bytes,
            disk_bytes,
        }
    }

    fn take(&mut self, message: &[u8]) -> Result<Option<Assembled>> {
        let within = match self.block {
            Some(_) => Within::StreamBlock,
            None => Within::Committed,
        };
        match message.first() {
            // What rows say is read when their transaction is whole.
            Some(b'I' | b'U' | b'D' | b'T' | b'R' | b'Y' | b'O') => self.keep(message)?,
            _ => return self.turn(message, Message::decode(message, within)?),
        }
        Ok(None)
    }

    /// Where something begins or ends.
    fn turn(&mut self, bytes: &[u8], message: Message<'_>) -> Result<Option<Assembled>> {
        match message {
            Message::Begin(begin) if self.current.is_none() && self.block.is_none() => {
                self.current = Some((begin, Spool::default()));
            }
            Message::Commit(commit) => return self.commit(commit).map(Some),
            Message::StreamStart { xid, is_first } => self.enter(xid, is_first)?,
            Message::StreamStop if self.block.is_some() => self.block = None,
            Message::StreamCommit { xid, commit } => return self.commit_running(xid, commit).map(Some),
            Message::StreamAbort { xid, subtransaction } => self.abort(xid, subtransaction),
            Message::Note(note) if note.is_transactional => self.keep(bytes)?,
            Message::Note(note) => return Ok(Some(Assembled::Note(LooseNote::of(&note)))),
            _ => return Err(out_of_place("a transaction begins or ends within another")),
        }
        Ok(None)
    }

    fn commit(&mut self, commit: Commit) -> Result<Assembled> {
        let (begin, spool) = match self.current.take() {
            Some(current) if current.0.commit == commit.commit => current,
            _ => return Err(out_of_place("a commit is not that of the transaction before it")),
        };
        self.memory_bytes -= spool.memory_bytes();
        let messages = Messages::new(spool, Within::Committed, HashSet::new())?;
        Ok(committed(begin.xid, commit, messages))
    }

    fn enter(&mut self, xid: Xid, is_first: bool) -> Result<()> {
        if self.current.is_some() || self.block.is_some() {
            return Err(out_of_place("a block begins within another"));
        }
        if is_first {
            // Its end may have been lost on us if the server was not told to send it; then it is void.
            self.forget(xid);
            self.running.insert(xid, Running::default());
        } else if !self.running.contains_key(&xid) {
            return Err(out_of_place("a transaction goes on whose beginning was not sent"));
        }
        self.block = Some(xid);
        Ok(())
    }

    fn commit_running(&mut self, xid: Xid, commit: Commit) -> Result<Assembled> {
        if self.current.is_some() || self.block.is_some() {
            return Err(out_of_place("a running transaction is committed within another"));
        }
        let running = self.forget(xid);
        let running = running.ok_or_else(|| out_of_place("a transaction is committed that was not sent"))?;
        let messages = Messages::new(running.spool, Within::StreamBlock, running.void)?;
        Ok(committed(xid, commit, messages))
    }

    /// Of a transaction that was not sent nothing has to be made void.
    fn abort(&mut self, xid: Xid, subtransaction: Xid) {
        if xid == subtransaction {
            self.forget(xid);
        } else if let Some(running) = self.running.get_mut(&xid) {
            running.void.insert(subtransaction);
        }
    }

    fn forget(&mut self, xid: Xid) -> Option<Running> {
        let running = self.running.remove(&xid)?;
        self.memory_bytes -= running.spool.memory_bytes();
        Some(running)
    }

    fn keep(&mut self, message: &[u8]) -> Result<()> {
        let block = self.block.and_then(|xid| self.running.get_mut(&xid));
        let spool = match (block, &mut self.current) {
            (Some(running), _) => &mut running.spool,
            (None, Some((_, spool))) => spool,
            (None, None) => return Err(out_of_place("a change belongs to no transaction")),
        };
        let before = spool.memory_bytes();
        spool.push(message);
        self.memory_bytes += spool.memory_bytes() - before;
        while self.memory_bytes > self.memory_bytes_max {
            self.spill_largest()?;
        }
        Ok(())
    }

    fn spill_largest(&mut self) -> Result<()> {
        let running = self.running.values_mut().map(|running| &mut running.spool);
        let current = self.current.iter_mut().map(|(_, spool)| spool);
        let largest = running.chain(current).max_by_key(|spool| spool.memory_bytes());
        let largest = largest.expect("what is in memory belongs to a transaction");
        self.memory_bytes -= largest.memory_bytes();
        largest.spill(&self.folder)
    }

    fn spools(&self) -> impl Iterator<Item = &Spool> {
        let running = self.running.values().map(|running| &running.spool);
        running.chain(self.current.iter().map(|(_, spool)| spool))
    }
}

impl fmt::Debug for LooseNote {
    /// Without the content: it may be somebody's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LooseNote")
            .field("lsn", &self.lsn)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl LooseNote {
    fn of(note: &Note<'_>) -> Self {
        Self {
            lsn: note.lsn,
            prefix: note.prefix.to_owned(),
            content: note.content.to_vec(),
        }
    }
}

fn committed(xid: Xid, commit: Commit, messages: Messages) -> Assembled {
    let Commit { commit, end, time } = commit;
    Assembled::Transaction(Committed {
        xid,
        commit,
        end,
        time,
        messages,
    })
}

fn out_of_place(what: &str) -> Error {
    Error::corrupt(format!("the messages of Postgres are out of order: {what}"))
        .hint("the position is kept; connect again, and report it if it happens again")
}
