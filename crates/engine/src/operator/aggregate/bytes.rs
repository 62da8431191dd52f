//! The stored form of numbers in a group's state: variable length, small numbers short. Reading never panics, because
//! the bytes come from a disk.

use viewfeed_change::{Error, Result};

/// Appends `value`, seven bits a byte, low bits first.
pub(in crate::operator) fn write_unsigned(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends `value` so that small negative numbers are short too.
pub(super) fn write_signed(value: i64, out: &mut Vec<u8>) {
    write_unsigned((value << 1 ^ value >> 63) as u64, out);
}

/// Appends a two's complement number without the bytes that only repeat its sign.
pub(super) fn write_wide(little_endian: &[u8], out: &mut Vec<u8>) {
    let sign = little_endian.last().map_or(0, |byte| extension(*byte));
    let mut kept = little_endian;
    while let [shorter @ .., last] = kept
        && *last == sign
        && shorter.last().map_or(0, |byte| extension(*byte)) == sign
    {
        kept = shorter;
    }
    out.push(kept.len() as u8);
    out.extend(kept);
}

/// Appends bytes with their length.
pub(in crate::operator) fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_unsigned(bytes.len() as u64, out);
    out.extend(bytes);
}

/// What is left to read.
pub(in crate::operator) struct Cursor<'a>(pub(in crate::operator) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count).ok_or_else(damaged)?;
        self.0 = tail;
        Ok(head)
    }

    pub(in crate::operator) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("take gives exactly N bytes"))
    }

    pub(in crate::operator) fn unsigned(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(damaged())
    }

    pub(super) fn signed(&mut self) -> Result<i64> {
        let value = self.unsigned()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A two's complement number of N bytes, little-endian.
    pub(super) fn wide<const N: usize>(&mut self) -> Result<[u8; N]> {
        let [count] = self.array()?;
        let kept = self.take(usize::from(count))?;
        if kept.len() > N {
            return Err(damaged());
        }
        let mut value = [kept.last().map_or(0, |byte| extension(*byte)); N];
        value[..kept.len()].copy_from_slice(kept);
        Ok(value)
    }

    pub(in crate::operator) fn bytes(&mut self) -> Result<&'a [u8]> {
        let count = usize::try_from(self.unsigned()?).map_err(|_| damaged())?;
        self.take(count)
    }

    /// Fails if something is left.
    pub(in crate::operator) fn end(&self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(damaged()) }
    }
}

/// The byte that continues a number whose highest byte is `byte`.
fn extension(byte: u8) -> u8 {
    ((byte as i8) >> 7) as u8
}

/// The error for a group's state that is not what was written.
pub(super) fn damaged() -> Error {
    Error::corrupt("the stored state of a group is damaged")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back_as_they_were_written(unsigned: u64, signed: i64, wide: i128, small: i8, text: Vec<u8>) {
            let mut out = Vec::new();
            write_unsigned(unsigned, &mut out);
            write_signed(signed, &mut out);
            write_wide(&wide.to_le_bytes(), &mut out);
            write_wide(&i128::from(small).to_le_bytes(), &mut out);
            write_bytes(&text, &mut out);
            let mut input = Cursor(&out);
            prop_assert_eq!(input.unsigned().unwrap(), unsigned);
            prop_assert_eq!(input.signed().unwrap(), signed);
            prop_assert_eq!(i128::from_le_bytes(input.wide().unwrap()), wide);
            prop_assert_eq!(i128::from_le_bytes(input.wide().unwrap()), i128::from(small));
            prop_assert_eq!(input.bytes().unwrap(), &text);
            prop_assert!(input.end().is_ok());
        }

        #[test]
        fn damaged_bytes_are_an_error_or_a_number(bytes: Vec<u8>) {
            let _ = Cursor(&bytes).unsigned();
            let _ = Cursor(&bytes).wide::<16>();
            let _ = Cursor(&bytes).bytes();
        }
    }
}
