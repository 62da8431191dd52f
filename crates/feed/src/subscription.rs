//! One subscriber's stream of frames: snapshot or backlog, then live, and back to the log when it falls behind.
//!
//! There is no gap and no overlap because of one order, used for snapshot and backlog alike: start collecting, then
//! ask the store for its last epoch `e`, wait until `e` is published, drop what was collected up to `e`. An epoch is
//! published after its commit, so every epoch after `e` is collected, and none is both read and collected.

mod tell;

use crate::feed::Registration;
use crate::frame::{Frame, FrameKind, reason};
use crate::queue::Taken;
use crate::request::{Envelope, OnGap, Request};
use crate::resume::{self, Backlog, Rest, Start};
use crate::slice::Slice;
use crate::snapshot::Snapshot;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};
use viewfeed_change::{Batch, Epoch, Error, Result};

/// Changes of up to so many rows are told on the spot; more are handed to a thread that may block.
const TELL_INLINE_ROWS_MAX: usize = 4_096;
/// The limits of the heartbeat.
const HEARTBEAT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(86_400));

/// A running feed. Dropping it ends it.
pub struct Subscription {
    place: Registration,
    phase: Phase,
    /// Frames that are ready, in order.
    pending: VecDeque<Frame>,
    /// Everything up to here is delivered or pending; None before the first snapshot is complete.
    delivered: Option<Epoch>,
    /// Frames of the next version are told or pending, and others of it are still to come.
    has_open_frames: bool,
    row_count: Option<u64>,
    up_to: Option<Epoch>,
    on_gap: OnGap,
    heartbeat: Duration,
    beat_at: Instant,
}

enum Phase {
    /// The result is to be read.
    Opening(Opening),
    /// The result is being read.
    Snapshot(Opening, Snapshot),
    /// The log after `delivered` is to be read.
    Behind(Why),
    /// The log from within the next epoch on is to be read.
    Within(Why, Rest),
    /// Changes are being summed up.
    Summing(Why, JoinHandle<Result<Option<Backlog>>>),
    /// Everything comes through the queue.
    Live,
    /// BYE is pending or delivered, or the feed failed.
    Done,
}

/// How a result is told.
#[derive(Clone, Copy)]
struct Opening {
    kind: FrameKind,
    /// Tell RESET before, with this reason.
    reset: Option<&'static str>,
    caught_up: bool,
}

/// Why changes are summed up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The client came back with a token.
    Resuming,
    /// The queue overflowed.
    Slow,
    /// An epoch came that is too large for it.
    Large,
    /// There are many in the queue.
    Many,
}

impl Subscription {
    /// Starts with HELLO at `epoch`, the last published one.
    pub(crate) fn new(place: Registration, request: &Request, start: Start, epoch: Epoch) -> Self {
        let heartbeat = request.heartbeat.clamp(HEARTBEAT.0, HEARTBEAT.1);
        let (phase, delivered) = match start {
            Start::Snapshot(reset) => (Phase::Opening(Opening::snapshot(reset)), None),
            Start::After(version) => (Phase::Behind(Why::Resuming), Some(version)),
        };
        let mut subscription = Self {
            place,
            phase,
            pending: VecDeque::new(),
            delivered,
            has_open_frames: false,
            row_count: None,
            up_to: request.up_to,
            on_gap: request.on_gap,
            heartbeat,
            beat_at: Instant::now() + heartbeat,
        };
        subscription.tell_hello(epoch);
        subscription
    }

    /// The next frame; None after BYE or an error. Safe to cancel.
    pub async fn next(&mut self) -> Option<Result<Frame>> {
        loop {
            if let Some(frame) = self.pending.pop_front() {
                self.beat_at = Instant::now() + self.heartbeat;
                return Some(Ok(frame));
            }
            if matches!(self.phase, Phase::Done) {
                return None;
            }
            let beat_at = self.beat_at;
            let stepped = tokio::select! {
                biased;
                stepped = self.step() => stepped,
                () = sleep_until(beat_at) => {
                    self.tell_progress();
                    Ok(())
                }
            };
            if let Err(error) = stepped {
                self.phase = Phase::Done;
                return Some(Err(error));
            }
        }
    }

    /// Does one thing, or waits for one. What is awaited is kept in `self`, or harmless to start again.
    async fn step(&mut self) -> Result<()> {
        let queue = self.place.queue.clone();
        match self.phase {
            // These deliver what waits before they end.
            Phase::Live => self.follow().await,
            Phase::Summing(Why::Many, _) => self.finish_sum().await,
            _ => tokio::select! {
                biased;
                end = queue.ended() => {
                    self.tell_bye(end.reason);
                    Ok(())
                }
                advanced = self.advance() => advanced,
            },
        }
    }

    async fn advance(&mut self) -> Result<()> {
        match self.phase {
            Phase::Opening(opening) => self.open_snapshot(opening).await,
            Phase::Snapshot(..) => self.read_snapshot().await,
            Phase::Behind(why) => self.open_backlog(why).await,
            Phase::Within(..) => self.read_on().await,
            Phase::Summing(..) => self.finish_sum().await,
            Phase::Live | Phase::Done => Ok(()),
        }
    }

    async fn open_snapshot(&mut self, opening: Opening) -> Result<()> {
        let (shared, queue) = (&self.place.shared, &self.place.queue);
        let permit = shared.permit().await?;
        queue.collect();
        let reader = shared.store.reader();
        shared.wait_for(reader.epoch()).await;
        queue.forget_through(reader.epoch());
        // The columns may have changed between subscription and reader.
        if queue.ending().is_none() {
            let selection = self.place.selection.clone();
            let snapshot = Snapshot::start(reader, selection, &shared.options, permit);
            self.phase = Phase::Snapshot(opening, snapshot);
        }
        Ok(())
    }

    async fn read_snapshot(&mut self) -> Result<()> {
        let Phase::Snapshot(opening, snapshot) = &mut self.phase else {
            return Ok(());
        };
        let Some(piece) = snapshot.next().await? else {
            self.tell_bye(reason::SLOW_CONSUMER);
            return Ok(());
        };
        let (told, version, last) = (*opening, snapshot.version, piece.last);
        opening.reset = None;
        if last {
            self.delivered = Some(version);
            self.row_count = piece.row_count;
            self.phase = Phase::Live;
        }
        self.tell_piece(told, version, piece);
        Ok(())
    }

    async fn open_backlog(&mut self, why: Why) -> Result<()> {
        let (shared, queue) = (self.place.shared.clone(), &self.place.queue);
        let permit = shared.permit().await?;
        queue.collect();
        let last = shared.store.epoch();
        shared.wait_for(last).await;
        queue.forget_through(last);
        let from = self.delivered.unwrap_or(Epoch::ZERO);
        let to = self.up_to.map_or(last, |up_to| up_to.min(last));
        if queue.ending().is_some() {
            return Ok(());
        }
        if from >= to {
            self.phase = Phase::Live;
            self.tell_caught_up();
        } else if self.place.selection.shape.envelope == Envelope::State {
            self.phase = Phase::Opening(Opening::state(true));
        } else {
            let selection = self.place.selection.clone();
            let task = spawn_blocking(move || {
                let _permit = permit;
                match Rest::after(&shared.store, from, to)? {
                    Some(log) => log.read(&selection, &shared.options),
                    None => Ok(None),
                }
            });
            self.phase = Phase::Summing(why, task);
        }
        Ok(())
    }

    /// Goes on within an epoch that is told in parts. What is published meanwhile is collected.
    async fn read_on(&mut self) -> Result<()> {
        let shared = self.place.shared.clone();
        let permit = shared.permit().await?;
        let Phase::Within(why, rest) = std::mem::replace(&mut self.phase, Phase::Done) else {
            return Err(Error::internal("there is no rest of an epoch"));
        };
        let selection = self.place.selection.clone();
        let task = spawn_blocking(move || {
            let _permit = permit;
            rest.read(&selection, &shared.options)
        });
        self.phase = Phase::Summing(why, task);
        Ok(())
    }

    async fn finish_sum(&mut self) -> Result<()> {
        let Phase::Summing(why, task) = &mut self.phase else {
            return Ok(());
        };
        let why = *why;
        let summed = task.await;
        let summed = summed.map_err(|panic| Error::internal("reading a backlog failed").because(panic))??;
        let may_reset = self.on_gap == OnGap::Reset;
        match summed {
            None if may_reset && why == Why::Slow => self.reset(reason::SLOW_CONSUMER),
            None if may_reset => self.reset(reason::HISTORY_EXPIRED),
            None => {
                return Err(resume::gap_error(
                    reason::HISTORY_EXPIRED,
                    &self.place.shared.store,
                ));
            }
            Some(backlog) if !backlog.complete && may_reset && self.is_resettable(why) => {
                self.reset(reason::SLOW_CONSUMER);
            }
            Some(mut backlog) => {
                let rest = backlog.rest.take();
                let is_within = rest.is_some();
                self.phase = match rest {
                    Some(rest) => Phase::Within(why, rest),
                    None if backlog.complete => Phase::Live,
                    // What follows is no larger than anything else.
                    None if why == Why::Large => Phase::Behind(Why::Slow),
                    None => Phase::Behind(why),
                };
                self.tell_backlog(&backlog, why, is_within);
            }
        }
        Ok(())
    }

    /// Whether a backlog that is too long for one piece means RESET: only if the result may be shorter than the
    /// history (UPSERT), and never for a client that has asked for the history.
    fn is_resettable(&self, why: Why) -> bool {
        why == Why::Slow && self.place.selection.shape.envelope == Envelope::Upsert
    }

    fn reset(&mut self, reason: &'static str) {
        self.delivered = None;
        self.has_open_frames = false;
        self.row_count = None;
        self.phase = Phase::Opening(Opening::snapshot(Some(reason)));
    }

    async fn follow(&mut self) -> Result<()> {
        // Before the look into the queue: what is published up to here is in there.
        let published = self.place.shared.now().epoch;
        let rows_max = self.place.shared.options.frame_rows_max;
        let is_state = self.place.selection.shape.envelope == Envelope::State;
        match self.place.queue.take(self.up_to, rows_max) {
            Taken::Slices(_) | Taken::Overflowed | Taken::Skipped if is_state => {
                match self.place.queue.ending() {
                    Some(end) => self.tell_bye(end.reason),
                    None => self.phase = Phase::Opening(Opening::state(false)),
                }
            }
            Taken::Slices(slices) => return self.sum(slices),
            Taken::Overflowed => self.phase = Phase::Behind(Why::Slow),
            Taken::Skipped => self.phase = Phase::Behind(Why::Large),
            Taken::Ended(reason) => self.tell_bye(reason),
            Taken::Beyond => self.tell_reached(),
            Taken::Nothing if self.up_to.is_some_and(|up_to| published >= up_to) => self.tell_reached(),
            Taken::Nothing => self.wait().await,
        }
        Ok(())
    }

    async fn wait(&self) {
        let reached = async {
            match self.up_to {
                Some(up_to) => self.place.shared.wait_for(up_to).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.place.queue.changed() => {}
            () = reached => {}
        }
    }

    /// Tells what waited: here if it is little, else in the background.
    fn sum(&mut self, slices: Vec<Arc<Slice>>) -> Result<()> {
        let rows_max = self.place.shared.options.frame_rows_max;
        let selection = self.place.selection.clone();
        if slices.iter().map(|slice| slice.len()).sum::<usize>() > TELL_INLINE_ROWS_MAX {
            let task = spawn_blocking(move || sum(&slices, &selection, rows_max).map(Some));
            self.phase = Phase::Summing(Why::Many, task);
        } else {
            let backlog = sum(&slices, &selection, rows_max)?;
            self.tell_backlog(&backlog, Why::Many, false);
        }
        Ok(())
    }
}

/// The net change of `slices`. That of a single one is the same object for all who share it.
fn sum(slices: &[Arc<Slice>], selection: &crate::request::Selection, rows_max: usize) -> Result<Backlog> {
    let last = slices.last().ok_or_else(|| Error::internal("nothing waited"))?;
    let shaped = if slices.len() == 1 {
        last.tell(&selection.shape, rows_max)?
    } else {
        let changes = slices
            .iter()
            .map(|slice| slice.changes())
            .collect::<Result<Vec<_>>>()?;
        let changes = Batch::concat(&selection.relation.schema(), &changes)?;
        Arc::new(selection.shape.tell(&changes, rows_max)?)
    };
    Ok(Backlog {
        shaped,
        is_shared: slices.len() == 1,
        through: last.epoch,
        commit_time: Some(last.commit_time),
        complete: true,
        rest: None,
    })
}

impl Opening {
    fn snapshot(reset: Option<&'static str>) -> Self {
        Self {
            kind: FrameKind::Snapshot,
            reset,
            caught_up: true,
        }
    }

    fn state(caught_up: bool) -> Self {
        Self {
            kind: FrameKind::Delta,
            reset: None,
            caught_up,
        }
    }
}
