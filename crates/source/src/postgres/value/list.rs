//! Arrays of one dimension: `{1,NULL,"a b"}`, and what `array_send` writes.

use super::{ColumnBuilder, Decoded, Fault, ValueType};
use arrow::array::{ArrayRef, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{Field, FieldRef};
use std::sync::Arc;

const DIMENSIONS: Fault = Fault::NotRepresentable("an array has more than one dimension");
const BOUNDS: Fault = Fault::NotRepresentable("an array does not begin at 1");

/// The values of a column of arrays so far.
pub(crate) struct ListBuilder {
    field: FieldRef,
    elements: ColumnBuilder,
    elements_len: usize,
    ends: Vec<i32>,
    valid: Vec<bool>,
    /// An element without its backslashes.
    unescaped: Vec<u8>,
}

impl ListBuilder {
    pub(super) fn new(element: &ValueType) -> Self {
        Self {
            field: Arc::new(Field::new_list_field(element.data_type(), true)),
            elements: ColumnBuilder::new(element),
            elements_len: 0,
            ends: vec![0],
            valid: Vec::new(),
            unescaped: Vec::new(),
        }
    }

    pub(super) fn append_null(&mut self) {
        let end = *self.ends.last().expect("it begins with 0");
        self.ends.push(end);
        self.valid.push(false);
    }

    fn close(&mut self) -> Decoded<()> {
        let end = i32::try_from(self.elements_len).map_err(|_| Fault::TooMany)?;
        self.ends.push(end);
        self.valid.push(true);
        Ok(())
    }

    pub(super) fn push_text(&mut self, bytes: &[u8]) -> Decoded<()> {
        let mut rest = match bytes {
            // Postgres writes bounds only if they are not the usual ones: `[0:1]={1,2}`.
            [b'[', ..] => return Err(BOUNDS),
            [b'{', rest @ .., b'}'] => rest,
            _ => return Err(Fault::Malformed),
        };
        if rest.is_empty() {
            return self.close();
        }
        loop {
            rest = self.push_element(rest)?;
            match rest {
                [] => return self.close(),
                [b',', after @ ..] => rest = after,
                _ => return Err(Fault::Malformed),
            }
        }
    }

    /// The element that `text` begins with; gives what follows it.
    fn push_element<'a>(&mut self, text: &'a [u8]) -> Decoded<&'a [u8]> {
        self.elements_len += 1;
        match text {
            [b'{', ..] => Err(DIMENSIONS),
            [b'"', quoted @ ..] => self.push_quoted(quoted),
            _ => {
                let end = text.iter().position(|byte| *byte == b',').unwrap_or(text.len());
                let (element, rest) = text.split_at(end);
                match element {
                    [] => return Err(Fault::Malformed),
                    b"NULL" => self.elements.push_null(),
                    plain => self.elements.push_text(plain)?,
                }
                Ok(rest)
            }
        }
    }

    fn push_quoted<'a>(&mut self, quoted: &'a [u8]) -> Decoded<&'a [u8]> {
        self.unescaped.clear();
        let mut from = 0;
        loop {
            let special = quoted[from..]
                .iter()
                .position(|byte| matches!(byte, b'"' | b'\\'));
            let at = from + special.ok_or(Fault::Malformed)?;
            if quoted[at] == b'"' && self.unescaped.is_empty() {
                // The usual case: no backslash, so nothing has to be copied.
                self.elements.push_text(&quoted[from..at])?;
                return Ok(&quoted[at + 1..]);
            }
            self.unescaped.extend_from_slice(&quoted[from..at]);
            if quoted[at] == b'"' {
                self.elements.push_text(&self.unescaped)?;
                return Ok(&quoted[at + 1..]);
            }
            self.unescaped.push(*quoted.get(at + 1).ok_or(Fault::Malformed)?);
            from = at + 2;
        }
    }

    /// The number of dimensions, whether there are NULLs, the type of the elements; for every dimension its length and
    /// lower bound; for every element its length, −1 for NULL, and its bytes.
    pub(super) fn push_binary(&mut self, bytes: &[u8]) -> Decoded<()> {
        let mut input = Input(bytes);
        let dimensions = input.i32()?;
        input.take(8)?;
        match dimensions {
            0 => {}
            1 => self.push_elements(&mut input)?,
            2.. => return Err(DIMENSIONS),
            _ => return Err(Fault::Malformed),
        }
        if !input.0.is_empty() {
            return Err(Fault::Malformed);
        }
        self.close()
    }

    fn push_elements(&mut self, input: &mut Input<'_>) -> Decoded<()> {
        let (count, lower_bound) = (input.i32()?, input.i32()?);
        if lower_bound != 1 {
            return Err(BOUNDS);
        }
        for _ in 0..count {
            match input.i32()? {
                -1 => self.elements.push_null(),
                length => {
                    let length = usize::try_from(length).map_err(|_| Fault::Malformed)?;
                    self.elements.push_binary(input.take(length)?)?;
                }
            }
            self.elements_len += 1;
        }
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.elements.clear();
        self.elements_len = 0;
        self.ends.truncate(1);
        self.valid.clear();
    }

    pub(super) fn finish(&mut self) -> ListArray {
        let ends = std::mem::replace(&mut self.ends, vec![0]);
        let nulls = NullBuffer::from(std::mem::take(&mut self.valid));
        self.elements_len = 0;
        let elements: ArrayRef = self.elements.finish();
        let offsets = OffsetBuffer::new(ends.into());
        ListArray::new(self.field.clone(), offsets, elements, Some(nulls))
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Decoded<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(Fault::Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    fn i32(&mut self) -> Decoded<i32> {
        let bytes = self.take(4)?;
        Ok(i32::from_be_bytes(bytes.try_into().expect("four were taken")))
    }
}
