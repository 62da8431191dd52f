//! The epoch log: the commit, and the history feeds resume from.
//!
//! One record per epoch in segment files `log/<first epoch>.log`, or several of one that is larger than memory. A record holds
//! the epoch's writes (redo), its source transactions and its view deltas. [`record`] owns its bytes, [`output`] their way to the file, [`segment`] reading them, [`writer`] appending, syncing
//! and dropping history, [`recover`] what is found after a crash.

mod output;
mod record;
mod recover;
mod segment;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use record::{LogEntry, Redo, bytes_about};
pub(crate) use recover::open;
pub(crate) use writer::{Log, OpenRecord};

use segment::{Found, Segment};
use std::sync::Arc;
use viewfeed_change::row::Rows;
use viewfeed_change::{
    Epoch, Error, ErrorKind, Position, RelationId, Result, SourceId, Timestamp, TransactionId,
};

/// Reads epochs in order, large ones in parts. After an error it ends.
pub struct LogReader {
    log: Arc<Log>,
    next: Epoch,
    through: Epoch,
    segment: Option<Segment>,
}

impl LogReader {
    /// Reads from `next` to `through`, both included and both in the log at this moment.
    pub(crate) fn new(log: Arc<Log>, next: Epoch, through: Epoch) -> Self {
        Self {
            log,
            next,
            through,
            segment: None,
        }
    }

    fn read(&mut self) -> Result<LoggedEpoch> {
        let mut segment = match self.segment.take() {
            Some(segment) => segment,
            None => self.open()?,
        };
        let record = match segment.read()? {
            Found::Record(record) => record,
            Found::End => {
                segment = self.open()?;
                match segment.read()? {
                    Found::Record(record) => record,
                    Found::End | Found::Damage => return Err(segment.damaged()),
                }
            }
            Found::Damage => return Err(segment.damaged()),
        };
        let logged = record::decode_feed(&record).map_err(|error| error.at(segment.place()))?;
        if logged.epoch != self.next {
            return Err(segment.damaged());
        }
        self.segment = Some(segment);
        Ok(logged)
    }

    /// The segment that holds the next epoch, at its record.
    fn open(&self) -> Result<Segment> {
        let (path, offset) = self.log.locate(self.next).ok_or_else(|| dropped(self.next))?;
        let opened = Segment::open(&path, offset);
        let mut segment = opened.map_err(|error| match error.kind() {
            // Retention was faster than this reader.
            std::io::ErrorKind::NotFound => dropped(self.next),
            _ => Error::from(error),
        })?;
        segment.skip_to(self.next)?;
        Ok(segment)
    }
}

impl Iterator for LogReader {
    type Item = Result<LoggedEpoch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next > self.through {
            return None;
        }
        let read = self.read();
        self.next = match &read {
            Ok(logged) if !logged.is_last => self.next,
            Ok(_) => self.next.next(),
            Err(_) => self.through.next(),
        };
        Some(read)
    }
}

/// The error of reading history that is no longer kept.
pub(crate) fn dropped(epoch: Epoch) -> Error {
    let message = format!("epoch {epoch} is older than the retained history");
    Error::new(ErrorKind::OutOfRange, "HISTORY_DROPPED", message)
        .hint("start again from a snapshot, or keep more history")
}

/// One epoch as it was logged, or a part of one.
#[derive(Clone, Debug)]
pub struct LoggedEpoch {
    /// Which.
    pub epoch: Epoch,
    /// When it was committed.
    pub commit_time: Timestamp,
    /// Whether nothing more of this epoch follows.
    pub is_last: bool,
    /// The source transactions in it. One that was begun in the part before goes on.
    pub transactions: Vec<LoggedTransaction>,
    /// What they changed in views.
    pub deltas: Vec<LoggedDelta>,
}

/// A source transaction as it was logged.
#[derive(Clone, Debug)]
pub struct LoggedTransaction {
    /// Where it comes from.
    pub source: SourceId,
    /// Its name within the source.
    pub id: TransactionId,
    /// The source's offset after it.
    pub position: Position,
    /// When it was committed at the source.
    pub commit_time: Timestamp,
    /// Its table changes.
    pub changes: Vec<LoggedDelta>,
}

/// A delta in the row encoding of the relation's schema at that version.
#[derive(Clone, Debug)]
pub struct LoggedDelta {
    /// The table or view.
    pub relation: RelationId,
    /// The version of the schema the rows are encoded with.
    pub schema_version: u32,
    /// The rows.
    pub rows: Rows,
    /// Their weights.
    pub weights: Vec<i64>,
}
