//! Views that are filled while writes go on: a piece in every epoch, epochs of their own while nothing else waits, and who
//! waits for a view to be complete.

use super::epoch::{Answer, OpenEpoch};
use super::{Committed, Pipeline};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use viewfeed_change::{Error, ErrorKind, RelationId, Result};

/// A view over more rows than this is filled while writes go on, others at once.
pub(super) const AT_ONCE_ROWS_MAX: usize = 10_000;
/// How long filling holds up an epoch that others wait for: as long as the last commit took, because they wait for the next
/// one anyway and the disk then has the rows of both, but within these.
const BUSY_MIN: Duration = Duration::from_millis(8);
const BUSY_MAX: Duration = Duration::from_millis(24);
/// How long it holds up one that nobody waits for: as soon as somebody does, it ends with the piece that is being worked on.
const IDLE: Duration = Duration::from_millis(40);
/// A piece should take this part of the time an epoch is held up, so that it is never long until it ends.
const PIECES: u32 = 2;
/// Rows of a piece.
const PIECE_ROWS_MIN: usize = 16;
const PIECE_ROWS_FIRST: usize = 256;
const PIECE_ROWS_MAX: usize = 8192;

/// How filling goes on.
pub(crate) struct Filling {
    /// Rows of the next piece: as many as one took the right time for.
    piece_rows: usize,
    /// The shortest time a piece took since something is filled: that much it takes however few its rows are.
    least: Duration,
    /// How long the last commit took.
    commit: Duration,
    /// Who waits for a view to be complete.
    waiting: BTreeMap<RelationId, Vec<Answer>>,
    /// Views that could not take the place of the one they were to replace, and why.
    misfits: BTreeMap<RelationId, Error>,
}

impl Default for Filling {
    fn default() -> Self {
        Self {
            piece_rows: PIECE_ROWS_FIRST,
            least: Duration::MAX,
            commit: Duration::ZERO,
            waiting: BTreeMap::new(),
            misfits: BTreeMap::new(),
        }
    }
}

impl Filling {
    /// Notes how long a commit took.
    pub(super) fn took(&mut self, commit: Duration) {
        self.commit = commit;
    }

    /// How long filling may hold up an epoch that others wait for.
    fn busy(&self) -> Duration {
        self.commit.clamp(BUSY_MIN, BUSY_MAX)
    }

    /// Notes how long a piece of as many rows as it was to have took. Most of that should be for its rows.
    fn adapt(&mut self, taken: Duration) {
        self.least = self.least.min(taken);
        let target = (self.busy() / PIECES).max(4 * self.least).min(BUSY_MAX);
        let rows = self.piece_rows;
        self.piece_rows = match taken {
            taken if taken > target => (rows / 2).max(PIECE_ROWS_MIN),
            taken if taken < target / 2 => (rows * 2).min(PIECE_ROWS_MAX),
            _ => rows,
        };
    }

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
            self.filling.least = Duration::MAX;
            return Ok(());
        }
        epoch.txn.seal();
        let start = Instant::now();
        while self.engine.is_filling() {
            let piece = Instant::now();
            let rows = self.filling.piece_rows;
            let output = self.engine.fill_next(rows, &epoch.relations, &mut epoch.txn);
            if output.rows == rows {
                self.filling.adapt(piece.elapsed());
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
            let budget = if is_waited_for() {
                self.filling.busy()
            } else {
                IDLE
            };
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What `rows` take, of which each takes a time and all together another one.
    fn settled(row: Duration, fixed: Duration) -> usize {
        let mut filling = Filling::default();
        for _ in 0..20 {
            filling.adapt(fixed + row * u32::try_from(filling.piece_rows).unwrap());
        }
        filling.piece_rows
    }

    #[test]
    fn a_piece_is_as_many_rows_as_there_is_time_for() {
        let none = Duration::ZERO;
        assert_eq!(settled(Duration::from_nanos(10), none), PIECE_ROWS_MAX);
        assert_eq!(settled(Duration::from_millis(5), none), PIECE_ROWS_MIN);
        let rows = settled(Duration::from_micros(2), none);
        assert!((500..=2000).contains(&rows), "{rows}");
    }

    #[test]
    fn a_piece_does_not_shrink_for_what_it_takes_without_its_rows() {
        let rows = settled(Duration::from_micros(2), Duration::from_millis(5));
        assert!(rows >= 1000, "{rows}");
    }

    #[test]
    fn filling_holds_up_an_epoch_about_as_long_as_the_disk_does() {
        let mut filling = Filling::default();
        assert_eq!(filling.busy(), BUSY_MIN);
        filling.took(Duration::from_millis(15));
        assert_eq!(filling.busy(), Duration::from_millis(15));
        filling.took(Duration::from_secs(1));
        assert_eq!(filling.busy(), BUSY_MAX);
    }
}
