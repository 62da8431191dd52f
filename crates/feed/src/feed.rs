//! The feed of everything: what is published, and who listens.

use crate::frame::reason;
use crate::queue::Queue;
use crate::request::Selection;
use crate::resume::{self, Start};
use crate::router::{Origin, Router};
use crate::transactions::TailedEpoch;
use crate::{FeedOptions, Request, Subscription, TransactionTail};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};
use tokio::time::Instant;
use viewfeed_change::{
    Delta, Epoch, Error, ErrorKind, Relation, RelationId, Relations, Result, Timestamp, Transaction,
};
use viewfeed_store::{EpochRecord, Store, arrange, view_errors};

/// Epochs of transactions kept in memory for tails that are live; a tail that lags by more reads the log.
const TAIL_EPOCHS_MAX: usize = 64;
/// Relations kept as they were before they changed, so that tails can read the history of before.
const PAST_RELATIONS_MAX: usize = 256;

/// A committed epoch.
pub struct Published {
    /// Which.
    pub epoch: Epoch,
    /// When.
    pub commit_time: Timestamp,
    /// Every relation as of this epoch. Relations dropped or changed in their columns since the last epoch end their feeds.
    pub relations: Arc<Relations>,
    /// The source transactions.
    pub transactions: Vec<Transaction>,
    /// What changed in views; the initial content of a new view is its first delta.
    pub deltas: Vec<Delta>,
    /// Whether other parts of it were given to [`Feed::stage`] before.
    pub is_large: bool,
}

/// The feeds. Cheap to clone.
#[derive(Clone)]
pub struct Feed {
    shared: Arc<Shared>,
}

/// What the feeds have in common.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) options: FeedOptions,
    now: watch::Sender<Now>,
    listeners: Mutex<Listeners>,
    readers: Arc<Semaphore>,
}

/// The last published epoch.
#[derive(Clone)]
pub(crate) struct Now {
    pub(crate) epoch: Epoch,
    pub(crate) relations: Arc<Relations>,
}

struct Listeners {
    router: Router,
    /// None once the feeds drain.
    tails: Option<broadcast::Sender<Arc<TailedEpoch>>>,
    /// Whether there are parts of an epoch that is not published yet.
    has_staged: bool,
    past: VecDeque<Arc<Relation>>,
}

impl Feed {
    /// Feeds over `store`, with the relations as of its last epoch.
    pub fn new(store: Store, relations: Arc<Relations>, mut options: FeedOptions) -> Self {
        options.frame_rows_max = options.frame_rows_max.max(1);
        let epoch = store.epoch();
        let listeners = Listeners {
            router: Router::default(),
            tails: Some(broadcast::Sender::new(TAIL_EPOCHS_MAX)),
            has_staged: false,
            past: VecDeque::new(),
        };
        let shared = Shared {
            store,
            now: watch::Sender::new(Now { epoch, relations }),
            listeners: Mutex::new(listeners),
            readers: Arc::new(Semaphore::new(options.readers_max.max(1))),
            options,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Takes a part of an epoch that is still open and too large for memory: what is kept of it is bounded, for each subscriber, and
    /// the rest is read from the log. What follows is more of it, its publication with `is_large`, or [`Feed::forget_staged`].
    pub fn stage(&self, epoch: Epoch, record: &EpochRecord) {
        let mut listeners = self.shared.listeners.lock();
        listeners.has_staged = true;
        let origin = Origin {
            epoch,
            commit_time: record.commit_time,
            is_open: true,
        };
        listeners
            .router
            .route_all(origin, &record.transactions, &record.deltas);
    }

    /// The epoch of which parts were staged was given up. Without one, does nothing.
    pub fn forget_staged(&self) {
        let mut listeners = self.shared.listeners.lock();
        if std::mem::take(&mut listeners.has_staged) {
            listeners.router.each(&mut Queue::forget_staged);
        }
    }

    /// Called once per epoch, in order, after the commit is durable; also for an epoch in which nothing changed, because
    /// a snapshot is told only when the epoch it was read at is published. Never waits for a subscriber.
    pub fn publish(&self, published: Published) {
        let mut listeners = self.shared.listeners.lock();
        let before = self.shared.now();
        if published.epoch <= before.epoch {
            return tracing::error!(epoch = %published.epoch, after = %before.epoch, "published out of order");
        }
        if !Arc::ptr_eq(&before.relations, &published.relations) {
            let deadline = self.shared.drain_deadline();
            listeners.router.end_changed(&published.relations, deadline);
            listeners.keep_past(&before.relations, &published.relations);
        }
        listeners.has_staged = false;
        let origin = Origin {
            epoch: published.epoch,
            commit_time: published.commit_time,
            is_open: published.is_large,
        };
        let (transactions, deltas) = (published.transactions, published.deltas);
        listeners.router.route_all(origin, &transactions, &deltas);
        if published.is_large {
            listeners.router.each(&mut Queue::push_staged);
        }
        if let Some(tails) = &listeners.tails {
            let tailed = TailedEpoch {
                epoch: published.epoch,
                transactions: (!published.is_large).then_some(transactions),
            };
            // Fails if nobody tails.
            let _ = tails.send(Arc::new(tailed));
        }
        // Only now: who sees the new epoch must find its changes in the queues.
        self.shared.now.send_replace(Now {
            epoch: published.epoch,
            relations: published.relations,
        });
    }

    /// The last published epoch.
    pub fn epoch(&self) -> Epoch {
        self.shared.now().epoch
    }

    /// The relations as of the last published epoch.
    pub fn relations(&self) -> Arc<Relations> {
        self.shared.now().relations
    }

    /// The history that epochs belong to, for tokens that others make.
    pub fn incarnation(&self) -> u64 {
        self.shared.options.incarnation
    }

    /// Returns when `epoch` is published.
    pub async fn wait_for(&self, epoch: Epoch) {
        self.shared.wait_for(epoch).await;
    }

    /// Starts a feed. The first frame (HELLO) is there at once; the others need a tokio runtime with time.
    ///
    /// Fails as `NotFound`/`UNKNOWN_RELATION`; as `Invalid` if the filter, the key or the token is wrong; as
    /// `Precondition`/`VIEW_ERRORS` if it is a strict view that leaves out rows; as
    /// `OutOfRange` if the token is too old and `on_gap` is `Error`; as `Exhausted` at `subscriptions_max`; as
    /// `Unavailable`/`DRAINING`, or `VIEW_FILLING` if it is a view that is not complete yet.
    pub fn subscribe(&self, request: Request) -> Result<Subscription> {
        let shared = &self.shared;
        let mut listeners = shared.listeners.lock();
        if listeners.tails.is_none() {
            return Err(draining());
        }
        if listeners.router.len() >= shared.options.subscriptions_max {
            let message = format!("there are {} subscriptions already", listeners.router.len());
            return Err(
                Error::new(ErrorKind::Exhausted, "TOO_MANY_SUBSCRIPTIONS", message)
                    .hint("end some, or raise the limit of subscriptions"),
            );
        }
        let now = shared.now();
        let relation = now
            .relations
            .get(request.relation)
            .ok_or_else(|| Error::not_found("UNKNOWN_RELATION", "the relation does not exist any more"))?;
        // Under the lock: who comes after the commit is refused here, who came before is ended by `close`.
        view_errors::refuse(&shared.store.reader(), relation)?;
        arrange::refuse_filling(&shared.store.reader(), relation)?;
        let selection = Arc::new(Selection::new(&request, relation.clone())?);
        let start = match &request.token {
            None if request.skip_snapshot => Start::After(now.epoch),
            None => Start::Snapshot(None),
            Some(token) => {
                let (relations, store) = (&now.relations, &shared.store);
                resume::start(
                    token,
                    &selection,
                    request.on_gap,
                    relations,
                    store,
                    &shared.options,
                )?
            }
        };
        let queue = Arc::new(Queue::new(shared.options.queue_rows_max));
        if listeners.has_staged {
            queue.stage_in_log();
        }
        let id = listeners.router.add(&selection, queue.clone())?;
        drop(listeners);
        let registration = Registration {
            shared: shared.clone(),
            selection,
            queue,
            id,
        };
        Ok(Subscription::new(registration, &request, start, now.epoch))
    }

    /// Every source transaction after `after` (None: after now), first from the log, then live. `relations` empty: all
    /// tables. Changes of tables that were dropped in the meantime may be left out.
    ///
    /// Fails as `OutOfRange` if `after` is older than the retained history, or newer than the last epoch; as
    /// `Unavailable`/`DRAINING`.
    pub fn transactions(&self, after: Option<Epoch>, relations: Vec<RelationId>) -> Result<TransactionTail> {
        let listeners = self.shared.listeners.lock();
        let live = listeners.tails.as_ref().ok_or_else(draining)?.subscribe();
        TransactionTail::start(self.shared.clone(), live, after, relations)
    }

    /// How many subscriptions there are.
    pub fn subscribers(&self) -> usize {
        self.shared.listeners.lock().router.len()
    }

    /// Ends the feeds that `wanted` picks with BYE and `reason`, after what waits for them is delivered. `wanted` must
    /// not call this feed.
    pub fn close(&self, reason: &'static str, wanted: impl Fn(&Relation) -> bool) {
        let deadline = self.shared.drain_deadline();
        let mut listeners = self.shared.listeners.lock();
        listeners.router.end(reason, deadline, &wanted);
    }

    /// Ends every feed with BYE `DRAIN`, after what waits for it is delivered or the time for that is over; later
    /// subscriptions are refused as `Unavailable`.
    pub fn drain(&self) {
        let deadline = self.shared.drain_deadline();
        let mut listeners = self.shared.listeners.lock();
        listeners.tails = None;
        listeners.router.end(reason::DRAIN, deadline, &|_| true);
    }
}

fn draining() -> Error {
    Error::new(ErrorKind::Unavailable, "DRAINING", "the server is stopping").hint("connect again in a moment")
}

impl Shared {
    /// The last published epoch.
    pub(crate) fn now(&self) -> Now {
        self.now.borrow().clone()
    }

    /// Returns when `epoch` is published: every change up to it is then in the queues.
    pub(crate) async fn wait_for(&self, epoch: Epoch) {
        // Fails only if the sender is gone, and that is ours.
        let _ = self.now.subscribe().wait_for(|now| now.epoch >= epoch).await;
    }

    /// Leave to read a lot.
    pub(crate) async fn permit(&self) -> Result<OwnedSemaphorePermit> {
        let acquired = self.readers.clone().acquire_owned().await;
        acquired.map_err(|error| Error::internal("the feeds are closed").because(error))
    }

    /// Whether every feed must end.
    pub(crate) fn is_draining(&self) -> bool {
        self.listeners.lock().tails.is_none()
    }

    /// The relation as it was at `schema_version`, if that is now or still remembered.
    pub(crate) fn relation_at(&self, id: RelationId, schema_version: u32) -> Option<Arc<Relation>> {
        let matches = |relation: &&Arc<Relation>| relation.schema_version == schema_version;
        let now = self.now().relations;
        if let Some(relation) = now.get(id).filter(matches) {
            return Some(relation.clone());
        }
        let listeners = self.listeners.lock();
        let mut past = listeners.past.iter().filter(|relation| relation.id == id);
        past.find(matches).cloned()
    }

    fn drain_deadline(&self) -> Instant {
        Instant::now() + self.options.drain
    }
}

impl Listeners {
    fn keep_past(&mut self, before: &Relations, now: &Relations) {
        for relation in before.iter() {
            let same = |now: &Arc<Relation>| now.schema_version == relation.schema_version;
            if relation.as_table().is_some() && !now.get(relation.id).is_some_and(same) {
                self.past.push_back(relation.clone());
            }
        }
        let surplus = self.past.len().saturating_sub(PAST_RELATIONS_MAX);
        self.past.drain(..surplus);
    }
}

/// A place in the router, given back when dropped.
pub(crate) struct Registration {
    pub(crate) shared: Arc<Shared>,
    pub(crate) selection: Arc<Selection>,
    pub(crate) queue: Arc<Queue>,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut listeners = self.shared.listeners.lock();
        listeners.router.remove(self.id, &self.selection);
    }
}
