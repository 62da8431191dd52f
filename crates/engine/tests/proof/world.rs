//! A store and an engine over tables of a suite, and every view's query to compare it with.

use super::cell::{Content, Row, batch};
use super::compare;
use arrow::array::RecordBatch;
use datafusion::logical_expr::LogicalPlan;
use std::ops::ControlFlow;
use std::sync::Arc;
use tempfile::TempDir;
use viewfeed_change::row::conform;
use viewfeed_change::{
    Batch, Delta, Relation, RelationId, RelationKind, RelationName, Relations, Result, Timestamp, View,
};
use viewfeed_engine::{Engine, ExplainedNode, StepInput};
use viewfeed_query::{Planner, Purpose};
use viewfeed_store::{Durability, EpochRecord, Options, Store, Txn, arrange};

/// The clock of every epoch.
const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

/// A view that exists.
struct Watched {
    id: RelationId,
    /// Its query, planned to be run from scratch.
    query: LogicalPlan,
    /// Every delta it ever had.
    deltas: Vec<Batch>,
}

/// The database under test.
pub(super) struct World {
    dir: TempDir,
    open: Option<(Store, Engine)>,
    planner: Planner,
    relations: Arc<Relations>,
    /// In the order of the suite.
    tables: Vec<Arc<Relation>>,
    views: Vec<Watched>,
}

impl World {
    /// Empty tables, no views.
    pub(super) fn new(tables: &[Content]) -> Self {
        let mut relations = Relations::starting_at(1);
        let mut table = |content: &Content| {
            let id = relations.allocate();
            relations.put(content.relation(id)).unwrap()
        };
        let tables: Vec<Arc<Relation>> = tables.iter().map(&mut table).collect();
        let mut world = Self {
            dir: tempfile::tempdir().unwrap(),
            open: None,
            planner: Planner::new().unwrap(),
            relations: Arc::new(relations),
            tables,
            views: Vec::new(),
        };
        world.reopen();
        world
    }

    /// Closes everything and opens it again; no view may change by that.
    pub(super) fn reopen(&mut self) {
        self.open = None;
        let options = Options {
            durability: Durability::Relaxed { interval_ms: 60_000 },
            ..Options::default()
        };
        let store = Store::open(self.dir.path(), options).unwrap();
        let mut txn = store.begin().unwrap();
        for table in &self.tables {
            arrange::ensure(&mut txn, table, &table.key_paths()).unwrap();
        }
        txn.seal();
        let mut engine = Engine::open(self.planner.clone(), &self.relations, NOW, &mut txn).unwrap();
        let changed = engine.take_opening_deltas();
        assert!(changed.is_empty(), "opening changed {} views", changed.len());
        self.open = Some((store, engine));
        self.commit(txn);
    }

    /// Creates a view over what is there; gives its plan.
    pub(super) fn create(&mut self, name: &str, sql: &str) -> Result<ExplainedNode> {
        let public = RelationName::PUBLIC;
        let query = self
            .planner
            .plan_sql(sql, &self.relations, public, Purpose::Batch)?;
        let (store, engine) = self.open.as_mut().unwrap();
        let plan = engine.plan(sql, public, &self.relations)?;
        let mut relations = (*self.relations).clone();
        let id = relations.allocate();
        let view = Relation {
            id,
            name: RelationName::new(public, name),
            columns: plan.columns,
            key: plan.key,
            kind: RelationKind::View(View {
                sql: sql.to_owned(),
                search_schema: public.to_owned(),
                inputs: plan.inputs,
                require_incremental: false,
                on_error: Default::default(),
            }),
            schema_version: 1,
        };
        let view = relations.put(view)?;
        let relations = Arc::new(relations);
        let mut txn = store.begin()?;
        engine.set_time(NOW);
        let delta = engine.create_view(&view, &relations, &mut txn)?;
        self.relations = relations;
        self.views.push(Watched {
            id,
            query,
            deltas: vec![delta.batch],
        });
        self.commit(txn);
        Ok(plan.explained)
    }

    /// One epoch: rows with weights, by table.
    pub(super) fn epoch(&mut self, changes: &[Vec<(Row, i64)>]) {
        let mut txn = self.store().begin().unwrap();
        let mut deltas = Vec::new();
        for (table, rows) in self.tables.iter().zip(changes) {
            let batch = batch(table, rows);
            for arrangement in arrange::all(&txn.before(), table).unwrap() {
                arrangement.stage(&mut txn, &batch).unwrap();
            }
            deltas.push(Delta {
                relation: table.id,
                batch,
            });
        }
        let input = StepInput { deltas, now: NOW };
        let (_, engine) = self.open.as_mut().unwrap();
        let output = engine.step(&input, &self.relations, &mut txn);
        let failed = |(id, error)| (self.name(id), error);
        let failed: Vec<_> = output.failed.into_iter().map(failed).collect();
        assert!(failed.is_empty(), "views failed: {failed:?}");
        for delta in output.deltas {
            let view = self.views.iter_mut().find(|view| view.id == delta.relation);
            view.unwrap().deltas.push(delta.batch);
        }
        self.commit(txn);
    }

    /// Fails unless every view has the rows its query gives, and its deltas add up to them.
    pub(super) fn check(&self) {
        let reader = self.store().reader();
        for watched in &self.views {
            let (name, view) = (self.name(watched.id), self.relations.get(watched.id).unwrap());
            let schema = view.schema();
            let plain = |rows: &RecordBatch| Batch::inserts(conform(rows, &schema).unwrap());
            let wanted: Vec<Batch> = self.answer(watched).iter().map(plain).collect();
            let mut stored = Vec::new();
            let mut each = |batch| {
                stored.push(batch);
                Ok(ControlFlow::Continue(()))
            };
            let primary = arrange::primary(&reader, view).unwrap();
            primary.scan(&reader, &[], 1000, &mut each).unwrap();
            if let Some(difference) = compare::difference(&schema, &stored, &wanted) {
                panic!("view {name} is wrong\n{difference}");
            }
            if let Some(difference) = compare::difference(&schema, &stored, &watched.deltas) {
                panic!("the deltas of {name} do not add up (wanted = their sum)\n{difference}");
            }
        }
    }

    /// The views whose query gives nothing but NULL.
    pub(super) fn silent(&self) -> Vec<String> {
        let silent = |view: &&Watched| !compare::says_something(&self.answer(view));
        self.views
            .iter()
            .filter(silent)
            .map(|view| self.name(view.id))
            .collect()
    }

    fn answer(&self, view: &Watched) -> Vec<RecordBatch> {
        self.planner
            .execute(&view.query, &self.store().reader(), NOW)
            .unwrap()
    }

    fn name(&self, id: RelationId) -> String {
        self.relations.get(id).unwrap().name.name.clone()
    }

    fn store(&self) -> &Store {
        &self.open.as_ref().unwrap().0
    }

    fn commit(&self, txn: Txn) {
        let record = EpochRecord {
            commit_time: NOW,
            transactions: Vec::new(),
            deltas: Vec::new(),
            schema_versions: Vec::new(),
        };
        self.store().commit(txn, &record).unwrap();
    }
}
