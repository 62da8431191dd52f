//! Opening the log after whatever happened.
//!
//! A crash leaves a torn record at the end of the last segment, or (when syncs are relaxed) several with holes, or parts of an
//! epoch without the last one. What was never known to be durable is cut off with a warning; damage of what was durable is
//! refused.

use super::record::{self, FRAME_BYTES, Form, HEAD_BYTES, Redo};
use super::segment::{Found, MAGIC, Segment};
use super::writer::{Log, SegmentInfo, State, create_segment, segment_path};
use crate::folder::sync_dir;
use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::path::Path;
use std::sync::Arc;
use viewfeed_change::{Epoch, Error, Result, Timestamp};

/// Takes an epoch, what it did, and the bytes of its record.
pub(crate) type Replay<'a> = dyn FnMut(Epoch, Redo, u64) -> Result<()> + 'a;

/// Opens or creates the log in `dir`; gives what every epoch after `checkpointed` did to `replay`, in order.
pub(crate) fn open(
    dir: &Path,
    segment_bytes: u64,
    checkpointed: Epoch,
    replay: &mut Replay<'_>,
) -> Result<Log> {
    fs::create_dir_all(dir)?;
    let mut segments = list(dir)?;
    if segments.is_empty() {
        segments.push_back(first_segment(dir, checkpointed)?);
    }
    let mut scan = Scan {
        checkpointed,
        last: Epoch::ZERO,
        last_time: Timestamp(0),
        parts_bytes: 0,
        replay,
    };
    let from = segments.partition_point(|segment| segment.first <= checkpointed.next());
    let Some(from) = from.checked_sub(1) else {
        return Err(missing(dir, checkpointed.next()));
    };
    scan.last = Epoch(segments[from].first.0 - 1);
    let newest = segments.len() - 1;
    for (place, segment) in segments.iter_mut().enumerate().skip(from) {
        if segment.first != scan.last.next() {
            return Err(missing(dir, scan.last.next()));
        }
        scan.read(dir, segment, place == newest)?;
    }
    if scan.last < checkpointed {
        return Err(missing(dir, scan.last.next()));
    }
    let active = segments.back().expect("one was created if there was none");
    let file = OpenOptions::new().write(true).open(&active.path)?;
    // What is replayed is shown as committed, so it must be durable, whoever wrote it.
    file.sync_data()?;
    let state = State {
        segments,
        file: Arc::new(file),
        last: scan.last,
        last_time: scan.last_time,
        synced: scan.last,
        poisoned: false,
        #[cfg(test)]
        fault: None,
    };
    Ok(Log::new(dir, segment_bytes, state))
}

/// Every segment by its name, oldest first.
fn list(dir: &Path) -> Result<VecDeque<SegmentInfo>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        match name.parse() {
            Ok(first) if is_log && first > 0 => segments.push(info(path, Epoch(first))?),
            _ => tracing::warn!(file = %path.display(), "not a log segment, ignored"),
        }
    }
    segments.sort_by_key(|segment| segment.first);
    Ok(segments.into())
}

fn info(path: std::path::PathBuf, first: Epoch) -> Result<SegmentInfo> {
    let bytes = fs::metadata(&path)?.len();
    let head = match bytes > MAGIC.len() as u64 {
        true => Segment::open(&path, MAGIC.len() as u64)?.peek().ok().flatten(),
        false => None,
    };
    Ok(SegmentInfo {
        first,
        path,
        bytes,
        first_time: head.map_or(Timestamp(i64::MIN), |(_, head)| head.commit_time),
        index: Vec::new(),
    })
}

fn first_segment(dir: &Path, checkpointed: Epoch) -> Result<SegmentInfo> {
    // A log always keeps its last segment, so with a checkpoint somebody else removed it.
    if checkpointed > Epoch::ZERO {
        return Err(missing(dir, checkpointed));
    }
    let path = segment_path(dir, Epoch(1));
    create_segment(dir, &path)?;
    info(path, Epoch(1))
}

fn missing(dir: &Path, epoch: Epoch) -> Error {
    Error::corrupt(format!("the log in {} misses epoch {epoch}", dir.display()))
        .hint("restore the data folder from a backup")
}

struct Scan<'a, 'b> {
    checkpointed: Epoch,
    last: Epoch,
    last_time: Timestamp,
    /// What the parts take of an epoch whose last one has not been seen.
    parts_bytes: u64,
    replay: &'a mut Replay<'b>,
}

impl Scan<'_, '_> {
    fn read(&mut self, dir: &Path, info: &mut SegmentInfo, is_newest: bool) -> Result<()> {
        if !Segment::has_magic(&info.path)? {
            let is_torn = is_newest && info.bytes <= MAGIC.len() as u64;
            if !is_torn {
                let start = Segment::open(&info.path, 0)?;
                return Err(start.damaged());
            }
            tracing::warn!(segment = %info.path.display(), "finishing a segment a crash left unfinished");
            create_segment(dir, &info.path)?;
        }
        let file_bytes = fs::metadata(&info.path)?.len();
        info.bytes = MAGIC.len() as u64;
        let mut segment = Segment::open(&info.path, info.bytes)?;
        loop {
            match segment.read()? {
                Found::Record(payload) => self.take(info, &segment, &payload)?,
                Found::End if self.parts_bytes == 0 => return Ok(()),
                Found::End | Found::Damage if is_newest => return self.cut(dir, &segment, file_bytes),
                Found::End | Found::Damage => return Err(segment.damaged()),
            }
        }
    }

    fn take(&mut self, info: &mut SegmentInfo, segment: &Segment, payload: &[u8]) -> Result<()> {
        let place = |error: Error| error.at(segment.place());
        let head = record::decode_head(payload).map_err(place)?;
        if head.epoch != self.last.next() {
            return Err(segment.damaged());
        }
        self.parts_bytes += (FRAME_BYTES + payload.len()) as u64;
        if head.form == Form::More {
            return Ok(());
        }
        let record_bytes = std::mem::take(&mut self.parts_bytes);
        if head.epoch > self.checkpointed {
            let redo = record::decode_redo(payload).map_err(place)?;
            if !redo.files.is_empty() {
                // They become a part of the state now, which must not be ahead of what is known to be on disk.
                OpenOptions::new().write(true).open(segment.path())?.sync_data()?;
            }
            (self.replay)(head.epoch, redo, record_bytes)?;
        }
        self.last = head.epoch;
        self.last_time = head.commit_time;
        info.note(head.epoch, head.commit_time, record_bytes);
        Ok(())
    }

    /// Cuts the newest segment before the damaged record and the parts of the same epoch before it, unless that record is known
    /// to have been durable.
    fn cut(&self, dir: &Path, segment: &Segment, file_bytes: u64) -> Result<()> {
        let lost = self.last.next();
        if lost <= self.checkpointed || proves_durable(&segment.rest()?, lost) {
            return Err(segment.damaged());
        }
        let offset = segment.offset() - self.parts_bytes;
        let cut_bytes = file_bytes.saturating_sub(offset);
        tracing::warn!(
            segment = %segment.path().display(), offset, cut_bytes,
            "cut a record a crash left unfinished",
        );
        let file = OpenOptions::new().write(true).open(segment.path())?;
        file.set_len(offset)?;
        file.sync_all()?;
        sync_dir(dir)?;
        Ok(())
    }
}

/// Whether a whole record in `tail` was written when `epoch` was already on disk.
fn proves_durable(tail: &[u8], epoch: Epoch) -> bool {
    (1..tail.len().saturating_sub(FRAME_BYTES + HEAD_BYTES)).any(|start| {
        let (frame, rest) = tail[start..].split_at(FRAME_BYTES);
        let (length, checksum) = record::frame(frame.try_into().expect("split at the length of a frame"));
        let Some(payload) = rest.get(..length).filter(|payload| payload.len() >= HEAD_BYTES) else {
            return false;
        };
        // The head is looked at first: it rules out nearly every place without a checksum over what follows.
        let head = record::decode_head(payload).ok();
        head.is_some_and(|head| head.epoch > epoch && head.synced >= epoch && head.synced < head.epoch)
            && record::checksum((length as u32).to_le_bytes(), payload) == checksum
    })
}
