//! A record on its way to its file: a small one is written at once, of a large one no more than a piece is in memory.
//!
//! Owns where its bytes are and their checksum; what they mean is left to [`super::record`].

use super::record::{FRAME_BYTES, HEAD_BYTES, RECORD_BYTES_MAX};
use std::io::Result as IoResult;
use viewfeed_change::{Error, ErrorKind, Result};

/// So many bytes of a record are gathered before they are written.
const PIECE_BYTES: usize = 1 << 20;
/// The frame and the head, which are known last.
const START_BYTES: usize = FRAME_BYTES + HEAD_BYTES;

/// Bytes of one record. They are added to `bytes`, and handed on by [`Output::pass`] and [`Output::finish`].
pub(crate) struct Output<'a> {
    /// What has not been written yet; the first bytes of the record are kept free for frame and head.
    pub(super) bytes: Vec<u8>,
    /// Bytes that have been written, the kept ones included.
    written: usize,
    /// Of what has been written, but for the kept bytes.
    checksum: crc32fast::Hasher,
    write: &'a mut dyn FnMut(usize, &[u8]) -> IoResult<()>,
}

impl<'a> Output<'a> {
    /// `write` puts bytes at a place of the record: mostly one behind the other, but its start comes last.
    pub(crate) fn new(write: &'a mut dyn FnMut(usize, &[u8]) -> IoResult<()>) -> Self {
        Self {
            bytes: vec![0; START_BYTES],
            written: 0,
            checksum: crc32fast::Hasher::new(),
            write,
        }
    }

    /// Bytes of the record so far.
    pub(super) fn len(&self) -> usize {
        self.written + self.bytes.len()
    }

    /// Writes what there is, if it is much.
    pub(super) fn pass(&mut self) -> Result<()> {
        match self.bytes.len() < PIECE_BYTES {
            true => Ok(()),
            false => self.write_all(),
        }
    }

    /// The record is whole: the rest is written, then its start, which says how long it is. Gives its length.
    pub(super) fn finish(mut self, head: [u8; HEAD_BYTES]) -> Result<usize> {
        self.check_length()?;
        let length = ((self.len() - FRAME_BYTES) as u32).to_le_bytes();
        if self.written > 0 {
            self.write_all()?;
        }
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&length);
        checksum.update(&head);
        let is_written = self.written > 0;
        match is_written {
            true => checksum.combine(&self.checksum),
            false => checksum.update(&self.bytes[START_BYTES..]),
        }
        let mut start = [0; START_BYTES];
        start[..4].copy_from_slice(&length);
        start[4..FRAME_BYTES].copy_from_slice(&checksum.finalize().to_le_bytes());
        start[FRAME_BYTES..].copy_from_slice(&head);
        if is_written {
            (self.write)(0, &start)?;
        } else {
            self.bytes[..START_BYTES].copy_from_slice(&start);
            (self.write)(0, &self.bytes)?;
        }
        Ok(self.len())
    }

    fn write_all(&mut self) -> Result<()> {
        self.check_length()?;
        let kept = START_BYTES.saturating_sub(self.written);
        self.checksum.update(&self.bytes[kept..]);
        (self.write)(self.written, &self.bytes)?;
        self.written += self.bytes.len();
        self.bytes.clear();
        Ok(())
    }

    fn check_length(&self) -> Result<()> {
        if self.len() <= RECORD_BYTES_MAX {
            return Ok(());
        }
        let message = format!("one epoch would take more than {RECORD_BYTES_MAX} bytes");
        Err(Error::new(ErrorKind::Exhausted, "EPOCH_TOO_LARGE", message).hint("change fewer rows at a time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The record made of these pieces, and in how many writes it came.
    fn record(pieces: &[Vec<u8>]) -> (Vec<u8>, usize) {
        let (mut file, mut writes) = (Vec::new(), 0);
        let write = &mut |at: usize, bytes: &[u8]| {
            file.resize(file.len().max(at + bytes.len()), 0);
            file[at..at + bytes.len()].copy_from_slice(bytes);
            writes += 1;
            Ok(())
        };
        let mut output = Output::new(write);
        for piece in pieces {
            output.bytes.extend(piece);
            output.pass().unwrap();
        }
        let length = output.finish([7; HEAD_BYTES]).unwrap();
        assert_eq!(length, file.len());
        (file, writes)
    }

    #[test]
    fn a_record_is_the_same_in_pieces_and_at_once() {
        for bytes in [
            0,
            1,
            PIECE_BYTES - START_BYTES - 1,
            PIECE_BYTES,
            3 * PIECE_BYTES + 5,
        ] {
            let content: Vec<u8> = (0..bytes).map(|byte| (byte % 251) as u8).collect();
            let pieces: Vec<_> = content.chunks(300_000).map(<[u8]>::to_vec).collect();
            let (file, writes) = record(&pieces);
            assert_eq!(
                writes > 1,
                bytes >= PIECE_BYTES,
                "{bytes} bytes in {writes} writes"
            );
            let length = ((file.len() - FRAME_BYTES) as u32).to_le_bytes();
            assert_eq!(file[..4], length);
            let checksum = super::super::record::checksum(length, &file[FRAME_BYTES..]);
            assert_eq!(file[4..FRAME_BYTES], checksum.to_le_bytes());
            assert_eq!(file[FRAME_BYTES..START_BYTES], [7; HEAD_BYTES]);
            assert_eq!(file[START_BYTES..], content);
        }
    }
}
