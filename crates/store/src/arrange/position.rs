//! How far a relation has been read, in the order of its primary arrangement: what lets something be built from it piece
//! by piece while it changes. What is built holds the rows up to the position; a change of those is followed at once, a
//! change beyond it is found when its turn comes.

use super::Arrangement;
use crate::Reader;
use std::ops::ControlFlow;
use viewfeed_change::{Batch, Error, Result};

/// A place in the order of a relation's primary arrangement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Position {
    /// Before every row.
    Start,
    /// After the row with this entry (see [`Arrangement::entries`]).
    At(Vec<u8>),
    /// After every row there is or will be.
    End,
}

impl Position {
    /// As it is stored: a tag, and the entry.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Start => vec![0],
            Self::At(entry) => [&[1], entry.as_slice()].concat(),
            Self::End => vec![2],
        }
    }

    /// From what [`Position::to_bytes`] gave.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        match bytes.split_first() {
            Some((0, [])) => Ok(Self::Start),
            Some((1, entry)) => Ok(Self::At(entry.to_vec())),
            Some((2, [])) => Ok(Self::End),
            _ => Err(Error::corrupt("a position in a relation cannot be read")),
        }
    }

    /// Whether the row with this entry is at or before it.
    pub fn has_passed(&self, entry: &[u8]) -> bool {
        match self {
            Self::Start => false,
            Self::At(last) => entry <= last.as_slice(),
            Self::End => true,
        }
    }

    /// The first entry that is beyond it. (Of the end, too: who asks has checked.)
    pub(super) fn first_beyond(&self) -> Vec<u8> {
        match self {
            Self::Start | Self::End => Vec::new(),
            // No entry is the beginning of another one.
            Self::At(last) => [last.as_slice(), &[0]].concat(),
        }
    }
}

/// The rows of `batch` that `position` has passed in the order of `primary`.
pub fn passed(primary: &dyn Arrangement, batch: &Batch, position: &Position) -> Result<Batch> {
    between(primary, batch, &Position::Start, position)
}

/// The rows of `batch` beyond `from` that `to` has passed.
pub(super) fn between(
    primary: &dyn Arrangement,
    batch: &Batch,
    from: &Position,
    to: &Position,
) -> Result<Batch> {
    match (from, to) {
        (Position::Start, Position::End) => return Ok(batch.clone()),
        (from, to) if from >= to => return batch.take(&[]),
        _ => {}
    }
    let entries = primary.entries(batch.rows())?;
    let is_between = |(_, entry): &(usize, &[u8])| !from.has_passed(entry) && to.has_passed(entry);
    let rows = entries.iter().enumerate().filter(is_between);
    let rows: Vec<u32> = rows.map(|(row, _)| row as u32).collect();
    batch.take(&rows)
}

/// The next rows of `primary` beyond `position` as of `reader`, at most `rows_max`, and the position after them; the end
/// if there are no more.
pub fn next(
    primary: &dyn Arrangement,
    reader: &Reader,
    position: &Position,
    rows_max: usize,
) -> Result<(Option<Batch>, Position)> {
    if *position == Position::End {
        return Ok((None, Position::End));
    }
    let mut found = None;
    primary.scan_range(reader, &position.first_beyond(), None, rows_max, &mut |batch| {
        found = Some(batch);
        Ok(ControlFlow::Break(()))
    })?;
    let after = match &found {
        Some(batch) if batch.len() >= rows_max => {
            let last = batch.rows().slice(batch.len() - 1, 1);
            Position::At(primary.entries(&last)?.row(0).to_vec())
        }
        _ => Position::End,
    };
    Ok((found, after))
}
