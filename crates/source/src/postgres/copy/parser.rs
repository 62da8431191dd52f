//! The bytes of COPY, as they come, into rows. What is kept is at most one row and what came with its end.

use crate::postgres::pgoutput::Field;
use crate::postgres::value::RowBuilder;
use std::ops::Range;
use viewfeed_change::{Error, Result};

/// What the binary form begins with; then come four bytes of flags and the length of more that may be skipped.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
const HEADER_LEN: usize = SIGNATURE.len() + 8;

/// How COPY writes rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Binary,
    Text,
}

pub(super) struct Parser {
    form: Form,
    columns: usize,
    bytes: Vec<u8>,
    /// How many of them were read.
    read: usize,
    /// How many of those after `read` are known not to end a row of text.
    seen: usize,
    has_begun: bool,
    has_ended: bool,
    /// The values of a row, one after another, without backslashes.
    values: Vec<u8>,
    fields: Vec<Option<Range<usize>>>,
}

impl Parser {
    pub(super) fn new(form: Form, columns: usize) -> Self {
        Self {
            form,
            columns,
            bytes: Vec::new(),
            read: 0,
            seen: 0,
            has_begun: form == Form::Text,
            has_ended: false,
            values: Vec::new(),
            fields: Vec::new(),
        }
    }

    /// What came. The rows in what came before must have been taken.
    pub(super) fn feed(&mut self, chunk: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(chunk);
    }

    /// Takes a row, if all of it is here.
    pub(super) fn next_row(&mut self, to: &mut RowBuilder) -> Result<bool> {
        match self.form {
            Form::Binary => self.next_binary(to),
            Form::Text => self.next_text(to),
        }
    }

    /// Nothing may be left when no more comes.
    pub(super) fn end(&self) -> Result<()> {
        let is_whole = self.read == self.bytes.len() && (self.has_ended || self.form == Form::Text);
        match is_whole {
            true => Ok(()),
            false => Err(malformed()),
        }
    }

    fn next_binary(&mut self, to: &mut RowBuilder) -> Result<bool> {
        if !self.has_begun && !self.skip_header()? {
            return Ok(false);
        }
        let mut input = Input(&self.bytes[self.read..]);
        let Some(count) = input.array().map(i16::from_be_bytes) else {
            return Ok(false);
        };
        if self.has_ended || count < -1 {
            return Err(malformed());
        }
        if count == -1 {
            self.has_ended = true;
            self.read += 2;
            return Ok(false);
        }
        let first = input;
        for _ in 0..count {
            if input.field()?.is_none() {
                return Ok(false);
            }
        }
        let mut fields = first;
        let row = (0..count).map(move |_| {
            let field = fields.field().ok().flatten();
            field.expect("the fields were checked")
        });
        to.append_fields(count as usize, row)?;
        self.read = self.bytes.len() - input.0.len();
        Ok(true)
    }

    fn skip_header(&mut self) -> Result<bool> {
        let known = self.bytes.len().min(SIGNATURE.len());
        if self.bytes[..known] != SIGNATURE[..known] {
            return Err(malformed());
        }
        let Some(length) = self.bytes.get(HEADER_LEN - 4..HEADER_LEN) else {
            return Ok(false);
        };
        let extension = u32::from_be_bytes(length.try_into().expect("these are four")) as usize;
        self.has_begun = self.bytes.len() >= HEADER_LEN + extension;
        if self.has_begun {
            self.read = HEADER_LEN + extension;
        }
        Ok(self.has_begun)
    }

    fn next_text(&mut self, to: &mut RowBuilder) -> Result<bool> {
        let rest = &self.bytes[self.read..];
        // A line end within a value is written as a backslash and a letter.
        let Some(length) = rest[self.seen..].iter().position(|byte| *byte == b'\n') else {
            self.seen = rest.len();
            return Ok(false);
        };
        let line = self.read..self.read + self.seen + length;
        (self.read, self.seen) = (line.end + 1, 0);
        self.split(line)?;
        let values = &self.values;
        let fields = self.fields.iter().map(|range| match range {
            Some(range) => Field::Text(&values[range.clone()]),
            None => Field::Null,
        });
        to.append_fields(self.fields.len(), fields)?;
        Ok(true)
    }

    /// The values of a line, which tabs separate.
    fn split(&mut self, line: Range<usize>) -> Result<()> {
        self.values.clear();
        self.fields.clear();
        let line = &self.bytes[line];
        if line.is_empty() && self.columns == 0 {
            return Ok(());
        }
        for value in line.split(|byte| *byte == b'\t') {
            if value == b"\\N" {
                self.fields.push(None);
                continue;
            }
            let start = self.values.len();
            unescape(value, &mut self.values)?;
            self.fields.push(Some(start..self.values.len()));
        }
        Ok(())
    }
}

/// Without the backslashes that COPY writes.
fn unescape(value: &[u8], to: &mut Vec<u8>) -> Result<()> {
    let mut rest = value;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        to.extend_from_slice(&rest[..at]);
        let escaped = rest.get(at + 1).ok_or_else(malformed)?;
        to.push(match escaped {
            b'b' => 8,
            b't' => b'\t',
            b'n' => b'\n',
            b'v' => 11,
            b'f' => 12,
            b'r' => b'\r',
            other => *other,
        });
        rest = &rest[at + 2..];
    }
    to.extend_from_slice(rest);
    Ok(())
}

/// What is left of a row.
#[derive(Clone, Copy)]
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    /// None if it is not all here.
    fn field(&mut self) -> Result<Option<Field<'a>>> {
        let length = match self.array().map(i32::from_be_bytes) {
            None => return Ok(None),
            Some(-1) => return Ok(Some(Field::Null)),
            Some(length) => usize::try_from(length).map_err(|_| malformed())?,
        };
        let Some((value, rest)) = self.0.split_at_checked(length) else {
            return Ok(None);
        };
        self.0 = rest;
        Ok(Some(Field::Binary(value)))
    }
}

fn malformed() -> Error {
    Error::corrupt("what Postgres sent is not the form of COPY")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::pgoutput::{Oid, ReplicaIdentity};
    use crate::postgres::value::ValueType;
    use crate::postgres::{ColumnShape, RowsVersion, TableShape};
    use arrow::array::RecordBatch;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    fn shape() -> TableShape {
        let column = |number: i16, value| ColumnShape {
            number,
            name: format!("c{number}"),
            type_oid: Oid(0),
            type_modifier: -1,
            value,
            is_key: false,
        };
        TableShape {
            oid: Oid(1),
            schema: "s".into(),
            name: "t".into(),
            identity: ReplicaIdentity::Full,
            columns: vec![
                column(1, ValueType::Int32),
                column(2, ValueType::String { chars_max: None }),
                column(3, ValueType::List(Box::new(ValueType::Int16))),
            ],
            last_number: 3,
            row_filter: None,
            rows: RowsVersion::default(),
        }
    }

    /// Two rows, in binary.
    fn binary() -> Vec<u8> {
        let mut bytes = [SIGNATURE, &[0; 8]].concat();
        let field = |bytes: &mut Vec<u8>, value: &[u8]| {
            bytes.extend((value.len() as i32).to_be_bytes());
            bytes.extend(value);
        };
        for text in ["ä\n", ""] {
            bytes.extend(3_i16.to_be_bytes());
            field(&mut bytes, &7_i32.to_be_bytes());
            field(&mut bytes, text.as_bytes());
            let list = [1, 1, 21, 2, 1, 2].map(i32::to_be_bytes).concat();
            field(
                &mut bytes,
                &[&list[..], &[0, 5], &(-1_i32).to_be_bytes()].concat(),
            );
        }
        bytes.extend((-1_i16).to_be_bytes());
        bytes
    }

    const TEXT: &[u8] = "7\tä\\n\t{5,NULL}\n7\t\t{5,NULL}\n".as_bytes();

    fn read(form: Form, chunks: &[&[u8]]) -> Result<RecordBatch> {
        let (mut parser, mut rows) = (Parser::new(form, 3), RowBuilder::new(&shape()));
        for chunk in chunks {
            parser.feed(chunk);
            while parser.next_row(&mut rows)? {}
        }
        parser.end()?;
        Ok(rows.finish())
    }

    #[test]
    fn rows_are_the_same_in_both_forms_wherever_they_are_cut() {
        let whole = read(Form::Binary, &[&binary()]).unwrap();
        assert_eq!(whole.num_rows(), 2);
        for (form, bytes) in [(Form::Binary, binary()), (Form::Text, TEXT.to_vec())] {
            for cut in 0..=bytes.len() {
                let (head, tail) = bytes.split_at(cut);
                assert_eq!(read(form, &[head, tail]).unwrap(), whole, "{form:?} cut at {cut}");
                assert!(cut == bytes.len() || read(form, &[head]).map_or(true, |rows| rows != whole));
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(read(form, &single).unwrap(), whole);
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let seed = rand::random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        for (form, bytes) in [(Form::Binary, binary()), (Form::Text, TEXT.to_vec())] {
            for _ in 0..20_000 {
                let mut bytes = bytes.clone();
                for _ in 0..random.random_range(1..4) {
                    let at = random.random_range(0..bytes.len());
                    bytes[at] = random.random();
                }
                let (head, tail) = bytes.split_at(random.random_range(0..bytes.len()));
                let _ = read(form, &[head, tail]);
            }
        }
    }
}
