//! Writes in layers, later ones over earlier ones: layers never change, so a reader keeps what it saw by keeping them, and
//! reading looks into few of them, because one that is not much larger than the one above it is joined with it.

use crate::writes::{Entry, SortedWrites};
use std::sync::Arc;

/// A layer stays below another one only if it is more than this many times as large.
pub(crate) const LAYER_FACTOR: usize = 2;
/// Layers that would have more entries together are not joined two by two, which would copy each of them many times, but
/// many at once.
const JOINED_ENTRIES_MAX: usize = 1 << 16;
/// So many layers are left beside each other.
const LAYERS_MAX: usize = 16;

/// Writes in layers. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Layers {
    /// The oldest first.
    layers: Vec<Arc<SortedWrites>>,
}

impl Layers {
    pub(crate) fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Every layer, the newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &Arc<SortedWrites>> {
        self.layers.iter().rev()
    }

    /// What was last written to `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        self.newest_first().find_map(|layer| layer.get(key, &mut 0))
    }

    /// Puts `writes` over all there are.
    pub(crate) fn push(&mut self, writes: Arc<SortedWrites>) {
        if writes.is_empty() {
            return;
        }
        let mut top = writes;
        while let Some(below) = self.layers.pop_if(|below| {
            below.len() <= top.len() * LAYER_FACTOR && below.len() + top.len() <= JOINED_ENTRIES_MAX
        }) {
            top = Arc::new(SortedWrites::joined(&below, &top));
        }
        self.layers.push(top);
        if self.layers.len() > LAYERS_MAX {
            self.merge_similar();
        }
    }

    /// Makes one of the newest layers, down to one that is much larger than all above it.
    fn merge_similar(&mut self) {
        let mut entries = 0;
        let is_similar = |layer: &&Arc<SortedWrites>| {
            let is_similar = entries == 0 || layer.len() <= entries * LAYER_FACTOR;
            entries += layer.len();
            is_similar
        };
        let count = self.layers.iter().rev().take_while(is_similar).count();
        let similar = self.layers.split_off(self.layers.len() - count);
        self.layers.push(merge(similar));
    }

    /// `above` over these.
    pub(crate) fn with(&self, above: &Self) -> Self {
        let layers = self.layers.iter().chain(&above.layers);
        Self {
            layers: layers.cloned().collect(),
        }
    }

    /// Puts the layers of `above` over these.
    pub(crate) fn append(&mut self, above: Self) {
        above.layers.into_iter().for_each(|layer| self.push(layer));
    }

    /// Every layer, the oldest first; small ones as one.
    pub(crate) fn into_few(self) -> Vec<Arc<SortedWrites>> {
        let entries: usize = self.layers.iter().map(|layer| layer.len()).sum();
        match self.layers.len() > 1 && entries <= JOINED_ENTRIES_MAX {
            true => vec![merge(self.layers)],
            false => self.layers,
        }
    }
}

/// All of `layers`, the oldest first, as one.
fn merge(mut layers: Vec<Arc<SortedWrites>>) -> Arc<SortedWrites> {
    if layers.len() < 2 {
        return layers.pop().unwrap_or_default();
    }
    layers.reverse();
    Arc::new(SortedWrites::merged(&layers))
}

/// Every entry of `layers` (the newest first) in key order; of equal keys the newest.
pub(crate) fn merged<'a>(layers: &'a [Arc<SortedWrites>]) -> impl Iterator<Item = Entry<'a>> {
    let mut places = vec![0; layers.len()];
    std::iter::from_fn(move || {
        let here = layers.iter().zip(&places);
        let entries = here.filter_map(|(layer, place)| layer.entry(*place));
        // The first of equal ones, which is the newest.
        let least = entries.min_by_key(|(key, _)| *key)?;
        for (layer, place) in layers.iter().zip(&mut places) {
            *place += usize::from(layer.entry(*place).is_some_and(|(key, _)| key == least.0));
        }
        Some(least)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(keys: std::ops::Range<u8>, value: u8) -> Arc<SortedWrites> {
        let (keys, value) = (keys.map(|key| [key]).collect::<Vec<_>>(), [value]);
        Arc::new(keys.iter().map(|key| (&key[..], Some(&value[..]))).collect())
    }

    fn delete(key: u8) -> Arc<SortedWrites> {
        Arc::new([(&[key][..], None)].into_iter().collect())
    }

    #[test]
    fn later_layers_hide_earlier_ones() {
        let mut layers = Layers::default();
        layers.push(layer(0..100, 1));
        layers.push(layer(10..12, 2));
        layers.push(delete(11));
        assert_eq!(layers.get(&[9]), Some(Some(&[1][..])));
        assert_eq!(layers.get(&[10]), Some(Some(&[2][..])));
        assert_eq!(layers.get(&[11]), Some(None));
        assert_eq!(layers.get(&[100]), None);
        let newest_first: Vec<_> = layers.newest_first().cloned().collect();
        let merged: Vec<_> = merged(&newest_first).collect();
        let one = layers.clone().into_few();
        assert_eq!(one.len(), 1);
        assert_eq!(one[0].iter().collect::<Vec<_>>(), merged);
        assert_eq!((merged.len(), merged[11]), (100, (&[11][..], None)));
    }

    #[test]
    fn layers_stay_few_and_what_a_reader_holds_stays_as_it_was() {
        let mut layers = Layers::default();
        let mut held = Vec::new();
        for round in 0..200_u8 {
            layers.push(layer(round..round + 1, round));
            held.push(layers.clone());
            assert!(layers.layers.len() <= 8, "{} layers", layers.layers.len());
        }
        for (round, reader) in held.iter().enumerate() {
            assert_eq!(reader.get(&[round as u8]), Some(Some(&[round as u8][..])));
            assert_eq!(reader.get(&[round as u8 + 1]), None);
        }
    }

    #[test]
    fn large_layers_are_joined_many_at_once_and_hide_each_other_all_the_same() {
        let entries = JOINED_ENTRIES_MAX as u32 - 1;
        let large = |from: u32, value: u8| {
            let keys: Vec<[u8; 4]> = (from..from + entries).map(u32::to_be_bytes).collect();
            let value = [value];
            Arc::new(keys.iter().map(|key| (&key[..], Some(&value[..]))).collect())
        };
        let mut layers = Layers::default();
        for round in 0..20_u8 {
            layers.push(large(u32::from(round) * 1000, round));
            assert!(
                layers.layers.len() <= LAYERS_MAX,
                "{} layers",
                layers.layers.len()
            );
        }
        assert!(layers.layers.len() > 1, "they are not joined two by two");
        for round in 0..20_u8 {
            let first = (u32::from(round) * 1000).to_be_bytes();
            assert_eq!(layers.get(&first), Some(Some(&[round][..])));
        }
        assert_eq!(layers.get(&(19_000 + entries).to_be_bytes()), None);
        let few: usize = layers.into_few().iter().map(|layer| layer.len()).sum();
        assert!(few < 20 * entries as usize);
    }
}
