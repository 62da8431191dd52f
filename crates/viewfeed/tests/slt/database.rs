//! A database within the test: tables of the embedded store, views of the engine, one transaction per statement.

use super::answer::Answer;
use datafusion::sql::sqlparser::ast::{self, ObjectType};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use tempfile::TempDir;
use viewfeed_change::{
    Batch, Delta, Error, Relation, RelationKind, RelationName, Relations, Result, Timestamp, View,
};
use viewfeed_engine::{Engine, Rung, StepInput};
use viewfeed_query::{Planner, Purpose, Statement};
use viewfeed_source::embedded::{Context, Embedded, relation_name};
use viewfeed_store::{Durability, EpochRecord, Options, Store, Txn, arrange};

/// What `now()` is: 2024-05-06 07:08:09.
const NOW: Timestamp = Timestamp(1_714_979_289_000_000);

pub(super) struct Database {
    dir: TempDir,
    open: Option<(Store, Engine)>,
    planner: Planner,
    embedded: Embedded,
    relations: Arc<Relations>,
}

impl Database {
    /// Without any relation.
    pub(super) fn new() -> Self {
        let planner = Planner::new().unwrap();
        Self::with(Arc::new(Relations::starting_at(1)), planner)
    }

    /// The same tables, empty, and the same views.
    pub(super) fn emptied(&self) -> Self {
        let mut tables = (*self.relations).clone();
        let views: Vec<Arc<Relation>> = self.views().cloned().collect();
        views.iter().for_each(|view| drop(tables.remove(view.id)));
        let mut database = Self::with(Arc::new(tables), self.planner.clone());
        for view in views {
            database.install(&view).unwrap();
        }
        database
    }

    fn with(relations: Arc<Relations>, planner: Planner) -> Self {
        let mut database = Self {
            dir: tempfile::tempdir().unwrap(),
            open: None,
            embedded: Embedded::new(planner.clone()),
            planner,
            relations,
        };
        database.reopen();
        database
    }

    /// Closes everything and opens it again; views that failed are made anew.
    pub(super) fn reopen(&mut self) {
        self.open = None;
        let options = Options {
            durability: Durability::Relaxed { interval_ms: 60_000 },
            ..Options::default()
        };
        let store = Store::open(self.dir.path(), options).unwrap();
        let engine = self.attached(&store);
        self.open = Some((store, engine));
    }

    /// An engine for the relations as they are.
    fn attached(&self, store: &Store) -> Engine {
        let mut txn = store.begin().unwrap();
        for table in self.tables() {
            arrange::ensure(&mut txn, table, &table.key_paths()).unwrap();
        }
        txn.seal();
        let engine = Engine::open(self.planner.clone(), &self.relations, NOW, &mut txn).unwrap();
        commit(store, txn);
        engine
    }

    /// Runs statements, each in a transaction of its own.
    pub(super) fn execute(&mut self, sql: &str) -> Result<()> {
        for parsed in viewfeed_query::parse(sql)? {
            let Statement::Sql(statement) = parsed.statement else {
                continue;
            };
            match statement.as_ref() {
                ast::Statement::CreateView(create) => self.create(create)?,
                ast::Statement::Drop {
                    object_type: ObjectType::View | ObjectType::MaterializedView,
                    names,
                    ..
                } => names.iter().try_for_each(|name| self.drop_view(name))?,
                ast::Statement::Query(query) => drop(self.query(&query.to_string())?),
                statement if Embedded::handles(statement) => self.write(statement)?,
                _ => {
                    return Err(Error::invalid(
                        "UNSUPPORTED_STATEMENT",
                        "the statement is not supported",
                    ));
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, statement: &ast::Statement) -> Result<()> {
        let (store, engine) = self.open.as_mut().unwrap();
        let mut txn = store.begin()?;
        let (mut relations, mut changes) = (self.relations.clone(), Vec::new());
        let mut context = Context {
            txn: &mut txn,
            relations: &mut relations,
            search_schema: RelationName::PUBLIC,
            now: NOW,
            changes: &mut changes,
            touched: &mut BTreeSet::new(),
        };
        self.embedded.execute(statement, &mut context)?;
        let has_new_layout = !Arc::ptr_eq(&relations, &self.relations);
        self.relations = relations;
        let input = StepInput {
            deltas: changes,
            now: NOW,
        };
        engine.step(&input, &self.relations, &mut txn);
        commit(store, txn);
        if has_new_layout {
            self.reopen();
        }
        Ok(())
    }

    fn create(&mut self, create: &ast::CreateView) -> Result<()> {
        let name = relation_name(&create.name, RelationName::PUBLIC)?;
        self.create_view(&name.name, &create.query.to_string()).map(drop)
    }

    /// Creates a view over what is there.
    pub(super) fn create_view(&mut self, name: &str, sql: &str) -> Result<Rung> {
        let (_, engine) = self.open.as_mut().unwrap();
        let plan = engine.plan(sql, RelationName::PUBLIC, &self.relations)?;
        let id = Arc::make_mut(&mut self.relations).allocate();
        self.install(&Relation {
            id,
            name: RelationName::new(RelationName::PUBLIC, name),
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
        })?;
        Ok(plan.explained.worst_rung())
    }

    fn install(&mut self, view: &Relation) -> Result<()> {
        let mut relations = (*self.relations).clone();
        let view = relations.put(view.clone())?;
        let relations = Arc::new(relations);
        let (store, engine) = self.open.as_mut().unwrap();
        let mut txn = store.begin()?;
        engine.set_time(NOW);
        match engine.create_view(&view, &relations, &mut txn) {
            Ok(_) => {
                self.relations = relations;
                commit(store, txn);
                Ok(())
            }
            Err(error) => {
                drop(txn);
                engine.reload(&self.relations, &mut store.begin()?)?;
                Err(error)
            }
        }
    }

    fn drop_view(&mut self, name: &ast::ObjectName) -> Result<()> {
        let name = relation_name(name, RelationName::PUBLIC)?;
        let unknown = || Error::not_found("UNKNOWN_RELATION", format!("view \"{name}\" does not exist"));
        let view = self.relations.named(&name).cloned().ok_or_else(unknown)?;
        let (store, engine) = self.open.as_mut().unwrap();
        let mut txn = store.begin()?;
        engine.drop_view(&view, &self.relations, &mut txn)?;
        commit(store, txn);
        Arc::make_mut(&mut self.relations).remove(view.id);
        Ok(())
    }

    /// One epoch with rows for tables; the views that failed in it.
    pub(super) fn epoch(&mut self, deltas: Vec<Delta>) -> Vec<(String, Error)> {
        let (store, engine) = self.open.as_mut().unwrap();
        let mut txn = store.begin().unwrap();
        for delta in &deltas {
            let table = self.relations.get(delta.relation).unwrap();
            for arrangement in arrange::all(&txn.before(), table).unwrap() {
                arrangement.stage(&mut txn, &delta.batch).unwrap();
            }
        }
        let output = engine.step(&StepInput { deltas, now: NOW }, &self.relations, &mut txn);
        commit(store, txn);
        let name = |id| self.relations.get(id).unwrap().name.name.clone();
        output
            .failed
            .into_iter()
            .map(|(id, error)| (name(id), error))
            .collect()
    }

    /// Why a view is not kept true any more.
    pub(super) fn failure(&self, name: &str) -> Option<Error> {
        self.open
            .as_ref()
            .unwrap()
            .1
            .failure(self.relation(name).id)
            .cloned()
    }

    /// What a query answers, run once.
    pub(super) fn query(&self, sql: &str) -> Result<Answer> {
        let plan = self
            .planner
            .plan_sql(sql, &self.relations, RelationName::PUBLIC, Purpose::Batch)?;
        let found = self.planner.execute(&plan, &self.store().reader(), NOW)?;
        let rows = found.into_iter().map(|rows| {
            let count = rows.num_rows();
            (rows, vec![1; count])
        });
        Ok(Answer::of(
            plan.schema().fields().len(),
            &rows.collect::<Vec<_>>(),
        ))
    }

    /// What is stored of a view.
    pub(super) fn stored(&self, name: &str) -> Answer {
        let view = self.relation(name);
        let rows = self.rows(&view).into_iter().map(Batch::into_parts);
        Answer::of(view.columns.len(), &rows.collect::<Vec<_>>())
    }

    /// The rows of a relation.
    pub(super) fn rows(&self, relation: &Relation) -> Vec<Batch> {
        let (reader, mut batches) = (self.store().reader(), Vec::new());
        let mut each = |batch| {
            batches.push(batch);
            Ok(ControlFlow::Continue(()))
        };
        let primary = arrange::primary(&reader, relation).unwrap();
        primary.scan(&reader, &[], 1000, &mut each).unwrap();
        batches
    }

    pub(super) fn tables(&self) -> impl Iterator<Item = &Arc<Relation>> {
        self.relations
            .iter()
            .filter(|relation| relation.as_table().is_some())
    }

    fn views(&self) -> impl Iterator<Item = &Arc<Relation>> {
        self.relations
            .iter()
            .filter(|relation| relation.as_view().is_some())
    }

    fn relation(&self, name: &str) -> Arc<Relation> {
        let name = RelationName::new(RelationName::PUBLIC, name);
        self.relations.named(&name).unwrap().clone()
    }

    fn store(&self) -> &Store {
        &self.open.as_ref().unwrap().0
    }
}

fn commit(store: &Store, txn: Txn) {
    let record = EpochRecord {
        commit_time: NOW,
        transactions: Vec::new(),
        deltas: Vec::new(),
        schema_versions: Vec::new(),
    };
    store.commit(txn, &record).unwrap();
}
