//! viewfeed in this process: the engine over its store, without server, gRPC or SQL statements.
//!
//! One epoch is what the program's loop does with a transaction: stage the tables' changes, step the views, commit.

use crate::checksum::Checksum;
use arrow::datatypes::DataType;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use viewfeed_change::{
    Batch, Column, Delta, Error, Relation, RelationId, RelationKind, RelationName, Relations, Result,
    SourceId, Table, Timestamp, View,
};
use viewfeed_engine::{Engine, StepInput};
use viewfeed_query::{Planner, Purpose};
use viewfeed_store::{Durability, EpochRecord, Form, Options, Store, Txn, arrange};

/// How often a relaxed store syncs its log.
const RELAXED_INTERVAL_MS: u64 = 100;

/// How the store is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode {
    /// Whether a commit waits for the disk.
    pub(crate) is_durable: bool,
    /// The form of the state.
    pub(crate) form: Form,
}

impl Mode {
    /// Every mode that is measured.
    pub(crate) const ALL: [Self; 4] = [
        Self::new(false, Form::Sled),
        Self::new(true, Form::Sled),
        Self::new(false, Form::Runs),
        Self::new(true, Form::Runs),
    ];

    /// A mode.
    pub(crate) const fn new(is_durable: bool, form: Form) -> Self {
        Self { is_durable, form }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match self.form {
            Form::Sled => "sled",
            Form::Runs => "runs",
        };
        let durability = if self.is_durable { "sync" } else { "relaxed" };
        write!(f, "viewfeed {form}, {durability}")
    }
}

/// A table to be made: its columns with their types; the first `key` of them identify a row.
pub(crate) struct TableShape {
    /// Its name.
    pub(crate) name: &'static str,
    /// Names and types.
    pub(crate) columns: Vec<(&'static str, DataType)>,
    /// How many columns, from the first on, are the key; 0 if rows may be there twice.
    pub(crate) key: usize,
}

/// A database with tables and one view.
pub(crate) struct Database {
    store: Store,
    planner: Planner,
    engine: Engine,
    relations: Arc<Relations>,
    tables: Vec<Arc<Relation>>,
    /// The sum over everything the view gave out.
    pub(crate) output: Checksum,
}

impl Database {
    /// Empty tables in `dir`, and a view over them.
    pub(crate) fn open(dir: &Path, mode: Mode, tables: &[TableShape], sql: &str) -> Result<Self> {
        let durability = match mode.is_durable {
            true => Durability::Sync,
            false => Durability::Relaxed {
                interval_ms: RELAXED_INTERVAL_MS,
            },
        };
        let options = Options {
            durability,
            form: mode.form,
            ..Options::default()
        };
        let (store, planner) = (Store::open(dir, options)?, Planner::new()?);
        let mut relations = Relations::starting_at(1);
        let mut made = Vec::new();
        for table in tables {
            let id = relations.allocate();
            made.push(relations.put(shaped(id, table))?);
        }
        let mut txn = store.begin()?;
        for table in &made {
            arrange::ensure(&mut txn, table, &table.key_paths())?;
        }
        commit(&store, txn, &relations, Vec::new())?;
        let mut txn = store.begin()?;
        let engine = Engine::open(planner.clone(), &Arc::default(), Timestamp(0), &mut txn)?;
        drop(txn);
        let mut database = Self {
            store,
            planner,
            engine,
            relations: Arc::new(relations),
            tables: made,
            output: Checksum::default(),
        };
        database.create_view(sql)?;
        Ok(database)
    }

    fn create_view(&mut self, sql: &str) -> Result<()> {
        let plan = self.engine.plan(sql, RelationName::PUBLIC, &self.relations)?;
        let relations = Arc::make_mut(&mut self.relations);
        let view = Relation {
            id: relations.allocate(),
            name: RelationName::new(RelationName::PUBLIC, "measured"),
            columns: plan.columns,
            key: plan.key,
            kind: RelationKind::View(View {
                sql: sql.to_owned(),
                search_schema: RelationName::PUBLIC.to_owned(),
                inputs: plan.inputs,
                require_incremental: false,
                on_error: Default::default(),
            }),
            schema_version: 1,
        };
        let view = relations.put(view)?;
        let mut txn = self.store.begin()?;
        let delta = self.engine.create_view(&view, &self.relations, &mut txn)?;
        self.output.add_batch(&delta.batch);
        commit(&self.store, txn, &self.relations, Vec::new())
    }

    /// The table at a place of those it was opened with.
    pub(crate) fn table(&self, place: usize) -> &Arc<Relation> {
        &self.tables[place]
    }

    /// One epoch with changes of tables by their places; gives how long it took.
    pub(crate) fn epoch(&mut self, changes: Vec<(usize, Batch)>) -> Result<Duration> {
        let start = Instant::now();
        let mut txn = self.store.begin()?;
        let mut deltas = Vec::with_capacity(changes.len());
        for (place, batch) in changes {
            let table = &self.tables[place];
            arrange::stage_all(&mut txn, table, &batch)?;
            let relation = table.id;
            deltas.push(Delta { relation, batch });
        }
        let input = StepInput {
            deltas,
            now: Timestamp(0),
        };
        let output = self.engine.step(&input, &self.relations, &mut txn);
        if let Some((_, failure)) = output.failed.into_iter().next() {
            return Err(Error::internal(format!("the view failed: {failure:?}")));
        }
        let views = output.deltas.clone();
        commit(&self.store, txn, &self.relations, output.deltas)?;
        let taken = start.elapsed();
        views.iter().for_each(|delta| self.output.add_batch(&delta.batch));
        Ok(taken)
    }

    /// What DataFusion takes for `sql` over the stored tables, best of three.
    pub(crate) fn recompute(&self, sql: &str) -> Result<Duration> {
        let plan = self
            .planner
            .plan_sql(sql, &self.relations, RelationName::PUBLIC, Purpose::Batch)?;
        let mut best = Duration::MAX;
        for _ in 0..3 {
            let start = Instant::now();
            self.planner.execute(&plan, &self.store.reader(), Timestamp(0))?;
            best = best.min(start.elapsed());
        }
        Ok(best)
    }
}

fn shaped(id: RelationId, table: &TableShape) -> Relation {
    let columns = table.columns.iter().enumerate();
    let column = |(i, (name, kind)): (usize, &(&str, DataType))| {
        Column::new(i as u32 + 1, *name, kind.clone(), i >= table.key)
    };
    Relation {
        id,
        name: RelationName::new(RelationName::PUBLIC, table.name),
        columns: columns.map(column).collect(),
        key: (0..table.key).collect(),
        kind: RelationKind::Table(Table {
            source: SourceId::new("bench"),
            checks: Vec::new(),
            indexes: Vec::new(),
        }),
        schema_version: 1,
    }
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
