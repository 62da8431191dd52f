//! Stretches of keys in which nothing is left, so that an ordered scan need not pass over what was deleted there.
//!
//! "Take the least and delete it", over and over, leaves ever more deletes before the first entry: in the overlay until
//! a checkpoint, in run files until they are merged. A scan that passed over many notes the stretch here, the next one
//! jumps over it, and a put into it cuts it short. Only in memory: what is lost is found again by one long scan.

use crate::writes::SortedWrites;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use viewfeed_change::Epoch;

/// A scan that passes over this many deletes before its first entry notes the stretch: so none passes over many more.
pub(crate) const DEAD_MIN: usize = 64;
/// With so many stretches all are forgotten, to be found again.
const GAPS_MAX: usize = 1024;

/// Empty stretches, and up to which epoch that is known.
pub(crate) struct Gaps {
    /// How many there are: mostly none, and then no scan takes the lock.
    count: AtomicUsize,
    known: RwLock<Known>,
}

struct Known {
    /// By their first key; they do not overlap.
    gaps: BTreeMap<Vec<u8>, Gap>,
    /// Every put up to this epoch has cut what it lies in.
    epoch: Epoch,
}

struct Gap {
    /// The first key after it.
    to: Vec<u8>,
    /// The first epoch to which it is empty.
    since: Epoch,
}

impl Gaps {
    /// None, before the epoch after `epoch`.
    pub(crate) fn new(epoch: Epoch) -> Self {
        let gaps = BTreeMap::new();
        Self {
            count: AtomicUsize::new(0),
            known: RwLock::new(Known { gaps, epoch }),
        }
    }

    /// Where a scan that `epoch` starts at `from` may start instead.
    pub(crate) fn after(&self, from: &[u8], epoch: Epoch) -> Option<Vec<u8>> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let known = self.known.read();
        let (_, gap) = known.gaps.range::<[u8], _>(up_to(from)).next_back()?;
        (gap.since <= epoch && from < gap.to.as_slice()).then(|| gap.to.clone())
    }

    /// Notes that `epoch` has nothing in `from..to`. Only if nothing newer was written: it could lie there.
    pub(crate) fn note(&self, from: &[u8], to: &[u8], epoch: Epoch) {
        let mut known = self.known.write();
        if known.epoch != epoch || from >= to {
            return;
        }
        let (mut from, mut to) = (from.to_vec(), to.to_vec());
        // What it touches becomes a part of it.
        while let Some((start, gap)) = known.gaps.range(..=to.clone()).next_back()
            && gap.to >= from
        {
            let start = start.clone();
            let gap = known.gaps.remove(&start).expect("it was found in the same lock");
            to = to.max(gap.to);
            from = from.min(start);
        }
        if known.gaps.len() >= GAPS_MAX {
            known.gaps.clear();
        }
        known.gaps.insert(from, Gap { to, since: epoch });
        self.count.store(known.gaps.len(), Ordering::Release);
    }

    /// Forgets all stretches, because nobody says what else `epoch` writes; before anybody can read that.
    pub(crate) fn forget(&self, epoch: Epoch) {
        let mut known = self.known.write();
        known.epoch = epoch;
        known.gaps.clear();
        self.count.store(0, Ordering::Release);
    }

    /// Cuts every stretch in which the writes of `epoch` put something; before anybody can read them.
    pub(crate) fn cut(&self, epoch: Epoch, writes: &SortedWrites) {
        let mut known = self.known.write();
        known.epoch = epoch;
        if known.gaps.is_empty() {
            return;
        }
        for (key, value) in writes.iter() {
            if value.is_none() {
                continue;
            }
            let Some((start, gap)) = known.gaps.range_mut::<[u8], _>(up_to(key)).next_back() else {
                continue;
            };
            if start == key {
                let start = start.clone();
                known.gaps.remove(&start);
            } else if gap.to.as_slice() > key {
                gap.to = key.to_vec();
            }
        }
        self.count.store(known.gaps.len(), Ordering::Release);
    }
}

fn up_to(key: &[u8]) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (Bound::Unbounded, Bound::Included(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writes(keys: &[&[u8]]) -> SortedWrites {
        keys.iter().map(|key| (*key, Some(&[][..]))).collect()
    }

    #[test]
    fn a_put_cuts_a_stretch_and_stretches_that_touch_are_one() {
        let gaps = Gaps::new(Epoch(7));
        gaps.note(b"a", b"c", Epoch(7));
        gaps.note(b"c", b"f", Epoch(7));
        assert_eq!(gaps.after(b"a", Epoch(7)), Some(b"f".to_vec()));
        assert_eq!(gaps.after(b"b", Epoch(9)), Some(b"f".to_vec()));
        assert_eq!(gaps.after(b"f", Epoch(9)), None);
        gaps.cut(Epoch(8), &writes(&[b"d", b"x"]));
        assert_eq!(gaps.after(b"a", Epoch(8)), Some(b"d".to_vec()));
        assert_eq!(gaps.after(b"d", Epoch(8)), None);
        gaps.cut(Epoch(9), &writes(&[b"a"]));
        assert_eq!(gaps.after(b"a", Epoch(9)), None);
    }

    #[test]
    fn it_holds_for_later_epochs_only_and_not_when_something_newer_was_written() {
        let gaps = Gaps::new(Epoch(7));
        gaps.note(b"a", b"c", Epoch(7));
        assert_eq!(gaps.after(b"a", Epoch(6)), None);
        gaps.cut(Epoch(8), &SortedWrites::default());
        gaps.note(b"m", b"n", Epoch(7));
        assert_eq!(gaps.after(b"m", Epoch(8)), None);
        assert_eq!(gaps.after(b"a", Epoch(8)), Some(b"c".to_vec()));
    }

    #[test]
    fn there_are_never_more_than_the_limit() {
        let gaps = Gaps::new(Epoch(1));
        for number in 0..3 * GAPS_MAX as u32 {
            let from = (2 * number).to_be_bytes();
            gaps.note(&from, &(2 * number + 1).to_be_bytes(), Epoch(1));
            assert!(gaps.after(&from, Epoch(1)).is_some());
        }
        assert!(gaps.count.load(Ordering::Relaxed) <= GAPS_MAX);
    }
}
