//! Writing a run: entries in key order in, one file that is on disk out.

use super::block::{BlockBuilder, seal, shared_bytes};
use super::filter::{Counts, Filter};
use super::format::{Footer, Index};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use viewfeed_change::Result;

const BUFFER_BYTES: usize = 1 << 20;

/// A run being written. Dropped before [`RunWriter::finish`], its file is removed.
pub(super) struct RunWriter {
    path: PathBuf,
    id: u64,
    file: BufWriter<File>,
    builder: BlockBuilder,
    index: Index,
    filter: Filter,
    counts: Counts,
    deletes: u64,
    offset: u64,
    /// The first key of the block being built, or as much of it as separates it from the block before.
    separator: Vec<u8>,
    last_key: Vec<u8>,
    is_finished: bool,
}

/// What is known of a file: what the manifest, or the log, says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrittenRun {
    pub(crate) id: u64,
    pub(crate) file_bytes: u64,
    /// CRC of the footer, by which another file of the same name is told.
    pub(crate) footer_crc: u32,
}

/// The file of a run.
pub(super) fn run_path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id:016}.run"))
}

impl RunWriter {
    /// Starts the file of run `id`, for at most so many keys.
    pub(super) fn create(dir: &Path, id: u64, at_most: &Counts) -> Result<Self> {
        let path = run_path(dir, id);
        let file = File::create(&path)?;
        Ok(Self {
            path,
            id,
            file: BufWriter::with_capacity(BUFFER_BYTES, file),
            builder: BlockBuilder::default(),
            index: Index::default(),
            filter: Filter::new(at_most),
            counts: Counts::default(),
            deletes: 0,
            offset: 0,
            separator: Vec::new(),
            last_key: Vec::new(),
            is_finished: false,
        })
    }

    /// Adds an entry after the last one.
    pub(super) fn add(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        let shared = shared_bytes(&self.last_key, key);
        if self.builder.is_empty() {
            let is_first = self.counts.keys == 0;
            let length = if is_first {
                key.len()
            } else {
                (shared + 1).min(key.len())
            };
            self.separator.clear();
            self.separator.extend_from_slice(&key[..length]);
        }
        self.builder.add(key, shared, value);
        self.filter.add(key, shared);
        self.counts.add(key, shared);
        self.deletes += u64::from(value.is_none());
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(&key[shared..]);
        if self.builder.is_full() {
            self.end_block()?;
        }
        Ok(())
    }

    fn end_block(&mut self) -> Result<()> {
        let block = self.builder.finish();
        self.index.add(&self.separator, block.len());
        self.offset += block.len() as u64;
        Ok(self.file.write_all(&block)?)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.counts.keys == 0
    }

    /// The file is whole; neither its content nor its name is on disk, yet.
    pub(super) fn finish(mut self) -> Result<WrittenRun> {
        if !self.builder.is_empty() {
            self.end_block()?;
        }
        self.index.end(&self.last_key);
        let (mut index, mut filter) = (self.index.encode(), self.filter.encode());
        seal(&mut index);
        seal(&mut filter);
        let footer = Footer {
            id: self.id,
            deletes: self.deletes,
            counts: self.counts,
            index_offset: self.offset,
            index_bytes: index.len() as u64,
            filter_bytes: filter.len() as u64,
        };
        let footer = footer.encode();
        for part in [&index, &filter, &footer] {
            self.file.write_all(part)?;
        }
        self.file.flush()?;
        self.is_finished = true;
        Ok(WrittenRun {
            id: self.id,
            file_bytes: self.offset + (index.len() + filter.len() + footer.len()) as u64,
            footer_crc: crc32fast::hash(&footer),
        })
    }
}

impl Drop for RunWriter {
    fn drop(&mut self) {
        if !self.is_finished {
            // What stays is no part of the state and is removed when the folder is opened again.
            let _ = fs::remove_file(&self.path);
        }
    }
}
