//! The protobuf wire format: tags, varints, lengths.

use prost_reflect::Kind;

pub(super) const VARINT: u32 = 0;
pub(super) const FIXED64: u32 = 1;
pub(super) const LENGTH: u32 = 2;
pub(super) const FIXED32: u32 = 5;

/// The wire type of one value of `kind`.
pub(super) fn wire_type(kind: &Kind) -> u32 {
    match kind {
        Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => FIXED64,
        Kind::Fixed32 | Kind::Sfixed32 | Kind::Float => FIXED32,
        Kind::String | Kind::Bytes | Kind::Message(_) => LENGTH,
        _ => VARINT,
    }
}

/// The bytes before a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag {
    bytes: [u8; 5],
    len: u8,
}

impl Tag {
    pub(super) fn new(number: u32, wire_type: u32) -> Self {
        let mut out = Vec::with_capacity(5);
        put_varint(u64::from(number << 3 | wire_type), &mut out);
        let mut bytes = [0; 5];
        bytes[..out.len()].copy_from_slice(&out);
        let len = out.len() as u8;
        Self { bytes, len }
    }

    #[inline]
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        // Field numbers below 16 are nearly all there are.
        if self.len == 1 {
            out.push(self.bytes[0]);
        } else {
            out.extend_from_slice(&self.bytes[..self.len as usize]);
        }
    }
}

#[inline]
pub(super) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
pub(super) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// What `write` puts, behind its length. Nearly all lengths take one byte, so that one is reserved and what follows is
/// moved only if it takes more.
#[inline]
pub(super) fn put_delimited<E>(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let at = out.len();
    out.push(0);
    write(out)?;
    let len = out.len() - at - 1;
    if len < 0x80 {
        out[at] = len as u8;
    } else {
        let mut prefix = Vec::with_capacity(10);
        put_varint(len as u64, &mut prefix);
        out.splice(at..=at, prefix);
    }
    Ok(())
}

/// A message field with its encoded bytes.
pub(crate) fn put_message(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    Tag::new(number, LENGTH).put(out);
    put_bytes(bytes, out);
}

/// A string field; nothing if it is empty.
pub(crate) fn put_text(number: u32, text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() {
        put_message(number, text.as_bytes(), out);
    }
}

/// An int64 or uint64 field; nothing if it is 0.
pub(crate) fn put_varint_field(number: u32, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        Tag::new(number, VARINT).put(out);
        put_varint(value, out);
    }
}
