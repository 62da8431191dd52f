//! A store, an engine and tables, run through a case. After every step each view must be what DataFusion computes from
//! scratch, and the sum of its deltas must be what is stored.

use super::case::{Case, Filling, Form, Modes, Step};
use super::compare::stored;
use super::state::State;
use super::tables::{Row, Shape, batch};
use super::watched::{Watched, answer};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use viewfeed_change::{Batch, Delta, Error, Relation, RelationId, RelationName, Relations, Timestamp};
use viewfeed_engine::{Engine, StepInput};
use viewfeed_query::Planner;
use viewfeed_store::{EpochRecord, Store, Txn, arrange};

/// Why a case stopped.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The engine is wrong.
    Wrong(String),
    /// DataFusion cannot plan or run a query, so there is nothing to compare with.
    Unanswerable(String),
}

/// A defect put in on purpose, to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    None,
    /// The engine is not told of the last row of a table's change.
    RowLost,
    /// A row of a view's delta is left out of what is published.
    DeltaCut,
    /// A row is counted twice by the engine.
    RowRepeated,
}

/// How many comparisons were made, to know that a run did something.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) comparisons: usize,
    pub(crate) rows: usize,
}

/// The database under test.
pub(crate) struct World {
    pub(super) state: State,
    pub(super) open: Option<(Store, Engine)>,
    pub(super) planner: Planner,
    pub(super) relations: Arc<Relations>,
    tables: Vec<Shape>,
    pub(super) modes: Modes,
    /// What each table holds, with multiplicities.
    contents: Vec<HashMap<Row, i64>>,
    pub(super) views: Vec<Watched>,
    /// The clock of the last epoch, and how much later the next one is, in seconds.
    pub(super) now: Timestamp,
    wait: i64,
    defect: Defect,
    pub(crate) tally: Tally,
}

/// The clock of the first epoch.
const START: Timestamp = Timestamp(1_700_000_000_000_000);

impl World {
    /// Empty tables, no views.
    pub(crate) fn new(planner: &Planner, case: &Case, defect: Defect) -> Result<Self, Failure> {
        let mut relations = Relations::starting_at(1);
        for shape in &case.tables {
            let id = relations.allocate();
            relations.put(shape.relation(id)).map_err(wrong)?;
        }
        let mut world = Self {
            state: State::new(case.modes.form),
            open: None,
            planner: planner.clone(),
            relations: Arc::new(relations),
            contents: vec![HashMap::new(); case.tables.len()],
            tables: case.tables.clone(),
            modes: case.modes,
            views: Vec::new(),
            now: START,
            wait: 0,
            defect,
            tally: Tally::default(),
        };
        world.reopen()?;
        Ok(world)
    }

    /// Runs every step, checking after each.
    pub(crate) fn run(&mut self, case: &Case) -> Result<(), Failure> {
        case.steps.iter().try_for_each(|step| self.run_step(case, step))?;
        while self.engine().is_filling() {
            self.epoch(&[])?;
            self.check()?;
        }
        Ok(())
    }

    /// Runs one step and checks.
    pub(crate) fn run_step(&mut self, case: &Case, step: &Step) -> Result<(), Failure> {
        match step {
            Step::Create(view) => self.create(&format!("v{view}"), &case.views[*view])?,
            Step::Replace(view) => self.replace(&format!("v{view}"), &case.views[*view])?,
            Step::Epoch(changes) => self.epoch(changes)?,
            Step::Wait(seconds) => {
                self.wait += seconds;
                return Ok(());
            }
            Step::Checkpoint => self.store().checkpoint().map_err(wrong)?,
            Step::Reopen => self.reopen()?,
            Step::Crash => self.crash()?,
            Step::Clear => self.epoch(&self.everything())?,
        }
        self.check()
    }

    /// The rows of a table, each as often as it is there.
    pub(crate) fn content(&self, table: usize) -> Vec<Row> {
        let counted = self.contents[table].iter();
        counted
            .flat_map(|(row, count)| std::iter::repeat_n(row.clone(), *count as usize))
            .collect()
    }

    /// The rows of a view as they are stored.
    pub(crate) fn rows_of(&self, view: &str) -> Result<Batch, Failure> {
        let view = self.named(view);
        Batch::concat(&view.schema(), &stored(&self.store().reader(), &view)?).map_err(wrong)
    }

    /// How many entries the engine and the tables have in the store.
    pub(crate) fn state_entries(&self) -> Result<usize, Failure> {
        Ok(self.entries()?.len())
    }

    /// Every entry the engine and the tables have in the store.
    pub(crate) fn entries(&self) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Failure> {
        let reader = self.store().reader();
        let mut entries = BTreeMap::new();
        for prefix in [b"a", b"o"] {
            let mut each = |key: &[u8], value: &[u8]| {
                entries.insert(key.to_vec(), value.to_vec());
                Ok(ControlFlow::Continue(()))
            };
            reader.scan(prefix, prefix, &mut each).map_err(wrong)?;
        }
        Ok(entries)
    }

    pub(super) fn store(&self) -> &Store {
        &self.open.as_ref().expect("the store is open between steps").0
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.open.as_ref().expect("the store is open between steps").1
    }

    fn reopen(&mut self) -> Result<(), Failure> {
        // A plan may hold a reader, which keeps the files open.
        self.views.iter_mut().for_each(|view| view.prepare(None));
        drop(self.open.take());
        let store = self.state.open()?;
        let mut txn = store.begin().map_err(wrong)?;
        for table in self
            .relations
            .iter()
            .filter(|relation| relation.as_table().is_some())
        {
            arrange::ensure(&mut txn, table, &table.key_paths()).map_err(wrong)?;
        }
        txn.seal();
        let rung = self.modes.rung;
        let opened = Engine::open_at(self.planner.clone(), &self.relations, self.now, &mut txn, rung);
        let mut engine = opened.map_err(wrong)?;
        store.commit(txn, &self.record(&[])).map_err(wrong)?;
        if let Some(delta) = engine.take_opening_deltas().first() {
            return Err(Failure::Wrong(format!(
                "opening changed relation {:?}",
                delta.relation
            )));
        }
        self.open = Some((store, engine));
        Ok(())
    }

    /// Killed in the middle of an epoch that removes everything: as if it had never begun.
    fn crash(&mut self) -> Result<(), Failure> {
        let all = self.everything();
        let deltas = self.deltas(&all);
        let mut txn = self.store().begin().map_err(wrong)?;
        self.stage(&deltas, &mut txn)?;
        let now = self.now;
        let (_, engine) = self.open.as_mut().expect("the store is open between steps");
        engine.step(&StepInput { deltas, now }, &self.relations, &mut txn);
        txn.seal();
        engine.fill_next(5, &self.relations, &mut txn);
        self.store()
            .write_part(&mut txn, &self.record(&[]))
            .map_err(wrong)?;
        drop(txn);
        self.state.cut_off();
        self.reopen()
    }

    /// Goes on filling views after the changes of an epoch.
    fn fill(&mut self, filling: Filling, txn: &mut Txn) -> Result<(), Failure> {
        for _ in 0..filling.pieces {
            let (_, engine) = self.open.as_mut().expect("the store is open between steps");
            txn.seal();
            let output = engine.fill_next(filling.rows, &self.relations, txn);
            self.excuse(&output.failed, txn)?;
            if let Some(id) = output.completed {
                let view = self.relations.get(id).expect("a view is never dropped");
                let watched = self.views.iter_mut().find(|watched| watched.id == id);
                let watched = watched.expect("a view that is filled is watched");
                for batch in stored(&txn.before(), view)? {
                    watched.publish(view, &batch)?;
                }
            }
        }
        Ok(())
    }

    /// What DataFusion cannot compute either is no fault of the view.
    fn excuse(&self, failed: &[(RelationId, Error)], txn: &Txn) -> Result<(), Failure> {
        let Some((view, error)) = failed.first() else {
            return Ok(());
        };
        if let Some(watched) = self.views.iter().find(|watched| watched.id == *view) {
            answer(&self.prepare(watched.plan())?, &txn.now(), self.now)?;
        }
        Err(Failure::Wrong(format!("view {view:?} failed: {error:?}")))
    }

    fn epoch(&mut self, changes: &[(usize, Vec<(Row, i64)>)]) -> Result<(), Failure> {
        self.now.0 += std::mem::take(&mut self.wait) * 1_000_000;
        let possible: Vec<(usize, Vec<(Row, i64)>)> = changes
            .iter()
            .map(|(table, rows)| (*table, self.possible(*table, rows)))
            .collect();
        let deltas = self.deltas(&possible);
        if !deltas.is_empty() || self.views.iter().any(Watched::follows_clock) {
            self.views.iter_mut().for_each(Watched::forget);
        }
        let mut txn = self.store().begin().map_err(wrong)?;
        let mut parts = self.parts(deltas);
        let last = parts.pop().expect("an epoch has at least one part");
        for part in parts {
            let published = self.step(part, &mut txn)?;
            let record = self.record(&published);
            self.store().write_part(&mut txn, &record).map_err(wrong)?;
        }
        let published = self.step(last, &mut txn)?;
        if let Some(filling) = self.modes.filling {
            self.fill(filling, &mut txn)?;
        }
        self.commit(txn, &published)
    }

    /// The deltas of an epoch, dealt out to its steps: where state is in files, some epochs are written in parts.
    fn parts(&self, mut deltas: Vec<Delta>) -> Vec<Vec<Delta>> {
        let rows: usize = deltas.iter().map(|delta| delta.batch.len()).sum();
        if self.modes.form == Form::Runs && deltas.len() > 1 && rows.is_multiple_of(2) {
            let rest = deltas.split_off(1);
            return vec![deltas, rest];
        }
        vec![deltas]
    }

    /// One step of an epoch; gives what it changed in views.
    fn step(&mut self, deltas: Vec<Delta>, txn: &mut Txn) -> Result<Vec<Delta>, Failure> {
        self.stage(&deltas, txn)?;
        let input = StepInput {
            deltas: self.spoil_input(deltas),
            now: self.now,
        };
        let (_, engine) = self.open.as_mut().expect("the store is open between steps");
        let mut output = engine.step(&input, &self.relations, txn);
        self.excuse(&output.failed, txn)?;
        self.spoil_output(&mut output.deltas);
        for delta in &output.deltas {
            let view = self.views.iter_mut().find(|view| view.id == delta.relation);
            let view = view.ok_or_else(|| Failure::Wrong("a delta of no view".to_owned()))?;
            let relation = self.relations.get(view.id).expect("a view is never dropped");
            view.publish(relation, &delta.batch)?;
        }
        Ok(output.deltas)
    }

    /// The changes that remove every row of every table.
    fn everything(&self) -> Vec<(usize, Vec<(Row, i64)>)> {
        let all =
            |content: &HashMap<Row, i64>| content.iter().map(|(row, count)| (row.clone(), -count)).collect();
        self.contents.iter().map(all).enumerate().collect()
    }

    fn deltas(&self, changes: &[(usize, Vec<(Row, i64)>)]) -> Vec<Delta> {
        let changed = changes.iter().filter(|(_, rows)| !rows.is_empty());
        let delta = |(table, rows): &(usize, Vec<(Row, i64)>)| {
            let relation = self.table(*table);
            Delta {
                relation: relation.id,
                batch: batch(&relation, rows),
            }
        };
        changed.map(delta).collect()
    }

    /// Changes the tables.
    fn stage(&self, deltas: &[Delta], txn: &mut Txn) -> Result<(), Failure> {
        for delta in deltas {
            let relation = self.relations.get(delta.relation);
            let relation = relation.expect("a table is never dropped");
            for arrangement in arrange::all(&txn.before(), relation).map_err(wrong)? {
                arrangement.stage(txn, &delta.batch).map_err(wrong)?;
            }
        }
        Ok(())
    }

    /// The changes of a table without those that would remove a row that is not there or repeat a key: what is left of
    /// a case that was made smaller may have such.
    fn possible(&mut self, table: usize, rows: &[(Row, i64)]) -> Vec<(Row, i64)> {
        let content = &mut self.contents[table];
        let mut after = content.clone();
        for (row, weight) in rows {
            *after.entry(row.clone()).or_default() += weight;
        }
        after.retain(|_, count| *count != 0);
        let keyed = self.tables[table].keyed;
        let mut keys = HashSet::new();
        let keeps_key = !keyed
            || after
                .iter()
                .all(|(row, count)| *count == 1 && keys.insert(row[0]));
        let is_possible = keeps_key && after.values().all(|count| *count > 0);
        if !is_possible {
            return Vec::new();
        }
        *content = after;
        rows.to_vec()
    }

    fn spoil_input(&self, mut deltas: Vec<Delta>) -> Vec<Delta> {
        let Some(last) = deltas.last_mut() else {
            return deltas;
        };
        let mut indices: Vec<u32> = (0..last.batch.len() as u32).collect();
        match self.defect {
            Defect::RowLost => drop(indices.pop()),
            Defect::RowRepeated => indices.push(0),
            _ => return deltas,
        }
        last.batch = last.batch.take(&indices).expect("the indices are those of rows");
        deltas
    }

    fn spoil_output(&self, deltas: &mut [Delta]) {
        if let (Defect::DeltaCut, Some(delta)) = (self.defect, deltas.last_mut()) {
            let indices: Vec<u32> = (1..delta.batch.len() as u32).collect();
            delta.batch = delta.batch.take(&indices).expect("the indices are those of rows");
        }
    }

    /// Every view: stored rows = DataFusion's answer = the sum of deltas.
    fn check(&mut self) -> Result<(), Failure> {
        let reader = self.store().reader();
        for place in 0..self.views.len() {
            if self.engine().fills(self.views[place].id) {
                continue;
            }
            if !self.views[place].is_prepared() {
                let query = self.prepare(self.views[place].plan())?;
                self.views[place].prepare(Some(query));
            }
            let watched = &mut self.views[place];
            let view = self.relations.get(watched.id).expect("a view is never dropped");
            self.tally.rows += watched.check(view, &reader, self.now)?;
            self.tally.comparisons += 1;
        }
        Ok(())
    }

    fn table(&self, table: usize) -> Arc<Relation> {
        self.named(&self.tables[table].name)
    }

    fn named(&self, name: &str) -> Arc<Relation> {
        let name = RelationName::new(RelationName::PUBLIC, name);
        self.relations
            .named(&name)
            .expect("what is asked for exists")
            .clone()
    }

    pub(super) fn commit(&self, txn: Txn, deltas: &[Delta]) -> Result<(), Failure> {
        self.store().commit(txn, &self.record(deltas)).map_err(wrong)?;
        Ok(())
    }

    fn record(&self, deltas: &[Delta]) -> EpochRecord {
        EpochRecord {
            commit_time: self.now,
            transactions: Vec::new(),
            deltas: deltas.to_vec(),
            schema_versions: self.relations.iter().map(|relation| (relation.id, 1)).collect(),
        }
    }
}

pub(super) fn unanswerable(error: Error) -> Failure {
    Failure::Unanswerable(format!("{error:?}"))
}

pub(super) fn wrong(error: Error) -> Failure {
    Failure::Wrong(format!("{error:?}"))
}
