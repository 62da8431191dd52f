//! The exact sum of floats: what comes in any order and is taken away again leaves no trace.
//!
//! Every finite f64 is a whole multiple of 2⁻¹⁰⁷⁴, so a sum of them is a whole number in that unit, kept as two's
//! complement limbs over the window of bits in use. Rounding happens once, when the sum is read: to the nearest f64,
//! ties to even. NaN and the infinities cannot be summed and taken away; they are counted.

use super::bytes::{Cursor, write_signed, write_unsigned};
use viewfeed_change::{Error, Result};

/// The fraction bits of an f64.
const FRACTION_BITS: u32 = 52;
/// More limbs than any sum of 2⁶³ values needs: what is stored is checked against it.
const LIMBS_MAX: usize = 40;

/// A multiset of floats, remembered as its sum.
#[derive(Clone, Debug, Default)]
pub(super) struct FloatSum {
    /// Which limb of the whole number `limbs[0]` is; those below are 0.
    first: usize,
    /// Two's complement, least significant first; the last one's sign goes on for ever. Empty is 0.
    limbs: Vec<u64>,
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
            self.add_shifted(i128::from(mantissa) * i128::from(weight), shift);
        }
    }

    /// Adds everything that was added to `other`.
    pub(super) fn merge(&mut self, other: &Self) {
        self.not_a_number = self.not_a_number.saturating_add(other.not_a_number);
        self.infinite = self.infinite.saturating_add(other.infinite);
        self.negative_infinite = self.negative_infinite.saturating_add(other.negative_infinite);
        let Some((last, low)) = other.limbs.split_last() else {
            return;
        };
        for (i, limb) in low.iter().enumerate() {
            self.add_shifted(i128::from(*limb), 64 * (other.first + i));
        }
        self.add_shifted(i128::from(*last as i64), 64 * (other.first + low.len()));
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
        self.not_a_number == 0
            && self.infinite == 0
            && self.negative_infinite == 0
            && self.limbs.iter().all(|limb| *limb == 0)
    }

    /// Adds `number` × 2^`shift` units.
    fn add_shifted(&mut self, number: i128, shift: usize) {
        if number == 0 {
            return;
        }
        let (limb, bit) = (shift / 64, (shift % 64) as u32);
        self.cover(limb, limb + 3);
        let sign = if number < 0 { u64::MAX } else { 0 };
        let high = if bit == 0 {
            sign
        } else {
            (number >> (128 - bit)) as u64
        };
        let low = (number as u128) << bit;
        let mut addends = [low as u64, (low >> 64) as u64, high].into_iter();
        let mut carry = false;
        for place in &mut self.limbs[limb - self.first..] {
            let addend = addends.next();
            let (sum, over) = place.overflowing_add(addend.unwrap_or(sign));
            let (sum, over_carry) = sum.overflowing_add(u64::from(carry));
            *place = sum;
            carry = over || over_carry;
            if addend.is_none() && carry == (sign == u64::MAX) {
                break; // from here on nothing changes: 0 is added, or −1 with a carry
            }
        }
    }

    /// Widens the window to the limbs `from..to` and one above, such that the last limb is only sign: then neither
    /// what is there nor what is added reaches beyond the limbs below it, and the sum fits.
    fn cover(&mut self, from: usize, to: usize) {
        if self.limbs.is_empty() {
            self.first = from;
        }
        if from < self.first {
            self.limbs.splice(0..0, std::iter::repeat_n(0, self.first - from));
            self.first = from;
        }
        let sign = self.sign();
        let is_only_sign = self.limbs.last() == Some(&sign);
        let enough = self.limbs.len() + usize::from(!is_only_sign);
        let limbs = enough.max(to + 1 - self.first);
        self.limbs.resize(limbs, sign);
    }

    /// The limb that goes on for ever above the window.
    fn sign(&self) -> u64 {
        self.limbs.last().map_or(0, |limb| sign_of(*limb))
    }

    fn rounded(&self) -> f64 {
        let negative = self.sign() == u64::MAX;
        let magnitude = if negative {
            negated(&self.limbs)
        } else {
            self.limbs.clone()
        };
        let places = (
            magnitude.iter().position(|limb| *limb != 0),
            magnitude.iter().rposition(|limb| *limb != 0),
        );
        let (Some(low), Some(high)) = places else {
            return 0.0;
        };
        let lowest = 64 * low as u32 + magnitude[low].trailing_zeros();
        let length = 64 * high as u32 + 64 - magnitude[high].leading_zeros();
        let below = 64 * self.first as u32;
        let bit = |at: u32| u64::from(magnitude[(at / 64) as usize] >> (at % 64) & 1 == 1);
        // Bits below the 53 highest are dropped; below 2^53 units there are none to drop.
        let kept_from = (below + length).saturating_sub(FRACTION_BITS + 1);
        let dropped = kept_from.saturating_sub(below);
        let mut mantissa = (dropped..length).rev().fold(0, |bits, at| bits << 1 | bit(at));
        mantissa <<= (below + dropped) - kept_from;
        if dropped > 0 && bit(dropped - 1) == 1 {
            let beyond_half = lowest < dropped - 1;
            mantissa += u64::from(beyond_half || mantissa & 1 == 1);
        }
        let value = scaled(mantissa, kept_from);
        if negative { -value } else { value }
    }

    /// Appends the sum in its stored form, the same for equal sums.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let from = self
            .limbs
            .iter()
            .position(|limb| *limb != 0)
            .unwrap_or(self.limbs.len());
        let mut limbs = &self.limbs[from..];
        while let [shorter @ .., below, last] = limbs
            && *last == sign_of(*below)
        {
            limbs = &limbs[..shorter.len() + 1];
        }
        write_unsigned(limbs.len() as u64, out);
        if !limbs.is_empty() {
            write_unsigned((self.first + from) as u64, out);
            limbs.iter().for_each(|limb| out.extend(limb.to_le_bytes()));
        }
        let special = [self.not_a_number, self.infinite, self.negative_infinite];
        let any = special.iter().any(|count| *count != 0);
        out.push(u8::from(any));
        if any {
            special.iter().for_each(|count| write_signed(*count, out));
        }
    }

    /// Reads what [`Self::encode`] wrote.
    pub(super) fn decode(input: &mut Cursor<'_>) -> Result<Self> {
        let count = input.unsigned()? as usize;
        let mut sum = Self::default();
        if count > 0 {
            sum.first = input.unsigned()? as usize;
            if count > LIMBS_MAX || sum.first > LIMBS_MAX {
                return Err(Error::corrupt("a stored sum is larger than any sum"));
            }
            sum.limbs = (0..count)
                .map(|_| Ok(u64::from_le_bytes(input.array()?)))
                .collect::<Result<_>>()?;
        }
        if input.array::<1>()? != [0] {
            sum.not_a_number = input.signed()?;
            sum.infinite = input.signed()?;
            sum.negative_infinite = input.signed()?;
        }
        Ok(sum)
    }
}

/// A finite float as mantissa × 2^shift units.
fn parts(value: f64) -> (i64, usize) {
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

/// What continues a number whose highest limb is `limb`.
fn sign_of(limb: u64) -> u64 {
    ((limb as i64) >> 63) as u64
}

/// Minus the two's complement number, as an unsigned one.
fn negated(limbs: &[u64]) -> Vec<u64> {
    let mut carry = true;
    let negate = |limb: &u64| {
        let (sum, over) = (!limb).overflowing_add(u64::from(carry));
        carry = over;
        sum
    };
    limbs.iter().map(negate).collect()
}

#[cfg(test)]
mod tests;
