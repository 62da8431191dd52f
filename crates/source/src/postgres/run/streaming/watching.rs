//! What is asked of the server beside the stream: where its slot is, whether its tables are what they were; and what is said where
//! nobody writes, so that the stream goes on.

use super::Streaming;
use crate::postgres::run::heartbeat;
use crate::postgres::shape::table_versions;
use crate::postgres::stored::Phase;
use crate::postgres::{Loop, guardian, publication};
use viewfeed_change::{Error, ErrorKind, Result};

impl<L: Loop> Streaming<'_, L> {
    /// Looks at the slot; says something where nobody writes, so that it does not hold the server's log.
    pub(super) async fn watch(&mut self) -> Result<()> {
        let publication = publication::read_publication(self.sql.client(), &self.source.settings).await?;
        let memberships = publication.map(|publication| publication.memberships());
        self.is_stale |= memberships.as_ref() != Some(&self.memberships);
        self.is_stale |= self.is_any_rewritten().await?;
        if std::mem::take(&mut self.is_stale) {
            return Err(stale());
        }
        let observation = guardian::observe_slot(self.sql.client(), &self.source.settings).await?;
        let (lag, verdict) = self.guardian.observe(&observation, self.source.clock.now());
        if let guardian::Verdict::OverLimit { kept_bytes, .. } = verdict {
            tracing::error!(source = %self.source.name, kept_bytes, "the server keeps more log for us than the limit");
        }
        let load = self.assembler.load();
        self.status.send_modify(|status| {
            status.lag = lag;
            status.verdict = Some(verdict);
            status.open_bytes = load.memory_bytes as u64 + load.disk_bytes;
        });
        if self.seen <= self.stored && observation.position.max(self.asked.until) > self.stored {
            self.heartbeat().await;
        }
        Ok(())
    }

    /// Whether a change of columns has written a table anew that is complete: the stream does not say so by itself.
    async fn is_any_rewritten(&mut self) -> Result<bool> {
        let tables = self.status.borrow().tables.clone();
        let live = || {
            tables
                .iter()
                .filter(|table| matches!(table.phase, Phase::Live { .. }))
        };
        let versions = table_versions(self.sql.client(), live().map(|table| table.shape.oid)).await?;
        Ok(live().any(|table| {
            let now = versions.get(&table.shape.oid);
            now.is_some_and(|now| table.shape.rows.is_rewritten(now.rows))
        }))
    }

    /// Tells those who ask how far the server is; if it cannot be asked, with the next connection. What somebody waits for
    /// comes soon, even if nobody writes.
    pub(super) async fn answer(&mut self) -> Result<()> {
        if !self.asked.waiting.is_empty() {
            let observed = guardian::observe_slot(self.sql.client(), &self.source.settings).await?;
            self.asked.until = self.asked.until.max(observed.position);
            for asker in self.asked.waiting.drain(..) {
                // It may be gone.
                let _ = asker.send(Ok(observed.position));
            }
        }
        if self.asked.until > self.stored {
            self.heartbeat().await;
        }
        Ok(())
    }

    /// Says something where nobody writes, so that the stream goes on.
    async fn heartbeat(&mut self) {
        if self.seen >= self.asked.until && self.seen > self.stored {
            return;
        }
        heartbeat(self.sql.client(), &self.source.name).await;
    }
}

fn stale() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "TABLES_CHANGED",
        "the tables are others than before, or were written anew: the source connects again to take that up",
    )
}
