//! The columns of a row, as Postgres sent them.

use super::input::Input;
use super::unknown;
use viewfeed_change::Result;

/// A row: checked once, then read column by column without copying.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuple<'a> {
    columns: u16,
    bytes: &'a [u8],
}

/// A column of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'a> {
    /// NULL.
    Null,
    /// A value stored out of line that did not change: not sent, and not NULL.
    Unchanged,
    /// The value as its type's output function writes it.
    Text(&'a [u8]),
    /// The value as its type's send function writes it.
    Binary(&'a [u8]),
}

impl<'a> Tuple<'a> {
    pub(super) fn read(input: &mut Input<'a>) -> Result<Self> {
        let columns = input.u16()?;
        let all = input.rest();
        for _ in 0..columns {
            field(input)?;
        }
        let bytes = &all[..all.len() - input.rest().len()];
        Ok(Self { columns, bytes })
    }

    /// How many columns there are.
    pub fn len(&self) -> usize {
        self.columns.into()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.columns == 0
    }

    /// The first columns of it.
    pub fn first(&self, columns: usize) -> Self {
        Self {
            columns: self.columns.min(u16::try_from(columns).unwrap_or(u16::MAX)),
            bytes: self.bytes,
        }
    }

    /// The columns in order.
    pub fn fields(&self) -> impl Iterator<Item = Field<'a>> {
        let mut input = Input::new(self.bytes);
        (0..self.columns)
            .map(move |_| field(&mut input).expect("the columns were checked when the row was read"))
    }
}

fn field<'a>(input: &mut Input<'a>) -> Result<Field<'a>> {
    let kind = input.byte()?;
    Ok(match kind {
        b'n' => Field::Null,
        b'u' => Field::Unchanged,
        b't' => Field::Text(value(input)?),
        b'b' => Field::Binary(value(input)?),
        other => return Err(unknown("form of a column", other)),
    })
}

fn value<'a>(input: &mut Input<'a>) -> Result<&'a [u8]> {
    let length = input.u32()?;
    input.take(length as usize)
}
