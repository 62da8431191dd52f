//! A place in Postgres' write-ahead log.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use viewfeed_change::{Error, Position, Result};

/// A byte offset in the write-ahead log. It orders commits, but does not name an event: the rows of one COPY share theirs,
/// and the end of a commit is the beginning of the next transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lsn(pub u64);

impl Lsn {
    /// As the position of a source: eight bytes, big-endian.
    pub fn to_position(self) -> Position {
        Position(self.0.to_be_bytes().to_vec())
    }

    /// Of a position made by [`Lsn::to_position`]; the empty one is the beginning of the log.
    pub fn of_position(position: &Position) -> Result<Self> {
        match position.0.as_slice() {
            [] => Ok(Self::default()),
            bytes => match bytes.try_into() {
                Ok(bytes) => Ok(Self(u64::from_be_bytes(bytes))),
                Err(_) => Err(Error::corrupt(
                    "the stored position of a Postgres source is not an LSN",
                )),
            },
        }
    }
}

impl fmt::Display for Lsn {
    /// `16/B374D848`, as Postgres writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 as u32)
    }
}

impl FromStr for Lsn {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let half = |digits: &str| match digits.len() {
            1..=8 if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
                u64::from_str_radix(digits, 16).ok()
            }
            _ => None,
        };
        let halves = text.split_once('/').map(|(high, low)| (half(high), half(low)));
        match halves {
            Some((Some(high), Some(low))) => Ok(Self(high << 32 | low)),
            _ => Err(
                Error::invalid("BAD_LSN", "this is not a position in a write-ahead log")
                    .hint("write it as Postgres does, for example 16/B374D848"),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_and_read_as_postgres_does() {
        for (number, text) in [
            (0, "0/0"),
            (0x16_B374_D848, "16/B374D848"),
            (0x1_0000_000A, "1/A"),
            (u64::MAX, "FFFFFFFF/FFFFFFFF"),
        ] {
            assert_eq!(Lsn(number).to_string(), text);
            assert_eq!(text.parse::<Lsn>().unwrap(), Lsn(number));
        }
        assert_eq!("16/b374d848".parse::<Lsn>().unwrap(), Lsn(0x16_B374_D848));
        for bad in ["", "/", "1", "1/", "/1", "1/1/1", "1/123456789", "+1/1", "g/1"] {
            assert!(bad.parse::<Lsn>().is_err(), "{bad}");
        }
    }

    #[test]
    fn is_a_position_and_comes_back() {
        let lsn = Lsn(0x16_B374_D848);
        assert_eq!(Lsn::of_position(&lsn.to_position()).unwrap(), lsn);
        assert_eq!(Lsn::of_position(&Position::default()).unwrap(), Lsn(0));
        assert!(Lsn::of_position(&Position(vec![1, 2, 3])).is_err());
    }
}
