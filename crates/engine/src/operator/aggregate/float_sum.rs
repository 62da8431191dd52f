//! The exact sum of floats: what comes in any order and is taken away again leaves no trace.
//!
//! Every finite f64 is a whole multiple of 2⁻¹⁰⁷⁴, so a sum of them is a whole number in that unit. Rounding happens
//! once, when the sum is read: to the nearest f64, ties to even. NaN and the infinities cannot be summed and taken away;
//! they are counted.

use super::bytes::{Cursor, write_signed};
use super::fixed::{FRACTION_BITS, Fixed};
use viewfeed_change::Result;

/// A multiset of floats, remembered as its sum.
#[derive(Clone, Debug, Default)]
pub(super) struct FloatSum {
    /// The sum of the finite ones, in units of 2⁻¹⁰⁷⁴.
    finite: Fixed,
    not_a_number: i64,
    infinite: i64,
    negative_infinite: i64,
}

impl FloatSum {
    /// Adds `value` `weight` times.
    pub(super) fn add(&mut self, value: f64, weight: i64) {
        if value.is_nan() {
            self.not_a_number = self.not_a_number.saturating_add(weight);
        } else if value == f64::INFINITY {
            self.infinite = self.infinite.saturating_add(weight);
        } else if value == f64::NEG_INFINITY {
            self.negative_infinite = self.negative_infinite.saturating_add(weight);
        } else {
            let (mantissa, shift) = parts(value);
            self.finite
                .add_shifted(i128::from(mantissa) * i128::from(weight), shift);
        }
    }

    /// Adds everything that was added to `other`.
    pub(super) fn merge(&mut self, other: &Self) {
        self.not_a_number = self.not_a_number.saturating_add(other.not_a_number);
        self.infinite = self.infinite.saturating_add(other.infinite);
        self.negative_infinite = self.negative_infinite.saturating_add(other.negative_infinite);
        self.finite.add(&other.finite);
    }

    /// The exact sum, in units of 2⁻¹⁰⁷⁴, if all are finite.
    pub(super) fn exact(&self) -> Option<&Fixed> {
        let special = [self.not_a_number, self.infinite, self.negative_infinite];
        (special == [0; 3]).then_some(&self.finite)
    }

    /// The sum as SQL has it; 0.0 for nothing.
    pub(super) fn value(&self) -> f64 {
        let (plus, minus) = (self.infinite != 0, self.negative_infinite != 0);
        if self.not_a_number != 0 || (plus && minus) {
            f64::NAN
        } else if plus {
            f64::INFINITY
        } else if minus {
            f64::NEG_INFINITY
        } else {
            self.rounded()
        }
    }

    /// Whether something was taken away that was never added, as far as that can be seen.
    pub(super) fn is_negative(&self) -> bool {
        self.not_a_number < 0 || self.infinite < 0 || self.negative_infinite < 0
    }

    /// Whether it is the sum of nothing.
    pub(super) fn is_zero(&self) -> bool {
        self.not_a_number == 0 && self.infinite == 0 && self.negative_infinite == 0 && self.finite.is_zero()
    }

    fn rounded(&self) -> f64 {
        let Some(rounded) = self.finite.rounded() else {
            return 0.0;
        };
        let value = scaled(rounded.mantissa, rounded.shift);
        if rounded.is_negative { -value } else { value }
    }

    /// Appends the sum in its stored form, the same for equal sums.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.finite.encode(out);
        let special = [self.not_a_number, self.infinite, self.negative_infinite];
        let any = special.iter().any(|count| *count != 0);
        out.push(u8::from(any));
        if any {
            special.iter().for_each(|count| write_signed(*count, out));
        }
    }

    /// Reads what [`Self::encode`] wrote.
    pub(super) fn decode(input: &mut Cursor<'_>) -> Result<Self> {
        let mut sum = Self {
            finite: Fixed::decode(input)?,
            ..Self::default()
        };
        if input.array::<1>()? != [0] {
            sum.not_a_number = input.signed()?;
            sum.infinite = input.signed()?;
            sum.negative_infinite = input.signed()?;
        }
        Ok(sum)
    }
}

/// A finite float as mantissa × 2^shift units.
pub(super) fn parts(value: f64) -> (i64, usize) {
    let bits = value.to_bits();
    let fraction = (bits & ((1 << FRACTION_BITS) - 1)) as i64;
    let exponent = (bits >> FRACTION_BITS & 0x7FF) as usize;
    let (mantissa, shift) = match exponent {
        0 => (fraction, 0),
        _ => (fraction | 1 << FRACTION_BITS, exponent - 1),
    };
    (
        if value.is_sign_negative() {
            -mantissa
        } else {
            mantissa
        },
        shift,
    )
}

/// `mantissa` (at most 2⁵³) × 2^`shift` units as a float: exact, or infinite.
fn scaled(mantissa: u64, shift: u32) -> f64 {
    // A carry out of rounding made 2⁵³: the same value with one more in the exponent.
    let (mantissa, shift) = if mantissa >> (FRACTION_BITS + 1) == 1 {
        (mantissa >> 1, shift + 1)
    } else {
        (mantissa, shift)
    };
    if mantissa >> FRACTION_BITS == 0 {
        return f64::from_bits(mantissa); // subnormal, only with shift 0
    }
    let exponent = u64::from(shift) + 1;
    if exponent >= 0x7FF {
        return f64::INFINITY;
    }
    f64::from_bits(exponent << FRACTION_BITS | mantissa & ((1 << FRACTION_BITS) - 1))
}

#[cfg(test)]
mod tests;
