//! A part of DataFusion's plan, executed again when an input changed; the change is the difference to what is stored.
//! Cost: the whole of the inputs and of the output, for any change.

use super::filter_project::shaped;
use super::{CHUNK_ROWS, Collect, Emit};
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::LogicalPlan;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};
use viewfeed_change::{Batch, Error, RelationId, Result, Timestamp};
use viewfeed_query::{Planner, Prepared};
use viewfeed_store::arrange::Arrangement;
use viewfeed_store::{Reader, Txn};

/// How far the time of a view that asks for it may stand behind, in microseconds. A little less than the second between
/// two calls of an idle program, which are never exactly that far apart.
const CLOCK_RESOLUTION_US: i64 = 900_000;

/// An input as the plan scans it.
pub(crate) struct RecomputeInput {
    /// The id the plan scans it by.
    pub(crate) scan: RelationId,
    /// Its rows.
    pub(crate) arrangement: Arc<dyn Arrangement>,
    /// Whether the rows are kept here; else they are a relation's.
    pub(crate) own: bool,
    /// Its columns.
    pub(crate) schema: SchemaRef,
}

/// A recomputed part of a plan.
pub(crate) struct Recompute {
    pub(crate) query: KeptQuery,
    pub(crate) inputs: Vec<RecomputeInput>,
    /// The last result.
    pub(crate) output: Arc<dyn Arrangement>,
    pub(crate) schema: SchemaRef,
    /// Where the time of the last execution is kept, if the plan asks for the time.
    pub(crate) clock: Option<Vec<u8>>,
}

impl Recompute {
    /// Whether time alone makes an execution necessary.
    pub(crate) fn is_due(&self, now: Timestamp, txn: &Txn) -> Result<bool> {
        let Some(clock) = &self.clock else {
            return Ok(false);
        };
        let last = txn.get(clock)?.and_then(|bytes| bytes.try_into().ok());
        let passed = |last: [u8; 8]| now.0.abs_diff(i64::from_be_bytes(last));
        Ok(last.is_none_or(|last| passed(last) >= CLOCK_RESOLUTION_US as u64))
    }

    /// The change of the output, after the changes of the inputs.
    pub(crate) fn step(
        &self,
        inputs: &[Option<&Batch>],
        now: Timestamp,
        txn: &mut Txn,
    ) -> Result<Option<Batch>> {
        for (input, change) in self.inputs.iter().zip(inputs) {
            if let (true, Some(batch)) = (input.own, change) {
                input.stage(batch, txn)?;
            }
        }
        let mut parts = vec![self.execute(&txn.now(), now)?];
        let before = txn.before();
        self.output.scan(&before, &[], CHUNK_ROWS, &mut |stored| {
            parts.push(stored.negate());
            Ok(ControlFlow::Continue(()))
        })?;
        drop(before);
        let change = Batch::concat(&self.schema, &parts)?.consolidate()?;
        self.output.stage(txn, &change)?;
        self.note_time(now, txn);
        Ok((!change.is_empty()).then_some(change))
    }

    /// Fills the state and hands over the first result.
    pub(crate) fn hydrate(
        &self,
        inputs: &[&Collect<'_>],
        now: Timestamp,
        txn: &mut Txn,
        output: &mut Emit<'_>,
    ) -> Result<()> {
        for (input, collect) in self.inputs.iter().zip(inputs).filter(|(input, _)| input.own) {
            collect(txn, &mut |txn, batch| {
                input.stage(&batch, txn)?;
                txn.seal();
                Ok(())
            })?;
        }
        let result = self.execute(&txn.before(), now)?.consolidate()?;
        self.note_time(now, txn);
        for start in (0..result.len()).step_by(CHUNK_ROWS) {
            let rows: Vec<u32> = (start as u32..(start + CHUNK_ROWS).min(result.len()) as u32).collect();
            let chunk = result.take(&rows)?;
            self.output.stage(txn, &chunk)?;
            txn.seal();
            output(txn, chunk)?;
        }
        Ok(())
    }

    fn execute(&self, reader: &Reader, now: Timestamp) -> Result<Batch> {
        let mut tables = BTreeMap::new();
        for input in &self.inputs {
            tables.insert(input.scan, input.rows(reader)?);
        }
        self.query.run(&tables, now, &self.schema)
    }

    fn note_time(&self, now: Timestamp, txn: &mut Txn) {
        if let Some(clock) = &self.clock {
            txn.put(clock.clone(), now.0.to_be_bytes().to_vec());
        }
    }
}

impl RecomputeInput {
    /// Takes a change of the input over, if the rows are kept here.
    pub(crate) fn keep(&self, change: &Batch, txn: &mut Txn) -> Result<()> {
        match self.own {
            true => self.stage(change, txn),
            false => Ok(()),
        }
    }

    fn stage(&self, batch: &Batch, txn: &mut Txn) -> Result<()> {
        self.arrangement.stage(txn, &self.shaped(batch)?)
    }

    /// A change of the input with the input's columns.
    pub(super) fn shaped(&self, batch: &Batch) -> Result<Batch> {
        Batch::new(shaped(batch.rows(), &self.schema)?, batch.weights().to_vec())
    }

    /// The whole input as of `reader`, every row as often as it is there.
    fn rows(&self, reader: &Reader) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        self.arrangement.scan(reader, &[], CHUNK_ROWS, &mut |batch| {
            batches.push(repeated(batch)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(batches)
    }
}

/// A part of a view's plan, planned to the end when it is first run.
pub(crate) struct KeptQuery {
    planner: Planner,
    plan: LogicalPlan,
    prepared: OnceLock<Prepared>,
}

impl KeptQuery {
    /// Of `plan`, which is run by `planner`.
    pub(crate) fn new(planner: Planner, plan: LogicalPlan) -> Self {
        Self {
            planner,
            plan,
            prepared: OnceLock::new(),
        }
    }

    /// The rows it gives, with the columns of `schema`, over the rows of `tables` by the ids it scans them by.
    pub(super) fn run(
        &self,
        tables: &BTreeMap<RelationId, Vec<RecordBatch>>,
        now: Timestamp,
        schema: &SchemaRef,
    ) -> Result<Batch> {
        let prepared = match self.prepared.get() {
            Some(prepared) => prepared,
            None => {
                let prepared = self.planner.prepare_over(self.plan.clone())?;
                self.prepared.get_or_init(|| prepared)
            }
        };
        let result = prepared.run_over(&|id| tables.get(&id).cloned(), now)?;
        let rows = result.iter().map(|batch| shaped(batch, schema));
        let batches = rows
            .map(|rows| Ok(Batch::inserts(rows?)))
            .collect::<Result<Vec<_>>>()?;
        Batch::concat(schema, &batches)
    }
}

/// The rows of a collection, each as often as its weight says. A row that is there less than no time has been taken
/// away more often than it was added.
pub(super) fn repeated(batch: Batch) -> Result<RecordBatch> {
    let (rows, weights) = batch.into_parts();
    if weights.iter().all(|weight| *weight == 1) {
        return Ok(rows);
    }
    if weights.iter().any(|weight| *weight < 0) {
        return Err(Error::corrupt(
            "a row was taken away more often than it was added",
        ));
    }
    let times = weights.iter().enumerate();
    let indices: UInt32Array = times
        .flat_map(|(row, weight)| std::iter::repeat_n(row as u32, *weight as usize))
        .collect();
    Ok(take_record_batch(&rows, &indices)?)
}
