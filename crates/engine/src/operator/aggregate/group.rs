//! The state of a group and its stored form.

use super::accumulator::{Accumulator, negative};
use super::bytes::{Cursor, damaged, write_unsigned};
use super::call::Call;
use viewfeed_change::Result;

/// The version of the stored form.
const VERSION: u8 = 2;

/// How many rows a group has, and what each call remembers of them.
#[derive(Clone)]
pub(super) struct Group {
    pub(super) rows: i64,
    pub(super) accumulators: Vec<Accumulator>,
}

impl Group {
    /// A group without rows.
    pub(super) fn empty(calls: &[Call]) -> Self {
        Self {
            rows: 0,
            accumulators: calls.iter().map(|call| Accumulator::new(call.kind())).collect(),
        }
    }

    /// Fails if rows were taken away that were not there, as far as the sums show it.
    pub(super) fn check(&self) -> Result<()> {
        let is_left_over = self.rows == 0 && !self.accumulators.iter().all(Accumulator::is_empty);
        if self.rows < 0 || is_left_over {
            Err(negative())
        } else {
            Ok(())
        }
    }

    /// The stored form.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        write_unsigned(self.rows as u64, &mut bytes);
        self.accumulators
            .iter()
            .for_each(|accumulator| accumulator.encode(&mut bytes));
        bytes
    }

    /// Reads what [`Self::encode`] wrote for the same calls.
    pub(super) fn decode(bytes: &[u8], calls: &[Call]) -> Result<Self> {
        let mut input = Cursor(bytes);
        if input.array()? != [VERSION] {
            return Err(damaged());
        }
        let rows = i64::try_from(input.unsigned()?).map_err(|_| damaged())?;
        let kinds = calls.iter().map(Call::kind);
        let accumulators = kinds
            .map(|kind| Accumulator::decode(kind, &mut input))
            .collect::<Result<_>>()?;
        input.end()?;
        Ok(Self { rows, accumulators })
    }
}
