//! Messages of committed transactions become columns: rows of one table are gathered over many transactions, so that small
//! ones cost little, and handed out cut into their transactions.
//!
//! Owns which shape a table has at each point of the stream, and when the server is asked for it; what is done with what is
//! known is in `decoder`. What a shape means, and reading it from the server, is left to `shape`.

mod decoder;
mod gathered;
mod known;

pub(super) use decoder::Decoder;

use super::assembly::Committed;
use super::pgoutput::{Message, Oid, Relation};
use super::shape::table_versions;
use super::stored::StoredTable;
use super::{SourceTransaction, TableEvent, TableShape, Tables, read_shapes};
use known::{Known, Reading};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio_postgres::Client;
use viewfeed_change::Result;

/// Messages that are read before others get their turn.
const MESSAGES_AT_ONCE: usize = 4096;

/// Gathers transactions.
pub(super) struct Collector {
    publication: String,
    text_columns: Vec<String>,
    decoder: Decoder,
    /// A table was described that nobody has declared.
    has_unknown: bool,
}

impl Collector {
    /// For a stream of this publication, whose tables look like `shapes` now; `stored` are ours.
    pub(super) fn new(
        publication: &str,
        text_columns: &[String],
        shapes: Vec<TableShape>,
        stored: &[StoredTable],
    ) -> Self {
        let known = |shape: TableShape| (shape.oid, Known::new(shape, stored));
        Self {
            publication: publication.to_owned(),
            text_columns: text_columns.to_vec(),
            decoder: Decoder::new(shapes.into_iter().map(known).collect()),
            has_unknown: false,
        }
    }

    /// Rows gathered so far.
    pub(super) fn rows(&self) -> usize {
        self.decoder.rows()
    }

    /// Transactions gathered so far.
    pub(super) fn transactions(&self) -> usize {
        self.decoder.transactions()
    }

    /// Whether a table was seen that nobody has declared, since this was asked last.
    pub(super) fn take_unknown(&mut self) -> bool {
        std::mem::take(&mut self.has_unknown)
    }

    /// Another decoder, which knows of the tables what is known here now.
    pub(super) fn decoder(&self) -> Decoder {
        Decoder::new(self.decoder.tables.clone())
    }

    /// A transaction was decoded elsewhere in which these tables were described as they are known; some of them look like
    /// `renewed` since.
    pub(super) fn confirm(&mut self, described: BTreeSet<Oid>, renewed: Vec<TableShape>) {
        renewed.into_iter().for_each(|shape| self.decoder.renew(shape));
        described.into_iter().for_each(|oid| self.decoder.confirm(oid));
    }

    /// Adds a transaction. `client` is asked when a table is described that looks different from before.
    pub(super) async fn add(&mut self, mut committed: Committed, client: &Client) -> Result<()> {
        self.decoder.begin(&committed);
        let mut messages = 0;
        while let Some(message) = committed.messages.next()? {
            match message {
                Message::Relation(relation) => self.relation(&relation, client).await?,
                message => self.decoder.message(&message)?,
            }
            messages += 1;
            if messages % MESSAGES_AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
        }
        self.decoder.end();
        Ok(())
    }

    /// Everything gathered since the last time.
    pub(super) fn take(&mut self) -> Vec<SourceTransaction> {
        self.decoder.take()
    }

    /// A table is described: for the first time, or because something about it changed.
    async fn relation(&mut self, relation: &Relation<'_>, client: &Client) -> Result<()> {
        if self.decoder.fits(relation) {
            let versions = table_versions(client, std::iter::once(relation.oid)).await?;
            if !self.decoder.is_behind(&versions) {
                self.decoder.confirm(relation.oid);
                return Ok(());
            }
        }
        self.describe(relation, client).await
    }

    /// Asks the server what a table looks like. It may have changed again since, or back to what it was: then the rows from
    /// here to there cannot be read, but for the columns they had before, and the table is copied.
    async fn describe(&mut self, relation: &Relation<'_>, client: &Client) -> Result<()> {
        let oid = relation.oid;
        let found = read_shapes(client, Tables::Publication(&self.publication), &self.text_columns).await?;
        let Some(shape) = found.tables.into_iter().find(|shape| shape.oid == oid) else {
            self.decoder
                .set_unreadable(oid, "it is not published any more, or was dropped at the server");
            return Ok(());
        };
        if self.decoder.fits(relation)
            && !shape.matches(relation)
            && self.decoder.tables[&oid].shape.begins(relation, &shape)
        {
            // It is as we know it; what is new comes later.
            self.decoder.confirm(oid);
            return Ok(());
        }
        self.has_unknown |= !self.decoder.tables.contains_key(&oid);
        self.decoder.flush();
        let earlier = self.decoder.tables.remove(&oid).and_then(|known| known.earlier);
        let columns = relation.columns.len();
        let (reading, earlier) = match earlier {
            _ if shape.matches(relation) => (Reading::Whole, Some(Arc::new(shape.clone()))),
            Some(earlier) if earlier.begins(relation, &shape) => {
                (Reading::Earlier { columns }, Some(earlier))
            }
            earlier => (Reading::Not, earlier),
        };
        let known = Known {
            shape: Arc::new(shape.clone()),
            reading,
            earlier,
        };
        self.decoder.tables.insert(oid, known);
        self.decoder.event(TableEvent::Shape(shape));
        Ok(())
    }
}
