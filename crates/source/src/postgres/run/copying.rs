//! A round of copies: the tables that need one are read from a snapshot of their own, and settle one by one.

use super::{APPLICATION, Source, SourceStatus, show};
use crate::postgres::connection::Connector;
use crate::postgres::copy::{CopyEvent, CopyOptions, SnapshotCopy};
use crate::postgres::replication::{NewSlot, Replication};
use crate::postgres::stored::{Phase, StoredTable};
use crate::postgres::{Copy, Loop, Lsn, Tables, Work, guardian, pgoutput::Oid, read_shapes};
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
    pub(super) wanted: Vec<(Oid, u64)>,
}

/// The tables that wait for a copy, with the attempt.
pub(super) fn wanted(tables: &[StoredTable]) -> Vec<(Oid, u64)> {
    // One that was being copied lost its snapshot with the connection.
    let waits = |table: &&StoredTable| matches!(table.phase, Phase::Wanted { .. });
    let waiting = tables.iter().filter(waits);
    waiting.map(|table| (table.shape.oid, table.attempt)).collect()
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
                ("VALUE_NOT_REPRESENTABLE", [(table, attempt)]) => {
                    let work = Work::Break {
                        table: *table,
                        attempt: *attempt,
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
    async fn give_up(&self, tables: Vec<(Oid, u64)>) -> Result<Vec<(Oid, u64)>> {
        let mut again = Vec::new();
        for (table, attempt) in tables {
            let applied = self.source.target.apply(Work::GiveUp { table, attempt }).await?;
            show(&self.status, &applied);
            again.extend(
                wanted(&applied.tables)
                    .into_iter()
                    .filter(|(oid, _)| *oid == table),
            );
        }
        Ok(again)
    }

    async fn copy(&mut self) -> Result<()> {
        let mut exporter = Replication::open(&self.connector, APPLICATION).await?;
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
        let copies = self.copies(&snapshot).await?;
        let shapes: Vec<_> = copies.iter().map(|copy| copy.shape.clone()).collect();
        let attempts: BTreeMap<Oid, u64> = copies.iter().map(|copy| (copy.shape.oid, copy.attempt)).collect();
        show(
            &self.status,
            &self.source.target.apply(Work::BeginCopy { copies, at }).await?,
        );
        let connect = || self.connector.sql(APPLICATION);
        let mut copy = SnapshotCopy::start(connect, &snapshot, &shapes, CopyOptions::default()).await?;
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
    async fn copies(&mut self, snapshot: &str) -> Result<Vec<Copy>> {
        let session = self.connector.sql(APPLICATION).await?;
        crate::postgres::copy::enter(session.client(), snapshot).await?;
        let settings = &self.source.settings;
        let published = Tables::Publication(&settings.publication);
        let found = read_shapes(session.client(), published, &settings.text_columns).await?;
        let attempts: BTreeMap<Oid, u64> = self.wanted.iter().copied().collect();
        let copy = |shape: crate::postgres::TableShape| {
            let attempt = *attempts.get(&shape.oid)?;
            Some(Copy { attempt, shape })
        };
        Ok(found.tables.into_iter().filter_map(copy).collect())
    }

    /// All rows are there: what was kept meanwhile follows, until the table is complete.
    async fn settle(&mut self, table: Oid, attempt: u64, at: Lsn) -> Result<()> {
        let mut has_asked = false;
        loop {
            let position = *self.position.borrow_and_update();
            let applied = self.source.target.apply(Work::Settle { table, attempt }).await?;
            show(&self.status, &applied);
            if applied.is_settled {
                self.wanted.retain(|(wanted, _)| *wanted != table);
                return Ok(());
            }
            if position >= at {
                continue;
            }
            if !has_asked {
                // Something to come behind the snapshot, on a server where nobody writes.
                let session = self.connector.sql(APPLICATION).await?;
                guardian::heartbeat(session.client(), &self.source.name).await?;
                has_asked = true;
            }
            if *self.position.borrow() == position && self.position.changed().await.is_err() {
                // The stream has ended, and with it this round.
                return Ok(());
            }
        }
    }
}

/// The slot of a snapshot: it goes with its connection.
fn temporary_name(slot: &str) -> String {
    const LENGTH_MAX: usize = 58;
    let end = slot.len().min(LENGTH_MAX);
    format!("{}_copy", slot.get(..end).unwrap_or("viewfeed"))
}
