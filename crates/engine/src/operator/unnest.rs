//! UNNEST of list columns: every row once per element, the elements in place of the list. Several lists go side by side,
//! shorter ones filled up with NULL. No state, O(Δ · elements).

use super::{Collect, Emit, Operator};
use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use viewfeed_change::row::conform;
use viewfeed_change::{Batch, Error, Result};
use viewfeed_store::Txn;

/// What becomes of the columns.
#[derive(Clone, Debug)]
pub(crate) struct UnnestSpec {
    /// By column of the output: the input's column it comes from.
    pub(crate) columns: Vec<usize>,
    /// The columns of the input that are lists to be unnested.
    pub(crate) lists: Vec<usize>,
    /// How many rows a NULL makes that stands for a list: 0, or 1 with NULL.
    pub(crate) rows_of_null: usize,
    /// The same for a list without elements.
    pub(crate) rows_of_empty: usize,
}

/// Puts elements in place of lists.
pub(crate) struct Unnest {
    spec: UnnestSpec,
    schema: SchemaRef,
}

impl Unnest {
    /// `schema` has the output's columns.
    pub(crate) fn new(spec: UnnestSpec, schema: SchemaRef) -> Self {
        Self { spec, schema }
    }

    fn apply(&self, batch: &Batch) -> Result<Batch> {
        let columns = batch.rows().columns();
        let list = |column: &usize| {
            let list = columns.get(*column).and_then(|column| column.as_list_opt());
            list.ok_or_else(|| Error::internal("UNNEST of what is no list"))
        };
        let lists: Vec<&ListArray> = self.spec.lists.iter().map(list).collect::<Result<_>>()?;
        let counts: Vec<usize> = (0..batch.len()).map(|row| self.rows_of(&lists, row)).collect();
        let rows = counts.iter().zip(0_u32..);
        let rows: UInt32Array = rows
            .flat_map(|(count, row)| std::iter::repeat_n(row, *count))
            .collect();
        let mut unnested = Vec::with_capacity(self.spec.columns.len());
        for column in &self.spec.columns {
            let place = self.spec.lists.iter().position(|list| list == column);
            unnested.push(match place {
                Some(place) => elements(lists[place], &counts)?,
                None => take(&columns[*column], &rows, None)?,
            });
        }
        let weights = rows.values().iter().map(|row| batch.weights()[*row as usize]);
        let weights = weights.collect();
        let names = self.schema.fields().iter().map(|field| field.name().as_str());
        let unnested = names.zip(unnested).map(|(name, column)| (name, column, true));
        let rows = RecordBatch::try_from_iter_with_nullable(unnested)?;
        Batch::new(conform(&rows, &self.schema)?, weights)
    }

    /// As many as the longest of the lists has elements.
    fn rows_of(&self, lists: &[&ListArray], row: usize) -> usize {
        let rows = lists.iter().map(|list| match list.is_null(row) {
            true => self.spec.rows_of_null,
            false => match list.value_length(row) as usize {
                0 => self.spec.rows_of_empty,
                count => count,
            },
        });
        rows.max().unwrap_or(0)
    }
}

/// The elements of each list, filled up with NULL to as many as `counts` says.
fn elements(lists: &ListArray, counts: &[usize]) -> Result<ArrayRef> {
    let mut places: Vec<Option<u64>> = Vec::new();
    for (row, count) in counts.iter().enumerate() {
        let (start, length) = match lists.is_null(row) {
            true => (0, 0),
            false => (
                lists.value_offsets()[row] as u64,
                lists.value_length(row) as usize,
            ),
        };
        places.extend((0..*count).map(|i| (i < length).then_some(start + i as u64)));
    }
    Ok(take(lists.values(), &UInt64Array::from(places), None)?)
}

impl Operator for Unnest {
    fn step(&self, inputs: &[Option<&Batch>], _txn: &mut Txn) -> Result<Option<Batch>> {
        match inputs {
            [Some(batch)] => self.apply(batch).map(Some),
            _ => Ok(None),
        }
    }

    fn hydrate(&self, inputs: &[&Collect<'_>], txn: &mut Txn, output: &mut Emit<'_>) -> Result<()> {
        let [input] = inputs else {
            return Err(Error::internal("UNNEST has one input"));
        };
        input(txn, &mut |txn, batch| output(txn, self.apply(&batch)?))
    }
}
