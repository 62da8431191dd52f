//! Inner equi-join of two collections: ΔA⋈B + A⋈ΔB + ΔA⋈ΔB, where A and B are the collections before the step. A side
//! that is a relation is read from the relation's own arrangement, which others keep; any other side is kept here.

use super::filter_project::shaped;
use super::{CHUNK_ROWS, Collect, Emit, Operator};
use arrow::array::{Array, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use hashbrown::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use viewfeed_change::row::{RowCodec, Rows};
use viewfeed_change::{Batch, ColumnPath, Error, Result};
use viewfeed_store::arrange::Arrangement;
use viewfeed_store::{Reader, Txn};

/// A side of a join.
pub(crate) struct Side {
    arrangement: Arc<dyn Arrangement>,
    /// Whether the join writes the arrangement.
    own: bool,
    key: Vec<usize>,
    codec: RowCodec,
    schema: SchemaRef,
}

impl Side {
    /// Rows with `schema`, joined by the columns `key`. `arrangement` is by that key (by anything, if `key` is empty).
    pub(crate) fn new(
        schema: &SchemaRef,
        key: &[usize],
        arrangement: Arc<dyn Arrangement>,
        own: bool,
    ) -> Result<Self> {
        let paths: Vec<ColumnPath> = key.iter().copied().map(ColumnPath::from).collect();
        Ok(Self {
            arrangement,
            own,
            key: key.to_vec(),
            codec: RowCodec::for_paths(schema, &paths)?,
            schema: schema.clone(),
        })
    }
}

/// Two sides joined. Rows are the left columns, then the right ones.
pub(crate) struct Join {
    sides: [Side; 2],
    null_equal: bool,
    output: SchemaRef,
}

/// A batch of one side that looks for partners: its rows that can have any, and their encoded keys.
struct Probe {
    batch: Batch,
    keys: Rows,
}

impl Join {
    /// With the output's columns; `null_equal`: NULL joins NULL.
    pub(crate) fn new(left: Side, right: Side, null_equal: bool, output: SchemaRef) -> Self {
        Self {
            sides: [left, right],
            null_equal,
            output,
        }
    }

    /// The rows of `batch`, of side `side`, that can have partners.
    fn probe(&self, side: usize, batch: &Batch) -> Result<Probe> {
        let Side { key, codec, .. } = &self.sides[side];
        let columns = key.iter().map(|column| batch.rows().column(*column));
        let nullable: Vec<_> = columns.filter(|column| column.null_count() > 0).collect();
        let batch = if self.null_equal || nullable.is_empty() {
            batch.clone()
        } else {
            let has_key = |row: &u32| nullable.iter().all(|column| column.is_valid(*row as usize));
            let rows: Vec<u32> = (0..batch.len() as u32).filter(has_key).collect();
            batch.take(&rows)?
        };
        let keys = match key.is_empty() {
            true => Rows::default(),
            false => codec.encode(batch.rows())?,
        };
        Ok(Probe { batch, keys })
    }

    /// What the rows of a probe of `side` make with the rows of the other side as of `reader`.
    fn with_arranged(
        &self,
        side: usize,
        probe: &Probe,
        reader: &Reader,
        output: &mut dyn FnMut(Batch) -> Result<()>,
    ) -> Result<()> {
        let other = &self.sides[1 - side].arrangement;
        if probe.batch.is_empty() {
            return Ok(());
        }
        if self.sides[side].key.is_empty() {
            return other.scan(reader, &[], CHUNK_ROWS, &mut |rows| {
                output(self.every_pair(side, &probe.batch, &rows)?)?;
                Ok(ControlFlow::Continue(()))
            });
        }
        let found = other.lookup(reader, &probe.keys)?;
        if found.batch.is_empty() {
            return Ok(());
        }
        let all: Vec<u32> = (0..found.batch.len() as u32).collect();
        output(self.pairs(side, (&probe.batch, &found.probe), (&found.batch, &all))?)
    }

    /// What the rows of two probes make with each other.
    fn with_each_other(&self, left: &Probe, right: &Probe) -> Result<Option<Batch>> {
        if left.batch.is_empty() || right.batch.is_empty() {
            return Ok(None);
        }
        if self.sides[0].key.is_empty() {
            return self.every_pair(0, &left.batch, &right.batch).map(Some);
        }
        let mut rows_by_key: HashMap<&[u8], Vec<u32>> = HashMap::with_capacity(right.keys.len());
        for (row, key) in right.keys.iter().enumerate() {
            rows_by_key.entry(key).or_default().push(row as u32);
        }
        let (mut left_rows, mut right_rows) = (Vec::new(), Vec::new());
        for (row, key) in left.keys.iter().enumerate() {
            for partner in rows_by_key.get(key).into_iter().flatten() {
                left_rows.push(row as u32);
                right_rows.push(*partner);
            }
        }
        if left_rows.is_empty() {
            return Ok(None);
        }
        self.pairs(0, (&left.batch, &left_rows), (&right.batch, &right_rows))
            .map(Some)
    }

    /// Every row of `mine`, of `side`, with every row of `theirs`.
    fn every_pair(&self, side: usize, mine: &Batch, theirs: &Batch) -> Result<Batch> {
        let (count, other_count) = (mine.len() as u32, theirs.len() as u32);
        let my_rows: Vec<u32> = (0..count)
            .flat_map(|row| (0..other_count).map(move |_| row))
            .collect();
        let their_rows: Vec<u32> = (0..count).flat_map(|_| 0..other_count).collect();
        self.pairs(side, (mine, &my_rows), (theirs, &their_rows))
    }

    /// One output row per place of the two lists of rows: `mine` is of `side`, `theirs` of the other.
    fn pairs(&self, side: usize, mine: (&Batch, &[u32]), theirs: (&Batch, &[u32])) -> Result<Batch> {
        let mut columns = Vec::with_capacity(self.output.fields().len());
        let (left, right) = match side {
            0 => (mine, theirs),
            _ => (theirs, mine),
        };
        for (batch, rows) in [left, right] {
            let rows = UInt32Array::from(rows.to_vec());
            for column in batch.rows().columns() {
                columns.push(take(column, &rows, None)?);
            }
        }
        let weights = left.1.iter().zip(right.1);
        let weights = weights.map(|(l, r)| left.0.weights()[*l as usize] * right.0.weights()[*r as usize]);
        Batch::new(
            RecordBatch::try_new(self.output.clone(), columns)?,
            weights.collect(),
        )
    }

    fn stage(&self, side: usize, batch: &Batch, txn: &mut Txn) -> Result<()> {
        let side = &self.sides[side];
        if !side.own {
            return Ok(());
        }
        let rows = shaped(batch.rows(), &side.schema)?;
        side.arrangement
            .stage(txn, &Batch::new(rows, batch.weights().to_vec())?)
    }
}

impl Operator for Join {
    fn step(&self, inputs: &[Option<&Batch>], txn: &mut Txn) -> Result<Option<Batch>> {
        let mut made = Vec::new();
        let mut probes = [None, None];
        let before = txn.before();
        for (side, input) in inputs.iter().enumerate() {
            if let Some(batch) = input {
                let probe = self.probe(side, batch)?;
                self.with_arranged(side, &probe, &before, &mut |batch| {
                    made.push(batch);
                    Ok(())
                })?;
                probes[side] = Some(probe);
            }
        }
        drop(before);
        if let [Some(left), Some(right)] = &probes {
            made.extend(self.with_each_other(left, right)?);
        }
        for (side, input) in inputs.iter().enumerate() {
            if let Some(batch) = input {
                self.stage(side, batch, txn)?;
            }
        }
        match made.len() {
            0 | 1 => Ok(made.pop()),
            _ => Batch::concat(&self.output, &made).map(Some),
        }
    }

    fn hydrate(&self, inputs: &[&Collect<'_>], txn: &mut Txn, output: &mut Emit<'_>) -> Result<()> {
        let [left, right] = inputs else {
            return Err(Error::internal("a join has two inputs"));
        };
        if self.sides[1].own {
            right(txn, &mut |txn, batch| {
                self.stage(1, &batch, txn)?;
                txn.seal();
                Ok(())
            })?;
        }
        left(txn, &mut |txn, batch| {
            self.stage(0, &batch, txn)?;
            txn.seal();
            let mut made = Vec::new();
            self.with_arranged(0, &self.probe(0, &batch)?, &txn.before(), &mut |batch| {
                made.push(batch);
                Ok(())
            })?;
            made.into_iter().try_for_each(|batch| output(txn, batch))
        })
    }
}
