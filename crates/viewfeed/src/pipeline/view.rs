//! Views coming, changing and going, and the views over them.

use super::Pipeline;
use super::epoch::{OpenEpoch, StatementAnswer};
use super::filling::{AT_ONCE_ROWS_MAX, cancelled};
use super::replace::{is_replacement, replaced_key};
use datafusion::sql::sqlparser::ast;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use viewfeed_change::{
    Batch, Error, ErrorKind, OnError, Relation, RelationId, RelationKind, Relations, Result, View,
};
use viewfeed_source::embedded::relation_name;
use viewfeed_store::arrange;

/// Rows read at a time when a view's content is compared.
const CHUNK_ROWS: usize = 8192;

impl Pipeline {
    /// `CREATE [OR REPLACE] MATERIALIZED VIEW`. The epoch must be flushed.
    pub(super) fn create_view(
        &mut self,
        create: &ast::CreateView,
        search_schema: &str,
        epoch: &mut OpenEpoch,
    ) -> Result<StatementAnswer> {
        let name = relation_name(&create.name, search_schema)?;
        if !create.materialized {
            return Err(
                Error::invalid("PLAIN_VIEW", format!("view \"{name}\" is not materialized"))
                    .hint("write CREATE MATERIALIZED VIEW: viewfeed keeps every view true"),
            );
        }
        let done = |notices| StatementAnswer::Done {
            command: "CREATE MATERIALIZED VIEW",
            notices,
        };
        let existing = epoch.relations.named(&name).cloned();
        if existing.is_some() && create.if_not_exists {
            return Ok(done(vec![format!("view \"{name}\" exists already, skipped")]));
        }
        let wanted = Wanted::from_options(&create.options)?;
        let view = View {
            sql: named_columns(&create.query.to_string(), &create.columns),
            search_schema: search_schema.to_owned(),
            inputs: Vec::new(),
            require_incremental: wanted.require_incremental,
            on_error: wanted.on_error,
        };
        match existing {
            Some(old) if create.or_replace && old.as_view().is_some() => {
                let mut new = old.as_ref().clone();
                new.kind = RelationKind::View(view);
                self.replace(&old, new, &wanted, epoch)?;
            }
            _ => {
                let id = Arc::make_mut(&mut epoch.relations).allocate();
                let blank = Relation {
                    id,
                    name,
                    columns: vec![],
                    key: vec![],
                    kind: RelationKind::View(view),
                    schema_version: 1,
                };
                let relation = self.planned(&blank, &epoch.relations)?;
                let relation = Arc::make_mut(&mut epoch.relations).put(relation)?;
                self.begin_or_create(&relation, &wanted, epoch)?;
            }
        }
        Ok(done(Vec::new()))
    }

    /// Creates a planned view: at once if that takes no time, else so that it is filled while writes go on.
    fn begin_or_create(
        &mut self,
        view: &Arc<Relation>,
        wanted: &Wanted,
        epoch: &mut OpenEpoch,
    ) -> Result<()> {
        let (relations, txn) = (epoch.relations.clone(), &mut epoch.txn);
        let rows_max = wanted.rows_at_once();
        if self.engine.takes_long(view, rows_max, &relations, txn)? {
            self.engine.begin_view(view, &relations, txn)?;
            epoch.awaited.extend(wanted.wait.then_some(view.id));
        } else {
            let delta = self.engine.create_view(view, &relations, txn)?;
            epoch.view_deltas.push(delta);
        }
        Ok(())
    }

    /// `DROP VIEW`. The epoch must be flushed.
    pub(super) fn drop_views(
        &mut self,
        names: &[ast::ObjectName],
        if_exists: bool,
        cascade: bool,
        search_schema: &str,
        epoch: &mut OpenEpoch,
    ) -> Result<StatementAnswer> {
        let mut notices = Vec::new();
        let before = epoch.relations.clone();
        for name in names {
            let name = relation_name(name, search_schema)?;
            match epoch.relations.named(&name).cloned() {
                None if if_exists => notices.push(format!("view \"{name}\" does not exist, skipped")),
                Some(view) if view.as_view().is_some() => self.drop_view(&view, cascade, epoch)?,
                Some(_) => {
                    return Err(
                        Error::invalid("NOT_A_VIEW", format!("\"{name}\" is a table")).hint("use DROP TABLE")
                    );
                }
                None => {
                    return Err(Error::not_found(
                        "UNKNOWN_RELATION",
                        format!("view \"{name}\" does not exist"),
                    )
                    .hint("use DROP VIEW IF EXISTS, or SHOW VIEWS to see what exists"));
                }
            }
        }
        self.refuse_if_unanswerable(&before, &epoch.relations)?;
        Ok(StatementAnswer::Done {
            command: "DROP MATERIALIZED VIEW",
            notices,
        })
    }

    fn drop_view(&mut self, view: &Arc<Relation>, cascade: bool, epoch: &mut OpenEpoch) -> Result<()> {
        let doomed = with_readers(view.id, &epoch.relations);
        if doomed.len() > 1 && !cascade {
            let names: Vec<String> = doomed[1..]
                .iter()
                .map(|view| format!("\"{}\"", view.name))
                .collect();
            let message = format!("view \"{}\" is read by {}", view.name, names.join(", "));
            return Err(Error::new(ErrorKind::Precondition, "DEPENDENT_VIEWS", message)
                .hint("drop them first, or use DROP MATERIALIZED VIEW … CASCADE"));
        }
        for view in doomed.iter().rev() {
            self.refuse_if_bound(view)?;
            self.drop_beside(view, epoch)?;
            self.forget(view, cancelled(), epoch)?;
        }
        Ok(())
    }

    /// Removes `view` with its state; who waits for it to be complete is told `why` not.
    pub(super) fn forget(&mut self, view: &Relation, why: Error, epoch: &mut OpenEpoch) -> Result<()> {
        self.engine.drop_view(view, &epoch.relations, &mut epoch.txn)?;
        epoch.txn.delete(replaced_key(view.id));
        epoch.filled.push((view.id, Some(why)));
        Arc::make_mut(&mut epoch.relations).remove(view.id);
        Ok(())
    }

    /// After a statement changed tables: refuses what would leave a module without its relation, and builds the views over
    /// a table with other columns anew. `relations` is what was before.
    pub(super) fn follow_tables(&mut self, relations: &Arc<Relations>, epoch: &mut OpenEpoch) -> Result<()> {
        if Arc::ptr_eq(relations, &epoch.relations) {
            return Ok(());
        }
        for old in relations.iter() {
            match epoch.relations.get(old.id) {
                None => self.refuse_if_bound(old)?,
                Some(new) if new.schema_version != old.schema_version => {
                    epoch.txn.seal();
                    self.rebuild(None, old.id, &BTreeSet::new(), epoch)?;
                }
                Some(_) => {}
            }
        }
        self.refuse_if_unanswerable(relations, &epoch.relations)
    }

    /// Builds `changed` (if it is a view with a new definition) and every view over `root` anew, and emits only how their
    /// contents differ. Those that were being filled begin anew. Views among `except` are left as they are.
    pub(super) fn rebuild(
        &mut self,
        changed: Option<Relation>,
        root: RelationId,
        except: &BTreeSet<RelationId>,
        epoch: &mut OpenEpoch,
    ) -> Result<()> {
        let mut views = with_readers(root, &epoch.relations);
        views.retain(|view| (view.id != root || changed.is_some()) && !except.contains(&view.id));
        let mut old_rows = Vec::with_capacity(views.len());
        for view in views.iter().rev() {
            let is_complete = arrange::filling(&epoch.txn.now(), view)?.is_none();
            old_rows.push(is_complete.then(|| self.content(view, epoch)).transpose()?);
            self.engine.drop_view(view, &epoch.relations, &mut epoch.txn)?;
        }
        epoch.txn.seal();
        let mut changed = changed;
        for (old, rows) in views.iter().zip(old_rows.into_iter().rev()) {
            let wanted = if old.id == root { changed.take() } else { None };
            let mut new = match wanted {
                Some(new) => self.planned(&new, &epoch.relations)?,
                None => self.planned_with_columns_of(old, &epoch.relations)?,
            };
            let same_rows = new.columns == old.columns;
            new.schema_version = old.schema_version + u32::from(!same_rows);
            let new = Arc::make_mut(&mut epoch.relations).put(new)?;
            let Some(rows) = rows else {
                self.engine.begin_view(&new, &epoch.relations, &mut epoch.txn)?;
                continue;
            };
            let mut delta = self.engine.create_view(&new, &epoch.relations, &mut epoch.txn)?;
            if same_rows {
                delta.batch = Batch::concat(&new.schema(), &[delta.batch, rows.negate()])?.consolidate()?;
            }
            epoch.view_deltas.push(delta);
        }
        Ok(())
    }

    /// `view` with columns, key and inputs as its SQL gives them now.
    pub(super) fn planned(&self, view: &Relation, relations: &Arc<Relations>) -> Result<Relation> {
        let definition = view
            .as_view()
            .ok_or_else(|| Error::internal("a table was planned as a view"))?;
        let plan = self
            .engine
            .plan(&definition.sql, &definition.search_schema, relations)?;
        let inputs = plan.inputs.iter().filter_map(|id| relations.get(*id));
        if let Some(input) = inputs.into_iter().find(|input| is_replacement(input)) {
            return Err(
                Error::invalid("REPLACEMENT", format!("\"{}\" will be gone soon", input.name))
                    .hint("read the view that it is to replace"),
            );
        }
        if definition.require_incremental && plan.explained.worst_rung() != viewfeed_engine::Rung::Incremental
        {
            let message = format!("view \"{}\" cannot be kept true incrementally", view.name);
            return Err(
                Error::invalid("NOT_INCREMENTAL", format!("{message}:\n{}", plan.explained))
                    .hint("leave out require = 'incremental', or rewrite the marked part"),
            );
        }
        let kind = RelationKind::View(View {
            inputs: plan.inputs,
            ..definition.clone()
        });
        Ok(Relation {
            columns: plan.columns,
            key: plan.key,
            kind,
            ..view.clone()
        })
    }

    /// `view` planned again so that it has the columns it had: a `*` in it means what it meant when it was created, and so do names.
    pub(super) fn planned_with_columns_of(
        &self,
        view: &Relation,
        relations: &Arc<Relations>,
    ) -> Result<Relation> {
        let inputs = view
            .as_view()
            .map(|view| view.inputs.as_slice())
            .unwrap_or_default();
        let relations = &Arc::new(relations.only(inputs));
        let again = self.planned(view, relations)?;
        if again.columns == view.columns {
            return Ok(again);
        }
        let names: Vec<String> = view.columns.iter().map(|column| quoted(&column.name)).collect();
        let mut pinned = view.clone();
        if let RelationKind::View(definition) = &mut pinned.kind {
            definition.sql = format!("SELECT {} FROM ({}) AS v", names.join(", "), definition.sql);
        }
        self.planned(&pinned, relations)
    }

    fn content(&self, view: &Relation, epoch: &OpenEpoch) -> Result<Batch> {
        let reader = epoch.txn.now();
        let mut batches = Vec::new();
        arrange::primary(&reader, view)?.scan(&reader, &[], CHUNK_ROWS, &mut |batch| {
            batches.push(batch);
            Ok(ControlFlow::Continue(()))
        })?;
        Batch::concat(&view.schema(), &batches)
    }
}

/// `root` (if it is a view) and every view that reads it, directly or not: a view after the ones it reads.
pub(super) fn with_readers(root: RelationId, relations: &Relations) -> Vec<Arc<Relation>> {
    fn visit(id: RelationId, relations: &Relations, done: &mut Vec<Arc<Relation>>) {
        for reader in relations.readers(id) {
            if !done.iter().any(|view| view.id == reader.id) {
                visit(reader.id, relations, done);
            }
        }
        let view = relations.get(id).filter(|relation| relation.as_view().is_some());
        if let Some(view) = view.filter(|view| !done.iter().any(|known| known.id == view.id)) {
            done.push(view.clone());
        }
    }
    let mut readers_first = Vec::new();
    visit(root, relations, &mut readers_first);
    readers_first.reverse();
    readers_first
}

/// The query with the column names of `CREATE VIEW name (columns)`.
fn named_columns(query: &str, columns: &[ast::ViewColumnDef]) -> String {
    if columns.is_empty() {
        return query.to_owned();
    }
    let names: Vec<String> = columns.iter().map(|column| column.name.to_string()).collect();
    format!("SELECT * FROM ({query}) AS v ({})", names.join(", "))
}

/// What `WITH (…)` asks for.
pub(super) struct Wanted {
    /// `require = 'incremental'`.
    require_incremental: bool,
    /// `on_error = 'strict'`.
    on_error: OnError,
    /// `wait = false`: the statement is answered before the view is complete.
    pub(super) wait: bool,
    /// `at_once = true`: filled in one epoch, which everybody else waits for.
    at_once: bool,
}

impl Wanted {
    /// Rows over which a view is filled at once, at most; None: however many.
    pub(super) fn rows_at_once(&self) -> Option<usize> {
        (!self.at_once).then_some(AT_ONCE_ROWS_MAX)
    }

    fn from_options(options: &ast::CreateTableOptions) -> Result<Self> {
        let mut wanted = Self {
            require_incremental: false,
            on_error: OnError::default(),
            wait: true,
            at_once: false,
        };
        let ast::CreateTableOptions::With(options) = options else {
            return Ok(wanted);
        };
        for option in options {
            let text = option.to_string().replace([' ', '\'', '"'], "");
            match text.as_str() {
                "require=incremental" => wanted.require_incremental = true,
                "on_error=isolate" => wanted.on_error = OnError::Isolate,
                "on_error=strict" => wanted.on_error = OnError::Strict,
                "wait=false" => wanted.wait = false,
                "wait=true" => wanted.wait = true,
                "at_once=true" => wanted.at_once = true,
                "at_once=false" => wanted.at_once = false,
                _ => {
                    return Err(
                        Error::invalid("VIEW_OPTION", format!("view option {option} is not known")).hint(
                            "there are require = 'incremental', on_error = 'strict', wait = false and at_once = true",
                        ),
                    );
                }
            }
        }
        Ok(wanted)
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
