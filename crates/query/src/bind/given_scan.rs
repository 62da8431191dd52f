//! The physical scan of batches that are handed in: a plan over it is made once and run over other batches each time. It
//! says nothing of how many rows there are, because a plan is made before they are known.

use super::{conformed, rows_given};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, ReplaceChildrenOptions,
};
use std::fmt;
use std::sync::Arc;
use viewfeed_change::{Error, Relation, RelationId};

/// A scan that is told its rows before each run.
pub(super) struct GivenScan {
    relation: Arc<Relation>,
    /// None until they are given: a plan that is kept must not keep them.
    batches: Option<Vec<RecordBatch>>,
    projection: Vec<usize>,
    limit: Option<usize>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl GivenScan {
    /// A scan of the columns `projection` of `relation`; at most `limit` rows.
    fn new(relation: Arc<Relation>, projection: Vec<usize>, limit: Option<usize>) -> Result<Self> {
        let schema = Arc::new(relation.schema().project(&projection)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self {
            relation,
            batches: None,
            projection,
            limit,
            schema,
            properties: Arc::new(properties),
        })
    }

    /// The same scan, to be told its rows later.
    pub(super) fn empty(&self) -> Self {
        Self {
            relation: self.relation.clone(),
            batches: None,
            projection: self.projection.clone(),
            limit: self.limit,
            schema: self.schema.clone(),
            properties: self.properties.clone(),
        }
    }

    /// The same scan of what `tables` has for its relation.
    pub(super) fn at(&self, tables: &dyn Fn(RelationId) -> Option<Vec<RecordBatch>>) -> Result<Self> {
        let batches = conformed(&self.relation, &rows_given(&self.relation, tables)?)?;
        Ok(Self {
            batches: Some(batches),
            ..self.empty()
        })
    }
}

impl fmt::Debug for GivenScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_as(DisplayFormatType::Default, f)
    }
}

impl DisplayAs for GivenScan {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GivenScan: {}", self.relation.name)
    }
}

impl ExecutionPlan for GivenScan {
    fn name(&self) -> &str {
        "GivenScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _each: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let none = || Error::internal("a prepared query was run without the rows of its relations");
        let batches = self.batches.clone().ok_or_else(none);
        let batches = batches.map_err(|error| DataFusionError::External(Box::new(error)))?;
        let stream = MemoryStream::try_new(batches, self.schema.clone(), Some(self.projection.clone()))?;
        Ok(Box::pin(stream.with_fetch(self.limit)))
    }
}

/// A relation whose rows will be given.
#[derive(Debug)]
pub(super) struct GivenLater {
    relation: Arc<Relation>,
}

impl GivenLater {
    pub(super) fn new(relation: Arc<Relation>) -> Self {
        Self { relation }
    }
}

#[async_trait::async_trait]
impl TableProvider for GivenLater {
    fn schema(&self) -> SchemaRef {
        self.relation.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let projection = match projection {
            Some(columns) => columns.clone(),
            None => (0..self.relation.columns.len()).collect(),
        };
        Ok(Arc::new(GivenScan::new(
            self.relation.clone(),
            projection,
            limit,
        )?))
    }
}
