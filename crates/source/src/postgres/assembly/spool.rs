//! A sequence of byte strings, first in memory, then in an unnamed file, then read back in order, as often as it is rewound.
//!
//! In either place each is preceded by its length. Pieces of memory are never torn: a string is in one of them.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;
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

/// What was spooled, to be read from its beginning. [`Frames::advance`], then [`Frames::frame`].
pub(super) struct Frames {
    file: Option<BufReader<File>>,
    disk_bytes: u64,
    /// They stay until all of this goes: it may be rewound.
    pieces: Vec<Vec<u8>>,
    /// All strings with their lengths.
    bytes: u64,
    /// How much of that has been read.
    passed: u64,
    /// The last string out of the file.
    from_file: Vec<u8>,
    is_in_file: bool,
    /// The piece it stands in once it is not in the file.
    piece: usize,
    /// Where in the piece the string is.
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
        let in_memory: usize = self.pieces.iter().map(Vec::len).sum();
        let file = self.file.map(|file| BufReader::with_capacity(READ_BYTES, file));
        let mut frames = Frames {
            file,
            disk_bytes: self.disk_bytes,
            pieces: self.pieces,
            bytes: self.disk_bytes + in_memory as u64,
            passed: 0,
            from_file: Vec::new(),
            is_in_file: false,
            piece: 0,
            at: 0..0,
        };
        frames.rewind()?;
        Ok(frames)
    }
}

impl Frames {
    /// The bytes of all strings, with their lengths.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Those up to where it stands.
    pub(super) fn passed(&self) -> u64 {
        self.passed
    }

    /// Goes back to before the first string.
    pub(super) fn rewind(&mut self) -> Result<()> {
        if let Some(file) = &mut self.file {
            file.seek(SeekFrom::Start(0))?;
        }
        (self.passed, self.piece, self.at) = (0, 0, 0..0);
        Ok(())
    }

    /// Goes on to the next string; false after the last.
    pub(super) fn advance(&mut self) -> Result<bool> {
        self.is_in_file = self.passed < self.disk_bytes;
        match self.is_in_file {
            true => self.advance_in_file().map(|()| true),
            false => self.advance_in_memory(),
        }
    }

    fn advance_in_file(&mut self) -> Result<()> {
        let file = self.file.as_mut().ok_or_else(damaged)?;
        let mut length = [0; LENGTH_BYTES];
        file.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        self.passed += (LENGTH_BYTES + length) as u64;
        if self.passed > self.disk_bytes {
            return Err(damaged());
        }
        self.from_file.resize(length, 0);
        file.read_exact(&mut self.from_file)?;
        Ok(())
    }

    fn advance_in_memory(&mut self) -> Result<bool> {
        // Nothing of the file is needed any more, unless it is rewound.
        self.from_file = Vec::new();
        if self
            .pieces
            .get(self.piece)
            .is_some_and(|piece| piece.len() == self.at.end)
        {
            (self.piece, self.at) = (self.piece + 1, 0..0);
        }
        let Some(piece) = self.pieces.get(self.piece) else {
            return Ok(false);
        };
        let length = piece[self.at.end..].first_chunk().ok_or_else(damaged)?;
        let from = self.at.end + LENGTH_BYTES;
        self.at = from..from + u32::from_be_bytes(*length) as usize;
        self.passed += (self.at.len() + LENGTH_BYTES) as u64;
        Ok(true)
    }

    /// The string it stands at.
    pub(super) fn frame(&self) -> &[u8] {
        match self.is_in_file {
            true => &self.from_file,
            false => &self.pieces[self.piece][self.at.clone()],
        }
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
            .field("bytes", &self.bytes)
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
