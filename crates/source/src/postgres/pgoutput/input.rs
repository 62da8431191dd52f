//! What is left of a message. The bytes come from a network: nothing here panics on them or trusts a length in them.

use crate::postgres::Lsn;
use viewfeed_change::{Error, Result};

pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left, without taking it.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// The next byte, without taking it.
    pub(super) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count).ok_or_else(cut_short)?;
        self.0 = tail;
        Ok(head)
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(super) fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub(super) fn lsn(&mut self) -> Result<Lsn> {
        Ok(Lsn(u64::from_be_bytes(self.array()?)))
    }

    /// Text that ends with a zero byte.
    pub(super) fn text(&mut self) -> Result<&'a str> {
        let length = self.0.iter().position(|byte| *byte == 0).ok_or_else(cut_short)?;
        let bytes = self.take(length)?;
        self.take(1)?;
        std::str::from_utf8(bytes).map_err(|error| {
            Error::corrupt("Postgres sent a name that is not UTF-8")
                .because(error)
                .hint("the connection must set client_encoding to UTF8")
        })
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<()> {
        match self.0 {
            [] => Ok(()),
            rest => Err(Error::corrupt(format!(
                "{} bytes are left after a message of Postgres",
                rest.len()
            ))),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("so many bytes were taken"))
    }
}

fn cut_short() -> Error {
    Error::corrupt("a message of Postgres is cut short")
}
