//! Messages of transactions become events, by what is known of their tables. It asks nobody: what does not fit is for others to
//! find out. So it may work wherever the messages are.

use super::gathered::Gathered;
use super::known::{Known, Reading};
use crate::postgres::assembly::Committed;
use crate::postgres::pgoutput::{Message, Oid, OldRow, Relation, Tuple};
use crate::postgres::shape::TableVersion;
use crate::postgres::{OldImage, RowChange, SourceTransaction, TableEvent, TableShape};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use viewfeed_change::{ErrorKind, Result, Timestamp};

/// Rows of a table that are gathered before they are handed to their transaction: a larger one gets them in pieces.
const GATHERED_ROWS_MAX: usize = 16_384;
/// Microseconds from 1970 to 2000, where Postgres' time begins.
const POSTGRES_BEGAN_US: i64 = 946_684_800_000_000;

/// Decodes transactions.
pub(in crate::postgres) struct Decoder {
    pub(super) tables: HashMap<Oid, Known>,
    done: Vec<SourceTransaction>,
    gathered: BTreeMap<Oid, Gathered>,
    rows: usize,
    /// Tables whose rows cannot be read for the rest of the present transaction.
    unreadable: BTreeSet<Oid>,
    /// Tables of whose rows in the present transaction only earlier columns are read.
    missed: BTreeSet<Oid>,
}

impl Decoder {
    pub(super) fn new(tables: HashMap<Oid, Known>) -> Self {
        Self {
            tables,
            done: Vec::new(),
            gathered: BTreeMap::new(),
            rows: 0,
            unreadable: BTreeSet::new(),
            missed: BTreeSet::new(),
        }
    }

    /// Rows decoded so far.
    pub(in crate::postgres) fn rows(&self) -> usize {
        self.rows
    }

    /// Transactions decoded so far, with the present one.
    pub(super) fn transactions(&self) -> usize {
        self.done.len()
    }

    /// The messages of this transaction come next.
    pub(in crate::postgres) fn begin(&mut self, committed: &Committed) {
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
    }

    /// That was all of the present transaction.
    pub(super) fn end(&mut self) {
        self.end_parts();
    }

    /// Everything decoded since the last time.
    pub(in crate::postgres) fn take(&mut self) -> Vec<SourceTransaction> {
        self.flush();
        self.rows = 0;
        std::mem::take(&mut self.done)
    }

    /// What has been decoded of the present transaction, the only one there is. The rest follows.
    pub(in crate::postgres) fn take_piece(&mut self) -> Option<SourceTransaction> {
        let mut piece = self.take().pop()?;
        piece.is_continued = true;
        self.done.push(SourceTransaction {
            events: Vec::new(),
            is_continued: false,
            ..piece
        });
        Some(piece)
    }

    /// Whether the server has columns that we do not know of, or the rows were written anew: the stream does not tell. A new column
    /// may have the name and type of one that was dropped, and an old one other values of its type. If a table is gone by
    /// now, what the stream has of it is from before.
    pub(in crate::postgres) fn is_behind(&self, versions: &BTreeMap<Oid, TableVersion>) -> bool {
        versions.iter().any(|(oid, now)| {
            let known = self.tables.get(oid);
            known.is_some_and(|Known { shape, .. }| {
                now.last_number != shape.last_number || now.rows != shape.rows
            })
        })
    }

    /// How tables look that are as we know them but for the files their rows are in: VACUUM FULL, CLUSTER or TRUNCATE gives them
    /// others, and leaves the rows what they are. None if one may look otherwise.
    pub(in crate::postgres) fn renewed(
        &self,
        versions: &BTreeMap<Oid, TableVersion>,
    ) -> Option<Vec<TableShape>> {
        let mut renewed = Vec::new();
        for (oid, now) in versions {
            let Some(Known { shape, .. }) = self.tables.get(oid) else {
                continue;
            };
            if now.last_number != shape.last_number || now.rows.columns != shape.rows.columns {
                return None;
            }
            if now.rows.files != shape.rows.files {
                renewed.push(TableShape {
                    rows: now.rows,
                    ..shape.as_ref().clone()
                });
            }
        }
        Some(renewed)
    }

    /// A table looks like this now; its rows are read as before.
    pub(super) fn renew(&mut self, shape: TableShape) {
        if let Some(known) = self.tables.get_mut(&shape.oid) {
            known.shape = Arc::new(shape);
        }
    }

    /// Whether a described table is as we know it.
    pub(in crate::postgres) fn fits(&self, relation: &Relation<'_>) -> bool {
        let known = self.tables.get(&relation.oid);
        known.is_some_and(|known| known.reading == Reading::Whole && known.shape.matches(relation))
    }

    /// The stream is where the shape is.
    pub(in crate::postgres) fn confirm(&mut self, oid: Oid) {
        if let Some(known) = self.tables.get_mut(&oid) {
            known.earlier = Some(known.shape.clone());
        }
    }

    /// Takes what a message says of rows; what it says of tables is for the caller to know.
    pub(in crate::postgres) fn message(&mut self, message: &Message<'_>) -> Result<()> {
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
        if gathered.len() >= GATHERED_ROWS_MAX {
            self.flush();
        }
        Ok(())
    }

    /// The rest of the transaction is read without this table.
    fn set_aside(&mut self, oid: Oid) {
        self.gathered.remove(&oid);
        self.unreadable.insert(oid);
    }

    /// Nothing that follows of a table in the present transaction can be read, nor what is there of it.
    pub(super) fn set_unreadable(&mut self, oid: Oid, why: &str) {
        if !self.tables.contains_key(&oid) {
            return;
        }
        self.set_aside(oid);
        self.event(TableEvent::Unreadable {
            table: oid,
            why: why.to_owned(),
        });
    }

    pub(super) fn event(&mut self, event: TableEvent) {
        let transaction = self.done.last_mut().expect("messages belong to a transaction");
        transaction.events.push(event);
    }

    /// The present transaction's parts end here.
    fn end_parts(&mut self) {
        let Some(number) = self.done.len().checked_sub(1) else {
            return;
        };
        let events = self.done[number].events.len();
        for gathered in self.gathered.values_mut() {
            gathered.end_part(number, events);
        }
    }

    /// Hands gathered rows to their transactions: what follows must come behind them.
    pub(super) fn flush(&mut self) {
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

fn image(old: Option<&OldRow<'_>>) -> OldImage {
    match old {
        None => OldImage::None,
        Some(OldRow::Key(_)) => OldImage::Key,
        Some(OldRow::Full(_)) => OldImage::Full,
    }
}
