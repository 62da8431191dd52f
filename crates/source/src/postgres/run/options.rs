//! How the stream is taken: what may be in memory of it, which follows from what an open epoch may have there.

/// Memory of transactions that still run at the server; the rest of them is on disk.
const OPEN_BYTES_MAX: usize = 64 << 20;
/// A transaction whose messages take more is decoded while it is applied.
const LARGE_TRANSACTION_BYTES: u64 = 16 << 20;
/// Bytes of messages that a piece of such a transaction is made of, about: rows may be large too.
const PIECE_BYTES: u64 = 16 << 20;

/// How the stream is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    /// Memory of transactions that still run at the server.
    pub open_bytes_max: usize,
    /// Transactions whose messages take more bytes are large: they are decoded piece by piece, while they are applied.
    pub large_bytes: u64,
    /// Bytes of messages after which a piece ends, if it has not ended before.
    pub piece_bytes: u64,
}

impl StreamOptions {
    /// Where an open epoch may have so many bytes in memory: the messages of a few pieces and what becomes of them should not be
    /// much more.
    pub fn within(part_bytes: usize) -> Self {
        let half = (part_bytes / 2) as u64;
        Self {
            open_bytes_max: OPEN_BYTES_MAX.min(2 * part_bytes),
            large_bytes: LARGE_TRANSACTION_BYTES.min(half),
            piece_bytes: PIECE_BYTES.min(half),
        }
    }
}

impl Default for StreamOptions {
    /// The most.
    fn default() -> Self {
        Self {
            open_bytes_max: OPEN_BYTES_MAX,
            large_bytes: LARGE_TRANSACTION_BYTES,
            piece_bytes: PIECE_BYTES,
        }
    }
}
