//! Reading a segment file: a magic number, then records.

use super::record::{self, FRAME_BYTES, HEAD_BYTES, Head};
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Result as IoResult, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use viewfeed_change::{Epoch, Error, Result};

/// Opens every segment; its last byte is the version of the framing.
pub(super) const MAGIC: [u8; 8] = *b"VFLOG\0\0\x01";

const BUFFER_BYTES: usize = 32 << 10;

/// A segment file and where the next record is read.
pub(super) struct Segment {
    path: PathBuf,
    file: BufReader<File>,
    offset: u64,
}

/// What is at an offset.
pub(super) enum Found {
    /// The payload of a record with the right checksum.
    Record(Vec<u8>),
    /// The end of the file.
    End,
    /// Neither: cut short, or not what was written. The offset is still that of its start.
    Damage,
}

impl Segment {
    /// Opens a segment to read from `offset`, which is that of a record or of the first one.
    pub(super) fn open(path: &Path, offset: u64) -> IoResult<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::with_capacity(BUFFER_BYTES, file),
            offset,
        })
    }

    /// Whether the file starts as a segment does. Leaves the place of reading wherever it is.
    pub(super) fn has_magic(path: &Path) -> IoResult<bool> {
        let mut magic = [0; MAGIC.len()];
        match File::open(path)?.read_exact(&mut magic) {
            Ok(()) => Ok(magic == MAGIC),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the next record is read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// All bytes from where the next record is read.
    pub(super) fn rest(&self) -> IoResult<Vec<u8>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads a record and moves behind it.
    pub(super) fn read(&mut self) -> Result<Found> {
        let mut frame = [0; FRAME_BYTES];
        match read_up_to(&mut self.file, &mut frame)? {
            0 => return Ok(Found::End),
            FRAME_BYTES => {}
            _ => return Ok(Found::Damage),
        }
        let (length, checksum) = record::frame(frame);
        let remaining = self.file.get_ref().metadata()?.len().saturating_sub(self.offset);
        if length < HEAD_BYTES || (length + FRAME_BYTES) as u64 > remaining {
            return Ok(Found::Damage);
        }
        let mut payload = vec![0; length];
        let read = read_up_to(&mut self.file, &mut payload)?;
        if read < length || record::checksum((length as u32).to_le_bytes(), &payload) != checksum {
            return Ok(Found::Damage);
        }
        self.offset += (FRAME_BYTES + length) as u64;
        Ok(Found::Record(payload))
    }

    /// Moves to the record of `epoch`, or to the end if it is not there, without checking what lies between.
    pub(super) fn skip_to(&mut self, epoch: Epoch) -> Result<()> {
        while let Some((length, head)) = self.peek()? {
            if head.epoch >= epoch {
                break;
            }
            let record = (FRAME_BYTES + length) as i64;
            self.file.seek_relative(record)?;
            self.offset += record as u64;
        }
        Ok(())
    }

    /// The payload length and head of the next record; None at the end or if there is no whole head.
    pub(super) fn peek(&mut self) -> Result<Option<(usize, Head)>> {
        let mut start = [0; FRAME_BYTES + HEAD_BYTES];
        let read = read_up_to(&mut self.file, &mut start)?;
        self.file.seek_relative(-(read as i64))?;
        if read < start.len() {
            return Ok(None);
        }
        let [a, b, c, d, e, f, g, h, ..] = start;
        let (length, _) = record::frame([a, b, c, d, e, f, g, h]);
        let head = record::decode_head(&start[FRAME_BYTES..]).map_err(|error| error.at(self.place()))?;
        Ok(Some((length, head)))
    }

    /// The file and the offset, for messages.
    pub(super) fn place(&self) -> String {
        format!("{} at byte {}", self.path.display(), self.offset)
    }

    /// The error of a record that is not what was written.
    pub(super) fn damaged(&self) -> Error {
        Error::corrupt(format!("{}: the log is damaged", self.place()))
            .hint("restore the data folder from a backup; what follows this record cannot be trusted")
    }
}

/// Fills as much of `buffer` as there is; gives how much.
fn read_up_to(file: &mut impl Read, buffer: &mut [u8]) -> IoResult<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
