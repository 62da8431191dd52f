//! The committed state: the overlay over the Kv, and which epochs are still being read.
//!
//! Reading is safe in one order only: the overlay of a range before the Kv of that range. A checkpoint copies a
//! version to the Kv before it removes it from the overlay, so what the overlay no longer had, the Kv has by then; and
//! it copies only what the oldest reader may see, so the Kv never shows a reader its future. Where a reader is held so
//! long that memory grows, it gets a snapshot of the Kv as of its epoch, and the checkpoint goes on: who has read the Kv
//! looks then whether there is a snapshot by now, and if so reads that instead.

use crate::Kv;
use crate::folder::FolderLock;
use crate::gaps::{DEAD_MIN, Gaps};
use crate::kv::Pairs;
use crate::overlay::{Overlay, OverlayWindow, Writes};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use viewfeed_change::{Epoch, Result};

/// A scan reads this many entries first, because most scans are of a key with few rows …
const CHUNK_FIRST: usize = 16;
/// … then four times as many each time, up to this.
const CHUNK_MAX: usize = 1024;

/// Readers of so many epochs may have a Kv of their own; those of others keep checkpoints back.
const APART_MAX: usize = 16;

/// A key with its value, or with None where it is deleted.
pub(crate) type Entry<'a> = (&'a [u8], Option<&'a [u8]>);

/// Kv, overlay and pins. Shared by the store and every snapshot.
pub(crate) struct Committed {
    pub(crate) kv: Arc<dyn Kv>,
    pub(crate) overlay: Overlay,
    gaps: Gaps,
    /// Deleted entries scans have passed over before their first pair.
    dead_passed: AtomicU64,
    pins: Mutex<Pins>,
    /// How many epochs have a Kv of their own: mostly none, and then no reader takes the lock.
    apart: AtomicUsize,
    /// Held as long as anybody can read the files; last, so that it is given up after they are closed.
    _lock: FolderLock,
}

struct Pins {
    last: Epoch,
    /// The epochs of which there are snapshots.
    held: BTreeMap<Epoch, Held>,
}

#[derive(Default)]
struct Held {
    /// How many snapshots there are of it.
    count: usize,
    /// What they read, if the Kv has moved on.
    kv: Option<Arc<dyn Kv>>,
}

impl Committed {
    /// What `kv` holds, which is the state as of `last`.
    pub(crate) fn new(kv: Arc<dyn Kv>, last: Epoch, lock: FolderLock) -> Self {
        let held = BTreeMap::new();
        Self {
            kv,
            overlay: Overlay::default(),
            gaps: Gaps::new(last),
            dead_passed: AtomicU64::new(0),
            pins: Mutex::new(Pins { last, held }),
            apart: AtomicUsize::new(0),
            _lock: lock,
        }
    }

    /// The last published epoch.
    pub(crate) fn epoch(&self) -> Epoch {
        self.pins.lock().last
    }

    /// Makes `epoch` the one new snapshots show. All of its writes become visible at once.
    pub(crate) fn publish(&self, epoch: Epoch, writes: Writes) {
        let held = self.pins.lock().in_overlay().collect::<Vec<_>>();
        self.gaps.cut(epoch, &writes);
        self.overlay.insert(epoch, writes, &held);
        self.pins.lock().last = epoch;
    }

    /// Tells the Kv how much memory is taken above it.
    pub(crate) fn tell_memory(&self) {
        self.kv.set_memory_above(self.overlay.bytes());
    }

    pub(crate) fn dead_passed(&self) -> u64 {
        self.dead_passed.load(Ordering::Relaxed)
    }

    /// The newest epoch that may be copied to the Kv: no snapshot is older, now or later.
    pub(crate) fn drainable(&self) -> Epoch {
        let pins = self.pins.lock();
        pins.in_overlay().next().unwrap_or(pins.last)
    }

    /// Gives the readers of `epoch` a Kv of their own: what the Kv holds now, which is the state as of that epoch. Only by
    /// a checkpoint, right after a flush. False if that cannot be, or need not.
    pub(crate) fn set_apart(&self, epoch: Epoch) -> Result<bool> {
        let needs_one = |pins: &Pins| epoch < pins.last && pins.in_overlay().next() == Some(epoch);
        if self.apart.load(Ordering::Relaxed) >= APART_MAX || !needs_one(&self.pins.lock()) {
            return Ok(false);
        }
        let Some(kv) = self.kv.snapshot()? else {
            return Ok(false);
        };
        let mut pins = self.pins.lock();
        // The last of them may have gone meanwhile: then it is for nobody, and the checkpoint goes on all the same.
        if let Some(held) = pins.held.get_mut(&epoch) {
            held.kv = Some(kv);
            self.apart.fetch_add(1, Ordering::Release);
        }
        Ok(true)
    }

    /// The Kv of the readers of `epoch`, if they have one of their own.
    fn kv_apart(&self, epoch: Epoch) -> Option<Arc<dyn Kv>> {
        if self.apart.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.pins.lock().held.get(&epoch)?.kv.clone()
    }

    /// The last published state.
    pub(crate) fn snapshot(self: &Arc<Self>) -> Snapshot {
        let mut pins = self.pins.lock();
        let epoch = pins.last;
        pins.held.entry(epoch).or_default().count += 1;
        Snapshot {
            committed: self.clone(),
            epoch,
        }
    }
}

/// The committed state as of one epoch, which stays readable as long as this is held.
pub(crate) struct Snapshot {
    committed: Arc<Committed>,
    epoch: Epoch,
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        let mut pins = self.committed.pins.lock();
        let held = pins.held.get_mut(&self.epoch).expect("every snapshot is pinned");
        held.count -= 1;
        if held.count > 0 {
            return;
        }
        let gone = pins.held.remove(&self.epoch);
        drop(pins);
        if gone.is_some_and(|held| held.kv.is_some()) {
            self.committed.apart.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Pins {
    /// The epochs whose readers read the overlay, oldest first.
    fn in_overlay(&self) -> impl Iterator<Item = Epoch> {
        let held = self.held.iter().filter(|(_, held)| held.kv.is_none());
        held.map(|(epoch, _)| *epoch)
    }
}

impl Snapshot {
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(crate) fn committed(&self) -> &Arc<Committed> {
        &self.committed
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let committed = &self.committed;
        if let Some(kv) = committed.kv_apart(self.epoch) {
            return kv.get(key);
        }
        if let Some(value) = committed.overlay.get(key, self.epoch) {
            return Ok(value);
        }
        let value = committed.kv.get(key)?;
        // It may be of a later epoch, if the readers of this one were set apart meanwhile.
        match committed.kv_apart(self.epoch) {
            Some(kv) => kv.get(key),
            None => Ok(value),
        }
    }

    /// Starts reading `from..to` (`to` = None: no end).
    pub(crate) fn windows(&self, from: &[u8], to: Option<Vec<u8>>) -> Windows<'_> {
        let gap_end = self.committed.gaps.after(from, self.epoch);
        // A gap can reach beyond the range, when it was found by a scan of a longer one.
        let start = gap_end.map(|end| to.clone().map_or(end.clone(), |to| to.min(end)));
        Windows {
            snapshot: self,
            at: Some(from.to_vec()),
            start,
            to,
            ahead: None,
            chunk: CHUNK_FIRST,
            lead: Some(Lead {
                from: from.to_vec(),
                dead: 0,
            }),
        }
    }
}

/// Reads a range in bounded parts, so that no lock is held while the caller works.
pub(crate) struct Windows<'a> {
    snapshot: &'a Snapshot,
    /// Where the next window starts; None at the end.
    at: Option<Vec<u8>>,
    /// Where the first window is read from, if there is nothing before.
    start: Option<Vec<u8>>,
    to: Option<Vec<u8>>,
    /// Overlay entries read and not yet given out.
    ahead: Option<OverlayWindow>,
    chunk: usize,
    /// What there was before the first pair; None once there is one.
    lead: Option<Lead>,
}

/// The start of a range, in which nothing was found so far.
struct Lead {
    from: Vec<u8>,
    /// Deleted entries passed over.
    dead: usize,
}

/// Every pair of a part of the range: keys from `from` on and before `end` (None: no end).
pub(crate) struct Window {
    pub(crate) pairs: Pairs,
    pub(crate) from: Vec<u8>,
    pub(crate) end: Option<Vec<u8>>,
}

impl Windows<'_> {
    pub(crate) fn next(&mut self) -> Result<Option<Window>> {
        let Some(from) = self.at.take() else {
            return Ok(None);
        };
        let start = self.start.take();
        let start = start.as_ref().unwrap_or(&from);
        let (mut ahead, (stored, mut dead)) = self.read(start)?;
        let (end, newer) = if stored.len() == self.chunk {
            let mut end = stored.last().map(|pair| pair.0.clone()).unwrap_or_default();
            end.push(0);
            let later = ahead.entries.partition_point(|entry| entry.0 < end);
            let rest = ahead.entries.split_off(later);
            let newer = std::mem::replace(&mut ahead.entries, rest);
            self.ahead = Some(ahead);
            (Some(end), newer)
        } else {
            (ahead.end, ahead.entries)
        };
        if end != self.to {
            self.at.clone_from(&end);
        }
        self.chunk = (self.chunk * 4).min(CHUNK_MAX);
        dead += newer.iter().take_while(|(_, value)| value.is_none()).count();
        let pairs = merge(stored, newer);
        self.note_lead(&pairs, dead);
        Ok(Some(Window { pairs, from, end }))
    }

    /// What there is from `start` on in the overlay, as far as that was looked at; and in the Kv, with the count of what is
    /// deleted before.
    fn read(&mut self, start: &[u8]) -> Result<(OverlayWindow, (Pairs, usize))> {
        let (committed, epoch) = (&self.snapshot.committed, self.snapshot.epoch);
        let read_overlay = || {
            committed
                .overlay
                .window(start, self.to.as_deref(), epoch, self.chunk)
        };
        if committed.kv_apart(epoch).is_none() {
            let ahead = self.ahead.take().unwrap_or_else(read_overlay);
            let stored = committed
                .kv
                .scan_counting(start, ahead.end.as_deref(), self.chunk)?;
            // It may be of a later epoch, if the readers of this one were set apart meanwhile.
            if committed.kv_apart(epoch).is_none() {
                return Ok((ahead, stored));
            }
            self.ahead = Some(ahead);
        }
        let kv = committed.kv_apart(epoch);
        let kv = kv.expect("an epoch stays set apart as long as it is read");
        // What was read of the overlay stays right; the Kv has all of it.
        let ahead = self.ahead.take().unwrap_or_else(|| OverlayWindow {
            entries: Vec::new(),
            end: self.to.clone(),
        });
        let stored = kv.scan_counting(start, ahead.end.as_deref(), self.chunk)?;
        Ok((ahead, stored))
    }

    /// Counts deleted entries before the first pair; notes the stretch they lie in when it ends, if they are many.
    fn note_lead(&mut self, pairs: &Pairs, dead: usize) {
        let Some(mut lead) = self.lead.take() else {
            return;
        };
        lead.dead += dead;
        let committed = &self.snapshot.committed;
        committed.dead_passed.fetch_add(dead as u64, Ordering::Relaxed);
        let end = match (pairs.first(), &self.at, &self.to) {
            (Some((first, _)), ..) => Some(first),
            (None, None, Some(to)) => Some(to),
            (None, None, None) => None,
            (None, Some(_), _) => {
                self.lead = Some(lead);
                return;
            }
        };
        if let Some(end) = end
            && lead.dead >= DEAD_MIN
        {
            committed.gaps.note(&lead.from, end, self.snapshot.epoch);
        }
    }
}

fn merge(stored: Pairs, newer: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Pairs {
    if newer.is_empty() {
        return stored;
    }
    let mut pairs = Vec::with_capacity(stored.len() + newer.len());
    let mut stored = stored.into_iter().peekable();
    for (key, value) in newer {
        while let Some(pair) = stored.next_if(|pair| pair.0 < key) {
            pairs.push(pair);
        }
        stored.next_if(|pair| pair.0 == key);
        pairs.extend(value.map(|value| (key, value)));
    }
    pairs.extend(stored);
    pairs
}

/// Both in key order; where both have a key, `above` wins.
pub(crate) fn overlaid<'a>(
    below: impl Iterator<Item = Entry<'a>>,
    above: impl Iterator<Item = Entry<'a>>,
) -> impl Iterator<Item = Entry<'a>> {
    let (mut below, mut above) = (below.peekable(), above.peekable());
    std::iter::from_fn(move || {
        let (Some(low), Some(high)) = (below.peek(), above.peek()) else {
            return below.next().or_else(|| above.next());
        };
        match low.0.cmp(high.0) {
            std::cmp::Ordering::Less => below.next(),
            std::cmp::Ordering::Greater => above.next(),
            std::cmp::Ordering::Equal => {
                below.next();
                above.next()
            }
        }
    })
}
