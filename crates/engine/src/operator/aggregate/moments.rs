//! The first and second moments of a column or of pairs, as exact sums: of values, of squares, of products. A product
//! of two floats is a whole multiple of 2⁻²¹⁴⁸ and is added as such, so nothing is lost before the end.

use super::bytes::{Cursor, write_signed};
use super::fixed::Fixed;
use super::float_sum::{FloatSum, parts};
use super::statistic::Scaled;
use viewfeed_change::Result;

/// The sums over a multiset of pairs (y, x); of a single column, those of y.
#[derive(Clone, Debug, Default)]
pub(super) struct Moments {
    count: i64,
    /// Of y and x.
    sums: [FloatSum; 2],
    /// Of y², x² and x·y, in units of 2⁻²¹⁴⁸; of finite values only.
    products: [Fixed; 3],
}

impl Moments {
    /// Adds a value or pair `weight` times.
    pub(super) fn add(&mut self, y: f64, x: Option<f64>, weight: i64) {
        self.count = self.count.saturating_add(weight);
        self.sums[0].add(y, weight);
        add_product(&mut self.products[0], y, y, weight);
        if let Some(x) = x {
            self.sums[1].add(x, weight);
            add_product(&mut self.products[1], x, x, weight);
            add_product(&mut self.products[2], x, y, weight);
        }
    }

    /// Adds everything that was added to `other`; false if more was taken away than was there.
    pub(super) fn merge(&mut self, other: &Self) -> bool {
        self.count = self.count.saturating_add(other.count);
        for (sum, more) in self.sums.iter_mut().zip(&other.sums) {
            sum.merge(more);
        }
        for (sum, more) in self.products.iter_mut().zip(&other.products) {
            sum.add(more);
        }
        self.count >= 0 && !self.sums.iter().any(FloatSum::is_negative)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0 && self.sums.iter().all(FloatSum::is_zero) && self.products.iter().all(Fixed::is_zero)
    }

    /// How many values or pairs.
    pub(super) fn count(&self) -> i64 {
        self.count
    }

    /// Σy for 0, Σx for 1.
    pub(super) fn sum(&self, place: usize) -> f64 {
        self.sums[place].value()
    }

    /// Whether Σy and Σx are NaN.
    pub(super) fn are_nan(&self) -> [bool; 2] {
        [self.sum(0).is_nan(), self.sum(1).is_nan()]
    }

    /// n·Σab − Σa·Σb for y², x² and x·y, in units of 2⁻²¹⁴⁸; None if a value is not finite.
    pub(super) fn deviations(&self) -> [Option<Fixed>; 3] {
        let n = Fixed::of(self.count);
        let deviation = |product: usize, a: usize, b: usize| {
            let (a, b) = (self.sums[a].exact()?, self.sums[b].exact()?);
            Some(n.times(&self.products[product]).minus(&a.times(b)))
        };
        [deviation(0, 0, 0), deviation(1, 1, 1), deviation(2, 0, 1)]
    }

    /// Σy·(n·Σx² − (Σx)²) − Σx·(n·Σxy − Σx·Σy): over n·(n·Σx² − (Σx)²) it is the intercept.
    pub(super) fn intercept_numerator(&self) -> Scaled {
        let [_, xx, xy] = self.deviations();
        let exact = || {
            let (y, x) = (self.sums[0].exact()?, self.sums[1].exact()?);
            Some(y.times(&xx?).minus(&x.times(&xy?)))
        };
        Scaled::of(exact().as_ref(), 3)
    }

    /// Appends the stored form.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        write_signed(self.count, out);
        self.sums.iter().for_each(|sum| sum.encode(out));
        self.products.iter().for_each(|sum| sum.encode(out));
    }

    /// Reads what [`Self::encode`] wrote.
    pub(super) fn decode(input: &mut Cursor<'_>) -> Result<Self> {
        Ok(Self {
            count: input.signed()?,
            sums: [FloatSum::decode(input)?, FloatSum::decode(input)?],
            products: [
                Fixed::decode(input)?,
                Fixed::decode(input)?,
                Fixed::decode(input)?,
            ],
        })
    }
}

/// Adds a·b `weight` times to a sum in units of 2⁻²¹⁴⁸, if both are finite.
fn add_product(sum: &mut Fixed, a: f64, b: f64, weight: i64) {
    /// A product has at most 106 bits: with these 20 it fits 128 and its sign.
    const PIECE_BITS: u32 = 20;
    if !a.is_finite() || !b.is_finite() {
        return;
    }
    let ((a, a_shift), (b, b_shift)) = (parts(a), parts(b));
    let product = i128::from(a) * i128::from(b) * i128::from(weight.signum());
    let (mut rest, mut shift) = (weight.unsigned_abs(), a_shift + b_shift);
    while rest > 0 {
        let piece = rest & ((1 << PIECE_BITS) - 1);
        sum.add_shifted(product * i128::from(piece), shift);
        rest >>= PIECE_BITS;
        shift += PIECE_BITS as usize;
    }
}

#[cfg(test)]
mod tests;
