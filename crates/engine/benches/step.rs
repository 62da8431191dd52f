//! One step of a join with an aggregate over 100 000 rows, for changes of 1 and 10 000 rows, beside DataFusion computing
//! the same query from scratch: `cargo bench -p viewfeed-engine --bench step`. Steps are discarded, so each starts from
//! the same state.
#![allow(clippy::unwrap_used, missing_docs)]

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;
use viewfeed_change::{
    Batch, Column, Delta, Relation, RelationKind, RelationName, Relations, SourceId, Table, Timestamp, View,
};
use viewfeed_engine::{Engine, StepInput};
use viewfeed_query::{Planner, Purpose};
use viewfeed_store::{Durability, EpochRecord, Options, Store, Txn, arrange};

const CUSTOMERS: i64 = 1_000;
const ORDERS: i64 = 100_000;

/// Ten nodes: two relations, their columns, the join, columns, aggregate, filter, and a projection on top.
const SQL: &str = "SELECT city, n * 10 AS n, total FROM (
    SELECT c.city, count(*) AS n, sum(o.amount) AS total FROM orders o JOIN customer c ON c.id = o.customer_id
    WHERE o.amount > 0 GROUP BY c.city) AS t WHERE n > 0";

struct Shop {
    store: Store,
    relations: Arc<Relations>,
    orders: Arc<Relation>,
    engine: Engine,
    planner: Planner,
    _dir: tempfile::TempDir,
}

fn table(relations: &mut Relations, name: &str, columns: &[(&str, DataType)]) -> Arc<Relation> {
    let columns = columns.iter().enumerate();
    let columns = columns.map(|(i, (name, kind))| Column::new(i as u32 + 1, *name, kind.clone(), i > 0));
    let relation = Relation {
        id: relations.allocate(),
        name: RelationName::new("public", name),
        columns: columns.collect(),
        key: vec![0],
        kind: RelationKind::Table(Table {
            source: SourceId::new("bench"),
            checks: vec![],
            indexes: vec![],
        }),
        schema_version: 1,
    };
    relations.put(relation).unwrap()
}

fn rows(table: &Relation, columns: Vec<ArrayRef>) -> Batch {
    Batch::inserts(RecordBatch::try_new(table.schema(), columns).unwrap())
}

fn orders(table: &Relation, ids: std::ops::Range<i64>) -> Batch {
    let customers: Int64Array = ids.clone().map(|id| id * 7 % CUSTOMERS).collect();
    let amounts: Int64Array = ids.clone().map(|id| id % 100 + 1).collect();
    let ids: Int64Array = ids.collect();
    rows(table, vec![Arc::new(ids), Arc::new(customers), Arc::new(amounts)])
}

fn stage(txn: &mut Txn, relation: &Relation, batch: &Batch) {
    for arrangement in arrange::all(&txn.now(), relation).unwrap() {
        arrangement.stage(txn, batch).unwrap();
    }
}

fn commit(store: &Store, txn: Txn) {
    let record = EpochRecord {
        commit_time: Timestamp(0),
        transactions: vec![],
        deltas: vec![],
        schema_versions: vec![],
    };
    store.commit(txn, &record).unwrap();
}

impl Shop {
    fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            durability: Durability::Relaxed { interval_ms: 1000 },
            ..Options::default()
        };
        let store = Store::open(dir.path(), options).unwrap();
        let planner = Planner::new().unwrap();
        let mut relations = Relations::starting_at(1);
        let customer = table(
            &mut relations,
            "customer",
            &[("id", DataType::Int64), ("city", DataType::Utf8)],
        );
        let columns = [
            ("id", DataType::Int64),
            ("customer_id", DataType::Int64),
            ("amount", DataType::Int64),
        ];
        let orders_table = table(&mut relations, "orders", &columns);
        let mut txn = store.begin().unwrap();
        let ids: Int64Array = (0..CUSTOMERS).collect();
        let cities: StringArray = (0..CUSTOMERS)
            .map(|id| Some(format!("city {}", id % 100)))
            .collect();
        for relation in [&customer, &orders_table] {
            arrange::ensure(&mut txn, relation, &relation.key_paths()).unwrap();
        }
        stage(
            &mut txn,
            &customer,
            &rows(&customer, vec![Arc::new(ids), Arc::new(cities)]),
        );
        stage(&mut txn, &orders_table, &orders(&orders_table, 0..ORDERS));
        commit(&store, txn);
        let mut txn = store.begin().unwrap();
        let engine = Engine::open(planner.clone(), &Arc::default(), &mut txn).unwrap();
        drop(txn);
        let mut shop = Self {
            store,
            relations: Arc::new(relations),
            orders: orders_table,
            engine,
            planner,
            _dir: dir,
        };
        shop.create_view();
        shop
    }

    fn create_view(&mut self) {
        let plan = self.engine.plan(SQL, "public", &self.relations).unwrap();
        let relations = Arc::make_mut(&mut self.relations);
        let view = Relation {
            id: relations.allocate(),
            name: RelationName::new("public", "totals"),
            columns: plan.columns,
            key: plan.key,
            kind: RelationKind::View(View {
                sql: SQL.to_owned(),
                search_schema: "public".to_owned(),
                inputs: plan.inputs,
                require_incremental: true,
            }),
            schema_version: 1,
        };
        let view = relations.put(view).unwrap();
        let mut txn = self.store.begin().unwrap();
        self.engine.create_view(&view, &self.relations, &mut txn).unwrap();
        commit(&self.store, txn);
    }

    /// A transaction with so many new orders staged, as the engine gets it.
    fn changed(&self, count: i64) -> (Txn, StepInput) {
        let mut txn = self.store.begin().unwrap();
        let batch = orders(&self.orders, ORDERS..ORDERS + count);
        stage(&mut txn, &self.orders, &batch);
        let delta = Delta {
            relation: self.orders.id,
            batch,
        };
        (
            txn,
            StepInput {
                deltas: vec![delta],
                now: Timestamp(0),
            },
        )
    }
}

fn steps(c: &mut Criterion) {
    let mut shop = Shop::open();
    let mut group = c.benchmark_group("join + aggregate over 100000 rows");
    group.sample_size(20);
    let plan = shop
        .planner
        .plan_sql(SQL, &shop.relations, "public", Purpose::Batch)
        .unwrap();
    let reader = shop.store.reader();
    group.bench_function("computed from scratch", |b| {
        b.iter(|| black_box(shop.planner.execute(&plan, &reader, Timestamp(0)).unwrap()));
    });
    drop(reader);
    for count in [1, 10_000] {
        // one transaction at a time: each is dropped before the next begins
        group.bench_function(format!("step of {count} rows"), |b| {
            b.iter_custom(|times| {
                let mut spent = std::time::Duration::ZERO;
                for _ in 0..times {
                    let (mut txn, input) = shop.changed(count);
                    let start = std::time::Instant::now();
                    let output = shop.engine.step(&input, &shop.relations, &mut txn);
                    spent += start.elapsed();
                    assert_eq!(black_box(output).deltas.len(), 1);
                }
                spent
            });
        });
    }
    group.finish();
}

criterion_group!(benches, steps);
criterion_main!(benches);
