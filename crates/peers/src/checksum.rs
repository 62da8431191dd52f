//! A sum over rows that two engines can be compared by: Σ weight · hash(row), the same in any order, kept up by deltas.
//!
//! Owns how a value is hashed; an engine that keeps a column in another type turns it into one of these first.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use viewfeed_change::Batch;

/// What an output is, as far as two engines are compared: how many rows, and the sum of their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checksum {
    /// The sum of the weights.
    pub(crate) rows: i64,
    /// The sum of weight · hash.
    pub(crate) sum: i64,
}

impl Checksum {
    /// Adds a row as often as `weight` says.
    pub(crate) fn add(&mut self, row: RowHash, weight: i64) {
        self.rows += weight;
        self.sum = self.sum.wrapping_add((row.0 as i64).wrapping_mul(weight));
    }

    /// Adds every row of a delta.
    pub(crate) fn add_batch(&mut self, delta: &Batch) {
        for (row, weight) in delta.weights().iter().enumerate() {
            self.add(hash_row(delta.rows(), row), *weight);
        }
    }
}

/// The hash of a row's values, one after another (FNV-1a).
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowHash(u64);

impl RowHash {
    /// Of no value yet.
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// With a number after the others.
    pub(crate) fn int(self, value: i64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    /// With a floating-point number after the others.
    pub(crate) fn float(self, value: f64) -> Self {
        self.bytes(&value.to_bits().to_le_bytes())
    }

    /// With a text after the others.
    pub(crate) fn text(self, value: &str) -> Self {
        self.bytes(value.as_bytes()).bytes(&[0xFF])
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self(bytes.iter().fold(self.0, step))
    }
}

fn hash_row(rows: &RecordBatch, row: usize) -> RowHash {
    rows.columns().iter().fold(RowHash::new(), |hash, column| {
        if column.is_null(row) {
            return hash.bytes(&[0]);
        }
        match column.data_type() {
            DataType::Int32 => hash.int(column.as_primitive::<Int32Type>().value(row).into()),
            DataType::Int64 => hash.int(column.as_primitive::<Int64Type>().value(row)),
            DataType::Float64 => hash.float(column.as_primitive::<Float64Type>().value(row)),
            DataType::Utf8 => hash.text(column.as_string::<i32>().value(row)),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                hash.int(column.as_primitive::<TimestampMicrosecondType>().value(row))
            }
            // Only views that no peer runs have others; their sums are compared with nothing.
            _ => hash.bytes(b"?"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_and_went_is_nothing_in_any_order() {
        let (one, two) = (RowHash::new().int(1).text("a"), RowHash::new().int(1).text("b"));
        let mut sum = Checksum::default();
        for (row, weight) in [(one, 2), (two, 1), (one, -1), (two, -1), (one, -1)] {
            sum.add(row, weight);
        }
        assert_eq!(sum, Checksum::default());
    }
}
