//! A store in a folder of its own, tables written by hand, an engine over them. Rows are SQL text: `(1, 'a', NULL)`.

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::ops::ControlFlow;
use std::sync::Arc;
use viewfeed_change::row::conform;
use viewfeed_change::{
    Batch, Column, Delta, Relation, RelationKind, RelationName, Relations, Result, SourceId, Table,
    Timestamp, View,
};
use viewfeed_engine::{Engine, StepInput, StepOutput};
use viewfeed_query::{Planner, Purpose};
use viewfeed_store::{Durability, EpochRecord, Options, Store, Txn, arrange, view_errors};

pub(crate) struct World {
    store: Option<Store>,
    dir: tempfile::TempDir,
    pub(crate) relations: Arc<Relations>,
    pub(crate) engine: Engine,
    planner: Planner,
    pub(crate) now: Timestamp,
}

/// What happens to a table: `+` or `-` and rows as SQL.
pub(crate) type Change<'a> = (&'a str, char, &'a str);

pub(crate) const INT: DataType = DataType::Int64;
pub(crate) const TEXT: DataType = DataType::Utf8;
pub(crate) const FLOAT: DataType = DataType::Float64;

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Planner::new().unwrap())
    }

    /// With functions of its own, for example.
    pub(crate) fn with(planner: Planner) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let relations = Arc::new(Relations::starting_at(1));
        let mut txn = store.begin().unwrap();
        let now = Timestamp(1_700_000_000_000_000);
        let engine = Engine::open(planner.clone(), &relations, now, &mut txn).unwrap();
        drop(txn);
        Self {
            store: Some(store),
            dir,
            relations,
            engine,
            planner,
            now,
        }
    }

    /// Tables of a shop and of a chat, empty.
    pub(crate) fn shop() -> Self {
        let mut world = Self::new();
        world.table("customer", &[("id", INT), ("name", TEXT), ("city", TEXT)], &[0]);
        world.table(
            "orders",
            &[("id", INT), ("customer_id", INT), ("amount", INT)],
            &[0],
        );
        world.table(
            "line",
            &[("order_id", INT), ("product", TEXT), ("count", INT)],
            &[0, 1],
        );
        world.table("log", &[("who", INT), ("text", TEXT)], &[]);
        world
    }

    pub(crate) fn table(&mut self, name: &str, columns: &[(&str, DataType)], key: &[usize]) {
        let columns = columns.iter().enumerate();
        let columns = columns.map(|(i, (name, data_type))| {
            Column::new(i as u32 + 1, *name, data_type.clone(), !key.contains(&i))
        });
        let columns = columns.collect();
        let relations = Arc::make_mut(&mut self.relations);
        let relation = Relation {
            id: relations.allocate(),
            name: RelationName::new("public", name),
            columns,
            key: key.to_vec(),
            kind: RelationKind::Table(Table {
                source: SourceId::new("test"),
                checks: vec![],
                indexes: vec![],
            }),
            schema_version: 1,
        };
        let relation = relations.put(relation).unwrap();
        let mut txn = self.begin();
        arrange::ensure(&mut txn, &relation, &relation.key_paths()).unwrap();
        self.commit(txn);
    }

    /// Creates a view; gives its first delta as rows.
    pub(crate) fn view(&mut self, name: &str, sql: &str) -> Vec<String> {
        let delta = self.try_view(name, sql).unwrap();
        shown(&delta.batch)
    }

    pub(crate) fn try_view(&mut self, name: &str, sql: &str) -> Result<Delta> {
        let plan = self.engine.plan(sql, "public", &self.relations)?;
        let mut relations = self.relations.as_ref().clone();
        let view = Relation {
            id: relations.allocate(),
            name: RelationName::new("public", name),
            columns: plan.columns,
            key: plan.key,
            kind: RelationKind::View(View {
                sql: sql.to_owned(),
                search_schema: "public".to_owned(),
                inputs: plan.inputs,
                require_incremental: false,
                on_error: Default::default(),
            }),
            schema_version: 1,
        };
        let view = relations.put(view)?;
        let relations = Arc::new(relations);
        let mut txn = self.begin();
        self.engine.set_time(self.now);
        match self.engine.create_view(&view, &relations, &mut txn) {
            Ok(delta) => {
                self.relations = relations;
                self.commit(txn);
                Ok(delta)
            }
            Err(error) => {
                drop(txn);
                let mut txn = self.begin();
                self.engine.reload(&self.relations, &mut txn).unwrap();
                Err(error)
            }
        }
    }

    pub(crate) fn drop_view(&mut self, name: &str) {
        let view = self.relation(name);
        let mut txn = self.begin();
        self.engine.drop_view(&view, &self.relations, &mut txn).unwrap();
        self.commit(txn);
        Arc::make_mut(&mut self.relations).remove(view.id);
    }

    /// One epoch; checks every live view against its query.
    pub(crate) fn epoch(&mut self, changes: &[Change<'_>]) -> StepOutput {
        let output = self.epoch_unchecked(changes);
        self.check();
        output
    }

    pub(crate) fn epoch_unchecked(&mut self, changes: &[Change<'_>]) -> StepOutput {
        let mut txn = self.begin();
        let mut deltas = Vec::new();
        for (table, sign, rows) in changes {
            let relation = self.relation(table);
            let batch = self.rows_of(&relation, rows);
            let batch = if *sign == '-' { batch.negate() } else { batch };
            for arrangement in arrange::all(&txn.now(), &relation).unwrap() {
                arrangement.stage(&mut txn, &batch).unwrap();
            }
            deltas.push(Delta {
                relation: relation.id,
                batch,
            });
        }
        let input = StepInput {
            deltas,
            now: self.now,
        };
        let output = self.engine.step(&input, &self.relations, &mut txn);
        self.commit(txn);
        output
    }

    /// An epoch without changes, `us` microseconds later; how `view` changed.
    pub(crate) fn later(&mut self, us: i64, view: &str) -> Vec<String> {
        self.now.0 += us;
        self.change_of(view, &[])
    }

    /// Whether an epoch without changes would write nothing at this time.
    pub(crate) fn is_idle(&mut self) -> bool {
        let mut txn = self.begin();
        let input = StepInput {
            deltas: vec![],
            now: self.now,
        };
        let output = self.engine.step(&input, &self.relations, &mut txn);
        assert!(output.failed.is_empty());
        txn.is_empty() && output.deltas.is_empty()
    }

    /// One epoch; how `view` changed, as rows with `+` and `-`.
    pub(crate) fn change_of(&mut self, view: &str, changes: &[Change<'_>]) -> Vec<String> {
        let change = self.change_of_unchecked(view, changes);
        self.check();
        change
    }

    /// The same, without checking any view.
    pub(crate) fn change_of_unchecked(&mut self, view: &str, changes: &[Change<'_>]) -> Vec<String> {
        let output = self.epoch_unchecked(changes);
        let id = self.relation(view).id;
        let delta = output.deltas.iter().find(|delta| delta.relation == id);
        delta.map(|delta| shown(&delta.batch)).unwrap_or_default()
    }

    /// Fails unless every live view has the rows its query gives, if that has an answer: no row is left out. What a query has in comments is not left out here:
    /// `/* ORDER BY a NULLS FIRST */ LIMIT 1` says which row a view keeps when its own query leaves that open.
    pub(crate) fn check(&self) {
        let reader = self.store().reader();
        for view in self.relations.iter() {
            let Some(definition) = view.as_view() else {
                continue;
            };
            let leaves_out = !view_errors::of(&reader, view.id).unwrap().is_empty();
            if leaves_out || self.engine.failure(view.id).is_some() {
                continue;
            }
            let plan = self
                .planner
                .plan_sql(
                    &uncommented(&definition.sql),
                    &self.relations,
                    "public",
                    Purpose::Batch,
                )
                .unwrap();
            let wanted = self.planner.execute(&plan, &reader, self.now).unwrap();
            let wanted: Vec<Batch> = wanted
                .iter()
                .map(|rows| Batch::inserts(conform(&first(rows, view), &view.schema()).unwrap()))
                .collect();
            let wanted = Batch::concat(&view.schema(), &wanted)
                .unwrap()
                .consolidate()
                .unwrap();
            assert_eq!(self.rows(&view.name.name), shown(&wanted), "view {}", view.name);
        }
    }

    /// The stored rows of a relation, in order; a row that is there twice has `×2`.
    pub(crate) fn rows(&self, name: &str) -> Vec<String> {
        let (relation, reader) = (self.relation(name), self.store().reader());
        let mut batches = vec![];
        let primary = arrange::primary(&reader, &relation).unwrap();
        let mut each = |batch| {
            batches.push(batch);
            Ok(ControlFlow::Continue(()))
        };
        primary.scan(&reader, &[], 100, &mut each).unwrap();
        shown(
            &Batch::concat(&relation.schema(), &batches)
                .unwrap()
                .consolidate()
                .unwrap(),
        )
    }

    /// What a view leaves out: `3 FilterProject …: division by zero`.
    pub(crate) fn errors(&self, view: &str) -> Vec<String> {
        let reader = self.store().reader();
        let errors = view_errors::of(&reader, self.relation(view).id).unwrap();
        let shown = |error: &view_errors::ViewError| {
            let node = error.node.split(' ').next().unwrap_or_default();
            format!("{} {node}: {}", error.rows, error.message)
        };
        errors.iter().map(shown).collect()
    }

    /// Closes the store and opens everything again; gives how views changed by that.
    pub(crate) fn restart(&mut self) -> Vec<Delta> {
        self.store = None;
        self.store = Some(open(self.dir.path()));
        let mut txn = self.begin();
        self.engine = Engine::open(self.planner.clone(), &self.relations, self.now, &mut txn).unwrap();
        self.commit(txn);
        self.engine.take_opening_deltas()
    }

    pub(crate) fn relation(&self, name: &str) -> Arc<Relation> {
        self.relations.resolve(name, "public").unwrap().clone()
    }

    pub(crate) fn failure(&self, name: &str) -> Option<String> {
        self.engine
            .failure(self.relation(name).id)
            .map(ToString::to_string)
    }

    /// Puts rows into a table's arrangements without telling the engine.
    pub(crate) fn stage_unseen(&mut self, table: &str, rows: &str) {
        let relation = self.relation(table);
        let batch = self.rows_of(&relation, rows);
        let mut txn = self.begin();
        for arrangement in arrange::all(&txn.now(), &relation).unwrap() {
            arrangement.stage(&mut txn, &batch).unwrap();
        }
        self.commit(txn);
    }

    /// Gives a table another column; its rows are then `rows`.
    pub(crate) fn widen(&mut self, table: &str, column: &str, rows: &str) {
        let mut wider = self.relation(table).as_ref().clone();
        let id = wider.columns.len() as u32 + 1;
        wider.columns.push(Column::new(id, column, INT, true));
        wider.schema_version += 1;
        let wider = Arc::make_mut(&mut self.relations).put(wider).unwrap();
        let batch = self.rows_of(&wider, rows);
        let mut txn = self.begin();
        let primary = arrange::ensure(&mut txn, &wider, &wider.key_paths()).unwrap();
        primary.stage(&mut txn, &batch).unwrap();
        self.commit(txn);
    }

    pub(crate) fn rows_of(&self, relation: &Relation, rows: &str) -> Batch {
        let sql = format!("SELECT * FROM (VALUES {rows}) AS v");
        let plan = self
            .planner
            .plan_sql(&sql, &self.relations, "public", Purpose::Batch);
        let found = self
            .planner
            .execute(&plan.unwrap(), &self.store().reader(), self.now)
            .unwrap();
        let batches = found
            .iter()
            .map(|rows| Batch::inserts(conform(rows, &relation.schema()).unwrap()));
        Batch::concat(&relation.schema(), &batches.collect::<Vec<_>>()).unwrap()
    }

    pub(crate) fn begin(&self) -> Txn {
        self.store().begin().unwrap()
    }

    pub(crate) fn commit(&self, txn: Txn) {
        let record = EpochRecord {
            commit_time: self.now,
            transactions: vec![],
            deltas: vec![],
            schema_versions: vec![],
        };
        self.store().commit(txn, &record).unwrap();
    }

    pub(crate) fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }
}

fn uncommented(sql: &str) -> String {
    sql.replace("/*", "").replace("*/", "")
}

/// The columns a view had when it was created: `SELECT *` may give more by now, at the end.
fn first(rows: &RecordBatch, view: &Relation) -> RecordBatch {
    let columns: Vec<usize> = (0..view.columns.len()).collect();
    rows.project(&columns).unwrap()
}

fn open(dir: &std::path::Path) -> Store {
    let options = Options {
        durability: Durability::Relaxed { interval_ms: 1000 },
        memory_bytes: 8 << 20,
        ..Options::default()
    };
    Store::open(dir, options).unwrap()
}

/// `1|a` for a row that is there once, `-1|a` … for others: `- 1|a`, `×2 1|a`.
pub(crate) fn shown(batch: &Batch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<ArrayFormatter<'_>> = batch
        .rows()
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
        .collect();
    let row = |(i, weight): (usize, &i64)| {
        let values: Vec<String> = columns.iter().map(|column| column.value(i).to_string()).collect();
        let sign = match weight {
            1 => String::new(),
            -1 => "- ".to_owned(),
            other => format!("×{other} "),
        };
        format!("{sign}{}", values.join("|"))
    };
    batch.weights().iter().enumerate().map(row).collect()
}
