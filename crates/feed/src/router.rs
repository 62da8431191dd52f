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
use viewfeed_change::{
    Batch, ColumnPath, Delta, Epoch, Relation, RelationId, Relations, Result, Timestamp, Transaction,
};

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

    /// Hands what an epoch changed to whoever wants some of it: what it changed in a relation in one piece.
    pub(crate) fn route_all(&self, origin: Origin, transactions: &[Transaction], deltas: &[Delta]) {
        let of_tables = transactions.iter().flat_map(|transaction| &transaction.changes);
        let mut changes: BTreeMap<RelationId, Vec<Batch>> = BTreeMap::new();
        for delta in of_tables.chain(deltas) {
            if self.routes.contains_key(&delta.relation) && !delta.batch.is_empty() {
                let batches = changes.entry(delta.relation).or_default();
                batches.push(delta.batch.clone());
            }
        }
        for (relation, batches) in changes {
            self.route(relation, origin, &batches);
        }
    }

    /// Hands what an epoch changed in `relation` to whoever wants some of it.
    fn route(&self, relation: RelationId, origin: Origin, changes: &[Batch]) {
        let Some(routes) = self.routes.get(&relation) else {
            return;
        };
        if let Err(error) = routes.route(origin, changes) {
            // They meet the same failure when they read this epoch from the log, and tell their clients.
            tracing::error!(%error, relation = relation.0, "a delta cannot be routed");
            routes.each(&mut |queue| match origin.is_open {
                true => queue.stage_in_log(),
                false => queue.overflow(),
            });
        }
    }

    /// Does something with every subscriber's queue.
    pub(crate) fn each(&self, act: &mut dyn FnMut(&Queue)) {
        self.routes.values().for_each(|routes| routes.each(act));
    }
}

impl Routes {
    fn route(&self, origin: Origin, changes: &[Batch]) -> Result<()> {
        let delta = match changes {
            [change] => change.clone(),
            _ => Batch::concat(&self.relation.schema(), changes)?,
        };
        let delta = Arc::new(delta);
        if !self.unfiltered.is_empty() {
            let whole = Arc::new(Slice::new(origin.epoch, origin.commit_time, delta.clone(), None));
            self.unfiltered
                .values()
                .for_each(|queue| origin.hand(queue, &whole));
        }
        for index in &self.filtered {
            index.route(&index.codec.encode(delta.rows())?, origin, &delta)?;
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
    /// Hands on the rows of each key that somebody waits for.
    fn route(&self, keys: &viewfeed_change::row::Rows, origin: Origin, delta: &Arc<Batch>) -> Result<()> {
        let mut touched: HashMap<&[u8], (&Subscribers, Vec<u32>)> = HashMap::new();
        for (row, key) in keys.iter().enumerate() {
            if let Some(subscribers) = self.by_key.get(key) {
                let (_, rows) = touched.entry(key).or_insert((subscribers, Vec::new()));
                rows.push(row as u32);
            }
        }
        for (subscribers, rows) in touched.into_values() {
            let slice = Arc::new(origin.slice(delta, rows)?);
            subscribers.values().for_each(|queue| origin.hand(queue, &slice));
        }
        Ok(())
    }

    fn each(&self, act: &mut dyn FnMut(&Queue)) {
        let subscribers = self.by_key.values().flat_map(Subscribers::values);
        subscribers.for_each(|queue| act(queue));
    }
}

/// The epoch that changes come from.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) epoch: Epoch,
    pub(crate) commit_time: Timestamp,
    /// Whether it is not committed yet.
    pub(crate) is_open: bool,
}

impl Origin {
    fn hand(self, queue: &Queue, slice: &Arc<Slice>) {
        match self.is_open {
            true => queue.stage(slice),
            false => queue.push(slice),
        }
    }

    /// Some rows of `delta`. Of an open epoch they are copied, because it has more deltas than fit into memory.
    fn slice(self, delta: &Arc<Batch>, rows: Vec<u32>) -> Result<Slice> {
        let (delta, rows) = match self.is_open {
            true => (Arc::new(delta.take(&rows)?), None),
            false => (delta.clone(), Some(rows)),
        };
        Ok(Slice::new(self.epoch, self.commit_time, delta, rows))
    }
}

/// Whether rows of `now` mean to a subscriber what rows of `before` did.
fn is_readable_as(now: &Arc<Relation>, before: &Arc<Relation>) -> bool {
    Arc::ptr_eq(now, before)
        || (now.schema_version == before.schema_version
            && now.columns == before.columns
            && now.key == before.key)
}
