//! What a run file is beside its blocks: index, filter and footer, and how damage of a file is reported.
//!
//! ```text
//! file   = block* index filter footer
//! index  = varint blocks (varint bytes, varint length, separator)* last key, crc
//! filter = see Filter, crc
//! footer = magic (the last byte is the version), numbers, crc        numbers: u64, little-endian
//! ```
//!
//! A separator is after every key of the block before, and at or before every key of its block.

use super::block::{Malformed, seal, shared_bytes, unseal};
use super::filter::{Counts, STARTS};
use crate::varint;
use std::path::Path;
use viewfeed_change::Error;

const MAGIC: [u8; 8] = *b"VFRUN\0\0\x01";
const NUMBERS: usize = 6 + STARTS.len();
/// Bytes of a footer.
pub(super) const FOOTER_BYTES: usize = MAGIC.len() + 8 * NUMBERS + 4;

/// The fixed-size end of a run file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) id: u64,
    /// Entries that delete.
    pub(super) deletes: u64,
    pub(super) counts: Counts,
    pub(super) index_offset: u64,
    pub(super) index_bytes: u64,
    pub(super) filter_bytes: u64,
}

impl Footer {
    pub(super) fn encode(&self) -> Vec<u8> {
        let fixed = [
            self.id,
            self.deletes,
            self.index_offset,
            self.index_bytes,
            self.filter_bytes,
            self.counts.keys,
        ];
        let mut bytes = MAGIC.to_vec();
        for number in fixed.into_iter().chain(self.counts.starts) {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        seal(&mut bytes);
        bytes
    }

    /// The footer of a file of `file_bytes`.
    pub(super) fn decode(bytes: Vec<u8>, file_bytes: u64) -> Result<Self, Malformed> {
        let bytes = unseal(bytes).ok_or(Malformed)?;
        let numbers = bytes.strip_prefix(&MAGIC).ok_or(Malformed)?;
        let (numbers, _) = numbers.as_chunks::<8>();
        let number = |place: usize| numbers.get(place).map(|bytes| u64::from_le_bytes(*bytes));
        let number = |place| number(place).ok_or(Malformed);
        let mut starts = [0; STARTS.len()];
        for (place, start) in starts.iter_mut().enumerate() {
            *start = number(6 + place)?;
        }
        let footer = Self {
            id: number(0)?,
            deletes: number(1)?,
            index_offset: number(2)?,
            index_bytes: number(3)?,
            filter_bytes: number(4)?,
            counts: Counts {
                keys: number(5)?,
                starts,
            },
        };
        let parts = [footer.index_bytes, footer.filter_bytes, FOOTER_BYTES as u64];
        let end = parts
            .iter()
            .try_fold(footer.index_offset, |end, part| end.checked_add(*part));
        if end == Some(file_bytes) {
            Ok(footer)
        } else {
            Err(Malformed)
        }
    }
}

/// Where the blocks of a run are, and which keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    separators: Vec<u8>,
    separator_ends: Vec<usize>,
    /// Where each block ends.
    block_ends: Vec<u64>,
    last_key: Vec<u8>,
    /// How many bytes all separators but the first share at their start.
    shared: usize,
    /// The eight bytes after those of every separator but the first, zeros where it ends, as a number: a search looks at
    /// these, which lie together.
    heads: Vec<u64>,
}

impl Index {
    /// Adds a block of so many bytes.
    pub(super) fn add(&mut self, separator: &[u8], block_bytes: usize) {
        let start = self.block_ends.last().copied().unwrap_or(0);
        self.separators.extend_from_slice(separator);
        self.separator_ends.push(self.separators.len());
        self.block_ends.push(start.saturating_add(block_bytes as u64));
    }

    /// Notes the last key of the last block; then it can be searched.
    pub(super) fn end(&mut self, last_key: &[u8]) {
        self.last_key = last_key.to_vec();
        let (Some(last), true) = (self.blocks().checked_sub(1), self.blocks() > 1) else {
            return;
        };
        self.shared = shared_bytes(self.separator(1), self.separator(last));
        self.heads = (1..=last)
            .map(|block| head(&self.separator(block)[self.shared..]))
            .collect();
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.separators.len() + 8 * self.block_ends.len());
        varint::put(&mut bytes, self.blocks() as u64);
        let mut start = 0;
        for (number, end) in self.block_ends.iter().enumerate() {
            let separator = self.separator(number);
            varint::put(&mut bytes, end - start);
            varint::put(&mut bytes, separator.len() as u64);
            bytes.extend_from_slice(separator);
            start = *end;
        }
        bytes.extend_from_slice(&self.last_key);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = bytes;
        let mut index = Self::default();
        for _ in 0..varint::take(&mut input)? {
            let block_bytes = varint::take(&mut input)? as usize;
            let length = varint::take(&mut input)? as usize;
            let (separator, rest) = input.split_at_checked(length).ok_or(Malformed)?;
            index.add(separator, block_bytes);
            input = rest;
        }
        index.end(input);
        Ok(index)
    }

    pub(super) fn blocks(&self) -> usize {
        self.block_ends.len()
    }

    pub(super) fn separator(&self, block: usize) -> &[u8] {
        let start = block
            .checked_sub(1)
            .map_or(0, |before| self.separator_ends[before]);
        &self.separators[start..self.separator_ends[block]]
    }

    pub(super) fn last_key(&self) -> &[u8] {
        &self.last_key
    }

    /// Where a block starts, and its bytes.
    pub(super) fn place(&self, block: usize) -> (u64, usize) {
        let start = block.checked_sub(1).map_or(0, |before| self.block_ends[before]);
        (start, (self.block_ends[block] - start) as usize)
    }

    /// The only block that can hold `key`; None if it is before them all.
    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        let (mut low, mut high) = self.near(key);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.separator(middle) <= key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.checked_sub(1)
    }

    /// The number of separators at or before `key` is in this range, ends included.
    fn near(&self, key: &[u8]) -> (usize, usize) {
        if self.heads.is_empty() {
            return (0, self.blocks());
        }
        let common = &self.separator(1)[..self.shared];
        match key.get(..self.shared) {
            Some(start) if start == common => {
                let head = head(&key[self.shared..]);
                let low = self.heads.partition_point(|other| *other < head);
                let equal = self.heads[low..].partition_point(|other| *other == head);
                // The first separator has no head.
                (low + usize::from(low > 0), low + equal + 1)
            }
            _ if key < common => (0, 1),
            _ => (self.blocks(), self.blocks()),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.separators.len() + 24 * self.blocks() + self.last_key.len()
    }
}

/// The first eight bytes, zeros where there are fewer, so that numbers are ordered as bytes are.
fn head(bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    let length = bytes.len().min(8);
    first[..length].copy_from_slice(&bytes[..length]);
    u64::from_be_bytes(first)
}

/// The error of a file of which `part` is not what was written.
pub(super) fn damaged(path: &Path, part: &str) -> Error {
    Error::corrupt(format!("{part} of the run file {} is damaged", path.display()))
        .hint("check the disk, then restore the data folder from a backup")
}
