//! A committed transaction and its messages.

use super::spool::{Frames, Spool};
use super::{Lsn, Message, PostgresTime, Within, Xid};
use std::collections::HashSet;
use viewfeed_change::Result;

/// A transaction.
#[derive(Debug)]
pub struct Committed {
    /// Its number; it comes back after four thousand million others.
    pub xid: Xid,
    /// Where its commit record begins.
    pub commit: Lsn,
    /// Where its commit record ends: what is reported when it is durable.
    pub end: Lsn,
    /// When it was committed.
    pub time: PostgresTime,
    /// What it did.
    pub messages: Messages,
}

/// The messages of a transaction in order, without Begin and Commit and without what was rolled back. They are read as they
/// are asked for, from memory or from a file that goes with them, and stay until they go: they can be rewound.
#[derive(Debug)]
pub struct Messages {
    frames: Frames,
    within: Within,
    void: HashSet<Xid>,
}

impl Messages {
    pub(super) fn new(spool: Spool, within: Within, void: HashSet<Xid>) -> Result<Self> {
        Ok(Self {
            frames: spool.into_frames()?,
            within,
            void,
        })
    }

    /// What they take, where they are; those that are left out count too.
    pub fn bytes(&self) -> u64 {
        self.frames.bytes()
    }

    /// How much of that has been read.
    pub fn passed(&self) -> u64 {
        self.frames.passed()
    }

    /// Goes back to their beginning.
    pub fn rewind(&mut self) -> Result<()> {
        self.frames.rewind()
    }

    /// The next one, or None after the last. It may read from a file.
    #[expect(clippy::should_implement_trait, reason = "what it gives borrows from it")]
    pub fn next(&mut self) -> Result<Option<Message<'_>>> {
        loop {
            if !self.frames.advance()? {
                return Ok(None);
            }
            if !self.is_void() {
                break;
            }
        }
        Message::decode(self.frames.frame(), self.within).map(Some)
    }

    fn is_void(&self) -> bool {
        if self.void.is_empty() {
            return false;
        }
        // All but the origin say in bytes 1 to 4 which subtransaction wrote them.
        match self.frames.frame() {
            [b'O', ..] => false,
            [_, a, b, c, d, ..] => self.void.contains(&Xid(u32::from_be_bytes([*a, *b, *c, *d]))),
            _ => false,
        }
    }
}
