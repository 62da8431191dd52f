//! GROUP BY with count, sum, avg, min and max: state per group, one access per touched group and step.

mod function;

pub(crate) use function::{AggregateCall, AggregateFunction, supports};

use super::{Collect, Emit, Operator};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use std::sync::Arc;
use viewfeed_change::{Batch, Result};
use viewfeed_store::Txn;
use viewfeed_store::keys::StateId;

/// What is grouped and computed.
#[derive(Clone, Debug)]
pub(crate) struct AggregateSpec {
    /// What rows are grouped by; empty for one group that is always there.
    pub(crate) group: Vec<Arc<dyn PhysicalExpr>>,
    /// The results, after the group's columns.
    pub(crate) calls: Vec<AggregateCall>,
    /// The input's columns, which the expressions are made for.
    pub(crate) input_schema: SchemaRef,
    /// The output's columns: the group, then one per call, of plain types.
    pub(crate) output_schema: SchemaRef,
}

/// Keeps one row per group.
pub(crate) struct Aggregate {
    spec: AggregateSpec,
    state: StateId,
}

impl Aggregate {
    /// Keeps its state under `state`. Fails on a call that [`supports`] denies.
    pub(crate) fn new(spec: AggregateSpec, state: StateId) -> Result<Self> {
        Ok(Self { spec, state })
    }
}

impl Operator for Aggregate {
    fn step(&self, _inputs: &[Option<&Batch>], _txn: &mut Txn) -> Result<Option<Batch>> {
        let _ = (&self.spec, self.state);
        todo!()
    }

    fn hydrate(&self, _inputs: &[&Collect<'_>], _txn: &mut Txn, _output: &mut Emit<'_>) -> Result<()> {
        todo!()
    }
}
