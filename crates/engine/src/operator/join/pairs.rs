//! Pairs of rows of two batches, as places: nothing is copied before it is known which pairs there are.

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use hashbrown::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use viewfeed_change::row::{Rows, conform};
use viewfeed_change::{Batch, Error, Result};

use crate::operator::evaluate::evaluate;
use crate::operator::isolate::{LeftOut, search};

/// The most pairs made at a time where every row meets every row.
const PAIRS_MAX: usize = 1 << 16;

/// Pairs: place `i` of both lists of rows.
pub(super) struct Pairs<'a> {
    /// The left and the right batch.
    pub(super) sides: [&'a Batch; 2],
    pub(super) rows: [Vec<u32>; 2],
}

/// A condition on pairs besides equal keys.
#[derive(Clone, Debug)]
pub(crate) struct Residual {
    /// The columns it reads, among those of the left side, then the right one.
    pub(crate) columns: Vec<usize>,
    /// The types it reads them in.
    pub(crate) types: SchemaRef,
    /// The condition over these columns.
    pub(crate) predicate: Arc<dyn PhysicalExpr>,
}

impl fmt::Display for Residual {
    /// The same for conditions that are the same; no column names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of", self.predicate)?;
        let columns = self.columns.iter().zip(self.types.fields());
        columns
            .into_iter()
            .try_for_each(|(column, field)| write!(f, " {column}:{}", field.data_type()))
    }
}

impl<'a> Pairs<'a> {
    /// Every row of the left batch with every row of the right one, part by part.
    pub(super) fn every(sides: [&'a Batch; 2], each: &mut dyn FnMut(Self) -> Result<()>) -> Result<()> {
        let [left, right] = sides.map(Batch::len);
        let width = right.clamp(1, PAIRS_MAX);
        let height = PAIRS_MAX / width;
        for top in (0..left).step_by(height) {
            for start in (0..right).step_by(width) {
                let rows = top as u32..(top + height).min(left) as u32;
                let partners = start as u32..(start + width).min(right) as u32;
                each(Self {
                    sides,
                    rows: product(&rows, &partners),
                })?;
            }
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows[0].is_empty()
    }

    /// How often each pair is there.
    pub(super) fn weights(&self) -> impl Iterator<Item = i64> {
        (0..self.rows[0].len()).map(|place| self.weight(place))
    }

    fn weight(&self, place: usize) -> i64 {
        let of = |side: usize| self.sides[side].weights()[self.rows[side][place] as usize];
        of(0) * of(1)
    }

    /// The pairs as rows: the left columns, then the right ones.
    pub(super) fn batch(&self, output: &SchemaRef) -> Result<Batch> {
        let width: usize = self.sides.iter().map(|side| side.rows().num_columns()).sum();
        self.chosen(&(0..width).collect::<Vec<_>>(), output)
    }

    /// Some columns of the pairs.
    pub(super) fn chosen(&self, places: &[usize], output: &SchemaRef) -> Result<Batch> {
        let columns = self.columns(places.iter().copied(), &(0..self.rows[0].len()))?;
        Batch::new(
            RecordBatch::try_new(output.clone(), columns)?,
            self.weights().collect(),
        )
    }

    /// Only the pairs for which the condition is true; those on which it fails are left out.
    pub(super) fn filter(self, residual: &Residual, left_out: &mut LeftOut) -> Result<Self> {
        let mut passing = [Vec::new(), Vec::new()];
        let mut attempt = |places: Range<usize>| {
            let answer = self.answer(residual, &places)?;
            for place in places.clone().filter(|place| {
                let place = place - places.start;
                answer.is_valid(place) && answer.value(place)
            }) {
                passing[0].push(self.rows[0][place]);
                passing[1].push(self.rows[1][place]);
            }
            Ok(())
        };
        let mut fail = |place: usize, error: &Error| left_out.note(error, self.weight(place));
        search(0..self.rows[0].len(), &mut attempt, &mut fail)?;
        Ok(Self {
            rows: passing,
            ..self
        })
    }

    /// What the condition says of the pairs at `places`.
    fn answer(&self, residual: &Residual, places: &Range<usize>) -> Result<BooleanArray> {
        let columns = self.columns(residual.columns.iter().copied(), places)?;
        let untyped: Vec<_> = columns
            .iter()
            .zip(residual.types.fields())
            .map(|(column, field)| field.as_ref().clone().with_data_type(column.data_type().clone()))
            .collect();
        let schema = Arc::new(arrow::datatypes::Schema::new(untyped));
        let options = RecordBatchOptions::new().with_row_count(Some(places.len()));
        let rows = RecordBatch::try_new_with_options(schema, columns, &options)?;
        let answer = evaluate(&residual.predicate, &conform(&rows, &residual.types)?)?;
        let answer = answer.as_any().downcast_ref::<BooleanArray>().cloned();
        answer.ok_or_else(|| Error::internal("a join condition that is not true or false"))
    }

    /// These columns of the pairs at `places`.
    fn columns(&self, columns: impl Iterator<Item = usize>, places: &Range<usize>) -> Result<Vec<ArrayRef>> {
        let rows = self.rows.each_ref();
        let rows = rows.map(|rows| UInt32Array::from(rows[places.clone()].to_vec()));
        let width = self.sides[0].rows().num_columns();
        let column = |place: usize| {
            let (side, place) = if place < width {
                (0, place)
            } else {
                (1, place - width)
            };
            Ok(take(self.sides[side].rows().column(place), &rows[side], None)?)
        };
        columns.map(column).collect()
    }
}

fn product(rows: &Range<u32>, partners: &Range<u32>) -> [Vec<u32>; 2] {
    let left = rows.clone().flat_map(|row| partners.clone().map(move |_| row));
    let right = rows.clone().flat_map(|_| partners.clone());
    [left.collect(), right.collect()]
}

/// The places of equal keys: place `i` of both lists.
pub(super) fn meetings(left: &Rows, right: &Rows) -> [Vec<u32>; 2] {
    let mut places: HashMap<&[u8], Vec<u32>> = HashMap::with_capacity(right.len());
    for (row, key) in right.iter().enumerate() {
        places.entry(key).or_default().push(row as u32);
    }
    let mut rows = [Vec::new(), Vec::new()];
    for (row, key) in left.iter().enumerate() {
        for partner in places.get(key).into_iter().flatten() {
            rows[0].push(row as u32);
            rows[1].push(*partner);
        }
    }
    rows
}
