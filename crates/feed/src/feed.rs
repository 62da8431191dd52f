//! The feed of everything: what is published, and who listens.

use crate::{Request, Subscription, TransactionTail};
use std::sync::Arc;
use viewfeed_change::{Delta, Epoch, Relation, RelationId, Relations, Result, Timestamp, Transaction};
use viewfeed_store::Store;

/// Limits.
#[derive(Clone, Debug)]
pub struct FeedOptions {
    /// Rows that may wait for one subscriber before its queue is coalesced by key.
    pub queue_rows_max: usize,
    /// Rows of the coalesced queue after which the subscriber is reset.
    pub coalesced_rows_max: usize,
    /// Rows per frame.
    pub frame_rows_max: usize,
    /// Subscriptions at one time.
    pub subscriptions_max: usize,
    /// Rows of a result in the STATE envelope.
    pub state_rows_max: usize,
}

/// A committed epoch.
pub struct Published {
    /// Which.
    pub epoch: Epoch,
    /// When.
    pub commit_time: Timestamp,
    /// Every relation as of this epoch. Relations dropped or changed in their columns since the last epoch end or reset their feeds.
    pub relations: Arc<Relations>,
    /// The source transactions.
    pub transactions: Vec<Transaction>,
    /// What changed in views.
    pub deltas: Vec<Delta>,
}

/// The feeds. Cheap to clone.
#[derive(Clone)]
pub struct Feed;

impl Feed {
    /// Feeds over `store`, with the relations as of its last epoch.
    pub fn new(_store: Store, _relations: Arc<Relations>, _options: FeedOptions) -> Self {
        todo!()
    }

    /// Called once per epoch, in order, after the commit is durable. Never waits for a subscriber.
    pub fn publish(&self, _published: Published) {
        todo!()
    }

    /// The last published epoch.
    pub fn epoch(&self) -> Epoch {
        todo!()
    }

    /// The relations as of the last published epoch.
    pub fn relations(&self) -> Arc<Relations> {
        todo!()
    }

    /// Returns when `epoch` is published.
    pub async fn wait_for(&self, _epoch: Epoch) {
        todo!()
    }

    /// Starts a feed. The first frame (HELLO) is there at once.
    pub fn subscribe(&self, _request: Request) -> Result<Subscription> {
        todo!()
    }

    /// Every source transaction after `after` (None: after now), first from the log, then live. `relations` empty: all tables.
    /// Fails as `OutOfRange` if `after` is older than the retained history.
    pub fn transactions(
        &self,
        _after: Option<Epoch>,
        _relations: Vec<RelationId>,
    ) -> Result<TransactionTail> {
        todo!()
    }

    /// How many subscriptions there are.
    pub fn subscribers(&self) -> usize {
        todo!()
    }

    /// Ends the feeds that `wanted` picks with BYE and `reason`.
    pub fn close(&self, _reason: &'static str, _wanted: impl Fn(&Relation) -> bool) {
        todo!()
    }

    /// Ends every feed with BYE `DRAIN`; later subscriptions are refused as `Unavailable`.
    pub fn drain(&self) {
        todo!()
    }
}
