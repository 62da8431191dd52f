//! A relation as DataFusion sees it: a name and columns when planned, rows of one epoch when executed.

use crate::Purpose;
use crate::bind::Condition;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::common::{Constraint, Constraints};
use datafusion::datasource::DefaultTableSource;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableScan, TableSource};
use std::sync::Arc;
use viewfeed_change::Relation;

/// A relation in a plan. Planned once, executed against any number of readers (see `bind`).
#[derive(Debug)]
pub struct RelationTable {
    /// Which.
    pub relation: Arc<Relation>,
    pub(crate) purpose: Purpose,
    schema: SchemaRef,
    constraints: Constraints,
}

impl RelationTable {
    pub(crate) fn new(relation: Arc<Relation>, purpose: Purpose) -> Self {
        Self {
            schema: relation.schema(),
            constraints: constraints(&relation),
            relation,
            purpose,
        }
    }

    /// The same, but nobody may conclude anything from its key.
    pub(crate) fn without_key(relation: Arc<Relation>, purpose: Purpose) -> Self {
        Self {
            schema: relation.schema(),
            constraints: Constraints::default(),
            relation,
            purpose,
        }
    }
}

/// The relation that `scan` reads; None for other tables, such as `generate_series(…)` or the work table of a
/// recursive query.
pub fn relation_of(scan: &TableScan) -> Option<Arc<Relation>> {
    table_of(scan).map(|table| table.relation.clone())
}

/// The name of the recursive query whose rows `scan` stands for: it is the reference of its recursive term to itself.
pub fn recursion_of(scan: &TableScan) -> Option<&str> {
    let source = scan.source.downcast_ref::<DefaultTableSource>()?;
    let rows = source.table_provider.downcast_ref::<CteWorkTable>()?;
    Some(rows.name())
}

pub(crate) fn table_of(scan: &TableScan) -> Option<&RelationTable> {
    scan.source.downcast_ref::<RelationTable>()
}

/// What names may be resolved by: only tables' keys, which their source enforces.
pub(crate) fn constraints(relation: &Relation) -> Constraints {
    match relation.as_table() {
        Some(_) if !relation.key.is_empty() => {
            Constraints::new_unverified(vec![Constraint::PrimaryKey(relation.key.clone())])
        }
        _ => Constraints::default(),
    }
}

/// Which filters are worth handing to a scan: those that may choose rows by key. They are checked again above it.
pub(crate) fn pushdown(relation: &Relation, filters: &[&Expr]) -> Vec<TableProviderFilterPushDown> {
    let judge = |filter: &&Expr| match Condition::of(filter, relation) {
        Some(_) => TableProviderFilterPushDown::Inexact,
        None => TableProviderFilterPushDown::Unsupported,
    };
    filters.iter().map(judge).collect()
}

impl TableSource for RelationTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn constraints(&self) -> Option<&Constraints> {
        Some(&self.constraints)
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        match self.purpose {
            Purpose::Batch => Ok(pushdown(&self.relation, filters)),
            Purpose::View => Ok(vec![TableProviderFilterPushDown::Unsupported; filters.len()]),
        }
    }
}
