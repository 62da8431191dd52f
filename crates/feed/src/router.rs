//! Who wants which rows. Filters on the same columns are one hash table from values to subscribers, so a delta costs
//! its rows plus the subscribers that get one, however many others there are.

use crate::frame::reason;
use crate::queue::Queue;
use crate::request::Selection;
use crate::slice::Slice;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::time::Instant;
use viewfeed_change::row::RowCodec;
use viewfeed_change::{Batch, ColumnPath, Epoch, Relation, RelationId, Relations, Result, Timestamp};

type Subscribers = BTreeMap<u64, Arc<Queue>>;

/// Every subscriber, by what it wants.
#[derive(Default)]
pub(crate) struct Router {
    routes: HashMap<RelationId, Routes>,
    next_id: u64,
    count: usize,
}

/// The subscribers of one relation.
struct Routes {
    relation: Arc<Relation>,
    unfiltered: Subscribers,
    filtered: Vec<FilterIndex>,
}

/// The subscribers that filter by the same columns.
struct FilterIndex {
    columns: Vec<ColumnPath>,
    codec: RowCodec,
    by_key: HashMap<Vec<u8>, Subscribers>,
}

impl Router {
    /// How many subscribers, those included that must end and have not been dropped.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Whether anybody wants `relation`.
    pub(crate) fn wants(&self, relation: RelationId) -> bool {
        self.routes.contains_key(&relation)
    }

    /// Adds a subscriber; gives the number to remove it by.
    pub(crate) fn add(&mut self, selection: &Selection, queue: Arc<Queue>) -> Result<u64> {
        let relation = &selection.relation;
        let filter_codec = match &selection.filter {
            Some(filter) => Some(RowCodec::for_paths(&relation.schema(), &filter.columns)?),
            None => None,
        };
        let id = self.next_id;
        self.next_id += 1;
        self.count += 1;
        let routes = self.routes.entry(relation.id).or_insert_with(|| Routes {
            relation: relation.clone(),
            unfiltered: Subscribers::new(),
            filtered: Vec::new(),
        });
        match (&selection.filter, filter_codec) {
            (Some(filter), Some(codec)) => routes
                .index(&filter.columns, codec)
                .by_key
                .entry(filter.key.clone())
                .or_default()
                .insert(id, queue),
            _ => routes.unfiltered.insert(id, queue),
        };
        Ok(id)
    }

    /// Removes a subscriber.
    pub(crate) fn remove(&mut self, id: u64, selection: &Selection) {
        self.count -= 1;
        let Some(routes) = self.routes.get_mut(&selection.relation.id) else {
            return;
        };
        routes.unfiltered.remove(&id);
        if let Some(filter) = &selection.filter {
            let index = routes.filtered.iter_mut().find(|i| i.columns == filter.columns);
            if let Some(index) = index
                && let Some(subscribers) = index.by_key.get_mut(&filter.key)
            {
                subscribers.remove(&id);
                if subscribers.is_empty() {
                    index.by_key.remove(&filter.key);
                }
            }
            routes.filtered.retain(|index| !index.by_key.is_empty());
        }
        if routes.is_empty() {
            self.routes.remove(&selection.relation.id);
        }
    }

    /// Ends the feeds of relations that are gone or have other columns in `relations`.
    pub(crate) fn end_changed(&mut self, relations: &Relations, deadline: Instant) {
        self.routes.retain(|id, routes| {
            let reason = match relations.get(*id) {
                None => reason::RELATION_DROPPED,
                Some(now) if is_readable_as(now, &routes.relation) => return true,
                Some(_) => reason::SCHEMA_CHANGED,
            };
            routes.each(&mut |queue| queue.end(reason, deadline));
            false
        });
    }

    /// Ends the feeds of the relations that `wanted` picks.
    pub(crate) fn end(
        &mut self,
        reason: &'static str,
        deadline: Instant,
        wanted: &dyn Fn(&Relation) -> bool,
    ) {
        self.routes.retain(|_, routes| {
            if wanted(&routes.relation) {
                routes.each(&mut |queue| queue.end(reason, deadline));
                return false;
            }
            true
        });
    }

    /// Hands what an epoch changed in `relation` to whoever wants some of it.
    pub(crate) fn route(
        &self,
        relation: RelationId,
        epoch: Epoch,
        commit_time: Timestamp,
        changes: &[Batch],
    ) {
        let Some(routes) = self.routes.get(&relation) else {
            return;
        };
        if let Err(error) = routes.route(epoch, commit_time, changes) {
            // They meet the same failure when they read this epoch from the log, and tell their clients.
            tracing::error!(%error, relation = relation.0, "a delta cannot be routed");
            routes.each(&mut |queue| queue.overflow());
        }
    }
}

impl Routes {
    fn route(&self, epoch: Epoch, commit_time: Timestamp, changes: &[Batch]) -> Result<()> {
        let delta = match changes {
            [change] => change.clone(),
            _ => Batch::concat(&self.relation.schema(), changes)?,
        };
        let delta = Arc::new(delta);
        let slice = |indices| Arc::new(Slice::new(epoch, commit_time, delta.clone(), indices));
        if !self.unfiltered.is_empty() {
            let whole = slice(None);
            self.unfiltered.values().for_each(|queue| queue.push(&whole));
        }
        for index in &self.filtered {
            index.route(&index.codec.encode(delta.rows())?, &slice);
        }
        Ok(())
    }

    fn index(&mut self, columns: &[ColumnPath], codec: RowCodec) -> &mut FilterIndex {
        let at = match self.filtered.iter().position(|index| index.columns == columns) {
            Some(at) => at,
            None => {
                self.filtered.push(FilterIndex {
                    columns: columns.to_vec(),
                    codec,
                    by_key: HashMap::new(),
                });
                self.filtered.len() - 1
            }
        };
        &mut self.filtered[at]
    }

    fn is_empty(&self) -> bool {
        self.unfiltered.is_empty() && self.filtered.is_empty()
    }

    fn each(&self, act: &mut dyn FnMut(&Queue)) {
        self.unfiltered.values().for_each(|queue| act(queue));
        self.filtered.iter().for_each(|index| index.each(act));
    }
}

impl FilterIndex {
    /// Pushes the rows of each key that somebody waits for. `slice` makes a slice of the rows with these numbers.
    fn route(&self, keys: &viewfeed_change::row::Rows, slice: &dyn Fn(Option<Vec<u32>>) -> Arc<Slice>) {
        let mut touched: HashMap<&[u8], (&Subscribers, Vec<u32>)> = HashMap::new();
        for (row, key) in keys.iter().enumerate() {
            if let Some(subscribers) = self.by_key.get(key) {
                let (_, rows) = touched.entry(key).or_insert((subscribers, Vec::new()));
                rows.push(row as u32);
            }
        }
        for (subscribers, rows) in touched.into_values() {
            let slice = slice(Some(rows));
            subscribers.values().for_each(|queue| queue.push(&slice));
        }
    }

    fn each(&self, act: &mut dyn FnMut(&Queue)) {
        let subscribers = self.by_key.values().flat_map(Subscribers::values);
        subscribers.for_each(|queue| act(queue));
    }
}

/// Whether rows of `now` mean to a subscriber what rows of `before` did.
fn is_readable_as(now: &Arc<Relation>, before: &Arc<Relation>) -> bool {
    Arc::ptr_eq(now, before)
        || (now.schema_version == before.schema_version
            && now.columns == before.columns
            && now.key == before.key)
}
