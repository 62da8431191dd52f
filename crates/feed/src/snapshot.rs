//! The result as of one epoch, read in the background in parts that fit a frame.
//!
//! The reader keeps old versions in the store's memory, so it must not depend on the pace of a client: up to
//! `coalesced_rows_max` rows are read ahead without waiting, and beyond that the waits are limited in sum
//! (`snapshot_wait`). Whoever is slower than that on a result that big is told so by BYE `SLOW_CONSUMER`.

use crate::request::Selection;
use crate::{Envelope, FeedOptions, Rows};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use viewfeed_change::{Batch, Epoch, Error, ErrorKind, Result};
use viewfeed_store::Reader;
use viewfeed_store::arrange::{self, Arrangement};

/// A result that is being read.
pub(crate) struct Snapshot {
    /// As of when.
    pub(crate) version: Epoch,
    pieces: mpsc::Receiver<Piece>,
    task: JoinHandle<Result<Pace>>,
}

/// Rows for one frame.
pub(crate) struct Piece {
    pub(crate) rows: Rows,
    pub(crate) last: bool,
    /// Rows in the whole result; with the last piece, unless UPSERT by a key that may repeat.
    pub(crate) row_count: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// The client takes what is read.
    Steady,
    /// Too slow: reading was given up.
    TooSlow,
    /// The feed was dropped.
    Gone,
}

impl Snapshot {
    /// Starts reading. `permit` is held until all is read.
    pub(crate) fn start(
        reader: Reader,
        selection: Arc<Selection>,
        options: &FeedOptions,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let ahead = options.coalesced_rows_max / options.frame_rows_max.max(1);
        let (sender, pieces) = mpsc::channel(ahead.max(1));
        let version = reader.epoch();
        let (part_rows_max, state_rows_max) = (options.frame_rows_max, options.state_rows_max);
        let outlet = Outlet {
            sender,
            patience: options.snapshot_wait,
            pace: Pace::Steady,
        };
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut scan = Scan {
                selection: &selection,
                part_rows_max,
                state_rows_max,
                held: Vec::new(),
                held_rows: 0,
                row_count: 0,
                outlet,
            };
            scan.run(&reader)?;
            Ok(scan.outlet.pace)
        });
        Self {
            version,
            pieces,
            task,
        }
    }

    /// The next piece; None if reading was given up because pieces were taken too slowly. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Result<Option<Piece>> {
        if let Some(piece) = self.pieces.recv().await {
            return Ok(Some(piece));
        }
        match (&mut self.task).await {
            Ok(Ok(_)) => Ok(None),
            Ok(Err(error)) => Err(error),
            Err(panic) => Err(Error::internal("reading a snapshot failed").because(panic)),
        }
    }
}

struct Scan<'a> {
    selection: &'a Selection,
    part_rows_max: usize,
    state_rows_max: usize,
    held: Vec<Batch>,
    held_rows: usize,
    row_count: u64,
    outlet: Outlet,
}

impl Scan<'_> {
    fn run(&mut self, reader: &Reader) -> Result<()> {
        let (arrangement, prefix, exact) = source(reader, self.selection)?;
        arrangement.scan(reader, &prefix, self.part_rows_max, &mut |batch| {
            let batch = if exact { batch } else { self.selection.keep(batch)? };
            self.add(batch)
        })?;
        if self.outlet.pace == Pace::Steady {
            self.flush(true)?;
        }
        Ok(())
    }

    fn add(&mut self, batch: Batch) -> Result<ControlFlow<()>> {
        self.row_count += batch
            .weights()
            .iter()
            .map(|weight| self.rows_of(*weight))
            .sum::<u64>();
        if self.selection.shape.envelope == Envelope::State {
            self.check_state_size()?;
        } else if self.held_rows > 0 && self.held_rows + batch.len() > self.part_rows_max {
            self.flush(false)?;
        }
        self.held_rows += batch.len();
        self.held.push(batch);
        Ok(match self.outlet.pace {
            Pace::Steady => ControlFlow::Continue(()),
            Pace::TooSlow | Pace::Gone => ControlFlow::Break(()),
        })
    }

    /// How many rows of the result an entry is.
    fn rows_of(&self, weight: i64) -> u64 {
        let rows = u64::try_from(weight).unwrap_or(0);
        if self.selection.shape.envelope == Envelope::Upsert {
            rows.min(1)
        } else {
            rows
        }
    }

    fn check_state_size(&self) -> Result<()> {
        if self.row_count <= self.state_rows_max as u64 {
            return Ok(());
        }
        let message = format!(
            "the result has more than {} rows, too many to be sent whole at each change",
            self.state_rows_max
        );
        Err(Error::new(ErrorKind::Exhausted, "STATE_TOO_LARGE", message)
            .hint("use the UPSERT or DIFF envelope, or a narrower filter"))
    }

    fn flush(&mut self, last: bool) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        self.held_rows = 0;
        let rows = match <[Batch; 1]>::try_from(held) {
            Ok([batch]) => batch,
            Err(held) => Batch::concat(&self.selection.relation.schema(), &held)?,
        };
        let shape = &self.selection.shape;
        let is_counted = shape.envelope != Envelope::Upsert || shape.unique;
        self.outlet.send(Piece {
            rows: shape.tell_snapshot(rows)?,
            last,
            row_count: (last && is_counted).then_some(self.row_count),
        });
        Ok(())
    }
}

/// What to scan, from which prefix, and whether that gives only rows that pass the filter.
fn source(reader: &Reader, selection: &Selection) -> Result<(Arc<dyn Arrangement>, Vec<u8>, bool)> {
    let relation = &selection.relation;
    let Some(filter) = &selection.filter else {
        return Ok((arrange::primary(reader, relation)?, Vec::new(), true));
    };
    let primary = arrange::primary(reader, relation)?;
    for arrangement in arrange::all(reader, relation)? {
        if arrangement.key().starts_with(&filter.columns)
            && let Some(whole) = arrange::find(reader, relation, arrangement.key())?
        {
            return Ok((whole, filter.key.clone(), true));
        }
    }
    Ok((primary, Vec::new(), false))
}

/// The way to the subscriber.
struct Outlet {
    sender: mpsc::Sender<Piece>,
    /// How much longer the subscriber may be waited for.
    patience: Duration,
    pace: Pace,
}

impl Outlet {
    fn send(&mut self, piece: Piece) {
        let full = match self.sender.try_send(piece) {
            Ok(()) => return,
            Err(mpsc::error::TrySendError::Closed(_)) => return self.pace = Pace::Gone,
            Err(mpsc::error::TrySendError::Full(piece)) => piece,
        };
        let began = Instant::now();
        let sending = async { timeout(self.patience, self.sender.send(full)).await };
        match Handle::current().block_on(sending) {
            Ok(Ok(())) => self.patience = self.patience.saturating_sub(began.elapsed()),
            Ok(Err(_)) => self.pace = Pace::Gone,
            Err(_) => self.pace = Pace::TooSlow,
        }
    }
}
