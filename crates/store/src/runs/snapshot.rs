//! The state at one moment, in files that are kept as long as somebody reads them here.
//!
//! Runs never change, so the list of them is a snapshot of the bulk; what is in the small database is copied.

use super::filter::KeyHash;
use super::state::{Part, find_in};
use super::{Found, Listed, Writes, common_start, manifest};
use crate::keys;
use crate::kv::{Kv, Pairs};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use viewfeed_change::{Error, Result};

/// Pairs of the small database copied at a time.
const COPY_PAIRS: usize = 1024;

pub(super) struct RunsSnapshot {
    runs: Arc<Vec<Listed>>,
    small: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl RunsSnapshot {
    /// The state that is these runs and what `small` holds now.
    pub(super) fn new(runs: Arc<Vec<Listed>>, small: &dyn Kv) -> Result<Self> {
        let (mut copy, mut from) = (BTreeMap::new(), Vec::new());
        loop {
            let pairs = small.scan(&from, None, COPY_PAIRS)?;
            let Some((last, _)) = pairs.last() else {
                break;
            };
            from = [last.as_slice(), &[0]].concat();
            copy.extend(pairs);
        }
        copy.remove(&manifest::key());
        Ok(Self { runs, small: copy })
    }

    fn scan_bulk(&self, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<(Pairs, usize)> {
        let mut found = Found::default();
        found.read(&Part::of_runs(self.runs.clone()), from, to, limit)?;
        Ok((found.pairs, found.dead))
    }
}

impl Kv for RunsSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match keys::is_bulk(key) {
            true => find_in(&self.runs, key, KeyHash::of(key)),
            false => Ok(self.small.get(key).cloned()),
        }
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Pairs> {
        Ok(self.scan_counting(from, to, limit)?.0)
    }

    fn scan_counting(&self, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<(Pairs, usize)> {
        if to.is_some_and(|to| to <= from) || limit == 0 {
            return Ok((Vec::new(), 0));
        }
        let start = common_start(from, to);
        if keys::is_bulk(start) {
            return self.scan_bulk(from, to, limit);
        }
        let end = to.map_or(Bound::Unbounded, Bound::Excluded);
        let small = self
            .small
            .range::<[u8], _>((Bound::Included(from), end))
            .take(limit);
        let mut pairs: Pairs = small.map(|(key, value)| (key.clone(), value.clone())).collect();
        if start.is_empty() {
            pairs.extend(self.scan_bulk(from, to, limit)?.0);
            pairs.sort_unstable();
            pairs.truncate(limit);
        }
        Ok((pairs, 0))
    }

    fn apply(&self, _writes: &Writes) -> Result<()> {
        Err(Error::internal("a snapshot was written to"))
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}
