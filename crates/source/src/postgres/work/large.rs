//! A transaction that is decoded while it is applied: a piece is made while the one before it is applied, and no more than a few
//! are there at any time.
//!
//! Owns the way from who decodes ([`PieceSender`]) to the loop ([`LargeTransaction`]); how is left to `run::large`. The loop's end
//! is what keeps the other one going: when it is dropped, nobody decodes any more. When the other end is dropped before the
//! last piece, that is an error.

use crate::postgres::{Lsn, SourceTransaction};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use viewfeed_change::{Error, ErrorKind, Result};

/// Pieces that wait for the loop; one more is being made, and one is being applied.
const PIECES_WAITING_MAX: usize = 2;

/// A transaction that is decoded while it is applied: the loop's end.
pub struct LargeTransaction {
    end: Lsn,
    bytes: u64,
    pieces: Receiver<Result<SourceTransaction>>,
    waiting: Arc<AtomicUsize>,
}

/// The decoder's end.
pub(in crate::postgres) struct PieceSender {
    pieces: SyncSender<Result<SourceTransaction>>,
    waiting: Arc<AtomicUsize>,
}

/// Nobody wants the rest.
pub(in crate::postgres) struct Unwanted;

/// The two ends for a transaction that ends there, with messages of so many bytes.
pub(in crate::postgres) fn decoded_while_applied(end: Lsn, bytes: u64) -> (PieceSender, LargeTransaction) {
    let (sender, receiver) = sync_channel(PIECES_WAITING_MAX);
    let waiting = Arc::new(AtomicUsize::new(0));
    let large = LargeTransaction {
        end,
        bytes,
        pieces: receiver,
        waiting: waiting.clone(),
    };
    let sender = PieceSender {
        pieces: sender,
        waiting,
    };
    (sender, large)
}

impl PieceSender {
    /// Waits until there is room.
    pub(in crate::postgres) fn send(
        &self,
        piece: Result<SourceTransaction>,
    ) -> std::result::Result<(), Unwanted> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.pieces.send(piece).map_err(|_| Unwanted)
    }
}

impl LargeTransaction {
    /// Waits for the next piece.
    pub(super) fn receive(&mut self) -> Result<SourceTransaction> {
        let piece = self.pieces.recv().map_err(|_| broken_off())?;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        piece
    }

    /// Pieces that have been made and not been received; one of them may wait for room.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for LargeTransaction {
    /// Without what waits: these are rows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LargeTransaction")
            .field("end", &self.end)
            .field("bytes", &self.bytes)
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

fn broken_off() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "DECODING_STOPPED",
        "the decoding of a large transaction stopped before its end",
    )
    .hint("nothing of it was applied; the source connects again and begins it anew")
}
