//! A Postgres source at work: one task that connects, makes what is missing, copies, follows the stream, and begins again
//! after whatever interrupts it.
//!
//! ```text
//! opening   who the server is, publication, slot, tables        what differs from what is stored is told to the loop
//! streaming messages → transactions → the loop → acknowledged   one batch is gathered while another is applied
//! large     a transaction that is decoded while it is applied   nothing else is gathered meanwhile
//! copying   a snapshot of its own for the tables that need one  beside the stream
//! ```
//! Owns the order of these; everything it learns is applied by the loop ([`Loop`]), which alone knows what is durable.

mod copying;
mod large;
mod opening;
mod options;
mod streaming;

pub use options::StreamOptions;

use super::guardian::{self, SlotLag, Verdict};
use super::stored::{self, Phase, StoredTable};
use super::{Applied, CopyOptions, CopyProgress, Loop, Lsn, Settings, Work};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_postgres::Client;
use viewfeed_change::{Clock, Error, ErrorKind, Result};
use viewfeed_store::Store;

/// The first pause after a failure; each one more doubles it …
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// … up to this.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Commands that may wait for a source.
const COMMANDS_MAX: usize = 16;
/// What a source is called in the server's lists of connections.
const APPLICATION: &str = "viewfeed";

/// A source, to be run.
pub struct Source<L> {
    /// Its name.
    pub name: String,
    /// What it is told to do.
    pub settings: Settings,
    /// Who applies what it brings.
    pub target: L,
    /// What was stored before it began: read when it connects.
    pub store: Store,
    /// Where large transactions are kept until they are whole.
    pub spool: PathBuf,
    /// How tables are copied.
    pub copying: CopyOptions,
    /// For the times it shows.
    pub clock: Arc<dyn Clock>,
    /// A number from 0 to 1, another one each time: so that many sources do not connect at once again.
    pub chance: fn() -> f64,
}

/// A source that runs. It ends when this is dropped.
pub struct RunningSource {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<SourceStatus>,
}

/// What is asked of a running source.
enum Command {
    Again {
        table: Option<String>,
        reply: oneshot::Sender<Result<()>>,
    },
    Reach {
        until: Option<Lsn>,
        reply: oneshot::Sender<Result<Lsn>>,
    },
}

/// What a source is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceState {
    /// It connects.
    #[default]
    Connecting,
    /// It follows the stream.
    Streaming,
    /// It waits before it tries again.
    Waiting,
    /// It has ended.
    Stopped,
}

/// How a source is.
#[derive(Clone, Debug, Default)]
pub struct SourceStatus {
    /// What it is doing.
    pub state: SourceState,
    /// What went wrong last, until it goes right again.
    pub problem: Option<Error>,
    /// How far it is, durably.
    pub position: Lsn,
    /// Its tables.
    pub tables: Arc<Vec<StoredTable>>,
    /// How far the copy is that is being made.
    pub copy: Option<Arc<CopyProgress>>,
    /// How far the slot is behind.
    pub lag: Option<SlotLag>,
    /// What that means.
    pub verdict: Option<Verdict>,
    /// Bytes of transactions that still run at the server: in memory and on disk.
    pub open_bytes: u64,
    /// How often it has connected.
    pub connections: u64,
}

impl SourceStatus {
    /// Whether the rows that can be read here are those of `position` or later, but for tables that cannot be followed. Tables that are
    /// being copied again and are followed meanwhile may lack new columns.
    pub fn has_reached(&self, position: Lsn) -> bool {
        let is_there = |table: &StoredTable| table.flows.is_some() || is_settled(table);
        self.position >= position && self.connections > 0 && self.tables.iter().all(is_there)
    }

    /// The same, and no table is being copied.
    pub fn is_complete(&self, position: Lsn) -> bool {
        self.has_reached(position) && self.tables.iter().all(is_settled)
    }
}

fn is_settled(table: &StoredTable) -> bool {
    matches!(table.phase, Phase::Live { .. } | Phase::Broken { .. })
}

impl<L: Loop> Source<L> {
    /// Starts it, as a task of the runtime we are in. What it has in memory fits what the store has.
    pub fn start(self) -> RunningSource {
        let options = StreamOptions::within(self.store.part_bytes());
        self.start_with(options)
    }

    /// The same; the stream is taken as `options` say.
    pub fn start_with(self, options: StreamOptions) -> RunningSource {
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let (status, shown) = watch::channel(SourceStatus::default());
        let run = Run {
            source: Arc::new(self),
            options,
            status,
            commands: received,
            asked: Asked::default(),
        };
        tokio::spawn(run.run());
        RunningSource {
            commands,
            status: shown,
        }
    }
}

impl RunningSource {
    /// How it is.
    pub fn status(&self) -> SourceStatus {
        self.status.borrow().clone()
    }

    /// To be told when that changes.
    pub fn watch(&self) -> watch::Receiver<SourceStatus> {
        self.status.clone()
    }

    /// Copies a table again, or all of them. Nothing of this is borrowed meanwhile.
    pub fn again(&self, table: Option<String>) -> impl Future<Output = Result<()>> + use<> {
        let (reply, answer) = oneshot::channel();
        let commands = self.commands.clone();
        async move {
            let sent = commands.send(Command::Again { table, reply }).await;
            sent.map_err(|_| stopped())?;
            answer.await.map_err(|_| stopped())?
        }
    }

    /// Sees to it that the source gets as far as `until`, or as its server is now, soon, even if nobody writes there. Resolves
    /// to that position once the server was asked, which may take until it is connected; who wants to know when it is
    /// reached watches the status. Nothing of this is borrowed meanwhile.
    pub fn reach(&self, until: Option<Lsn>) -> impl Future<Output = Result<Lsn>> + use<> {
        let (reply, answer) = oneshot::channel();
        let commands = self.commands.clone();
        async move {
            let sent = commands.send(Command::Reach { until, reply }).await;
            sent.map_err(|_| stopped())?;
            answer.await.map_err(|_| stopped())?
        }
    }

    /// Ends it and waits until its connections are closed.
    pub async fn stop(self) {
        let Self { commands, mut status } = self;
        drop(commands);
        // The sender goes with the task.
        while status.changed().await.is_ok() {}
    }
}

/// The task.
struct Run<L> {
    source: Arc<Source<L>>,
    options: StreamOptions,
    status: watch::Sender<SourceStatus>,
    commands: mpsc::Receiver<Command>,
    asked: Asked,
}

/// What somebody waits for. It outlives connections.
#[derive(Default)]
struct Asked {
    /// Those who ask how far the server is, until it can be asked.
    waiting: Vec<oneshot::Sender<Result<Lsn>>>,
    /// A position that is to be reached soon.
    until: Lsn,
}

/// Nobody wants the source to run any more.
struct Ended;

impl<L: Loop> Run<L> {
    async fn run(mut self) {
        let mut pause = PAUSE_MIN;
        loop {
            let began = self.status.borrow().connections;
            let error = match self.session().await {
                Ok(Ended) => break,
                Err(error) => error,
            };
            tracing::warn!(source = %self.source.name, %error, "a source was interrupted; it tries again");
            if self.status.borrow().connections > began {
                pause = PAUSE_MIN;
            }
            self.status.send_modify(|status| {
                status.state = SourceState::Waiting;
                status.problem = Some(error);
                status.copy = None;
            });
            let wait = pause.mul_f64((self.source.chance)().clamp(0.05, 1.0));
            pause = (pause * 2).min(PAUSE_MAX);
            if self.wait(wait).await.is_err() {
                break;
            }
        }
        self.status
            .send_modify(|status| status.state = SourceState::Stopped);
    }

    /// From connecting to whatever interrupts it.
    async fn session(&mut self) -> Result<Ended> {
        self.status
            .send_modify(|status| status.state = SourceState::Connecting);
        let opening = opening::open(self.source.as_ref());
        tokio::pin!(opening);
        let opened = loop {
            tokio::select! {
                opened = &mut opening => break opened?,
                command = self.commands.recv() => match command {
                    None => return Ok(Ended),
                    Some(command) => self.source.obey(command, &mut self.asked).await,
                },
            }
        };
        self.status.send_modify(|status| {
            status.state = SourceState::Streaming;
            status.problem = None;
            status.connections += 1;
        });
        streaming::stream(
            &self.source,
            self.options,
            opened,
            &self.status,
            &mut self.commands,
            &mut self.asked,
        )
        .await
    }

    /// Waits before the next attempt; commands are obeyed meanwhile.
    async fn wait(&mut self, wait: Duration) -> std::result::Result<(), Ended> {
        let end = tokio::time::sleep(wait);
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return Ok(()),
                command = self.commands.recv() => match command {
                    None => return Err(Ended),
                    Some(command) => self.source.obey(command, &mut self.asked).await,
                },
            }
        }
    }
}

impl<L: Loop> Source<L> {
    /// Does what needs no connection; what does waits for one.
    async fn obey(&self, command: Command, asked: &mut Asked) {
        // The askers may be gone.
        match command {
            Command::Again { table, reply } => {
                let _ = reply.send(self.again(table).await.map(drop));
            }
            Command::Reach {
                until: Some(until),
                reply,
            } => {
                asked.until = asked.until.max(until);
                let _ = reply.send(Ok(until));
            }
            Command::Reach { until: None, reply } => {
                asked.waiting.retain(|asker| !asker.is_closed());
                asked.waiting.push(reply);
            }
        }
    }

    async fn again(&self, table: Option<String>) -> Result<Applied> {
        let why = "somebody asked for it".to_owned();
        self.target.apply(Work::Again { table, why }).await
    }

    fn stored_progress(&self) -> Result<stored::Progress> {
        stored::progress(&self.store.reader(), &self.name)
    }
}

/// Writes something into the server's log where nobody else does, so that the stream goes on. A standby refuses; there the
/// keepalives must do.
async fn heartbeat(client: &Client, source: &str) {
    if let Err(error) = guardian::heartbeat(client, source).await {
        tracing::debug!(source, %error, "no heartbeat");
    }
}

/// Shows what was applied. The stream and the copies beside it learn of it in any order: what is older is not shown again.
fn show(status: &watch::Sender<SourceStatus>, applied: &Applied) {
    status.send_if_modified(|status| {
        let is_newer = applied.position >= status.position;
        if is_newer {
            status.position = applied.position;
            status.tables = applied.tables.clone();
        }
        is_newer
    });
}

fn stopped() -> Error {
    Error::new(ErrorKind::Unavailable, "SOURCE_STOPPED", "the source was stopped")
        .hint("it may have been dropped; SHOW SOURCES lists those that run")
}
