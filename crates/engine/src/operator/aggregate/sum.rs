//! Aggregates that are sums, one row at a time: what a window adds up as it goes over its rows.

use super::accumulator::Accumulator;
use super::argument::Arguments;
use super::bytes::Cursor;
use super::call::Call;
use super::function::AggregateCall;
use super::kind::{Entries, Kind};
use super::value::Value;
use arrow::array::{ArrayRef, RecordBatch};
use viewfeed_change::{Batch, Error, Result};

/// A call whose state is a sum: rows are added and taken away in any order.
pub(in crate::operator) struct Sum(Call);

/// What was added up so far.
#[derive(Clone)]
pub(in crate::operator) struct SumState(Accumulator);

/// What the rows of a batch add to a sum.
pub(in crate::operator) struct Addends {
    kind: Kind,
    columns: Vec<ArrayRef>,
    /// By row: 1, or 0 where the row does not count.
    counted: Vec<i64>,
}

/// Whether `call` is a sum, and not for example the first of an order.
pub(crate) fn is_sum(call: &AggregateCall) -> bool {
    Kind::of(call).is_some_and(|kind| Entries::of(call, kind) == Entries::None)
}

impl Sum {
    /// Fails on what [`is_sum`] denies.
    pub(in crate::operator) fn new(call: AggregateCall) -> Result<Self> {
        match is_sum(&call) {
            true => Call::new(call).map(Self),
            false => Err(Error::internal("a window adds up what is no sum")),
        }
    }

    /// The sum of no row.
    pub(in crate::operator) fn empty(&self) -> SumState {
        SumState(Accumulator::new(self.0.kind()))
    }

    /// What each of `rows` adds.
    pub(in crate::operator) fn addends(&self, rows: &RecordBatch) -> Result<Addends> {
        let columns = self.0.arguments(rows)?;
        let counted = self
            .0
            .weights(&Batch::inserts(rows.clone()), &columns)?
            .into_owned();
        Ok(Addends {
            kind: self.0.kind(),
            columns,
            counted,
        })
    }

    /// The result.
    pub(in crate::operator) fn value(&self, state: &SumState) -> Result<Value> {
        state.0.value(&self.0)
    }

    /// A column of results.
    pub(in crate::operator) fn column(&self, values: &[&Value]) -> Result<ArrayRef> {
        self.0.column(values)
    }

    /// Reads what [`SumState::encode`] wrote for the same call.
    pub(in crate::operator) fn decode(&self, input: &mut Cursor<'_>) -> Result<SumState> {
        Accumulator::decode(self.0.kind(), input).map(SumState)
    }
}

impl SumState {
    /// Appends the stored form, which is the same for equal sums.
    pub(in crate::operator) fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
}

impl Addends {
    /// Adds a row to a sum so many times, which may be less than none.
    pub(in crate::operator) fn adder(&self) -> Result<impl Fn(&mut SumState, usize, i64) + '_> {
        let arguments = Arguments::new(self.kind, &self.columns)?;
        Ok(move |state: &mut SumState, row: usize, times: i64| {
            if self.counted[row] != 0 {
                state.0.add(times, &arguments, row);
            }
        })
    }
}
