//! `numeric`, exactly: as many digits as the column has, or a fault.

use super::{Decoded, Fault};
use arrow::datatypes::i256;

/// The digits that a u128 surely holds.
const HALF_DIGITS: u32 = 38;
/// The digits in one of the numbers that the binary form consists of.
const GROUP_DIGITS: i32 = 4;
const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;

const NOT_A_NUMBER: Fault = Fault::NotRepresentable("NaN and the infinities are no decimal numbers");
const TOO_MANY_DIGITS: Fault = Fault::NotRepresentable("a number has too many digits before the point");
const TOO_FINE: Fault = Fault::NotRepresentable("a number has too many digits after the point");

/// A number times ten to the scale of its column: `head · 10^tail_digits + tail`.
#[derive(Default)]
pub(super) struct Number {
    is_negative: bool,
    head: u128,
    head_digits: u32,
    tail: u128,
    tail_digits: u32,
}

impl Number {
    fn push(&mut self, digit: u8) -> Decoded<()> {
        if self.head_digits < HALF_DIGITS {
            self.head = self.head * 10 + u128::from(digit);
            // Zeros in front do not count.
            self.head_digits += u32::from(self.head != 0);
        } else if self.tail_digits < HALF_DIGITS {
            self.tail = self.tail * 10 + u128::from(digit);
            self.tail_digits += 1;
        } else {
            return Err(TOO_MANY_DIGITS);
        }
        Ok(())
    }

    /// For at most 38 digits.
    pub(super) fn narrow(&self, precision: u8) -> Decoded<i128> {
        self.check(precision)?;
        let magnitude = self.head as i128;
        Ok(if self.is_negative { -magnitude } else { magnitude })
    }

    /// For at most 76.
    pub(super) fn wide(&self, precision: u8) -> Decoded<i256> {
        self.check(precision)?;
        let shift = i256::from_parts(10_u128.pow(self.tail_digits), 0);
        let magnitude = i256::from_parts(self.head, 0)
            .wrapping_mul(shift)
            .wrapping_add(i256::from_parts(self.tail, 0));
        Ok(if self.is_negative {
            magnitude.wrapping_neg()
        } else {
            magnitude
        })
    }

    fn check(&self, precision: u8) -> Decoded<()> {
        if self.head_digits + self.tail_digits > u32::from(precision) {
            return Err(TOO_MANY_DIGITS);
        }
        Ok(())
    }
}

/// `-12.50`, `NaN`, `Infinity`.
pub(super) fn read_text(bytes: &[u8], scale: u8) -> Decoded<Number> {
    if matches!(bytes, b"NaN" | b"Infinity" | b"-Infinity") {
        return Err(NOT_A_NUMBER);
    }
    let (is_negative, unsigned) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, bytes),
    };
    let point = unsigned.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match point {
        Some(at) => (&unsigned[..at], &unsigned[at + 1..]),
        None => (unsigned, &[][..]),
    };
    let are_digits = |digits: &[u8]| digits.iter().all(u8::is_ascii_digit);
    if whole.is_empty() || !are_digits(whole) || !are_digits(fraction) {
        return Err(Fault::Malformed);
    }
    let kept = fraction.len().min(scale.into());
    if fraction[kept..].iter().any(|digit| *digit != b'0') {
        return Err(TOO_FINE);
    }
    let mut number = Number {
        is_negative,
        ..Number::default()
    };
    for digit in whole.iter().chain(&fraction[..kept]) {
        number.push(digit - b'0')?;
    }
    for _ in kept..scale.into() {
        number.push(0)?;
    }
    Ok(number)
}

/// The form of `numeric_send`: four numbers of two bytes (how many groups, the place of the first, the sign, the digits
/// shown after the point), then groups of four digits, each a number of two bytes.
pub(super) fn read_binary(bytes: &[u8], scale: u8) -> Decoded<Number> {
    let (head, groups) = bytes.split_at_checked(8).ok_or(Fault::Malformed)?;
    let part = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let (count, weight, sign) = (usize::from(part(0)), part(2) as i16, part(4));
    let is_negative = match sign {
        POSITIVE => false,
        NEGATIVE => true,
        NAN | INFINITY | NEGATIVE_INFINITY => return Err(NOT_A_NUMBER),
        _ => return Err(Fault::Malformed),
    };
    if groups.len() != count * 2 {
        return Err(Fault::Malformed);
    }
    let mut number = Number {
        is_negative,
        ..Number::default()
    };
    // The place of the next digit: how often it is multiplied by ten.
    let mut place = (i32::from(weight) + 1) * GROUP_DIGITS - 1;
    let last = -i32::from(scale);
    // A fraction may begin behind the point: what is between are zeros, which do not count.
    for group in groups.chunks_exact(2) {
        let group = u16::from_be_bytes([group[0], group[1]]);
        if group > 9999 {
            return Err(Fault::Malformed);
        }
        for power in [1000, 100, 10, 1] {
            let digit = (group / power % 10) as u8;
            match (place >= last, digit) {
                (true, _) => number.push(digit)?,
                (false, 0) => {}
                (false, _) => return Err(TOO_FINE),
            }
            place -= 1;
        }
    }
    // Groups of zeros at the end are not sent.
    while place >= last && number.head != 0 {
        number.push(0)?;
        place -= 1;
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Postgres sends it.
    fn binary(weight: i16, sign: u16, groups: &[u16]) -> Vec<u8> {
        let head = [groups.len() as u16, weight as u16, sign, 0];
        let parts = head.iter().chain(groups);
        parts.flat_map(|part| part.to_be_bytes()).collect()
    }

    fn text(text: &str, precision: u8, scale: u8) -> Decoded<i128> {
        read_text(text.as_bytes(), scale)?.narrow(precision)
    }

    #[test]
    fn text_is_read_exactly_or_not_at_all() {
        assert_eq!(text("12.5", 5, 2), Ok(1250));
        assert_eq!(text("-0.05", 5, 2), Ok(-5));
        assert_eq!(text("0", 5, 2), Ok(0));
        assert_eq!(text("1.5000", 5, 2), Ok(150));
        assert_eq!(text("1.005", 5, 2), Err(TOO_FINE));
        assert_eq!(text("1000", 5, 2), Err(TOO_MANY_DIGITS));
        assert_eq!(text(&"9".repeat(38), 38, 0), Ok(10_i128.pow(38) - 1));
        assert_eq!(text(&"9".repeat(200), 38, 0), Err(TOO_MANY_DIGITS));
        assert_eq!(text("NaN", 5, 2), Err(NOT_A_NUMBER));
        for wrong in ["", "-", ".5", "1e3", "1.2.3", "+1", "x"] {
            assert_eq!(text(wrong, 5, 2), Err(Fault::Malformed), "{wrong}");
        }
    }

    #[test]
    fn binary_is_read_exactly_or_not_at_all() {
        let read = |bytes: &[u8], scale| read_binary(bytes, scale)?.narrow(38);
        assert_eq!(read(&binary(0, POSITIVE, &[12, 5000]), 2), Ok(1250));
        assert_eq!(read(&binary(-1, NEGATIVE, &[500]), 2), Ok(-5));
        assert_eq!(read(&binary(-2, POSITIVE, &[1]), 10), Ok(100));
        assert_eq!(read(&binary(2, POSITIVE, &[1]), 0), Ok(100_000_000));
        assert_eq!(read(&binary(0, POSITIVE, &[]), 10), Ok(0));
        assert_eq!(read(&binary(-1, POSITIVE, &[50]), 2), Err(TOO_FINE));
        assert_eq!(read(&binary(i16::MAX, POSITIVE, &[1]), 2), Err(TOO_MANY_DIGITS));
        assert_eq!(read(&binary(0, POSITIVE, &[10_000]), 2), Err(Fault::Malformed));
        assert_eq!(read(&binary(0, NAN, &[]), 2), Err(NOT_A_NUMBER));
        assert_eq!(read(&[0; 7], 2), Err(Fault::Malformed));
    }

    #[test]
    fn numbers_of_76_digits_are_held() {
        let digits = "1234567890".repeat(8)[..76].to_owned();
        let number = read_text(digits.as_bytes(), 0).and_then(|number| number.wide(76));
        assert_eq!(number, Ok(i256::from_string(&digits).unwrap()));
        let negative = read_text(format!("-{digits}").as_bytes(), 0).and_then(|number| number.wide(76));
        assert_eq!(negative, Ok(i256::from_string(&format!("-{digits}")).unwrap()));
    }
}
