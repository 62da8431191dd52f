//! How the stream is taken: what may be in memory of it.

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

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            open_bytes_max: OPEN_BYTES_MAX,
            large_bytes: LARGE_TRANSACTION_BYTES,
            piece_bytes: PIECE_BYTES,
        }
    }
}
