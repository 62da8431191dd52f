//! Views that are filled while writes go on: a piece in every epoch, epochs of their own while nothing else waits, and who
//! waits for a view to be complete.

use super::epoch::{Answer, OpenEpoch};
use super::{Committed, Pipeline};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use viewfeed_change::{Error, ErrorKind, RelationId, Result};

/// A view over more rows than this is filled while writes go on, others at once.
pub(super) const AT_ONCE_ROWS_MAX: usize = 10_000;
/// How long filling holds up an epoch that others wait for …
const BUSY: Duration = Duration::from_millis(8);
/// … and one that nobody waits for: as soon as somebody does, it ends with the piece that is being worked on.
const IDLE: Duration = Duration::from_millis(40);
/// What a piece should take, so that it is never long until it ends.
const PIECE: Duration = Duration::from_millis(4);
/// Rows of a piece.
const PIECE_ROWS_MIN: usize = 16;
const PIECE_ROWS_FIRST: usize = 256;
const PIECE_ROWS_MAX: usize = 8192;

/// How filling goes on.
pub(crate) struct Filling {
    /// Rows of the next piece: as many as one took the right time for.
    piece_rows: usize,
    /// Who waits for a view to be complete.
    waiting: BTreeMap<RelationId, Vec<Answer>>,
    /// Views that could not take the place of the one they were to replace, and why.
    misfits: BTreeMap<RelationId, Error>,
}

impl Default for Filling {
    fn default() -> Self {
        Self {
            piece_rows: PIECE_ROWS_FIRST,
            waiting: BTreeMap::new(),
            misfits: BTreeMap::new(),
        }
    }
}

impl Filling {
    /// Takes over who waits for views that were begun in an epoch that is committed now, and answers for those that
    /// came to an end in it.
    pub(super) fn settle(
        &mut self,
        begun: Vec<(RelationId, Answer)>,
        ended: Vec<(RelationId, Option<Error>)>,
        committed: Committed,
    ) {
        for (view, answer) in begun {
            self.waiting.entry(view).or_default().push(answer);
        }
        for (view, error) in ended {
            for answer in self.waiting.remove(&view).unwrap_or_default() {
                answer(error.clone().map_or(Ok(committed), Err));
            }
        }
    }
}

impl Pipeline {
    /// Goes on filling, after everything else in the epoch. On failure the epoch must be dropped.
    pub(super) fn fill(&mut self, epoch: &mut OpenEpoch, is_waited_for: &dyn Fn() -> bool) -> Result<()> {
        if !self.engine.is_filling() {
            return Ok(());
        }
        epoch.txn.seal();
        let start = Instant::now();
        while self.engine.is_filling() {
            let piece = Instant::now();
            let rows = self.filling.piece_rows;
            let output = self.engine.fill_next(rows, &epoch.relations, &mut epoch.txn);
            if output.rows == rows {
                self.filling.piece_rows = match piece.elapsed() {
                    taken if taken > PIECE => (rows / 2).max(PIECE_ROWS_MIN),
                    taken if taken < PIECE / 2 => (rows * 2).min(PIECE_ROWS_MAX),
                    _ => rows,
                };
            }
            if !output.failed.is_empty() {
                self.failures.refresh(&self.engine, &epoch.relations);
            }
            for (view, error) in output.failed {
                tracing::error!(view = view.0, %error, "the view could not be filled");
                let error = self.end_beside(view, Some(error), epoch)?;
                epoch.filled.push((view, error));
            }
            if let Some(view) = output.completed {
                tracing::info!(view = view.0, "the view is complete");
                let error = self.end_replacing(view, epoch)?;
                epoch.filled.push((view, error));
            }
            let budget = if is_waited_for() { BUSY } else { IDLE };
            if start.elapsed() >= budget {
                break;
            }
        }
        Ok(())
    }

    /// As [`Pipeline::end_beside`] of a view that is complete. One that could not take its place is given up the next time.
    fn end_replacing(&mut self, view: RelationId, epoch: &mut OpenEpoch) -> Result<Option<Error>> {
        let before = self.filling.misfits.remove(&view);
        let ended = self.end_beside(view, before, epoch);
        if let Err(error) = &ended {
            self.filling.misfits.insert(view, error.clone());
        }
        ended
    }
}

/// What those are told who wait for a view that is dropped.
pub(super) fn cancelled() -> Error {
    Error::new(
        ErrorKind::Cancelled,
        "VIEW_DROPPED",
        "the view was dropped or replaced while it was being filled",
    )
    .hint("create it again, if that was a mistake")
}
