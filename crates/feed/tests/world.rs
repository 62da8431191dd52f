//! A store with two relations, a feed over it, and a model of what they held at every epoch.

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use viewfeed_change::row::RowCodec;
use viewfeed_change::{
    Batch, Column, ColumnPath, Delta, Epoch, Position, Relation, RelationId, RelationKind, RelationName,
    Relations, SourceId, Table, Timestamp, Transaction, TransactionId, View,
};
use viewfeed_feed::{Envelope, Feed, FeedOptions, Filter, OnGap, Published, Request};
use viewfeed_store::{Durability, EpochRecord, MemoryKv, Options, Store, Txn, arrange};

/// A table with the key `id`.
pub(crate) const ITEMS: RelationId = RelationId(1);
/// A view whose rows may repeat.
pub(crate) const BAG: RelationId = RelationId(2);
/// The place of the column `room`.
pub(crate) const ROOM: usize = 1;

/// A row: id, room, text.
pub(crate) type Row = (i64, String, String);
/// A relation's rows with their weights.
pub(crate) type Contents = BTreeMap<Row, i64>;

pub(crate) fn row(id: i64, room: &str, text: &str) -> Row {
    (id, room.to_owned(), text.to_owned())
}

pub(crate) fn contents(rows: &[(i64, &str, &str)]) -> Contents {
    rows.iter()
        .map(|(id, room, text)| (row(*id, room, text), 1))
        .collect()
}

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) feed: Feed,
    pub(crate) relations: Arc<Relations>,
    /// What the relations hold, by epoch; the first is that of epoch 0.
    pub(crate) history: Vec<BTreeMap<RelationId, Contents>>,
    _dir: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(FeedOptions::default(), Options::default())
    }

    pub(crate) fn with(feed_options: FeedOptions, store_options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            durability: Durability::Relaxed { interval_ms: 1000 },
            ..store_options
        };
        let store = Store::open_over(dir.path(), &options, Arc::new(MemoryKv::default())).unwrap();
        let mut relations = Relations::starting_at(1);
        relations.put(items(1)).unwrap();
        relations.put(bag()).unwrap();
        let relations = Arc::new(relations);
        let feed = Feed::new(store.clone(), relations.clone(), feed_options);
        let mut world = Self {
            store,
            feed,
            relations,
            history: vec![BTreeMap::new()],
            _dir: dir,
        };
        world.commit(&[]);
        world
    }

    /// Commits and publishes an epoch with one transaction per relation.
    pub(crate) fn commit(&mut self, changes: &[(RelationId, Row, i64)]) -> Epoch {
        let published = self.commit_only(changes);
        let epoch = published.epoch;
        self.feed.publish(published);
        epoch
    }

    /// Commits an epoch that is still to be published.
    pub(crate) fn commit_only(&mut self, changes: &[(RelationId, Row, i64)]) -> Published {
        self.commit_parts(&[changes.to_vec()])
    }

    /// Commits an epoch of which all parts but the last are staged before.
    pub(crate) fn commit_parts(&mut self, parts: &[Vec<(RelationId, Row, i64)>]) -> Published {
        let mut txn = self.store.begin().unwrap();
        let mut now = self.history.last().unwrap().clone();
        let (last, before) = parts.split_last().unwrap();
        for part in before {
            self.stage_part(&mut txn, &mut now, part);
        }
        let record = self.record(&mut txn, &mut now, last);
        self.history.push(now);
        let epoch = self.store.commit(txn, &record).unwrap();
        assert_eq!(epoch.0 as usize + 1, self.history.len());
        Published {
            epoch,
            commit_time: record.commit_time,
            relations: self.relations.clone(),
            transactions: record.transactions,
            deltas: record.deltas,
            is_large: !before.is_empty(),
        }
    }

    /// Writes and stages a part of an open epoch; `now` is what the relations hold in it.
    pub(crate) fn stage_part(
        &self,
        txn: &mut Txn,
        now: &mut BTreeMap<RelationId, Contents>,
        changes: &[(RelationId, Row, i64)],
    ) {
        let record = self.record(txn, now, changes);
        self.store.write_part(txn, &record).unwrap();
        self.feed.stage(txn.epoch(), &record);
    }

    fn record(
        &self,
        txn: &mut Txn,
        now: &mut BTreeMap<RelationId, Contents>,
        changes: &[(RelationId, Row, i64)],
    ) -> EpochRecord {
        let commit_time = Timestamp(txn.epoch().0 as i64 * 1000);
        let (mut transactions, mut deltas) = (Vec::new(), Vec::new());
        for relation in self.relations.iter() {
            arrange::ensure(txn, relation, &relation.key_paths()).unwrap();
            let mine: Vec<(Row, i64)> = changes
                .iter()
                .filter(|(id, ..)| *id == relation.id)
                .map(|(_, row, weight)| (row.clone(), *weight))
                .collect();
            if mine.is_empty() {
                continue;
            }
            apply(now.entry(relation.id).or_default(), &mine);
            let batch = to_batch(&mine, relation);
            for arrangement in arrange::all(&txn.now(), relation).unwrap() {
                arrangement.stage(txn, &batch.consolidate().unwrap()).unwrap();
            }
            let delta = Delta {
                relation: relation.id,
                batch,
            };
            match &relation.kind {
                RelationKind::Table(table) => {
                    transactions.push(transaction(table, txn.epoch(), commit_time, delta));
                }
                RelationKind::View(_) => deltas.push(delta),
            }
        }
        EpochRecord {
            commit_time,
            transactions,
            deltas,
            schema_versions: self.relations.iter().map(|r| (r.id, r.schema_version)).collect(),
        }
    }

    /// Makes an arrangement of ITEMS by room.
    pub(crate) fn index_items_by_room(&mut self) {
        let mut txn = self.store.begin().unwrap();
        let relation = self.relations.get(ITEMS).unwrap();
        arrange::ensure(&mut txn, relation, &[ColumnPath::from(ROOM)]).unwrap();
        let record = EpochRecord {
            commit_time: Timestamp(0),
            transactions: Vec::new(),
            deltas: Vec::new(),
            schema_versions: Vec::new(),
        };
        let epoch = self.store.commit(txn, &record).unwrap();
        self.history.push(self.history.last().unwrap().clone());
        self.feed.publish(Published {
            epoch,
            commit_time: Timestamp(0),
            relations: self.relations.clone(),
            transactions: Vec::new(),
            deltas: Vec::new(),
            is_large: false,
        });
    }

    /// What `relation` held at `epoch`, only `room` if there is one.
    pub(crate) fn at(&self, relation: RelationId, epoch: Epoch, room: Option<&str>) -> Contents {
        let held = self.history[epoch.0 as usize].get(&relation).cloned();
        let mut held = held.unwrap_or_default();
        held.retain(|row, _| room.is_none_or(|room| row.1 == room));
        held
    }
}

fn transaction(table: &Table, epoch: Epoch, commit_time: Timestamp, delta: Delta) -> Transaction {
    Transaction {
        source: table.source.clone(),
        id: TransactionId(epoch.0),
        position: Position(epoch.0.to_be_bytes().to_vec()),
        commit_time,
        changes: vec![delta],
    }
}

fn apply(contents: &mut Contents, changes: &[(Row, i64)]) {
    for (row, weight) in changes {
        *contents.entry(row.clone()).or_default() += weight;
    }
    contents.retain(|_, weight| *weight != 0);
}

fn columns() -> Vec<Column> {
    vec![
        Column::new(1, "id", DataType::Int64, false),
        Column::new(2, "room", DataType::Utf8, false),
        Column::new(3, "text", DataType::Utf8, false),
    ]
}

/// ITEMS; every schema version after the first has one column more.
pub(crate) fn items(schema_version: u32) -> Relation {
    let mut columns = columns();
    for version in 2..=schema_version {
        columns.push(Column::new(
            version + 2,
            format!("more{version}"),
            DataType::Utf8,
            true,
        ));
    }
    Relation {
        id: ITEMS,
        name: RelationName::new("public", "items"),
        columns,
        key: vec![0],
        kind: RelationKind::Table(Table {
            source: SourceId::new("embedded"),
            checks: Vec::new(),
            indexes: Vec::new(),
        }),
        schema_version,
    }
}

fn bag() -> Relation {
    Relation {
        id: BAG,
        name: RelationName::new("public", "bag"),
        columns: columns(),
        key: Vec::new(),
        kind: RelationKind::View(View {
            sql: "SELECT id, room, text FROM items".to_owned(),
            search_schema: "public".to_owned(),
            inputs: vec![ITEMS],
            require_incremental: false,
            on_error: Default::default(),
        }),
        schema_version: 1,
    }
}

/// Rows in the columns of `relation`; columns after the third are NULL.
pub(crate) fn to_batch(rows: &[(Row, i64)], relation: &Relation) -> Batch {
    let ids: Int64Array = rows.iter().map(|((id, ..), _)| Some(*id)).collect();
    let rooms: StringArray = rows.iter().map(|((_, room, _), _)| Some(room.as_str())).collect();
    let texts: StringArray = rows.iter().map(|((.., text), _)| Some(text.as_str())).collect();
    let mut arrays: Vec<Arc<dyn Array>> = vec![Arc::new(ids), Arc::new(rooms), Arc::new(texts)];
    while arrays.len() < relation.columns.len() {
        arrays.push(Arc::new(StringArray::new_null(rows.len())));
    }
    let rows_ = RecordBatch::try_new(relation.schema(), arrays).unwrap();
    Batch::new(rows_, rows.iter().map(|(_, weight)| *weight).collect()).unwrap()
}

pub(crate) fn from_batch(batch: &RecordBatch) -> Vec<Row> {
    let ids = batch.column(0).as_primitive::<Int64Type>();
    let (rooms, texts) = (
        batch.column(1).as_string::<i32>(),
        batch.column(2).as_string::<i32>(),
    );
    (0..batch.num_rows())
        .map(|i| row(ids.value(i), rooms.value(i), texts.value(i)))
        .collect()
}

/// All rows of `relation`, from a snapshot on.
pub(crate) fn request(relation: RelationId, envelope: Envelope) -> Request {
    Request {
        relation,
        filter: None,
        key: Vec::new(),
        envelope,
        token: None,
        skip_snapshot: false,
        up_to: None,
        on_gap: OnGap::Reset,
        heartbeat: Duration::from_secs(15),
        bound_to: 0,
    }
}

/// The filter `room = …`.
pub(crate) fn in_room(room: &str) -> Filter {
    let columns = vec![ColumnPath::from(ROOM)];
    let codec = RowCodec::for_paths(&items(1).schema(), &columns).unwrap();
    let one = to_batch(&[(row(0, room, ""), 1)], &items(1));
    Filter {
        key: codec.encode(one.rows()).unwrap().row(0).to_vec(),
        columns,
    }
}
