//! What waits for one subscriber. Filled by the publisher, which never waits: a full queue is thrown away, and its
//! owner reads the epoch log instead.
//!
//! Of an epoch that is published in parts, slices are staged until it is committed: so it is told as one.

use crate::slice::Slice;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::time::Instant;
use viewfeed_change::Epoch;

/// With more epochs waiting they are told as one change; with fewer each is told by itself, so that its encoding can
/// be shared with others.
const MERGE_ABOVE_EPOCHS: usize = 8;

/// The waiting slices of one subscriber, by epoch.
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Notify,
    rows_max: usize,
}

struct Waiting {
    mode: Mode,
    slices: VecDeque<Arc<Slice>>,
    cost: usize,
    staged: Staged,
    end: Option<End>,
}

/// What an open epoch has for the subscriber so far.
enum Staged {
    Slices {
        slices: Vec<Arc<Slice>>,
        cost: usize,
    },
    /// Too much, or nobody knows: it is in the log.
    InLog,
}

impl Staged {
    fn nothing() -> Self {
        Self::Slices {
            slices: Vec::new(),
            cost: 0,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// A snapshot or backlog that is yet to be opened will cover what is published now.
    Idle,
    Collecting,
    /// Something was thrown away.
    Overflowed,
    /// An epoch came that is too large to wait here.
    Skipping,
}

/// That the feed must end.
#[derive(Clone, Copy)]
pub(crate) struct End {
    pub(crate) reason: &'static str,
    /// What waits is delivered until then.
    deadline: Instant,
}

/// What a subscriber finds.
pub(crate) enum Taken {
    /// The next epochs, one or several.
    Slices(Vec<Arc<Slice>>),
    /// The next epoch is after the one asked for.
    Beyond,
    /// Something is missing, because it was not taken in time.
    Overflowed,
    /// Something is missing, because it is too large for any queue.
    Skipped,
    /// Nothing, and there will be no more.
    Ended(&'static str),
    /// Nothing yet.
    Nothing,
}

impl Queue {
    pub(crate) fn new(rows_max: usize) -> Self {
        let waiting = Waiting {
            mode: Mode::Idle,
            slices: VecDeque::new(),
            cost: 0,
            staged: Staged::nothing(),
            end: None,
        };
        Self {
            waiting: Mutex::new(waiting),
            wake: Notify::new(),
            rows_max,
        }
    }

    /// Adds a slice, or throws all away if it does not fit. A slice alone always fits: it is in memory anyway.
    pub(crate) fn push(&self, slice: &Arc<Slice>) {
        let mut waiting = self.waiting.lock();
        if waiting.mode != Mode::Collecting || waiting.end.is_some() {
            return;
        }
        if !waiting.slices.is_empty() && waiting.cost + slice.cost() > self.rows_max {
            waiting.clear(Mode::Overflowed);
        } else {
            waiting.cost += slice.cost();
            waiting.slices.push_back(slice.clone());
        }
        drop(waiting);
        self.wake.notify_one();
    }

    /// Keeps a slice of an epoch that is still open, if there is room.
    pub(crate) fn stage(&self, slice: &Arc<Slice>) {
        let mut waiting = self.waiting.lock();
        if let Staged::Slices { slices, cost } = &mut waiting.staged {
            *cost += slice.cost();
            slices.push(slice.clone());
            if *cost > self.rows_max {
                waiting.staged = Staged::InLog;
            }
        }
    }

    /// Of the epoch that is still open, some may be missing here.
    pub(crate) fn stage_in_log(&self) {
        self.waiting.lock().staged = Staged::InLog;
    }

    /// The open epoch was given up.
    pub(crate) fn forget_staged(&self) {
        self.waiting.lock().staged = Staged::nothing();
    }

    /// The open epoch is committed: what was staged of it waits like anything else.
    pub(crate) fn push_staged(&self) {
        let mut waiting = self.waiting.lock();
        let staged = std::mem::replace(&mut waiting.staged, Staged::nothing());
        if waiting.mode != Mode::Collecting || waiting.end.is_some() {
            return;
        }
        match staged {
            Staged::InLog => waiting.clear(Mode::Skipping),
            Staged::Slices { cost, .. }
                if !waiting.slices.is_empty() && waiting.cost + cost > self.rows_max =>
            {
                waiting.clear(Mode::Overflowed);
            }
            Staged::Slices { slices, cost } => {
                waiting.cost += cost;
                waiting.slices.extend(slices);
            }
        }
        drop(waiting);
        self.wake.notify_one();
    }

    /// Throws all away: the owner will read the log.
    pub(crate) fn overflow(&self) {
        let mut waiting = self.waiting.lock();
        if waiting.mode == Mode::Collecting {
            waiting.clear(Mode::Overflowed);
        }
        drop(waiting);
        self.wake.notify_one();
    }

    /// Lets the feed end once what waits is delivered, or at `deadline`. The first reason stays.
    pub(crate) fn end(&self, reason: &'static str, deadline: Instant) {
        self.waiting.lock().end.get_or_insert(End { reason, deadline });
        self.wake.notify_one();
    }

    /// Whether and why the feed must end.
    pub(crate) fn ending(&self) -> Option<End> {
        self.waiting.lock().end
    }

    /// Starts anew, empty. Whoever then asks the store for its last epoch `e` finds every epoch after `e` in here,
    /// because an epoch is published after its commit; see [`Queue::forget_through`] for those up to `e`.
    pub(crate) fn collect(&self) {
        self.waiting.lock().clear(Mode::Collecting);
    }

    /// Drops what is in the snapshot or backlog that reaches to `epoch`.
    pub(crate) fn forget_through(&self, epoch: Epoch) {
        let mut waiting = self.waiting.lock();
        while waiting.slices.front().is_some_and(|slice| slice.epoch <= epoch) {
            waiting.pop();
        }
    }

    /// What comes next, up to the epoch `up_to`; several epochs only of at most `rows_max` rows together.
    pub(crate) fn take(&self, up_to: Option<Epoch>, rows_max: usize) -> Taken {
        let mut waiting = self.waiting.lock();
        let wanted = |slice: &Slice| up_to.is_none_or(|up_to| slice.epoch <= up_to);
        match (&waiting.end, waiting.slices.front()) {
            (Some(end), None) => return Taken::Ended(end.reason),
            (Some(end), Some(_)) if end.deadline <= Instant::now() => return Taken::Ended(end.reason),
            (None, None) if waiting.mode == Mode::Overflowed => return Taken::Overflowed,
            (None, None) if waiting.mode == Mode::Skipping => return Taken::Skipped,
            (None, None) => return Taken::Nothing,
            (_, Some(front)) if !wanted(front) => return Taken::Beyond,
            _ => {}
        }
        let merge = waiting.slices.len() > MERGE_ABOVE_EPOCHS;
        let mut rows = 0;
        let mut taken: Vec<Arc<Slice>> = Vec::new();
        while let Some(front) = waiting.slices.front() {
            rows += front.len();
            let is_other = taken.last().is_some_and(|last| last.epoch != front.epoch);
            if is_other && (!merge || rows > rows_max || !wanted(front)) {
                break;
            }
            taken.extend(waiting.pop());
        }
        Taken::Slices(taken)
    }

    /// Whether everything published so far was taken.
    pub(crate) fn is_idle(&self) -> bool {
        let waiting = self.waiting.lock();
        waiting.mode == Mode::Collecting && waiting.slices.is_empty() && waiting.end.is_none()
    }

    /// Returns when something may have changed since the last look. Only the owner waits.
    pub(crate) async fn changed(&self) {
        self.wake.notified().await;
    }

    /// Returns when the feed must end.
    pub(crate) async fn ended(&self) -> End {
        loop {
            if let Some(end) = self.ending() {
                return end;
            }
            self.wake.notified().await;
        }
    }
}

impl Waiting {
    fn clear(&mut self, mode: Mode) {
        self.mode = mode;
        self.slices = VecDeque::new();
        self.cost = 0;
    }

    fn pop(&mut self) -> Option<Arc<Slice>> {
        let slice = self.slices.pop_front()?;
        self.cost -= slice.cost();
        Some(slice)
    }
}
