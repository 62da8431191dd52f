//! What is running, for `viewfeed status`.

use crate::pipeline::Failures;
use crate::sources::ShownSource;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;
use viewfeed_catalog::{ModuleState, Modules, row_type};
use viewfeed_change::{Relation, RelationKind, RelationName, Timestamp};
use viewfeed_feed::Feed;
use viewfeed_query::sql_type;
use viewfeed_source::postgres::stored::Phase;
use viewfeed_store::view_errors::{self, ViewError};
use viewfeed_store::{Store, arrange};
use viewfeed_wire::v1;

/// Where the figures come from.
pub(crate) struct StatusSource {
    pub(crate) store: Store,
    pub(crate) feed: Feed,
    pub(crate) modules: watch::Sender<Arc<Modules>>,
    pub(crate) failures: Failures,
    pub(crate) data_dir: PathBuf,
    pub(crate) modules_dir: PathBuf,
    pub(crate) started: Instant,
}

impl StatusSource {
    /// The figures now.
    pub(crate) fn now(&self, sources: &[ShownSource]) -> v1::StatusResponse {
        let modules = self.modules.borrow().clone();
        let relations = self.feed.relations();
        v1::StatusResponse {
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: self.started.elapsed().try_into().ok(),
            version: self.feed.epoch().0,
            oldest_version: self.store.oldest().0,
            data_dir: self.data_dir.display().to_string(),
            modules_dir: self.modules_dir.display().to_string(),
            modules: modules
                .states
                .iter()
                .map(|(name, state)| module_status(name, state))
                .collect(),
            relations: relations
                .iter()
                .filter(|relation| relation.name.schema != RelationName::SYSTEM)
                .map(|relation| self.relation_status(relation))
                .collect(),
            subscribers: self.feed.subscribers() as u64,
            sources: sources.iter().map(source_status).collect(),
        }
    }

    fn relation_status(&self, relation: &Relation) -> v1::RelationStatus {
        let (state, detail) = self.state(relation);
        v1::RelationStatus {
            name: relation.name.to_string(),
            kind: match relation.kind {
                RelationKind::Table(_) => "table".to_owned(),
                RelationKind::View(_) => "view".to_owned(),
            },
            row_type: Some(row_type(&relation.columns, &relation.key, sql_type)),
            state: state.to_owned(),
            detail,
        }
    }

    /// Whether a relation can be taken for true, and if not, why.
    fn state(&self, relation: &Relation) -> (&'static str, String) {
        if let Some(failure) = self.failures.of(relation.id) {
            return ("failed", failure);
        }
        let reader = self.store.reader();
        if let Ok(Some(filling)) = arrange::filling(&reader, relation) {
            return ("filling", progress(filling));
        }
        match view_errors::of(&reader, relation.id) {
            Ok(errors) if errors.is_empty() => ("live", String::new()),
            Ok(errors) => ("errors", summary(&errors)),
            Err(error) => ("failed", error.to_string()),
        }
    }
}

fn source_status(source: &ShownSource) -> v1::SourceStatus {
    let status = source.status.clone().unwrap_or_default();
    let live = source
        .tables
        .iter()
        .filter(|table| matches!(table.phase, Phase::Live { .. }));
    let copy = source.copy();
    let pages = status.copy.as_ref().map(|copy| copy.tables()).unwrap_or_default();
    v1::SourceStatus {
        name: source.name.clone(),
        state: source.state().to_owned(),
        tables: source.tables.len() as u64,
        live_tables: live.count() as u64,
        position: status.position.to_string(),
        lag_bytes: status.lag.map_or(0, |lag| lag.lag_bytes),
        pages_done: pages.iter().map(|table| table.pages_done).sum(),
        pages_total: pages.iter().map(|table| table.pages_total).sum(),
        copied_rows: copy.map_or(0, |copy| copy.rows),
        expected_rows: copy.and_then(|copy| copy.rows_expected),
        rows_per_second: copy.map_or(0, |copy| copy.rows_per_second),
        seconds_left: copy.and_then(|copy| copy.left).map(|left| left.as_secs()),
        detail: source.detail(),
    }
}

/// What is left out, in one line.
fn summary(errors: &[ViewError]) -> String {
    let rows: i64 = errors.iter().map(|error| error.rows).sum();
    let first = errors.first().map_or("", |error| &error.message);
    format!("{rows} rows left out, for example: {first}; see viewfeed.view_errors")
}

/// How far a view is filled, in words.
pub(crate) fn progress(filling: arrange::Filling) -> String {
    format!(
        "{} of about {} rows, {} %",
        filling.rows,
        filling.rows_estimated,
        filling.percent()
    )
}

fn module_status(name: &str, state: &ModuleState) -> v1::ModuleStatus {
    let mut services: Vec<String> = state
        .live
        .iter()
        .flat_map(|module| &module.rpcs)
        .map(|rpc| service_of(&rpc.path))
        .collect();
    services.sort();
    services.dedup();
    v1::ModuleStatus {
        name: name.to_owned(),
        state: if state.refused.is_empty() {
            "live".to_owned()
        } else {
            "refused".to_owned()
        },
        diagnostics: state.refused.iter().map(ToString::to_string).collect(),
        services,
        changed_at: Some(wire_time(state.changed_at)),
    }
}

fn service_of(path: &str) -> String {
    path.trim_start_matches('/')
        .split('/')
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn wire_time(time: Timestamp) -> prost_types::Timestamp {
    let nanos = time.0.rem_euclid(1_000_000) * 1_000;
    prost_types::Timestamp {
        seconds: time.0.div_euclid(1_000_000),
        nanos: i32::try_from(nanos).unwrap_or(0),
    }
}
