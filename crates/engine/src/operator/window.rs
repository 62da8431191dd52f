//! Window functions over an order that is kept: what a change means to the rows around it (`near`), or to those after
//! it (`running`). Both keep every row under its group, sort key and bytes; a row that is there three times takes
//! three places, each with a result of its own.
//!
//! Every other window is computed by its partitions, see [`super::rescope`].

mod cell;
mod entry;
mod fold;
mod frame;
mod near;
mod outcome;
mod running;

pub(crate) use near::Near;
pub(crate) use running::Running;

use super::aggregate::{AggregateCall, AggregateFunction, Argument, Sum};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::physical_expr::expressions::Column;
use datafusion::scalar::ScalarValue;
use std::sync::Arc;
use viewfeed_change::Result;

/// What is computed over which order.
#[derive(Clone, Debug)]
pub(crate) struct WindowSpec {
    /// The columns of a partition; none for one partition of all rows. 0.0 and −0.0 are two.
    pub(crate) partition: Vec<usize>,
    /// The columns rows are ordered by within it, and how.
    pub(crate) order: Vec<(usize, SortOptions)>,
    /// The results.
    pub(crate) calls: WindowCalls,
    /// The output's columns: the input's, then one per call, of plain types.
    pub(crate) output_schema: SchemaRef,
}

/// Calls of one kind, with the columns of the input they are about.
#[derive(Clone, Debug)]
pub(crate) enum WindowCalls {
    /// Each looks so many places back and forth.
    Near(Vec<NearCall>),
    /// Each goes from the first row of the partition to the row, or to the last of its peers.
    Running(Vec<RunningCall>),
}

/// A function of the rows around a row.
#[derive(Clone, Debug)]
pub(crate) enum NearCall {
    /// `lag` (less than 0) and `lead`: the value of a column so many places on, or else the default.
    Shift(usize, i64, ScalarValue),
    /// The value of a column at a place of the frame, counted from 1, or from −1 at its end.
    Nth(usize, i64, Nulls, Frame),
    /// The smallest or largest value of a column.
    Extreme(usize, Extreme, Frame),
    /// A sum.
    Sum(SumCall, Frame),
}

/// A function of a row and all before it.
#[derive(Clone, Debug)]
pub(crate) struct RunningCall {
    /// Which one.
    pub(crate) function: RunningFunction,
    /// Whether rows that are equal in the order count for each other.
    pub(crate) by_peers: bool,
}

/// What runs from the first row on.
#[derive(Clone, Debug)]
pub(crate) enum RunningFunction {
    /// `row_number()`.
    RowNumber,
    /// `rank()`: the number of the first of the peers.
    Rank,
    /// `dense_rank()`: how many different peers there were.
    DenseRank,
    /// The first value of a column.
    First(usize, Nulls),
    /// The last value of a column.
    Last(usize, Nulls),
    /// The smallest or largest value of a column.
    Extreme(usize, Extreme),
    /// A sum.
    Sum(SumCall),
}

/// Whether NULL is a value like others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nulls {
    /// It is.
    Respected,
    /// Rows with it are passed over.
    Ignored,
}

/// Which end of the order of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extreme {
    /// `min`.
    Smallest,
    /// `max`.
    Largest,
}

/// From so many places after the row (before it, if less than 0) to so many, both included; not before its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The first place.
    pub(crate) start: i64,
    /// The last one.
    pub(crate) end: i64,
}

/// An aggregate that is a sum.
#[derive(Clone, Debug)]
pub(crate) struct SumCall {
    /// Which one.
    pub(crate) function: AggregateFunction,
    /// Of which columns.
    pub(crate) arguments: Vec<usize>,
    /// The type of the result.
    pub(crate) output_type: DataType,
}

impl SumCall {
    /// As an aggregate over the columns of `schema`.
    pub(crate) fn over(&self, schema: &SchemaRef) -> AggregateCall {
        let argument = |column: &usize| Argument {
            value: Arc::new(Column::new(schema.field(*column).name(), *column)),
            data_type: schema.field(*column).data_type().clone(),
        };
        let arguments = self.arguments.iter().map(argument).collect();
        AggregateCall::new(self.function, arguments, self.output_type.clone())
    }

    fn ready(&self, schema: &SchemaRef) -> Result<Sum> {
        Sum::new(self.over(schema))
    }
}

impl Frame {
    /// The places of the frame of the row at `place` among `count`.
    fn around(self, place: usize, count: usize) -> std::ops::Range<usize> {
        let at = |offset: i64| match offset {
            ..0 => place.saturating_sub(usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX)),
            0.. => place.saturating_add(usize::try_from(offset).unwrap_or(usize::MAX)),
        };
        let before_the_first = self.end < 0 && self.end.unsigned_abs() > place as u64;
        let end = match before_the_first {
            true => 0,
            false => at(self.end).saturating_add(1).min(count),
        };
        at(self.start).min(end)..end
    }
}

#[cfg(test)]
mod tests {
    use super::Frame;

    #[test]
    fn a_frame_ends_where_the_rows_end() {
        let around = |start, end, place| Frame { start, end }.around(place, 5);
        assert_eq!(around(-1, 1, 0), 0..2);
        assert_eq!(around(-1, 1, 4), 3..5);
        assert_eq!(around(-3, -2, 1), 0..0);
        assert_eq!(around(-3, -2, 2), 0..1);
        assert_eq!(around(2, 3, 3), 5..5);
        assert_eq!(around(i64::MIN, i64::MAX, 3), 0..5);
    }
}
