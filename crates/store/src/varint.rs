//! Integers in as few bytes as they need: seven bits a byte, low bits first; signed ones folded so that small
//! negative numbers are short too.

use viewfeed_change::{Error, Result};

/// Appends `value`.
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends `value`.
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Takes a number off the front of `input`.
#[inline]
pub(crate) fn take(input: &mut &[u8]) -> Result<u64> {
    match input.split_first() {
        // Most numbers are lengths of a few bytes.
        Some((byte, rest)) if *byte < 0x80 => {
            *input = rest;
            Ok(u64::from(*byte))
        }
        _ => take_long(input),
    }
}

fn take_long(input: &mut &[u8]) -> Result<u64> {
    let mut value = 0u64;
    for place in 0..10 {
        let Some((byte, rest)) = input.split_first() else {
            break;
        };
        *input = rest;
        // The tenth byte has room for one bit only.
        if place == 9 && *byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Error::corrupt("a stored number has no end"))
}

/// Takes a number off the front of `input`.
pub(crate) fn take_signed(input: &mut &[u8]) -> Result<i64> {
    let folded = take(input)?;
    Ok((folded >> 1) as i64 ^ -((folded & 1) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_back_and_leaves_what_follows() {
        for value in [0, 1, -1, 63, -64, 64, 127, 128, i64::MAX, i64::MIN, 1 << 40] {
            let mut bytes = Vec::new();
            put_signed(&mut bytes, value);
            bytes.push(7);
            let mut input = bytes.as_slice();
            assert_eq!(take_signed(&mut input).unwrap(), value);
            assert_eq!(input, [7]);
        }
    }

    #[test]
    fn endless_and_cut_numbers_are_refused() {
        assert!(take(&mut [0xFF; 11].as_slice()).is_err());
        assert!(take(&mut [0x80].as_slice()).is_err());
        assert!(take(&mut [].as_slice()).is_err());
    }
}
