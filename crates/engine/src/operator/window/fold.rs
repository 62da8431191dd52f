//! Functions that run from the first row of a partition on: what they remember of the rows so far, and their results as
//! they go over units of rows. A unit is one row, with all its places, or a row and its peers.

use super::cell::{Cells, is_null, value_of};
use super::{Extreme, Nulls, RunningCall, RunningFunction};
use crate::operator::aggregate::{
    Addends, Cursor, Sum, SumState, Value, column, write_bytes, write_unsigned,
};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use viewfeed_change::row::Rows;
use viewfeed_change::{Error, Result};

/// A call made ready to run.
pub(super) struct Fold {
    function: Function,
    by_peers: bool,
}

enum Function {
    RowNumber,
    Rank,
    DenseRank,
    First(Cells, Nulls),
    Last(Cells, Nulls),
    Extreme(Cells, Extreme),
    Sum(Sum),
}

/// What a call remembers of the rows so far.
#[derive(Clone)]
pub(super) enum State {
    /// How many rows, or units.
    Count(u64),
    /// A value in the row encoding; None before the first.
    Picked(Option<Vec<u8>>),
    Sum(SumState),
}

/// What a call reads of rows.
pub(super) enum Arguments {
    None,
    Values(Rows),
    Addends(Addends),
}

/// The rows of a unit, by their place in a batch, with how often each is there. At least one is there.
pub(super) type Unit<'a> = &'a [(usize, u64)];

impl Fold {
    pub(super) fn new(call: &RunningCall, schema: &SchemaRef) -> Result<Self> {
        let cells = |column: &usize| Cells::new(schema, *column);
        Ok(Self {
            by_peers: call.by_peers,
            function: match &call.function {
                RunningFunction::RowNumber => Function::RowNumber,
                RunningFunction::Rank => Function::Rank,
                RunningFunction::DenseRank => Function::DenseRank,
                RunningFunction::First(column, nulls) => Function::First(cells(column)?, *nulls),
                RunningFunction::Last(column, nulls) => Function::Last(cells(column)?, *nulls),
                RunningFunction::Extreme(column, extreme) => Function::Extreme(cells(column)?, *extreme),
                RunningFunction::Sum(call) => Function::Sum(call.ready(schema)?),
            },
        })
    }

    /// The state before the first row.
    pub(super) fn start(&self) -> State {
        match &self.function {
            Function::RowNumber | Function::Rank | Function::DenseRank => State::Count(0),
            Function::First(..) | Function::Last(..) | Function::Extreme(..) => State::Picked(None),
            Function::Sum(sum) => State::Sum(sum.empty()),
        }
    }

    pub(super) fn arguments(&self, rows: &RecordBatch) -> Result<Arguments> {
        Ok(match &self.function {
            Function::RowNumber | Function::Rank | Function::DenseRank => Arguments::None,
            Function::First(cells, _) | Function::Last(cells, _) | Function::Extreme(cells, _) => {
                Arguments::Values(cells.encode(rows)?)
            }
            Function::Sum(sum) => Arguments::Addends(sum.addends(rows)?),
        })
    }

    /// A column of results.
    pub(super) fn column(&self, values: &[&Value]) -> Result<ArrayRef> {
        match &self.function {
            Function::RowNumber | Function::Rank | Function::DenseRank => column(values, &DataType::UInt64),
            Function::First(cells, _) | Function::Last(cells, _) | Function::Extreme(cells, _) => {
                cells.column(values)
            }
            Function::Sum(sum) => sum.column(values),
        }
    }

    /// Goes over a unit: changes the state and adds a result for each of its places.
    pub(super) fn pass(
        &self,
        unit: Unit<'_>,
        arguments: &Arguments,
        state: &mut State,
        results: &mut Vec<Value>,
    ) -> Result<()> {
        let number = |number: u64| Value::Integer(i128::from(number));
        let places: u64 = unit.iter().map(|(_, count)| count).sum();
        match (&self.function, state, arguments) {
            (Function::RowNumber, State::Count(count), _) => {
                results.extend((*count + 1..=*count + places).map(number));
                *count += places;
            }
            (Function::Rank, State::Count(count), _) => {
                results.extend((0..places).map(|_| number(*count + 1)));
                *count += places;
            }
            (Function::DenseRank, State::Count(count), _) => {
                *count += 1;
                results.extend((0..places).map(|_| number(*count)));
            }
            (Function::Sum(sum), State::Sum(state), Arguments::Addends(addends)) => {
                self.pass_sum(sum, unit, addends, state, results)?;
            }
            (function, State::Picked(picked), Arguments::Values(values)) => {
                for (row, count) in unit {
                    function.pick(values.row(*row), picked);
                    if !self.by_peers {
                        results.extend((0..*count).map(|_| value_of(picked.as_deref())));
                    }
                }
                if self.by_peers {
                    results.extend((0..places).map(|_| value_of(picked.as_deref())));
                }
            }
            _ => return Err(Error::internal("a window's state is of another function")),
        }
        Ok(())
    }

    fn pass_sum(
        &self,
        sum: &Sum,
        unit: Unit<'_>,
        addends: &Addends,
        state: &mut SumState,
        results: &mut Vec<Value>,
    ) -> Result<()> {
        let add = addends.adder()?;
        let mut places = 0;
        for (row, count) in unit {
            if self.by_peers {
                add(state, *row, i64::try_from(*count).unwrap_or(i64::MAX));
                places += count;
                continue;
            }
            for _ in 0..*count {
                add(state, *row, 1);
                results.push(sum.value(state)?);
            }
        }
        let value = sum.value(state)?;
        results.extend((0..places).map(|_| value.clone()));
        Ok(())
    }

    /// Reads what [`State::encode`] wrote for the same call.
    pub(super) fn decode(&self, input: &mut Cursor<'_>) -> Result<State> {
        Ok(match &self.function {
            Function::RowNumber | Function::Rank | Function::DenseRank => State::Count(input.unsigned()?),
            Function::First(..) | Function::Last(..) | Function::Extreme(..) => {
                let [is_picked] = input.array()?;
                State::Picked(match is_picked {
                    0 => None,
                    _ => Some(input.bytes()?.to_vec()),
                })
            }
            Function::Sum(sum) => State::Sum(sum.decode(input)?),
        })
    }
}

impl Function {
    /// Whether a value takes the place of the one picked so far.
    fn pick(&self, value: &[u8], picked: &mut Option<Vec<u8>>) {
        let is_better = match (self, picked.as_deref()) {
            (Self::First(_, Nulls::Ignored) | Self::Last(_, Nulls::Ignored), _) if is_null(value) => false,
            (Self::Extreme(..), _) if is_null(value) => false,
            (Self::First(..), picked) => picked.is_none(),
            (Self::Extreme(_, Extreme::Smallest), Some(picked)) => value < picked,
            (Self::Extreme(_, Extreme::Largest), Some(picked)) => value > picked,
            _ => true,
        };
        if is_better {
            *picked = Some(value.to_vec());
        }
    }
}

impl State {
    /// Appends the stored form, which is the same for equal states.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Count(count) => write_unsigned(*count, out),
            Self::Picked(None) => out.push(0),
            Self::Picked(Some(value)) => {
                out.push(1);
                write_bytes(value, out);
            }
            Self::Sum(state) => state.encode(out),
        }
    }
}
