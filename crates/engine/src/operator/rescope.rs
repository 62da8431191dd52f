//! A part of DataFusion's plan whose output for certain values of some columns, its scope, depends only on the input
//! rows with those values: a window by its partition, an aggregate by its group. It is executed again for the
//! scopes a change touches, all of them at once, and the difference to what is stored of them is handed on.
//!
//! Cost: the rows of the touched scopes, of input and output. The input is arranged by the scope, which shares a
//! relation's own arrangement if it is one; the output is kept here. A scope that cannot be computed has no output; which
//! ones these are is found by halving.

use super::isolate::{ErrorLog, is_of_a_row, search};
use super::recompute::{KeptQuery, RecomputeInput, repeated};
use super::{CHUNK_ROWS, Collect, Emit, Operator};
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch, kernels::numeric::neg};
use arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef};
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use viewfeed_change::row::{RowCodec, Rows};
use viewfeed_change::{Batch, ColumnPath, Error, Result, Timestamp};
use viewfeed_store::Txn;
use viewfeed_store::arrange::Arrangement;

/// Rows of the input, at least, that are worked on at once while the output is filled, unless there are fewer.
const FILL_ROWS: usize = 2 * CHUNK_ROWS;

/// A part of a plan that is recomputed by scope.
pub(crate) struct Rescope {
    query: KeptQuery,
    input: RecomputeInput,
    /// The columns of the input that are the scope.
    scope: Vec<usize>,
    /// Of the scope's columns.
    codec: RowCodec,
    /// The last result, by the same columns.
    output: Arc<dyn Arrangement>,
    schema: SchemaRef,
    errors: ErrorLog,
}

/// What came of scopes: rows, and the scopes that failed.
struct Computed {
    rows: Batch,
    failed: Vec<(Vec<u8>, Error)>,
}

/// Input rows on their way to be executed: whole scopes, and those of the last scope seen, which may go on.
#[derive(Default)]
struct Filling {
    whole: Vec<RecordBatch>,
    last: Vec<RecordBatch>,
    last_key: Vec<u8>,
}

impl Rescope {
    /// `query` scans `input`, whose arrangement is by its columns `scope`, and gives rows with `schema`; `output` is by
    /// the columns of the output that are the scope. The plan does not ask for the time.
    pub(crate) fn new(
        query: KeptQuery,
        input: RecomputeInput,
        scope: Vec<usize>,
        output: Arc<dyn Arrangement>,
        schema: SchemaRef,
        errors: ErrorLog,
    ) -> Result<Self> {
        let paths: Vec<ColumnPath> = scope.iter().copied().map(ColumnPath::from).collect();
        Ok(Self {
            codec: RowCodec::for_paths(&input.schema, &paths)?,
            query,
            input,
            scope,
            output,
            schema,
            errors,
        })
    }

    /// What it reads.
    pub(crate) fn input(&self) -> &RecomputeInput {
        &self.input
    }

    /// The scopes of `rows`, each once, in order. A float that is zero stands for both zeros, which a GROUP BY takes
    /// for one.
    fn scopes_of(&self, rows: &RecordBatch) -> Result<Rows> {
        let mut variants = vec![rows.clone()];
        for column in &self.scope {
            let more = variants.iter().map(|rows| with_other_zero(rows, *column));
            let more: Vec<RecordBatch> = more.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
            variants.extend(more);
        }
        let mut found = std::collections::BTreeSet::new();
        for rows in &variants {
            found.extend(self.codec.encode(rows)?.iter().map(<[u8]>::to_vec));
        }
        let mut scopes = Rows::default();
        found.iter().for_each(|scope| scopes.push(scope));
        Ok(scopes)
    }

    /// Executes the plan over `rows`, which are whole scopes in order: over all of them at once, or, if that fails, over
    /// those that do not fail alone. Scopes with a float are not told apart, since there are two zeros.
    fn compute(&self, rows: Vec<RecordBatch>) -> Result<Computed> {
        match self.execute(rows.clone()) {
            Err(error) if is_of_a_row(&error) && !self.has_floats() => {
                self.compute_apart(&concat_batches(&self.input.schema, &rows)?)
            }
            computed => Ok(Computed {
                rows: computed?,
                failed: Vec::new(),
            }),
        }
    }

    fn compute_apart(&self, rows: &RecordBatch) -> Result<Computed> {
        let scopes = self.codec.encode(rows)?;
        let is_first = |row: &usize| *row == 0 || scopes.row(*row) != scopes.row(*row - 1);
        let mut starts: Vec<usize> = (0..rows.num_rows()).filter(is_first).collect();
        let count = starts.len();
        starts.push(rows.num_rows());
        let (mut parts, mut failed) = (Vec::new(), Vec::new());
        let mut attempt = |places: Range<usize>| {
            let (start, end) = (starts[places.start], starts[places.end]);
            parts.push(self.execute(vec![rows.slice(start, end - start)])?);
            Ok(())
        };
        let mut fail = |place: usize, error: &Error| {
            failed.push((scopes.row(starts[place]).to_vec(), error.clone()));
        };
        search(0..count, &mut attempt, &mut fail)?;
        Ok(Computed {
            rows: Batch::concat(&self.schema, &parts)?,
            failed,
        })
    }

    fn execute(&self, rows: Vec<RecordBatch>) -> Result<Batch> {
        if rows.iter().all(|rows| rows.num_rows() == 0) {
            return Ok(Batch::empty(self.schema.clone()));
        }
        let tables = BTreeMap::from([(self.input.scan, rows)]);
        self.query.run(&tables, Timestamp::default(), &self.schema)
    }

    /// Executes the plan over `rows`, which are whole scopes, stores the result and hands it over.
    fn fill(&self, rows: Vec<RecordBatch>, txn: &mut Txn, output: &mut Emit<'_>) -> Result<()> {
        let Computed { rows, failed } = self.compute(rows)?;
        let failed = failed
            .iter()
            .map(|(scope, error)| (scope.as_slice(), Some(error)));
        self.errors.stage_parts(failed, txn)?;
        let result = rows.consolidate()?;
        for start in (0..result.len()).step_by(CHUNK_ROWS) {
            let places: Vec<u32> = (start as u32..(start + CHUNK_ROWS).min(result.len()) as u32).collect();
            let chunk = result.take(&places)?;
            self.output.stage(txn, &chunk)?;
            output(txn, chunk)?;
        }
        Ok(())
    }

    /// How many rows are executed at once: scopes with a float may lie apart, since there are two zeros.
    fn fill_rows(&self) -> usize {
        match self.has_floats() {
            true => usize::MAX,
            false => FILL_ROWS,
        }
    }

    fn has_floats(&self) -> bool {
        let mut fields = self.codec.schema().fields().iter();
        fields.any(|field| field.data_type().is_floating())
    }
}

impl Filling {
    /// Adds rows that are in the order of their scopes.
    fn add(&mut self, rows: RecordBatch, scopes: &Rows) {
        let Some(end) = scopes.len().checked_sub(1) else {
            return;
        };
        let last = scopes.row(end);
        let start = (0..end)
            .rev()
            .take_while(|row| scopes.row(*row) == last)
            .last()
            .unwrap_or(end);
        if start > 0 || self.last_key != last {
            self.whole.append(&mut self.last);
            self.whole.push(rows.slice(0, start));
        }
        self.last.push(rows.slice(start, rows.num_rows() - start));
        self.last_key = last.to_vec();
    }

    /// Whole scopes, if they have at least `count` rows.
    fn take(&mut self, count: usize) -> Option<Vec<RecordBatch>> {
        let held: usize = self.whole.iter().map(RecordBatch::num_rows).sum();
        (held >= count).then(|| std::mem::take(&mut self.whole))
    }
}

impl Operator for Rescope {
    fn step(&self, inputs: &[Option<&Batch>], txn: &mut Txn) -> Result<Option<Batch>> {
        let mut touched = Vec::new();
        for change in inputs.iter().flatten() {
            touched.push(self.input.shaped(change)?);
        }
        let change = Batch::concat(&self.input.schema, &touched)?;
        if self.input.own {
            self.input.arrangement.stage(txn, &change)?;
        }
        let scopes = self.scopes_of(change.rows())?;
        let rows = self.input.arrangement.lookup(&txn.now(), &scopes)?.batch;
        let old = self.output.lookup(&txn.before(), &scopes)?.batch;
        let new = self.compute(vec![repeated(rows)?])?;
        let failure = |scope: &[u8]| new.failed.iter().find(|(failed, _)| failed == scope);
        let failures = scopes
            .iter()
            .map(|scope| (scope, failure(scope).map(|(_, error)| error)));
        self.errors.stage_parts(failures, txn)?;
        let change = Batch::concat(&self.schema, &[new.rows, old.negate()])?.consolidate()?;
        self.output.stage(txn, &change)?;
        Ok((!change.is_empty()).then_some(change))
    }

    fn hydrate(&self, inputs: &[&Collect<'_>], txn: &mut Txn, output: &mut Emit<'_>) -> Result<()> {
        for collect in inputs.iter().filter(|_| self.input.own) {
            collect(txn, &mut |txn, batch| {
                self.input.arrangement.stage(txn, &self.input.shaped(&batch)?)?;
                txn.seal();
                Ok(())
            })?;
        }
        let (mut filling, fill_rows) = (Filling::default(), self.fill_rows());
        let before = txn.before();
        self.input
            .arrangement
            .scan(&before, &[], CHUNK_ROWS, &mut |batch| {
                let rows = repeated(batch)?;
                let scopes = self.codec.encode(&rows)?;
                filling.add(rows, &scopes);
                if let Some(whole) = filling.take(fill_rows) {
                    self.fill(whole, txn, output)?;
                }
                Ok(ControlFlow::Continue(()))
            })?;
        filling.whole.append(&mut filling.last);
        self.fill(filling.whole, txn, output)
    }
}

/// The rows with 0.0 or −0.0 in `column`, with the other one.
fn with_other_zero(rows: &RecordBatch, column: usize) -> Result<Option<RecordBatch>> {
    let values = rows.column(column);
    let is_zero: BooleanArray = match values.data_type() {
        DataType::Float32 => values
            .as_primitive::<Float32Type>()
            .iter()
            .map(|v| Some(v == Some(0.0)))
            .collect(),
        DataType::Float64 => values
            .as_primitive::<Float64Type>()
            .iter()
            .map(|v| Some(v == Some(0.0)))
            .collect(),
        _ => return Ok(None),
    };
    let zeros = filter_record_batch(rows, &is_zero)?;
    let mut columns: Vec<ArrayRef> = zeros.columns().to_vec();
    columns[column] = neg(&columns[column])?;
    Ok(Some(RecordBatch::try_new(zeros.schema(), columns)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;

    fn add(filling: &mut Filling, scopes: &[i64]) {
        let column: ArrayRef = Arc::new(Int64Array::from(scopes.to_vec()));
        let rows = RecordBatch::try_from_iter([("k", column)]).unwrap();
        let encoded = RowCodec::for_schema(&rows.schema())
            .unwrap()
            .encode(&rows)
            .unwrap();
        filling.add(rows, &encoded);
    }

    fn scopes(batches: &[RecordBatch]) -> Vec<i64> {
        let values = |rows: &RecordBatch| {
            rows.column(0)
                .as_primitive::<arrow::datatypes::Int64Type>()
                .values()
                .to_vec()
        };
        batches.iter().flat_map(values).collect()
    }

    #[test]
    fn a_scope_is_never_cut() {
        let mut filling = Filling::default();
        add(&mut filling, &[1, 1, 2]);
        assert_eq!(scopes(&filling.take(1).unwrap()), [1, 1]);
        add(&mut filling, &[2, 2]);
        assert!(filling.take(1).is_none());
        add(&mut filling, &[2, 3, 3]);
        assert_eq!(scopes(&filling.take(1).unwrap()), [2, 2, 2, 2]);
        add(&mut filling, &[4]);
        assert_eq!(scopes(&filling.whole), [3, 3]);
        assert_eq!(scopes(&filling.last), [4]);
    }

    #[test]
    fn a_zero_stands_for_both() {
        let column: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![
            Some(0.0),
            None,
            Some(1.0),
            Some(-0.0),
        ]));
        let rows = RecordBatch::try_from_iter([("f", column)]).unwrap();
        let other = with_other_zero(&rows, 0).unwrap().unwrap();
        let bits: Vec<u64> = other
            .column(0)
            .as_primitive::<Float64Type>()
            .values()
            .iter()
            .map(|v| v.to_bits())
            .collect();
        assert_eq!(bits, [(-0.0f64).to_bits(), 0]);
    }
}
