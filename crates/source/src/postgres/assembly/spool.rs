//! A sequence of byte strings, first in memory, then in an unnamed file, then read back in order.
//!
//! In either place each is preceded by its length. Pieces of memory are never torn: a string is in one of them.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;
use std::vec::IntoIter;
use viewfeed_change::{Error, Result};

/// A piece of memory; the first grows to that size, so that small transactions take little.
const PIECE_BYTES: usize = 64 << 10;
/// What is read from the file at once.
const READ_BYTES: usize = 256 << 10;
/// The bytes of a length.
const LENGTH_BYTES: usize = 4;

#[derive(Default)]
pub(super) struct Spool {
    /// What came first, if there was no room for it.
    file: Option<File>,
    disk_bytes: u64,
    pieces: Vec<Vec<u8>>,
    /// What the pieces take, used or not.
    memory_bytes: usize,
}

/// What was spooled, to be read once. [`Frames::advance`], then [`Frames::frame`].
pub(super) struct Frames {
    file: Option<BufReader<File>>,
    /// How much of the file is not yet read.
    disk_bytes: u64,
    pieces: IntoIter<Vec<u8>>,
    /// A piece, or one string out of the file.
    present: Vec<u8>,
    /// Where in it the string is.
    at: Range<usize>,
}

impl Spool {
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    pub(super) fn push(&mut self, string: &[u8]) {
        let needed = LENGTH_BYTES + string.len();
        let is_full = |piece: &Vec<u8>| !piece.is_empty() && piece.len() + needed > PIECE_BYTES;
        match self.pieces.last() {
            None => self.pieces.push(Vec::new()),
            Some(piece) if is_full(piece) => {
                self.pieces.push(Vec::with_capacity(PIECE_BYTES.max(needed)));
            }
            Some(_) => {}
        }
        let piece = self.pieces.last_mut().expect("one was just there");
        let before = if piece.is_empty() { 0 } else { piece.capacity() };
        piece.extend_from_slice(&(string.len() as u32).to_be_bytes());
        piece.extend_from_slice(string);
        self.memory_bytes += piece.capacity() - before;
    }

    /// Moves what is in memory to the file, an unnamed one in `folder`.
    pub(super) fn spill(&mut self, folder: &Path) -> Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => tempfile::tempfile_in(folder).map_err(|error| failed(error, folder))?,
        };
        for piece in self.pieces.drain(..) {
            file.write_all(&piece).map_err(|error| failed(error, folder))?;
            self.disk_bytes += piece.len() as u64;
        }
        self.file = Some(file);
        self.pieces = Vec::new();
        self.memory_bytes = 0;
        Ok(())
    }

    pub(super) fn into_frames(self) -> Result<Frames> {
        let file = match self.file {
            Some(mut file) => {
                file.seek(SeekFrom::Start(0))?;
                Some(BufReader::with_capacity(READ_BYTES, file))
            }
            None => None,
        };
        Ok(Frames {
            file,
            disk_bytes: self.disk_bytes,
            pieces: self.pieces.into_iter(),
            present: Vec::new(),
            at: 0..0,
        })
    }
}

impl Frames {
    /// Goes on to the next string; false after the last.
    pub(super) fn advance(&mut self) -> Result<bool> {
        if let Some(file) = &mut self.file {
            if self.disk_bytes > 0 {
                let mut length = [0; LENGTH_BYTES];
                file.read_exact(&mut length)?;
                let length = u32::from_be_bytes(length) as usize;
                let taken = (LENGTH_BYTES + length) as u64;
                self.disk_bytes = self.disk_bytes.checked_sub(taken).ok_or_else(damaged)?;
                self.present.resize(length, 0);
                file.read_exact(&mut self.present)?;
                self.at = 0..length;
                return Ok(true);
            }
            self.file = None;
            self.present.clear();
            self.at = 0..0;
        }
        let mut from = self.at.end;
        if from == self.present.len() {
            let Some(piece) = self.pieces.next() else {
                return Ok(false);
            };
            (self.present, from) = (piece, 0);
        }
        let length = self.present[from..].first_chunk().ok_or_else(damaged)?;
        let from = from + LENGTH_BYTES;
        self.at = from..from + u32::from_be_bytes(*length) as usize;
        Ok(true)
    }

    /// The string it stands at.
    pub(super) fn frame(&self) -> &[u8] {
        &self.present[self.at.clone()]
    }
}

impl fmt::Debug for Spool {
    /// Without what is in it: these are rows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool")
            .field("memory_bytes", &self.memory_bytes)
            .field("disk_bytes", &self.disk_bytes)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Frames {
    /// Likewise.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames")
            .field("disk_bytes", &self.disk_bytes)
            .finish_non_exhaustive()
    }
}

fn damaged() -> Error {
    Error::corrupt("what was put aside of a transaction of Postgres is not what comes back")
        .hint("check the disk; nothing is lost, the server sends it again")
}

fn failed(error: std::io::Error, folder: &Path) -> Error {
    let error = Error::from(error);
    let is_full = error.kind() == viewfeed_change::ErrorKind::Exhausted;
    let error = error.at(format_args!(
        "putting aside a large transaction of Postgres in `{}`",
        folder.display()
    ));
    match is_full {
        true => error.hint(
            "free space there: as much as the largest transactions that run at the same time at the server write; \
             nothing is lost, the server sends them again",
        ),
        false => error,
    }
}
