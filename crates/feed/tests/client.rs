//! A client as the protocol describes it: it folds frames into rows, and believes nothing.

use crate::world::{Contents, Row, World, from_batch};
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use std::collections::BTreeSet;
use viewfeed_change::{Epoch, Result};
use viewfeed_feed::{Feed, Frame, FrameKind, Request, Rows, Subscription};

/// A subscription and what its client holds.
pub(crate) struct Client {
    pub(crate) request: Request,
    pub(crate) subscription: Subscription,
    /// What the frames add up to at `version`.
    pub(crate) rows: Contents,
    pub(crate) version: Epoch,
    pub(crate) token: Option<Vec<u8>>,
    pub(crate) row_count: Option<u64>,
    /// Frames of a group that is not closed.
    open: Vec<Frame>,
    /// Whether `rows` says something: a snapshot is complete.
    pub(crate) is_filled: bool,
    /// Whether versions may be too large for memory: then a key may come more than once, and a version may be left unfinished.
    pub(crate) may_be_large: bool,
}

impl Client {
    /// Subscribes and takes HELLO.
    pub(crate) async fn start(feed: &Feed, request: Request) -> Self {
        Self::try_start(feed, request).await.unwrap()
    }

    pub(crate) async fn try_start(feed: &Feed, request: Request) -> Result<Self> {
        let mut subscription = feed.subscribe(request.clone())?;
        let hello = subscription.next().await.unwrap()?;
        assert_eq!(hello.kind, FrameKind::Hello);
        Ok(Self {
            request,
            subscription,
            rows: Contents::new(),
            version: hello.version,
            token: hello.token,
            row_count: None,
            open: Vec::new(),
            is_filled: false,
            may_be_large: false,
        })
    }

    /// Drops the stream and comes back with the last token, or from nothing without one.
    pub(crate) async fn reconnect(&mut self, feed: &Feed) -> Result<()> {
        let request = Request {
            token: self.token.clone(),
            ..self.request.clone()
        };
        let fresh = Self::try_start(feed, request).await?;
        self.subscription = fresh.subscription;
        self.open.clear();
        if self.token.is_none() {
            (self.rows, self.is_filled) = (Contents::new(), false);
        }
        self.row_count = None;
        Ok(())
    }

    /// Takes one frame.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let frame = self.subscription.next().await?.unwrap();
        self.take(frame.clone());
        Some(frame)
    }

    /// Takes frames until `wanted` is one; panics on BYE.
    pub(crate) async fn next_where(&mut self, wanted: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            let frame = self.next().await.expect("the feed ended");
            if wanted(&frame) {
                return frame;
            }
            assert_ne!(frame.kind, FrameKind::Bye, "{}", frame.reason);
        }
    }

    /// Takes frames until everything up to `version` is there.
    pub(crate) async fn reach(&mut self, version: Epoch) {
        while !self.is_filled || self.version < version {
            self.next().await.expect("the feed ended");
        }
    }

    /// Takes frames until there are no more; gives the last.
    pub(crate) async fn finish(&mut self) -> Frame {
        let mut last = None;
        while let Some(frame) = self.next().await {
            last = Some(frame);
        }
        last.expect("a frame before the end")
    }

    /// What it holds is what `world` held at its version.
    pub(crate) fn check(&self, world: &World, room: Option<&str>) {
        let held = world.at(self.request.relation, self.version, room);
        assert_eq!(self.rows, held, "at version {}", self.version);
        if let Some(rows) = self.row_count {
            assert_eq!(
                rows as i64,
                held.values().sum::<i64>(),
                "rows at {}",
                self.version
            );
        }
    }

    pub(crate) fn take(&mut self, frame: Frame) {
        assert!(frame.token.is_none() || !frame.more, "a token within a group");
        match frame.kind {
            FrameKind::Hello => panic!("a second HELLO"),
            FrameKind::Bye => {
                // Only a snapshot may be left unfinished: what was told of it does not count.
                let is_snapshot =
                    |frame: &Frame| matches!(frame.kind, FrameKind::Snapshot | FrameKind::Reset);
                assert!(
                    self.may_be_large || self.open.iter().all(is_snapshot),
                    "BYE within a group"
                );
                self.open.clear();
                self.token = frame.token.or(self.token.take());
                return;
            }
            FrameKind::Progress if frame.more => return,
            FrameKind::Reset if self.may_be_large => self.open.clear(),
            _ => {}
        }
        if let Some(first) = self.open.first() {
            assert_eq!(first.version, frame.version, "a group of two versions");
        }
        let more = frame.more;
        self.open.push(frame);
        if !more {
            let group = std::mem::take(&mut self.open);
            self.close(&group);
        }
    }

    fn close(&mut self, group: &[Frame]) {
        let (first, last) = (&group[0], &group[group.len() - 1]);
        match first.kind {
            FrameKind::Reset => (self.rows, self.is_filled) = (Contents::new(), false),
            FrameKind::Delta => assert!(first.version > self.version || last.caught_up, "told twice"),
            _ => assert!(first.version >= self.version),
        }
        self.is_filled |= first.kind != FrameKind::Progress;
        let mut keys = BTreeSet::new();
        for frame in group {
            self.apply(&frame.rows, &mut keys);
        }
        self.rows.retain(|_, weight| *weight != 0);
        self.version = last.version;
        self.token.clone_from(&last.token);
        self.row_count = last.row_count;
        assert!(last.token.is_some(), "a closed group without a token");
    }

    fn apply(&mut self, rows: &Rows, keys: &mut BTreeSet<i64>) {
        let is_once = self.request.key.is_empty() && !self.may_be_large;
        match rows {
            Rows::None => {}
            Rows::Upsert { puts, deletes } => {
                assert!(puts.num_rows() + deletes.num_rows() > 0 || self.is_filled);
                for (id, ..) in from_batch(puts) {
                    assert!(keys.insert(id) || !is_once, "a key twice in one version");
                    self.rows.retain(|row, _| row.0 != id);
                }
                for id in deletes.column(0).as_primitive::<Int64Type>().values() {
                    assert!(keys.insert(*id) || !is_once, "a key twice in one version");
                    self.rows.retain(|row, _| row.0 != *id);
                }
                self.add(from_batch(puts).into_iter().map(|row| (row, 1)));
            }
            Rows::Diff(batch) => {
                let rows = from_batch(batch.rows()).into_iter();
                self.add(rows.zip(batch.weights().iter().copied()));
            }
            Rows::State(batch) => {
                self.rows.clear();
                self.add(from_batch(batch).into_iter().map(|row| (row, 1)));
            }
        }
    }

    fn add(&mut self, rows: impl Iterator<Item = (Row, i64)>) {
        for (row, weight) in rows {
            *self.rows.entry(row).or_default() += weight;
        }
    }
}
