//! Views of a world that come, and that are replaced.

use super::plans::compared_with;
use super::watched::{Watched, answer};
use super::world::{Failure, World, unanswerable, wrong};
use datafusion::logical_expr::LogicalPlan;
use std::sync::Arc;
use viewfeed_change::{Relation, RelationId, RelationKind, RelationName, Relations, View};
use viewfeed_engine::Engine;
use viewfeed_query::{Prepared, Purpose};

impl World {
    pub(super) fn create(&mut self, name: &str, sql: &str) -> Result<(), Failure> {
        let plan = self.plan(sql)?;
        let answered = match self.modes.filling {
            // What it reads may not be complete: it can be planned, but not run.
            Some(_) => None,
            None => {
                let query = self.prepare(&plan)?;
                Some((answer(&query, &self.store().reader(), self.now)?, query))
            }
        };
        let (store, engine) = self.open.as_mut().expect("the store is open between steps");
        let mut relations = (*self.relations).clone();
        let id = relations.allocate();
        let view = relations
            .put(planned(engine, &self.relations, id, name, sql)?)
            .map_err(wrong)?;
        let relations = Arc::new(relations);
        let mut txn = store.begin().map_err(wrong)?;
        engine.set_time(self.now);
        let mut delta = None;
        match self.modes.filling {
            Some(_) => engine.begin_view(&view, &relations, &mut txn).map_err(wrong)?,
            None => delta = Some(engine.create_view(&view, &relations, &mut txn).map_err(wrong)?),
        }
        self.relations = relations;
        let mut watched = Watched::new(id, sql, plan);
        if let Some((rows, query)) = answered {
            watched.prepare(Some(query));
            watched.expect(&view, &rows)?;
        }
        if let Some(delta) = &delta {
            watched.publish(&view, &delta.batch)?;
        }
        self.views.push(watched);
        self.commit(txn, delta.as_slice())
    }

    /// `OR REPLACE`: the view and all that read it are dropped and made again, within one epoch. Nothing for a view that
    /// is not there, or leaves open which rows it keeps, nor while views are filled.
    pub(super) fn replace(&mut self, name: &str, sql: &str) -> Result<(), Failure> {
        let named = RelationName::new(RelationName::PUBLIC, name);
        let Some(view) = self
            .relations
            .named(&named)
            .cloned()
            .filter(|_| !sql.contains("/*") && !self.engine().is_filling())
        else {
            return Ok(());
        };
        let places = self.with_readers(view.id);
        let mut statements: Vec<String> = places
            .iter()
            .map(|place| self.views[*place].sql.clone())
            .collect();
        statements[0] = match statements[0] == sql {
            true => format!(
                "SELECT * FROM ({sql}) AS replaced WHERE \"{}\" IS NOT NULL",
                view.columns[0].name
            ),
            false => sql.to_owned(),
        };
        let query = self.prepare(&self.plan(&statements[0])?)?;
        answer(&query, &self.store().reader(), self.now)?;
        let (store, engine) = self.open.as_mut().expect("the store is open between steps");
        let mut txn = store.begin().map_err(wrong)?;
        for place in places.iter().rev() {
            let old = self
                .relations
                .get(self.views[*place].id)
                .expect("a view is never dropped");
            engine.drop_view(old, &self.relations, &mut txn).map_err(wrong)?;
        }
        txn.seal();
        engine.set_time(self.now);
        let mut deltas = Vec::new();
        for (place, sql) in places.iter().zip(&statements) {
            let id = self.views[*place].id;
            let name = self
                .relations
                .get(id)
                .expect("a view is never dropped")
                .name
                .name
                .clone();
            let new = planned(engine, &self.relations, id, &name, sql)?;
            let new = Arc::make_mut(&mut self.relations).put(new).map_err(wrong)?;
            let delta = engine
                .create_view(&new, &self.relations, &mut txn)
                .map_err(wrong)?;
            self.views[*place].start_again(sql);
            self.views[*place].publish(&new, &delta.batch)?;
            deltas.push(delta);
        }
        self.commit(txn, &deltas)?;
        // Where rows are has changed, and what the columns of views promise.
        self.views.iter_mut().for_each(|view| view.prepare(None));
        for place in places {
            let plan = self.plan(&self.views[place].sql)?;
            self.views[place].replan(plan);
        }
        Ok(())
    }

    /// The places of a view and of those that read it, each after what it reads.
    fn with_readers(&self, view: RelationId) -> Vec<usize> {
        let mut found = vec![view];
        let mut places = Vec::new();
        for (place, watched) in self.views.iter().enumerate() {
            let relation = self.relations.get(watched.id).expect("a view is never dropped");
            let inputs = relation
                .as_view()
                .map(|view| view.inputs.as_slice())
                .unwrap_or_default();
            if watched.id == view || inputs.iter().any(|input| found.contains(input)) {
                found.push(watched.id);
                places.push(place);
            }
        }
        places
    }

    /// The query a view is compared with, ready to run.
    pub(super) fn prepare(&self, plan: &LogicalPlan) -> Result<Prepared, Failure> {
        let prepared = self
            .planner
            .prepare(plan.clone(), &self.store().reader(), self.now);
        prepared.map_err(unanswerable)
    }

    /// The plan of the query that a view with this SELECT is compared with.
    fn plan(&self, sql: &str) -> Result<LogicalPlan, Failure> {
        let schema = RelationName::PUBLIC;
        let planned = self
            .planner
            .plan_sql(&compared_with(sql), &self.relations, schema, Purpose::Batch);
        planned.map_err(unanswerable)
    }
}

fn planned(
    engine: &Engine,
    relations: &Arc<Relations>,
    id: RelationId,
    name: &str,
    sql: &str,
) -> Result<Relation, Failure> {
    let plan = engine.plan(sql, RelationName::PUBLIC, relations).map_err(wrong)?;
    Ok(Relation {
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
    })
}
