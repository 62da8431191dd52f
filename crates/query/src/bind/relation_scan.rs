//! The physical scan of a relation: rows of an arrangement, in batches, each row as often as its weight says. A strict view
//! that leaves out rows is refused here, where all readers pass.
//!
//! The store pushes rows, DataFusion pulls them. Results of one batch (most lookups and all small relations) are read
//! where they are asked for; longer ones by a thread that waits when it is [`BATCHES_AHEAD_MAX`] batches ahead and stops
//! when nobody reads any more.

use super::BATCH_ROWS_MAX;
use super::lookup::{Access, Keys};
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, ReplaceChildrenOptions,
};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use viewfeed_change::{Batch, Error, Relation};
use viewfeed_store::{Reader, view_errors};

/// Batches read but not yet asked for, at most.
const BATCHES_AHEAD_MAX: usize = 2;

type Each<'a> = &'a mut dyn FnMut(RecordBatch) -> viewfeed_change::Result<ControlFlow<()>>;

/// A scan, ready to run.
pub(super) struct RelationScan {
    reading: Arc<Reading>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// What is read.
#[derive(Clone)]
struct Reading {
    relation: Arc<Relation>,
    /// None in a plan that waits to be run: a reader that is held keeps old versions and the store.
    reader: Option<Reader>,
    access: Access,
    projection: Vec<usize>,
    schema: SchemaRef,
    limit: Option<usize>,
}

impl RelationScan {
    /// A scan of the columns `projection` of `relation`; at most `limit` rows.
    pub(super) fn new(
        relation: Arc<Relation>,
        reader: Reader,
        access: Access,
        projection: Vec<usize>,
        limit: Option<usize>,
    ) -> Result<Self> {
        let schema = Arc::new(relation.schema().project(&projection)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let reading = Reading {
            relation,
            reader: Some(reader),
            access,
            projection,
            schema,
            limit,
        };
        Ok(Self {
            reading: Arc::new(reading),
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// The same scan of what `reader` shows; without one, to be told later.
    pub(super) fn at(&self, reader: Option<&Reader>) -> Self {
        let reading = Reading {
            reader: reader.cloned(),
            ..Reading::clone(&self.reading)
        };
        Self {
            reading: Arc::new(reading),
            properties: self.properties.clone(),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

impl Reading {
    fn reader(&self) -> viewfeed_change::Result<&Reader> {
        let none = || Error::internal("a prepared query was run without a reader");
        self.reader.as_ref().ok_or_else(none)
    }

    /// Hands over batches of at most [`BATCH_ROWS_MAX`] rows until `each` breaks.
    fn run(&self, each: Each<'_>) -> viewfeed_change::Result<()> {
        let reader = self.reader()?;
        view_errors::refuse(reader, &self.relation)?;
        let mut left = self.limit.unwrap_or(usize::MAX);
        let mut expand = |batch: Batch| self.expand(&batch, &mut left, each);
        match &self.access {
            Access::All(primary) => primary.scan(reader, &[], self.rows_max(), &mut expand),
            Access::Keys(keys) => self.run_keys(keys, reader, &mut expand),
        }
    }

    fn run_keys(
        &self,
        keys: &Keys,
        reader: &Reader,
        each: &mut dyn FnMut(Batch) -> viewfeed_change::Result<ControlFlow<()>>,
    ) -> viewfeed_change::Result<()> {
        if keys.unique {
            let matches = keys.arrangement.lookup(reader, &keys.prefixes)?;
            return each(matches.batch).map(|_| ());
        }
        let mut flow = ControlFlow::Continue(());
        for prefix in keys.prefixes.iter() {
            let mut watched = |batch| {
                flow = each(batch)?;
                Ok(flow)
            };
            keys.arrangement
                .scan(reader, prefix, self.rows_max(), &mut watched)?;
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn rows_max(&self) -> usize {
        self.limit
            .map_or(BATCH_ROWS_MAX, |limit| limit.clamp(1, BATCH_ROWS_MAX))
    }

    /// Hands over the rows of `batch`, each as often as its weight says, as long as some are `left`.
    fn expand(
        &self,
        batch: &Batch,
        left: &mut usize,
        each: Each<'_>,
    ) -> viewfeed_change::Result<ControlFlow<()>> {
        let rows = self.project(batch.rows())?;
        if batch.weights().iter().all(|weight| *weight == 1) {
            let rows = rows.slice(0, rows.num_rows().min(*left));
            return self.hand_over(rows, left, each);
        }
        if batch.weights().iter().any(|weight| *weight < 0) {
            let message = format!(
                "relation \"{}\" holds a row fewer than zero times",
                self.relation.name
            );
            return Err(Error::internal(message));
        }
        let mut places = batch
            .weights()
            .iter()
            .zip(0u32..)
            .flat_map(|(weight, place)| (0..*weight).map(move |_| place));
        while *left > 0 {
            let chunk: Vec<u32> = places.by_ref().take(BATCH_ROWS_MAX.min(*left)).collect();
            if chunk.is_empty() {
                return Ok(ControlFlow::Continue(()));
            }
            let rows = self.repeat(&rows, &UInt32Array::from(chunk))?;
            if self.hand_over(rows, left, each)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Break(()))
    }

    fn hand_over(
        &self,
        rows: RecordBatch,
        left: &mut usize,
        each: Each<'_>,
    ) -> viewfeed_change::Result<ControlFlow<()>> {
        *left -= rows.num_rows();
        if rows.num_rows() > 0 && each(rows)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        Ok(if *left == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }

    fn project(&self, rows: &RecordBatch) -> viewfeed_change::Result<RecordBatch> {
        let columns = self.projection.iter().map(|column| rows.column(*column).clone());
        self.batch(columns.collect(), rows.num_rows())
    }

    /// The rows at `places`, in that order.
    fn repeat(&self, rows: &RecordBatch, places: &UInt32Array) -> viewfeed_change::Result<RecordBatch> {
        let columns = rows.columns().iter().map(|column| take(column, places, None));
        self.batch(columns.collect::<std::result::Result<_, _>>()?, places.len())
    }

    /// A batch of `count` rows, which also a batch without columns has.
    fn batch(&self, columns: Vec<ArrayRef>, count: usize) -> viewfeed_change::Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(
            self.schema.clone(),
            columns,
            &options,
        )?)
    }

    /// The whole result, if it is one batch at most.
    fn run_short(&self) -> viewfeed_change::Result<Option<Vec<RecordBatch>>> {
        let mut batches = Vec::new();
        let mut rows = 0;
        let mut all = true;
        self.run(&mut |batch| {
            rows += batch.num_rows();
            all = rows <= BATCH_ROWS_MAX;
            batches.push(batch);
            Ok(if all {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            })
        })?;
        Ok(all.then_some(batches))
    }
}

fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Reads in a thread of its own, as far ahead as allowed.
fn stream_long(reading: Arc<Reading>, rows_read: Count) -> SendableRecordBatchStream {
    let mut builder = RecordBatchReceiverStream::builder(reading.schema.clone(), BATCHES_AHEAD_MAX);
    let sender = builder.tx();
    builder.spawn_blocking(move || {
        let send = &mut |batch: RecordBatch| {
            rows_read.add(batch.num_rows());
            Ok(match sender.blocking_send(Ok(batch)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            })
        };
        reading.run(send).map_err(external)
    });
    builder.build()
}

impl fmt::Debug for RelationScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_as(DisplayFormatType::Default, f)
    }
}

impl DisplayAs for RelationScan {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<_> = self
            .reading
            .schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        write!(
            f,
            "RelationScan: {}, {}",
            self.reading.relation.name, self.reading.access
        )?;
        write!(f, ", columns=[{}]", columns.join(", "))?;
        match self.reading.limit {
            Some(limit) => write!(f, ", limit={limit}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for RelationScan {
    fn name(&self) -> &str {
        "RelationScan"
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

    fn execute(&self, partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows_read = MetricBuilder::new(&self.metrics).counter("rows_read", partition);
        match self.reading.run_short().map_err(external)? {
            Some(batches) => {
                rows_read.add(batches.iter().map(RecordBatch::num_rows).sum());
                Ok(Box::pin(MemoryStream::try_new(
                    batches,
                    self.reading.schema.clone(),
                    None,
                )?))
            }
            None => Ok(stream_long(self.reading.clone(), rows_read)),
        }
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
