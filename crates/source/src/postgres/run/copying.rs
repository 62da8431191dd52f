//! A round of copies: the tables that need one are read from a snapshot of their own, and settle one by one. What an earlier round
//! has read of them is not read again.

use super::{APPLICATION, Source, SourceStatus, show};
use crate::postgres::connection::{Connector, SqlSession};
use crate::postgres::copy::{CopyEvent, PlannedCopy, ReadPages, SnapshotCopy};
use crate::postgres::replication::{NewSlot, Replication};
use crate::postgres::stored::{Phase, StoredTable};
use crate::postgres::{Copy, Loop, Lsn, TableShape, Tables, Work, pgoutput::Oid, read_shapes};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::watch;
use viewfeed_change::Result;

/// Batches that are being applied at a time.
const APPLYING_MAX: usize = 4;

/// What a round needs.
pub(super) struct Round<L> {
    pub(super) source: Arc<Source<L>>,
    pub(super) connector: Connector,
    pub(super) status: watch::Sender<SourceStatus>,
    /// How far the stream has been applied.
    pub(super) position: watch::Receiver<Lsn>,
    /// What to copy.
    pub(super) wanted: Vec<StoredTable>,
}

/// Where and when the snapshot of a round was taken.
struct Taken {
    at: Lsn,
    timeline: u32,
}

/// The tables that wait for a copy.
pub(super) fn wanted(tables: &[StoredTable]) -> Vec<StoredTable> {
    // One that was being copied lost its snapshot with the connection.
    let waits = |table: &&StoredTable| matches!(table.phase, Phase::Wanted { .. });
    tables.iter().filter(waits).cloned().collect()
}

impl<L: Loop> Round<L> {
    /// Copies; on failure the tables that are not complete wait for the next round. If a table has a value that it cannot have
    /// here, the others are copied without it.
    pub(super) async fn run(mut self) -> Result<()> {
        let mut groups = VecDeque::from([std::mem::take(&mut self.wanted)]);
        while let Some(group) = groups.pop_front() {
            self.wanted = group;
            let done = self.copy().await;
            self.status.send_modify(|status| status.copy = None);
            let Err(error) = done else { continue };
            tracing::warn!(source = %self.source.name, %error, "copying tables failed");
            let left = std::mem::take(&mut self.wanted);
            match (error.reason(), left.as_slice()) {
                ("VALUE_NOT_REPRESENTABLE", [table]) => {
                    let work = Work::Break {
                        table: table.shape.oid,
                        attempt: table.attempt,
                        why: error.to_string(),
                    };
                    show(&self.status, &self.source.target.apply(work).await?);
                }
                ("VALUE_NOT_REPRESENTABLE", _) => {
                    let again = self.give_up(left).await?;
                    groups.extend(again.into_iter().map(|table| vec![table]));
                }
                _ => {
                    self.give_up(left).await?;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// The tables wait for another copy; gives their new attempts.
    async fn give_up(&self, tables: Vec<StoredTable>) -> Result<Vec<StoredTable>> {
        let mut again = Vec::new();
        for StoredTable { shape, attempt, .. } in tables {
            let table = shape.oid;
            let applied = self.source.target.apply(Work::GiveUp { table, attempt }).await?;
            show(&self.status, &applied);
            let waiting = wanted(&applied.tables).into_iter();
            again.extend(waiting.filter(|waiting| waiting.shape.oid == table));
        }
        Ok(again)
    }

    async fn copy(&mut self) -> Result<()> {
        let mut exporter = Replication::open(&self.connector, APPLICATION).await?;
        let timeline = exporter.identify().await?.timeline;
        let created = exporter
            .create_slot(&NewSlot {
                name: temporary_name(&self.source.settings.slot),
                is_temporary: true,
                exports_snapshot: true,
                is_failover: false,
            })
            .await?;
        let at = created.consistent_point;
        let snapshot = created.snapshot.unwrap_or_default();
        let shapes = self.shapes(&snapshot).await?;
        let first = self.connector.sql(APPLICATION).await?;
        let mut planned = SnapshotCopy::plan(first, &snapshot, &shapes, self.source.copying).await?;
        let copies = self.copies(&shapes, &Taken { at, timeline }, &mut planned);
        let attempts: BTreeMap<Oid, u64> = copies.iter().map(|copy| (copy.shape.oid, copy.attempt)).collect();
        let begin = Work::BeginCopy { copies, at, timeline };
        show(&self.status, &self.source.target.apply(begin).await?);
        let mut copy = planned.start(|| self.connector.sql(APPLICATION)).await?;
        // Its readers are in the snapshot: the slot it came with can go.
        drop(exporter);
        let progress = copy.progress();
        self.status.send_modify(|status| status.copy = Some(progress));
        let source = self.source.clone();
        let mut applying = FuturesUnordered::new();
        while let Some(event) = copy.next().await? {
            match event {
                CopyEvent::Copied { table, rows } => {
                    let attempt = attempts.get(&table).copied().unwrap_or_default();
                    let work = Work::Copied { table, attempt, rows };
                    applying.push(source.target.apply(work));
                    while applying.len() >= APPLYING_MAX {
                        self.applied(applying.next().await)?;
                    }
                }
                CopyEvent::Read { table, pages } => {
                    // Its rows may still be on their way.
                    while !applying.is_empty() {
                        self.applied(applying.next().await)?;
                    }
                    let attempt = attempts.get(&table).copied().unwrap_or_default();
                    let work = Work::Read {
                        table,
                        attempt,
                        pages,
                    };
                    applying.push(source.target.apply(work));
                }
                CopyEvent::Finished { table, .. } => {
                    while !applying.is_empty() {
                        self.applied(applying.next().await)?;
                    }
                    let attempt = attempts.get(&table).copied().unwrap_or_default();
                    self.settle(table, attempt, at).await?;
                }
            }
        }
        Ok(())
    }

    fn applied(&self, applied: Option<Result<crate::postgres::Applied>>) -> Result<()> {
        if let Some(applied) = applied {
            show(&self.status, &applied?);
        }
        Ok(())
    }

    /// The tables as they are in the snapshot. One that is gone from it has no copy.
    async fn shapes(&self, snapshot: &str) -> Result<Vec<TableShape>> {
        let session = self.connector.sql(APPLICATION).await?;
        crate::postgres::copy::enter(session.client(), snapshot).await?;
        let settings = &self.source.settings;
        let published = Tables::Publication(&settings.publication);
        let found = read_shapes(session.client(), published, &settings.text_columns).await?;
        let mut shapes = found.tables;
        shapes.retain(|shape| self.waiting(shape.oid).is_some());
        Ok(shapes)
    }

    fn waiting(&self, table: Oid) -> Option<&StoredTable> {
        self.wanted.iter().find(|waiting| waiting.shape.oid == table)
    }

    /// What is copied; pages that an interrupted copy has read are left out of the plan.
    fn copies(
        &self,
        shapes: &[TableShape],
        taken: &Taken,
        planned: &mut PlannedCopy<SqlSession>,
    ) -> Vec<Copy> {
        let waiting = shapes
            .iter()
            .filter_map(|shape| Some((shape, self.waiting(shape.oid)?)));
        let copy = |(shape, waiting): (&TableShape, &StoredTable)| Copy {
            attempt: waiting.attempt,
            shape: shape.clone(),
            goes_on: taken
                .goes_on_with(waiting, shape)
                .is_some_and(|read| planned.skip(shape.oid, read)),
        };
        waiting.map(copy).collect()
    }

    /// All rows are there: what was kept meanwhile follows, until the table is complete.
    async fn settle(&mut self, table: Oid, attempt: u64, at: Lsn) -> Result<()> {
        let mut has_asked = false;
        loop {
            let position = *self.position.borrow_and_update();
            let applied = self.source.target.apply(Work::Settle { table, attempt }).await?;
            show(&self.status, &applied);
            if applied.is_settled {
                self.wanted.retain(|wanted| wanted.shape.oid != table);
                return Ok(());
            }
            if position >= at {
                continue;
            }
            if !has_asked {
                // Something to come behind the snapshot, on a server where nobody writes.
                let session = self.connector.sql(APPLICATION).await?;
                super::heartbeat(session.client(), &self.source.name).await;
                has_asked = true;
            }
            if *self.position.borrow() == position && self.position.changed().await.is_err() {
                // The stream has ended, and with it this round.
                return Ok(());
            }
        }
    }
}

impl Taken {
    /// What was read of a table whose copy was interrupted, if its rows and those of this snapshot can be put together.
    fn goes_on_with<'a>(&self, waiting: &'a StoredTable, shape: &TableShape) -> Option<&'a ReadPages> {
        let begun = waiting.phase.begun()?;
        let is_later = self.timeline == begun.timeline && self.at >= begun.until;
        let is_same = waiting.shape == *shape && !begun.read.is_empty();
        (is_later && is_same).then_some(&begun.read)
    }
}

/// The slot of a snapshot: it goes with its connection.
fn temporary_name(slot: &str) -> String {
    const LENGTH_MAX: usize = 58;
    let end = slot.len().min(LENGTH_MAX);
    format!("{}_copy", slot.get(..end).unwrap_or("viewfeed"))
}
