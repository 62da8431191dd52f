//! The engine alone, in this process: one step of a view of ten nodes (join, aggregate, filters, projections) for changes
//! of several sizes over tables of several sizes, beside DataFusion computing the view again, and beside filling the view
//! anew with its state.
//!
//! Half of each change is new rows, half takes the oldest rows away, so that the tables keep their size.

use super::{ms, quantile};
use crate::output;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use viewfeed_change::{
    Batch, Column, Delta, Relation, RelationKind, RelationName, Relations, Result, SourceId, Table,
    Timestamp, View,
};
use viewfeed_engine::{Engine, StepInput};
use viewfeed_query::{Planner, Purpose};
use viewfeed_store::{Durability, EpochRecord, Options, Store, Txn, arrange};

const CUSTOMERS: i64 = 1_000;
const CITIES: i64 = 100;
/// Rows loaded in one epoch.
const LOAD_ROWS: i64 = 50_000;
/// Steps before the measured ones, in which caches fill and checkpoints settle.
const WARM_UP_STEPS: usize = 20;
const STEPS_MIN: usize = 20;

const SQL: &str = "SELECT city, n * 10 AS n, total FROM (
    SELECT c.city, count(*) AS n, sum(o.amount) AS total FROM orders o JOIN customer c ON c.id = o.customer_id
    WHERE o.amount > 0 GROUP BY c.city) AS t WHERE n > 0";

/// Prints one line per size of the table and of the change.
pub(super) fn run(table_rows: &[usize], change_rows: &[usize], length: Duration) -> Result<()> {
    let mut table = Vec::new();
    for rows in table_rows {
        let dir = tempfile::Builder::new()
            .prefix("viewfeed-bench-")
            .tempdir_in(".")?;
        let mut shop = Shop::open(dir.path())?;
        shop.load(*rows as i64)?;
        let recompute = shop.recompute()?;
        for change in change_rows {
            let refill = shop.refill()?;
            table.push(shop.measure(*rows, *change, length, [recompute, refill])?);
        }
    }
    let header = [
        "rows in the table",
        "rows of a change",
        "step p50 ms",
        "step p99 ms",
        "tables + step + commit p50 ms",
        "rows/s",
        "computed anew ms",
        "filled anew ms",
        "ratio to step",
    ];
    output::line(&output::text_table(header.map(String::from).to_vec(), table));
    Ok(())
}

/// A database with two tables and the view.
struct Shop {
    store: Store,
    planner: Planner,
    engine: Engine,
    relations: Arc<Relations>,
    orders: Arc<Relation>,
    /// The ids of the orders that are there.
    ids: Range<i64>,
    /// How many orders were loaded.
    size: i64,
}

/// What one epoch took.
struct Taken {
    step: Duration,
    whole: Duration,
}

impl Shop {
    fn open(dir: &Path) -> Result<Self> {
        let options = Options {
            durability: Durability::Relaxed { interval_ms: 100 },
            ..Options::default()
        };
        let store = Store::open(dir, options)?;
        let planner = Planner::new()?;
        let mut relations = Relations::starting_at(1);
        let customer = [("id", DataType::Int64), ("city", DataType::Utf8)];
        let customer = shape(relations.allocate(), "customer", &customer);
        let customer = relations.put(customer)?;
        let orders = [
            ("id", DataType::Int64),
            ("customer_id", DataType::Int64),
            ("amount", DataType::Int64),
        ];
        let orders = shape(relations.allocate(), "orders", &orders);
        let orders = relations.put(orders)?;
        let mut txn = store.begin()?;
        for relation in [&customer, &orders] {
            arrange::ensure(&mut txn, relation, &relation.key_paths())?;
        }
        arrange::stage_all(&mut txn, &customer, &customers(&customer)?)?;
        commit(&store, txn, &relations, Vec::new())?;
        let engine = Engine::open(
            planner.clone(),
            &Arc::default(),
            Timestamp(0),
            &mut store.begin()?,
        )?;
        let mut shop = Self {
            store,
            planner,
            engine,
            relations: Arc::new(relations),
            orders,
            ids: 0..0,
            size: 0,
        };
        shop.create_view()?;
        Ok(shop)
    }

    fn create_view(&mut self) -> Result<()> {
        let plan = self.engine.plan(SQL, RelationName::PUBLIC, &self.relations)?;
        let relations = Arc::make_mut(&mut self.relations);
        let view = Relation {
            id: relations.allocate(),
            name: RelationName::new(RelationName::PUBLIC, "totals"),
            columns: plan.columns,
            key: plan.key,
            kind: RelationKind::View(View {
                sql: SQL.to_owned(),
                search_schema: RelationName::PUBLIC.to_owned(),
                inputs: plan.inputs,
                require_incremental: true,
                on_error: Default::default(),
            }),
            schema_version: 1,
        };
        let view = relations.put(view)?;
        let mut txn = self.store.begin()?;
        self.engine.create_view(&view, &self.relations, &mut txn)?;
        commit(&self.store, txn, &self.relations, Vec::new())
    }

    fn load(&mut self, rows: i64) -> Result<()> {
        while self.ids.end < rows {
            let end = rows.min(self.ids.end + LOAD_ROWS);
            let change = order_rows(&self.orders, self.ids.end..end)?;
            self.epoch(change)?;
            self.ids.end = end;
        }
        self.size = rows;
        Ok(())
    }

    fn measure(
        &mut self,
        rows: usize,
        change: usize,
        length: Duration,
        [recompute, refill]: [Duration; 2],
    ) -> Result<Vec<String>> {
        for _ in 0..WARM_UP_STEPS {
            self.turn_over(change as i64)?;
        }
        let (mut steps, mut wholes) = (Vec::new(), Vec::new());
        let start = Instant::now();
        while start.elapsed() < length || steps.len() < STEPS_MIN {
            let taken = self.turn_over(change as i64)?;
            steps.push(taken.step);
            wholes.push(taken.whole);
        }
        let written = wholes.len() * change;
        let per_second = written as f64 / wholes.iter().sum::<Duration>().as_secs_f64();
        let step = quantile(&mut steps, 0.5);
        Ok(vec![
            rows.to_string(),
            change.to_string(),
            format!("{:.3}", step.as_secs_f64() * 1000.0),
            format!("{:.3}", quantile(&mut steps, 0.99).as_secs_f64() * 1000.0),
            format!("{:.3}", quantile(&mut wholes, 0.5).as_secs_f64() * 1000.0),
            format!("{per_second:.0}"),
            ms(recompute),
            ms(refill),
            format!("{:.1}", recompute.as_secs_f64() / step.as_secs_f64()),
        ])
    }

    /// Adds half of `count` rows and takes away as many old ones; a single row is added and taken away in turn.
    fn turn_over(&mut self, count: i64) -> Result<Taken> {
        let old = match count {
            1 => i64::from(self.ids.end - self.ids.start > self.size),
            count => count / 2,
        };
        let new = count - old;
        let came = order_rows(&self.orders, self.ids.end..self.ids.end + new)?;
        let went = order_rows(&self.orders, self.ids.start..self.ids.start + old)?.negate();
        self.ids = self.ids.start + old..self.ids.end + new;
        self.epoch(Batch::concat(&self.orders.schema(), &[came, went])?)
    }

    fn epoch(&mut self, change: Batch) -> Result<Taken> {
        let start = Instant::now();
        let mut txn = self.store.begin()?;
        arrange::stage_all(&mut txn, &self.orders, &change)?;
        let input = StepInput {
            deltas: vec![Delta {
                relation: self.orders.id,
                batch: change,
            }],
            now: Timestamp(0),
        };
        let stepping = Instant::now();
        let output = self.engine.step(&input, &self.relations, &mut txn);
        let step = stepping.elapsed();
        commit(&self.store, txn, &self.relations, output.deltas)?;
        Ok(Taken {
            step,
            whole: start.elapsed(),
        })
    }

    /// What DataFusion takes for the view's query, best of three.
    fn recompute(&self) -> Result<Duration> {
        let plan = self
            .planner
            .plan_sql(SQL, &self.relations, RelationName::PUBLIC, Purpose::Batch)?;
        let mut best = Duration::MAX;
        for _ in 0..3 {
            let start = Instant::now();
            self.planner.execute(&plan, &self.store.reader(), Timestamp(0))?;
            best = best.min(start.elapsed());
        }
        Ok(best)
    }

    /// What it takes to forget the view's state and fill it anew, best of three; nothing of it is kept.
    fn refill(&mut self) -> Result<Duration> {
        let views = self
            .relations
            .iter()
            .filter(|relation| relation.as_view().is_some());
        let views: Vec<Arc<Relation>> = views.cloned().collect();
        let mut best = Duration::MAX;
        for _ in 0..3 {
            let mut txn = self.store.begin()?;
            let start = Instant::now();
            for view in &views {
                self.engine.drop_view(view, &self.relations, &mut txn)?;
                txn.seal();
                self.engine.create_view(view, &self.relations, &mut txn)?;
            }
            best = best.min(start.elapsed());
            drop(txn);
            self.engine.reload(&self.relations, &mut self.store.begin()?)?;
        }
        Ok(best)
    }
}

fn shape(id: viewfeed_change::RelationId, name: &str, columns: &[(&str, DataType)]) -> Relation {
    let columns = columns.iter().enumerate();
    let columns = columns.map(|(i, (name, kind))| Column::new(i as u32 + 1, *name, kind.clone(), i > 0));
    Relation {
        id,
        name: RelationName::new(RelationName::PUBLIC, name),
        columns: columns.collect(),
        key: vec![0],
        kind: RelationKind::Table(Table {
            source: SourceId::new("bench"),
            checks: Vec::new(),
            indexes: Vec::new(),
        }),
        schema_version: 1,
    }
}

fn customers(relation: &Relation) -> Result<Batch> {
    let ids: Int64Array = (0..CUSTOMERS).collect();
    let cities = (0..CUSTOMERS).map(|id| Some(format!("city {}", id % CITIES)));
    let cities: StringArray = cities.collect();
    rows(relation, vec![Arc::new(ids), Arc::new(cities)])
}

fn order_rows(relation: &Relation, ids: Range<i64>) -> Result<Batch> {
    let customers: Int64Array = ids.clone().map(|id| id * 7919 % CUSTOMERS).collect();
    let amounts: Int64Array = ids.clone().map(|id| id % 100 + 1).collect();
    let ids: Int64Array = ids.collect();
    rows(
        relation,
        vec![Arc::new(ids), Arc::new(customers), Arc::new(amounts)],
    )
}

fn rows(relation: &Relation, columns: Vec<ArrayRef>) -> Result<Batch> {
    Ok(Batch::inserts(RecordBatch::try_new(relation.schema(), columns)?))
}

fn commit(store: &Store, txn: Txn, relations: &Relations, deltas: Vec<Delta>) -> Result<()> {
    let version = |relation: &Arc<Relation>| (relation.id, relation.schema_version);
    let record = EpochRecord {
        commit_time: Timestamp(0),
        transactions: Vec::new(),
        deltas,
        schema_versions: relations.iter().map(version).collect(),
    };
    store.commit(txn, &record).map(drop)
}
