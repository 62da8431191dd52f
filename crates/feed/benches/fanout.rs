//! What publishing costs with many subscribers: an epoch of 100 rows, to all of them or to the few it concerns.
//!
//! `cargo bench -p viewfeed-feed`. Only [`Feed::publish`] is timed; the subscribers empty their queues in between.
#![allow(missing_docs, clippy::unwrap_used)]

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use viewfeed_change::row::RowCodec;
use viewfeed_change::{
    Batch, Column, ColumnPath, Delta, Epoch, Relation, RelationId, RelationKind, RelationName, Relations,
    Timestamp, View,
};
use viewfeed_feed::{
    Envelope, Feed, FeedOptions, Filter, FrameKind, OnGap, Published, Request, Subscription,
};
use viewfeed_store::{MemoryKv, Options, Store};

const ROWS: i64 = 100;

struct World {
    feed: Feed,
    relations: Arc<Relations>,
    epoch: Epoch,
    subscribers: Vec<Subscription>,
    runtime: Runtime,
    _dir: TempDir,
}

impl World {
    fn new(subscribers: usize, filtered: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let kv = Arc::new(MemoryKv::default());
        let store = Store::open_over(dir.path(), &Options::default(), kv).unwrap();
        let mut relations = Relations::starting_at(1);
        relations.put(relation()).unwrap();
        let relations = Arc::new(relations);
        let feed = Feed::new(store, relations.clone(), FeedOptions::default());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let mut world = Self {
            epoch: feed.epoch(),
            subscribers: Vec::new(),
            feed,
            relations,
            runtime,
            _dir: dir,
        };
        for key in 0..subscribers as i64 {
            let mut subscription = world.feed.subscribe(request(filtered.then_some(key))).unwrap();
            // HELLO, then "caught up": from here on it is live.
            for _ in 0..2 {
                world.runtime.block_on(subscription.next()).unwrap().unwrap();
            }
            world.subscribers.push(subscription);
        }
        world
    }

    /// How long publishing an epoch takes.
    fn publish(&mut self) -> Duration {
        self.epoch = self.epoch.next();
        let delta = Delta {
            relation: RelationId(1),
            batch: Batch::inserts(rows(0..ROWS)),
        };
        let published = Published {
            epoch: self.epoch,
            commit_time: Timestamp(0),
            relations: self.relations.clone(),
            transactions: Vec::new(),
            deltas: vec![delta],
            is_large: false,
        };
        let began = Instant::now();
        self.feed.publish(published);
        began.elapsed()
    }

    /// Lets those who got something read it.
    fn read(&mut self, readers: usize) {
        for subscription in &mut self.subscribers[..readers] {
            let frame = self.runtime.block_on(subscription.next()).unwrap().unwrap();
            assert_eq!((frame.kind, frame.version), (FrameKind::Delta, self.epoch));
        }
    }
}

fn relation() -> Relation {
    Relation {
        id: RelationId(1),
        name: RelationName::new("public", "messages"),
        columns: vec![
            Column::new(1, "room", DataType::Int64, false),
            Column::new(2, "text", DataType::Utf8, false),
        ],
        key: Vec::new(),
        kind: RelationKind::View(View {
            sql: String::new(),
            search_schema: "public".to_owned(),
            inputs: Vec::new(),
            require_incremental: false,
            on_error: Default::default(),
        }),
        schema_version: 1,
    }
}

fn rows(ids: std::ops::Range<i64>) -> RecordBatch {
    let texts: StringArray = ids.clone().map(|id| Some(format!("message {id}"))).collect();
    let ids: Int64Array = ids.map(Some).collect();
    RecordBatch::try_new(relation().schema(), vec![Arc::new(ids), Arc::new(texts)]).unwrap()
}

fn request(room: Option<i64>) -> Request {
    let columns = vec![ColumnPath::from(0)];
    let codec = RowCodec::for_paths(&relation().schema(), &columns).unwrap();
    let filter = room.map(|room| Filter {
        key: codec.encode(&rows(room..room + 1)).unwrap().row(0).to_vec(),
        columns,
    });
    Request {
        relation: RelationId(1),
        filter,
        key: Vec::new(),
        envelope: Envelope::Diff,
        token: None,
        skip_snapshot: true,
        up_to: None,
        on_gap: OnGap::Reset,
        heartbeat: Duration::from_secs(3600),
        bound_to: 0,
    }
}

fn fanout(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish 100 rows");
    group.sample_size(20);
    for (name, filtered) in [("unfiltered", false), ("each its own key", true)] {
        for subscribers in [1, 1_000, 10_000] {
            let mut world = World::new(subscribers, filtered);
            let readers = if filtered {
                subscribers.min(ROWS as usize)
            } else {
                subscribers
            };
            group.bench_function(BenchmarkId::new(name, subscribers), |bencher| {
                bencher.iter_custom(|times| {
                    (0..times)
                        .map(|_| {
                            let took = world.publish();
                            world.read(readers);
                            took
                        })
                        .sum()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, fanout);
criterion_main!(benches);
