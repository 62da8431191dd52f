//! The stream: received, put together, gathered into batches; applied one batch at a time while the next is gathered; acknowledged
//! when it is durable. A large transaction goes alone, and its own way (`large`). What is asked of the server is in `watching`.

mod watching;

use super::copying::{self, Round};
use super::large::{self, Outcome};
use super::opening::Opened;
use super::{Asked, Command, Ended, Source, SourceStatus, StreamOptions, show};
use crate::postgres::assembly::{Assembled, Assembler, Committed};
use crate::postgres::collect::Collector;
use crate::postgres::connection::{Connector, SqlSession};
use crate::postgres::guardian::Guardian;
use crate::postgres::replication::{Received, ReplicationStream};
use crate::postgres::{Applied, Loop, Lsn, Membership, Work};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use viewfeed_change::{Error, Result};

/// Rows gathered into one batch; a larger transaction is one by itself.
const BATCH_ROWS_MAX: usize = 50_000;
/// Transactions gathered into one batch.
const BATCH_TRANSACTIONS_MAX: usize = 10_000;
/// How often the slot is looked at, and a server where nobody writes is given something to say.
const WATCH: Duration = Duration::from_secs(10);
/// How often a position is stored behind which nothing came.
const IDLE_POSITION: Duration = Duration::from_millis(500);

/// Follows the stream until something interrupts it, or nobody wants it any more.
pub(super) async fn stream<L: Loop>(
    source: &Arc<Source<L>>,
    options: StreamOptions,
    opened: Opened,
    status: &watch::Sender<SourceStatus>,
    commands: &mut mpsc::Receiver<Command>,
    asked: &mut Asked,
) -> Result<Ended> {
    std::fs::create_dir_all(&source.spool)?;
    let settings = &source.settings;
    let from = opened.applied.position;
    let (position, _) = watch::channel(from);
    // Another slot than before may begin anywhere.
    status.send_modify(|status| {
        status.position = from;
        status.tables = opened.applied.tables.clone();
    });
    let mut streaming = Streaming {
        stream: opened.replication.start(&opened.start).await?,
        assembler: Assembler::new(&source.spool, options.open_bytes_max),
        collector: Collector::new(
            &settings.publication,
            &settings.text_columns,
            opened.shapes,
            &opened.applied.tables,
        ),
        guardian: Guardian::new(settings),
        memberships: opened.memberships,
        source: source.clone(),
        options,
        sql: Arc::new(opened.sql),
        connector: opened.connector,
        status,
        applying: None,
        waiting: None,
        large: None,
        round: None,
        is_stale: false,
        seen: from,
        stored: from,
        asked,
        position,
    };
    streaming.begin_round(&opened.applied);
    let ended = streaming.run(commands).await;
    if let Some(round) = streaming.round.take() {
        round.abort();
        // What it still does must not meet the copies of the next connection.
        let _ = round.await;
    }
    streaming.stream.close().await;
    ended
}

struct Streaming<'a, L> {
    source: Arc<Source<L>>,
    options: StreamOptions,
    connector: Connector,
    sql: Arc<SqlSession>,
    stream: ReplicationStream,
    assembler: Assembler,
    collector: Collector,
    guardian: Guardian,
    memberships: Vec<Membership>,
    status: &'a watch::Sender<SourceStatus>,
    /// What the loop is doing for us.
    applying: Option<BoxFuture<'static, Result<Applied>>>,
    /// A large transaction, which is next. Nothing is gathered behind it.
    waiting: Option<Committed>,
    /// The one that is being applied: nothing else is meanwhile.
    large: Option<BoxFuture<'static, Result<Outcome>>>,
    /// The copies that are being made.
    round: Option<JoinHandle<Result<()>>>,
    /// Tables came that nobody has declared.
    is_stale: bool,
    /// There is nothing before this that we do not have.
    seen: Lsn,
    /// What of it is durable.
    stored: Lsn,
    asked: &'a mut Asked,
    /// The same, for copies.
    position: watch::Sender<Lsn>,
}

/// What happened.
enum Happened {
    Received(Result<Received>),
    Applied(Result<Applied>),
    Large(Result<Outcome>),
    Copied(Result<()>),
    Watch,
    Idle,
    Command(Option<Command>),
}

impl<L: Loop> Streaming<'_, L> {
    async fn run(&mut self, commands: &mut mpsc::Receiver<Command>) -> Result<Ended> {
        let mut watch = tokio::time::interval_at(Instant::now(), WATCH);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut idle = tokio::time::interval(IDLE_POSITION);
        idle.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.answer().await?;
        loop {
            let happened = tokio::select! {
                biased;
                applied = done(&mut self.applying) => Happened::Applied(applied),
                outcome = done(&mut self.large) => Happened::Large(outcome),
                command = commands.recv() => Happened::Command(command),
                copied = ended(&mut self.round) => Happened::Copied(copied),
                _ = watch.tick() => Happened::Watch,
                _ = idle.tick() => Happened::Idle,
                received = self.stream.next(), if self.has_room() => Happened::Received(received),
            };
            match happened {
                Happened::Received(received) => self.received(received?).await?,
                Happened::Applied(applied) => self.applied(applied?)?,
                Happened::Large(outcome) => self.large(outcome?).await?,
                Happened::Copied(copied) => self.copied(copied).await?,
                Happened::Watch => self.watch().await?,
                Happened::Idle => self.store_idle_position(),
                Happened::Command(None) => return Ok(Ended),
                Happened::Command(Some(command)) => self.obey(command).await?,
            }
        }
    }

    fn has_room(&self) -> bool {
        !self.is_large_next()
            && self.collector.rows() < BATCH_ROWS_MAX
            && self.collector.transactions() < BATCH_TRANSACTIONS_MAX
    }

    /// Whether there is a large transaction, which what comes behind it has to wait for.
    fn is_large_next(&self) -> bool {
        self.waiting.is_some() || self.large.is_some()
    }

    /// Takes what is there without waiting, then hands over what became whole.
    async fn received(&mut self, first: Received) -> Result<()> {
        let mut next = Some(first);
        while let Some(received) = next {
            match received {
                Received::Wal { start, data, .. } => {
                    if let Some(Assembled::Transaction(committed)) = self.assembler.push(&data, start)? {
                        self.seen = self.seen.max(committed.end);
                        match committed.messages.bytes() > self.options.large_bytes {
                            true => self.waiting = Some(committed),
                            false => self.gather(committed).await?,
                        }
                    }
                }
                Received::Keepalive { end } => {
                    if !self.assembler.is_within_commit() {
                        self.seen = self.seen.max(end);
                    }
                }
            }
            next = match self.has_room() {
                true => self.stream.next_now()?,
                false => None,
            };
        }
        self.hand_over();
        if self.asked.until > self.stored && self.seen >= self.asked.until {
            self.store_idle_position();
        }
        Ok(())
    }

    async fn gather(&mut self, committed: Committed) -> Result<()> {
        self.collector.add(committed, self.sql.client()).await?;
        self.is_stale |= self.collector.take_unknown();
        Ok(())
    }

    /// Gives the loop the next batch, or the large transaction behind it, unless it still has something.
    fn hand_over(&mut self) {
        if self.applying.is_some() || self.large.is_some() {
            return;
        }
        if self.collector.transactions() > 0 {
            let transactions = self.collector.take();
            self.apply(Work::Transactions(transactions));
        } else if let Some(committed) = self.waiting.take() {
            let (source, sql) = (self.source.clone(), self.sql.clone());
            let decoder = self.collector.decoder();
            self.large = Some(large::apply(source, sql, self.options, decoder, committed).boxed());
        }
    }

    fn apply(&mut self, work: Work) {
        let source = self.source.clone();
        self.applying = Some(async move { source.target.apply(work).await }.boxed());
    }

    fn applied(&mut self, applied: Applied) -> Result<()> {
        self.applying = None;
        self.stored = self.stored.max(applied.position);
        self.stream.report(self.stored);
        self.position.send_replace(self.stored);
        show(self.status, &applied);
        self.begin_round(&applied);
        self.hand_over();
        Ok(())
    }

    async fn large(&mut self, outcome: Outcome) -> Result<()> {
        self.large = None;
        match outcome {
            Outcome::Applied {
                applied,
                described,
                renewed,
            } => {
                self.collector.confirm(described, renewed);
                self.applied(applied)
            }
            Outcome::NotPlain(committed) => {
                let bytes = committed.messages.bytes();
                tracing::info!(source = %self.source.name, bytes, "a large transaction changes more than rows: it is decoded whole");
                self.gather(committed).await?;
                self.hand_over();
                Ok(())
            }
        }
    }

    /// Behind `seen` nothing came: the position moves, so that the server may forget its log.
    fn store_idle_position(&mut self) {
        let is_idle = self.applying.is_none() && self.collector.transactions() == 0 && !self.is_large_next();
        if is_idle && self.seen > self.stored {
            self.apply(Work::Position(self.seen));
        }
    }

    /// Begins to copy the tables that need it, unless that is being done.
    fn begin_round(&mut self, applied: &Applied) {
        let wanted = copying::wanted(&applied.tables);
        if self.round.is_some() || wanted.is_empty() {
            return;
        }
        let round = Round {
            source: self.source.clone(),
            connector: self.connector.clone(),
            status: self.status.clone(),
            position: self.position.subscribe(),
            wanted,
        };
        self.round = Some(tokio::spawn(round.run()));
    }

    async fn copied(&mut self, copied: Result<()>) -> Result<()> {
        self.round = None;
        copied?;
        // Tables may have come to need a copy meanwhile.
        let tables = self.status.borrow().tables.clone();
        let applied = Applied {
            position: self.stored,
            tables,
            is_settled: false,
        };
        self.begin_round(&applied);
        Ok(())
    }

    async fn obey(&mut self, command: Command) -> Result<()> {
        match command {
            Command::Again { table, reply } => {
                let again = self.source.again(table).await;
                if let Ok(applied) = &again {
                    show(self.status, applied);
                    self.begin_round(applied);
                }
                // The asker may be gone.
                let _ = reply.send(again.map(drop));
            }
            command @ Command::Reach { .. } => {
                self.source.obey(command, self.asked).await;
                self.answer().await?;
            }
        }
        Ok(())
    }
}

/// The result of what is being applied; waits for ever if there is nothing.
async fn done<T>(applying: &mut Option<BoxFuture<'static, Result<T>>>) -> Result<T> {
    match applying {
        Some(applying) => applying.await,
        None => std::future::pending().await,
    }
}

/// The result of the copies; waits for ever if none are made.
async fn ended(round: &mut Option<JoinHandle<Result<()>>>) -> Result<()> {
    match round {
        Some(round) => round
            .await
            .unwrap_or_else(|error| Err(Error::internal("copying stopped unexpectedly").because(error))),
        None => std::future::pending().await,
    }
}
