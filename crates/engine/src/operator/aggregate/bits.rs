//! How many values have each bit: what `bit_and`, `bit_or` and `bit_xor` follow from under any removal.

use super::bytes::{Cursor, write_signed};
use viewfeed_change::Result;

/// Counts of a multiset of 64-bit numbers.
#[derive(Clone, Debug)]
pub(super) struct BitCounts {
    count: i64,
    /// By bit, the lowest first.
    ones: [i64; 64],
}

impl BitCounts {
    /// Of nothing.
    pub(super) fn new() -> Self {
        Self {
            count: 0,
            ones: [0; 64],
        }
    }

    /// Adds `value` `weight` times.
    pub(super) fn add(&mut self, value: u64, weight: i64) {
        self.count = self.count.saturating_add(weight);
        for (bit, ones) in self.ones.iter_mut().enumerate() {
            if value >> bit & 1 == 1 {
                *ones = ones.saturating_add(weight);
            }
        }
    }

    /// Adds everything that was added to `other`; false if more was taken away than was there.
    pub(super) fn merge(&mut self, other: &Self) -> bool {
        self.count = self.count.saturating_add(other.count);
        for (ones, more) in self.ones.iter_mut().zip(other.ones) {
            *ones = ones.saturating_add(more);
        }
        self.count >= 0 && self.ones.iter().all(|ones| (0..=self.count).contains(ones))
    }

    /// How many values.
    pub(super) fn count(&self) -> i64 {
        self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0 && self.ones == [0; 64]
    }

    /// The bits that all values have.
    pub(super) fn and(&self) -> u64 {
        self.bits_where(|ones| ones == self.count)
    }

    /// The bits that a value has.
    pub(super) fn or(&self) -> u64 {
        self.bits_where(|ones| ones > 0)
    }

    /// The bits that an odd number of values have.
    pub(super) fn xor(&self) -> u64 {
        self.bits_where(|ones| ones & 1 == 1)
    }

    fn bits_where(&self, is_set: impl Fn(i64) -> bool) -> u64 {
        let bits = self.ones.iter().enumerate();
        bits.fold(0, |all, (bit, ones)| all | u64::from(is_set(*ones)) << bit)
    }

    /// Appends the stored form: which bits any value has, and the counts of those.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        write_signed(self.count, out);
        out.extend(self.bits_where(|ones| ones != 0).to_le_bytes());
        let counted = self.ones.iter().filter(|ones| **ones != 0);
        counted.for_each(|ones| write_signed(*ones, out));
    }

    /// Reads what [`Self::encode`] wrote.
    pub(super) fn decode(input: &mut Cursor<'_>) -> Result<Self> {
        let mut counts = Self::new();
        counts.count = input.signed()?;
        let bits = u64::from_le_bytes(input.array()?);
        for (bit, ones) in counts.ones.iter_mut().enumerate() {
            if bits >> bit & 1 == 1 {
                *ones = input.signed()?;
            }
        }
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_follow_what_comes_and_goes() {
        let mut counts = BitCounts::new();
        counts.add(0b110, 1);
        counts.add(0b011, 2);
        assert_eq!((counts.and(), counts.or(), counts.xor()), (0b010, 0b111, 0b110));
        let mut removal = BitCounts::new();
        removal.add(0b011, -2);
        assert!(counts.merge(&removal));
        let mut stored = Vec::new();
        counts.encode(&mut stored);
        let read = BitCounts::decode(&mut Cursor(&stored)).unwrap();
        assert_eq!((read.and(), read.or(), read.count()), (0b110, 0b110, 1));
        assert!(!counts.merge(&removal), "they are gone already");
    }
}
