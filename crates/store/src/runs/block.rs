//! A block of a run: entries in key order, as they are on disk and in the cache.
//!
//! ```text
//! block = entry* restart* count crc       restart: u16, where an entry with a whole key starts; count: u16, of restarts
//! entry = shared rest mark key value      varints: bytes shared with the key before, bytes that follow;
//!                                         mark 0: a delete, else the length of the value + 1
//! ```
//!
//! The CRC-32 covers everything before it. Numbers of fixed width are little-endian.

use crate::varint;
use std::ops::Range;

/// A block is closed when it has this many bytes; only an entry that is larger alone makes a larger one.
pub(super) const BLOCK_BYTES: usize = 4 << 10;
/// Every so many entries a key is written whole, so that a search need not start at the first entry.
const RESTART_ENTRIES: usize = 16;
const CRC_BYTES: usize = 4;

/// Collects entries, which come in key order.
#[derive(Default)]
pub(super) struct BlockBuilder {
    bytes: Vec<u8>,
    restarts: Vec<u16>,
    entries: usize,
}

impl BlockBuilder {
    /// Adds an entry that shares `shared` bytes with the key before it.
    pub(super) fn add(&mut self, key: &[u8], shared: usize, value: Option<&[u8]>) {
        let is_whole = self.entries.is_multiple_of(RESTART_ENTRIES);
        if is_whole {
            let start = u16::try_from(self.bytes.len()).expect("a full block takes no further entry");
            self.restarts.push(start);
        }
        let shared = if is_whole { 0 } else { shared };
        varint::put(&mut self.bytes, shared as u64);
        varint::put(&mut self.bytes, (key.len() - shared) as u64);
        varint::put(&mut self.bytes, value.map_or(0, |value| value.len() as u64 + 1));
        self.bytes.extend_from_slice(&key[shared..]);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.entries += 1;
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= BLOCK_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The block on disk; starts the next one.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        for restart in &self.restarts {
            bytes.extend_from_slice(&restart.to_le_bytes());
        }
        bytes.extend_from_slice(&(self.restarts.len() as u16).to_le_bytes());
        seal(&mut bytes);
        self.restarts.clear();
        self.entries = 0;
        bytes
    }
}

/// Appends the CRC of what is there.
pub(super) fn seal(bytes: &mut Vec<u8>) {
    let crc = crc32fast::hash(bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
}

/// Takes off the CRC; None if it is not that of the rest.
pub(super) fn unseal(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let (content, crc) = bytes.split_last_chunk::<CRC_BYTES>()?;
    let is_whole = crc32fast::hash(content) == u32::from_le_bytes(*crc);
    bytes.truncate(bytes.len() - CRC_BYTES);
    is_whole.then_some(bytes)
}

/// A block that was read and found whole.
pub(super) struct Block {
    bytes: Vec<u8>,
    /// Where the entries end and the restarts start.
    entries_end: usize,
    restarts: usize,
}

/// Stored bytes that make no sense although their CRC is right.
#[derive(Debug)]
pub(super) struct Malformed;

impl From<viewfeed_change::Error> for Malformed {
    fn from(_: viewfeed_change::Error) -> Self {
        Self
    }
}

impl Block {
    pub(super) fn new(sealed: Vec<u8>) -> Result<Self, Malformed> {
        let bytes = unseal(sealed).ok_or(Malformed)?;
        let (before, count) = bytes.split_last_chunk::<2>().ok_or(Malformed)?;
        let restarts = usize::from(u16::from_le_bytes(*count));
        let entries_end = before.len().checked_sub(2 * restarts).ok_or(Malformed)?;
        if restarts == 0 {
            return Err(Malformed);
        }
        Ok(Self {
            bytes,
            entries_end,
            restarts,
        })
    }

    /// What it takes in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + size_of::<Self>()
    }

    fn restart(&self, number: usize) -> usize {
        let at = self.entries_end + 2 * number;
        usize::from(u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]))
    }

    /// The entry at `start`: bytes shared, the rest of the key, the value, and where the next one starts.
    fn entry(&self, start: usize) -> Result<Entry, Malformed> {
        let entries = &self.bytes[..self.entries_end];
        let mut input = entries.get(start..).ok_or(Malformed)?;
        let shared = varint::take(&mut input)? as usize;
        let rest = varint::take(&mut input)? as usize;
        let mark = varint::take(&mut input)? as usize;
        let key_start = self.entries_end - input.len();
        let key_end = key_start.checked_add(rest).ok_or(Malformed)?;
        let end = key_end.checked_add(mark.saturating_sub(1)).ok_or(Malformed)?;
        if end > self.entries_end {
            return Err(Malformed);
        }
        Ok(Entry {
            shared,
            rest: key_start..key_end,
            value: (mark > 0).then_some(key_end..end),
            end,
        })
    }

    /// The last restart whose key is not after `key`, or the first one.
    fn restart_before(&self, key: &[u8]) -> Result<usize, Malformed> {
        let (mut low, mut high) = (0, self.restarts);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let entry = self.entry(self.restart(middle))?;
            if &self.bytes[entry.rest] <= key {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(self.restart(low))
    }
}

struct Entry {
    shared: usize,
    rest: Range<usize>,
    value: Option<Range<usize>>,
    end: usize,
}

/// A place in a block. The block is given to every call, so that the cursor need not own it.
#[derive(Default)]
pub(super) struct BlockCursor {
    key: Vec<u8>,
    value: Option<Range<usize>>,
    next: usize,
}

impl BlockCursor {
    /// Goes to the first entry; false if there is none.
    pub(super) fn first(&mut self, block: &Block) -> Result<bool, Malformed> {
        self.next = 0;
        self.advance(block)
    }

    /// Goes to the first entry at or after `from`; false if there is none.
    pub(super) fn seek(&mut self, block: &Block, from: &[u8]) -> Result<bool, Malformed> {
        self.next = block.restart_before(from)?;
        while self.advance(block)? {
            if self.key.as_slice() >= from {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Goes to the next entry; false at the end.
    pub(super) fn advance(&mut self, block: &Block) -> Result<bool, Malformed> {
        if self.next >= block.entries_end {
            return Ok(false);
        }
        let entry = block.entry(self.next)?;
        if entry.shared > self.key.len() {
            return Err(Malformed);
        }
        self.key.truncate(entry.shared);
        self.key.extend_from_slice(&block.bytes[entry.rest]);
        self.value = entry.value;
        self.next = entry.end;
        Ok(true)
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// None where the key is deleted.
    pub(super) fn value<'a>(&self, block: &'a Block) -> Option<&'a [u8]> {
        self.value.clone().map(|range| &block.bytes[range])
    }
}

/// How many bytes two keys share at their start.
pub(super) fn shared_bytes(left: &[u8], right: &[u8]) -> usize {
    let words = left.as_chunks::<8>().0.iter().zip(right.as_chunks::<8>().0);
    let whole = 8 * words.take_while(|(left, right)| left == right).count();
    let rest = left[whole..].iter().zip(&right[whole..]);
    whole + rest.take_while(|(left, right)| left == right).count()
}
