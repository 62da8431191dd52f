//! The results of a stretch before and after a step, and the rows that differ.

use super::WindowSpec;
use crate::operator::aggregate::Value;
use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use std::cmp::Ordering;
use viewfeed_change::row::conform;
use viewfeed_change::{Batch, Result};

/// Results, place by place in order.
pub(super) struct Outcome {
    /// By place: which row of the stretch it is.
    pub(super) rows: Vec<u32>,
    /// By call, then by place.
    pub(super) values: Vec<Vec<Value>>,
}

/// The places that differ.
#[derive(Default)]
struct Different {
    rows: Vec<u32>,
    /// In the outcome before or after, and where.
    places: Vec<(usize, usize)>,
    weights: Vec<i64>,
}

impl Outcome {
    /// Of no place, for so many calls.
    pub(super) fn of(calls: usize) -> Self {
        Self {
            rows: Vec::new(),
            values: (0..calls).map(|_| Vec::new()).collect(),
        }
    }
}

/// What takes the outcome before to the one after: the rows of `rows` with their results by `column`, which makes a
/// column of the results of the call at a place. None if nothing differs.
pub(super) fn difference(
    rows: &RecordBatch,
    outcomes: [&Outcome; 2],
    spec: &WindowSpec,
    column: &dyn Fn(usize, &[&Value]) -> Result<ArrayRef>,
) -> Result<Option<Batch>> {
    let different = Different::between(outcomes);
    if different.weights.is_empty() {
        return Ok(None);
    }
    let rows = take_record_batch(rows, &UInt32Array::from(different.rows))?;
    let mut columns = rows.columns().to_vec();
    for call in 0..outcomes[0].values.len() {
        let of = |(side, place): &(usize, usize)| &outcomes[*side].values[call][*place];
        let values: Vec<&Value> = different.places.iter().map(of).collect();
        columns.push(column(call, &values)?);
    }
    let rows = with_types(columns, &spec.output_schema)?;
    Batch::new(rows, different.weights).map(Some)
}

impl Different {
    /// The places of a row are compared in turn: the first with the first.
    fn between([before, after]: [&Outcome; 2]) -> Self {
        let mut found = Self::default();
        let (mut old, mut new) = (0, 0);
        while old < before.rows.len() || new < after.rows.len() {
            let order = match (before.rows.get(old), after.rows.get(new)) {
                (Some(left), Some(right)) => left.cmp(right),
                (Some(_), None) => Ordering::Less,
                _ => Ordering::Greater,
            };
            let same = |call: usize| before.values[call][old].is_same(&after.values[call][new]);
            let is_same = order == Ordering::Equal && (0..before.values.len()).all(same);
            if order != Ordering::Greater {
                if !is_same {
                    found.push(before.rows[old], (0, old), -1);
                }
                old += 1;
            }
            if order != Ordering::Less {
                if !is_same {
                    found.push(after.rows[new], (1, new), 1);
                }
                new += 1;
            }
        }
        found
    }

    fn push(&mut self, row: u32, place: (usize, usize), weight: i64) {
        self.rows.push(row);
        self.places.push(place);
        self.weights.push(weight);
    }
}

fn with_types(columns: Vec<ArrayRef>, schema: &SchemaRef) -> Result<RecordBatch> {
    let names = schema.fields().iter().map(|field| field.name().as_str());
    let columns = names.zip(columns).map(|(name, column)| (name, column, true));
    let rows = RecordBatch::try_from_iter_with_nullable(columns)?;
    conform(&rows, schema)
}
