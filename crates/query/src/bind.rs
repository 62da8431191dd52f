//! Ties a plan's relations to a reader: every scan of a `RelationTable` becomes one of rows as of that reader.

mod condition;
mod given_scan;
mod lookup;
mod relation_scan;

pub(crate) use condition::Condition;

use crate::session::BATCH_ROWS_MAX;
use crate::table::{pushdown, table_of};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, TableProviderFilterPushDown, TableScan, TableType};
use datafusion::physical_plan::ExecutionPlan;
use given_scan::{GivenLater, GivenScan};
use lookup::Access;
use relation_scan::RelationScan;
use std::fmt;
use std::sync::Arc;
use viewfeed_change::{Relation, RelationId, row};
use viewfeed_store::Reader;

/// Where the rows of relations come from.
pub(crate) enum Rows<'a> {
    /// The state a reader shows.
    Of(&'a Reader),
    /// Batches given for each relation.
    Given(&'a dyn Fn(RelationId) -> Option<Vec<RecordBatch>>),
    /// Batches where some are given, else the state a reader shows.
    Partly(&'a dyn Fn(RelationId) -> Option<Vec<RecordBatch>>, &'a Reader),
    /// Batches that will be given for each relation, by [`at`].
    Later,
}

impl<'a> Rows<'a> {
    fn reader(&self) -> Option<&'a Reader> {
        match self {
            Self::Of(reader) | Self::Partly(_, reader) => Some(reader),
            Self::Given(_) | Self::Later => None,
        }
    }

    fn tables(&self) -> Option<&'a dyn Fn(RelationId) -> Option<Vec<RecordBatch>>> {
        match self {
            Self::Given(tables) | Self::Partly(tables, _) => Some(*tables),
            Self::Of(_) | Self::Later => None,
        }
    }
}

/// `plan` with its relations tied to `rows`.
pub(crate) fn bind(plan: LogicalPlan, rows: &Rows<'_>) -> Result<LogicalPlan> {
    let bound = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::TableScan(scan) => match table_of(&scan).map(|table| table.relation.clone()) {
            Some(relation) => {
                let source = provider_as_source(provider(relation, rows)?);
                Ok(Transformed::yes(LogicalPlan::TableScan(TableScan {
                    source,
                    ..scan
                })))
            }
            None => Ok(Transformed::no(LogicalPlan::TableScan(scan))),
        },
        node => Ok(Transformed::no(node)),
    })?;
    Ok(bound.data)
}

/// A plan that was bound before, ready to be executed once more, over these rows: of the kind it was bound to. Without any it
/// waits to be bound again.
pub(crate) fn at(plan: Arc<dyn ExecutionPlan>, rows: Option<&Rows<'_>>) -> Result<Arc<dyn ExecutionPlan>> {
    let bound = plan.transform_up(|node| {
        let node = if let Some(scan) = node.downcast_ref::<RelationScan>() {
            let reader = rows.and_then(Rows::reader);
            Arc::new(scan.at(reader)) as Arc<dyn ExecutionPlan>
        } else if let Some(scan) = node.downcast_ref::<GivenScan>() {
            Arc::new(match rows.and_then(Rows::tables) {
                Some(tables) => scan.at(tables)?,
                None => scan.empty(),
            })
        } else {
            // What an execution left behind, such as the table of a hash join.
            node.reset_state()?
        };
        Ok(Transformed::yes(node))
    })?;
    Ok(bound.data)
}

fn provider(relation: Arc<Relation>, rows: &Rows<'_>) -> Result<Arc<dyn TableProvider>> {
    match rows {
        Rows::Of(reader) => Ok(of_reader(relation, reader)),
        Rows::Partly(tables, reader) => match tables(relation.id) {
            Some(batches) => given(relation, &batches),
            None => Ok(of_reader(relation, reader)),
        },
        Rows::Given(tables) => given(relation.clone(), &rows_given(&relation, tables)?),
        Rows::Later => Ok(Arc::new(GivenLater::new(relation))),
    }
}

fn of_reader(relation: Arc<Relation>, reader: &Reader) -> Arc<dyn TableProvider> {
    Arc::new(BoundRelation {
        schema: relation.schema(),
        relation,
        reader: reader.clone(),
    })
}

fn given(relation: Arc<Relation>, batches: &[RecordBatch]) -> Result<Arc<dyn TableProvider>> {
    let batches = conformed(&relation, batches)?;
    Ok(Arc::new(MemTable::try_new(relation.schema(), vec![batches])?))
}

/// What `tables` has for `relation`, which must be something.
fn rows_given(
    relation: &Relation,
    tables: &dyn Fn(RelationId) -> Option<Vec<RecordBatch>>,
) -> Result<Vec<RecordBatch>> {
    tables(relation.id).ok_or_else(|| {
        let message = format!("no rows were given for relation \"{}\"", relation.name);
        DataFusionError::External(Box::new(viewfeed_change::Error::internal(message)))
    })
}

/// `batches` with the columns of `relation`.
fn conformed(relation: &Relation, batches: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
    let schema = relation.schema();
    let conform = |batch: &RecordBatch| {
        let conformed = row::conform(batch, &schema);
        conformed.map_err(|error| DataFusionError::External(Box::new(error)))
    };
    batches.iter().map(conform).collect()
}

/// A relation as of a reader.
struct BoundRelation {
    relation: Arc<Relation>,
    reader: Reader,
    schema: SchemaRef,
}

impl fmt::Debug for BoundRelation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at epoch {}", self.relation.name, self.reader.epoch())
    }
}

#[async_trait::async_trait]
impl TableProvider for BoundRelation {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(pushdown(&self.relation, filters))
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let conditions: Vec<_> = filters
            .iter()
            .filter_map(|filter| Condition::of(filter, &self.relation))
            .collect();
        let access = Access::choose(&self.reader, &self.relation, &conditions)
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        let projection = match projection {
            Some(columns) => columns.clone(),
            None => (0..self.schema.fields().len()).collect(),
        };
        let scan = RelationScan::new(
            self.relation.clone(),
            self.reader.clone(),
            access,
            projection,
            limit,
        )?;
        Ok(Arc::new(scan))
    }
}
