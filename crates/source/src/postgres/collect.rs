//! Messages of committed transactions become columns: rows of one table are gathered over many transactions, so that small
//! ones cost little, and handed out cut into their transactions.
//!
//! Owns which shape a table has at each point of the stream. What a shape means, and reading it from the server, is left to
//! `shape`.

use super::assembly::Committed;
use super::pgoutput::{Message, Oid, OldRow, Relation, Tuple};
use super::shape::table_versions;
use super::stored::{Phase, StoredTable};
use super::value::RowBuilder;
use super::{
    OldImage, RowChange, RowChanges, SourceTransaction, TableEvent, TableShape, Tables, read_shapes,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use tokio_postgres::Client;
use viewfeed_change::{ErrorKind, Result, Timestamp};

/// Rows of a table that are gathered before they are handed to their transaction: a larger one gets them in pieces.
const GATHERED_ROWS_MAX: usize = 16_384;
/// Messages that are read before others get their turn.
const MESSAGES_AT_ONCE: usize = 4096;
/// Microseconds from 1970 to 2000, where Postgres' time begins.
const POSTGRES_BEGAN_US: i64 = 946_684_800_000_000;

/// Gathers transactions.
pub(super) struct Collector {
    publication: String,
    text_columns: Vec<String>,
    tables: HashMap<Oid, Known>,
    done: Vec<SourceTransaction>,
    gathered: BTreeMap<Oid, Gathered>,
    rows: usize,
    /// Tables whose rows cannot be read for the rest of the present transaction.
    unreadable: BTreeSet<Oid>,
    /// Tables of whose rows in the present transaction only earlier columns are read.
    missed: BTreeSet<Oid>,
    /// A table was described that nobody has declared.
    has_unknown: bool,
}

/// What is known of a table in the stream.
struct Known {
    /// What the server said last that it looks like.
    shape: Arc<TableShape>,
    /// What its rows are like where the stream is.
    reading: Reading,
    /// What they surely were like before.
    earlier: Option<Arc<TableShape>>,
}

/// How rows are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// They are what the server said.
    Whole,
    /// The table was changed again before the server was asked. They have so many columns, and begin with the earlier ones.
    Earlier { columns: usize },
    /// It was changed again, and not only got columns.
    Not,
}

/// Rows of one table, over transactions.
struct Gathered {
    shape: Arc<TableShape>,
    operations: Vec<RowChange>,
    new: RowBuilder,
    old: RowBuilder,
    unchanged: BTreeMap<u32, Vec<u16>>,
    /// Where the parts of transactions end: the transaction, its event, operations.
    parts: Vec<(usize, usize, usize)>,
}

impl Collector {
    /// For a stream of this publication, whose tables look like `shapes` now; `stored` are ours.
    pub(super) fn new(
        publication: &str,
        text_columns: &[String],
        shapes: Vec<TableShape>,
        stored: &[StoredTable],
    ) -> Self {
        let known = |shape: TableShape| {
            let stored = stored.iter().find(|table| table.shape.oid == shape.oid);
            let earlier = stored.and_then(|table| match table.phase {
                Phase::Live { .. } => Some(table.shape.clone()),
                _ => table.flows.clone(),
            });
            let known = Known {
                shape: Arc::new(shape),
                reading: Reading::Whole,
                earlier: earlier.map(Arc::new),
            };
            (known.shape.oid, known)
        };
        Self {
            publication: publication.to_owned(),
            text_columns: text_columns.to_vec(),
            tables: shapes.into_iter().map(known).collect(),
            done: Vec::new(),
            gathered: BTreeMap::new(),
            rows: 0,
            unreadable: BTreeSet::new(),
            missed: BTreeSet::new(),
            has_unknown: false,
        }
    }

    /// Rows gathered so far.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Transactions gathered so far.
    pub(super) fn transactions(&self) -> usize {
        self.done.len()
    }

    /// Whether a table was seen that nobody has declared, since this was asked last.
    pub(super) fn take_unknown(&mut self) -> bool {
        std::mem::take(&mut self.has_unknown)
    }

    /// Adds a transaction. `client` is asked when a table is described that looks different from before.
    pub(super) async fn add(&mut self, mut committed: Committed, client: &Client) -> Result<()> {
        self.done.push(SourceTransaction {
            xid: committed.xid,
            commit: committed.commit,
            end: committed.end,
            time: Timestamp(committed.time.0.saturating_add(POSTGRES_BEGAN_US)),
            events: Vec::new(),
            is_continued: false,
        });
        self.unreadable.clear();
        self.missed.clear();
        let mut messages = 0;
        while let Some(message) = committed.messages.next()? {
            match message {
                Message::Relation(relation) => self.relation(&relation, client).await?,
                message => self.message(&message)?,
            }
            messages += 1;
            if messages % MESSAGES_AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
        }
        self.end_parts();
        Ok(())
    }

    /// Everything gathered since the last time.
    pub(super) fn take(&mut self) -> Vec<SourceTransaction> {
        self.flush();
        self.rows = 0;
        std::mem::take(&mut self.done)
    }

    /// A table is described: for the first time, or because something about it changed.
    async fn relation(&mut self, relation: &Relation<'_>, client: &Client) -> Result<()> {
        if self.fits(relation) && !self.has_changed(relation.oid, client).await? {
            self.confirm(relation.oid);
            return Ok(());
        }
        self.describe(relation, client).await
    }

    /// Whether columns were added that we do not know of, or the rows were written anew: the stream does not tell. A new column may
    /// have the name and type of one that was dropped, and an old one other values of its type.
    async fn has_changed(&self, oid: Oid, client: &Client) -> Result<bool> {
        let versions = table_versions(client, std::iter::once(oid)).await?;
        // If it is gone by now, what the stream has of it is from before.
        let now_and_known = versions.get(&oid).zip(self.tables.get(&oid));
        Ok(now_and_known.is_some_and(|(now, Known { shape, .. })| {
            now.last_number != shape.last_number || now.rows != shape.rows
        }))
    }

    /// Whether a described table is as we know it.
    fn fits(&self, relation: &Relation<'_>) -> bool {
        let known = self.tables.get(&relation.oid);
        known.is_some_and(|known| known.reading == Reading::Whole && known.shape.matches(relation))
    }

    /// The stream is where the shape is.
    fn confirm(&mut self, oid: Oid) {
        if let Some(known) = self.tables.get_mut(&oid) {
            known.earlier = Some(known.shape.clone());
        }
    }

    /// Asks the server what a table looks like. It may have changed again since, or back to what it was: then the rows from
    /// here to there cannot be read, but for the columns they had before, and the table is copied.
    async fn describe(&mut self, relation: &Relation<'_>, client: &Client) -> Result<()> {
        let oid = relation.oid;
        let found = read_shapes(client, Tables::Publication(&self.publication), &self.text_columns).await?;
        let Some(shape) = found.tables.into_iter().find(|shape| shape.oid == oid) else {
            self.set_unreadable(oid, "it is not published any more, or was dropped at the server");
            return Ok(());
        };
        if self.fits(relation) && !shape.matches(relation) && self.tables[&oid].shape.begins(relation, &shape)
        {
            // It is as we know it; what is new comes later.
            self.confirm(oid);
            return Ok(());
        }
        self.has_unknown |= !self.tables.contains_key(&oid);
        self.flush();
        let earlier = self.tables.remove(&oid).and_then(|known| known.earlier);
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
        self.tables.insert(oid, known);
        self.event(TableEvent::Shape(shape));
        Ok(())
    }

    fn message(&mut self, message: &Message<'_>) -> Result<()> {
        match message {
            Message::Insert { relation, new, .. } => self.row(*relation, RowChange::Insert, None, Some(new)),
            Message::Update {
                relation, old, new, ..
            } => {
                let change = RowChange::Update(image(old.as_ref()));
                self.row(*relation, change, old.as_ref(), Some(new))
            }
            Message::Delete { relation, old, .. } => {
                self.row(*relation, RowChange::Delete(image(Some(old))), Some(old), None)
            }
            Message::Truncate { relations, .. } => {
                self.flush();
                self.event(TableEvent::Truncate {
                    tables: relations.clone(),
                });
                Ok(())
            }
            // The others say nothing about rows; those that are blocks or boundaries do not come here.
            _ => Ok(()),
        }
    }

    fn row(
        &mut self,
        oid: Oid,
        change: RowChange,
        old: Option<&OldRow<'_>>,
        new: Option<&Tuple<'_>>,
    ) -> Result<()> {
        let Some(known) = self.tables.get(&oid) else {
            return Ok(());
        };
        if self.unreadable.contains(&oid) {
            return Ok(());
        }
        let Some(shape) = known.shape_of(old, new).cloned() else {
            self.set_aside(oid);
            self.event(TableEvent::Missed {
                table: oid,
                has_earlier_columns: false,
            });
            return Ok(());
        };
        let is_partial = known.reading != Reading::Whole;
        if is_partial && self.missed.insert(oid) {
            self.event(TableEvent::Missed {
                table: oid,
                has_earlier_columns: true,
            });
        }
        let gathered = self.gathered.entry(oid).or_insert_with(|| Gathered::new(&shape));
        self.rows += 1;
        match gathered.push(change, old, new) {
            Err(error) if error.kind() == ErrorKind::Precondition => {
                self.set_unreadable(oid, &error.to_string());
                return Ok(());
            }
            done => done?,
        }
        if gathered.operations.len() >= GATHERED_ROWS_MAX {
            self.flush();
        }
        Ok(())
    }

    /// The rest of the transaction is read without this table.
    fn set_aside(&mut self, oid: Oid) {
        self.gathered.remove(&oid);
        self.unreadable.insert(oid);
    }

    fn set_unreadable(&mut self, oid: Oid, why: &str) {
        if !self.tables.contains_key(&oid) {
            return;
        }
        self.set_aside(oid);
        self.event(TableEvent::Unreadable {
            table: oid,
            why: why.to_owned(),
        });
    }

    fn event(&mut self, event: TableEvent) {
        let transaction = self.done.last_mut().expect("messages belong to a transaction");
        transaction.events.push(event);
    }

    /// The present transaction's parts end here.
    fn end_parts(&mut self) {
        let Some(number) = self.done.len().checked_sub(1) else {
            return;
        };
        for gathered in self.gathered.values_mut() {
            let from = gathered.parts.last().map_or(0, |(_, _, end)| *end);
            if gathered.operations.len() > from {
                let events = self.done[number].events.len();
                gathered.parts.push((number, events, gathered.operations.len()));
            }
        }
    }

    /// Hands gathered rows to their transactions: what follows must come behind them.
    fn flush(&mut self) {
        self.end_parts();
        for (table, gathered) in std::mem::take(&mut self.gathered) {
            let shape = gathered.shape.clone();
            for (number, at, changes) in gathered.cut() {
                let events = &mut self.done[number].events;
                // Rows of other tables may have been put in before.
                let at = at.min(events.len());
                let shape = shape.clone();
                events.insert(
                    at,
                    TableEvent::Rows {
                        table,
                        shape,
                        changes,
                    },
                );
            }
        }
    }
}

impl Known {
    /// The columns of rows that an operation comes with; None if they cannot be read.
    fn shape_of(&self, old: Option<&OldRow<'_>>, new: Option<&Tuple<'_>>) -> Option<&Arc<TableShape>> {
        let (shape, width) = match self.reading {
            Reading::Whole => (&self.shape, self.shape.columns.len()),
            Reading::Earlier { columns } => (self.earlier.as_ref()?, columns),
            Reading::Not => return None,
        };
        let mut tuples = new.into_iter().chain(old.map(tuple_of));
        tuples.all(|tuple| tuple.len() == width).then_some(shape)
    }
}

impl Gathered {
    fn new(shape: &Arc<TableShape>) -> Self {
        Self {
            shape: shape.clone(),
            operations: Vec::new(),
            new: RowBuilder::new(shape),
            old: RowBuilder::new(shape),
            unchanged: BTreeMap::new(),
            parts: Vec::new(),
        }
    }

    fn push(&mut self, change: RowChange, old: Option<&OldRow<'_>>, new: Option<&Tuple<'_>>) -> Result<()> {
        // More come than are read, if some are not known yet.
        let columns = self.shape.columns.len();
        match old {
            Some(OldRow::Key(tuple)) => self.old.append_key(&tuple.first(columns))?,
            Some(OldRow::Full(tuple)) => {
                self.old.append(&tuple.first(columns))?;
            }
            None => {}
        }
        if let Some(tuple) = new {
            let row = self.new.len() as u32;
            let unchanged = self.new.append(&tuple.first(columns))?;
            if !unchanged.is_empty() {
                self.unchanged.insert(row, unchanged);
            }
        }
        self.operations.push(change);
        Ok(())
    }

    /// By transaction and event: its part.
    fn cut(mut self) -> Vec<(usize, usize, RowChanges)> {
        let whole = RowChanges {
            operations: self.operations,
            new: self.new.finish(),
            old: self.old.finish(),
            unchanged: self.unchanged,
        };
        let ends = self.parts.iter().map(|(_, _, end)| *end);
        let pieces = whole.cut(ends);
        let places = self.parts.iter().map(|(number, at, _)| (*number, *at));
        places
            .zip(pieces)
            .map(|((number, at), piece)| (number, at, piece))
            .collect()
    }
}

fn tuple_of<'a, 'b>(old: &'b OldRow<'a>) -> &'b Tuple<'a> {
    match old {
        OldRow::Key(tuple) | OldRow::Full(tuple) => tuple,
    }
}

fn image(old: Option<&OldRow<'_>>) -> OldImage {
    match old {
        None => OldImage::None,
        Some(OldRow::Key(_)) => OldImage::Key,
        Some(OldRow::Full(_)) => OldImage::Full,
    }
}
