//! An inequality between a column of each side, as the order to look for partners in: both sides are arranged by that
//! column, and a row's partners are all on one side of its value. What is found besides (equal values where the inequality
//! is strict, further conditions) the residual takes away. (The range join of the literature, one bound.)

use super::super::CHUNK_ROWS;
use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use std::ops::ControlFlow;
use viewfeed_change::row::{self, RowCodec, Rows};
use viewfeed_change::{Batch, ColumnPath, Result};
use viewfeed_store::Reader;
use viewfeed_store::arrange::Arrangement;

/// Pairs have the value of a left column at most (at least) at that of a right one.
pub(crate) struct Band {
    columns: [usize; 2],
    codecs: [RowCodec; 2],
    left_is_less: bool,
}

/// Rows that look for partners, by their value in ascending order; those without one have no partner.
struct Ordered {
    batch: Batch,
    values: Rows,
}

/// What is called with the rows that look for partners and the rows that may be those.
pub(super) type EachMeeting<'a> = dyn FnMut(&Batch, &Batch) -> Result<()> + 'a;

impl Band {
    /// `columns` of rows with `schemas`, both of one type, whose encoding orders values as the inequality does.
    pub(crate) fn new(schemas: [&SchemaRef; 2], columns: [usize; 2], left_is_less: bool) -> Result<Self> {
        let codec = |side: usize| RowCodec::for_paths(schemas[side], &[ColumnPath::from(columns[side])]);
        Ok(Self {
            columns,
            codecs: [codec(0)?, codec(1)?],
            left_is_less,
        })
    }

    /// Hands over the rows of `batch`, of `side`, with the rows of `other` they may be paired with. Reads `other` once,
    /// from the lowest value that any row asks for or up to the highest one.
    pub(super) fn meetings(
        &self,
        side: usize,
        batch: &Batch,
        (other, reader): (&dyn Arrangement, &Reader),
        each: &mut EachMeeting<'_>,
    ) -> Result<()> {
        let mine = self.ordered(side, batch)?;
        let count = mine.batch.len();
        if count == 0 {
            return Ok(());
        }
        let wants_more = self.left_is_less == (side == 0);
        let (from, last) = match wants_more {
            true => (mine.values.row(0), None),
            false => (AFTER_NULL, Some(mine.values.row(count - 1))),
        };
        other.scan_range(reader, from, last, CHUNK_ROWS, &mut |theirs| {
            let (lowest, highest) = self.ends(1 - side, theirs.rows())?;
            let rows: Vec<u32> = match wants_more {
                true => (0..mine.up_to(&highest)).collect(),
                false => (mine.before(&lowest)..count as u32).collect(),
            };
            each(&mine.batch.take(&rows)?, &theirs)?;
            Ok(ControlFlow::Continue(()))
        })
    }

    fn ordered(&self, side: usize, batch: &Batch) -> Result<Ordered> {
        let column = batch.rows().column(self.columns[side]);
        let encoded = self.codecs[side].encode(batch.rows())?;
        let mut order = row::sorted(&encoded);
        order.retain(|row| column.is_valid(*row as usize));
        let mut values = Rows::default();
        order
            .iter()
            .for_each(|row| values.push(encoded.row(*row as usize)));
        let batch = batch.take(&order)?;
        Ok(Ordered { batch, values })
    }

    /// The encoded values of the first and the last row.
    fn ends(&self, side: usize, rows: &RecordBatch) -> Result<(Vec<u8>, Vec<u8>)> {
        let codec = &self.codecs[side];
        let value = |row: usize| codec.encode(&rows.slice(row, 1));
        let (first, last) = (value(0)?, value(rows.num_rows() - 1)?);
        Ok((first.row(0).to_vec(), last.row(0).to_vec()))
    }
}

/// What the encoding of every value but NULL starts with.
const AFTER_NULL: &[u8] = &[1];

impl Ordered {
    /// How many rows have at most this value.
    fn up_to(&self, value: &[u8]) -> u32 {
        self.count_while(|mine| mine <= value)
    }

    /// How many rows have a lower value.
    fn before(&self, value: &[u8]) -> u32 {
        self.count_while(|mine| mine < value)
    }

    fn count_while(&self, is_before: impl Fn(&[u8]) -> bool) -> u32 {
        let (mut low, mut high) = (0, self.values.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match is_before(self.values.row(middle)) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low as u32
    }
}
