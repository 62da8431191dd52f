//! Reading a run: an immutable file of entries in key order.
//!
//! Opening reads the footer only; index and filter are read when the run is first used and stay in memory, blocks go
//! through the cache. The file is unlinked with its last reader once the run is obsolete.

use super::block::{Block, BlockCursor, Malformed, unseal};
use super::cache::BlockCache;
use super::filter::{Filter, KeyHash, StartHashes};
use super::format::{FOOTER_BYTES, Footer, Index, damaged};
use super::writer::{WrittenRun, run_path};
use parking_lot::Mutex;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use viewfeed_change::{Error, Result};

/// A run on disk.
pub(super) struct Run {
    written: WrittenRun,
    footer: Footer,
    path: PathBuf,
    file: File,
    cache: Arc<BlockCache>,
    parts: OnceLock<Parts>,
    /// Held while `parts` is read.
    loading: Mutex<()>,
    is_obsolete: AtomicBool,
}

/// What of a run stays in memory.
struct Parts {
    index: Index,
    filter: Filter,
}

impl Parts {
    fn memory_bytes(&self) -> usize {
        self.index.memory_bytes() + self.filter.memory_bytes()
    }
}

/// What is asked of a run when it is scanned.
pub(super) struct Range<'a> {
    pub(super) from: &'a [u8],
    pub(super) to: Option<&'a [u8]>,
    /// Of what every key in the range starts with.
    pub(super) start: StartHashes,
}

impl Run {
    /// Opens the file the manifest names.
    pub(super) fn open(dir: &Path, written: WrittenRun, cache: &Arc<BlockCache>) -> Result<Self> {
        let path = run_path(dir, written.id);
        let file = File::open(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                let message = format!("the run file {} is missing", path.display());
                Error::corrupt(message).hint("restore the data folder from a backup")
            }
            _ => Error::from(error),
        })?;
        let footer_bytes = FOOTER_BYTES as u64;
        if file.metadata()?.len() != written.file_bytes || written.file_bytes < footer_bytes {
            return Err(damaged(&path, "the length"));
        }
        let mut bytes = vec![0; FOOTER_BYTES];
        file.read_exact_at(&mut bytes, written.file_bytes - footer_bytes)?;
        if crc32fast::hash(&bytes) != written.footer_crc {
            return Err(damaged(&path, "the footer"));
        }
        let footer = Footer::decode(bytes, written.file_bytes);
        let footer = footer.ok().filter(|footer| footer.id == written.id);
        Ok(Self {
            written,
            footer: footer.ok_or_else(|| damaged(&path, "the footer"))?,
            path,
            file,
            cache: cache.clone(),
            parts: OnceLock::new(),
            loading: Mutex::default(),
            is_obsolete: AtomicBool::new(false),
        })
    }

    /// Returns when the content of the file is on disk; its name may not be.
    pub(super) fn sync(&self) -> Result<()> {
        Ok(self.file.sync_all()?)
    }

    pub(super) fn written(&self) -> WrittenRun {
        self.written
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn footer(&self) -> &Footer {
        &self.footer
    }

    /// Removes the file when nobody reads it any more. Only after a manifest without it is on disk.
    pub(super) fn make_obsolete(&self) {
        self.is_obsolete.store(true, Ordering::Release);
    }

    /// Keeps the file after all.
    pub(super) fn keep(&self) {
        self.is_obsolete.store(false, Ordering::Release);
    }

    /// What it takes in memory beside blocks.
    pub(super) fn memory_bytes(&self) -> usize {
        self.parts.get().map_or(0, Parts::memory_bytes)
    }

    /// None if the run says nothing of `key`, Some(None) if it deletes it.
    pub(super) fn get(&self, key: &[u8], hash: KeyHash) -> Result<Option<Option<Vec<u8>>>> {
        let Parts { index, filter } = self.parts()?;
        if key > index.last_key() || !filter.may_hold(hash) {
            return Ok(None);
        }
        let Some(number) = index.find(key) else {
            return Ok(None);
        };
        let block = self.block(index, number, true)?;
        let mut cursor = BlockCursor::default();
        let found = cursor.seek(&block, key).map_err(|_| self.damaged_block(number))?;
        Ok((found && cursor.key() == key).then(|| cursor.value(&block).map(<[u8]>::to_vec)))
    }

    /// False if the run has no entry in `range`.
    pub(super) fn may_hold(&self, range: &Range<'_>) -> Result<bool> {
        let Parts { index, filter } = self.parts()?;
        let is_before = range.to.is_some_and(|to| to <= index.separator(0));
        Ok(!is_before && range.from <= index.last_key() && filter.may_hold_start(&range.start))
    }

    fn parts(&self) -> Result<&Parts> {
        if let Some(parts) = self.parts.get() {
            return Ok(parts);
        }
        let _one_at_a_time = self.loading.lock();
        if self.parts.get().is_none() {
            let parts = self.load()?;
            self.cache.reserve(parts.memory_bytes());
            // Nobody else can have set it.
            let _ = self.parts.set(parts);
        }
        Ok(self.parts.get().expect("it was set above"))
    }

    fn load(&self) -> Result<Parts> {
        let Footer {
            index_offset,
            index_bytes,
            filter_bytes,
            ..
        } = self.footer;
        let section = |offset, bytes| Ok::<_, Error>(unseal(self.read(offset, bytes as usize)?));
        let index = section(index_offset, index_bytes)?;
        let index = index.and_then(|bytes| Index::decode(&bytes).ok());
        let index = index
            .filter(|index| index.blocks() > 0)
            .ok_or_else(|| damaged(&self.path, "the index"))?;
        let (last, last_bytes) = index.place(index.blocks() - 1);
        if last + last_bytes as u64 != index_offset {
            return Err(damaged(&self.path, "the index"));
        }
        let filter = section(index_offset + index_bytes, filter_bytes)?;
        let filter = filter.and_then(|bytes| Filter::decode(&bytes));
        let filter = filter.ok_or_else(|| damaged(&self.path, "the filter"))?;
        Ok(Parts { index, filter })
    }

    fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.file
            .read_exact_at(&mut bytes, offset)
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => damaged(&self.path, "the length"),
                _ => Error::from(error).at(self.path.display()),
            })?;
        Ok(bytes)
    }

    fn block(&self, index: &Index, number: usize, is_cached: bool) -> Result<Arc<Block>> {
        let id = (self.written.id, number as u32);
        if is_cached && let Some(block) = self.cache.get(id) {
            return Ok(block);
        }
        let (offset, length) = index.place(number);
        let block = Block::new(self.read(offset, length)?).map_err(|_| self.damaged_block(number))?;
        let block = Arc::new(block);
        if is_cached {
            self.cache.insert(id, &block);
        }
        Ok(block)
    }

    fn damaged_block(&self, number: usize) -> Error {
        damaged(&self.path, &format!("block {number}"))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.cache.release(self.memory_bytes());
        if *self.is_obsolete.get_mut() {
            self.cache.forget(self.written.id);
        }
        if *self.is_obsolete.get_mut()
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(%error, file = %self.path.display(), "an obsolete run file was not removed");
        }
    }
}

/// A place in a run, before some key.
pub(super) struct RunCursor<'a> {
    run: &'a Run,
    to: Option<&'a [u8]>,
    /// Whether blocks go through the cache: not when a run is read once from end to end.
    is_cached: bool,
    number: usize,
    /// None at the end.
    block: Option<Arc<Block>>,
    entry: BlockCursor,
}

impl<'a> RunCursor<'a> {
    /// At the first entry at or after `from`, if it is before `to`.
    pub(super) fn new(run: &'a Run, from: &[u8], to: Option<&'a [u8]>, is_cached: bool) -> Result<Self> {
        let mut cursor = Self {
            run,
            to,
            is_cached,
            number: 0,
            block: None,
            entry: BlockCursor::default(),
        };
        cursor.seek(from)?;
        Ok(cursor)
    }

    /// Goes to the first entry at or after `from`.
    pub(super) fn seek(&mut self, from: &[u8]) -> Result<()> {
        let first = self.run.parts()?.index.find(from);
        self.enter(first.unwrap_or(0), Some(from))
    }

    /// The key here; None at the end.
    pub(super) fn key(&self) -> Option<&[u8]> {
        self.block.is_some().then(|| self.entry.key())
    }

    /// The value here; None where the key is deleted, and at the end.
    pub(super) fn value(&self) -> Option<&[u8]> {
        self.entry.value(self.block.as_ref()?)
    }

    /// Goes on by one entry.
    pub(super) fn advance(&mut self) -> Result<()> {
        let Some(block) = &self.block else {
            return Ok(());
        };
        let is_there = self.entry.advance(block).map_err(|Malformed| self.damaged())?;
        if is_there {
            self.stop_at_end()
        } else {
            self.enter(self.number + 1, None)
        }
    }

    /// Goes to the first entry (at or after `from`) of this block or a later one.
    fn enter(&mut self, mut number: usize, from: Option<&[u8]>) -> Result<()> {
        let run = self.run;
        let index = &run.parts()?.index;
        loop {
            let is_past = |to: &[u8]| index.separator(number) >= to;
            if number >= index.blocks() || self.to.is_some_and(is_past) {
                self.block = None;
                return Ok(());
            }
            let block = run.block(index, number, self.is_cached)?;
            self.number = number;
            let is_there = match from {
                Some(from) => self.entry.seek(&block, from),
                None => self.entry.first(&block),
            };
            if is_there.map_err(|Malformed| self.damaged())? {
                self.block = Some(block);
                return self.stop_at_end();
            }
            number += 1;
        }
    }

    fn stop_at_end(&mut self) -> Result<()> {
        if self.to.is_some_and(|to| self.entry.key() >= to) {
            self.block = None;
        }
        Ok(())
    }

    fn damaged(&self) -> Error {
        self.run.damaged_block(self.number)
    }
}
