//! Writes in memory that are in no run yet.

use std::collections::BTreeMap;
use std::ops::Bound;

/// What an entry costs in memory beside its bytes, roughly.
const ENTRY_OVERHEAD_BYTES: usize = 64;

/// Puts (Some) and deletes (None) by key.
#[derive(Default)]
pub(super) struct Table {
    entries: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Roughly what was put in; what is replaced is not taken off.
    bytes: usize,
}

impl Table {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn put(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.bytes += key.len() + value.as_ref().map_or(0, Vec::len) + ENTRY_OVERHEAD_BYTES;
        self.entries.insert(key, value);
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        self.entries.get(key)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.keys().map(Vec::as_slice)
    }

    /// Every entry at or after `from` and before `to`, which is not before `from`.
    pub(super) fn range<'a>(&'a self, from: &[u8], to: Option<&[u8]>) -> super::merge::Entries<'a> {
        let end = to.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.entries.range::<[u8], _>((Bound::Included(from), end));
        Box::new(range.map(|(key, value)| (key.as_slice(), value.as_deref())))
    }

    /// Forgets the entries whose key starts with `prefix`.
    pub(super) fn remove_prefix(&mut self, prefix: &[u8]) {
        let mut rest = self.entries.split_off(prefix);
        if let Some(end) = crate::keys::prefix_end(prefix) {
            self.entries.append(&mut rest.split_off(&end));
        }
    }
}

/// A copy of some entries in key order.
#[derive(Default)]
pub(super) struct Head(Vec<(Vec<u8>, Option<Vec<u8>>)>);

impl Head {
    pub(super) fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.0.push((key.to_vec(), value.map(<[u8]>::to_vec)));
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> super::merge::Entries<'_> {
        Box::new(
            self.0
                .iter()
                .map(|(key, value)| (key.as_slice(), value.as_deref())),
        )
    }
}
