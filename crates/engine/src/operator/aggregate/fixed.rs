//! Exact whole numbers of any size over the window of bits in use: what sums of floats, and of products of floats, are
//! counted in.
//!
//! A number is two's complement limbs from a first limb on; those below are 0. The unit is the user's: 2⁻¹⁰⁷⁴ for sums
//! of floats, its square for products.

use super::bytes::{Cursor, write_unsigned};
use viewfeed_change::{Error, Result};

/// The fraction bits of an f64.
pub(super) const FRACTION_BITS: u32 = 52;
/// More limbs than any sum of 2⁶³ products of floats needs: what is stored is checked against it.
const LIMBS_MAX: usize = 72;

/// A whole number.
#[derive(Clone, Debug, Default)]
pub(super) struct Fixed {
    /// Which limb of the whole number `limbs[0]` is; those below are 0.
    first: usize,
    /// Two's complement, least significant first; the last one's sign goes on for ever. Empty is 0.
    limbs: Vec<u64>,
}

/// A number of at most 53 bits: ± `mantissa` × 2^`shift` units. The mantissa is 2⁵³ if rounding carried.
pub(super) struct Rounded {
    pub(super) is_negative: bool,
    pub(super) mantissa: u64,
    pub(super) shift: u32,
}

impl Fixed {
    /// `number` units.
    pub(super) fn of(number: i64) -> Self {
        let mut fixed = Self::default();
        fixed.add_shifted(i128::from(number), 0);
        fixed
    }

    /// Whether it is 0.
    pub(super) fn is_zero(&self) -> bool {
        self.limbs.iter().all(|limb| *limb == 0)
    }

    /// Adds `other`.
    pub(super) fn add(&mut self, other: &Self) {
        let Some((last, low)) = other.limbs.split_last() else {
            return;
        };
        for (i, limb) in low.iter().enumerate() {
            self.add_shifted(i128::from(*limb), 64 * (other.first + i));
        }
        self.add_shifted(i128::from(*last as i64), 64 * (other.first + low.len()));
    }

    /// Itself minus `other`.
    pub(super) fn minus(mut self, other: &Self) -> Self {
        self.add(&other.clone().negated());
        self
    }

    /// Itself times `other`, limb by limb (Knuth, The Art of Computer Programming, 4.3.1 M).
    pub(super) fn times(&self, other: &Self) -> Self {
        let (left, right) = (self.magnitude(), other.magnitude());
        let mut limbs = vec![0; left.len() + right.len() + 1];
        for (i, a) in left.iter().enumerate() {
            let mut carry = 0;
            for (j, b) in right.iter().enumerate() {
                let sum = u128::from(*a) * u128::from(*b) + u128::from(limbs[i + j]) + u128::from(carry);
                limbs[i + j] = sum as u64;
                carry = (sum >> 64) as u64;
            }
            limbs[i + right.len()] = carry;
        }
        let product = Self {
            first: self.first + other.first,
            limbs,
        };
        match self.sign() == other.sign() {
            true => product,
            false => product.negated(),
        }
    }

    fn negated(mut self) -> Self {
        self.limbs.push(self.sign());
        self.limbs = negated(&self.limbs);
        self
    }

    /// The limbs without the sign.
    fn magnitude(&self) -> Vec<u64> {
        match self.sign() {
            0 => self.limbs.clone(),
            _ => negated(&self.limbs),
        }
    }

    /// Adds `number` × 2^`shift` units.
    pub(super) fn add_shifted(&mut self, number: i128, shift: usize) {
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

    /// The nearest number of 53 bits, ties to even; None for 0.
    pub(super) fn rounded(&self) -> Option<Rounded> {
        let magnitude = self.magnitude();
        let low = magnitude.iter().position(|limb| *limb != 0)?;
        let high = magnitude.iter().rposition(|limb| *limb != 0)?;
        let lowest = 64 * low as u32 + magnitude[low].trailing_zeros();
        let length = 64 * high as u32 + 64 - magnitude[high].leading_zeros();
        let below = 64 * self.first as u32;
        let bit = |at: u32| u64::from(magnitude[(at / 64) as usize] >> (at % 64) & 1 == 1);
        // Bits below the 53 highest are dropped; below 2^53 units there are none to drop.
        let shift = (below + length).saturating_sub(FRACTION_BITS + 1);
        let dropped = shift.saturating_sub(below);
        let mut mantissa = (dropped..length).rev().fold(0, |bits, at| bits << 1 | bit(at));
        mantissa <<= (below + dropped) - shift;
        if dropped > 0 && bit(dropped - 1) == 1 {
            let beyond_half = lowest < dropped - 1;
            mantissa += u64::from(beyond_half || mantissa & 1 == 1);
        }
        Some(Rounded {
            is_negative: self.sign() == u64::MAX,
            mantissa,
            shift,
        })
    }

    /// Appends the number in its stored form, the same for equal numbers.
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
    }

    /// Reads what [`Self::encode`] wrote.
    pub(super) fn decode(input: &mut Cursor<'_>) -> Result<Self> {
        let count = input.unsigned()? as usize;
        let mut number = Self::default();
        if count > 0 {
            number.first = input.unsigned()? as usize;
            if count > LIMBS_MAX || number.first > LIMBS_MAX {
                return Err(Error::corrupt("a stored sum is larger than any sum"));
            }
            number.limbs = (0..count)
                .map(|_| Ok(u64::from_le_bytes(input.array()?)))
                .collect::<Result<_>>()?;
        }
        Ok(number)
    }
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
mod tests {
    use super::Fixed;
    use proptest::prelude::*;

    fn number(value: i64, shift: usize) -> Fixed {
        let mut fixed = Fixed::default();
        fixed.add_shifted(i128::from(value), shift);
        fixed
    }

    fn bytes(fixed: &Fixed) -> Vec<u8> {
        let mut out = Vec::new();
        fixed.encode(&mut out);
        out
    }

    proptest! {
        #[test]
        fn products_and_differences_are_exact(a: i64, b: i64, c in -1000..1000i64, shift in 0..300usize) {
            let product = number(a, shift).times(&number(b, 70));
            let mut wanted = Fixed::default();
            wanted.add_shifted(i128::from(a) * i128::from(b), shift + 70);
            prop_assert_eq!(bytes(&product), bytes(&wanted));
            let difference = number(a, shift).minus(&number(c, shift));
            let mut wanted = Fixed::default();
            wanted.add_shifted(i128::from(a) - i128::from(c), shift);
            prop_assert_eq!(bytes(&difference), bytes(&wanted));
        }
    }

    #[test]
    fn the_smallest_number_has_a_magnitude() {
        let smallest = Fixed::of(i64::MIN);
        let rounded = smallest.times(&Fixed::of(-1)).rounded().unwrap();
        assert_eq!(
            (rounded.is_negative, rounded.mantissa, rounded.shift),
            (false, 1 << 52, 11)
        );
        assert!(Fixed::of(5).minus(&Fixed::of(5)).rounded().is_none());
    }
}
