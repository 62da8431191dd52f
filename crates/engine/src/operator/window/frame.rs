//! The results of functions that look at the rows around a row, over a sequence of rows. One pass with two ends: each row
//! comes into the frame and leaves it once.

use super::cell::{Cells, is_null, value_of};
use super::{Extreme, Frame, NearCall, Nulls};
use crate::operator::aggregate::{Addends, Sum, Value};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use std::collections::VecDeque;
use std::ops::Range;
use viewfeed_change::Result;
use viewfeed_change::row::Rows;

/// A call made ready to run.
pub(super) enum NearFunction {
    Shift(Cells, i64, Vec<u8>),
    Nth(Cells, i64, Nulls, Frame),
    Extreme(Cells, Extreme, Frame),
    Sum(Sum, Frame),
}

/// What a call reads of rows.
pub(super) enum Arguments {
    Values(Rows),
    Addends(Addends),
}

/// Rows one after another: which of a batch stands at each place.
pub(super) struct Sequence<'a> {
    pub(super) rows: &'a [u32],
    /// The places results are wanted of.
    pub(super) wanted: Range<usize>,
}

impl NearFunction {
    pub(super) fn new(call: &NearCall, schema: &SchemaRef) -> Result<Self> {
        Ok(match call {
            NearCall::Shift(column, by, default) => {
                let cells = Cells::new(schema, *column)?;
                let default = cells.encode_one(default)?;
                Self::Shift(cells, *by, default)
            }
            NearCall::Nth(column, n, nulls, frame) => {
                Self::Nth(Cells::new(schema, *column)?, *n, *nulls, *frame)
            }
            NearCall::Extreme(column, extreme, frame) => {
                Self::Extreme(Cells::new(schema, *column)?, *extreme, *frame)
            }
            NearCall::Sum(call, frame) => Self::Sum(call.ready(schema)?, *frame),
        })
    }

    /// From how many places before a row to how many after it its result comes.
    pub(super) fn reach(&self) -> (u64, u64) {
        let (start, end) = match self {
            Self::Shift(_, by, _) => (*by, *by),
            Self::Nth(.., frame) | Self::Extreme(.., frame) | Self::Sum(_, frame) => (frame.start, frame.end),
        };
        (start.min(0).unsigned_abs(), end.max(0).unsigned_abs())
    }

    pub(super) fn arguments(&self, rows: &RecordBatch) -> Result<Arguments> {
        match self {
            Self::Shift(cells, ..) | Self::Nth(cells, ..) | Self::Extreme(cells, ..) => {
                cells.encode(rows).map(Arguments::Values)
            }
            Self::Sum(sum, _) => sum.addends(rows).map(Arguments::Addends),
        }
    }

    /// A column of results.
    pub(super) fn column(&self, values: &[&Value]) -> Result<ArrayRef> {
        match self {
            Self::Shift(cells, ..) | Self::Nth(cells, ..) | Self::Extreme(cells, ..) => cells.column(values),
            Self::Sum(sum, _) => sum.column(values),
        }
    }

    /// The result at each place wanted.
    pub(super) fn results(&self, arguments: &Arguments, sequence: &Sequence<'_>) -> Result<Vec<Value>> {
        Ok(match (self, arguments) {
            (Self::Shift(_, by, default), Arguments::Values(values)) => {
                sequence.shifted(values, *by, default)
            }
            (Self::Nth(_, n, nulls, frame), Arguments::Values(values)) => {
                sequence.nth(values, *n, *nulls, *frame)
            }
            (Self::Extreme(_, extreme, frame), Arguments::Values(values)) => {
                sequence.extremes(values, *extreme, *frame)
            }
            (Self::Sum(sum, frame), Arguments::Addends(addends)) => sequence.sums(sum, addends, *frame)?,
            _ => unreachable!("a function reads its own arguments"),
        })
    }
}

impl Sequence<'_> {
    fn frames(&self, frame: Frame) -> impl Iterator<Item = Range<usize>> {
        let count = self.rows.len();
        self.wanted.clone().map(move |place| frame.around(place, count))
    }

    fn shifted(&self, values: &Rows, by: i64, default: &[u8]) -> Vec<Value> {
        let value = |place: usize| {
            let at = i64::try_from(place).unwrap_or(i64::MAX).saturating_add(by);
            let row = usize::try_from(at).ok().and_then(|at| self.rows.get(at));
            value_of(Some(row.map_or(default, |row| values.row(*row as usize))))
        };
        self.wanted.clone().map(value).collect()
    }

    fn nth(&self, values: &Rows, n: i64, nulls: Nulls, frame: Frame) -> Vec<Value> {
        let place = usize::try_from(n.unsigned_abs())
            .unwrap_or(usize::MAX)
            .saturating_sub(1);
        let of = |frame: Range<usize>| {
            let all = frame.map(|place| values.row(self.rows[place] as usize));
            let mut counted = all.filter(|value| nulls == Nulls::Respected || !is_null(value));
            value_of(match n {
                0.. => counted.nth(place),
                ..0 => counted.nth_back(place),
            })
        };
        self.frames(frame).map(of).collect()
    }

    /// The places in the frame that may still become the result are kept, the best one first.
    fn extremes(&self, values: &Rows, extreme: Extreme, frame: Frame) -> Vec<Value> {
        let value = |place: usize| values.row(self.rows[place] as usize);
        let mut best: VecDeque<usize> = VecDeque::new();
        let (mut results, mut entered) = (Vec::with_capacity(self.wanted.len()), 0);
        for frame in self.frames(frame) {
            for place in entered.max(frame.start)..frame.end {
                let is_worse = |kept: &usize| !is_before(value(*kept), value(place), extreme);
                while best.back().is_some_and(is_worse) {
                    best.pop_back();
                }
                if !is_null(value(place)) {
                    best.push_back(place);
                }
            }
            entered = entered.max(frame.end);
            while best.front().is_some_and(|place| *place < frame.start) {
                best.pop_front();
            }
            results.push(value_of(best.front().map(|place| value(*place))));
        }
        results
    }

    fn sums(&self, sum: &Sum, addends: &Addends, frame: Frame) -> Result<Vec<Value>> {
        let add = addends.adder()?;
        let (mut state, mut held) = (sum.empty(), 0..0);
        let mut results = Vec::with_capacity(self.wanted.len());
        for frame in self.frames(frame) {
            if held.end < frame.start {
                (state, held) = (sum.empty(), frame.start..frame.start);
            }
            (held.end..frame.end).for_each(|place| add(&mut state, self.rows[place] as usize, 1));
            (held.start..frame.start).for_each(|place| add(&mut state, self.rows[place] as usize, -1));
            held = frame;
            results.push(sum.value(&state)?);
        }
        Ok(results)
    }
}

/// Whether `left` is kept although `right` came after it.
fn is_before(left: &[u8], right: &[u8], extreme: Extreme) -> bool {
    is_null(right)
        || match extreme {
            Extreme::Smallest => left < right,
            Extreme::Largest => left > right,
        }
}
