//! The relations of the server that are made when somebody asks: `viewfeed.views`, `viewfeed.arrangements`, `viewfeed.sources`,
//! `viewfeed.source_tables`. What can be
//! subscribed to, `viewfeed.view_errors`, is stored like any other and kept true by the engine.

use super::source;
use crate::pipeline::Failures;
use crate::sources::ShownSource;
use crate::status::progress;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use datafusion::logical_expr::LogicalPlan;
use std::collections::BTreeMap;
use std::sync::Arc;
use viewfeed_change::{
    Column, ColumnPath, OnError, Relation, RelationId, RelationKind, RelationName, Relations, Result,
    SourceId, Table,
};
use viewfeed_engine::ViewReport;
use viewfeed_query::Planner;
use viewfeed_store::{Reader, arrange, keys, view_errors};

/// Ids that no stored relation has.
const VIEWS: RelationId = RelationId(u32::MAX - 1);
const ARRANGEMENTS: RelationId = RelationId(u32::MAX - 2);
const SOURCES: RelationId = RelationId(u32::MAX - 3);
const SOURCE_TABLES: RelationId = RelationId(u32::MAX - 4);

/// What the relations are made of.
pub(super) struct System {
    reports: Vec<ViewReport>,
    relations: Arc<Relations>,
    sources: RecordBatch,
    source_tables: RecordBatch,
}

/// Whether a query could name one of them.
pub(super) fn may_be_named(text: &str, search_schema: &str) -> bool {
    search_schema == RelationName::SYSTEM || text.to_lowercase().contains(RelationName::SYSTEM)
}

impl System {
    pub(super) fn new(
        reports: Vec<ViewReport>,
        relations: Arc<Relations>,
        shown: &[ShownSource],
    ) -> Result<Self> {
        Ok(Self {
            reports,
            relations,
            sources: source::sources(shown)?,
            source_tables: source::source_tables(shown)?,
        })
    }

    /// The stored relations and these.
    pub(super) fn with_relations(&self) -> Result<Arc<Relations>> {
        let mut all = self.relations.as_ref().clone();
        all.put(relation(VIEWS, "views", &VIEW_COLUMNS))?;
        all.put(relation(ARRANGEMENTS, "arrangements", &ARRANGEMENT_COLUMNS))?;
        all.put(relation_like(SOURCES, "sources", &self.sources))?;
        all.put(relation_like(SOURCE_TABLES, "source_tables", &self.source_tables))?;
        Ok(Arc::new(all))
    }

    /// The rows of those that `plan` reads.
    pub(super) fn tables(
        &self,
        plan: &LogicalPlan,
        reader: &Reader,
        failures: &Failures,
    ) -> Result<BTreeMap<RelationId, Vec<RecordBatch>>> {
        let mut tables = BTreeMap::new();
        for relation in Planner::inputs(plan)? {
            let rows = match relation.id {
                VIEWS => views(&self.relations, reader, failures)?,
                ARRANGEMENTS => self.arrangements(reader)?,
                SOURCES => self.sources.clone(),
                SOURCE_TABLES => self.source_tables.clone(),
                _ => continue,
            };
            tables.insert(relation.id, vec![rows]);
        }
        Ok(tables)
    }

    /// Every arrangement of a relation and every state of a view, measured.
    fn arrangements(&self, reader: &Reader) -> Result<RecordBatch> {
        let mut found = Found::default();
        for relation in self.relations.iter() {
            for (name, key) in arrange::names(reader, relation)? {
                let users = self.users(&name).join(", ");
                found.add(reader, relation, &named(relation, &key), &name, users)?;
            }
        }
        for report in &self.reports {
            let Some(view) = self.relations.get(report.view) else {
                continue;
            };
            let nodes = report.plan.flattened();
            let states = nodes.iter().flat_map(|(_, node)| &node.states);
            for state in states.filter(|state| !state.is_shared) {
                found.add(reader, view, &state.shown, &state.name, view.name.to_string())?;
            }
        }
        found.rows()
    }

    /// The views that read the state called `name`.
    fn users(&self, name: &str) -> Vec<String> {
        users(name, &self.reports, &self.relations)
    }
}

/// The names of the views that read the state called `name`.
pub(super) fn users(name: &str, reports: &[ViewReport], relations: &Relations) -> Vec<String> {
    let reads = |report: &&ViewReport| {
        let nodes = report.plan.flattened();
        nodes
            .iter()
            .any(|(_, node)| node.states.iter().any(|state| state.name == name))
    };
    let views = reports.iter().filter(reads);
    let views = views.filter_map(|report| relations.get(report.view));
    views.map(|view| view.name.to_string()).collect()
}

/// Every view and its state: also what SHOW VIEWS gives.
pub(super) fn views(relations: &Relations, reader: &Reader, failures: &Failures) -> Result<RecordBatch> {
    let mut texts: [Vec<String>; 6] = Default::default();
    let mut errors = Vec::new();
    for relation in relations.iter() {
        let Some(view) = relation.as_view() else {
            continue;
        };
        let left_out = view_errors::of(reader, relation.id)?;
        let filling = arrange::filling(reader, relation)?;
        let (state, detail) = match (failures.of(relation.id), filling, left_out.first()) {
            (Some(failure), ..) => ("failed", failure),
            (None, Some(filling), _) => ("filling", progress(filling)),
            (None, None, Some(first)) => ("errors", first.message.clone()),
            (None, None, None) => ("live", String::new()),
        };
        let on_error = match view.on_error {
            OnError::Isolate => "isolate",
            OnError::Strict => "strict",
        };
        let row = [
            relation.name.to_string(),
            "view".to_owned(),
            key_of(relation),
            on_error.to_owned(),
            state.to_owned(),
            detail,
        ];
        texts
            .iter_mut()
            .zip(row)
            .for_each(|(column, value)| column.push(value));
        errors.push(left_out.iter().map(|error| error.rows).sum::<i64>());
    }
    let mut columns: Vec<ArrayRef> = texts.map(text).into();
    columns.insert(5, Arc::new(Int64Array::from(errors)));
    let schema = relation(VIEWS, "views", &VIEW_COLUMNS).schema();
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// The columns that make a row of `relation` unique, as text.
pub(super) fn key_of(relation: &Relation) -> String {
    let names = relation
        .key
        .iter()
        .map(|place| relation.columns[*place].name.as_str());
    names.collect::<Vec<_>>().join(", ")
}

/// States that were found, column by column.
#[derive(Default)]
struct Found {
    relations: Vec<String>,
    columns: Vec<String>,
    names: Vec<String>,
    users: Vec<String>,
    rows: Vec<i64>,
    bytes: Vec<i64>,
}

impl Found {
    fn add(
        &mut self,
        reader: &Reader,
        relation: &Relation,
        columns: &str,
        name: &str,
        users: String,
    ) -> Result<()> {
        let Some(size) = keys::size_of(reader, name)? else {
            return Ok(());
        };
        self.relations.push(relation.name.to_string());
        self.columns.push(columns.to_owned());
        self.names.push(name.to_owned());
        self.users.push(users);
        self.rows.push(size.entries as i64);
        self.bytes.push(size.bytes as i64);
        Ok(())
    }

    fn rows(self) -> Result<RecordBatch> {
        let schema = relation(ARRANGEMENTS, "arrangements", &ARRANGEMENT_COLUMNS).schema();
        let columns: Vec<ArrayRef> = vec![
            text(self.relations),
            text(self.columns),
            Arc::new(Int64Array::from(self.rows)),
            Arc::new(Int64Array::from(self.bytes)),
            text(self.users),
            text(self.names),
        ];
        Ok(RecordBatch::try_new(schema, columns)?)
    }
}

const VIEW_COLUMNS: [(&str, DataType); 7] = [
    ("name", DataType::Utf8),
    ("kind", DataType::Utf8),
    ("key", DataType::Utf8),
    ("on_error", DataType::Utf8),
    ("state", DataType::Utf8),
    ("errors", DataType::Int64),
    ("detail", DataType::Utf8),
];

const ARRANGEMENT_COLUMNS: [(&str, DataType); 6] = [
    ("relation", DataType::Utf8),
    ("columns", DataType::Utf8),
    ("rows", DataType::Int64),
    ("bytes", DataType::Int64),
    ("used_by", DataType::Utf8),
    ("name", DataType::Utf8),
];

fn relation(id: RelationId, name: &str, columns: &[(&str, DataType)]) -> Relation {
    let columns = columns.iter().enumerate();
    let columns =
        columns.map(|(i, (name, data_type))| Column::new(i as u32 + 1, *name, data_type.clone(), false));
    of_columns(id, name, columns.collect())
}

/// A relation with the columns of `rows`.
fn relation_like(id: RelationId, name: &str, rows: &RecordBatch) -> Relation {
    let schema = rows.schema();
    let columns = schema.fields().iter().enumerate().map(|(i, field)| {
        Column::new(
            i as u32 + 1,
            field.name(),
            field.data_type().clone(),
            field.is_nullable(),
        )
    });
    of_columns(id, name, columns.collect())
}

fn of_columns(id: RelationId, name: &str, columns: Vec<Column>) -> Relation {
    Relation {
        id,
        name: RelationName::new(RelationName::SYSTEM, name),
        columns,
        key: Vec::new(),
        kind: RelationKind::Table(Table {
            source: SourceId::new(RelationName::SYSTEM),
            checks: Vec::new(),
            indexes: Vec::new(),
        }),
        schema_version: 1,
    }
}

/// A path as it is written: `user.name`.
fn named(relation: &Relation, key: &[ColumnPath]) -> String {
    let name = |path: &ColumnPath| {
        let field = viewfeed_change::row::field_at(&relation.schema(), path);
        let first = path.0.first().and_then(|place| relation.columns.get(*place));
        match (first, field, path.0.len()) {
            (Some(column), _, 1) => column.name.clone(),
            (Some(column), Ok(field), _) => format!("{}.{}", column.name, field.name()),
            _ => String::new(),
        }
    };
    key.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn text(values: Vec<String>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}
