//! What reads beside the loop: SELECT outside of transactions, EXPLAIN.

use super::system::{self, System};
use super::{RESULT_BYTES_MAX, Session, blocking, explain, too_large};
use arrow::array::RecordBatch;
use datafusion::sql::sqlparser::ast;
use std::collections::BTreeMap;
use std::sync::Arc;
use viewfeed_change::{Error, ErrorKind, Result};
use viewfeed_query::Purpose;

impl Session {
    /// A SELECT outside of transactions, beside the loop.
    pub(super) async fn read(
        &mut self,
        query: Box<ast::Query>,
        text: &str,
        search_schema: &str,
    ) -> Result<()> {
        let shared = self.shared.clone();
        let reports = match system::may_be_named(text, search_schema) {
            true => Some((shared.reports().await?, shared.sources.shown().await?)),
            false => None,
        };
        let search_schema = search_schema.to_owned();
        let (schema, rows, version) = blocking(move || {
            let (reader, mut relations) = (shared.store.reader(), shared.feed.relations());
            let system = reports.map(|(reports, shown)| System::new(reports, relations.clone(), &shown));
            let system = system.transpose()?;
            if let Some(system) = &system {
                relations = system.with_relations()?;
            }
            let plan = shared
                .planner
                .plan(&query, &relations, &search_schema, Purpose::Batch)?;
            let tables = match &system {
                Some(system) => system.tables(&plan, &reader, &shared.failures)?,
                None => BTreeMap::new(),
            };
            let (mut rows, mut bytes) = (Vec::new(), 0);
            let mut each = |batch: RecordBatch| {
                bytes += batch.get_array_memory_size();
                rows.push(batch);
                match bytes <= RESULT_BYTES_MAX {
                    true => Ok(()),
                    false => Err(too_large()),
                }
            };
            let (given, now) = (|id| tables.get(&id).cloned(), shared.clock.now());
            shared
                .planner
                .execute_each_with(&plan, &reader, &given, now, &mut each)?;
            Ok((Arc::new(plan.schema().as_arrow().clone()), rows, reader.epoch()))
        })
        .await?;
        self.rows("SELECT", schema, rows, version).await
    }

    /// `EXPLAIN SELECT`.
    pub(super) async fn explain(&mut self, statement: &ast::Statement, schema: &str) -> Result<()> {
        let ast::Statement::Query(query) = statement else {
            return Err(Error::invalid("EXPLAIN", "only SELECT can be explained")
                .hint("EXPLAIN SELECT …, or EXPLAIN VIEW name for a materialized view"));
        };
        let plan = self
            .shared
            .planner
            .plan(query, &self.shared.feed.relations(), schema, Purpose::Batch)?;
        self.text("EXPLAIN", "plan", &plan.display_indent().to_string())
            .await
    }

    /// `EXPLAIN VIEW`: what the loop knows, and states measured beside it.
    pub(super) async fn explain_view(&mut self, name: &str, verbose: bool, schema: &str) -> Result<()> {
        let relations = self.shared.feed.relations();
        let relation = relations.resolve(name, schema)?.clone();
        if relation.as_view().is_none() {
            let message = format!("\"{}\" is a table", relation.name);
            return Err(Error::invalid("NOT_A_VIEW", message).hint("SHOW VIEWS lists the views"));
        }
        if let Some(failure) = self.shared.failures.of(relation.id) {
            return Err(Error::new(ErrorKind::Precondition, "VIEW_FAILED", failure));
        }
        let (reports, store) = (self.shared.reports().await?, self.shared.store.clone());
        let text = blocking(move || explain::text(&relation, &reports, &relations, &store.reader(), verbose));
        self.text("EXPLAIN", "view", &text.await?).await
    }
}
